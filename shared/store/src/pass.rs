//! Passes over all items of a kind. One may take several invocations: each saves its place for the next. A lease keeps two from
//! running at once.

use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use vega_auth::{Fault, Timestamp};

use crate::Store;
use crate::item::{SdkItem, from_sdk, number, string};
use crate::transact::{CONFLICT_TRIES, if_met};

/// A lease lasts as long as Lambda lets a function run at most. One that an invocation left behind expires then, unless Lambda's
/// retry takes it back before.
const LEASE_SECONDS: i64 = 15 * 60;

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
    /// The losses that a person has confirmed and this pass hasn't caused yet.
    pub confirmed: Option<usize>,
    /// When the invocation began that last completed a pass; before the first, when that was begun.
    pub completed_at: Timestamp,
}

/// The outcome of a request for a pass.
#[derive(Debug)]
pub enum Begun {
    /// The pass can begin, or continue.
    Leased(Pass),
    /// It is leased to another invocation, which learns at its end that one more was requested.
    Busy {
        /// As for a [`Pass`].
        completed_at: Timestamp,
    },
}

impl Store {
    /// Leases the pass of this name to `holder`, the id of an invocation: Lambda's retry has the same, and gets the lease back.
    ///
    /// A lease whose end is further away than any lasts is from a clock that was wrong, and counts for nothing.
    /// Fails when the store doesn't answer.
    pub async fn begin_pass(&self, name: &str, holder: &str, now: Timestamp) -> Result<Begun, Fault> {
        let pk = format!("P#{name}");
        for _ in 0..CONFLICT_TRIES {
            let lease = self
                .pass_update(
                    &pk,
                    "SET holder_id = :holder, leased_until = :until, completed_at = if_not_exists(completed_at, :now)",
                    "attribute_not_exists(leased_until) OR holder_id = :holder OR NOT leased_until BETWEEN :now AND :latest",
                )
                .expression_attribute_values(":holder", string(holder))
                .expression_attribute_values(":until", number(now.plus(LEASE_SECONDS).0))
                .expression_attribute_values(":now", number(now.0))
                // Clocks may differ by as much as a lease lasts.
                .expression_attribute_values(":latest", number(now.plus(2 * LEASE_SECONDS).0));
            if let Some(item) = if_met(lease.return_values(ReturnValue::AllNew).send().await)? {
                let place = match item.get("place") {
                    Some(AttributeValue::M(place)) => Some(Place(place.clone())),
                    _ => None,
                };
                let item = from_sdk(&item);
                let confirmed = item.number("confirmed").ok();
                let completed_at = item.time("completed_at")?;
                return Ok(Begun::Leased(Pass { pk, holder: holder.to_owned(), place, confirmed, completed_at }));
            }
            let request = self
                .pass_update(&pk, "SET is_requested = :true", "attribute_exists(leased_until)")
                .expression_attribute_values(":true", AttributeValue::Bool(true));
            if let Some(item) = if_met(request.return_values(ReturnValue::AllNew).send().await)? {
                return Ok(Begun::Busy { completed_at: from_sdk(&item).time("completed_at")? });
            }
            // It was ended in between.
        }
        Err(Fault::Store("the lease changed at every attempt".into()))
    }

    /// Ends the lease, and saves what the pass says. Whether another invocation was requested meanwhile. Does nothing if the lease
    /// has passed to another one.
    /// Fails when the store doesn't answer.
    pub async fn end_pass(&self, pass: Pass) -> Result<bool, Fault> {
        let nothing = AttributeValue::Null(true);
        let end = self
            .pass_update(
                &pass.pk,
                "SET completed_at = :completed_at, place = :place, confirmed = :confirmed \
                 REMOVE holder_id, leased_until, is_requested",
                "holder_id = :holder",
            )
            .expression_attribute_values(":holder", string(pass.holder))
            .expression_attribute_values(":completed_at", number(pass.completed_at.0))
            .expression_attribute_values(
                ":place",
                pass.place.map_or(nothing.clone(), |Place(place)| AttributeValue::M(place)),
            )
            .expression_attribute_values(":confirmed", pass.confirmed.map_or(nothing, number));
        let before = if_met(end.return_values(ReturnValue::AllOld).send().await)?;
        Ok(before.is_some_and(|before| before.contains_key("is_requested")))
    }

    fn pass_update(&self, pk: &str, expression: &str, condition: &str) -> UpdateItemFluentBuilder {
        let update = self.client.update_item().table_name(&self.table).key("pk", string(pk)).key("sk", string(pk));
        update.update_expression(expression).condition_expression(condition)
    }
}
