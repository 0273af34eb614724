//! The endpoints: their routes, and their descriptions in docs/openapi.json.

use lambda_http::Request;
use serde_json::{Value, json};
use vega_auth::{HIDDEN, KeyId, KeyState};
use vega_http::RequestProblem;
use vega_openapi::{GatewayProblem, Route, schema_of};

use crate::admin::{Enabled, MAX_OWNER, Revoked};
use crate::body::{KeyPatch, NewKey, Rotation};
use crate::idempotency::{MAX_LEN, MIN_LEN};
use crate::list::{self, Page};
use crate::problem::{InvalidQuery, InvalidValue, KeyProblem};
use crate::query::MAX_REASON;
use crate::view::{Created, KeyView};
use crate::{DEFAULT_LIMIT, Scopes, events};

/// The function's endpoints.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Endpoint {
    CreateKey,
    ListKeys,
    GetKey,
    ChangeKey,
    RevokeKey,
    RotateKey,
    ListEvents,
    ListScopes,
    GetOwnKey,
    RevokeOwnKey,
    AdminListKeys,
    AdminRevokeKeys,
    AdminEnableKeys,
    AdminRevokeKey,
}

/// Each endpoint's route as API Gateway names it, its operation id, and its summary.
const ENDPOINTS: [(Endpoint, [&str; 3]); 14] = [
    (Endpoint::CreateKey, ["POST /v1/api-keys", "createApiKey", "Create a key"]),
    (Endpoint::ListKeys, ["GET /v1/api-keys", "listApiKeys", "List the caller's keys"]),
    (Endpoint::GetKey, ["GET /v1/api-keys/{id}", "getApiKey", "Get a key"]),
    (Endpoint::ChangeKey, ["PATCH /v1/api-keys/{id}", "changeApiKey", "Change a key"]),
    (Endpoint::RevokeKey, ["DELETE /v1/api-keys/{id}", "revokeApiKey", "Revoke a key"]),
    (Endpoint::RotateKey, ["POST /v1/api-keys/{id}/rotate", "rotateApiKey", "Replace a key"]),
    (Endpoint::ListEvents, ["GET /v1/api-keys/{id}/events", "listApiKeyEvents", "List a key's audit events"]),
    (Endpoint::ListScopes, ["GET /v1/scopes", "listScopes", "List the scopes"]),
    (Endpoint::GetOwnKey, ["GET /v1/api-keys/self", "getOwnApiKey", "Get the calling key"]),
    (Endpoint::RevokeOwnKey, ["DELETE /v1/api-keys/self", "revokeOwnApiKey", "Revoke the calling key"]),
    (Endpoint::AdminListKeys, ["GET /v1/admin/api-keys", "adminListApiKeys", "List an owner's keys"]),
    (Endpoint::AdminRevokeKeys, ["DELETE /v1/admin/api-keys", "adminRevokeApiKeys", "Revoke all of an owner's keys"]),
    (
        Endpoint::AdminEnableKeys,
        ["POST /v1/admin/api-keys/enable", "adminEnableApiKeys", "Enable the keys that were disabled with their owner"],
    ),
    (Endpoint::AdminRevokeKey, ["DELETE /v1/admin/api-keys/{id}", "adminRevokeApiKey", "Revoke anybody's key"]),
];

/// The routes, as docs/openapi.json describes them. A test compares that with template.yaml.
pub fn routes() -> Vec<Route> {
    let routes = ENDPOINTS.into_iter();
    routes.map(|(endpoint, [route, id, summary])| endpoint.document(Route::new(route, id, summary))).collect()
}

impl Endpoint {
    /// The endpoint that API Gateway matched.
    pub fn of(request: &Request) -> Result<Self, RequestProblem> {
        let route = vega_http::route(request);
        let found = ENDPOINTS.into_iter().find(|(_, [known, ..])| *known == route);
        found.map(|(endpoint, _)| endpoint).ok_or(RequestProblem::NoSuchRoute)
    }

    fn document(self, route: Route) -> Route {
        match self {
            Self::CreateKey => route
                .with(person_only)
                .description("The only response that contains the whole key: we store only a digest. A key can never do more than its owner.")
                .body::<NewKey>(json!({
                    "name": "deploy from CI", "groups": ["user"], "scopes": ["read"], "cidrs": ["203.0.113.0/24"],
                    "expires_in_days": 30,
                }))
                .error(&InvalidValue::Name)
                .with(creates_key),
            Self::ListKeys => route
                .with(person_only)
                .description("Newest first by default. A new key is in the next list.")
                .with(key_list),
            Self::GetKey => route
                .with(person_only)
                .with(own_key)
                .json::<KeyView>(200, "The key.", example_key())
                .with_headers(&["ETag"]),
            Self::ChangeKey => route
                .with(person_only)
                .with(own_key)
                .description("A JSON merge patch (RFC 7396): only the members sent change. Takes effect from the next request.")
                .with(if_match)
                .with(reason)
                .merge_patch::<KeyPatch>(json!({ "status": "disabled" }))
                .json::<KeyView>(200, "The changed key.", example_key())
                .with_headers(&["ETag"])
                .error(&KeyProblem::TokenOutdated)
                .error(&KeyProblem::Expired)
                .error(&KeyProblem::Revoked)
                .error(&InvalidValue::Name),
            Self::RevokeKey => route
                .with(person_only)
                .with(own_key)
                .description("Permanently, from the next request on. Repeating it is 204 again.")
                .with(revokes),
            Self::RotateKey => route
                .with(person_only)
                .with(own_key)
                .description(
                    "The successor inherits everything and expires no later than the old key. The old key stays valid for the \
                     overlap.",
                )
                .with(if_match)
                .body::<Rotation>(json!({ "overlap_seconds": 3600 }))
                .optional_body()
                .error(&KeyProblem::Disabled)
                .error(&KeyProblem::Expired)
                .error(&KeyProblem::Revoked)
                .error(&KeyProblem::Rotated(KeyId::from_entropy([7; 16])))
                .error(&InvalidValue::Overlap)
                .with(creates_key),
            Self::ListEvents => route
                .with(person_only)
                .with(own_key)
                .description("Newest first.")
                .with(|route| page(route, events::DEFAULT_PAGE, events::MAX_PAGE))
                .json::<events::Page>(
                    200,
                    "A page of events.",
                    json!({
                        "items": [{
                            "at": "2026-11-24T05:00:00Z", "event": "created", "key_id": "7Gh2kQ9XbT4m",
                            "actor": "1ab2c3d4-0000-4000-8000-000000000000", "actor_username": "ada",
                            "address": "203.0.113.7", "request_id": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
                            "reason": null, "before": null, "after": { "name": "deploy from CI", "status": "active" },
                        }],
                        "next_cursor": null,
                    }),
                ),
            Self::ListScopes => route
                .allows_api_keys()
                .description("The scopes of the access rules, which a key can be limited to.")
                .json::<Scopes>(
                    200,
                    "The scopes.",
                    json!({ "items": [{ "name": "read", "routes": ["GET /*", "HEAD /*"] }] }),
                ),
            Self::GetOwnKey => {
                route.with(api_key_only).json::<KeyView>(200, "The key.", example_key()).with_headers(&["ETag"])
            }
            Self::RevokeOwnKey => route.with(api_key_only).with(revokes),
            Self::AdminListKeys => route
                .with(administrator_only)
                .description("Like the list of one's own keys.")
                .required_query("owner", OWNER, &owner())
                .with(key_list),
            Self::AdminRevokeKeys => route
                .with(administrator_only)
                .error(&KeyProblem::Protected(KeyId::from_entropy([7; 16])))
                .required_query("owner", OWNER, &owner())
                .query("block_older_tokens", BLOCK, &json!({ "type": "boolean", "default": false }))
                .with(reason)
                .json::<Revoked>(200, "The keys are revoked.", json!({ "revoked": 3 })),
            Self::AdminEnableKeys => route
                .with(administrator_only)
                .description(
                    "After the owner was enabled again in the user pool, and the owner sync has noticed. Keys that a person disabled \
                     stay disabled.",
                )
                .error(&KeyProblem::Protected(KeyId::from_entropy([7; 16])))
                .error(&KeyProblem::OwnerDisabled)
                .required_query("owner", OWNER, &owner())
                .with(reason)
                .json::<Enabled>(200, "The keys are enabled.", json!({ "enabled": 3 })),
            Self::AdminRevokeKey => route
                .with(administrator_only)
                .error(&KeyProblem::Protected(KeyId::from_entropy([7; 16])))
                .path("id", "The key's public id.", &schema_of::<KeyId>())
                .error(&KeyProblem::NoSuchKey)
                .with(revokes),
        }
    }
}

fn api_key_only(route: Route) -> Route {
    route.description("Called with the key itself, whatever its scopes.").error(&KeyProblem::ApiKeyOnly)
}

fn person_only(route: Route) -> Route {
    route.error(&GatewayProblem::PersonRequired).error(&KeyProblem::PersonOnly).error(&KeyProblem::OwnPoolOnly)
}

fn administrator_only(route: Route) -> Route {
    route.with(person_only).error(&RequestProblem::AdministratorOnly)
}

fn own_key(route: Route) -> Route {
    route
        .path("id", "The key's public id, with or without `vk_` before it.", &schema_of::<KeyId>())
        .error(&KeyProblem::NotYours)
        .error(&KeyProblem::SecretInPath)
}

fn creates_key(route: Route) -> Route {
    let idempotency_key = json!({
        "type": "string", "minLength": MIN_LEN, "maxLength": MAX_LEN, "pattern": "^[!-~]+$",
        "example": "0f1c8d52-6a7e-4b57-9d4e-2f6d3c1b9a80",
    });
    route.header(
        "Idempotency-Key",
        "Random characters that identify the request: repeated with the same body within 15 minutes, it gets the same response.",
        &idempotency_key,
    )
    .json::<Created>(201, "The new key.", example_new_key())
    .with_headers(&["ETag", "Location"])
    .link(&["getApiKey", "changeApiKey", "rotateApiKey", "listApiKeyEvents", "revokeApiKey"])
    .error(&KeyProblem::InvalidIdempotencyKey)
    .error(&KeyProblem::TokenOutdated)
    .error(&KeyProblem::LimitReached { limit: DEFAULT_LIMIT })
    .error(&KeyProblem::IdempotencyInProgress)
    .error(&KeyProblem::IdempotencyKeyReused)
}

fn revokes(route: Route) -> Route {
    route.with(if_match).with(reason).no_content(204, "The key is revoked.")
}

fn key_list(route: Route) -> Route {
    let sort: Vec<String> = ["created_at", "name", "last_used_at", "expires_at"]
        .iter()
        .flat_map(|by| [(*by).to_owned(), format!("-{by}")])
        .collect();
    route
        .query("status", "Only keys with this status.", &schema_of::<KeyState>())
        .query(
            "q",
            "Only keys whose name contains this text, in any case, or whose id begins with it.",
            &json!({ "type": "string" }),
        )
        .query(
            "sort",
            "The order; with `-` before it, descending.",
            &json!({ "enum": sort, "default": list::DEFAULT_SORT }),
        )
        .with(|route| page(route, list::DEFAULT_PAGE, list::MAX_PAGE))
        .json::<Page>(200, "A page of keys.", json!({ "items": [example_key()], "next_cursor": null }))
}

fn page(route: Route, default: u32, max: u32) -> Route {
    let limit = json!({ "type": "integer", "minimum": 1, "maximum": max, "default": default });
    route
        .query("limit", "Maximum number of items per page.", &limit)
        .query("cursor", "`next_cursor` of the previous page of the same query.", &json!({ "type": "string" }))
        .error(&InvalidQuery::Limit { max })
}

fn if_match(route: Route) -> Route {
    route
        .header(
            "If-Match",
            "The `ETag` that you read: only that version is changed. If omitted, any version is.",
            &json!({ "type": "string" }),
        )
        .error(&KeyProblem::InvalidIfMatch)
        .error(&KeyProblem::VersionMismatch)
}

fn reason(route: Route) -> Route {
    let schema = json!({ "type": "string", "maxLength": MAX_REASON, "pattern": format!(r"^[^\x00-\x1f{HIDDEN}]*$") });
    route.query("reason", "The reason, recorded in the audit trail.", &schema).error(&InvalidQuery::Reason)
}
const OWNER: &str = "The id (`sub`) of the keys' owner.";
const BLOCK: &str = "Also bars the owner's access tokens issued so far from creating, rotating, enabling or widening a key. Disable \
                     the owner in the user pool first, or they can simply sign in again.";

fn owner() -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": MAX_OWNER })
}

fn example_key() -> Value {
    json!({
        "id": "7Gh2kQ9XbT4m", "name": "deploy from CI", "description": "", "status": "active", "groups": ["user"],
        "scopes": ["read"], "cidrs": ["203.0.113.0/24", "2001:db8::/32"],
        "created_at": "2026-11-24T05:00:00Z", "expires_at": "2026-12-24T05:00:00Z", "revoked_at": null, "revoked_reason": null,
        "rotated_from": null, "rotated_to": null, "rotated_at": null,
        "last_used_at": null, "last_used_address": null, "last_used_user_agent": null, "version": 1,
    })
}

fn example_new_key() -> Value {
    let mut key = example_key();
    // A published test vector, which secret scanners know.
    key["key"] = "vk_7Gh2kQ9XbT4m_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf1EG2IT".into();
    key
}
