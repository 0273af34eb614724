//! `/v1/api-keys/self`.

use crate::*;

#[tokio::test]
async fn a_key_never_manages_keys() {
    let api = Api::start().await;
    let key = api.create("ada", "ci").await;
    for (method, target) in [("POST", "/v1/api-keys"), ("GET", "/v1/api-keys"), ("DELETE", path(&key).as_str())] {
        let seen = api.call("key of ada", method, target, Some(json!({ "name": "x" }))).await;
        assert_eq!((seen.status, &seen.body["error"]), (403, &json!("person_required")));
    }
}

#[tokio::test]
async fn machines_and_people_of_other_pools_have_no_keys() {
    let api = Api::start().await;
    let target = path(&api.create("ada", "ci").await);
    for user in ["machine client:ci", "other_pool us-west-1_Other:ada", "root as other_pool us-west-1_Other:ada"] {
        for (method, target) in [
            ("POST", "/v1/api-keys"),
            ("GET", "/v1/api-keys"),
            ("GET", &target),
            ("PATCH", &target),
            ("DELETE", &target),
            ("GET", "/v1/admin/api-keys"),
            ("DELETE", "/v1/admin/api-keys?owner=ada"),
        ] {
            let seen = api.call(user, method, target, Some(json!({ "name": "x" }))).await;
            assert_eq!(
                (seen.status, &seen.body["error"]),
                (403, &json!("person_required")),
                "{user}: {method} {target}"
            );
        }
        assert_eq!(api.call(user, "GET", "/v1/api-keys/self", None).await.body["error"], "forbidden");
    }
    assert_eq!(api.call("ada", "GET", &target, None).await.body["status"], "active");
}

#[tokio::test]
async fn a_key_can_only_read_and_revoke_itself() {
    let api = Api::start().await;
    let (key, other) = (api.create("ada", "ci").await, api.create("ada", "other").await);
    let id = key["id"].as_str().unwrap();
    let itself = format!("key of ada {id}");
    let seen = api.call(&itself, "GET", "/v1/api-keys/self", None).await;
    assert_eq!((seen.status, &seen.headers["etag"]), (200, &"\"1\"".parse().unwrap()));
    assert_eq!(seen.body, api.call("ada", "GET", &path(&key), None).await.body);
    for (method, target) in [
        ("GET", path(&key)),
        ("DELETE", path(&key)),
        ("DELETE", path(&other)),
        ("PATCH", path(&key)),
        ("GET", format!("{}/events", path(&key))),
    ] {
        let seen = api.call(&itself, method, &target, Some(json!({ "name": "x" }))).await;
        assert_eq!((seen.status, &seen.body["error"]), (403, &json!("person_required")), "{method} {target}");
    }
    for method in ["GET", "DELETE"] {
        let person = api.call("ada", method, "/v1/api-keys/self", None).await;
        assert_eq!((person.status, &person.body["error"]), (403, &json!("forbidden")));
        // a context that names a key of somebody else's, which the authorizer never writes
        assert_eq!(api.call(&format!("key of eve {id}"), method, "/v1/api-keys/self", None).await.status, 404);
    }
    let target = "/v1/api-keys/self?reason=in+a+public+log";
    for _ in 0..2 {
        assert_eq!(api.call(&itself, "DELETE", target, None).await.status, 204);
    }
    assert_eq!(api.call("ada", "GET", &path(&key), None).await.body["revoked_reason"], "in+a+public+log");
    assert_eq!(api.call("ada", "GET", &path(&other), None).await.body["status"], "active");
    let event = &pages(&api, &format!("{}/events?", path(&key))).await[0];
    assert_eq!((&event["actor"], &event["actor_username"]), (&json!(format!("api_key:{id}")), &json!("ada")));
}
