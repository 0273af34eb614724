//! `POST /v1/api-keys/{id}/rotate`.

use crate::*;

#[tokio::test]
async fn a_rotated_key_is_valid_until_just_before_its_deadline() {
    let api = Api::start().await;
    let body = json!({ "name": "ci", "description": "pipeline", "expires_in_days": 7 });
    let old = api.call("ada", "POST", "/v1/api-keys", Some(body)).await.body;
    let seen = rotate(&api, NOW, &old, r#"{"overlap_seconds":60}"#).await;
    let new = &seen.body;
    assert_eq!((seen.status, &seen.headers["etag"]), (201, &"\"1\"".parse().unwrap()));
    assert_eq!(seen.headers["location"], path(new).as_str());
    assert_ne!((&old["id"], &old["key"]), (&new["id"], &new["key"]));
    for member in ["name", "description", "groups", "expires_at"] {
        assert_eq!(old[member], new[member], "{member}");
    }
    assert_eq!((&new["rotated_from"], &new["rotated_to"], &new["version"]), (&old["id"], &Value::Null, &json!(1)));
    let shown = api.call("ada", "GET", &path(&old), None).await.body;
    assert_eq!((&shown["rotated_to"], &shown["version"]), (&new["id"], &json!(2)));
    assert_eq!((&shown["expires_at"], &shown["status"]), (&json!("2027-01-15T08:01:00Z"), &json!("active")));
    assert!(is_good(&api, &old, NOW.plus(59)).await);
    assert!(!is_good(&api, &old, NOW.plus(60)).await);
    let week = 7 * 24 * 60 * 60;
    assert!(is_good(&api, new, NOW.plus(week - 1)).await);
    assert!(!is_good(&api, new, NOW.plus(week)).await);
}

#[tokio::test]
async fn a_rotation_is_in_the_trails_of_both_keys() {
    let api = Api::start().await;
    let old = api.create("ada", "ci").await;
    let new = &rotate(&api, NOW, &old, r#"{"overlap_seconds":60}"#).await.body;
    let events = pages(&api, &format!("{}/events?", path(&old))).await;
    assert_eq!((&events[0]["event"], &events[0]["after"]["rotated_to"]), (&json!("rotated"), &new["id"]));
    let [created] = &pages(&api, &format!("{}/events?", path(new))).await[..] else { panic!("one event") };
    assert_eq!((&created["event"], &created["after"]["rotated_from"]), (&json!("created"), &old["id"]));
    assert_eq!(created["request_id"], events[0]["request_id"]);
}

#[tokio::test]
async fn the_overlap_is_a_day_by_default_and_a_week_at_most() {
    let api = Api::start().await;
    for (body, lives_for) in [("", 86_400), ("{}", 86_400), (r#"{"overlap_seconds":604800}"#, 604_800)] {
        let key = api.create("ada", "ci").await;
        assert_eq!(rotate(&api, NOW, &key, body).await.status, 201, "{body}");
        let shown = api.call("ada", "GET", &path(&key), None).await.body;
        assert_eq!(shown["expires_at"], NOW.plus(lives_for).to_string());
        api.call("ada", "DELETE", &path(&key), None).await;
        api.call("ada", "DELETE", &format!("/v1/api-keys/{}", shown["rotated_to"].as_str().unwrap()), None).await;
    }
}

#[tokio::test]
async fn an_invalid_overlap_leaves_the_key_as_it_is() {
    let api = Api::start().await;
    let key = api.create("ada", "ci").await;
    for (body, status) in [
        (r#"{"overlap_seconds":-1}"#, 422),
        (r#"{"overlap_seconds":604801}"#, 422),
        (r#"{"overlap_seconds":null}"#, 400),
        (r#"{"overlap_seconds":1.5}"#, 400),
        (r#"{"expires_at":null}"#, 400),
        ("[]", 400),
    ] {
        assert_eq!(rotate(&api, NOW, &key, body).await.status, status, "{body}");
    }
    assert_eq!(api.call("ada", "GET", &path(&key), None).await.body["version"], 1);
}

#[tokio::test]
async fn a_disabled_revoked_or_expired_key_cannot_be_rotated() {
    let api = Api::start().await;
    let refused = async |now: Timestamp, key: &Value| {
        let seen = rotate(&api, now, key, r#"{"overlap_seconds":0}"#).await;
        (seen.status, seen.body["error"].as_str().unwrap_or_default().to_owned())
    };
    let key = api.create("ada", "ci").await;
    api.call("ada", "PATCH", &path(&key), Some(json!({ "status": "disabled" }))).await;
    assert_eq!(refused(NOW, &key).await, (409, "key_disabled".into()));
    api.call("ada", "DELETE", &path(&key), None).await;
    assert_eq!(refused(NOW, &key).await, (409, "key_revoked".into()));
    let body = json!({ "name": "ci", "expires_at": NOW.plus(60).to_string() });
    let key = api.call("ada", "POST", "/v1/api-keys", Some(body)).await.body;
    assert_eq!(refused(NOW.plus(60), &key).await, (409, "key_expired".into()));
    let new = rotate(&api, NOW.plus(59), &key, r#"{"overlap_seconds":604800}"#).await.body;
    assert_eq!(new["expires_at"], key["expires_at"]);
    assert!(!is_good(&api, &new, NOW.plus(60)).await, "a successor never outlives the original");
}

#[tokio::test]
async fn a_rotated_key_cannot_be_rotated_but_its_successor_can() {
    let api = Api::start().await;
    let refused = async |now: Timestamp, key: &Value| {
        let seen = rotate(&api, now, key, r#"{"overlap_seconds":0}"#).await;
        (seen.status, seen.body["error"].as_str().unwrap_or_default().to_owned())
    };
    let key = api.create("ada", "ci").await;
    let new = rotate(&api, NOW, &key, r#"{"overlap_seconds":60}"#).await.body;
    for now in [NOW, NOW.plus(59), NOW.plus(60)] {
        assert_eq!(refused(now, &key).await, (409, "key_rotated".into()));
    }
    api.call("ada", "DELETE", &path(&key), None).await;
    assert_eq!(refused(NOW, &key).await, (409, "key_rotated".into()));
    assert_eq!(rotate(&api, NOW, &new, r#"{"overlap_seconds":0}"#).await.status, 201);
    assert_eq!(refused(NOW, &api.create("eve", "ci").await).await, (404, "not_found".into()));
}

#[tokio::test]
async fn at_the_limit_only_a_rotation_without_overlap_works() {
    let api = Api::start().await;
    let mut keys = Vec::new();
    for number in 0..5 {
        keys.push(api.create("ada", &format!("key {number}")).await);
    }
    let seen = rotate(&api, NOW, &keys[0], r#"{"overlap_seconds":1}"#).await;
    assert_eq!((seen.status, &seen.body["error"]), (409, &json!("key_limit_reached")));
    assert_eq!(api.call("ada", "GET", &path(&keys[0]), None).await.body["version"], 1, "nothing was changed");
    let mut key = keys.remove(0);
    for _ in 0..7 {
        let new = rotate(&api, NOW, &key, r#"{"overlap_seconds":0}"#).await;
        assert_eq!(new.status, 201, "{}", new.body);
        assert!(!is_good(&api, &key, NOW).await);
        assert!(is_good(&api, &new.body, NOW).await);
        assert_eq!(api.call("ada", "GET", &path(&key), None).await.body["status"], "expired");
        let seen = api.call("ada", "POST", "/v1/api-keys", Some(json!({ "name": "one more" }))).await;
        assert_eq!(seen.body["error"], "key_limit_reached");
        key = new.body;
    }
    assert_eq!(pages(&api, "/v1/api-keys?status=active&").await.len(), 5);
    assert_eq!(pages(&api, "/v1/api-keys?status=expired&").await.len(), 7);
}

#[tokio::test]
async fn both_overlapping_keys_count_until_the_deadline() {
    let api = Api::start().await;
    let key = api.create("ada", "ci").await;
    assert_eq!(rotate(&api, NOW, &key, r#"{"overlap_seconds":60}"#).await.status, 201);
    for _ in 0..3 {
        api.create("ada", "ci").await;
    }
    let create =
        async |now| api.at(now, "ada", "POST", "/v1/api-keys", Some(r#"{"name":"ci"}"#.into()), &[]).await.status;
    assert_eq!(create(NOW.plus(59)).await, 409);
    assert_eq!(create(NOW.plus(60)).await, 201);
    assert_eq!(create(NOW.plus(60)).await, 409);
    let list = api.at(NOW.plus(60), "ada", "GET", "/v1/api-keys?status=expired", None, &[]).await.body;
    assert_eq!((&list["items"][0]["id"], list["items"].as_array().unwrap().len()), (&key["id"], 1));
}

#[tokio::test]
async fn concurrent_rotations_create_exactly_one_successor() {
    let api = Api::start().await;
    for overlap in ["0", "60"] {
        let key = api.create("ada", "ci").await;
        let body = format!(r#"{{"overlap_seconds":{overlap}}}"#);
        let (one, two, three) = tokio::join!(
            rotate(&api, NOW, &key, &body),
            rotate(&api, NOW, &key, &body),
            rotate(&api, NOW, &key, &body)
        );
        let mut made: Vec<Value> = Vec::new();
        for seen in [one, two, three] {
            match seen.status {
                201 => made.push(seen.body["id"].clone()),
                _ => assert_eq!((seen.status, &seen.body["error"]), (409, &json!("key_rotated"))),
            }
        }
        assert_eq!(made.len(), 1);
        assert_eq!(api.call("ada", "GET", &path(&key), None).await.body["rotated_to"], made[0]);
    }
    assert_eq!(pages(&api, "/v1/api-keys?").await.len(), 4, "two keys, two successors");
}

#[tokio::test]
async fn a_rotation_of_an_outdated_version_is_rejected() {
    let api = Api::start().await;
    let key = api.create("ada", "ci").await;
    api.call("ada", "PATCH", &path(&key), Some(json!({ "name": "new" }))).await;
    let target = format!("{}/rotate", path(&key));
    for (version, status) in [("\"1\"", 412), ("\"2\"", 201)] {
        let seen = api.send("ada", "POST", &target, Some("{}".into()), &[("if-match", version)]).await;
        assert_eq!(seen.status, status);
    }
}
