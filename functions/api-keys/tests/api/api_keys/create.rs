//! `POST /v1/api-keys`.

use crate::*;

#[tokio::test]
async fn a_new_key_is_returned_once_and_stored_only_as_a_digest() {
    let api = Api::start().await;
    let seen = api.call("ada", "POST", "/v1/api-keys", Some(json!({ "name": "ci", "expires_in_days": 7 }))).await;
    let text = seen.body["key"].as_str().unwrap();
    let key: ApiKey = text.parse().unwrap();
    assert_eq!(seen.body["id"], key.id().as_str());
    assert_eq!(seen.headers["location"], path(&seen.body).as_str());
    assert_eq!(seen.headers["etag"], "\"1\"");
    assert_eq!((&seen.body["status"], &seen.body["groups"]), (&json!("active"), &json!(["user"])));
    let user = api.keys.store.find(key.id()).await.unwrap().unwrap().authenticate(&key, None, NOW).unwrap();
    assert_eq!(user.id, "ada");
    let secret = &text[16..59];
    let shown = api.call("ada", "GET", &path(&seen.body), None).await.body.to_string()
        + &api.call("ada", "GET", "/v1/api-keys", None).await.body.to_string();
    assert!(!shown.contains(secret), "{shown}");
    assert!(!shown.contains("digest"), "{shown}");
    assert!(!api.database.dump().await.contains(secret));
}

#[tokio::test]
async fn a_taken_id_is_generated_again() {
    static DRAWN: AtomicU8 = AtomicU8::new(0);
    // each key draws its id, then its secret: the first and the second key draw the same id
    let api = Api::start_with(|bytes| {
        let drawn = DRAWN.fetch_add(1, Ordering::SeqCst);
        bytes.fill(if drawn == 2 { 0 } else { drawn });
        Ok(())
    })
    .await;
    let (one, two) = (api.create("ada", "one").await, api.create("bob", "two").await);
    assert_eq!(DRAWN.load(Ordering::SeqCst), 6, "three keys were drawn");
    assert_ne!(one["id"], two["id"]);
    assert_eq!(api.call("ada", "GET", &path(&one), None).await.body["name"], "one");
    assert_eq!(api.call("bob", "GET", &path(&two), None).await.body["name"], "two");
}

#[tokio::test]
async fn without_random_bytes_there_is_no_key() {
    let api = Api::start_with(|_| Err(getrandom::Error::UNSUPPORTED)).await;
    let seen = api.call("ada", "POST", "/v1/api-keys", Some(json!({ "name": "ci" }))).await;
    assert_eq!((seen.status, &seen.body["error"]), (503, &json!("temporarily_unavailable")));
    assert_eq!(api.database.dump().await, "");
}

#[tokio::test]
async fn scopes_and_networks_are_stored_and_can_be_changed() {
    let api = Api::start().await;
    let wanted = json!({ "name": "ci", "scopes": ["read", "deploy"], "cidrs": ["2001:DB8::/32", "203.0.113.0/24"] });
    let seen = api.call("ada", "POST", "/v1/api-keys", Some(wanted)).await;
    let (scopes, cidrs) = (json!(["deploy", "read"]), json!(["203.0.113.0/24", "2001:db8::/32"]));
    assert_eq!((seen.status, &seen.body["scopes"], &seen.body["cidrs"]), (201, &scopes, &cidrs));
    let path = path(&seen.body);
    let patch = json!({ "scopes": ["read"], "cidrs": ["198.51.100.0/24"] });
    let seen = api.call("ada", "PATCH", &path, Some(patch)).await;
    assert_eq!((&seen.body["scopes"], &seen.body["cidrs"]), (&json!(["read"]), &json!(["198.51.100.0/24"])));
    let seen = api.call("ada", "PATCH", &path, Some(json!({ "scopes": [] }))).await;
    assert_eq!((&seen.body["scopes"], &seen.body["cidrs"]), (&json!([]), &json!(["198.51.100.0/24"])));
    assert_eq!(api.call("ada", "GET", &path, None).await.body, seen.body);
    for wrong in [json!({ "scopes": ["gone"] }), json!({ "cidrs": ["198.51.100.1/24"] })] {
        let refused = api.call("ada", "PATCH", &path, Some(wrong)).await;
        assert_eq!((refused.status, &refused.body["error"]), (422, &json!("invalid_value")));
    }
    assert_eq!(api.call("ada", "GET", &path, None).await.body, seen.body);
    let dump = api.database.dump().await;
    assert!(dump.contains(r#"\"scopes\":[\"read\"]"#), "{dump}");
    assert!(dump.contains(r#"\"cidrs\":[\"198.51.100.0/24\"]"#), "{dump}");
}

#[tokio::test]
async fn a_repeated_request_gets_the_same_response_for_15_minutes() {
    let api = Api::start().await;
    let body = r#"{"name":"ci"}"#;
    let post = async |now: Timestamp, user: &str, target: &str, body: &str| {
        api.at(now, user, "POST", target, Some(body.into()), &[("idempotency-key", REPEAT)]).await
    };
    let first = post(NOW, "ada", "/v1/api-keys", body).await;
    assert_eq!(first.status, 201);
    api.call("ada", "PATCH", &path(&first.body), Some(json!({ "name": "renamed" }))).await;
    for _ in 0..4 {
        api.create("ada", "up to the limit").await;
    }
    for now in [NOW, NOW.plus(1), NOW.plus(899)] {
        let again = post(now, "ada", "/v1/api-keys", body).await;
        assert_eq!((again.status, &again.body, &again.headers), (201, &first.body, &first.headers));
    }
    assert_eq!(pages(&api, "/v1/api-keys?").await.len(), 5);
    // Then it is a new request.
    api.call("ada", "DELETE", &path(&first.body), None).await;
    let new = post(NOW.plus(900), "ada", "/v1/api-keys", body).await;
    assert_eq!(new.status, 201);
    assert_ne!(new.body["id"], first.body["id"]);
    assert_eq!(post(NOW.plus(1799), "ada", "/v1/api-keys", body).await.body, new.body);
}

#[tokio::test]
async fn an_idempotency_key_is_for_one_owner_route_and_body() {
    let api = Api::start().await;
    let body = r#"{"name":"ci"}"#;
    let post = async |now: Timestamp, user: &str, target: &str, body: &str| {
        api.at(now, user, "POST", target, Some(body.into()), &[("idempotency-key", REPEAT)]).await
    };
    let first = post(NOW, "ada", "/v1/api-keys", body).await;
    let other = post(NOW.plus(899), "ada", "/v1/api-keys", r#"{"name":"other"}"#).await;
    assert_eq!((other.status, &other.body["error"]), (422, &json!("idempotency_key_reused")));
    let bobs = post(NOW, "bob", "/v1/api-keys", body).await;
    assert_eq!(bobs.status, 201);
    assert_ne!(bobs.body["id"], first.body["id"]);
    let target = format!("{}/rotate", path(&first.body));
    let rotated = post(NOW, "ada", &target, r#"{"overlap_seconds":0}"#).await;
    assert_eq!((rotated.status, &rotated.body["rotated_from"]), (201, &first.body["id"]));
    let again = post(NOW.plus(899), "ada", &target, r#"{"overlap_seconds":0}"#).await;
    assert_eq!((again.status, &again.body, &again.headers), (201, &rotated.body, &rotated.headers));
    assert_eq!(post(NOW.plus(899), "ada", &target, "{}").await.status, 422);
    assert_eq!(post(NOW.plus(900), "ada", &target, r#"{"overlap_seconds":0}"#).await.body["error"], "key_rotated");
}

#[tokio::test]
async fn a_stored_response_cannot_be_opened_from_the_table_alone() {
    let api = Api::start().await;
    let headers = [("idempotency-key", REPEAT)];
    let made = api.send("ada", "POST", "/v1/api-keys", Some(r#"{"name":"ci"}"#.into()), &headers).await.body;
    let dump = api.database.dump().await;
    assert!(dump.contains("I#ada#"));
    assert!(dump.contains("sealed"));
    let secret = &made["key"].as_str().unwrap()[16..59];
    for hidden in [secret, REPEAT] {
        let bytes = format!("{:?}", hidden.as_bytes());
        assert!(!dump.contains(hidden));
        assert!(!dump.contains(bytes.trim_matches(['[', ']'])));
    }
}

#[tokio::test]
async fn an_idempotency_key_has_16_to_255_visible_characters() {
    let api = Api::start().await;
    let create = async |headers: &[(&str, &str)]| {
        let seen = api.send("ada", "POST", "/v1/api-keys", Some(r#"{"name":"ci"}"#.into()), headers).await;
        (seen.status, seen.body["error"].as_str().unwrap_or("none").to_owned())
    };
    let (short, long) = ("x".repeat(15), "x".repeat(256));
    for key in ["", short.as_str(), long.as_str(), "sixteen characters", "sixteen-charactérs"] {
        assert_eq!(create(&[("idempotency-key", key)]).await, (400, "invalid_idempotency_key".into()), "{key}");
    }
    for key in ["x".repeat(16), "y".repeat(255)] {
        assert_eq!(create(&[("idempotency-key", &key)]).await, (201, "none".into()));
    }
    assert_eq!(pages(&api, "/v1/api-keys?").await.len(), 2);
}

#[tokio::test]
async fn concurrent_repetitions_of_a_request_create_one_key() {
    let api = Api::start().await;
    let send =
        || api.send("ada", "POST", "/v1/api-keys", Some(r#"{"name":"ci"}"#.into()), &[("idempotency-key", REPEAT)]);
    let (a, b, c, d) = tokio::join!(send(), send(), send(), send());
    let mut made = std::collections::HashSet::new();
    for seen in [a, b, c, d] {
        if seen.status == 201 {
            made.insert(seen.body["key"].to_string());
        } else {
            assert_eq!((seen.status, &seen.body["error"]), (409, &json!("idempotency_in_progress")));
            assert!(seen.headers.contains_key("retry-after"));
        }
    }
    assert_eq!(made.len(), 1);
    assert!(made.contains(&send().await.body["key"].to_string()), "a little later it is answered");
    assert_eq!(pages(&api, "/v1/api-keys?").await.len(), 1);
}

#[tokio::test]
async fn the_limit_error_contains_the_limit() {
    let api = Api::start().await;
    for _ in 0..5 {
        api.create("ada", "ci").await;
    }
    let seen = api.call("ada", "POST", "/v1/api-keys", Some(json!({ "name": "one more" }))).await;
    assert_eq!((seen.status, &seen.body["error"]), (409, &json!("key_limit_reached")));
    assert!(seen.body["detail"].as_str().unwrap().contains('5'));
}

#[tokio::test]
async fn a_bad_body_changes_nothing() {
    let api = Api::start().await;
    let long = json!({ "name": "x".repeat(10_000) }).to_string();
    let huge = json!({ "name": "ci", "description": "x".repeat(20_000) }).to_string();
    for (body, status, code) in [
        ("{", 400, "invalid_body"),
        ("[]", 400, "invalid_body"),
        (r#"["ci","",null,null]"#, 400, "invalid_body"),
        (r#"{"name":"ci","owner":"bob"}"#, 400, "invalid_body"),
        (r#"{"name":"ci","name":"ci"}"#, 400, "invalid_body"),
        (r#"{"name":""}"#, 422, "invalid_value"),
        (long.as_str(), 422, "invalid_value"),
        (huge.as_str(), 413, "body_too_large"),
    ] {
        let seen = api.send("ada", "POST", "/v1/api-keys", Some(body.into()), &[]).await;
        assert_eq!((seen.status, &seen.body["error"]), (status, &json!(code)), "{}", &body[..body.len().min(40)]);
    }
    let seen = api.send("ada", "POST", "/v1/api-keys", Some("{}".into()), &[("content-type", "text/plain")]).await;
    assert_eq!(seen.status, 415);
    assert_eq!(api.database.dump().await, "");
}

#[tokio::test]
async fn an_outage_is_503_without_details() {
    let api = Api::start().await;
    api.database.stop();
    for (method, target, body) in [
        ("POST", "/v1/api-keys", Some(json!({ "name": "ci" }))),
        ("GET", "/v1/api-keys", None),
        ("GET", "/v1/api-keys/000000000000", None),
        ("PATCH", "/v1/api-keys/000000000000", Some(json!({ "name": "ci" }))),
        ("DELETE", "/v1/api-keys/000000000000", None),
    ] {
        let seen = api.call("ada", method, target, body).await;
        assert_eq!((seen.status, &seen.body["error"]), (503, &json!("temporarily_unavailable")), "{method}");
        assert!(seen.headers.contains_key("retry-after"));
        assert!(!seen.body.to_string().contains("127.0.0.1"));
    }
}
