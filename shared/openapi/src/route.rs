use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// A type's schema, by reference to the document's components.
pub(crate) type Shape = fn(&mut SchemaGenerator) -> Schema;

/// One route: what a client sends and what it gets.
pub struct Route {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) operation: Map<String, Value>,
    pub(crate) is_open: bool,
    pub(crate) parameters: Vec<Value>,
    pub(crate) body: Option<Body>,
    pub(crate) answers: Vec<Answer>,
    pub(crate) refusals: Vec<Refusal>,
}

pub(crate) struct Body {
    pub media_types: &'static [&'static str],
    pub shape: Shape,
    pub example: Value,
    pub is_required: bool,
}

pub(crate) struct Answer {
    pub status: u16,
    pub says: &'static str,
    pub media_type: &'static str,
    pub content: Option<(Shape, Value)>,
    pub headers: Vec<&'static str>,
    pub links: Map<String, Value>,
    pub is_kept: bool,
}

pub(crate) struct Refusal {
    pub status: u16,
    pub error: &'static str,
    pub says: String,
}

impl Route {
    /// A route that wants a signed-in caller, as `POST /v1/api-keys`. `id` names it in generated clients.
    pub fn new(route: &str, id: &str, summary: &str) -> Self {
        let mut this = Self::open(route, id, summary);
        this.is_open = false;
        this.refuses(401, "invalid_token", "The token is missing, malformed, expired or revoked.")
    }

    /// A route without an authorizer: anybody may call it.
    pub fn open(route: &str, id: &str, summary: &str) -> Self {
        let (method, path) = route.split_once(' ').unwrap_or(("GET", route));
        let this = Self {
            method: method.to_ascii_lowercase(),
            path: path.to_owned(),
            operation: Map::from_iter([("operationId".into(), id.into()), ("summary".into(), summary.into())]),
            is_open: true,
            parameters: Vec::new(),
            body: None,
            answers: Vec::new(),
            refusals: Vec::new(),
        };
        this.refuses(
            400,
            "malformed_request",
            "A header, the path or the query has a character that HTTP doesn't allow.",
        )
        .refuses(429, "too_many_requests", "Too many requests. Try again in a few seconds.")
        .refuses(
            503,
            "temporarily_unavailable",
            "We could not find out, or could not do it. Try again in a few seconds.",
        )
    }

    /// API keys may call it too, those that are narrowed to scopes only within them.
    #[must_use]
    pub fn for_keys_too(self) -> Self {
        self.refuses(403, "insufficient_scope", "The API key is narrowed to scopes, and none of them has this route.")
    }

    /// More than the summary says.
    #[must_use]
    pub fn says(mut self, description: &str) -> Self {
        self.operation.insert("description".into(), description.into());
        self
    }

    /// A parameter that the path leaves open.
    #[must_use]
    pub fn path(self, name: &str, says: &str, schema: &Value) -> Self {
        self.parameter("path", name, says, schema)
    }

    /// A parameter of the query, which may be left out.
    #[must_use]
    pub fn query(self, name: &str, says: &str, schema: &Value) -> Self {
        self.parameter("query", name, says, schema)
    }

    /// A header of the request, which may be left out.
    #[must_use]
    pub fn header(self, name: &str, says: &str, schema: &Value) -> Self {
        self.parameter("header", name, says, schema)
    }

    fn parameter(mut self, place: &str, name: &str, says: &str, schema: &Value) -> Self {
        self.parameters.push(
            json!({ "in": place, "name": name, "description": says, "required": place == "path", "schema": schema }),
        );
        self
    }

    /// The query parameter `name` can't be left out.
    #[must_use]
    pub fn required(mut self, name: &str) -> Self {
        for parameter in self.parameters.iter_mut().filter(|parameter| parameter["name"] == name) {
            parameter["required"] = true.into();
        }
        self
    }

    /// The JSON body. Its size, form and media type are refused alike everywhere.
    #[must_use]
    pub fn body<T: JsonSchema>(self, example: Value) -> Self {
        self.unchecked_body::<T>(example)
            .refuses(400, "invalid_body", "The body is not JSON, or has a member that is missing, unknown or mistyped.")
            .refuses(413, "body_too_large", "The body is larger than the API takes.")
            .refuses(415, "unsupported_media_type", "Send JSON, with content-type: application/json.")
    }

    /// The body may be left out, and its media type with it.
    #[must_use]
    pub fn or_nothing(mut self) -> Self {
        if let Some(body) = &mut self.body {
            body.is_required = false;
        }
        self
    }

    /// A JSON body that the function reads in a way of its own: its refusals are the route's.
    #[must_use]
    pub fn unchecked_body<T: JsonSchema>(mut self, example: Value) -> Self {
        self.body = Some(Body {
            media_types: &["application/json"],
            shape: SchemaGenerator::subschema_for::<T>,
            example,
            is_required: true,
        });
        self
    }

    /// The body of a `PATCH`: a JSON merge patch (RFC 7396).
    #[must_use]
    pub fn merge_patch<T: JsonSchema>(self, example: Value) -> Self {
        let mut this = self.body::<T>(example);
        if let Some(body) = &mut this.body {
            body.media_types = &["application/merge-patch+json", "application/json"];
        }
        this
    }

    /// What a request that went well gets.
    #[must_use]
    pub fn answers<T: JsonSchema>(self, status: u16, says: &'static str, example: Value) -> Self {
        self.answer(status, says, "application/json", Some((SchemaGenerator::subschema_for::<T>, example)))
    }

    /// An answer without a body.
    #[must_use]
    pub fn answers_nothing(self, status: u16, says: &'static str) -> Self {
        self.answer(status, says, "", None)
    }

    /// An answer that isn't JSON, as a page.
    #[must_use]
    pub fn answers_as(self, status: u16, says: &'static str, media_type: &'static str) -> Self {
        self.answer(status, says, media_type, Some((SchemaGenerator::subschema_for::<String>, Value::Null)))
    }

    fn answer(
        mut self,
        status: u16,
        says: &'static str,
        media_type: &'static str,
        content: Option<(Shape, Value)>,
    ) -> Self {
        self.answers.push(Answer {
            status,
            says,
            media_type,
            content,
            headers: Vec::new(),
            links: Map::new(),
            is_kept: false,
        });
        self
    }

    /// Headers that the last answer always has, of those that the document knows.
    #[must_use]
    pub fn with_headers(mut self, names: &[&'static str]) -> Self {
        if let Some(answer) = self.answers.last_mut() {
            answer.headers.extend(names);
        }
        self
    }

    /// Caches may keep the last answer: its address changes when it does.
    #[must_use]
    pub fn kept_for_ever(mut self) -> Self {
        if let Some(answer) = self.answers.last_mut() {
            answer.is_kept = true;
        }
        self
    }

    /// The id of the last answer names the thing in that other operation's path.
    #[must_use]
    pub fn leads_to(mut self, operations: &[&str]) -> Self {
        if let Some(answer) = self.answers.last_mut() {
            answer.links.extend(operations.iter().map(|operation| {
                let link = json!({ "operationId": operation, "parameters": { "id": "$response.body#/id" } });
                ((*operation).to_owned(), link)
            }));
        }
        self
    }

    /// A way to fail. `says` is for the person who reads the document.
    #[must_use]
    pub fn refuses(mut self, status: u16, error: &'static str, says: impl Into<String>) -> Self {
        self.refusals.push(Refusal { status, error, says: says.into() });
        self
    }
}
