//! What happens to owners reaches their keys: against a real `DynamoDB` API, and a pool of ours.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod test_pool;

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use owners::{OwnerStatus, Owners, Page, Report, Task};
use vega_auth::{Actor, EventKind, Groups, KeyChange, KeyId, KeyRecord, KeyStatus, Timestamp, Transition};
use vega_notification::{KeyEvent, Kind, Notification};
use vega_store::{CommitError, UpdateError};
use vega_testing::{TestDatabase, actor, numbered_key, record};

use crate::test_pool::{Alteration, TestClock, TestPool, groups};

const NOW: Timestamp = Timestamp(1_800_000_000);
const ALL: Task = Task::SyncAll { may_revoke: None };
const BUDGET: Duration = Duration::from_mins(14);

struct Test {
    database: TestDatabase,
    owners: Owners<TestPool>,
    runs: AtomicUsize,
}

impl Test {
    async fn start() -> Self {
        let database = TestDatabase::start_with_index().await;
        let owners = Owners { store: database.store(), pool: TestPool::new(), groups: groups() };
        Self { database, owners, runs: AtomicUsize::new(1) }
    }

    /// Makes a key whose id ends in `number`.
    async fn make(&self, owner: &str, number: usize, groups: &[&str], change: impl FnOnce(&mut KeyRecord)) -> KeyId {
        self.make_by(&token(owner, groups, NOW.plus(-100)), number, groups, change).await.unwrap()
    }

    /// The same by this token.
    async fn make_by(
        &self,
        actor: &Actor,
        number: usize,
        groups: &[&str],
        change: impl FnOnce(&mut KeyRecord),
    ) -> Result<KeyId, CommitError> {
        let owner = actor.id.as_str();
        let key = numbered_key(number);
        let mut record = KeyRecord {
            owner_username: format!("{owner}@example.com"),
            groups: Groups::named(groups.iter().copied()),
            created_at: NOW.plus(-100),
            ..record(&key, owner)
        };
        change(&mut record);
        let created = Transition::creation(record);
        self.owners.store.commit(&[created], Some(100), None, actor, NOW.plus(-100)).await.map(|()| key.id())
    }

    async fn change_by(&self, actor: &Actor, id: KeyId, change: KeyChange) -> Result<KeyRecord, CommitError> {
        let Some(changed) = self.key(id).await.change(&change, None, NOW).unwrap() else { panic!("no change") };
        self.owners.store.commit(std::slice::from_ref(&changed), None, None, actor, NOW).await.map(|()| changed.after)
    }

    fn say(&self, owner: &str, status: OwnerStatus) {
        self.owners.pool.set(owner, status);
    }

    fn member(&self, owner: &str, groups: &[&str]) {
        self.owners.pool.member(owner, groups);
    }

    async fn run(&self, task: &Task) -> Report {
        self.run_at(task, NOW).await
    }

    /// A pass began then, or later by the little that the calls take.
    async fn run_at(&self, task: &Task, now: Timestamp) -> Report {
        let mut report = self.run_within(task, now, BUDGET).await;
        if task == &ALL && !report.is_fault() && !report.is_busy {
            assert!(report.pass_age_seconds.take().is_some_and(|age| age < 60));
        }
        report
    }

    async fn run_within(&self, task: &Task, now: Timestamp, budget: Duration) -> Report {
        // Each invocation has an id of its own.
        let request_id = format!("run-{}", self.runs.fetch_add(1, Ordering::Relaxed));
        self.owners.run(task, &request_id, &TestClock::new(&self.owners.pool.time, now), budget).await
    }

    /// The number of owners in the index.
    async fn key_owners(&self) -> usize {
        let mut key_owners = HashMap::new();
        assert!(self.owners.store.key_owners(&mut key_owners, None, NOW).await.unwrap().is_none());
        key_owners.len()
    }

    async fn key(&self, id: KeyId) -> KeyRecord {
        self.owners.store.find(id).await.unwrap().unwrap()
    }

    /// The newest event of a key: what, by whom, why.
    async fn event(&self, owner: &str, id: KeyId) -> (EventKind, String, String) {
        let (events, _) = self.owners.store.events(owner, id, 1, None, NOW).await.unwrap();
        let event = events.into_iter().next().unwrap();
        assert!(event.request_id.is_some_and(|id| id.starts_with("run-")));
        (event.event, event.actor.unwrap(), event.reason.unwrap())
    }
}

/// Somebody whose token was issued then and says these groups.
fn token(owner: &str, groups: &[&str], issued_at: Timestamp) -> Actor {
    Actor {
        username: format!("{owner}@example.com"),
        token_issued_at: Some(issued_at),
        token_groups: Groups::named(groups.iter().copied()),
        ..actor(owner)
    }
}

fn enable() -> KeyChange {
    KeyChange { is_enabled: Some(true), ..KeyChange::default() }
}

fn give(groups: &[&str]) -> KeyChange {
    KeyChange { groups: Some(Groups::named(groups.iter().copied())), ..KeyChange::default() }
}

fn event(kind: EventKind, reason: &str) -> (EventKind, String, String) {
    (kind, "system:owners".into(), reason.into())
}

#[tokio::test]
async fn only_the_keys_of_a_deleted_owner_are_revoked() {
    let test = Test::start().await;
    let (of_ada, of_ben) = (test.make("ada", 1, &["user"], |_| {}).await, test.make("ben", 2, &["user"], |_| {}).await);
    let disabled = test.make("ada", 3, &["user"], |record| record.status = KeyStatus::Disabled).await;
    test.member("ben", &["user"]);
    let report = test.run(&ALL).await;
    assert_eq!(report, Report { checked: 2, losing: 1, gone: 1, revoked: 2, ..Report::default() });
    assert_eq!(test.key(of_ada).await.status, KeyStatus::Revoked);
    assert_eq!(test.key(of_ada).await.revoked_reason.as_deref(), Some("owner_deleted"));
    assert_eq!(test.key(disabled).await.status, KeyStatus::Revoked, "nobody is left who could switch it on");
    assert_eq!(test.key(of_ben).await.version, 1);
    assert_eq!(test.event("ada", of_ada).await, event(EventKind::Revoked, "owner_deleted"));
    assert_eq!(test.run(&ALL).await, Report { checked: 1, ..Report::default() }, "ada holds no key any more");
}

#[tokio::test]
async fn keys_of_a_disabled_owner_are_disabled_at_each_run() {
    let test = Test::start().await;
    let key = test.make("ada", 1, &["user"], |_| {}).await;
    test.say("ada", OwnerStatus::Disabled);
    assert_eq!(test.run(&ALL).await, Report { checked: 1, losing: 1, disabled: 1, ..Report::default() });
    assert_eq!(test.key(key).await.status, KeyStatus::Disabled);
    assert_eq!(test.event("ada", key).await, event(EventKind::Disabled, "owner_disabled"));
    assert_eq!(test.run(&ALL).await, Report { checked: 1, ..Report::default() });
    // enabled for a moment, in which nobody looked
    let late = token("ada", &["user"], NOW.plus(1));
    let late = test.make_by(&late, 2, &["user"], |_| {}).await.unwrap();
    assert_eq!(test.run(&ALL).await.disabled, 1);
    assert_eq!(test.key(late).await.status, KeyStatus::Disabled);
    // they come back: their keys are theirs to switch on
    test.member("ada", &["user"]);
    assert_eq!(test.run(&ALL).await, Report { checked: 1, ..Report::default() });
    assert_eq!(test.key(key).await.status, KeyStatus::Disabled);
}

#[tokio::test]
async fn an_owner_is_noted_as_disabled_until_seen_enabled() {
    for task in [ALL, Task::SyncOwner("ada".into())] {
        let test = Test::start().await;
        let key = test.make("ada", 1, &["user"], |_| {}).await;
        test.say("ada", OwnerStatus::Disabled);
        test.run(&task).await;
        let enable = |key: &KeyRecord| Ok::<_, Infallible>(key.enable_with_owner(None, NOW));
        let enabled = test.owners.store.update(key, &actor("oscar"), NOW, enable).await;
        assert!(matches!(enabled, Err(UpdateError::Commit(CommitError::OwnerDisabled))), "{task:?}");
        test.member("ada", &["user"]);
        test.run(&task).await;
        let enabled = test.owners.store.update(key, &actor("oscar"), NOW, enable).await;
        assert!(enabled.unwrap().is_changed, "{task:?}");
        assert_eq!(test.run(&ALL).await, Report { checked: 1, ..Report::default() });
        assert_eq!(test.key(key).await.status, KeyStatus::Active);
    }
}

#[tokio::test]
async fn no_older_token_helps_a_disabled_or_deleted_owner() {
    for status in [OwnerStatus::Disabled, OwnerStatus::Gone] {
        for task in [ALL, Task::SyncOwner("ada".into())] {
            let test = Test::start().await;
            let key = test.make("ada", 1, &["user"], |_| {}).await;
            let off = test.make("ada", 2, &["user"], |record| record.status = KeyStatus::Disabled).await;
            let old = token("ada", &["user"], NOW);
            test.say("ada", status.clone());
            test.run(&task).await;
            let made = test.make_by(&old, 3, &["user"], |_| {}).await;
            assert!(matches!(made, Err(CommitError::TokenOutdated)), "{status:?} {task:?}: {made:?}");
            if status == OwnerStatus::Disabled {
                for id in [key, off] {
                    let enabled = test.change_by(&old, id, enable()).await;
                    assert!(matches!(enabled, Err(CommitError::TokenOutdated)), "{task:?}: {enabled:?}");
                }
            }
            // they come back: a new token is good, and the old one no more than before
            test.member("ada", &["user"]);
            test.run_at(&ALL, NOW.plus(1)).await;
            assert!(test.make_by(&old, 3, &["user"], |_| {}).await.is_err());
            let new = token("ada", &["user"], NOW.plus(2));
            test.make_by(&new, 3, &["user"], |_| {}).await.unwrap();
            if status == OwnerStatus::Disabled {
                test.change_by(&new, key, enable()).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn no_older_token_gives_a_key_a_group_that_its_owner_left() {
    for task in [ALL, Task::SyncOwner("ada".into())] {
        let test = Test::start().await;
        let both = ["operator", "user"];
        let old = token("ada", &both, NOW);
        let narrow = test.make_by(&old, 1, &["user"], |_| {}).await.unwrap();
        test.member("ada", &both);
        test.run(&ALL).await;
        test.change_by(&old, narrow, give(&both)).await.expect("nothing happened to them");
        test.change_by(&old, narrow, give(&["user"])).await.unwrap();
        // no key has the group that is lost
        test.member("ada", &["user"]);
        assert_eq!(test.run(&task).await.reduced, 0);
        let given = test.change_by(&old, narrow, give(&both)).await;
        assert!(matches!(given, Err(CommitError::TokenOutdated)), "{task:?}: {given:?}");
        let made = test.make_by(&old, 2, &both, |_| {}).await;
        assert!(matches!(made, Err(CommitError::TokenOutdated)), "{task:?}: {made:?}");
        test.change_by(&old, narrow, give(&[])).await.expect("less is no matter of tokens");
        // the look that follows takes nothing from a newer one, and the group can be regained, and lost again
        let new = token("ada", &["user"], NOW.plus(1));
        test.run_at(&ALL, NOW.plus(2)).await;
        test.change_by(&new, narrow, give(&["user"])).await.unwrap();
        test.member("ada", &both);
        test.run_at(&ALL, NOW.plus(3)).await;
        let regained = token("ada", &both, NOW.plus(4));
        test.change_by(&regained, narrow, give(&both)).await.unwrap();
        test.change_by(&regained, narrow, give(&["user"])).await.unwrap();
        test.member("ada", &["user"]);
        test.run_at(&ALL, NOW.plus(5)).await;
        assert!(matches!(test.change_by(&regained, narrow, give(&both)).await, Err(CommitError::TokenOutdated)));
    }
}

#[tokio::test]
async fn an_owner_without_known_groups_needs_no_new_token() {
    let test = Test::start().await;
    let old = token("ada", &[], NOW);
    for number in 1..4 {
        test.make_by(&old, number, &[], |_| {}).await.unwrap();
        test.member("ada", if number == 1 { &[] } else { &["user"] });
        assert_eq!(test.run(&ALL).await, Report { checked: 1, ..Report::default() });
    }
}

#[tokio::test]
async fn an_event_about_an_owner_without_keys_bars_their_tokens() {
    let test = Test::start().await;
    assert_eq!(test.run(&Task::SyncOwner("ada".into())).await, Report::default());
    let made = test.make_by(&token("ada", &["user"], NOW), 1, &["user"], |_| {}).await;
    assert!(matches!(made, Err(CommitError::TokenOutdated)), "{made:?}");
    test.make_by(&token("ada", &["user"], NOW.plus(1)), 1, &["user"], |_| {}).await.unwrap();
}

#[tokio::test]
async fn a_token_issued_during_the_run_is_barred() {
    let test = Test::start().await;
    test.make("ada", 1, &["user"], |_| {}).await;
    test.say("ada", OwnerStatus::Disabled);
    test.owners.pool.slow_down(Duration::from_secs(20));
    test.run(&ALL).await;
    let made = test.make_by(&token("ada", &["user"], NOW.plus(40)), 2, &["user"], |_| {}).await;
    assert!(matches!(made, Err(CommitError::TokenOutdated)), "it began at NOW, and the pool answered later: {made:?}");
}

#[tokio::test]
async fn a_key_loses_only_the_groups_that_its_owner_lost() {
    let test = Test::start().await;
    let both = test.make("ada", 1, &["operator", "user"], |_| {}).await;
    let user = test.make("ada", 2, &["user"], |_| {}).await;
    test.member("ada", &["root", "operator", "user"]);
    assert_eq!(test.run(&ALL).await.reduced, 0, "more groups change nothing");
    test.member("ada", &["root", "user"]);
    assert_eq!(test.run(&ALL).await, Report { checked: 1, losing: 1, reduced: 1, ..Report::default() });
    assert_eq!(test.key(both).await.groups, Groups::named(["user"]));
    assert_eq!(test.key(both).await.version, 2);
    assert_eq!(test.owners.store.events("ada", both, 9, None, NOW).await.unwrap().0.len(), 2, "none is overwritten");
    assert_eq!(test.key(user).await.version, 1);
    assert_eq!(test.event("ada", both).await, event(EventKind::GroupsReduced, "owner_left_group"));
    let (events, _) = test.owners.store.events("ada", both, 1, None, NOW).await.unwrap();
    assert_eq!(events[0].before["groups"], serde_json::json!(["operator", "user"]));
    assert_eq!(events[0].after["groups"], serde_json::json!(["user"]));
    test.member("ada", &[]);
    assert_eq!(test.run(&ALL).await.reduced, 2);
    assert_eq!(test.key(user).await.groups, Groups::NONE);
}

#[tokio::test]
async fn a_fault_of_the_pool_costs_nobody_a_key() {
    let test = Test::start().await;
    let of_ada = test.make("ada", 1, &["user"], |_| {}).await;
    let of_ben = test.make("ben", 2, &["operator", "user"], |_| {}).await;
    for number in 3..13 {
        test.make(&format!("user-{number}"), number, &["user"], |_| {}).await;
        test.member(&format!("user-{number}"), &["user"]);
    }
    test.member("ben", &["user"]);
    test.owners.pool.fail_for("ada");
    let report = test.run(&ALL).await;
    assert_eq!((report.checked, report.losing, report.reduced, report.revoked), (12, 2, 1, 0));
    assert_eq!(report.faults, ["the pool is down"], "a look at ada, who isn't listed");
    assert!(report.is_fault() && report.line()["outcome"] == "fault");
    assert_eq!(test.key(of_ada).await.version, 1);
    assert_eq!(test.key(of_ben).await.groups, Groups::named(["user"]), "the others are synced");
    let one = test.run(&Task::SyncOwner("ada".into())).await;
    assert_eq!((one.is_fault(), test.key(of_ada).await.version), (true, 1));
}

/// The count of keys that a loss changes.
type Count = fn(&Report) -> usize;

/// Ten owners, of whom the listings show only some as they are: the ones that are missing, disabled or without a group are too few
/// for the guard.
async fn ten_owners() -> Test {
    let test = Test::start().await;
    for number in 0..10 {
        test.make(&format!("user-{number}"), number, &["operator", "user"], |_| {}).await;
        test.member(&format!("user-{number}"), &["operator", "user"]);
    }
    test
}

#[tokio::test]
async fn no_listing_alone_takes_anything_from_anybody() {
    for (listed, is_fault) in [
        (OwnerStatus::Gone, true),
        (OwnerStatus::Member(Groups::named(["user"])), true),
        // Somebody may have been enabled just now.
        (OwnerStatus::Disabled, false),
    ] {
        let test = ten_owners().await;
        test.owners.pool.list_as("user-3", listed.clone());
        let before = test.database.dump().await;
        let report = test.run(&ALL).await;
        assert_eq!((report.losing, report.is_fault()), (1, is_fault), "{listed:?}");
        assert_eq!((report.revoked, report.disabled, report.reduced), (0, 0, 0));
        let rest = |dump: &str| dump.lines().filter(|item| !item.contains("P#key-owners")).count();
        assert_eq!(rest(&test.database.dump().await), rest(&before), "not even their tokens are barred");
        test.owners.pool.recover();
        assert!(!test.run(&ALL).await.is_fault());
    }
}

#[tokio::test]
async fn an_incomplete_or_wrong_listing_is_a_fault_not_a_loss() {
    let cases: [(&str, Alteration); 9] = [
        ("an error", |group, _, page| if group.is_none() { Err("status 500".into()) } else { Ok(page) }),
        ("throttled", |group, _, page| group.map_or(Ok(page), |_| Err("refused with TooManyRequestsException".into()))),
        ("nobody", |_, _, _| Ok(Page::default())),
        ("no members", |group, _, page| Ok(if group.is_some() { Page::default() } else { page })),
        ("half of everybody", |group, _, mut page| {
            page.users.truncate(if group.is_none() { 5 } else { 60 });
            Ok(page)
        }),
        ("all but one", |group, _, mut page| {
            page.users.truncate(if group.is_none() { 9 } else { 60 });
            Ok(page)
        }),
        ("all but one member", |group, _, mut page| {
            page.users.truncate(if group == Some("operator") { 9 } else { 60 });
            Ok(page)
        }),
        ("everybody disabled", |_, _, mut page| {
            page.users.iter_mut().for_each(|user| user.1 = false);
            Ok(page)
        }),
        ("the same page forever", |_, _, page| Ok(Page { next: Some("more".into()), ..page })),
    ];
    for (case, alteration) in cases {
        let test = ten_owners().await;
        test.owners.pool.alter(alteration);
        let report = test.run(&ALL).await;
        assert!(report.is_fault(), "{case}: {report:?}");
        assert_eq!((report.revoked, report.disabled, report.reduced), (0, 0, 0), "{case}");
        assert!(!test.database.dump().await.contains("barred_until"), "{case}");
        test.owners.pool.recover();
        let report = test.run(&ALL).await;
        assert_eq!(report, Report { checked: 10, ..Report::default() }, "{case}: the next run is sound");
    }
}

#[tokio::test]
async fn a_slow_pool_is_a_fault_when_time_runs_out() {
    let test = ten_owners().await;
    test.owners.pool.alter(|_, call, page| Ok(Page { next: Some(call.to_string()), ..page }));
    test.owners.pool.slow_down(Duration::from_secs(9));
    let report = test.run(&ALL).await;
    assert_eq!(report.faults, ["the pool has more users than one run can list"]);
    assert!(!report.continues, "the next run would get no further");
}

#[tokio::test]
async fn a_missing_group_is_a_fault_and_reduces_no_key() {
    let test = ten_owners().await;
    test.owners.pool.delete_group("operator");
    let of_one = [Task::SyncOwner("user-1".into())];
    for task in [ALL, Task::SyncAll { may_revoke: Some(100) }].iter().chain(&of_one) {
        let report = test.run(task).await;
        assert_eq!(report.faults, ["refused with ResourceNotFoundException"], "{task:?}");
        assert_eq!(report.reduced, 0);
    }
    for number in 0..10 {
        assert_eq!(test.key(numbered_key(number).id()).await.version, 1);
    }
    // It is there again, and one of its former members is in it.
    test.owners.pool.create_group("operator");
    for number in 1..10 {
        test.member(&format!("user-{number}"), &["operator", "user"]);
    }
    assert_eq!(test.run(&of_one[0]).await.reduced, 0);
    assert_eq!(test.run(&ALL).await.reduced, 1, "user-0 left it");
}

#[tokio::test]
async fn a_group_that_no_rule_names_any_more_stays_on_keys() {
    let mut test = ten_owners().await;
    test.owners.groups = Groups::named(["user"]);
    test.owners.pool.delete_group("operator");
    for task in [ALL, Task::SyncOwner("user-1".into()), ALL] {
        let report = test.run(&task).await;
        assert!(!report.is_fault() && report.reduced == 0 && report.losing == 0, "{task:?}: {report:?}");
    }
    for number in 0..10 {
        assert_eq!(test.key(numbered_key(number).id()).await.version, 1);
    }
    // It doesn't count when its owner leaves another group. Once a rule names it again, the pool decides.
    test.member("user-1", &[]);
    assert_eq!(test.run(&ALL).await.reduced, 1);
    assert_eq!(test.key(numbered_key(1).id()).await.groups, Groups::named(["operator"]));
    test.owners.groups = groups();
    test.owners.pool.create_group("operator");
    for number in 2..10 {
        test.member(&format!("user-{number}"), &["operator", "user"]);
    }
    assert_eq!(test.run(&ALL).await.reduced, 2, "user-0 and user-1 aren't in it");
    assert_eq!(test.key(numbered_key(1).id()).await.groups, Groups::NONE);
    assert_eq!(test.key(numbered_key(2).id()).await.groups, Groups::named(["operator", "user"]));
}

#[tokio::test]
async fn too_many_losing_owners_stop_every_change_until_confirmed() {
    let losses: [(OwnerStatus, Count); 3] = [
        (OwnerStatus::Gone, |report| report.revoked),
        (OwnerStatus::Disabled, |report| report.disabled),
        (OwnerStatus::Member(Groups::named(["user"])), |report| report.reduced),
    ];
    for (loss, count) in losses {
        let test = ten_owners().await;
        for number in 0..3 {
            test.say(&format!("user-{number}"), loss.clone());
        }
        let report = test.run(&ALL).await;
        let gone = if loss == OwnerStatus::Gone { 3 } else { 0 };
        assert_eq!((report.checked, report.losing, report.gone, report.too_many_losing), (10, 3, gone, true));
        assert_eq!(report.line()["code"], "too_many_losing");
        for number in 0..10 {
            assert_eq!(test.key(numbered_key(number).id()).await.version, 1, "{loss:?}");
        }
        assert!(!test.database.dump().await.contains("barred_until"), "{loss:?}");
        assert!(test.run(&Task::SyncAll { may_revoke: Some(2) }).await.too_many_losing);
        assert_eq!(count(&test.run(&Task::SyncAll { may_revoke: Some(3) }).await), 3);
        // two of ten is one in five
        test.say("user-8", loss.clone());
        assert_eq!(count(&test.run(&ALL).await), 1, "{loss:?}");
    }
}

#[tokio::test]
async fn losses_of_all_kinds_count_together() {
    let test = ten_owners().await;
    test.say("user-0", OwnerStatus::Gone);
    test.say("user-1", OwnerStatus::Disabled);
    test.member("user-2", &["operator"]);
    let report = test.run(&ALL).await;
    assert_eq!((report.losing, report.too_many_losing), (3, true));
    test.member("user-2", &["operator", "user"]);
    let report = test.run(&ALL).await;
    assert_eq!((report.revoked, report.disabled, report.reduced), (1, 1, 0));
}

#[tokio::test]
async fn a_run_beside_a_pass_changes_nothing_and_is_made_up_for() {
    let test = ten_owners().await;
    test.say("user-0", OwnerStatus::Gone);
    let (first, second) = tokio::join!(test.run(&ALL), test.run(&ALL));
    let (busy, done) = if first.is_busy { (first, second) } else { (second, first) };
    assert_eq!(busy, Report { is_busy: true, pass_age_seconds: Some(0), ..Report::default() });
    assert_eq!(busy.line()["outcome"], "busy");
    assert_eq!((done.is_busy, done.revoked, done.continues), (false, 1, true), "another run was requested");
    assert_eq!(test.run(&ALL).await, Report { checked: 9, ..Report::default() });
    // A look at one person needs no lease.
    let of_one = Task::SyncOwner("user-2".into());
    let (all, one) = tokio::join!(test.run(&ALL), test.run(&of_one));
    assert_eq!((all.is_busy, one.checked, all.continues), (false, 1, false));
}

#[tokio::test]
async fn a_pass_that_ran_out_of_time_continues_where_it_stopped() {
    let test = Test::start().await;
    let owners = 300;
    for number in 0..owners {
        let owner = format!("user-{number:03}");
        test.make(&owner, number, &["user"], |_| {}).await;
        if number >= 50 {
            test.member(&owner, &["user"]);
        }
    }
    // Enough to list the pool and to look at twenty people.
    let budget = Duration::from_millis(700);
    let mut revoked = Vec::new();
    for (task, is_last) in [(ALL, false), (ALL, false), (ALL, true)] {
        let report = test.run_within(&task, NOW, budget).await;
        assert!(!report.is_fault(), "{report:?}");
        assert_eq!((report.is_incomplete, report.continues), (!is_last, !is_last));
        revoked.push(report.revoked);
    }
    assert_eq!(revoked, [20, 20, 10]);
}

#[tokio::test]
async fn a_continued_pass_keeps_the_number_that_was_confirmed() {
    let test = Test::start().await;
    for number in 0..50 {
        test.make(&format!("user-{number:03}"), number, &["user"], |_| {}).await;
    }
    let budget = Duration::from_millis(200);
    assert!(test.run_within(&ALL, NOW, budget).await.too_many_losing);
    let confirmed = Task::SyncAll { may_revoke: Some(50) };
    assert_eq!(test.run_within(&confirmed, NOW, budget).await.revoked, 20);
    assert_eq!(test.run_within(&ALL, NOW, budget).await.revoked, 20);
    // Somebody else is gone since: they weren't among those confirmed.
    test.make("user-900", 900, &["user"], |_| {}).await;
    assert!(test.run_within(&ALL, NOW, BUDGET).await.too_many_losing);
    test.member("user-900", &["user"]);
    assert!(test.run_within(&ALL, NOW, BUDGET).await.too_many_losing, "the number is used up by a fault");
}

#[tokio::test]
async fn a_clock_that_jumps_costs_nobody_a_key_and_stops_no_later_pass() {
    const YEAR: i64 = 365 * 24 * 60 * 60;
    let test = ten_owners().await;
    assert_eq!(test.run_at(&ALL, NOW).await, Report { checked: 10, ..Report::default() });
    // A pass is dated a year ahead.
    test.say("user-0", OwnerStatus::Gone);
    test.run_at(&ALL, NOW.plus(YEAR)).await;
    test.owners.pool.alter(|_, _, _| Err("down".into()));
    let report = test.run_within(&ALL, NOW.plus(30), BUDGET).await;
    assert_eq!((report.is_busy, report.pass_age_seconds), (false, None), "that date says nothing");
    test.owners.pool.recover();
    let report = test.run_within(&ALL, NOW.plus(60), BUDGET).await;
    assert_eq!((report.checked, report.pass_age_seconds), (9, Some(0)));
    test.owners.pool.alter(|_, _, _| Err("down".into()));
    test.run_within(&ALL, NOW.plus(YEAR), BUDGET).await;
    let report = test.run_within(&ALL, NOW.plus(120), BUDGET).await;
    assert_eq!(report.pass_age_seconds, Some(60));
}

#[tokio::test]
async fn the_age_of_the_last_complete_pass_grows_until_the_next() {
    let test = ten_owners().await;
    let age = async |at: i64| test.run_within(&ALL, NOW.plus(at), BUDGET).await.pass_age_seconds;
    test.owners.pool.alter(|_, _, _| Err("down".into()));
    assert_eq!((age(0).await, age(100).await), (Some(0), Some(100)), "the first one isn't complete");
    test.owners.pool.recover();
    assert_eq!(age(300).await, Some(0));
    test.owners.pool.alter(|_, _, _| Err("down".into()));
    assert_eq!((age(600).await, age(900).await), (Some(300), Some(600)));
    test.owners.pool.recover();
    assert_eq!(age(1200).await, Some(0));
    test.owners.pool.slow_down(Duration::from_secs(40));
    assert_eq!(age(1500).await, Some(40), "it counts from the beginning of the pass");
    assert_eq!(test.run(&Task::SyncOwner("user-0".into())).await.pass_age_seconds, None);
}

#[tokio::test]
async fn a_deleted_owner_with_an_expired_key_loses_the_live_one() {
    let test = Test::start().await;
    let (mut expired, mut live) = (Vec::new(), Vec::new());
    for number in 0..10 {
        let owner = format!("user-{number}");
        expired.push(test.make(&owner, number, &["user"], |record| record.expires_at = Some(NOW)).await);
        live.push(test.make(&owner, 100 + number, &["user"], |_| {}).await);
        test.member(&owner, &["user"]);
    }
    for left in 1..=10 {
        test.say(&format!("user-{}", left - 1), OwnerStatus::Gone);
        let report = test.run(&ALL).await;
        let swept = if left == 1 { 10 } else { 0 };
        let counted =
            Report { checked: 11 - left, losing: 1, gone: 1, revoked: 1, expired: swept, ..Report::default() };
        assert_eq!(report, counted, "{left} left");
        assert_eq!(test.key(live[left - 1]).await.status, KeyStatus::Revoked);
        assert_eq!(test.key_owners().await, 10 - left, "who is gone is not in the index");
    }
    for (number, id) in expired.into_iter().enumerate() {
        let owner = test.database.item(&format!("U#user-{number}"), "M").await;
        assert!(!owner.contains("live") && owner.contains(id.as_str()), "among the ended: {owner}");
    }
}

#[tokio::test]
async fn an_owner_whose_keys_all_expired_counts_for_nothing() {
    let test = Test::start().await;
    for number in 0..300 {
        test.make(&format!("user-{number}"), number, &["user"], |record| record.expires_at = Some(NOW)).await;
    }
    let report = test.run(&ALL).await;
    assert_eq!(report, Report { expired: 300, ..Report::default() }, "all of them are gone");
    assert_eq!(test.key_owners().await, 0);
}

#[tokio::test]
async fn an_event_about_one_owner_checks_only_that_one() {
    let test = Test::start().await;
    let of_ada = test.make("ada", 1, &["user"], |_| {}).await;
    let of_ben = test.make("ben", 2, &["user"], |_| {}).await;
    test.member("ada", &["user"]);
    let looked = Report { checked: 1, ..Report::default() };
    assert_eq!(test.run(&Task::SyncOwner("ada".into())).await, looked, "whatever the event says happened");
    assert_eq!(test.run(&Task::SyncOwner("nobody".into())).await, Report::default());
    assert_eq!(test.run(&Task::Nothing).await, Report::default());
    assert_eq!(test.run(&Task::SyncOwner("ben".into())).await, Report { gone: 1, revoked: 1, ..looked });
    assert_eq!(test.key(of_ben).await.status, KeyStatus::Revoked);
    assert_eq!(test.key(of_ada).await.version, 1);
}

#[tokio::test]
async fn ended_keys_keep_their_record_unchanged() {
    let test = Test::start().await;
    let expired = test.make("ada", 1, &["user"], |record| record.expires_at = Some(NOW)).await;
    let live = test.make("ada", 2, &["user"], |record| record.expires_at = Some(NOW.plus(1))).await;
    test.run(&Task::SyncAll { may_revoke: Some(1) }).await;
    assert_eq!(test.key(expired).await.version, 1);
    assert_eq!(test.key(live).await.status, KeyStatus::Revoked);
}

#[tokio::test]
async fn an_owner_on_two_pages_is_checked_like_any_other() {
    let test = Test::start().await;
    let owners = 400; // of three items each, and pages have 1000
    for number in 0..owners {
        let owner = format!("user-{number}");
        for key in [number, owners + number] {
            test.make_by(&token(&owner, &["operator", "user"], NOW), key, &["user"], |_| {}).await.unwrap();
        }
        test.member(&owner, &["user"]);
    }
    for _ in 0..2 {
        assert!(!test.run(&Task::SyncAll { may_revoke: Some(owners) }).await.is_fault());
    }
    let dump = test.database.dump().await;
    assert_eq!(dump.matches("barred_until").count(), owners, "each may have a token of group operator");
    let noted = dump.lines().filter(|item| item.contains(r#""live": "#) && item.contains(r#""holder": "#));
    assert_eq!(noted.count(), owners, "each is in the index still");
}

#[tokio::test]
async fn without_the_table_a_run_is_a_fault() {
    let test = Test::start().await;
    test.make("ada", 1, &["user"], |_| {}).await;
    test.database.stop();
    assert!(test.run(&ALL).await.is_fault());
    assert!(test.run(&Task::SyncOwner("ada".into())).await.is_fault());
}

/// The notification that a key lost something at this version.
fn lost(record: &KeyRecord, kind: Kind, version: Option<u64>) -> Notification {
    Notification::new(KeyEvent { version, ..KeyEvent::new(record.id, kind, NOW) }, record.clone())
}

#[tokio::test]
async fn a_replay_revokes_restored_keys_in_any_order_and_once() {
    let test = Test::start().await;
    for (number, kind, event, reason) in [
        (1, Kind::Revoked, EventKind::Revoked, "lost"),
        (2, Kind::Leaked, EventKind::Leaked, "leaked"),
        (3, Kind::Leaked, EventKind::Leaked, "leaked: a paste"),
    ] {
        let id = test.make("ada", number, &["user"], |_| {}).await;
        let revoked = KeyRecord { revoked_reason: Some(reason.into()), ..test.key(id).await };
        let task = Task::Replay(vec![lost(&revoked, Kind::Narrowed, Some(2)), lost(&revoked, kind, None)]);
        assert_eq!(test.run(&task).await, Report { disabled: 1, revoked: 1, ..Report::default() }, "{kind:?}");
        let key = test.key(id).await;
        assert_eq!((key.status, key.revoked_reason.as_deref()), (KeyStatus::Revoked, Some(reason)));
        assert_eq!(test.event("ada", id).await, (event, "system:restore".into(), reason.into()));
        assert_eq!(test.run(&task).await, Report::default(), "again");
    }
}

#[tokio::test]
async fn a_replay_disables_only_keys_that_lack_the_change() {
    let test = Test::start().await;
    let id = test.make("ada", 1, &["user"], |record| record.version = 5).await;
    let record = test.key(id).await;
    let replay = |kind, version| Task::Replay(vec![lost(&record, kind, version)]);
    for task in [replay(Kind::Narrowed, Some(5)), replay(Kind::Created, None), replay(Kind::Expired, None)] {
        assert_eq!(test.run(&task).await, Report::default(), "{task:?}");
    }
    assert_eq!(test.run(&replay(Kind::Narrowed, Some(6))).await, Report { disabled: 1, ..Report::default() });
    assert_eq!(test.key(id).await.status, KeyStatus::Disabled);
    assert_eq!(test.event("ada", id).await, (EventKind::Disabled, "system:restore".into(), "restored".into()));
}

#[tokio::test]
async fn a_replay_skips_keys_created_since_and_reports_faults() {
    let test = Test::start().await;
    let unknown = record(&numbered_key(9), "ada");
    let task = Task::Replay(vec![lost(&unknown, Kind::Revoked, None)]);
    assert_eq!(test.run(&task).await, Report::default());
    test.database.stop();
    assert!(test.run(&task).await.is_fault());
}
