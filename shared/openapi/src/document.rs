use std::collections::BTreeMap;

use http::StatusCode;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};
use vega_http::{Code, problem_json};

use crate::route::{Body, Error, Response};
use crate::{Route, schema_of};

/// Two types with the same name and different schemas.
#[derive(Debug)]
pub struct SchemaConflict(pub String);

/// The introduction, about all routes.
const ABOUT: &str = "\
Authentication for an HTTP API with bearer tokens.

A token is the access token of a person who signed in, or an API key (`vk_…`) that a program uses on a person's behalf.

Every error is `application/problem+json` (RFC 9457) with a stable `error` code besides the standard members. Match the code, \
and show `detail` to people. A failed request has changed nothing, except possibly after a 503, when only the response may \
have been lost: read again to find out.

A problem's `type` is the address of an explanation, and `errors` lists every fault of a body's members. A path or method that \
isn't listed here is 404 `not_found`. A request that API Gateway itself rejects for another reason, for \
instance because of a firewall rule, is `bad_request` with the status that API Gateway chose.

Web pages of the allowed origin can call the API (CORS), without cookies. Only the dashboard's session has one.";

/// The document with the routes of these functions: name, description and routes of each. Fails if two types conflict.
pub fn document(version: &str, functions: Vec<(&str, &str, Vec<Route>)>) -> Result<Value, SchemaConflict> {
    let settings =
        || SchemaSettings::draft2020_12().with(|settings| settings.definitions_path = "/components/schemas".into());
    let mut sent = settings().for_deserialize().into_generator();
    let mut shown = settings().for_serialize().into_generator();
    let (mut paths, mut responses) = (Map::new(), Map::new());
    let mut tags = Vec::new();
    for (name, about, routes) in functions {
        tags.push(json!({ "name": name, "description": about }));
        for route in routes {
            let (path, method) = (route.path.clone(), route.method.clone());
            let operation = operation(name, route, &mut sent, &mut shown, &mut responses);
            if let Value::Object(item) = paths.entry(path).or_insert_with(|| json!({})) {
                item.insert(method, operation);
            }
        }
    }
    let mut schemas = sent.take_definitions(true);
    for (name, schema) in shown.take_definitions(true) {
        if schemas.get(&name).is_some_and(|other| *other != schema) {
            return Err(SchemaConflict(name));
        }
        schemas.insert(name, schema);
    }
    schemas.insert("ErrorCode".into(), schema_of::<Code>());
    schemas.insert("Problem".into(), problem());
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Vega Auth", "version": version, "description": ABOUT,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [
            { "url": "http://localhost:8000", "description": "The local stack (`make dev`)" },
            {
                "url": "https://{domain}", "description": "A deployment with its own domain",
                "variables": { "domain": { "default": "api.vega.example.com", "description": "The template's parameter `DomainName`" } },
            },
        ],
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": responses,
            "headers": headers(),
            "securitySchemes": {
                "bearer": {
                    "type": "http", "scheme": "bearer",
                    "description": "An access token (a JWT) from Cognito or, on a developer's machine, from the debug login; or an API key, `vk_…`.",
                },
            },
        },
        "security": [{ "bearer": [] }],
    });
    without_null_defaults(&mut document);
    Ok(document)
}

/// Removes the default `null`, which serde has for an optional member, and which a client can't send.
fn without_null_defaults(value: &mut Value) {
    match value {
        Value::Object(members) => {
            if members.get("default").is_some_and(Value::is_null) {
                members.remove("default");
            }
            members.values_mut().for_each(without_null_defaults);
        }
        Value::Array(items) => items.iter_mut().for_each(without_null_defaults),
        _ => {}
    }
}

fn operation(
    tag: &str,
    route: Route,
    sent: &mut SchemaGenerator,
    shown: &mut SchemaGenerator,
    shared: &mut Map<String, Value>,
) -> Value {
    let mut operation = route.operation;
    operation.insert("tags".into(), json!([tag]));
    if route.is_public {
        operation.insert("security".into(), json!([]));
    }
    if !route.parameters.is_empty() {
        operation.insert("parameters".into(), route.parameters.into());
    }
    if let Some(body) = route.body {
        operation.insert("requestBody".into(), request_body(&body, sent));
    }
    let mut responses = Map::new();
    for one in route.responses {
        responses.insert(one.status.to_string(), response(one, shown));
    }
    let mut by_status: BTreeMap<StatusCode, Vec<Error>> = BTreeMap::new();
    for error in route.errors {
        by_status.entry(error.code.status()).or_default().push(error);
    }
    for (status, mut errors) in by_status {
        errors.sort_by_key(|error| error.code);
        responses.insert(status.as_str().to_owned(), shared_error_response(status, &errors, shared));
    }
    operation.insert("responses".into(), responses.into());
    operation.into()
}

fn request_body(body: &Body, sent: &mut SchemaGenerator) -> Value {
    let schema = (body.shape)(sent);
    let content: Map<String, Value> = body
        .media_types
        .iter()
        .map(|media_type| ((*media_type).to_owned(), json!({ "schema": schema, "example": body.example })))
        .collect();
    json!({ "required": body.is_required, "content": content })
}

fn response(response: Response, shown: &mut SchemaGenerator) -> Value {
    let mut value = json!({ "description": response.description, "headers": headers_of(&response.headers) });
    if response.is_immutable {
        value["headers"] = json!({});
    }
    if let Some((shape, example)) = response.content {
        let mut content = json!({ "schema": shape(shown) });
        if !example.is_null() {
            content["example"] = example;
        }
        value["content"] = json!({ response.media_type: content });
    }
    if !response.links.is_empty() {
        value["links"] = response.links.into();
    }
    value
}

/// The errors with one status. Routes with the same errors share a response, which is named after the codes.
fn shared_error_response(status: StatusCode, errors: &[Error], shared: &mut Map<String, Value>) -> Value {
    let mut codes: Vec<Code> = errors.iter().map(|error| error.code).collect();
    codes.dedup();
    let name = codes.iter().map(|code| text(*code)).collect::<Vec<_>>().join("-or-");
    let response = error_response(status, &codes, errors);
    let first = shared.entry(&name).or_insert_with(|| response.clone());
    if *first == response { json!({ "$ref": format!("#/components/responses/{name}") }) } else { response }
}

fn error_response(status: StatusCode, codes: &[Code], errors: &[Error]) -> Value {
    let meanings = codes_with_meanings();
    let lines: Vec<String> = codes
        .iter()
        .filter_map(|code| meanings.iter().find(|(known, _)| known == code))
        .map(|(code, meaning)| format!("`{}`: {meaning}", text(*code)))
        .collect();
    let mut examples = Map::new();
    for Error { code, detail, faults } in errors {
        let nth = examples.keys().filter(|name| name.split('.').next() == Some(&text(*code))).count() + 1;
        let name = if nth == 1 { text(*code) } else { format!("{}.{nth}", text(*code)) };
        examples.insert(name, json!({ "value": problem_json(*code, detail, faults) }));
    }
    // A header that only some of the codes have isn't part of the response.
    let headers: Vec<&str> = ["Retry-After", "WWW-Authenticate"]
        .into_iter()
        .filter(|name| codes.iter().all(|code| code.header().is_some_and(|(header, _)| header == *name)))
        .collect();
    json!({
        "description": lines.join("\n\n"),
        "headers": headers_of(&headers),
        "content": { "application/problem+json": {
            "schema": { "allOf": [
                { "$ref": "#/components/schemas/Problem" },
                { "properties": {
                    "status": { "const": status.as_u16() },
                    "title": { "const": status.canonical_reason() },
                    "error": { "enum": codes },
                } },
            ] },
            "examples": examples,
        } },
    })
}

/// Every error code with its meaning, in order of status.
pub fn codes_with_meanings() -> Vec<(Code, String)> {
    let schema = schema_of::<Code>();
    let one = |variant: &Value| {
        let code = serde_json::from_value(variant["const"].clone()).ok()?;
        Some((code, variant["description"].as_str()?.replace('\n', " ")))
    };
    schema["oneOf"].as_array().into_iter().flatten().filter_map(one).collect()
}

fn text(code: Code) -> String {
    json!(code).as_str().unwrap_or_default().to_owned()
}

fn problem() -> Value {
    json!({
        "description": "Why a request failed (RFC 9457).",
        "type": "object",
        "required": ["type", "title", "status", "error", "detail"],
        "properties": {
            "type": {
                "type": "string", "format": "uri-reference", "pattern": "^/v1/errors#",
                "description": "The explanation of `error`, below the API's base URL.",
            },
            "title": { "type": "string", "description": "The status in words." },
            "status": { "type": "integer", "minimum": 400, "maximum": 599, "description": "The HTTP status." },
            "error": { "$ref": "#/components/schemas/ErrorCode", "description": "The stable code for programs." },
            "detail": { "type": "string", "description": "What happened and what to do next, for people. Its wording may change." },
            "errors": {
                "type": "array", "description": "All faults of the body's members, if there are any.",
                "items": {
                    "type": "object", "required": ["pointer", "detail"],
                    "properties": {
                        "pointer": { "type": "string", "pattern": "^#(/.*)?$", "description": "The member, as a JSON pointer; `#` for one that isn't known." },
                        "detail": { "type": "string", "description": "What was expected of it." },
                    },
                },
            },
        },
    })
}

fn headers() -> Value {
    let header =
        |description: &str, schema: Value| json!({ "description": description, "required": true, "schema": schema });
    json!({
        "Cache-Control": header("Caches must not store the response: it depends on the caller.", json!({ "const": "no-store" })),
        "ETag": header("The version of the key, for `If-Match`.", json!({ "type": "string", "pattern": "^\"[0-9]+\"$" })),
        "Location": header("The URL of the new key.", json!({ "type": "string", "format": "uri-reference" })),
        "Retry-After": header("Seconds to wait before the next attempt.", json!({ "type": "integer", "minimum": 1 })),
        "WWW-Authenticate": header("The challenge of RFC 6750.", json!({ "type": "string", "pattern": "^Bearer " })),
    })
}

/// `Cache-Control: no-store`, which every response has, and these headers.
fn headers_of(names: &[&str]) -> Value {
    ["Cache-Control"]
        .iter()
        .chain(names)
        .map(|name| ((*name).to_owned(), json!({ "$ref": format!("#/components/headers/{name}") })))
        .collect::<Map<_, _>>()
        .into()
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};
    use vega_http::{ProblemType, RequestProblem};

    use super::*;

    #[derive(Deserialize, JsonSchema)]
    struct NewThing {
        #[serde(default)]
        #[expect(dead_code, reason = "only the schema matters")]
        note: Option<String>,
    }

    #[derive(Serialize, JsonSchema)]
    struct Thing {
        note: String,
    }

    #[derive(Debug, thiserror::Error)]
    #[error("There are too many things.")]
    struct Limited;

    impl ProblemType for Limited {
        fn code(&self) -> Code {
            Code::KeyLimitReached
        }
    }

    fn composed(routes: Vec<Route>) -> Value {
        document("1", vec![("things", "Things.", routes)]).unwrap()
    }

    fn create() -> Route {
        Route::new("POST /v1/things", "createThing", "Create a thing")
            .body::<NewThing>(json!({ "note": "x" }))
            .json::<Thing>(201, "The thing.", json!({ "note": "x" }))
    }

    #[test]
    fn a_route_has_its_body_response_and_errors_by_status() {
        let document = composed(vec![create().error(&Limited)]);
        let operation = &document["paths"]["/v1/things"]["post"];
        assert_eq!(operation["operationId"], "createThing");
        assert_eq!(operation["requestBody"]["required"], true);
        assert_eq!(operation["responses"]["201"]["description"], "The thing.");
        let statuses: Vec<_> = operation["responses"].as_object().unwrap().keys().collect();
        assert_eq!(statuses, ["201", "400", "401", "409", "413", "415", "429", "503"]);
        let problem = &document["components"]["responses"]["key_limit_reached"];
        let example = &problem["content"]["application/problem+json"]["examples"]["key_limit_reached"]["value"];
        assert_eq!(*example, problem_json(Code::KeyLimitReached, "There are too many things.", &[]));
        assert!(document["components"]["schemas"]["NewThing"]["properties"]["note"].get("default").is_none());
    }

    #[test]
    fn only_a_public_route_does_without_a_token() {
        let document = composed(vec![Route::public("GET /v1/things", "listThings", "List things"), create()]);
        let path = &document["paths"]["/v1/things"];
        assert_eq!(path["get"]["security"], json!([]));
        assert!(path["get"]["responses"].get("401").is_none());
        assert!(path["post"].get("security").is_none());
        assert_eq!(document["security"], json!([{ "bearer": [] }]));
    }

    #[test]
    fn routes_with_the_same_errors_share_a_response() {
        let other = Route::new("GET /v1/things", "listThings", "List things").error(&RequestProblem::NoSuchRoute);
        let document = composed(vec![create().error(&RequestProblem::NoSuchRoute), other]);
        let path = &document["paths"]["/v1/things"];
        assert_eq!(path["post"]["responses"]["404"], json!({ "$ref": "#/components/responses/not_found" }));
        assert_eq!(path["post"]["responses"]["404"], path["get"]["responses"]["404"]);
    }

    #[test]
    fn a_request_and_a_response_type_of_one_name_conflict() {
        #[derive(Deserialize, JsonSchema)]
        #[schemars(rename = "Thing")]
        struct Other {
            #[expect(dead_code, reason = "only the schema matters")]
            number: u8,
        }
        let other =
            Route::new("PUT /v1/things", "replaceThing", "Replace a thing").body::<Other>(json!({ "number": 1 }));
        let conflict = document("1", vec![("things", "Things.", vec![create(), other])]).unwrap_err();
        assert_eq!(conflict.0, "Thing");
    }
}
