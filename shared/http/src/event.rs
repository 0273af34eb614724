use lambda_http::aws_lambda_events::apigw::{ApiGatewayProxyRequest, ApiGatewayProxyRequestContext};
use lambda_http::request::LambdaRequest;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// What Lambda hands to an HTTP function. A client can put into it what the library refuses, a control character in any
/// header among them: such a request is answered like every bad one, where a failing function would ring an alarm.
#[derive(Debug)]
pub struct Event {
    /// The request; of one that can't be read, the place in which API Gateway saw it, and nothing else.
    pub request: LambdaRequest,
    /// Whether it could be read.
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

/// The library makes a URL of the host and scheme that a client wrote, and panics where they make none. Nothing here
/// depends on either.
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
    use crate::request::{request_id, route};

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
    fn a_header_with_a_control_character_is_unreadable_and_no_fault() {
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
    fn half_a_surrogate_is_unreadable_and_no_fault() {
        let json = r#"{"path":"/\ud800","httpMethod":"GET","requestContext":{"identity":{"userAgent":"\udfff"}}}"#;
        let event: Event = serde_json::from_str(json).unwrap();
        assert!(!event.is_readable);
        let _: Request = event.request.into();
    }

    #[test]
    fn no_character_in_any_place_makes_the_library_panic() {
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
    fn an_event_that_is_no_request_is_answered_too() {
        for json in ["{}", "[]", "null", r#"{"detail-type":"Scheduled Event"}"#] {
            assert!(!serde_json::from_str::<Event>(json).unwrap().is_readable, "{json}");
        }
    }
}
