//! A lease: the right to do work that only one run may do at a time, and where that work stands.
//!
//! A run that stops without releasing its lease loses it after [`LEASE_SECONDS`]. Each lease has a higher `fence` than the one
//! before, so a run that was suspended for longer than that can't renew, and stops.

use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use vega_auth::{Fault, Timestamp};
use vega_key_table::Item;

use crate::Store;
use crate::item::{from_sdk, number, string};
use crate::transact::{CONFLICT_TRIES, if_met};

/// A lease ends this long after it was last renewed.
const LEASE_SECONDS: i64 = 60;
/// A lease is renewed once it is this old.
const RENEWAL_SECONDS: i64 = 15;

/// The right to do some work.
#[derive(Debug)]
pub struct Lease {
    work: &'static str,
    fence: u64,
    renewed_at: Timestamp,
    /// When the last complete run of the work began.
    pub completed: Option<Timestamp>,
    /// A number that an interrupted run leaves to the next one, which continues it.
    pub carried: Option<usize>,
}

/// The outcome of a request for a lease.
#[derive(Debug)]
pub enum Leasing {
    /// The work can begin.
    Granted(Lease),
    /// Another run has the lease, and is told at its end that one more run was requested.
    Busy {
        /// When the last complete run of the work began.
        completed: Option<Timestamp>,
    },
}

/// How a run ended.
#[derive(Clone, Copy, Debug)]
pub enum Ending {
    /// It did everything that was to do when it began.
    Complete {
        /// When it began.
        began_at: Timestamp,
    },
    /// Its time ran out, and the next run continues.
    Interrupted,
    /// It met a fault.
    Failed,
}

impl Store {
    /// Requests the lease for `work`, the key of its item.
    ///
    /// An expiry that is further away than any lease lasts was set by a wrong clock, and is ignored.
    ///
    /// # Errors
    /// When the store doesn't answer.
    pub async fn lease(&self, work: &'static str, now: Timestamp) -> Result<Leasing, Fault> {
        for _ in 0..CONFLICT_TRIES {
            let take = self
                .lease_update(work, "SET leased_until = :until REMOVE again ADD fence :one")
                .condition_expression(
                    "attribute_not_exists(leased_until) OR leased_until <= :now OR leased_until > :horizon",
                )
                .expression_attribute_values(":now", number(now.0))
                // Clocks may differ by as much as a lease lasts.
                .expression_attribute_values(":horizon", number(now.plus(2 * LEASE_SECONDS).0))
                .expression_attribute_values(":until", number(now.plus(LEASE_SECONDS).0))
                .expression_attribute_values(":one", number(1));
            if let Some(item) = if_met(take.return_values(ReturnValue::AllNew).send().await)? {
                let item = from_sdk(&item);
                let carried = item.optional("carried", Item::number)?;
                let lease = Lease {
                    work,
                    fence: item.number("fence")?,
                    renewed_at: now,
                    completed: completed(&item)?,
                    carried,
                };
                return Ok(Leasing::Granted(lease));
            }
            let request = self
                .lease_update(work, "SET again = :true")
                .condition_expression("attribute_exists(leased_until)")
                .expression_attribute_values(":true", AttributeValue::Bool(true));
            if let Some(item) = if_met(request.return_values(ReturnValue::AllNew).send().await)? {
                return Ok(Leasing::Busy { completed: completed(&from_sdk(&item))? });
            }
            // It was released in between.
        }
        Err(Fault::Store("the lease changed at every attempt".into()))
    }

    /// Renews the lease, if that is due by `now`: also if the clock went back.
    ///
    /// # Errors
    /// When the store doesn't answer, or another run has the lease by now.
    pub async fn renew(&self, lease: &mut Lease, now: Timestamp) -> Result<(), Fault> {
        if (0..RENEWAL_SECONDS).contains(&(now.0 - lease.renewed_at.0)) {
            return Ok(());
        }
        let renew = self
            .held(lease, "SET leased_until = :until")
            .expression_attribute_values(":until", number(now.plus(LEASE_SECONDS).0));
        if_met(renew.send().await)?.ok_or_else(lost)?;
        lease.renewed_at = now;
        Ok(())
    }

    /// Releases the lease, and records how the run ended. Whether one more run was requested meanwhile.
    ///
    /// # Errors
    /// When the store doesn't answer, or another run has the lease by now.
    pub async fn release(&self, lease: Lease, ending: Ending) -> Result<bool, Fault> {
        let (record, value) = match (ending, lease.carried) {
            (Ending::Complete { began_at }, _) => ("SET completed = :value REMOVE carried,", Some(number(began_at.0))),
            (Ending::Interrupted, Some(count)) => ("SET carried = :value REMOVE", Some(number(count))),
            (Ending::Interrupted, None) | (Ending::Failed, _) => ("REMOVE carried,", None),
        };
        let release = self.held(&lease, &format!("{record} leased_until, again"));
        let release = match value {
            Some(value) => release.expression_attribute_values(":value", value),
            None => release,
        };
        let before = if_met(release.return_values(ReturnValue::AllOld).send().await)?.ok_or_else(lost)?;
        Ok(before.contains_key("again"))
    }

    fn held(&self, lease: &Lease, expression: &str) -> UpdateItemFluentBuilder {
        self.lease_update(lease.work, expression)
            .condition_expression("fence = :fence AND attribute_exists(leased_until)")
            .expression_attribute_values(":fence", number(lease.fence))
    }

    fn lease_update(&self, work: &str, expression: &str) -> UpdateItemFluentBuilder {
        let update = self.client.update_item().table_name(&self.table).update_expression(expression);
        update.key("pk", string(work)).key("sk", string(work))
    }
}

fn completed(item: &Item) -> Result<Option<Timestamp>, Fault> {
    Ok(item.optional("completed", Item::time)?)
}

fn lost() -> Fault {
    Fault::Store("another run has the lease".into())
}
