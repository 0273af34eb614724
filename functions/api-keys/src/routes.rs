//! The routes, as docs/openapi.json shows them.

use serde_json::{Value, json};
use vega_auth::{HIDDEN, KeyId, KeyState};
use vega_openapi::{Route, schema_of};

use crate::admin::{MAX_OWNER, Revoked};
use crate::body::{KeyPatch, NewKey, Rotation};
use crate::create::Created;
use crate::idempotency::{MAX_LEN, MIN_LEN};
use crate::list::{self, Page};
use crate::problem::{InvalidQuery, InvalidValue, KeyProblem};
use crate::query::MAX_REASON;
use crate::view::KeyView;
use crate::{DEFAULT_LIMIT, Scopes, events};

/// What clients send and get.
pub fn routes() -> Vec<Route> {
    for_owners().into_iter().chain(for_keys_themselves()).chain(for_administrators()).collect()
}

fn for_owners() -> Vec<Route> {
    vec![
        makes_a_key(of_people("POST /v1/api-keys", "createApiKey", "Make a key"))
            .description("The one answer that holds the key whole: what is stored is a digest. A key can do no more than its owner.")
            .body::<NewKey>(json!({
                "name": "deploy from CI", "groups": ["user"], "scopes": ["read"], "cidrs": ["203.0.113.0/24"], "expires_in_days": 30,
            }))
            .error(&InvalidValue::Name),
        of_people("GET /v1/api-keys", "listApiKeys", "List the caller's keys")
            .description("Newest first, unless asked otherwise. A new key is in the next list.")
            .query("status", "Only keys of this status.", &schema_of::<KeyState>())
            .query("q", TEXT, &json!({ "type": "string" }))
            .query("sort", SORT, &json!({ "enum": sorts(), "default": list::DEFAULT_SORT }))
            .query("limit", "How many at most.", &page(list::DEFAULT_PAGE, list::MAX_PAGE))
            .query("cursor", CURSOR, &json!({ "type": "string" }))
            .json::<Page>(200, "A page of keys.", json!({ "items": [example_key()], "next_cursor": null }))
            .error(&InvalidQuery::Limit { max: list::MAX_PAGE }),
        of_one_key("GET", "getApiKey", "One key")
            .json::<KeyView>(200, "The key.", example_key())
            .with_headers(&["ETag"]),
        of_one_key("PATCH", "changeApiKey", "Change a key")
            .description("A JSON merge patch (RFC 7396): what it names is changed. It counts from the next request on.")
            .header("If-Match", IF_MATCH, &json!({ "type": "string" }))
            .query("reason", REASON, &reason())
            .merge_patch::<KeyPatch>(json!({ "status": "disabled" }))
            .json::<KeyView>(200, "The key as it is now.", example_key())
            .with_headers(&["ETag"])
            .error(&InvalidQuery::Limit { max: list::MAX_PAGE })
            .error(&KeyProblem::TokenOutdated)
            .error(&KeyProblem::Expired)
            .error(&KeyProblem::Revoked)
            .error(&KeyProblem::VersionMismatch)
            .error(&InvalidValue::Name),
        of_one_key("DELETE", "revokeApiKey", "Revoke a key")
            .description("For good, from the next request on. Again is 204 again.")
            .header("If-Match", IF_MATCH, &json!({ "type": "string" }))
            .query("reason", REASON, &reason())
            .no_content(204, "It is revoked.")
            .error(&InvalidQuery::Limit { max: list::MAX_PAGE })
            .error(&KeyProblem::VersionMismatch),
        makes_a_key(of_one_key("POST /rotate", "rotateApiKey", "Replace a key"))
            .description(
                "The successor inherits everything, and lives no longer than the key would have. The old key is good until the \
                 overlap is over.",
            )
            .header("If-Match", IF_MATCH, &json!({ "type": "string" }))
            .body::<Rotation>(json!({ "overlap_seconds": 3600 }))
            .optional_body()
            .error(&KeyProblem::Disabled)
            .error(&KeyProblem::Expired)
            .error(&KeyProblem::Revoked)
            .error(&KeyProblem::Rotated(example_id()))
            .error(&KeyProblem::VersionMismatch)
            .error(&InvalidValue::Name),
        of_one_key("GET /events", "listApiKeyEvents", "What happened to a key")
            .description("Its audit trail, newest first.")
            .query("limit", "How many at most.", &page(events::DEFAULT_PAGE, events::MAX_PAGE))
            .query("cursor", CURSOR, &json!({ "type": "string" }))
            .json::<events::Page>(
                200,
                "A page of events.",
                json!({
                    "items": [{
                        "at": "2026-11-24T05:00:00Z", "event": "created", "key_id": "7Gh2kQ9XbT4m",
                        "actor": "1ab2c3d4-0000-4000-8000-000000000000", "actor_username": "ada", "address": "203.0.113.7",
                        "request_id": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef", "reason": null, "before": null,
                        "after": { "name": "deploy from CI", "status": "active" },
                    }],
                    "next_cursor": null,
                }),
            )
            .error(&InvalidQuery::Limit { max: list::MAX_PAGE }),
        Route::new("GET /v1/scopes", "listScopes", "What a key can be narrowed to")
            .allows_api_keys()
            .description("The scopes of the access rules, for a form that makes keys.")
            .json::<Scopes>(200, "The scopes.", json!({ "items": [{ "name": "read", "routes": ["GET /*", "HEAD /*"] }] })),
    ]
}

fn for_keys_themselves() -> Vec<Route> {
    vec![
        of_itself("GET /v1/api-keys/self", "getOwnApiKey", "What am I")
            .json::<KeyView>(200, "The key.", example_key())
            .with_headers(&["ETag"]),
        of_itself("DELETE /v1/api-keys/self", "revokeOwnApiKey", "Revoke me")
            .header("If-Match", IF_MATCH, &json!({ "type": "string" }))
            .query("reason", REASON, &reason())
            .no_content(204, "It is revoked.")
            .error(&InvalidQuery::Limit { max: list::MAX_PAGE })
            .error(&KeyProblem::VersionMismatch),
    ]
}

fn for_administrators() -> Vec<Route> {
    vec![
        of_administrators("GET /v1/admin/api-keys", "adminListApiKeys", "List an owner's keys")
            .description("As the list of one's own keys.")
            .required_query("owner", OWNER, &owner())
            .query("status", "Only keys of this status.", &schema_of::<KeyState>())
            .query("q", TEXT, &json!({ "type": "string" }))
            .query("sort", SORT, &json!({ "enum": sorts(), "default": list::DEFAULT_SORT }))
            .query("limit", "How many at most.", &page(list::DEFAULT_PAGE, list::MAX_PAGE))
            .query("cursor", CURSOR, &json!({ "type": "string" }))
            .json::<Page>(200, "A page of keys.", json!({ "items": [example_key()], "next_cursor": null }))
            .error(&InvalidQuery::Limit { max: list::MAX_PAGE }),
        of_administrators("DELETE /v1/admin/api-keys", "revokeApiKeysOf", "Revoke all keys of an owner")
            .required_query("owner", OWNER, &owner())
            .query("block_older_tokens", BLOCK, &json!({ "type": "boolean", "default": false }))
            .query("reason", REASON, &reason())
            .json::<Revoked>(200, "They are revoked.", json!({ "revoked": 3 }))
            .error(&InvalidQuery::Limit { max: list::MAX_PAGE }),
        of_administrators("DELETE /v1/admin/api-keys/{id}", "adminRevokeApiKey", "Revoke anybody's key")
            .path("id", "The key's public id.", &schema_of::<KeyId>())
            .header("If-Match", IF_MATCH, &json!({ "type": "string" }))
            .query("reason", REASON, &reason())
            .no_content(204, "It is revoked.")
            .error(&InvalidQuery::Limit { max: list::MAX_PAGE })
            .error(&KeyProblem::NoSuchKey)
            .error(&KeyProblem::VersionMismatch),
    ]
}

const OWNER: &str = "The id (`sub`) of whose keys it is about.";
const BLOCK: &str = "Access tokens of the owner's that were issued up to now give their keys nothing any more: they can't make, rotate, \
                     enable or widen one. Disable the owner in the user pool before, or they sign in again.";
const SORT: &str = "By what; `-` before it for descending.";
const TEXT: &str = "Only keys whose name holds this text, in any case, or whose id begins with it.";
const CURSOR: &str = "Where to go on: `next_cursor` of the page before, of the same query.";
const REASON: &str = "Why, for those who read the audit trail.";
const IF_MATCH: &str = "The `ETag` that you read: only that version is changed. Left out, whatever version there is.";

fn of_people(route: &str, id: &str, summary: &str) -> Route {
    Route::new(route, id, summary).error(&KeyProblem::PersonOnly)
}

/// `method` may name what stands below the key: `GET /events`.
fn of_one_key(method: &str, id: &str, summary: &str) -> Route {
    let (method, below) = method.split_once(' ').unwrap_or((method, ""));
    of_people(&format!("{method} /v1/api-keys/{{id}}{below}"), id, summary)
        .path("id", "The key's public id.", &schema_of::<KeyId>())
        .error(&KeyProblem::NotYours)
}

/// What making a key and rotating one have in common.
fn makes_a_key(route: Route) -> Route {
    let idempotency_key = json!({
        "type": "string", "minLength": MIN_LEN, "maxLength": MAX_LEN, "pattern": "^[!-~]+$",
        "example": "0f1c8d52-6a7e-4b57-9d4e-2f6d3c1b9a80",
    });
    route
        .header(
            "Idempotency-Key",
            "Names the request: sent again with it within 15 minutes, the same body gets the same answer. Make it of random \
             characters.",
            &idempotency_key,
        )
        .json::<Created>(201, "The new key.", example_new_key())
        .with_headers(&["ETag", "Location"])
        .link(&["getApiKey", "changeApiKey", "rotateApiKey", "listApiKeyEvents", "revokeApiKey"])
        .error(&KeyProblem::InvalidIdempotencyKey)
        .error(&KeyProblem::TokenOutdated)
        .error(&KeyProblem::IdempotencyInProgress)
        .error(&KeyProblem::LimitReached { limit: DEFAULT_LIMIT })
        .error(&KeyProblem::IdempotencyKeyReused)
}

fn of_administrators(route: &str, id: &str, summary: &str) -> Route {
    Route::new(route, id, summary).error(&KeyProblem::AdministratorOnly)
}

fn example_id() -> KeyId {
    KeyId::from_entropy([7; 16])
}

fn owner() -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": MAX_OWNER })
}

fn of_itself(route: &str, id: &str, summary: &str) -> Route {
    Route::new(route, id, summary)
        .description("With the key itself, whatever its scopes.")
        .error(&KeyProblem::ApiKeyOnly)
}

fn sorts() -> Vec<String> {
    ["created_at", "name", "last_used_at", "expires_at"]
        .iter()
        .flat_map(|by| [(*by).to_owned(), format!("-{by}")])
        .collect()
}

fn page(default: u32, max: u32) -> Value {
    json!({ "type": "integer", "minimum": 1, "maximum": max, "default": default })
}

fn reason() -> Value {
    json!({ "type": "string", "maxLength": MAX_REASON, "pattern": format!(r"^[^\x00-\x1f{HIDDEN}]*$") })
}

fn example_key() -> Value {
    json!({
        "id": "7Gh2kQ9XbT4m", "name": "deploy from CI", "description": "", "status": "active", "groups": ["user"],
        "scopes": ["read"], "cidrs": ["203.0.113.0/24", "2001:db8::/32"],
        "created_at": "2026-11-24T05:00:00Z", "expires_at": "2026-12-24T05:00:00Z", "revoked_at": null, "revoked_reason": null, "rotated_from": null, "rotated_to": null,
        "last_used_at": null, "last_used_address": null, "last_used_user_agent": null, "version": 1,
    })
}

fn example_new_key() -> Value {
    let mut made = example_key();
    // A published test vector: scanners know it.
    made["key"] = "vk_7Gh2kQ9XbT4m_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf1EG2IT".into();
    made
}
