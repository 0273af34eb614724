//! The endpoints: their routes, and their descriptions in docs/openapi.json.

use lambda_http::Request;
use serde_json::{Value, json};
use vega_auth::{HIDDEN, KeyId, KeyState};
use vega_http::RequestProblem;
use vega_openapi::{Route, schema_of};

use crate::admin::{Enabled, MAX_OWNER, Revoked};
use crate::body::{KeyPatch, NewKey, Rotation};
use crate::idempotency::{MAX_LEN, MIN_LEN};
use crate::list::{self, Page};
use crate::problem::{InvalidQuery, InvalidValue, KeyProblem};
use crate::query::MAX_REASON;
use crate::view::{Created, KeyView};
use crate::{DEFAULT_LIMIT, Scopes, events};

/// What this function is called for.
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

/// The routes, as docs/openapi.json describes them.
pub fn routes() -> Vec<Route> {
    Endpoint::ALL.into_iter().map(Endpoint::document).collect()
}

impl Endpoint {
    /// An endpoint that is missing here is missing in docs/openapi.json, which a test compares with template.yaml.
    pub const ALL: [Self; 14] = [
        Self::CreateKey,
        Self::ListKeys,
        Self::GetKey,
        Self::ChangeKey,
        Self::RevokeKey,
        Self::RotateKey,
        Self::ListEvents,
        Self::ListScopes,
        Self::GetOwnKey,
        Self::RevokeOwnKey,
        Self::AdminListKeys,
        Self::AdminRevokeKeys,
        Self::AdminEnableKeys,
        Self::AdminRevokeKey,
    ];

    /// The endpoint that API Gateway matched.
    pub fn of(request: &Request) -> Result<Self, RequestProblem> {
        let route = vega_http::route(request);
        Self::ALL.into_iter().find(|endpoint| endpoint.names()[0] == route).ok_or(RequestProblem::NoSuchRoute)
    }

    /// Its route as API Gateway names it, its operation id, and its summary.
    const fn names(self) -> [&'static str; 3] {
        match self {
            Self::CreateKey => ["POST /v1/api-keys", "createApiKey", "Create a key"],
            Self::ListKeys => ["GET /v1/api-keys", "listApiKeys", "List the caller's keys"],
            Self::GetKey => ["GET /v1/api-keys/{id}", "getApiKey", "Get a key"],
            Self::ChangeKey => ["PATCH /v1/api-keys/{id}", "changeApiKey", "Change a key"],
            Self::RevokeKey => ["DELETE /v1/api-keys/{id}", "revokeApiKey", "Revoke a key"],
            Self::RotateKey => ["POST /v1/api-keys/{id}/rotate", "rotateApiKey", "Replace a key"],
            Self::ListEvents => ["GET /v1/api-keys/{id}/events", "listApiKeyEvents", "List a key's audit events"],
            Self::ListScopes => ["GET /v1/scopes", "listScopes", "List the scopes"],
            Self::GetOwnKey => ["GET /v1/api-keys/self", "getOwnApiKey", "Get the calling key"],
            Self::RevokeOwnKey => ["DELETE /v1/api-keys/self", "revokeOwnApiKey", "Revoke the calling key"],
            Self::AdminListKeys => ["GET /v1/admin/api-keys", "adminListApiKeys", "List an owner's keys"],
            Self::AdminRevokeKeys => {
                ["DELETE /v1/admin/api-keys", "adminRevokeApiKeys", "Revoke all of an owner's keys"]
            }
            Self::AdminEnableKeys => [
                "POST /v1/admin/api-keys/enable",
                "adminEnableApiKeys",
                "Enable the keys that were disabled with their owner",
            ],
            Self::AdminRevokeKey => ["DELETE /v1/admin/api-keys/{id}", "adminRevokeApiKey", "Revoke anybody's key"],
        }
    }

    fn document(self) -> Route {
        let [route, id, summary] = self.names();
        let route = Route::new(route, id, summary);
        match self {
            Self::CreateKey => route
                .person_only()
                .description("The only response that contains the whole key: we store only a digest. A key can never do more than its owner.")
                .body::<NewKey>(json!({
                    "name": "deploy from CI", "groups": ["user"], "scopes": ["read"], "cidrs": ["203.0.113.0/24"],
                    "expires_in_days": 30,
                }))
                .error(&InvalidValue::Name)
                .creates_key(),
            Self::ListKeys => route
                .person_only()
                .description("Newest first by default. A new key is in the next list.")
                .key_list(),
            Self::GetKey => route
                .person_only()
                .own_key()
                .json::<KeyView>(200, "The key.", example_key())
                .with_headers(&["ETag"]),
            Self::ChangeKey => route
                .person_only()
                .own_key()
                .description("A JSON merge patch (RFC 7396): only the members sent change. Takes effect from the next request.")
                .if_match()
                .reason()
                .merge_patch::<KeyPatch>(json!({ "status": "disabled" }))
                .json::<KeyView>(200, "The changed key.", example_key())
                .with_headers(&["ETag"])
                .error(&KeyProblem::TokenOutdated)
                .error(&KeyProblem::Expired)
                .error(&KeyProblem::Revoked)
                .error(&InvalidValue::Name),
            Self::RevokeKey => route
                .person_only()
                .own_key()
                .description("Permanently, from the next request on. Repeating it is 204 again.")
                .revokes(),
            Self::RotateKey => route
                .person_only()
                .own_key()
                .description(
                    "The successor inherits everything and expires no later than the old key. The old key stays valid for the \
                     overlap.",
                )
                .if_match()
                .body::<Rotation>(json!({ "overlap_seconds": 3600 }))
                .optional_body()
                .error(&KeyProblem::Disabled)
                .error(&KeyProblem::Expired)
                .error(&KeyProblem::Revoked)
                .error(&KeyProblem::Rotated(KeyId::from_entropy([7; 16])))
                .error(&InvalidValue::Overlap)
                .creates_key(),
            Self::ListEvents => route
                .person_only()
                .own_key()
                .description("Newest first.")
                .page(events::DEFAULT_PAGE, events::MAX_PAGE)
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
                route.api_key_only().json::<KeyView>(200, "The key.", example_key()).with_headers(&["ETag"])
            }
            Self::RevokeOwnKey => route.api_key_only().revokes(),
            Self::AdminListKeys => route
                .administrator_only()
                .description("Like the list of one's own keys.")
                .required_query("owner", OWNER, &owner())
                .key_list(),
            Self::AdminRevokeKeys => route
                .administrator_only()
                .error(&KeyProblem::RootOnly(KeyId::from_entropy([7; 16])))
                .required_query("owner", OWNER, &owner())
                .query("block_older_tokens", BLOCK, &json!({ "type": "boolean", "default": false }))
                .reason()
                .json::<Revoked>(200, "The keys are revoked.", json!({ "revoked": 3 })),
            Self::AdminEnableKeys => route
                .administrator_only()
                .description(
                    "After the owner was enabled again in the user pool, and the owner sync has noticed. Keys that a person disabled \
                     stay disabled.",
                )
                .error(&KeyProblem::RootOnly(KeyId::from_entropy([7; 16])))
                .error(&KeyProblem::OwnerDisabled)
                .required_query("owner", OWNER, &owner())
                .reason()
                .json::<Enabled>(200, "The keys are enabled.", json!({ "enabled": 3 })),
            Self::AdminRevokeKey => route
                .administrator_only()
                .error(&KeyProblem::RootOnly(KeyId::from_entropy([7; 16])))
                .path("id", "The key's public id.", &schema_of::<KeyId>())
                .error(&KeyProblem::NoSuchKey)
                .revokes(),
        }
    }
}

/// What several of these routes have in common.
trait KeyRoute: Sized {
    fn person_only(self) -> Self;
    fn api_key_only(self) -> Self;
    fn administrator_only(self) -> Self;
    fn own_key(self) -> Self;
    fn creates_key(self) -> Self;
    fn revokes(self) -> Self;
    fn key_list(self) -> Self;
    fn page(self, default: u32, max: u32) -> Self;
    fn if_match(self) -> Self;
    fn reason(self) -> Self;
}

impl KeyRoute for Route {
    fn person_only(self) -> Self {
        self.error(&KeyProblem::PersonOnly).error(&KeyProblem::OwnPoolOnly)
    }

    fn api_key_only(self) -> Self {
        self.description("Called with the key itself, whatever its scopes.").error(&KeyProblem::ApiKeyOnly)
    }

    fn administrator_only(self) -> Self {
        self.error(&KeyProblem::AdministratorOnly)
    }

    fn own_key(self) -> Self {
        self.path("id", "The key's public id.", &schema_of::<KeyId>()).error(&KeyProblem::NotYours)
    }

    fn creates_key(self) -> Self {
        let idempotency_key = json!({
            "type": "string", "minLength": MIN_LEN, "maxLength": MAX_LEN, "pattern": "^[!-~]+$",
            "example": "0f1c8d52-6a7e-4b57-9d4e-2f6d3c1b9a80",
        });
        let others =
            [Endpoint::GetKey, Endpoint::ChangeKey, Endpoint::RotateKey, Endpoint::ListEvents, Endpoint::RevokeKey];
        self.header(
            "Idempotency-Key",
            "Random characters that identify the request: repeated with the same body within 15 minutes, it gets the same response.",
            &idempotency_key,
        )
        .json::<Created>(201, "The new key.", example_new_key())
        .with_headers(&["ETag", "Location"])
        .link(&others.map(|endpoint| endpoint.names()[1]))
        .error(&KeyProblem::InvalidIdempotencyKey)
        .error(&KeyProblem::TokenOutdated)
        .error(&KeyProblem::LimitReached { limit: DEFAULT_LIMIT })
        .error(&KeyProblem::IdempotencyInProgress)
        .error(&KeyProblem::IdempotencyKeyReused)
    }

    fn revokes(self) -> Self {
        self.if_match().reason().no_content(204, "The key is revoked.")
    }

    fn key_list(self) -> Self {
        let sort: Vec<String> = ["created_at", "name", "last_used_at", "expires_at"]
            .iter()
            .flat_map(|by| [(*by).to_owned(), format!("-{by}")])
            .collect();
        self.query("status", "Only keys with this status.", &schema_of::<KeyState>())
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
            .page(list::DEFAULT_PAGE, list::MAX_PAGE)
            .json::<Page>(200, "A page of keys.", json!({ "items": [example_key()], "next_cursor": null }))
    }

    fn page(self, default: u32, max: u32) -> Self {
        let limit = json!({ "type": "integer", "minimum": 1, "maximum": max, "default": default });
        self.query("limit", "Maximum number of items per page.", &limit)
            .query("cursor", "`next_cursor` of the previous page of the same query.", &json!({ "type": "string" }))
            .error(&InvalidQuery::Limit { max })
    }

    fn if_match(self) -> Self {
        self.header(
            "If-Match",
            "The `ETag` that you read: only that version is changed. If omitted, any version is.",
            &json!({ "type": "string" }),
        )
        .error(&KeyProblem::VersionMismatch)
    }

    fn reason(self) -> Self {
        let schema =
            json!({ "type": "string", "maxLength": MAX_REASON, "pattern": format!(r"^[^\x00-\x1f{HIDDEN}]*$") });
        self.query("reason", "The reason, recorded in the audit trail.", &schema).error(&InvalidQuery::Reason)
    }
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
