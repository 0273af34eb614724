//! `GET /v1/projects` and `GET /v1/admin/projects`: an example of a function behind the authorizer.
//!
//! It reads the caller from the request context and, where a mistake in the access rules would do harm, checks the group
//! again.

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

/// A real function would ask its database, by `CurrentUser::id`. Only administrators see the last one.
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
            .description("For groups root, operator and user.")
            .json::<Projects>(
                200,
                "The projects.",
                example!({ "items": [{ "id": "vega", "name": "Vega" }], "viewer": "ada" }),
            )
            .error(&GatewayProblem::Forbidden),
        Route::new("GET /v1/admin/projects", "listAllProjects", "All of the example's projects")
            .allows_api_keys()
            .description("For groups root and operator.")
            .json::<Projects>(
                200,
                "The projects.",
                example!({ "items": [{ "id": "altair", "name": "Altair" }], "viewer": "ada" }),
            )
            .error(&GatewayProblem::Forbidden)
            .error(&RequestProblem::AdministratorOnly),
    ]
}

/// Returns the example's projects: all of them on the route for administrators, 403 there for anybody else.
pub fn handle(request: &Request) -> Answer {
    let user = current_user(request)?;
    match route(request).as_str() {
        "GET /v1/projects" => list(&PROJECTS[..2], user),
        "GET /v1/admin/projects" if user.is_administrator() => list(&PROJECTS, user),
        "GET /v1/admin/projects" => Err(RequestProblem::AdministratorOnly.into()),
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

    fn request(path: &str, groups: &str) -> Request {
        let event = serde_json::json!({
            "httpMethod": "GET", "path": path, "resource": path, "headers": {}, "multiValueHeaders": {},
            "requestContext": {
                "stage": "live", "requestId": "r-1", "httpMethod": "GET", "resourcePath": path, "identity": {},
                "authorizer": { "id": "user-1", "username": "ada", "groups": groups, "authenticated_by": "jwt" }
            },
            "isBase64Encoded": false
        });
        lambda_http::request::from_str(&event.to_string()).unwrap()
    }

    #[test]
    fn the_admin_route_wants_root_or_operator_even_if_the_access_rules_did_not() {
        for (groups, status) in [("root", 200), ("operator,user", 200), ("user", 403), ("", 403)] {
            let answer = handle(&request("/v1/admin/projects", groups));
            assert_eq!(
                answer.map_or_else(|problem| problem.code.status().as_u16(), |response| response.status().as_u16()),
                status
            );
        }
    }

    #[test]
    fn an_unknown_route_is_not_found() {
        assert_eq!(handle(&request("/v1/projects/x", "user")).unwrap_err().code, Code::NotFound);
    }
}
