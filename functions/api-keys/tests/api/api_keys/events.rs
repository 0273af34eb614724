//! `GET /v1/api-keys/{id}/events`.

use crate::*;

#[tokio::test]
async fn every_change_leaves_an_audit_event_with_its_details() {
    let api = Api::start().await;
    let key = api.create("ada", "ci").await;
    let path = path(&key);
    for (body, reason) in [
        (json!({ "name": "new" }), ""),
        (json!({ "status": "disabled" }), "lost+laptop"),
        (json!({ "status": "active", "description": "found it" }), ""),
        (json!({ "status": "active" }), "changes+nothing"),
    ] {
        let seen = api.call("ada", "PATCH", &format!("{path}?reason={reason}"), Some(body)).await;
        assert_eq!(seen.status, 200, "{}", seen.body);
    }
    assert_eq!(api.call("ada", "DELETE", &format!("{path}?reason=x\u{202e}gnp.exe"), None).await.status, 400);
    assert_eq!(api.call("ada", "DELETE", &format!("{path}?reason=gone"), None).await.status, 204);
    assert_eq!(api.call("ada", "DELETE", &format!("{path}?reason=again"), None).await.status, 204);
    let events = pages(&api, &format!("{path}/events?")).await;
    let kinds: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["revoked", "enabled", "changed", "disabled", "changed", "created"]);
    assert_eq!(
        events[0],
        json!({
            "at": "2027-01-15T08:00:00Z", "event": "revoked", "key_id": key["id"], "actor": "ada", "actor_username": "ada",
            "address": "192.0.2.1", "request_id": "r-1", "reason": "gone",
            "before": {
                "name": "new", "description": "found it", "status": "active", "groups": ["user"], "scopes": [], "cidrs": [],
                "expires_at": key["expires_at"], "rotated_from": null, "rotated_to": null, "version": 4
            },
            "after": {
                "name": "new", "description": "found it", "status": "revoked", "groups": ["user"], "scopes": [], "cidrs": [],
                "expires_at": key["expires_at"], "rotated_from": null, "rotated_to": null, "version": 5
            }
        })
    );
    assert_eq!((&events[3]["reason"], &events[5]["before"]), (&json!("lost+laptop"), &Value::Null));
    assert_eq!(events.iter().filter(|event| event["reason"].is_null()).count(), 4);
    let shown = api.call("ada", "GET", &path, None).await.body;
    assert_eq!((&shown["revoked_reason"], &shown["revoked_at"]), (&json!("gone"), &json!("2027-01-15T08:00:00Z")));
    let text = json!(events).to_string();
    assert!(!text.contains("digest"));
    assert!(!text.contains(&key["key"].as_str().unwrap()[16..59]));
}

#[tokio::test]
async fn expired_is_in_the_trail_from_that_second_on() {
    let api = Api::start().await;
    let body = json!({ "name": "ci", "expires_at": NOW.plus(60).to_string() });
    let key = api.call("ada", "POST", "/v1/api-keys", Some(body)).await.body;
    let events = async |now: Timestamp, query: &str| {
        let seen = api.at(now, "ada", "GET", &format!("{}/events?{query}", path(&key)), None, &[]).await;
        let kinds = seen.body["items"].as_array().unwrap().iter().map(|event| event["event"].to_string());
        (kinds.collect::<Vec<_>>().join(" "), seen.body)
    };
    assert_eq!(events(NOW.plus(59), "").await.0, r#""created""#);
    let (kinds, body) = events(NOW.plus(60), "").await;
    assert_eq!(kinds, r#""expired" "created""#);
    let expired = &body["items"][0];
    assert_eq!((&expired["at"], &expired["actor"]), (&json!("2027-01-15T08:01:00Z"), &Value::Null));
    assert_eq!((&expired["before"]["status"], &expired["after"]["status"]), (&json!("active"), &json!("expired")));
    let (kinds, body) = events(NOW.plus(61), "limit=1").await;
    assert_eq!(kinds, r#""expired""#);
    let cursor = body["next_cursor"].as_str().unwrap().to_owned();
    let (kinds, body) = events(NOW.plus(61), &format!("limit=1&cursor={cursor}")).await;
    assert_eq!((kinds.as_str(), &body["next_cursor"]), (r#""created""#, &Value::Null));
    // it can't be changed any more, but still be revoked
    let seen = api.at(NOW.plus(60), "ada", "PATCH", &path(&key), Some(r#"{"name":"new"}"#.into()), &[]).await;
    assert_eq!((seen.status, &seen.body["error"]), (409, &json!("key_expired")));
    let seen = api.at(NOW.plus(70), "ada", "DELETE", &path(&key), None, &[]).await;
    assert_eq!(seen.status, 204);
    let (kinds, body) = events(NOW.plus(80), "").await;
    assert_eq!((kinds.as_str(), &body["items"][0]["before"]["status"]), (r#""revoked" "created""#, &json!("expired")));
}

#[tokio::test]
async fn the_trail_is_for_the_owner_only_and_outlives_the_key() {
    let api = Api::start().await;
    let (key, other) = (api.create("ada", "one").await, api.create("ada", "two").await);
    let events = format!("{}/events", path(&key));
    for target in [events.as_str(), "/v1/api-keys/zzzzzzzzzzzz/events", "/v1/api-keys/no-id/events"] {
        let seen = api.call("eve", "GET", target, None).await;
        assert_eq!((seen.status, &seen.body["error"]), (404, &json!("not_found")));
    }
    api.call("ada", "PATCH", &path(&key), Some(json!({ "name": "new" }))).await;
    let cursor = api.call("ada", "GET", &format!("{events}?limit=1"), None).await.body["next_cursor"].clone();
    let others = format!("{}/events?cursor={}", path(&other), cursor.as_str().unwrap());
    for query in [others, format!("{events}?cursor=x"), format!("{events}?limit=0"), format!("{events}?q=x")] {
        assert_eq!(api.call("ada", "GET", &query, None).await.body["error"], "invalid_query", "{query}");
    }
    api.database.purge(key["id"].as_str().unwrap().parse().unwrap()).await;
    assert_eq!(api.call("ada", "GET", &path(&key), None).await.status, 404);
    assert_eq!(pages(&api, &format!("{events}?")).await.len(), 2);
}
