//! `GET /v1/api-keys/{id}`.

use crate::*;

#[tokio::test]
async fn another_owners_key_looks_missing_to_every_method() {
    let api = Api::start().await;
    let key = api.create("ada", "ci").await;
    for (method, body) in [("GET", None), ("PATCH", Some(json!({ "name": "mine" }))), ("DELETE", None)] {
        let theirs = api.call("eve", method, &path(&key), body.clone()).await;
        let none = api.call("eve", method, "/v1/api-keys/zzzzzzzzzzzz", body.clone()).await;
        let nonsense = api.call("eve", method, "/v1/api-keys/no-id", body).await;
        assert_eq!((theirs.status, &theirs.body), (404, &none.body));
        assert_eq!(none.body, nonsense.body);
    }
    assert_eq!(api.call("ada", "GET", &path(&key), None).await.body["name"], "ci");
}

#[tokio::test]
async fn the_last_use_is_returned_once_there_is_one() {
    let api = Api::start().await;
    let key = api.create("ada", "ci").await;
    assert_eq!(key["last_used_at"], Value::Null);
    let last = LastUse { at: NOW, address: "192.0.2.7".into(), user_agent: "curl/8".into(), moved_at: None };
    api.database.reader().record_use(key["id"].as_str().unwrap().parse().unwrap(), &last).await.unwrap();
    let one = api.call("ada", "GET", &path(&key), None).await.body;
    assert_eq!(one["last_used_at"], "2027-01-15T08:00:00Z");
    assert_eq!((&one["last_used_address"], &one["last_used_user_agent"]), (&json!("192.0.2.7"), &json!("curl/8")));
    assert_eq!(api.call("ada", "GET", "/v1/api-keys", None).await.body["items"], json!([one]));
}
