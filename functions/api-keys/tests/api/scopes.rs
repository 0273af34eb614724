//! `GET /v1/scopes`.

use crate::*;

#[tokio::test]
async fn every_signed_in_caller_can_list_the_scopes() {
    let api = Api::start().await;
    for user in ["ada", "key of ada"] {
        let seen = api.call(user, "GET", "/v1/scopes", None).await;
        let items = json!([
            { "name": "deploy", "routes": ["POST /v1/deployments/*", "GET /v1/x"] },
            { "name": "read", "routes": ["GET /*", "HEAD /*"] }
        ]);
        assert_eq!((seen.status, &seen.body["items"]), (200, &items));
        let document = document();
        let example =
            &document["paths"]["/v1/scopes"]["get"]["responses"]["200"]["content"]["application/json"]["example"];
        assert_eq!(example["items"][0], items[1], "the documented example");
    }
}
