//! `GET /v1/api-keys`.

use crate::*;

#[tokio::test]
async fn the_list_is_filtered_by_status_name_and_id() {
    let api = Api::start().await;
    for name in ["one", "two", "three"] {
        api.create("ada", name).await;
    }
    let revoked = api.create("ada", "old").await;
    api.call("ada", "DELETE", &path(&revoked), None).await;
    let names = async |query: &str| -> Vec<String> {
        let seen = api.call("ada", "GET", &format!("/v1/api-keys?{query}"), None).await;
        seen.body["items"].as_array().unwrap().iter().map(|key| key["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("status=revoked").await, ["old"]);
    assert_eq!(names("q=TW").await, ["two"]);
    assert_eq!(names(&format!("q={}", &revoked["id"].as_str().unwrap()[..8])).await, ["old"]);
}

#[tokio::test]
async fn pages_of_the_list_contain_every_key_once() {
    let api = Api::start().await;
    for name in ["one", "two", "three"] {
        api.create("ada", name).await;
    }
    let ids: Vec<String> = pages(&api, "/v1/api-keys?").await.iter().map(|key| key["id"].to_string()).collect();
    assert_eq!(ids.len(), 3);
    assert_eq!(ids.iter().collect::<std::collections::HashSet<_>>().len(), 3);
}

#[tokio::test]
async fn an_unknown_repeated_or_invalid_query_parameter_is_400() {
    let api = Api::start().await;
    for query in
        ["status=gone", "limit=0", "limit=101", "cursor=x", "owner=bob", "sort=id", "sort=--name", "limit=1&limit=2"]
    {
        assert_eq!(api.call("ada", "GET", &format!("/v1/api-keys?{query}"), None).await.status, 400, "{query}");
    }
}

#[tokio::test]
async fn the_list_is_sorted_by_any_of_four_attributes() {
    let api = Api::start().await;
    for (name, days, used) in [("b", 3, Some(2)), ("A", 1, None), ("c.d", 2, Some(1)), ("é", 0, Some(3))] {
        let body = match days {
            0 => json!({ "name": name, "expires_at": null }),
            days => json!({ "name": name, "expires_in_days": days }),
        };
        let key = api.call("ada", "POST", "/v1/api-keys", Some(body)).await.body;
        if let Some(minutes) = used {
            let last = LastUse {
                at: NOW.plus(minutes * 60),
                address: String::new(),
                user_agent: String::new(),
                moved_at: None,
            };
            api.database.reader().record_use(key["id"].as_str().unwrap().parse().unwrap(), &last).await.unwrap();
        }
    }
    for (sort, expected) in [
        ("name", ["A", "b", "c.d", "é"]),
        ("-name", ["é", "c.d", "b", "A"]),
        ("expires_at", ["A", "c.d", "b", "é"]),
        ("-expires_at", ["é", "b", "c.d", "A"]),
        ("last_used_at", ["A", "c.d", "b", "é"]),
        ("-last_used_at", ["é", "b", "c.d", "A"]),
    ] {
        let keys = pages(&api, &format!("/v1/api-keys?sort={sort}&")).await;
        assert_eq!(keys.iter().map(|key| key["name"].as_str().unwrap()).collect::<Vec<_>>(), expected, "{sort}");
    }
}

#[tokio::test]
async fn keys_created_in_the_same_second_are_sorted_by_id() {
    let api = Api::start().await;
    for name in ["one", "two", "three"] {
        api.create("ada", name).await;
    }
    let ids = async |sort: &str| -> Vec<String> {
        pages(&api, &format!("/v1/api-keys?sort={sort}&")).await.iter().map(|key| key["id"].to_string()).collect()
    };
    let mut ascending = ids("created_at").await;
    assert!(ascending.is_sorted());
    ascending.reverse();
    assert_eq!(ids("-created_at").await, ascending);
    assert_eq!(pages(&api, "/v1/api-keys?").await, pages(&api, "/v1/api-keys?sort=-created_at&").await);
}

#[tokio::test]
async fn a_cursor_is_valid_for_its_owner_and_query_only() {
    let api = Api::start().await;
    for user in ["ada", "ada", "bob", "bob"] {
        api.create(user, "ci").await;
    }
    let cursor = api.call("ada", "GET", "/v1/api-keys?limit=1&q=ci", None).await.body["next_cursor"].clone();
    let cursor = cursor.as_str().unwrap();
    for (user, query, status) in [
        ("ada", "q=ci", 200),
        ("ada", "q=ci&limit=7", 200),
        ("bob", "q=ci", 400),
        ("ada", "q=c", 400),
        ("ada", "q=ci&sort=name", 400),
        ("ada", "q=ci&status=active", 400),
        ("ada", "", 400),
    ] {
        let seen = api.call(user, "GET", &format!("/v1/api-keys?cursor={cursor}&{query}"), None).await;
        assert_eq!(seen.status, status, "{user} {query}: {}", seen.body);
    }
}
