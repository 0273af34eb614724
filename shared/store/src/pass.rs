//! Passes over all items of a kind. One may take several invocations: each saves its place for the next. A lease keeps two from
//! running at once.

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use vega_auth::{Fault, Timestamp};

use crate::Store;
use crate::item::{SdkItem, from_sdk, number, string};
use crate::transact::if_met;

/// The longest lease: the longest that Lambda lets a function run. A later end is from a clock that was wrong.
const MAX_LEASE_SECONDS: i64 = 15 * 60;

/// A position in a scan.
#[derive(Clone, Debug, PartialEq)]
pub struct Place(pub(crate) SdkItem);

/// A pass, leased to one invocation.
#[derive(Debug)]
pub struct Pass {
    pk: String,
    holder: String,
    /// Where the next invocation continues. `None` at the beginning of a pass, and at its end.
    pub place: Option<Place>,
    /// When the last complete pass ended; before the first, when that began.
    pub completed_at: Timestamp,
}

impl Store {
    /// Leases the pass of this name to `holder` until `deadline`, when the invocation is over. `None` while it is leased to
    /// another one.
    ///
    /// # Errors
    /// When the store doesn't answer.
    pub async fn begin_pass(
        &self,
        name: &str,
        holder: &str,
        now: Timestamp,
        deadline: Timestamp,
    ) -> Result<Option<Pass>, Fault> {
        let pk = format!("P#{name}");
        let outcome = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("pk", string(&pk))
            .key("sk", string(&pk))
            .update_expression(
                "SET holder_id = :holder, leased_until = :deadline, completed_at = if_not_exists(completed_at, :now)",
            )
            .condition_expression(
                "attribute_not_exists(leased_until) OR holder_id = :holder OR NOT leased_until BETWEEN :now AND :latest",
            )
            .expression_attribute_values(":holder", string(holder))
            .expression_attribute_values(":deadline", number(deadline.0))
            .expression_attribute_values(":now", number(now.0))
            .expression_attribute_values(":latest", number(now.plus(MAX_LEASE_SECONDS).0))
            .return_values(ReturnValue::AllNew)
            .send()
            .await;
        let Some(item) = if_met(outcome)? else { return Ok(None) };
        let completed_at = from_sdk(&item).time("completed_at")?;
        let place = match item.get("place") {
            Some(AttributeValue::M(place)) => Some(Place(place.clone())),
            _ => None,
        };
        Ok(Some(Pass { pk, holder: holder.to_owned(), place, completed_at }))
    }

    /// Ends the lease, and saves the pass's place, or that it is complete. Does nothing if the lease has passed to another
    /// invocation.
    ///
    /// # Errors
    /// When the store doesn't answer.
    pub async fn end_pass(&self, pass: &Pass, is_complete: bool, now: Timestamp) -> Result<(), Fault> {
        let update = self.client.update_item().table_name(&self.table);
        let update = match &pass.place {
            _ if is_complete => update
                .update_expression("SET completed_at = :now REMOVE place, holder_id, leased_until")
                .expression_attribute_values(":now", number(now.0)),
            Some(Place(place)) => update
                .update_expression("SET place = :place REMOVE holder_id, leased_until")
                .expression_attribute_values(":place", AttributeValue::M(place.clone())),
            None => update.update_expression("REMOVE holder_id, leased_until"),
        };
        let outcome = update
            .key("pk", string(&pass.pk))
            .key("sk", string(&pass.pk))
            .condition_expression("holder_id = :holder")
            .expression_attribute_values(":holder", string(&pass.holder))
            .send()
            .await;
        if_met(outcome).map(drop)
    }
}
