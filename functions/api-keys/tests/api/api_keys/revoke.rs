//! `DELETE /v1/api-keys/{id}`.

use crate::*;

#[tokio::test]
async fn revocation_is_permanent_and_can_be_repeated() {
    let api = Api::start().await;
    let key = api.create("ada", "ci").await;
    for _ in 0..2 {
        assert_eq!(api.call("ada", "DELETE", &path(&key), None).await.status, 204);
    }
    // the repetition of a request whose answer was lost
    let seen = api.send("ada", "DELETE", &path(&key), None, &[("if-match", "\"1\"")]).await;
    assert_eq!(seen.status, 204);
    let seen = api.call("ada", "GET", &path(&key), None).await;
    assert_eq!((&seen.body["status"], &seen.body["version"]), (&json!("revoked"), &json!(2)));
    let seen = api.call("ada", "PATCH", &path(&key), Some(json!({ "status": "active" }))).await;
    assert_eq!((seen.status, &seen.body["error"]), (409, &json!("key_revoked")));
}

#[tokio::test]
async fn a_revocation_survives_concurrent_changes() {
    let api = Api::start().await;
    for _ in 0..5 {
        let path = path(&api.create("ada", "ci").await);
        let (one, two, change) = tokio::join!(
            api.call("ada", "DELETE", &path, None),
            api.call("ada", "DELETE", &path, None),
            api.call("ada", "PATCH", &path, Some(json!({ "name": "renamed" })))
        );
        assert_eq!((one.status, two.status), (204, 204));
        assert!([200, 409, 412].contains(&change.status), "{}", change.status);
        assert_eq!(api.call("ada", "GET", &path, None).await.body["status"], "revoked");
    }
    let key = api.create("ada", "ci").await;
    let seen = api.send("ada", "DELETE", &path(&key), None, &[("if-match", "\"7\"")]).await;
    assert_eq!((seen.status, &seen.body["error"]), (412, &json!("version_mismatch")));
    assert_eq!(api.call("ada", "GET", &path(&key), None).await.body["status"], "active");
}

#[tokio::test]
async fn a_reason_is_short_plain_text_and_the_first_is_kept() {
    let api = Api::start().await;
    let key = api.create("ada", "ci").await;
    let (longest, long) = ("é".repeat(200), "é".repeat(201));
    for query in [format!("reason={long}"), "reason=a\u{7}b".into(), "raeson=x".into(), "reason=x&reason=y".into()] {
        for (method, body) in [("DELETE", None), ("PATCH", Some(json!({ "name": "new" })))] {
            let seen = api.call("ada", method, &format!("{}?{query}", path(&key)), body).await;
            assert_eq!((seen.status, &seen.body["error"]), (400, &json!("invalid_query")), "{method} {query}");
        }
    }
    assert_eq!(api.call("ada", "GET", &path(&key), None).await.body["version"], 1);
    for reason in [longest.as_str(), "later"] {
        assert_eq!(api.call("ada", "DELETE", &format!("{}?reason={reason}", path(&key)), None).await.status, 204);
    }
    assert_eq!(api.call("ada", "GET", &path(&key), None).await.body["revoked_reason"], longest.as_str());
}
