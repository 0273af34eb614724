//! `/v1/admin/api-keys`.

use std::convert::Infallible;

use vega_auth::{Groups, KeyRecord};
use vega_testing::actor;

use crate::*;

#[tokio::test]
async fn only_root_and_operator_can_manage_others_keys() {
    let api = Api::start().await;
    let key = api.create("ada", "ci").await;
    let one = format!("/v1/admin/api-keys/{}", key["id"].as_str().unwrap());
    for user in ["eve", "user as ada", "root as key of ada", "operator as key of oscar"] {
        for (method, target) in [
            ("GET", "/v1/admin/api-keys?owner=ada"),
            ("DELETE", "/v1/admin/api-keys?owner=ada"),
            ("POST", "/v1/admin/api-keys/enable?owner=ada"),
            ("DELETE", one.as_str()),
        ] {
            let seen = api.call(user, method, target, None).await;
            let reason = if user.contains(" as key of ") { "person_required" } else { "forbidden" };
            assert_eq!((seen.status, &seen.body["error"]), (403, &json!(reason)), "{user} {method} {target}");
        }
    }
    assert_eq!(api.call("ada", "GET", &path(&key), None).await.body["status"], "active");
    for admin in [OPERATOR, ROOT] {
        let seen = api.call(admin, "GET", "/v1/admin/api-keys?owner=ada", None).await;
        assert_eq!((seen.status, seen.body["items"].as_array().unwrap().len()), (200, 1));
        assert_eq!(
            seen.body["items"][0],
            api.call("ada", "GET", &path(&key), None).await.body,
            "no more than she sees"
        );
    }
}

#[tokio::test]
async fn an_owners_list_is_filtered_and_paged_for_administrators() {
    let api = Api::start().await;
    api.create("ada", "one").await;
    let two = api.create("ada", "two").await;
    let list = async |query: &str| api.call(OPERATOR, "GET", &format!("/v1/admin/api-keys?{query}"), None).await;
    assert_eq!(list("owner=ada&q=two").await.body["items"][0]["id"], two["id"]);
    assert_eq!(list("owner=nobody").await.body, json!({ "items": [], "next_cursor": null }));
    let cursor = list("owner=ada&limit=1").await.body["next_cursor"].as_str().unwrap().to_owned();
    assert_eq!(list(&format!("owner=ada&limit=1&cursor={cursor}")).await.body["items"].as_array().unwrap().len(), 1);
    let long = "x".repeat(257);
    for query in
        ["", "owner=", "q=two", "owner=ada&owner=bob", &format!("owner={long}"), &format!("owner=bob&cursor={cursor}")]
    {
        assert_eq!(list(query).await.body["error"], "invalid_query", "{query}");
    }
}

#[tokio::test]
async fn the_owner_sees_which_administrator_revoked_and_why() {
    let api = Api::start().await;
    let key = api.create("ada", "ci").await;
    let target = format!("/v1/admin/api-keys/{}", key["id"].as_str().unwrap());
    for reason in ["?reason=incident+7", "?reason=later", ""] {
        assert_eq!(api.call(OPERATOR, "DELETE", &format!("{target}{reason}"), None).await.status, 204);
    }
    let shown = api.call("ada", "GET", &path(&key), None).await.body;
    assert_eq!((&shown["status"], &shown["revoked_reason"]), (&json!("revoked"), &json!("incident+7")));
    let events = pages(&api, &format!("{}/events?", path(&key))).await;
    assert_eq!(events.len(), 2);
    assert_eq!((&events[0]["event"], &events[0]["actor"]), (&json!("revoked"), &json!("oscar")));
}

#[tokio::test]
async fn an_administrator_gets_404_for_a_missing_key() {
    let api = Api::start().await;
    for none in ["zzzzzzzzzzzz", "no-id"] {
        let seen = api.call(OPERATOR, "DELETE", &format!("/v1/admin/api-keys/{none}"), None).await;
        assert_eq!((seen.status, &seen.body["error"]), (404, &json!("not_found")));
    }
}

#[tokio::test]
async fn only_root_can_revoke_a_key_of_group_root() {
    let api = Api::start().await;
    let roots = api.create(ROOT, "deploys it all").await;
    let plain = api.call(ROOT, "POST", "/v1/api-keys", Some(json!({ "name": "x", "groups": ["user"] }))).await.body;
    let one = |key: &Value| format!("/v1/admin/api-keys/{}", key["id"].as_str().unwrap());
    for target in [one(&roots), "/v1/admin/api-keys?owner=rita".into()] {
        let seen = api.call(OPERATOR, "DELETE", &target, None).await;
        assert_eq!((seen.status, &seen.body["error"]), (403, &json!("forbidden")), "{target}");
    }
    for key in [&roots, &plain] {
        assert_eq!(api.call("rita", "GET", &path(key), None).await.body["status"], "active", "nothing was changed");
    }
    assert_eq!(api.call(OPERATOR, "DELETE", &one(&plain), None).await.status, 204);
    let seen = api.call(ROOT, "DELETE", "/v1/admin/api-keys?owner=rita", None).await;
    assert_eq!((seen.status, seen.body), (200, json!({ "revoked": 1 })));
}

#[tokio::test]
async fn older_tokens_are_barred_only_on_request() {
    let api = Api::start().await;
    let all = |query: &str| format!("/v1/admin/api-keys?owner=ada{query}");
    for query in ["&block_older_tokens=yes", "&block_older_tokens=true&block_older_tokens=true"] {
        assert_eq!(api.call(OPERATOR, "DELETE", &all(query), None).await.body["error"], "invalid_query");
    }
    for query in ["", "&block_older_tokens=false", "&block_older_tokens="] {
        assert_eq!(api.call(OPERATOR, "DELETE", &all(query), None).await.status, 200);
        api.create("ada", "one more").await;
    }
}

#[tokio::test]
async fn a_barred_token_gives_a_key_less_but_never_more() {
    let api = Api::start().await;
    let narrowed = json!({ "name": "narrow", "scopes": ["read"], "groups": [] });
    let narrow = api.call("ada", "POST", "/v1/api-keys", Some(narrowed)).await.body;
    api.keys.store.bar("ada", NOW).await.unwrap();
    for (method, target, body) in [
        ("POST", "/v1/api-keys".to_owned(), Some(json!({ "name": "new" }))),
        ("POST", format!("{}/rotate", path(&narrow)), None),
        ("PATCH", path(&narrow), Some(json!({ "scopes": [] }))),
        ("PATCH", path(&narrow), Some(json!({ "groups": ["user"] }))),
    ] {
        let seen = api.call("ada", method, &target, body).await;
        assert_eq!((seen.status, &seen.body["error"]), (403, &json!("token_outdated")), "{method} {target}");
    }
    let off = api.call("ada", "PATCH", &path(&narrow), Some(json!({ "status": "disabled" }))).await;
    assert_eq!((off.status, &off.body["status"]), (200, &json!("disabled")));
    let on = api.call("ada", "PATCH", &path(&narrow), Some(json!({ "status": "active" }))).await;
    assert_eq!((on.status, &on.body["error"]), (403, &json!("token_outdated")));
}

#[tokio::test]
async fn an_administrator_can_bar_older_tokens_from_key_changes() {
    let mut api = Api::start().await;
    let key = api.create("ada", "ci").await;
    let block = async |owner: &str| {
        let target = format!("/v1/admin/api-keys?owner={owner}&block_older_tokens=true");
        api.call(OPERATOR, "DELETE", &target, None).await.body
    };
    // Even of somebody without a key.
    assert_eq!((block("ada").await, block("bob").await), (json!({ "revoked": 1 }), json!({ "revoked": 0 })));
    assert!(!is_good(&api, &key, NOW).await);
    for owner in ["ada", "bob"] {
        let seen = api.call(owner, "POST", "/v1/api-keys", Some(json!({ "name": "new" }))).await;
        assert_eq!(seen.body["error"], "token_outdated");
    }
    // Signing in again helps.
    api.issued_at = Some(NOW.plus(1));
    api.create("ada", "back").await;
}

#[tokio::test]
async fn whoever_may_not_revoke_a_key_bars_nothing() {
    let api = Api::start().await;
    api.create(ROOT, "deploys it all").await;
    let target = "/v1/admin/api-keys?owner=rita&block_older_tokens=true";
    assert_eq!(api.call(OPERATOR, "DELETE", target, None).await.status, 403);
    api.create(ROOT, "deploys more").await;
}

#[tokio::test]
async fn all_of_an_owners_keys_are_revoked_at_once() {
    let mut api = Api::start().await;
    api.keys.limit = 200;
    let mut keys = Vec::new();
    for number in 0..70 {
        keys.push(api.create("ada", &format!("key {number}")).await);
    }
    let others = api.create("bob", "bob's").await;
    let body = json!({ "name": "short", "expires_at": NOW.plus(1).to_string() });
    let expired = api.call("ada", "POST", "/v1/api-keys", Some(body)).await.body;
    api.call("ada", "PATCH", &path(&keys[0]), Some(json!({ "status": "disabled" }))).await;
    api.call("ada", "DELETE", &path(&keys[1]), None).await;
    let target = "/v1/admin/api-keys?owner=ada&reason=gone";
    for revoked in [69, 0] {
        let seen = api.at(NOW.plus(1), OPERATOR, "DELETE", target, None, &[]).await;
        assert_eq!((seen.status, seen.body), (200, json!({ "revoked": revoked })));
    }
    for key in &keys {
        assert!(!is_good(&api, key, NOW).await);
        let events = api.call("ada", "GET", &format!("{}/events", path(key)), None).await.body;
        assert_eq!(
            (&events["items"][0]["event"], &events["items"][0]["request_id"]),
            (&json!("revoked"), &json!("r-1"))
        );
    }
    let last = api.call("ada", "GET", &format!("{}/events", path(&keys[69])), None).await.body;
    assert_eq!((&last["items"][0]["actor"], &last["items"][0]["reason"]), (&json!("oscar"), &json!("gone")));
    assert!(is_good(&api, &others, NOW).await);
    assert_eq!(api.call("ada", "GET", &path(&expired), None).await.body["revoked_at"], Value::Null);
    for query in ["reason=x", "owner=ada&q=x"] {
        let seen = api.call(OPERATOR, "DELETE", &format!("/v1/admin/api-keys?{query}"), None).await;
        assert_eq!(seen.body["error"], "invalid_query");
    }
}

#[tokio::test]
async fn revoking_all_keys_survives_concurrent_changes() {
    let api = Api::start().await;
    for _ in 0..5 {
        let (one, two) = (api.create("ada", "one").await, api.create("ada", "two").await);
        let (one, two) = (path(&one), path(&two));
        let (all, change, alone) = tokio::join!(
            api.call(OPERATOR, "DELETE", "/v1/admin/api-keys?owner=ada", None),
            api.call("ada", "PATCH", &one, Some(json!({ "name": "renamed" }))),
            api.call("ada", "DELETE", &two, None),
        );
        assert_eq!((all.status, alone.status), (200, 204), "{}", all.body);
        assert!([200, 409, 412].contains(&change.status));
        assert!(pages(&api, "/v1/api-keys?status=active&").await.is_empty());
    }
}

/// What the owner sync does with the keys of a disabled owner.
async fn disable_with_owner(api: &Api, owner: &str) {
    let store = &api.keys.store;
    store.bar(owner, NOW).await.unwrap();
    store.note_disabled(owner).await.unwrap();
    for key in store.list(owner).await.unwrap() {
        let decide = |key: &KeyRecord| Ok::<_, Infallible>(key.disable_with_owner(NOW));
        store.update(key.id, &actor("system:owners"), NOW, decide).await.unwrap();
    }
}

#[tokio::test]
async fn only_keys_disabled_with_their_owner_are_enabled_with_them() {
    let mut api = Api::start().await;
    api.keys.limit = 200;
    let mut keys = Vec::new();
    for number in 0..40 {
        keys.push(api.create("ada", &format!("key {number}")).await);
    }
    let off = api.create("ada", "off").await;
    let revoked = api.create("ada", "revoked").await;
    api.call("ada", "PATCH", &path(&off), Some(json!({ "status": "disabled" }))).await;
    disable_with_owner(&api, "ada").await;
    api.call("ada", "DELETE", &path(&revoked), None).await;
    let target = "/v1/admin/api-keys/enable?owner=ada&reason=back";
    let refused = api.call(OPERATOR, "POST", target, None).await;
    assert_eq!((refused.status, &refused.body["error"]), (409, &json!("owner_disabled")));
    assert!(pages(&api, "/v1/api-keys?status=active&").await.is_empty(), "nothing was changed");
    // The owner sync sees them enabled. The bar on the owner's tokens doesn't concern the administrator's.
    api.keys.store.note_seen_in("ada", "ada", &Groups::named(["user"])).await.unwrap();
    for enabled in [40, 0] {
        let seen = api.call(OPERATOR, "POST", target, None).await;
        assert_eq!((seen.status, seen.body), (200, json!({ "enabled": enabled })));
    }
    for key in &keys {
        assert!(is_good(&api, key, NOW).await);
    }
    assert_eq!(api.call("ada", "GET", &path(&off), None).await.body["status"], "disabled", "by a person");
    assert_eq!(api.call("ada", "GET", &path(&revoked), None).await.body["status"], "revoked");
    let events = api.call("ada", "GET", &format!("{}/events", path(&keys[0])), None).await.body;
    let event = &events["items"][0];
    assert_eq!(
        (&event["event"], &event["actor"], &event["reason"]),
        (&json!("enabled"), &json!("oscar"), &json!("back"))
    );
    assert_eq!((&event["before"]["status"], &event["after"]["status"]), (&json!("disabled"), &json!("active")));
    for query in ["", "owner=ada&q=x", "owner=ada&owner=bob"] {
        let seen = api.call(OPERATOR, "POST", &format!("/v1/admin/api-keys/enable?{query}"), None).await;
        assert_eq!(seen.body["error"], "invalid_query", "{query}");
    }
}

#[tokio::test]
async fn only_root_can_enable_a_key_of_group_root() {
    let api = Api::start().await;
    let roots = api.create(ROOT, "deploys it all").await;
    let plain = api.call(ROOT, "POST", "/v1/api-keys", Some(json!({ "name": "x", "groups": ["user"] }))).await.body;
    disable_with_owner(&api, "rita").await;
    api.keys.store.note_seen_in("rita", "rita", &Groups::named(["root", "user"])).await.unwrap();
    let target = "/v1/admin/api-keys/enable?owner=rita";
    assert_eq!(api.call(OPERATOR, "POST", target, None).await.status, 403);
    assert!(!is_good(&api, &plain, NOW).await, "nothing was changed");
    assert_eq!(api.call("root as rob", "POST", target, None).await.body, json!({ "enabled": 2 }));
    assert!(is_good(&api, &roots, NOW).await);
}
