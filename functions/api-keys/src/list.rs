//! `GET /v1/api-keys?status=&q=&sort=&limit=&cursor=`: filter, order and page.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vega_auth::{KeyId, KeyRecord, KeyState, Timestamp};

use crate::cursor;
use crate::problem::InvalidQuery;
use crate::query::Parameters;
use crate::view::KeyView;

/// The query parameters of a list.
pub const PARAMETERS: [&str; 5] = ["status", "q", "sort", "limit", "cursor"];

pub const DEFAULT_PAGE: u32 = 50;
pub const MAX_PAGE: u32 = 100;
pub const DEFAULT_SORT: &str = "-created_at";

/// A validated query.
pub struct Query<'a> {
    /// Identifies this list: a cursor is valid for it only.
    list: [&'a str; 5],
    status: Option<KeyState>,
    /// Part of a name, in any case, or the beginning of an id.
    text: Option<String>,
    by: Attribute,
    descending: bool,
    page: usize,
    after: Option<Place>,
}

#[derive(Clone, Copy)]
enum Attribute {
    CreatedAt,
    Name,
    LastUsedAt,
    ExpiresAt,
}

/// A key's position in the order: the value sorted by, then the id.
#[derive(PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Place(Value, KeyId);

#[derive(PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
enum Value {
    Number(i64),
    Text(String),
}

/// A page of keys.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "KeyPage")]
pub struct Page {
    /// The page's keys.
    items: Vec<KeyView>,
    /// The `cursor` of the next page; `null` on the last page.
    next_cursor: Option<String>,
}

impl<'a> Query<'a> {
    /// Reads the query for `owner`'s keys.
    /// 400 naming the invalid parameter.
    pub fn read(parameters: &'a Parameters, owner: &'a str) -> Result<Self, InvalidQuery> {
        let one = |name: &str| parameters.one(name);
        let sort = one("sort").unwrap_or(DEFAULT_SORT);
        let (descending, name) = sort.strip_prefix('-').map_or((false, sort), |name| (true, name));
        let by = match name {
            "created_at" => Attribute::CreatedAt,
            "name" => Attribute::Name,
            "last_used_at" => Attribute::LastUsedAt,
            "expires_at" => Attribute::ExpiresAt,
            _ => return Err(InvalidQuery::Sort),
        };
        let list = ["keys", owner, one("status").unwrap_or_default(), one("q").unwrap_or_default(), sort];
        Ok(Self {
            list,
            status: one("status").map(|name| name.parse().map_err(|_| InvalidQuery::Status)).transpose()?,
            text: one("q").map(str::to_lowercase),
            by,
            descending,
            page: usize::try_from(parameters.limit(DEFAULT_PAGE, MAX_PAGE)?).unwrap_or(usize::MAX),
            after: parameters.cursor(&list)?,
        })
    }

    /// The requested page of the owner's records.
    pub fn page(&self, records: Vec<KeyRecord>, now: Timestamp) -> Page {
        let mut wanted: Vec<(Place, KeyRecord)> = records
            .into_iter()
            .filter(|record| self.status.is_none_or(|status| record.state(now) == status))
            .filter(|record| self.text.as_ref().is_none_or(|text| is_about(record, text)))
            .map(|record| (Place::of(&record, self.by), record))
            .filter(|(place, _)| {
                self.after.as_ref().is_none_or(|after| if self.descending { place < after } else { place > after })
            })
            .collect();
        wanted.sort_by(|(a, _), (b, _)| if self.descending { b.cmp(a) } else { a.cmp(b) });
        let more = wanted.len() > self.page;
        wanted.truncate(self.page);
        let next_cursor = wanted.last().filter(|_| more).map(|(place, _)| cursor::write(&self.list, place));
        Page { items: wanted.into_iter().map(|(_, record)| KeyView::new(record, now)).collect(), next_cursor }
    }
}

fn is_about(record: &KeyRecord, text: &str) -> bool {
    record.name.to_lowercase().contains(text)
        || record.id.as_str().to_lowercase().starts_with(text.strip_prefix("vk_").unwrap_or(text))
}

impl Place {
    fn of(record: &KeyRecord, by: Attribute) -> Self {
        let value = match by {
            Attribute::CreatedAt => Value::Number(record.created_at.0),
            Attribute::Name => Value::Text(record.name.to_lowercase()),
            // Never used sorts before every use; no expiry sorts after every expiry.
            Attribute::LastUsedAt => Value::Number(record.last_use.as_ref().map_or(i64::MIN, |last| last.at.0)),
            Attribute::ExpiresAt => Value::Number(record.expires_at.map_or(i64::MAX, |end| end.0)),
        };
        Self(value, record.id)
    }
}
