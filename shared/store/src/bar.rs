//! The bar: access tokens issued up to an instant give an owner's keys nothing more.
//!
//! A token records its owner's groups when it was issued, and is valid until it expires. When its owner is disabled, deleted or
//! leaves a group, no change that gives a key more may rest on it. So the bar is an item in the table, and its absence a
//! condition of every transaction that creates a key or gives one more: whichever is written first, the other sees it.

use aws_sdk_dynamodb::types::builders::ConditionCheckBuilder;
use vega_auth::{Fault, Timestamp};

use crate::Store;
use crate::item::{number, owner_pk};
use crate::transact::update_write;

/// A bar is kept for longer than any token that it concerns. Cognito's access tokens live for at most a day.
const KEPT_SECONDS: i64 = 25 * 60 * 60;

impl Store {
    /// Bars the tokens of `owner` that were issued up to `until`, inclusive. A later bar stays.
    /// Fails when the store doesn't answer. The bar may be in place then.
    pub async fn bar(&self, owner: &str, until: Timestamp) -> Result<(), Fault> {
        let bar = self
            .update_at(owner_pk(owner), "B", "SET barred_until = :until, purge_at = :purge_at")
            .condition_expression("attribute_not_exists(barred_until) OR barred_until < :until")
            .expression_attribute_values(":until", number(until.0))
            .expression_attribute_values(":purge_at", number(until.plus(KEPT_SECONDS).0));
        self.transact_if_due(vec![update_write(bar)?]).await.map(drop)
    }

    /// Succeeds unless a token issued then is barred. Any bar applies to a token whose time of issue is unknown.
    pub(crate) fn not_barred(&self, owner: &str, issued_at: Option<Timestamp>) -> ConditionCheckBuilder {
        let Some(at) = issued_at else {
            return self.check_at(owner_pk(owner), "B", "attribute_not_exists(barred_until)");
        };
        self.check_at(owner_pk(owner), "B", "attribute_not_exists(barred_until) OR barred_until < :issued_at")
            .expression_attribute_values(":issued_at", number(at.0))
    }
}
