use lambda_http::aws_lambda_events::apigw::{ApiGatewayProxyRequest, ApiGatewayProxyRequestContext};
use lambda_http::request::LambdaRequest;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// The event of an HTTP function. A client can send what the library rejects, such as a control character in a header. The
/// response to that is a 400, like any other bad request's; a failing function would trigger an alarm.
#[derive(Debug)]
pub struct Event {
    /// The request. If it can't be read, only its method and request context.
    pub request: LambdaRequest,
    /// Whether the request could be read.
    pub is_readable: bool,
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        struct Place {
            request_context: ApiGatewayProxyRequestContext,
        }
        let json = Box::<RawValue>::deserialize(deserializer)?;
        if let Ok(mut request) = serde_json::from_str(json.get()) {
            forget_host(&mut request);
            return Ok(Self { request, is_readable: true });
        }
        let Place { request_context } = serde_json::from_str(json.get()).unwrap_or_default();
        let mut request = ApiGatewayProxyRequest::default();
        request.http_method = request_context.http_method.clone();
        request.request_context = request_context;
        Ok(Self { request: LambdaRequest::ApiGatewayV1(request), is_readable: false })
    }
}

/// Removes the host. The library builds a URL from the host and scheme that the client sent, and panics if the result isn't
/// one. No function needs either.
fn forget_host(request: &mut LambdaRequest) {
    let (headers, domain_name) = match request {
        LambdaRequest::ApiGatewayV1(request) => (&mut request.headers, &mut request.request_context.domain_name),
        LambdaRequest::ApiGatewayV2(request) => (&mut request.headers, &mut request.request_context.domain_name),
        #[allow(unreachable_patterns, reason = "a feature that another crate turns on adds variants")]
        _ => return,
    };
    headers.remove(http::header::HOST);
    *domain_name = None;
}

#[cfg(test)]
mod tests {
    use lambda_http::Request;
    use serde_json::{Value, json};

    use super::*;
    use crate::request::{current_user, path_parameter, request_id, route, source_address};

    fn read(change: impl FnOnce(&mut Value)) -> (Request, bool) {
        let mut event = json!({
            "resource": "/v1/auth/me", "path": "/v1/auth/me", "httpMethod": "GET",
            "headers": { "Host": "localhost" }, "multiValueHeaders": { "Host": ["localhost"] },
            "queryStringParameters": { "q": "x" }, "multiValueQueryStringParameters": { "q": ["x"] },
            "pathParameters": { "id": "x" }, "stageVariables": null,
            "requestContext": {
                "requestId": "r-1", "resourcePath": "/v1/auth/me", "httpMethod": "GET", "stage": "live",
                "domainName": "localhost", "identity": { "sourceIp": "192.0.2.1", "userAgent": "curl/8" }
            },
            "body": null, "isBase64Encoded": false
        });
        change(&mut event);
        let Event { request, is_readable } = serde_json::from_str(&event.to_string()).unwrap();
        (request.into(), is_readable)
    }

    #[test]
    fn an_event_of_payload_format_2_is_read_like_one_of_format_1() {
        let event = json!({
            "version": "2.0", "routeKey": "GET /v1/api-keys/{id}", "rawPath": "/live/v1/api-keys/7Gh2kQ9XbT4m",
            "rawQueryString": "", "headers": { "host": "localhost" }, "pathParameters": { "id": "7Gh2kQ9XbT4m" },
            "requestContext": {
                "requestId": "r-2", "routeKey": "GET /v1/api-keys/{id}", "stage": "live", "domainName": "localhost",
                "http": {
                    "method": "GET", "path": "/live/v1/api-keys/7Gh2kQ9XbT4m", "protocol": "HTTP/1.1",
                    "sourceIp": "192.0.2.1", "userAgent": "curl/8"
                },
                "authorizer": { "lambda": {
                    "id": "user-1", "username": "ada", "groups": "user", "authenticated_by": "jwt"
                } }
            },
            "isBase64Encoded": false
        });
        let Event { request, is_readable } = serde_json::from_str(&event.to_string()).unwrap();
        assert!(is_readable);
        let request: Request = request.into();
        assert_eq!((route(&request), request_id(&request)), ("GET /v1/api-keys/{id}".into(), "r-2".into()));
        assert_eq!(source_address(&request), "192.0.2.1");
        assert_eq!(path_parameter(&request, "id").as_deref(), Some("7Gh2kQ9XbT4m"));
        assert_eq!(current_user(&request).unwrap().id, "user-1");
    }

    #[test]
    fn a_control_character_in_a_header_is_unreadable_not_a_fault() {
        for (name, value) in
            [("X-Odd", "a\u{1}b"), ("X-Odd", "a\u{7f}"), ("X-Odd", "a\nb"), ("X-\u{1}Odd", "a"), ("", "a")]
        {
            let (request, is_readable) = read(|event| {
                event["headers"][name] = json!(value);
                event["multiValueHeaders"][name] = json!([value]);
            });
            assert!(!is_readable, "{name:?}: {value:?}");
            assert_eq!((route(&request), request_id(&request)), ("GET /v1/auth/me".into(), "r-1".into()));
        }
        assert!(read(|_| {}).1);
    }

    #[test]
    fn a_lone_surrogate_is_unreadable_not_a_fault() {
        let json = r#"{"path":"/\ud800","httpMethod":"GET","requestContext":{"identity":{"userAgent":"\udfff"}}}"#;
        let event: Event = serde_json::from_str(json).unwrap();
        assert!(!event.is_readable);
        let _: Request = event.request.into();
    }

    #[test]
    fn no_character_anywhere_makes_the_library_panic() {
        let odd = (0..=0xff_u8).map(|byte| char::from(byte).to_string());
        for text in odd.chain(["[".into(), "a b".into(), ":x".into(), "%".into(), "%zz".into(), "\u{202e}".into()]) {
            let _ = read(|event| event["path"] = json!(format!("/v1/{text}")));
            let _ = read(|event| event["multiValueQueryStringParameters"] = json!({ text.as_str(): [text] }));
            let _ = read(|event| event["queryStringParameters"] = json!({ text.as_str(): text }));
            let _ = read(|event| event["pathParameters"]["id"] = json!(text));
            let _ = read(|event| event["requestContext"]["domainName"] = json!(text));
            for name in ["Host", "X-Forwarded-Proto"] {
                let _ = read(|event| event["headers"][name] = json!(text));
            }
        }
    }

    #[test]
    fn an_event_that_is_not_a_request_is_unreadable() {
        for json in ["{}", "[]", "null", r#"{"detail-type":"Scheduled Event"}"#] {
            assert!(!serde_json::from_str::<Event>(json).unwrap().is_readable, "{json}");
        }
    }
}
