//! `GET /v1/projects` and `GET /v1/admin/projects`: an example of a function behind the authorizer.
//!
//! It reads the caller from the request context. The access rules have decided that they can call the route.

use lambda_http::Request;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json as example;
use vega_auth::CurrentUser;
use vega_http::{Answer, RequestProblem, current_user, json, route};
use vega_openapi::{GatewayProblem, Route};

/// A project.
#[derive(Serialize, JsonSchema)]
struct Project {
    /// The stable id.
    id: &'static str,
    /// The display name.
    name: &'static str,
}

/// The projects that the caller can see.
#[derive(Serialize, JsonSchema)]
struct Projects {
    /// The projects.
    items: &'static [Project],
    /// The caller's username.
    viewer: String,
}

/// A real function would ask its database, by `CurrentUser::id`. Only the second route shows the last one.
const PROJECTS: [Project; 3] = [
    Project { id: "vega", name: "Vega" },
    Project { id: "lyra", name: "Lyra" },
    Project { id: "altair", name: "Altair" },
];

/// The routes, as docs/openapi.json describes them.
pub fn routes() -> Vec<Route> {
    vec![
        Route::new("GET /v1/projects", "listProjects", "The example's projects")
            .allows_api_keys()
            .json::<Projects>(
                200,
                "The projects.",
                example!({ "items": [{ "id": "vega", "name": "Vega" }], "viewer": "ada" }),
            )
            .error(&GatewayProblem::Forbidden),
        Route::new("GET /v1/admin/projects", "listAllProjects", "All of the example's projects")
            .allows_api_keys()
            .json::<Projects>(
                200,
                "The projects.",
                example!({ "items": [{ "id": "altair", "name": "Altair" }], "viewer": "ada" }),
            )
            .error(&GatewayProblem::Forbidden),
    ]
}

/// Returns the example's projects: all of them on the second route, which the access rules open to fewer people.
pub fn handle(request: &Request) -> Answer {
    let user = current_user(request)?;
    match route(request).as_str() {
        "GET /v1/projects" => list(&PROJECTS[..2], user),
        "GET /v1/admin/projects" => list(&PROJECTS, user),
        _ => Err(RequestProblem::NoSuchRoute.into()),
    }
}

fn list(items: &'static [Project], viewer: CurrentUser) -> Answer {
    json(200, &Projects { items, viewer: viewer.username })
}

#[cfg(test)]
mod tests {
    use vega_http::Code;

    use super::*;

    fn event(path: &str) -> serde_json::Value {
        serde_json::json!({
            "httpMethod": "GET", "path": path, "resource": path, "headers": {}, "multiValueHeaders": {},
            "requestContext": {
                "stage": "live", "requestId": "r-1", "httpMethod": "GET", "resourcePath": path, "identity": {},
                "authorizer": { "id": "user-1", "username": "ada", "authenticated_by": "jwt" }
            },
            "isBase64Encoded": false
        })
    }

    fn request(path: &str) -> Request {
        lambda_http::request::from_str(&event(path).to_string()).unwrap()
    }

    #[test]
    fn only_the_second_route_shows_every_project() {
        for (path, count) in [("/v1/projects", 2), ("/v1/admin/projects", 3)] {
            let answer: serde_json::Value = serde_json::from_slice(handle(&request(path)).unwrap().body()).unwrap();
            assert_eq!(answer["items"].as_array().unwrap().len(), count);
            assert_eq!(answer["viewer"], "ada");
        }
    }

    #[test]
    fn a_request_that_skipped_the_authorizer_sees_nothing() {
        let mut event = event("/v1/admin/projects");
        event["requestContext"]["authorizer"] = serde_json::json!({});
        let request = lambda_http::request::from_str(&event.to_string()).unwrap();
        assert_eq!(handle(&request).unwrap_err().code, Code::InvalidToken);
    }

    #[test]
    fn an_unknown_route_is_not_found() {
        assert_eq!(handle(&request("/v1/projects/x")).unwrap_err().code, Code::NotFound);
    }
}
