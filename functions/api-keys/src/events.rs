//! `GET /v1/api-keys/{id}/events`: a key's audit events, newest first.

use lambda_http::Request;
use schemars::JsonSchema;
use serde::Serialize;
use vega_auth::{AuditEvent, CurrentUser, Timestamp};
use vega_http::{Answer, json};
use vega_store::EventCursor;

use crate::problem::KeyProblem;
use crate::query::Parameters;
use crate::{ApiKeys, cursor, path_id};

pub const DEFAULT_PAGE: u32 = 50;
pub const MAX_PAGE: u32 = 100;

/// A page of events.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditEventPage")]
pub struct Page {
    /// The page's events.
    items: Vec<AuditEvent>,
    /// The `cursor` of the next page; `null` on the last page.
    next_cursor: Option<String>,
}

impl ApiKeys {
    /// Events are stored with the owner, who can still read them after the key's record has been purged.
    pub(crate) async fn events(&self, request: &Request, owner: &CurrentUser, now: Timestamp) -> Answer {
        let parameters = Parameters::read(request, &["limit", "cursor"])?;
        let limit = parameters.limit(DEFAULT_PAGE, MAX_PAGE)?;
        let id = path_id(request)?;
        let list = ["events", owner.id.as_str(), id.as_str()];
        let after = parameters.cursor(&list)?.map(|(version, index)| EventCursor { version, index });
        let (items, next) = self.store.events(&owner.id, id, limit, after, now).await?;
        // Every key has a `created` event: without events there is no such key, or it is somebody else's.
        if items.is_empty() && after.is_none() {
            return Err(KeyProblem::NotYours.into());
        }
        json(200, &Page { items, next_cursor: next.map(|place| cursor::write(&list, &(place.version, place.index))) })
    }
}
