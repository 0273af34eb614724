//! `GET /v1/projects` and `GET /v1/admin/projects`: the example of a function behind the authorizer.
//!
//! It shows the two things that such a function does: it reads who is calling from the request context, and, where a
//! mistake in the access rules would hurt, it checks the group again.

use lambda_http::Request;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json as example;
use vega_auth::{CurrentUser, Group};
use vega_http::{Answer, Code, ProblemType, RequestProblem, current_user, json, route};
use vega_openapi::{GatewayProblem, Route};

/// A project of the example.
#[derive(Serialize, JsonSchema)]
struct Project {
    /// The stable id.
    id: &'static str,
    /// The name to show.
    name: &'static str,
}

/// The projects that the caller may see.
#[derive(Serialize, JsonSchema)]
struct Projects {
    /// All of them.
    items: &'static [Project],
    /// Who is looking.
    viewer: String,
}

/// What the example serves. A real function would ask its database, by `CurrentUser::id`.
const PROJECTS: [Project; 2] = [Project { id: "vega", name: "Vega" }, Project { id: "lyra", name: "Lyra" }];
/// What only administrators see.
const ALL_PROJECTS: [Project; 3] = [
    Project { id: "vega", name: "Vega" },
    Project { id: "lyra", name: "Lyra" },
    Project { id: "altair", name: "Altair" },
];

/// The one problem type of the example.
#[derive(Debug, thiserror::Error)]
#[error("This route requires group root or operator.")]
struct AdministratorsOnly;

impl ProblemType for AdministratorsOnly {
    fn code(&self) -> Code {
        Code::Forbidden
    }
}

/// The routes, as docs/openapi.json shows them.
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
            .error(&AdministratorsOnly),
    ]
}

/// Answers with the example's projects.
///
/// # Errors
/// 401 without a caller, 403 on the admin route for anybody but groups `root` and `operator`.
pub fn handle(request: &Request) -> Answer {
    let user = current_user(request)?;
    match route(request).as_str() {
        "GET /v1/projects" => list(&PROJECTS, user),
        "GET /v1/admin/projects" if is_administrator(&user) => list(&ALL_PROJECTS, user),
        "GET /v1/admin/projects" => Err(AdministratorsOnly.into()),
        _ => Err(RequestProblem::NoSuchRoute.into()),
    }
}

fn is_administrator(user: &CurrentUser) -> bool {
    user.groups.contains(Group::Root) || user.groups.contains(Group::Operator)
}

fn list(items: &'static [Project], viewer: CurrentUser) -> Answer {
    json(200, &Projects { items, viewer: viewer.username })
}

#[cfg(test)]
mod tests {
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
