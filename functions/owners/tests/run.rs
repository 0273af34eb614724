//! What happens to owners reaches their keys: against a real `DynamoDB` API, with the pool's part played by a table of ours.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use owners::{FindOwner, OwnerStatus, Owners, PoolFault, Report, Task};
use vega_auth::{Actor, EventKind, Groups, KeyChange, KeyId, KeyRecord, KeyStatus, Timestamp, Transition};
use vega_notification::{KeyEvent, Kind, Notification};
use vega_store::CommitError;
use vega_testing::{TestDatabase, actor, numbered_key, record};

const NOW: Timestamp = Timestamp(1_800_000_000);
const ALL: Task = Task::SyncAll { may_revoke: None };

/// People by their `sub`; who isn't there is gone, `None` is a fault.
#[derive(Default)]
struct Pool(Mutex<HashMap<String, Option<OwnerStatus>>>);

impl FindOwner for Pool {
    async fn find(&self, owner: &str, username: &str) -> Result<OwnerStatus, PoolFault> {
        assert_eq!(username, format!("{owner}@example.com"));
        match self.0.lock().unwrap().get(owner) {
            None => Ok(OwnerStatus::Gone),
            Some(Some(status)) => Ok(*status),
            Some(None) => Err("the pool is down".into()),
        }
    }
}

struct Test {
    database: TestDatabase,
    owners: Owners<Pool>,
}

impl Test {
    async fn start() -> Self {
        let database = TestDatabase::start_with_index().await;
        let owners = Owners { store: database.store(), pool: Pool::default(), pace: Duration::ZERO };
        Self { database, owners }
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
            groups: Groups::known(groups.iter().copied()),
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

    fn say(&self, owner: &str, status: Option<OwnerStatus>) {
        self.owners.pool.0.lock().unwrap().insert(owner.into(), status);
    }

    fn member(&self, owner: &str, groups: &[&str]) {
        self.say(owner, Some(OwnerStatus::Member(Groups::known(groups.iter().copied()))));
    }

    async fn run(&self, task: &Task) -> Report {
        self.run_at(task, NOW).await
    }

    async fn run_at(&self, task: &Task, now: Timestamp) -> Report {
        self.owners.run(task, "run-1", || now, || true).await
    }

    async fn key(&self, id: KeyId) -> KeyRecord {
        self.owners.store.find(id).await.unwrap().unwrap()
    }

    /// The newest event of a key: what, by whom, why.
    async fn event(&self, owner: &str, id: KeyId) -> (EventKind, String, String) {
        let (events, _) = self.owners.store.events(owner, id, 1, None, NOW).await.unwrap();
        let event = events.into_iter().next().unwrap();
        assert_eq!(event.request_id.as_deref(), Some("run-1"));
        (event.event, event.actor.unwrap(), event.reason.unwrap())
    }
}

/// Somebody whose token was issued then and says these groups.
fn token(owner: &str, groups: &[&str], issued_at: Timestamp) -> Actor {
    Actor {
        username: format!("{owner}@example.com"),
        token_issued_at: Some(issued_at),
        token_groups: Groups::known(groups.iter().copied()),
        ..actor(owner)
    }
}

fn enable() -> KeyChange {
    KeyChange { is_enabled: Some(true), ..KeyChange::default() }
}

fn give(groups: &[&str]) -> KeyChange {
    KeyChange { groups: Some(Groups::known(groups.iter().copied())), ..KeyChange::default() }
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
    assert_eq!(report, Report { checked: 2, gone: 1, revoked: 2, ..Report::default() });
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
    test.say("ada", Some(OwnerStatus::Disabled));
    assert_eq!(test.run(&ALL).await, Report { checked: 1, disabled: 1, ..Report::default() });
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
async fn no_older_token_helps_a_disabled_or_deleted_owner() {
    for status in [OwnerStatus::Disabled, OwnerStatus::Gone] {
        for task in [ALL, Task::SyncOwner("ada".into())] {
            let test = Test::start().await;
            let key = test.make("ada", 1, &["user"], |_| {}).await;
            let off = test.make("ada", 2, &["user"], |record| record.status = KeyStatus::Disabled).await;
            let old = token("ada", &["user"], NOW);
            test.say("ada", Some(status));
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
    test.say("ada", Some(OwnerStatus::Disabled));
    let asked = AtomicI64::new(0);
    let clock = || NOW.plus(100 * asked.fetch_add(1, Ordering::SeqCst));
    test.owners.run(&ALL, "run-1", clock, || true).await;
    let made = test.make_by(&token("ada", &["user"], NOW.plus(50)), 2, &["user"], |_| {}).await;
    assert!(matches!(made, Err(CommitError::TokenOutdated)), "it began at NOW, and the pool was asked later: {made:?}");
}

#[tokio::test]
async fn a_key_loses_only_the_groups_that_its_owner_lost() {
    let test = Test::start().await;
    let both = test.make("ada", 1, &["operator", "user"], |_| {}).await;
    let user = test.make("ada", 2, &["user"], |_| {}).await;
    test.member("ada", &["root", "operator", "user"]);
    assert_eq!(test.run(&ALL).await.reduced, 0, "more groups change nothing");
    test.member("ada", &["root", "user"]);
    assert_eq!(test.run(&ALL).await, Report { checked: 1, reduced: 1, ..Report::default() });
    assert_eq!(test.key(both).await.groups, Groups::known(["user"]));
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
    test.say("ada", None);
    test.member("ben", &["user"]);
    let report = test.run(&ALL).await;
    assert_eq!((report.checked, report.reduced, report.revoked, report.faults.len()), (2, 1, 0, 1));
    assert!(report.is_fault() && report.line()["outcome"] == "fault");
    assert_eq!(test.key(of_ada).await.version, 1);
    assert_eq!(test.key(of_ben).await.groups, Groups::known(["user"]));
    let one = test.run(&Task::SyncOwner("ada".into())).await;
    assert_eq!((one.is_fault(), test.key(of_ada).await.version), (true, 1));
}

#[tokio::test]
async fn too_many_missing_owners_stop_revocation_until_confirmed() {
    let test = Test::start().await;
    let mut keys = Vec::new();
    for number in 0..10 {
        keys.push(test.make(&format!("user-{number}"), number, &["user"], |_| {}).await);
    }
    for number in 3..10 {
        test.member(&format!("user-{number}"), &["user"]);
    }
    let report = test.run(&ALL).await;
    assert_eq!(report, Report { checked: 10, gone: 3, too_many_missing: true, ..Report::default() });
    assert_eq!(report.line()["code"], "too_many_missing");
    for key in &keys {
        assert_eq!(test.key(*key).await.version, 1);
    }
    assert!(test.run(&Task::SyncAll { may_revoke: Some(2) }).await.too_many_missing);
    assert_eq!(test.run(&Task::SyncAll { may_revoke: Some(3) }).await.revoked, 3);
    // two of ten is one in five
    test.owners.pool.0.lock().unwrap().retain(|owner, _| !["user-3"].contains(&owner.as_str()));
    assert_eq!(test.run(&ALL).await, Report { checked: 7, gone: 1, revoked: 1, ..Report::default() });
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
        test.owners.pool.0.lock().unwrap().remove(&format!("user-{}", left - 1));
        let report = test.run(&ALL).await;
        let swept = if left == 1 { 10 } else { 0 };
        let counted = Report { checked: 11 - left, gone: 1, revoked: 1, expired: swept, ..Report::default() };
        assert_eq!(report, counted, "{left} left");
        assert_eq!(test.key(live[left - 1]).await.status, KeyStatus::Revoked);
        let (key_owners, _) = test.owners.store.key_owners(None, NOW).await.unwrap();
        assert_eq!(key_owners.len(), 10 - left, "who is gone is not in the index");
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
    assert_eq!(test.owners.store.key_owners(None, NOW).await.unwrap(), (vec![], None));
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
async fn the_next_run_continues_one_that_ran_out_of_time() {
    let test = Test::start().await;
    let owners = 600; // pages have 250 keys
    for number in 0..owners {
        let owner = format!("user-{number}");
        test.make(&owner, number, &["user"], |_| {}).await;
        test.member(&owner, &["user"]);
    }
    let mut checked = Vec::new();
    for _ in 0..4 {
        let report = test.owners.run(&ALL, "run-1", || NOW, || false).await;
        assert!(!report.is_fault());
        checked.push((report.checked, report.incomplete));
    }
    assert_eq!(checked, [(250, true), (250, true), (100, false), (250, true)]);
}

#[tokio::test]
async fn an_owner_on_two_pages_is_checked_like_any_other() {
    let test = Test::start().await;
    let owners = 200; // of three items each, and pages have 500
    for number in 0..owners {
        let owner = format!("user-{number}");
        for key in [number, owners + number] {
            test.make_by(&token(&owner, &["operator", "user"], NOW), key, &["user"], |_| {}).await.unwrap();
        }
        test.member(&owner, &["user"]);
    }
    for _ in 0..2 {
        assert!(!test.run(&ALL).await.is_fault());
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
