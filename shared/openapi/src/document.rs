use std::collections::BTreeMap;

use http::StatusCode;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};
use vega_http::{Code, problem_json};

use crate::route::{Body, Error, Response};
use crate::{Route, schema_of};

/// Two types of one name whose schemas differ: the document has one place for both.
#[derive(Debug)]
pub struct SchemaConflict(pub String);

/// What clients must know before any one route.
const ABOUT: &str = "\
Authentication for an HTTP API: a bearer token in, the right caller and nobody else gets through.

The token is an access token of a person who signed in, or an API key (`vk_…`) of a program of theirs.

Every error is `application/problem+json` (RFC 9457) with a stable `error` code beside the standard members; match that, \
and show `detail` to people. A request that fails has changed nothing, unless it is a 503: then the answer of a change may \
be lost, and reading again tells.

A path, or a method of a path, that isn't here is 404 `not_found`. What API Gateway can't take for another reason of its \
own, as a firewall's, is `bad_request` with the status it chose.

Web pages of the allowed origin may call it (CORS); no cookie is involved.";

/// The document of these functions' routes, by the functions' names.
///
/// # Errors
/// When two types share a name.
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
            { "url": "http://localhost:8000", "description": "The local stack: make dev" },
            {
                "url": "https://{domain}", "description": "A deployment with a domain of its own",
                "variables": { "domain": { "default": "api.vega.example.com", "description": "DomainName of the template" } },
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
                    "description": "An access token (a JWT) of Cognito, or of the debug login on a developer's machine; or an API key, `vk_…`.",
                },
            },
        },
        "security": [{ "bearer": [] }],
    });
    without_null_defaults(&mut document);
    Ok(document)
}

/// serde's default of a member that may be left out is `None`, which isn't a value that a client could send.
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

/// The errors of one status. Routes with the same ones share a response, named by its codes.
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
    for Error { code, detail } in errors {
        let nth = examples.keys().filter(|name| name.split('.').next() == Some(&text(*code))).count() + 1;
        let name = if nth == 1 { text(*code) } else { format!("{}.{nth}", text(*code)) };
        examples.insert(name, json!({ "value": problem_json(*code, detail) }));
    }
    // a header that only some of the codes have is not one of the response
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

/// Every error code in order of status, with its meaning.
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
            "type": { "const": "about:blank", "description": "Nothing more than the status says (RFC 9457 section 4.2.1); `error` is the finer code." },
            "title": { "type": "string", "description": "The status in words." },
            "status": { "type": "integer", "minimum": 400, "maximum": 599, "description": "The HTTP status." },
            "error": { "$ref": "#/components/schemas/ErrorCode", "description": "The stable code for programs." },
            "detail": { "type": "string", "description": "What happened and what to do next, for people. Its wording may change." },
        },
    })
}

fn headers() -> Value {
    let header = |says: &str, schema: Value| json!({ "description": says, "required": true, "schema": schema });
    json!({
        "Cache-Control": header("No cache may keep it: everything here depends on who asks.", json!({ "const": "no-store" })),
        "ETag": header("The version of the key, for `If-Match`.", json!({ "type": "string", "pattern": "^\"[0-9]+\"$" })),
        "Location": header("Where the new key is.", json!({ "type": "string", "format": "uri-reference" })),
        "Retry-After": header("Seconds to wait before the next try.", json!({ "type": "integer", "minimum": 1 })),
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
