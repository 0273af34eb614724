//! The bar: access tokens that were issued up to a moment give an owner's keys nothing any more.
//!
//! A token says who somebody was when it was issued, and is good until it expires. When they are disabled, deleted, or leave
//! a group, what is written of their keys must not rest on such a token. So the bar stands in the table, and its absence is a
//! condition of every transaction that makes a key or gives one more: whichever of the two is first, the other sees it.

use aws_sdk_dynamodb::types::builders::ConditionCheckBuilder;
use aws_sdk_dynamodb::types::{ConditionCheck, Update};
use vega_auth::{Fault, Timestamp};

use crate::Store;
use crate::item::{number, owner_pk, string};
use crate::transact::{TransactionError, update_write};

/// How long a bar is kept: longer than any token lives that it is about. Cognito lets an access token live for a day at most.
const KEPT_SECONDS: i64 = 25 * 60 * 60;

impl Store {
    /// Bars the tokens of `owner`'s that were issued up to `until`, that second included. A later bar stays.
    ///
    /// # Errors
    /// When we could not find out. The bar may be there then.
    pub async fn bar(&self, owner: &str, until: Timestamp) -> Result<(), Fault> {
        let bar = Update::builder()
            .table_name(&self.table)
            .key("pk", owner_pk(owner))
            .key("sk", string("B"))
            .update_expression("SET barred_until = :until, purge_at = :purge_at")
            .condition_expression("attribute_not_exists(barred_until) OR barred_until < :until")
            .expression_attribute_values(":until", number(until.0))
            .expression_attribute_values(":purge_at", number(until.plus(KEPT_SECONDS).0));
        match self.transact(vec![update_write(bar)?]).await {
            Ok(()) | Err(TransactionError::Condition(_)) => Ok(()),
            Err(TransactionError::Fault(fault)) => Err(fault),
        }
    }

    /// Holds where a token that was issued then is not barred. One of which that isn't known is held by any bar.
    pub(crate) fn not_barred(&self, owner: &str, issued_at: Option<Timestamp>) -> ConditionCheckBuilder {
        let check = ConditionCheck::builder().table_name(&self.table).key("pk", owner_pk(owner)).key("sk", string("B"));
        match issued_at {
            None => check.condition_expression("attribute_not_exists(barred_until)"),
            Some(at) => check
                .condition_expression("attribute_not_exists(barred_until) OR barred_until < :issued_at")
                .expression_attribute_values(":issued_at", number(at.0)),
        }
    }
}
