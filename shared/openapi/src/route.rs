use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};
use vega_http::{BodyError, Code, MAX_BODY_BYTES, ProblemType, RequestProblem};

/// A type's schema, by reference to the document's components.
pub(crate) type Shape = fn(&mut SchemaGenerator) -> Schema;

/// One operation: its request and its responses.
#[must_use]
pub struct Route {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) operation: Map<String, Value>,
    pub(crate) is_public: bool,
    pub(crate) parameters: Vec<Value>,
    pub(crate) body: Option<Body>,
    pub(crate) responses: Vec<Response>,
    pub(crate) errors: Vec<Error>,
}

pub(crate) struct Body {
    pub media_types: &'static [&'static str],
    pub shape: Shape,
    pub example: Value,
    pub is_required: bool,
}

pub(crate) struct Response {
    pub status: u16,
    pub description: &'static str,
    pub media_type: &'static str,
    pub content: Option<(Shape, Value)>,
    pub headers: Vec<&'static str>,
    pub links: Map<String, Value>,
    pub is_immutable: bool,
}

pub(crate) struct Error {
    pub code: Code,
    pub detail: String,
    pub faults: Vec<String>,
}

/// API Gateway's own problems. Their texts are in template.yaml; a test compares the two.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum GatewayProblem {
    #[error("The token is missing, malformed, expired or revoked. Sign in again, or check the API key.")]
    Unauthorized,
    #[error("{ACCESS_DENIED}")]
    Forbidden,
    #[error("{ACCESS_DENIED}")]
    InsufficientScope,
    #[error("{ACCESS_DENIED}")]
    PersonRequired,
    #[error("Too many requests. Try again in a few seconds.")]
    Throttled,
}

/// API Gateway has one text for all three.
const ACCESS_DENIED: &str =
    "You are known, but you can't do this. The error's code is the reason, and its type explains it.";

impl ProblemType for GatewayProblem {
    fn code(&self) -> Code {
        match self {
            Self::Unauthorized => Code::InvalidToken,
            Self::Forbidden => Code::Forbidden,
            Self::InsufficientScope => Code::InsufficientScope,
            Self::PersonRequired => Code::PersonRequired,
            Self::Throttled => Code::TooManyRequests,
        }
    }
}

impl Route {
    /// A route such as `POST /v1/api-keys` that requires a signed-in caller. `id` names it in generated clients.
    pub fn new(route: &str, id: &str, summary: &str) -> Self {
        Self { is_public: false, ..Self::public(route, id, summary) }.error(&GatewayProblem::Unauthorized)
    }

    /// A route without an authorizer.
    pub fn public(route: &str, id: &str, summary: &str) -> Self {
        let (method, path) = route.split_once(' ').unwrap_or(("GET", route));
        let this = Self {
            method: method.to_ascii_lowercase(),
            path: path.to_owned(),
            operation: Map::from_iter([("operationId".into(), id.into()), ("summary".into(), summary.into())]),
            is_public: true,
            parameters: Vec::new(),
            body: None,
            responses: Vec::new(),
            errors: Vec::new(),
        };
        this.error(&RequestProblem::Malformed).error(&GatewayProblem::Throttled).error(&RequestProblem::Unavailable)
    }

    /// Adds what several routes have in common.
    pub fn with(self, common: impl FnOnce(Self) -> Self) -> Self {
        common(self)
    }

    /// API keys can call it too, unless their scopes exclude it.
    pub fn allows_api_keys(self) -> Self {
        self.error(&GatewayProblem::InsufficientScope)
    }

    /// Details beyond the summary.
    pub fn description(mut self, description: &str) -> Self {
        self.operation.insert("description".into(), description.into());
        self
    }

    /// A path parameter.
    pub fn path(self, name: &str, description: &str, schema: &Value) -> Self {
        self.parameter("path", true, name, description, schema)
    }

    /// An optional query parameter.
    pub fn query(self, name: &str, description: &str, schema: &Value) -> Self {
        self.parameter("query", false, name, description, schema)
    }

    /// A required query parameter.
    pub fn required_query(self, name: &str, description: &str, schema: &Value) -> Self {
        self.parameter("query", true, name, description, schema)
    }

    /// An optional request header.
    pub fn header(self, name: &str, description: &str, schema: &Value) -> Self {
        self.parameter("header", false, name, description, schema)
    }

    fn parameter(mut self, place: &str, required: bool, name: &str, description: &str, schema: &Value) -> Self {
        self.parameters.push(json!({
            "in": place, "name": name, "description": description, "required": required, "schema": schema,
        }));
        self
    }

    /// The JSON body, with the errors that `vega_http::read_json` has.
    pub fn body<T: JsonSchema>(self, example: Value) -> Self {
        self.unchecked_body::<T>(example)
            .error(&RequestProblem::InvalidBody(BodyError::NotAnObject))
            .error(&RequestProblem::TooLarge { max: MAX_BODY_BYTES })
            .error(&RequestProblem::NotJsonType)
    }

    /// The body can be omitted, and its media type with it.
    pub fn optional_body(mut self) -> Self {
        if let Some(body) = &mut self.body {
            body.is_required = false;
        }
        self
    }

    /// A JSON body that the function reads in its own way, with errors of its own.
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
    pub fn merge_patch<T: JsonSchema>(self, example: Value) -> Self {
        let mut this = self.body::<T>(example);
        if let Some(body) = &mut this.body {
            body.media_types = &["application/merge-patch+json", "application/json"];
        }
        this
    }

    /// A successful JSON response.
    pub fn json<T: JsonSchema>(self, status: u16, description: &'static str, example: Value) -> Self {
        self.response(status, description, "application/json", Some((SchemaGenerator::subschema_for::<T>, example)))
    }

    /// A successful response without a body.
    pub fn no_content(self, status: u16, description: &'static str) -> Self {
        self.response(status, description, "", None)
    }

    /// A successful response that isn't JSON, such as a page.
    pub fn text(self, status: u16, description: &'static str, media_type: &'static str) -> Self {
        self.response(status, description, media_type, Some((SchemaGenerator::subschema_for::<String>, Value::Null)))
    }

    fn response(
        mut self,
        status: u16,
        description: &'static str,
        media_type: &'static str,
        content: Option<(Shape, Value)>,
    ) -> Self {
        self.responses.push(Response {
            status,
            description,
            media_type,
            content,
            headers: Vec::new(),
            links: Map::new(),
            is_immutable: false,
        });
        self
    }

    /// Headers that the latest response always has, from the document's list.
    pub fn with_headers(mut self, names: &[&'static str]) -> Self {
        if let Some(response) = self.responses.last_mut() {
            response.headers.extend(names);
        }
        self
    }

    /// The latest response can be cached forever: its URL changes whenever its content does.
    pub fn immutable(mut self) -> Self {
        if let Some(response) = self.responses.last_mut() {
            response.is_immutable = true;
        }
        self
    }

    /// The `id` in the latest response is the path parameter of these operations.
    pub fn link(mut self, operations: &[&str]) -> Self {
        if let Some(response) = self.responses.last_mut() {
            response.links.extend(operations.iter().map(|operation| {
                let link = json!({ "operationId": operation, "parameters": { "id": "$response.body#/id" } });
                ((*operation).to_owned(), link)
            }));
        }
        self
    }

    /// A reason for the operation to fail: the code, status and text that the handler answers with.
    pub fn error(mut self, problem: &dyn ProblemType) -> Self {
        self.errors.push(Error { code: problem.code(), detail: problem.to_string(), faults: problem.faults() });
        self
    }
}
