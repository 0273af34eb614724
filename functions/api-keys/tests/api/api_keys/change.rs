//! `PATCH /v1/api-keys/{id}`.

use crate::*;

#[tokio::test]
async fn a_patch_must_be_an_object_of_either_media_type() {
    let api = Api::start().await;
    let path = path(&api.create("ada", "ci").await);
    let patch = |body: &'static str, media_type| {
        let (api, path) = (&api, &path);
        async move { api.send("ada", "PATCH", path, Some(body.into()), &[("content-type", media_type)]).await }
    };
    let seen = patch(r#"{"name":"new","description":"x"}"#, "application/merge-patch+json").await;
    assert_eq!((seen.status, &seen.body["name"], &seen.body["version"]), (200, &json!("new"), &json!(2)));
    for body in [r#"["mine"]"#, "[]", "null", r#""mine""#, r#"{"name":null}"#, r#"{"owner":"eve"}"#] {
        let seen = patch(body, "application/json").await;
        assert_eq!((seen.status, &seen.body["error"]), (400, &json!("invalid_body")), "{body}");
    }
    let seen = patch("{}", "application/json").await;
    assert_eq!((seen.status, &seen.body["name"], &seen.body["version"]), (200, &json!("new"), &json!(2)));
}

#[tokio::test]
async fn a_change_of_an_outdated_version_is_rejected() {
    let api = Api::start().await;
    let key = api.create("ada", "ci").await;
    let rename = |name: &str| Some(json!({ "name": name }).to_string());
    let first = api.send("ada", "PATCH", &path(&key), rename("one"), &[("if-match", "\"1\"")]).await;
    assert_eq!((first.status, &first.headers["etag"]), (200, &"\"2\"".parse().unwrap()));
    for (tags, status, error) in [
        ("\"1\"", 412, "version_mismatch"),
        ("W/\"2\"", 412, "version_mismatch"),
        ("\"1\", \"3\"", 412, "version_mismatch"),
        ("2", 400, "invalid_if_match"),
        ("\"", 400, "invalid_if_match"),
        ("\"2\", 2", 400, "invalid_if_match"),
        ("", 400, "invalid_if_match"),
    ] {
        let seen = api.send("ada", "PATCH", &path(&key), rename("two"), &[("if-match", tags)]).await;
        assert_eq!((seen.status, &seen.body["error"]), (status, &json!(error)), "{tags}");
    }
    assert_eq!(api.send("ada", "PATCH", &path(&key), rename("two"), &[("if-match", "*")]).await.status, 200);
}

#[tokio::test]
async fn a_path_takes_the_id_as_lists_show_it_and_no_secret() {
    let api = Api::start().await;
    let key = api.create("ada", "ci").await;
    let at = |id: &str| format!("/v1/api-keys/{id}");
    let (id, whole) = (key["id"].as_str().unwrap(), key["key"].as_str().unwrap());
    assert_eq!(api.call("ada", "GET", &at(&format!("vk_{id}")), None).await.body["id"], *id);
    let seen = api.call("ada", "GET", &at(whole), None).await;
    assert_eq!((seen.status, &seen.body["error"]), (404, &json!("not_found")));
    assert!(seen.body["detail"].as_str().unwrap().contains("a secret"), "{}", seen.body);
    assert!(!seen.body.to_string().contains(whole));
}

#[tokio::test]
async fn a_disabled_key_can_be_enabled_again() {
    let api = Api::start().await;
    let key = api.create("ada", "ci").await;
    for status in ["disabled", "active"] {
        let seen = api.call("ada", "PATCH", &path(&key), Some(json!({ "status": status }))).await;
        assert_eq!((seen.status, &seen.body["status"]), (200, &json!(status)));
    }
}
