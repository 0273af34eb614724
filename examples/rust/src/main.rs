//! The caller's orders, behind the Vega authorizer.

use lambda_http::{Body, Error, Request, Response, run, service_fn};
use serde_json::json;
use vega_current_user::CurrentUser;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(service_fn(async |request: Request| Ok::<_, Error>(orders(&request)))).await
}

fn orders(request: &Request) -> Response<Body> {
    match CurrentUser::of(request) {
        Ok(user) => Response::new(json!({ "orders_of": user.id, "groups": user.groups }).to_string().into()),
        Err(unauthenticated) => unauthenticated.response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(authorizer: &serde_json::Value) -> Response<Body> {
        let event = json!({
            "version": "2.0", "routeKey": "GET /v1/orders", "rawPath": "/v1/orders", "rawQueryString": "", "headers": {},
            "isBase64Encoded": false,
            "requestContext": {
                "http": { "method": "GET", "path": "/v1/orders" }, "routeKey": "GET /v1/orders", "timeEpoch": 0,
                "authorizer": { "lambda": authorizer }
            }
        });
        orders(&lambda_http::request::from_str(&event.to_string()).unwrap())
    }

    #[test]
    fn a_caller_gets_their_orders_and_nobody_else_does() {
        let mut caller =
            json!({ "id": "user-1", "username": "ada", "groups": "orders user", "authenticated_by": "jwt" });
        let answer = response(&caller);
        assert_eq!(answer.status(), 200);
        assert_eq!(*answer.body(), Body::from(r#"{"groups":["orders","user"],"orders_of":"user-1"}"#));
        caller["id"] = "".into();
        assert_eq!(response(&caller).status(), 401);
        assert_eq!(orders(&Request::default()).status(), 401);
    }
}
