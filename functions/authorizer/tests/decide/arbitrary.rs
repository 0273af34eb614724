//! Random events, tokens and JSON.

use authorizer::{Authorizer, HttpApiResponse, Policies};
use jsonwebtoken::{Algorithm, EncodingKey};
use proptest::prelude::*;
use serde_json::Value;
use vega_auth::{Authenticator, HmacSecret, TokenVerifier};
use vega_testing::{NoIssuer, NoKeys};

use crate::{ARN, NOW, RULES, SECRET, base64, event};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Anything that API Gateway, or somebody in its place, could send: no panic and no allow.
    #[test]
    fn no_random_event_is_accepted_or_causes_a_panic(event in arbitrary_event()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (decision, line) = runtime.block_on(authorizer_without_keys().decide(event, NOW));
        prop_assert!(decision.is_err());
        prop_assert!(line.outcome == "reject" || line.outcome == "fault");
    }

    #[test]
    fn no_random_text_is_accepted_as_a_token_or_causes_a_panic(token in "(vk_)?[ -~]{0,300}|[A-Za-z0-9_-]{0,80}\\.[A-Za-z0-9_-]{0,80}\\.[A-Za-z0-9_-]{0,80}") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (decision, _) = runtime.block_on(authorizer_without_keys().decide(event(&format!("Bearer {token}")), NOW));
        prop_assert!(decision.is_err());
    }

    /// JSON of any shape in place of header and claims, with a valid signature.
    #[test]
    fn no_signed_json_of_another_shape_is_accepted(header in json_value(), claims in json_value()) {
        let input = format!("{}.{}", base64(header.to_string().as_bytes()), base64(claims.to_string().as_bytes()));
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        let signature = jsonwebtoken::crypto::sign(input.as_bytes(), &key, Algorithm::HS256).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let event = event(&format!("Bearer {input}.{signature}"));
        prop_assert!(runtime.block_on(authorizer_without_keys().decide(event, NOW)).0.is_err());
    }
}

fn authorizer_without_keys() -> Authorizer<NoIssuer, NoKeys> {
    let tokens = TokenVerifier::Custom(HmacSecret::new_from_text(SECRET).unwrap());
    let authenticator = Authenticator { tokens, keys: NoKeys };
    Authorizer {
        authenticator,
        policies: Policies::new(RULES.parse().unwrap()),
        http_api_response: HttpApiResponse::Policy,
        gateway_caches: false,
    }
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop::sample::select(vec![
            "HS256",
            "none",
            "access",
            "vega:custom",
            "vega-debug",
            "REQUEST",
            "TOKEN",
            "2.0",
            ARN
        ])
        .prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
    ];
    let names = prop::sample::select(vec![
        "alg",
        "kid",
        "typ",
        "crit",
        "iss",
        "sub",
        "username",
        "client_id",
        "token_use",
        "exp",
        "iat",
        "x",
    ]);
    leaf.prop_recursive(4, 32, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::hash_map(names.clone().prop_map(str::to_owned), inner, 0..8)
                .prop_map(|members| Value::from(members.into_iter().collect::<serde_json::Map<_, _>>())),
        ]
    })
}

fn arbitrary_event() -> impl Strategy<Value = Value> {
    let names = vec![
        "type",
        "version",
        "methodArn",
        "routeArn",
        "authorizationToken",
        "headers",
        "multiValueHeaders",
        "requestContext",
        "queryStringParameters",
        "identitySource",
    ];
    prop::collection::hash_map(prop::sample::select(names).prop_map(str::to_owned), json_value(), 0..8)
        .prop_map(|members| Value::from(members.into_iter().collect::<serde_json::Map<_, _>>()))
}
