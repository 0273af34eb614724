//! The authorizer's event: only the members that we need, read leniently, because the client chooses the headers and one odd
//! value must not fail the event. Everything else is skipped during parsing, and nothing is copied.

use std::borrow::Cow;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use vega_auth::{ApiKey, Object, Rejection};

use crate::method_arn::MethodArn;

/// The event's members. All are optional: a missing one affects the decision, not the parsing.
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
    resource: Option<Text<'a>>,
    route_key: Option<Text<'a>>,
    headers: Option<Headers<'a>>,
    multi_value_headers: Option<Headers<'a>>,
    query_string_parameters: Option<Query>,
    multi_value_query_string_parameters: Option<Query>,
    request_context: Option<Object<RequestContext<'a>>>,
}

/// The kinds of event ([REST](https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-lambda-authorizer-input.html),
/// [HTTP](https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-lambda-authorizer.html),
/// [WebSocket](https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-lambda-auth.html)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// REST API, REQUEST authorizer.
    Rest,
    /// REST API, TOKEN authorizer: the header's value and nothing else of the request.
    RestToken,
    /// HTTP API, payload format 2.0.
    Http,
    /// WebSocket API, `$connect`.
    WebSocket,
}

/// An event that can't be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventError {
    /// A string that isn't Unicode: the client's error.
    Malformed,
    /// JSON that isn't an event's.
    Unreadable,
    /// No known form, or no method's ARN.
    Unknown,
}

impl EventError {
    /// A stable code for logs.
    pub fn code(self) -> &'static str {
        match self {
            Self::Malformed => "event_malformed",
            Self::Unreadable => "event_unreadable",
            Self::Unknown => "event_unknown",
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestContext<'a> {
    #[serde(borrow)]
    request_id: Option<Text<'a>>,
    resource_path: Option<Text<'a>>,
    route_key: Option<Text<'a>>,
    event_type: Option<Text<'a>>,
    identity: Option<Object<Connection<'a>>>,
    http: Option<Object<Connection<'a>>>,
}

/// The caller's connection, as API Gateway saw it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Connection<'a> {
    #[serde(borrow)]
    source_ip: Option<Text<'a>>,
    user_agent: Option<Text<'a>>,
}

impl<'a> Event<'a> {
    /// Parses an event.
    /// Fails when it isn't an event's JSON. The parser's message is dropped: it could repeat what the client sent.
    pub fn read<'de: 'a>(event: impl Deserializer<'de, Error = serde_json::Error>) -> Result<Self, EventError> {
        match Object::deserialize(event) {
            Ok(Object(event)) => Ok(event),
            // The runtime has already parsed it as JSON, so the problem is in a string: half a surrogate pair.
            Err(error) if error.is_syntax() => Err(EventError::Malformed),
            Err(_) => Err(EventError::Unreadable),
        }
    }

    /// The form of the event, and the method called.
    /// Fails when the form is unknown, or the ARN isn't a method's.
    pub fn target(&self) -> Result<(Form, MethodArn<'_>), EventError> {
        let (form, arn) = self.form().ok_or(EventError::Unknown)?;
        Ok((form, MethodArn::parse(arn).ok_or(EventError::Unknown)?))
    }

    /// The form, recognised by the members that only one form has, and the ARN.
    fn form(&self) -> Option<(Form, &str)> {
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

    /// The path of the route that API Gateway matched, if this form of event has it: `resource` of a REST API, `routeKey` of an
    /// HTTP API, where `$default` has no path. A TOKEN event has none.
    /// Fails when the event names two different routes.
    pub fn resource(&self, form: Form) -> Result<Option<&str>, EventError> {
        let context = self.request_context.as_deref();
        let (ours, contexts) = match form {
            Form::Rest => (&self.resource, context.and_then(|context| context.resource_path.as_deref())),
            Form::Http => (&self.route_key, context.and_then(|context| context.route_key.as_deref())),
            Form::RestToken | Form::WebSocket => return Ok(None),
        };
        let resource = match (ours.as_deref(), contexts) {
            (Some(ours), Some(contexts)) if ours != contexts => return Err(EventError::Unknown),
            (ours, contexts) => ours.or(contexts),
        };
        Ok(match form {
            Form::Http => resource.and_then(|key| key.split_once(' ')).map(|(_, path)| path),
            _ => resource,
        })
    }

    /// API Gateway's request id, if the event has one.
    pub fn request_id(&self) -> Option<&str> {
        self.request_context.as_ref()?.request_id.as_deref()
    }

    /// The template of the path, if the event has one: `/v1/api-keys/{id}`.
    pub fn route(&self) -> Option<&str> {
        let context = self.request_context.as_ref()?;
        context.resource_path.as_deref().or(context.route_key.as_deref())
    }

    /// The caller's address, as API Gateway saw it.
    pub fn source_address(&self) -> Option<&str> {
        self.connection()?.source_ip.as_deref()
    }

    /// The caller's `User-Agent`.
    pub fn user_agent(&self) -> Option<&str> {
        self.connection()?.user_agent.as_deref()
    }

    fn connection(&self) -> Option<&Connection<'_>> {
        let context = self.request_context.as_ref()?;
        context.identity.as_deref().or(context.http.as_deref())
    }

    /// The value of the one `Authorization` header. HTTP APIs join two headers with a comma, which no token contains.
    ///
    /// `headers` has one value per name, `multiValueHeaders` all of them. A client can send the name in several cases.
    /// Fails when there is no header, more than one, or the two maps disagree.
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

    /// Fails when the query string contains a credential (RFC 6750 section 2.3), which logs and browser histories keep.
    pub fn refuse_credential_in_query(&self) -> Result<(), Rejection> {
        match (&self.query_string_parameters, &self.multi_value_query_string_parameters) {
            (Some(Query { has_credential: true }), _) | (_, Some(Query { has_credential: true })) => {
                Err(Rejection::CredentialInQuery)
            }
            _ => Ok(()),
        }
    }
}

/// A JSON string: a slice of the event, unless it contains an escape.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl std::ops::Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// All values of the `Authorization` header, whatever the case of its name.
struct Headers<'a> {
    authorization: Vec<Text<'a>>,
    /// Present, but neither a string nor a list: malformed is not the same as missing.
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

/// Whether the query string contains a credential.
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
                // An HTTP API joins a name's values with commas.
                let is_key = |text: &Text<'_>| text.split(',').any(|part| part.trim().starts_with(ApiKey::PREFIX));
                let mut has_credential = false;
                while let Some((name, value)) = map.next_entry::<Text<'_>, Texts<'_>>()? {
                    has_credential |= NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
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

/// A value in a map of headers or parameters. Only the strings of a list are kept.
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
#[allow(clippy::needless_pass_by_value, reason = "a case is easiest to read in place")]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_target_has_a_form_and_a_methods_arn() {
        let target = |arn: &str| {
            let text = json!({ "type": "TOKEN", "methodArn": arn, "authorizationToken": "x" }).to_string();
            let event: Event<'_> = serde_json::from_str(&text).unwrap();
            event.target().map(|(form, arn)| (form, arn.path.to_owned()))
        };
        assert_eq!(target("arn:aws:execute-api:a:1:b/live/GET/x"), Ok((Form::RestToken, "/x".into())));
        assert_eq!(target("arn:aws:execute-api:a:1:*/live/GET/x"), Err(EventError::Unknown));
    }

    #[test]
    fn json_that_is_not_an_event_is_told_from_a_broken_string() {
        let read = |json: &str| {
            let mut json = serde_json::Deserializer::from_str(json);
            Event::read(&mut json).err()
        };
        assert_eq!(read("{}"), None);
        assert_eq!(read(r#"{"type":"\ud800"}"#), Some(EventError::Malformed));
        assert_eq!(read(r#"{"headers":7}"#), Some(EventError::Unreadable));
        assert_eq!(read("[1]"), Some(EventError::Unreadable));
    }

    #[test]
    fn the_matched_route_is_the_resource_or_the_route_key() {
        let resource = |form, event: Value| {
            let text = event.to_string();
            let event: Event<'_> = serde_json::from_str(&text).unwrap();
            event.resource(form).map(|resource| resource.map(str::to_owned))
        };
        let path = Ok(Some("/a/{id}".to_owned()));
        for rest in [
            json!({ "resource": "/a/{id}" }),
            json!({ "requestContext": { "resourcePath": "/a/{id}" } }),
            json!({ "resource": "/a/{id}", "requestContext": { "resourcePath": "/a/{id}" } }),
        ] {
            assert_eq!(resource(Form::Rest, rest.clone()), path);
            assert_eq!(resource(Form::RestToken, rest), Ok(None));
        }
        let two = json!({ "resource": "/a/{id}", "requestContext": { "resourcePath": "/b" } });
        assert_eq!(resource(Form::Rest, two), Err(EventError::Unknown));
        assert_eq!(resource(Form::Rest, json!({})), Ok(None));
        for (key, expected) in [("ANY /a/{id}", path), ("$default", Ok(None)), ("GET /", Ok(Some("/".to_owned())))] {
            assert_eq!(resource(Form::Http, json!({ "routeKey": key })), expected);
        }
        let two = json!({ "routeKey": "GET /a", "requestContext": { "routeKey": "GET /b" } });
        assert_eq!(resource(Form::Http, two), Err(EventError::Unknown));
    }

    fn form(event: Value) -> Option<Form> {
        let text = event.to_string();
        let event: Event<'_> = serde_json::from_str(&text).unwrap();
        event.form().map(|(form, _)| form)
    }

    #[test]
    fn each_form_is_recognised_by_its_own_members() {
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
    fn an_event_of_no_form_or_of_two_has_none() {
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
    fn two_headers_are_rejected_even_if_equal() {
        for event in [
            json!({ "multiValueHeaders": { "Authorization": ["Bearer x", "Bearer y"] }, "headers": { "Authorization": "Bearer y" } }),
            json!({ "multiValueHeaders": { "Authorization": ["Bearer x", "Bearer x"] } }),
            json!({ "headers": { "Authorization": "Bearer x", "authorization": "Bearer y" } }),
            json!({ "headers": { "Authorization": "Bearer x" }, "multiValueHeaders": { "Authorization": ["Bearer y"] } }),
            json!({ "multiValueHeaders": { "Authorization": ["Bearer x", ""] } }),
            json!({ "multiValueHeaders": { "Authorization": ["", ""] } }),
        ] {
            check(event, Err(Rejection::ManyCredentials));
        }
    }

    #[test]
    fn odd_headers_are_ignored_unless_they_are_authorization() {
        check(json!({}), Err(Rejection::NoCredential));
        check(json!({ "headers": null, "multiValueHeaders": null }), Err(Rejection::NoCredential));
        check(json!({ "headers": { "X-Odd": 7, "X-\u{1}": null, "Authorization": "Bearer x" } }), Ok("Bearer x"));
        check(json!({ "headers": { "Authorization": 7 } }), Err(Rejection::NotBearer));
    }

    #[test]
    fn a_credential_in_the_query_string_is_rejected() {
        let is_rejected = |query: Value| {
            let text = json!({ "queryStringParameters": query }).to_string();
            let event: Event<'_> = serde_json::from_str(&text).unwrap();
            event.refuse_credential_in_query().is_err()
        };
        for query in [
            json!({ "access_token": "x" }),
            json!({ "Authorization": "x" }),
            json!({ "anything": "vk_000000000000_" }),
            json!({ "joined": "a,vk_000000000000_" }),
        ] {
            assert!(is_rejected(query.clone()), "{query}");
        }
        assert!(!is_rejected(json!({ "q": "first", "limit": "10" })));
        assert!(!is_rejected(Value::Null));
    }
}
