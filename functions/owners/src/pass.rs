//! A pass: compares every owner of keys with the pool.
//!
//! The pool is read completely before anything is decided, so the guard sees everything that a pass would take. A listing alone
//! takes nothing from anybody: each loss is confirmed by a look at that person.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::join_all;
use vega_auth::Groups;
use vega_store::{Begun, KeyOwner};

use crate::pool::{Listing, OwnerStatus, Pool};
use crate::{Clock, Failure, Report, Run};

/// The name of the pass in the table.
const PASS: &str = "key-owners";
/// Listing calls per second. Cognito allows an account 30 (category `UserList`), which other tools share.
const LISTS_PER_SECOND: u32 = 20;
/// Looks per second, of one or two calls of category `UserRead` (120 per second) and one of `UserResourceRead` (50).
const LOOKS_PER_SECOND: u32 = 20;
/// Owners whose items are written at once.
const CONCURRENCY: usize = 20;
/// More owners than one in this many losing something at once, and more than one owner, suggest a wrong pool or an accident.
const MAX_LOSING_FRACTION: usize = 5;

/// An owner of keys, as the table and the pool's listings show them.
struct Person {
    keys: KeyOwner,
    /// Whether they may sign in; `None` if no listing has them.
    is_enabled: Option<bool>,
    /// The groups whose listings have them.
    groups: Groups,
}

impl Person {
    fn status(&self) -> OwnerStatus {
        match self.is_enabled {
            None => OwnerStatus::Gone,
            Some(false) => OwnerStatus::Disabled,
            Some(true) => OwnerStatus::Member(self.groups.clone()),
        }
    }

    /// Whether this status takes something from one of their usable keys, or from the tokens they may have.
    fn loses(&self, status: &OwnerStatus) -> bool {
        self.keys.is_live
            && match status {
                OwnerStatus::Gone => true,
                OwnerStatus::Disabled => self.keys.is_active,
                OwnerStatus::Member(groups) => {
                    let seen_in = self.keys.seen_in.as_ref();
                    !self.keys.groups.is_subset(groups) || seen_in.is_some_and(|seen_in| !seen_in.is_subset(groups))
                }
            }
    }

    /// Whether there is something to write that takes nothing from them.
    fn is_untidy(&self) -> bool {
        let KeyOwner { is_live, is_active, seen_in, is_disabled, expired, .. } = &self.keys;
        let has_changed = match self.status() {
            OwnerStatus::Gone => false,
            OwnerStatus::Disabled => !is_active,
            OwnerStatus::Member(groups) => *is_disabled || seen_in.as_ref() != Some(&groups),
        };
        !expired.is_empty() || !is_live || has_changed
    }
}

impl<P: Pool, C: Clock> Run<'_, P, C> {
    /// Runs a pass, unless another run is at it. At most `may_lose` owners lose something, if a person has confirmed a number.
    pub async fn sync_all(&self, may_lose: Option<usize>, report: &mut Report) -> Result<(), Failure> {
        let began_at = self.clock.now();
        let mut pass = match self.store.begin_pass(PASS, &self.actor.request_id, began_at).await? {
            Begun::Leased(pass) => pass,
            Begun::Busy { completed_at } => {
                report.is_busy = true;
                report.note_age(completed_at, began_at);
                return Ok(());
            }
        };
        pass.confirmed = may_lose.or(pass.confirmed);
        let outcome = self.pass(&mut pass.confirmed, report).await;
        report.faults.extend(outcome.err().map(|failure| failure.0));
        if report.is_fault() || !report.is_incomplete {
            pass.confirmed = None;
        }
        if !report.is_fault() && !report.is_incomplete {
            pass.completed_at = began_at;
        }
        report.note_age(pass.completed_at, self.clock.now());
        let is_requested = self.store.end_pass(pass).await?;
        report.continues = !report.is_fault() && (report.is_incomplete || is_requested);
        Ok(())
    }

    async fn pass(&self, confirmed: &mut Option<usize>, report: &mut Report) -> Result<(), Failure> {
        let mut people = self.key_owners().await?;
        self.read_pool(&mut people).await?;
        let (losing, others): (Vec<Person>, Vec<Person>) =
            people.into_values().partition(|person| person.loses(&person.status()));
        report.losing = losing.len();
        report.gone = losing.iter().filter(|person| person.status() == OwnerStatus::Gone).count();
        report.checked = losing.len() + others.iter().filter(|person| person.keys.is_live).count();
        if losing.len() > confirmed.unwrap_or((report.checked / MAX_LOSING_FRACTION).max(1)) {
            report.too_many_losing = true;
            return Ok(());
        }
        let mut pace = Pace::default();
        for some in losing.chunks(CONCURRENCY) {
            if !self.goes_on(report) {
                return Ok(());
            }
            pace.wait(self.clock, some.len(), LOOKS_PER_SECOND).await;
            for (person, outcome) in some.iter().zip(join_all(some.iter().map(|person| self.take(person))).await) {
                match outcome {
                    Ok((status, changed)) => {
                        *report.changed(&status) += changed;
                        report.expired += person.keys.expired.len();
                    }
                    Err(failure) => report.faults.push(failure.0),
                }
            }
            *confirmed = confirmed.map(|left| left.saturating_sub(some.len()));
        }
        let untidy: Vec<&Person> = others.iter().filter(|person| person.is_untidy()).collect();
        for some in untidy.chunks(CONCURRENCY) {
            if !self.goes_on(report) {
                return Ok(());
            }
            for outcome in join_all(some.iter().map(|person| self.tidy(person))).await {
                match outcome {
                    Ok(expired) => report.expired += expired,
                    Err(failure) => report.faults.push(failure.0),
                }
            }
        }
        Ok(())
    }

    /// Whether there is time for more.
    fn goes_on(&self, report: &mut Report) -> bool {
        report.is_incomplete = self.clock.elapsed() >= self.budget;
        !report.is_incomplete
    }

    /// Everybody with a key in the index.
    async fn key_owners(&self) -> Result<HashMap<String, Person>, Failure> {
        let (mut key_owners, mut cursor) = (HashMap::new(), None);
        loop {
            cursor = self.store.key_owners(&mut key_owners, cursor, self.now).await?;
            if cursor.is_none() {
                break;
            }
        }
        let person = |mut keys: KeyOwner| {
            keys.groups = keys.groups.intersection(self.groups);
            keys.seen_in = keys.seen_in.map(|groups| groups.intersection(self.groups));
            Person { keys, is_enabled: None, groups: Groups::NONE }
        };
        Ok(key_owners.into_iter().map(|(owner, keys)| (owner, person(keys))).collect())
    }

    /// Reads every listing of the pool to its end, one page of each at a time.
    async fn read_pool(&self, people: &mut HashMap<String, Person>) -> Result<(), Failure> {
        let mut listings = Listing::all(self.groups);
        let mut pace = Pace::default();
        while !listings.is_empty() {
            if self.clock.elapsed() >= self.budget {
                return Err(Failure("the pool has more users than one run can list".into()));
            }
            for some in listings.chunks_mut(LISTS_PER_SECOND as usize) {
                pace.wait(self.clock, some.len(), LISTS_PER_SECOND).await;
                let pages = some.iter().map(|listing| self.pool.page(listing.group.as_ref(), listing.token.as_deref()));
                let pages = join_all(pages).await;
                for (listing, page) in some.iter_mut().zip(pages) {
                    let page = page?;
                    for (subject, is_enabled) in page.users {
                        let Some(person) = people.get_mut(&subject) else { continue };
                        match &listing.group {
                            None => person.is_enabled = Some(is_enabled),
                            Some(group) => person.groups = person.groups.union(&[group.clone()].into_iter().collect()),
                        }
                    }
                    listing.turn(page.next)?;
                }
            }
            listings.retain(|listing| !listing.is_read);
        }
        Ok(())
    }

    /// Takes from an owner what both the listings and a look at them show as lost. The number of keys that changed, by status.
    async fn take(&self, person: &Person) -> Result<(OwnerStatus, usize), Failure> {
        let KeyOwner { owner, username, groups: key_groups, expired, .. } = &person.keys;
        self.store.end_expired(owner, expired).await?;
        let listed = person.status();
        let status = match (listed, self.find(owner, username).await?) {
            (OwnerStatus::Member(listed), OwnerStatus::Member(found)) => OwnerStatus::Member(listed.union(&found)),
            // They were enabled meanwhile.
            (listed @ OwnerStatus::Disabled, OwnerStatus::Member(_)) => return Ok((listed, 0)),
            (OwnerStatus::Gone, OwnerStatus::Member(_) | OwnerStatus::Disabled) => {
                return Err(Failure("the pool's list lacks a user that it has".into()));
            }
            (_, found) => found,
        };
        let OwnerStatus::Member(groups) = &status else {
            let changed = self.sync_keys(owner, &status).await?;
            return Ok((status, changed));
        };
        if !person.loses(&status) {
            return Err(Failure("the list of a group lacks a member that it has".into()));
        }
        self.bar(owner).await?;
        self.store.note_seen_in(owner, username, groups).await?;
        let changed = if key_groups.is_subset(groups) { 0 } else { self.sync_keys(owner, &status).await? };
        Ok((status, changed))
    }

    /// Brings an owner's items up to date, without a loss. The number of expired keys that were moved to the ended ones.
    async fn tidy(&self, person: &Person) -> Result<usize, Failure> {
        let KeyOwner { owner, username, is_live, seen_in, is_disabled, expired, .. } = &person.keys;
        self.store.end_expired(owner, expired).await?;
        match person.status() {
            // They have no key left to lose: whether they are gone doesn't matter.
            _ if !is_live => self.store.retire(owner, self.now).await?,
            OwnerStatus::Gone => {}
            // Their tokens are barred in each pass: they may have been enabled since the last one, and signed in.
            OwnerStatus::Disabled => {
                self.bar(owner).await?;
                if !is_disabled {
                    self.store.note_disabled(owner).await?;
                }
            }
            OwnerStatus::Member(groups) => {
                // The index may lag behind, or know only keys of an earlier version.
                let seen_in = match seen_in {
                    None => self.store.seen_in(owner).await?.map(|groups| groups.intersection(self.groups)),
                    seen_in => seen_in.clone(),
                };
                if seen_in.as_ref().is_some_and(|seen_in| !seen_in.is_subset(&groups)) {
                    self.bar(owner).await?;
                }
                if *is_disabled || seen_in.as_ref() != Some(&groups) {
                    self.store.note_seen_in(owner, username, &groups).await?;
                }
            }
        }
        Ok(expired.len())
    }
}

/// Spreads calls over time.
#[derive(Default)]
struct Pace {
    /// When the next calls may be made, since the run began.
    next: Duration,
}

impl Pace {
    /// Waits until this many calls may be made at this rate.
    async fn wait(&mut self, clock: &impl Clock, calls: usize, per_second: u32) {
        clock.wait_until(self.next).await;
        let seconds = Duration::from_secs(calls.try_into().unwrap_or(u64::MAX));
        self.next = self.next.max(clock.elapsed()) + seconds / per_second;
    }
}
