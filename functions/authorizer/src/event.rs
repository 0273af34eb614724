//! What API Gateway sends to an authorizer: just the fields that matter, read leniently, since the headers are the
//! client's and one odd value must not fail the event. Everything else is skipped where it stands, and nothing is copied.

use std::borrow::Cow;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use vega_auth::{ApiKey, Object, Rejection};

/// An event as it is written. Everything is optional: what is missing is decided about, not failed on.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event<'a> {
    #[serde(borrow)]
    version: Option<Text<'a>>,
    #[serde(rename = "type")]
    kind: Option<Text<'a>>,
    method_arn: Option<Text<'a>>,
    route_arn: Option<Text<'a>>,
    authorization_token: Option<Text<'a>>,
    headers: Option<Headers<'a>>,
    multi_value_headers: Option<Headers<'a>>,
    query_string_parameters: Option<Query>,
    multi_value_query_string_parameters: Option<Query>,
    request_context: Option<Object<RequestContext<'a>>>,
}

/// The forms there are ([REST](https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-lambda-authorizer-input.html),
/// [HTTP](https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-lambda-authorizer.html),
/// [WebSocket](https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-lambda-auth.html)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// REST API, REQUEST authorizer.
    Rest,
    /// REST API, TOKEN authorizer: the header's value, and nothing else of the request.
    RestToken,
    /// HTTP API, payload format 2.0.
    Http,
    /// WebSocket API, `$connect`.
    WebSocket,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestContext<'a> {
    #[serde(borrow)]
    request_id: Option<Text<'a>>,
    resource_path: Option<Text<'a>>,
    route_key: Option<Text<'a>>,
    event_type: Option<Text<'a>>,
    identity: Option<Object<Caller<'a>>>,
    http: Option<Object<Caller<'a>>>,
}

/// The caller's connection, as API Gateway saw it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Caller<'a> {
    #[serde(borrow)]
    source_ip: Option<Text<'a>>,
    user_agent: Option<Text<'a>>,
}

impl Event<'_> {
    /// Which form this is, and the ARN of what is called. Told by the fields that one form has and no other.
    pub fn form(&self) -> Option<(Form, &str)> {
        let event_type = self.request_context.as_ref().and_then(|context| context.event_type.as_deref());
        let is_bare = self.headers.is_none() && self.multi_value_headers.is_none() && self.request_context.is_none();
        match (self.version.as_deref(), self.kind.as_deref(), self.method_arn.as_deref(), self.route_arn.as_deref()) {
            (Some("2.0"), Some("REQUEST"), None, Some(arn))
                if event_type.is_none() && self.authorization_token.is_none() =>
            {
                Some((Form::Http, arn))
            }
            (None, Some("TOKEN"), Some(arn), None) if is_bare => Some((Form::RestToken, arn)),
            (None, Some("REQUEST"), Some(arn), None) if self.authorization_token.is_none() => match event_type {
                None => Some((Form::Rest, arn)),
                Some("CONNECT") => Some((Form::WebSocket, arn)),
                Some(_) => None,
            },
            _ => None,
        }
    }

    /// API Gateway's id of the request, where it tells one.
    pub fn request_id(&self) -> Option<&str> {
        self.request_context.as_ref()?.request_id.as_deref()
    }

    /// The template of the path, where API Gateway tells one: `/v1/api-keys/{id}`.
    pub fn route(&self) -> Option<&str> {
        let context = self.request_context.as_ref()?;
        context.resource_path.as_deref().or(context.route_key.as_deref())
    }

    /// The caller's address, as API Gateway saw it.
    pub fn source_address(&self) -> Option<&str> {
        self.caller()?.source_ip.as_deref()
    }

    /// The caller's `User-Agent`.
    pub fn user_agent(&self) -> Option<&str> {
        self.caller()?.user_agent.as_deref()
    }

    fn caller(&self) -> Option<&Caller<'_>> {
        let context = self.request_context.as_ref()?;
        context.identity.as_deref().or(context.http.as_deref())
    }
}

impl Event<'_> {
    /// The one `Authorization` header's value. HTTP APIs join two of them by a comma, which no token has in it.
    ///
    /// `headers` has one value a name, `multiValueHeaders` all of them; a client can send the name in several cases.
    ///
    /// # Errors
    /// When there is more than one, the two maps disagree, or there is none.
    pub fn authorization(&self) -> Result<&str, Rejection> {
        if let Some(token) = &self.authorization_token {
            return Ok(token);
        }
        let maps = [&self.multi_value_headers, &self.headers];
        if maps.into_iter().flatten().any(|headers| headers.has_odd_authorization) {
            return Err(Rejection::NotBearer);
        }
        let all = self.multi_value_headers.as_ref().map_or(&[][..], |headers| &headers.authorization);
        let single = self.headers.as_ref().map_or(&[][..], |headers| &headers.authorization);
        match (all, single) {
            ([], []) => Err(Rejection::NoCredential),
            ([value], []) | ([], [value]) => Ok(value),
            ([value], [same]) if **value == **same => Ok(value),
            _ => Err(Rejection::ManyCredentials),
        }
    }

    /// # Errors
    /// When the query string carries a credential (RFC 6750 section 2.3), which logs and histories would keep.
    pub fn refuse_credential_in_query(&self) -> Result<(), Rejection> {
        match (&self.query_string_parameters, &self.multi_value_query_string_parameters) {
            (Some(Query { has_credential: true }), _) | (_, Some(Query { has_credential: true })) => {
                Err(Rejection::CredentialInQuery)
            }
            _ => Ok(()),
        }
    }
}

/// A JSON string: a slice of the event, unless something in it is escaped.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl std::ops::Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// All values of the one header that matters, in any case of its name.
struct Headers<'a> {
    authorization: Vec<Text<'a>>,
    /// It is there, and is neither text nor a list: that is not a missing one.
    has_odd_authorization: bool,
}

impl<'de: 'a, 'a> Deserialize<'de> for Headers<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names<'a>(Headers<'a>);
        impl<'de: 'a, 'a> Visitor<'de> for Names<'a> {
            type Value = Headers<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of headers")
            }

            fn visit_map<M: MapAccess<'de>>(mut self, mut map: M) -> Result<Headers<'a>, M::Error> {
                while let Some(name) = map.next_key::<Text<'_>>()? {
                    if !name.eq_ignore_ascii_case("authorization") {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    match map.next_value()? {
                        Texts::Null => {}
                        Texts::One(value) => self.0.authorization.push(value),
                        Texts::Many(values) => self.0.authorization.extend(values),
                        Texts::Other => self.0.has_odd_authorization = true,
                    }
                }
                Ok(self.0)
            }
        }
        deserializer.deserialize_map(Names(Headers { authorization: Vec::new(), has_odd_authorization: false }))
    }
}

/// Whether a credential is among the parameters of the query string.
struct Query {
    has_credential: bool,
}

impl<'de> Deserialize<'de> for Query {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parameters;
        impl<'de> Visitor<'de> for Parameters {
            type Value = Query;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of parameters")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Query, M::Error> {
                const NAMES: [&str; 5] = ["access_token", "authorization", "token", "api_key", "apikey"];
                // An HTTP API joins the values of a name by commas.
                let is_key = |text: &Text<'_>| text.split(',').any(|part| part.trim().starts_with(ApiKey::PREFIX));
                let mut has_credential = false;
                while let Some((name, value)) = map.next_entry::<Text<'_>, Texts<'_>>()? {
                    has_credential |= NAMES.iter().any(|wanted| name.eq_ignore_ascii_case(wanted))
                        || match &value {
                            Texts::One(text) => is_key(text),
                            Texts::Many(list) => list.iter().any(is_key),
                            Texts::Null | Texts::Other => false,
                        };
                }
                Ok(Query { has_credential })
            }
        }
        deserializer.deserialize_map(Parameters)
    }
}

/// What stands in a map of headers or parameters. Of a list, what is no text is left out.
enum Texts<'a> {
    Null,
    One(Text<'a>),
    Many(Vec<Text<'a>>),
    Other,
}

impl<'de: 'a, 'a> Deserialize<'de> for Texts<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any<'a>(std::marker::PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for Any<'a> {
            type Value = Texts<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }

            fn visit_unit<E>(self) -> Result<Texts<'a>, E> {
                Ok(Texts::Null)
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Texts<'a>, E> {
                Ok(Texts::One(Text(Cow::Borrowed(text))))
            }

            fn visit_str<E>(self, text: &str) -> Result<Texts<'a>, E> {
                Ok(Texts::One(Text(Cow::Owned(text.to_owned()))))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Texts<'a>, E> {
                Ok(Texts::Other)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Texts<'a>, E> {
                Ok(Texts::Other)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Texts<'a>, E> {
                Ok(Texts::Other)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Texts<'a>, E> {
                Ok(Texts::Other)
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<Texts<'a>, S::Error> {
                let mut texts = Vec::new();
                while let Some(value) = list.next_element()? {
                    if let Texts::One(text) = value {
                        texts.push(text);
                    }
                }
                Ok(Texts::Many(texts))
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Texts<'a>, M::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Texts::Other)
            }
        }
        deserializer.deserialize_any(Any(std::marker::PhantomData))
    }
}

#[cfg(test)]
#[allow(clippy::needless_pass_by_value, reason = "a case is read best where it is written")]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn form(event: Value) -> Option<Form> {
        let text = event.to_string();
        let event: Event<'_> = serde_json::from_str(&text).unwrap();
        event.form().map(|(form, _)| form)
    }

    #[test]
    fn each_form_is_told_by_its_own_fields() {
        let context = json!({ "requestId": "r" });
        let rest = json!({ "type": "REQUEST", "methodArn": "a", "headers": {}, "requestContext": context });
        let token = json!({ "type": "TOKEN", "methodArn": "a", "authorizationToken": "Bearer x" });
        let http =
            json!({ "version": "2.0", "type": "REQUEST", "routeArn": "a", "headers": {}, "requestContext": context });
        let mut socket = rest.clone();
        socket["requestContext"]["eventType"] = json!("CONNECT");
        for (event, expected) in
            [(&rest, Form::Rest), (&token, Form::RestToken), (&http, Form::Http), (&socket, Form::WebSocket)]
        {
            assert_eq!(form(event.clone()), Some(expected));
        }
    }

    #[test]
    fn an_event_that_is_none_of_them_or_two_at_once_has_no_form() {
        let message = json!({ "eventType": "MESSAGE" });
        for event in [
            json!({}),
            json!({ "type": "REQUEST" }),
            json!({ "type": "TOKEN", "methodArn": "a", "headers": { "Authorization": "Bearer y" } }),
            json!({ "type": "TOKEN", "methodArn": "a", "authorizationToken": "x", "requestContext": {} }),
            json!({ "type": "REQUEST", "methodArn": "a", "authorizationToken": "x", "headers": {} }),
            json!({ "type": "REQUEST", "methodArn": "a", "routeArn": "a", "version": "2.0" }),
            json!({ "version": "1.0", "type": "REQUEST", "methodArn": "a", "headers": {} }),
            json!({ "version": "2.0", "routeArn": "a" }),
            json!({ "version": "2.0", "type": "REQUEST", "routeArn": "a", "authorizationToken": "x" }),
            json!({ "type": "REQUEST", "methodArn": "a", "requestContext": message }),
            json!({ "version": "2.0", "type": "REQUEST", "routeArn": "a", "requestContext": { "eventType": "CONNECT" } }),
        ] {
            assert_eq!(form(event.clone()), None, "{event}");
        }
    }

    #[track_caller]
    fn check(event: Value, expected: Result<&str, Rejection>) {
        let text = event.to_string();
        let event: Event<'_> = serde_json::from_str(&text).unwrap();
        assert_eq!(event.authorization(), expected);
    }

    #[test]
    fn the_header_is_found_in_any_case_in_either_map() {
        for name in ["Authorization", "authorization", "AUTHORIZATION"] {
            check(json!({ "headers": { name: "Bearer x" } }), Ok("Bearer x"));
            check(json!({ "multiValueHeaders": { name: ["Bearer x"] }, "headers": null }), Ok("Bearer x"));
            check(
                json!({ "multiValueHeaders": { name: ["Bearer x"] }, "headers": { name: "Bearer x" } }),
                Ok("Bearer x"),
            );
        }
    }

    #[test]
    fn two_headers_or_two_that_disagree_are_refused() {
        for event in [
            json!({ "multiValueHeaders": { "Authorization": ["Bearer x", "Bearer y"] }, "headers": { "Authorization": "Bearer y" } }),
            json!({ "multiValueHeaders": { "Authorization": ["Bearer x", "Bearer x"] } }),
            json!({ "headers": { "Authorization": "Bearer x", "authorization": "Bearer y" } }),
            json!({ "headers": { "Authorization": "Bearer x" }, "multiValueHeaders": { "Authorization": ["Bearer y"] } }),
        ] {
            check(event, Err(Rejection::ManyCredentials));
        }
    }

    #[test]
    fn no_header_is_no_credential_and_odd_headers_do_no_harm() {
        check(json!({}), Err(Rejection::NoCredential));
        check(json!({ "headers": null, "multiValueHeaders": null }), Err(Rejection::NoCredential));
        check(json!({ "headers": { "X-Odd": 7, "X-\u{1}": null, "Authorization": "Bearer x" } }), Ok("Bearer x"));
        check(json!({ "headers": { "Authorization": 7 } }), Err(Rejection::NotBearer));
    }

    #[test]
    fn a_credential_in_the_query_string_is_refused() {
        let refused = |query: Value| {
            let text = json!({ "queryStringParameters": query }).to_string();
            let event: Event<'_> = serde_json::from_str(&text).unwrap();
            event.refuse_credential_in_query().is_err()
        };
        assert!(refused(json!({ "access_token": "x" })) && refused(json!({ "Authorization": "x" })));
        assert!(
            refused(json!({ "anything": "vk_000000000000_" })) && refused(json!({ "joined": "a,vk_000000000000_" }))
        );
        assert!(!refused(json!({ "q": "first", "limit": "10" })) && !refused(Value::Null));
    }
}
