//! `GET /v1/api-keys?status=&q=&limit=&cursor=`: which keys, and which page of them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lambda_http::{Request, RequestExt as _};
use serde::Serialize;
use vega_auth::{KeyId, KeyRecord, Timestamp};
use vega_http::Problem;

use crate::view::{KeyView, Status};

const DEFAULT_PAGE: usize = 50;
const MAX_PAGE: usize = 100;

/// What the query asks for.
pub struct Query {
    status: Option<Status>,
    /// Part of a name in any case, or the beginning of an id.
    text: Option<String>,
    page: usize,
    after: Option<Position>,
}

/// The last key of a page: newest first, and by id within a second.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Position(Timestamp, KeyId);

/// A page of keys.
#[derive(Serialize)]
pub struct Page {
    items: Vec<KeyView>,
    next_cursor: Option<String>,
}

impl Query {
    /// # Errors
    /// 400 with the parameter that is not good.
    pub fn read(request: &Request) -> Result<Self, Problem> {
        let parameters = request.query_string_parameters();
        let one = |name: &str| parameters.first(name).filter(|value| !value.is_empty());
        let known = ["status", "q", "limit", "cursor"];
        if parameters.iter().any(|(name, _)| !known.contains(&name)) {
            return Err(invalid(&format!("the parameters are {}", known.join(", "))));
        }
        Ok(Self {
            status: one("status")
                .map(|name| {
                    Status::from_name(name).ok_or_else(|| invalid("status: active, disabled, expired or revoked"))
                })
                .transpose()?,
            text: one("q").map(str::to_lowercase),
            page: one("limit")
                .map_or(Some(DEFAULT_PAGE), |text| text.parse().ok().filter(|limit| (1..=MAX_PAGE).contains(limit)))
                .ok_or_else(|| invalid(&format!("limit: 1 to {MAX_PAGE}")))?,
            after: one("cursor")
                .map(|cursor| Position::from_cursor(cursor).ok_or_else(|| invalid("cursor: take it from next_cursor")))
                .transpose()?,
        })
    }

    /// The page of these records, which are one owner's, newest first. A cursor names a place, never an owner.
    pub fn page(&self, records: Vec<KeyRecord>, now: Timestamp) -> Page {
        let mut wanted = records
            .into_iter()
            .filter(|record| self.after.is_none_or(|after| Position::of(record) < after))
            .filter(|record| self.status.is_none_or(|status| Status::of(record, now) == status))
            .filter(|record| self.text.as_ref().is_none_or(|text| is_about(record, text)));
        let page: Vec<KeyRecord> = wanted.by_ref().take(self.page).collect();
        let has_more = wanted.next().is_some();
        let next_cursor = page.last().filter(|_| has_more).map(|last| Position::of(last).to_cursor());
        Page { items: page.into_iter().map(|record| KeyView::new(record, now)).collect(), next_cursor }
    }
}

fn is_about(record: &KeyRecord, text: &str) -> bool {
    record.name.to_lowercase().contains(text)
        || record.id.as_str().to_lowercase().starts_with(text.strip_prefix("vk_").unwrap_or(text))
}

impl Position {
    fn of(record: &KeyRecord) -> Self {
        Self(record.created_at, record.id)
    }

    fn to_cursor(self) -> String {
        URL_SAFE_NO_PAD.encode(format!("{}.{}", self.0.0, self.1))
    }

    fn from_cursor(cursor: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let (at, id) = std::str::from_utf8(&bytes).ok()?.split_once('.')?;
        Some(Self(Timestamp(at.parse().ok()?), id.parse().ok()?))
    }
}

fn invalid(detail: &str) -> Problem {
    Problem::new(400, "invalid_query", detail)
}
