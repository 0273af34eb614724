//! The guarantees of the store, with a real `DynamoDB` API.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::needless_pass_by_value)]

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use vega_auth::{
    Actor, ApiKey, Authentication, CurrentUser, EventKind, Groups, KeyChange, KeyId, KeyRecord, KeyRecords as _,
    KeySecret, KeyStatus, LastUse, Timestamp, Transition,
};
use vega_store::{CommitError, IdempotencyRecord, Store, UpdateError};
use vega_testing::{Reply, TestDatabase, TestServer, emulator};

const NOW: Timestamp = Timestamp(1_800_000_000);

fn record(number: u128, owner: &str) -> KeyRecord {
    let key = ApiKey::new(KeyId::from_entropy(number.to_be_bytes()), &KeySecret::from_entropy(&mut [7; 32]));
    KeyRecord {
        owner_username: "ada".into(),
        name: format!("key {number}"),
        groups: Groups::named(["user"]),
        ..KeyRecord::new(&key, owner, NOW.plus(i64::try_from(number).unwrap()))
    }
}

/// It is good for the first five seconds.
fn short_lived(number: u128, owner: &str) -> KeyRecord {
    KeyRecord { expires_at: Some(NOW.plus(5)), ..record(number, owner) }
}

fn used(at: Timestamp, address: &str) -> LastUse {
    LastUse { at, address: address.into(), user_agent: "curl".into(), moved_at: None }
}

fn actor() -> Actor {
    vega_testing::actor("ada")
}

async fn create(store: &Store, record: &KeyRecord, limit: u32) -> Result<(), CommitError> {
    create_by(store, record, limit, &actor()).await
}

async fn create_by(store: &Store, record: &KeyRecord, limit: u32, actor: &Actor) -> Result<(), CommitError> {
    store.commit(&[Transition::creation(record.clone())], Some(limit), None, actor, record.created_at).await
}

/// Replaces `old` with `new`, when `new` is created.
async fn rotate(
    store: &Store,
    old: &KeyRecord,
    new: &KeyRecord,
    overlap_seconds: i64,
    limit: u32,
    actor: &Actor,
) -> Result<(), CommitError> {
    let owner = CurrentUser {
        id: old.owner.clone(),
        username: old.owner_username.clone(),
        groups: old.groups.clone(),
        authentication: Authentication::Jwt,
        oauth_scopes: Vec::new(),
        issued_at: None,
        expires_at: None,
    };
    let key = ApiKey::new(new.id, &KeySecret::from_entropy(&mut [7; 32]));
    let rotation = old.rotate(&key, &owner, overlap_seconds, new.created_at).unwrap();
    let transitions = [Transition::creation(new.clone()), rotation.old];
    store.commit(&transitions, Some(limit), None, actor, new.created_at).await
}

async fn apply(
    store: &Store,
    read: &KeyRecord,
    change: KeyChange,
    actor: &Actor,
    now: Timestamp,
) -> Result<KeyRecord, CommitError> {
    let Some(transition) = read.change(&change, None, now).unwrap() else { return Ok(read.clone()) };
    store.commit(std::slice::from_ref(&transition), None, None, actor, now).await.map(|()| transition.after)
}

async fn revoke(store: &Store, read: &KeyRecord, actor: &Actor, now: Timestamp) -> Result<KeyRecord, CommitError> {
    let transition = read.revoke(None, now).unwrap();
    store.commit(std::slice::from_ref(&transition), None, None, actor, now).await.map(|()| transition.after)
}

fn purged_90_days_after(end: Timestamp) -> String {
    format!(r#""purge_at": N("{}")"#, end.plus(90 * 24 * 60 * 60).0)
}

async fn ids(store: &Store, owner: &str) -> Vec<KeyId> {
    store.list(owner).await.unwrap().iter().map(|record| record.id).collect()
}

#[tokio::test]
async fn a_new_key_is_found_and_listed_for_its_owner_at_once() {
    let database = TestDatabase::start().await;
    let store = database.store();
    let (first, second, other) = (record(1, "ada"), record(2, "ada"), record(3, "bob"));
    for record in [&first, &second, &other] {
        create(&store, record, 10).await.unwrap();
    }
    assert_eq!(format!("{:?}", store.find(first.id).await.unwrap()), format!("{:?}", Some(&first)));
    assert_eq!(ids(&store, "ada").await, [second.id, first.id], "newest first");
    assert_eq!(ids(&store, "bob").await, [other.id]);
    assert!(ids(&store, "eve").await.is_empty());
    assert!(store.find(record(4, "ada").id).await.unwrap().is_none());
}

#[tokio::test]
async fn a_taken_id_is_rejected_and_counts_for_nobody() {
    let database = TestDatabase::start().await;
    let store = database.store();
    create(&store, &record(1, "ada"), 10).await.unwrap();
    assert!(matches!(create(&store, &record(1, "bob"), 10).await, Err(CommitError::IdTaken)));
    assert_eq!(store.find(record(1, "ada").id).await.unwrap().unwrap().owner, "ada");
    assert!(ids(&store, "bob").await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_parallel_creates_at_limit_100_give_exactly_100() {
    let database = TestDatabase::start().await;
    let store = Arc::new(database.store());
    let tasks: Vec<_> = (0..200)
        .map(|number| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                loop {
                    match create(&store, &record(number, "ada"), 100).await {
                        // taken by this very key, whose answer was lost
                        Ok(()) | Err(CommitError::IdTaken) => return 1,
                        Err(CommitError::LimitReached) => return 0,
                        // A busy machine may answer too late: read again to find out what it did.
                        Err(CommitError::Fault(fault)) => assert_eq!(fault.code(), "store_unavailable"),
                        Err(other) => panic!("{other:?}"),
                    }
                }
            })
        })
        .collect();
    let mut made = 0;
    for task in tasks {
        made += task.await.unwrap();
    }
    assert_eq!((made, ids(&store, "ada").await.len()), (100, 100));
}

#[tokio::test]
async fn an_idempotency_record_blocks_the_request_for_15_minutes() {
    let database = TestDatabase::start().await;
    let store = database.store();
    let keep = |number: u128, at: Timestamp| {
        let key = KeyRecord { created_at: at, ..record(number, "ada") };
        let replay = IdempotencyRecord {
            owner: "ada".into(),
            request: "00".into(),
            fingerprint: [1; 32],
            key_id: key.id,
            nonce: [2; 12],
            sealed: vec![3; 100],
            at,
        };
        (key, replay)
    };
    let create = async |number, at| {
        let (key, replay) = keep(number, at);
        store.commit(&[Transition::creation(key)], Some(3), Some(&replay), &actor(), at).await
    };
    let kept = async |at| store.idempotency_record("ada", "00", at).await.unwrap().map(|record| record.key_id);
    create(1, NOW).await.unwrap();
    assert!(matches!(create(2, NOW.plus(899)).await, Err(CommitError::InProgress)));
    assert_eq!(ids(&store, "ada").await, [record(1, "ada").id], "nothing of it was written");
    assert_eq!(kept(NOW.plus(899)).await, Some(record(1, "ada").id));
    assert_eq!(kept(NOW.plus(900)).await, None, "whether or not it was purged");
    create(3, NOW.plus(900)).await.unwrap();
    assert_eq!(kept(NOW.plus(900)).await, Some(record(3, "ada").id));
    assert!(store.idempotency_record("bob", "00", NOW).await.unwrap().is_none());
}

#[tokio::test]
async fn a_purged_rotated_key_no_longer_counts() {
    let database = TestDatabase::start().await;
    let store = database.store();
    let (old, new) = (record(1, "ada"), KeyRecord { created_at: NOW.plus(9), ..record(2, "ada") });
    create(&store, &old, 1).await.unwrap();
    rotate(&store, &old, &new, 0, 1, &actor()).await.unwrap();
    for sk in ["A", "U"] {
        let item = database.item(&format!("K#{}", old.id), sk).await;
        assert!(item.contains(&purged_90_days_after(NOW.plus(9))), "{item}");
    }
    assert!(matches!(create(&store, &record(20, "ada"), 1).await, Err(CommitError::LimitReached)));
    assert!(!database.item("U#ada", "M").await.split("ended").next().unwrap().contains(old.id.as_str()), "swept");
    database.purge(old.id).await;
    assert_eq!(ids(&store, "ada").await, [new.id]);
    revoke(&store, &new, &actor(), NOW.plus(30)).await.unwrap();
    create(&store, &KeyRecord { created_at: NOW.plus(31), ..record(3, "ada") }, 1).await.unwrap();
}

#[tokio::test]
async fn a_rotation_without_overlap_works_above_a_lowered_limit() {
    let database = TestDatabase::start().await;
    let store = database.store();
    for number in 0..4 {
        create(&store, &record(number, "ada"), 4).await.unwrap();
    }
    let mut old = record(0, "ada");
    for number in 10..14 {
        let new = record(number, "ada");
        assert!(matches!(rotate(&store, &old, &new, 60, 2, &actor()).await, Err(CommitError::LimitReached)));
        rotate(&store, &old, &new, 0, 2, &actor()).await.unwrap();
        old = new;
    }
    assert_eq!(ids(&store, "ada").await.len(), 8);
}

#[tokio::test]
async fn a_key_that_changed_since_it_was_read_is_not_rotated() {
    let database = TestDatabase::start().await;
    let store = database.store();
    let (old, new) = (record(1, "ada"), record(2, "ada"));
    create(&store, &old, 10).await.unwrap();
    revoke(&store, &old, &actor(), NOW).await.unwrap();
    assert!(matches!(rotate(&store, &old, &new, 60, 10, &actor()).await, Err(CommitError::Conflict)));
    assert!(store.find(new.id).await.unwrap().is_none());
    assert_eq!(ids(&store, "ada").await, [old.id]);
    assert_eq!(store.find(old.id).await.unwrap().unwrap().rotated_to, None);
}

#[tokio::test]
async fn a_revoked_or_expired_key_makes_room_for_another() {
    let database = TestDatabase::start().await;
    let store = database.store();
    create(&store, &short_lived(1, "ada"), 2).await.unwrap();
    create(&store, &record(2, "ada"), 2).await.unwrap();
    assert!(matches!(create(&store, &record(3, "ada"), 2).await, Err(CommitError::LimitReached)));
    create(&store, &record(5, "ada"), 2).await.unwrap();
    assert!(matches!(create(&store, &record(6, "ada"), 2).await, Err(CommitError::LimitReached)));
    revoke(&store, &record(2, "ada"), &actor(), NOW).await.unwrap();
    create(&store, &record(7, "ada"), 2).await.unwrap();
    assert_eq!(ids(&store, "ada").await.len(), 4, "the ended ones are still shown");
}

#[tokio::test]
async fn the_next_read_sees_a_revocation_and_its_audit_event() {
    let database = TestDatabase::start().await;
    let store = database.store();
    create(&store, &record(1, "ada"), 10).await.unwrap();
    let revoked = revoke(&store, &record(1, "ada"), &actor(), NOW.plus(9)).await.unwrap();
    let found = store.find(revoked.id).await.unwrap().unwrap();
    assert_eq!((found.status, found.revoked_at, found.version), (KeyStatus::Revoked, Some(NOW.plus(9)), 2));
    let dump = database.dump().await;
    for event in ["created", "revoked"] {
        assert!(dump.contains(&format!(r#""event": S("{event}")"#)), "{dump}");
    }
}

#[tokio::test]
async fn ended_keys_are_purged_and_unlisted_and_live_ones_stay() {
    let database = TestDatabase::start().await;
    let store = database.store();
    let (ended, expired, live) = (record(1, "ada"), short_lived(2, "ada"), record(3, "ada"));
    for record in [&ended, &expired, &live] {
        create(&store, record, 3).await.unwrap();
    }
    database.reader().record_use(ended.id, &used(NOW, "192.0.2.2")).await.unwrap();
    revoke(&store, &ended, &actor(), NOW).await.unwrap();
    create(&store, &record(10, "ada"), 3).await.unwrap();
    create(&store, &record(11, "ada"), 3).await.unwrap();
    for (id, purged_from) in [(ended.id, NOW), (expired.id, NOW.plus(5))] {
        let purge_at = purged_90_days_after(purged_from);
        for sk in ["A", "U"] {
            let item = database.item(&format!("K#{id}"), sk).await;
            assert!(item.contains(&purge_at), "{sk} of {id}: {item}");
        }
    }
    assert_eq!(store.find(ended.id).await.unwrap().unwrap().last_use, Some(used(NOW, "192.0.2.2")));
    assert_eq!(store.find(expired.id).await.unwrap().unwrap().last_use, None);
    assert!(!database.item(&format!("K#{}", live.id), "A").await.contains("purge_at"));
    database.purge(ended.id).await;
    let listed = [record(11, "ada").id, record(10, "ada").id, live.id, expired.id];
    assert_eq!(ids(&store, "ada").await, listed);
    store.unlist("ada", &[ended.id], NOW).await.unwrap();
    assert!(!database.item("U#ada", "M").await.contains(ended.id.as_str()));
    assert_eq!(ids(&store, "ada").await, listed);
}

#[tokio::test]
async fn an_owners_item_is_purged_only_without_a_key() {
    let database = TestDatabase::start().await;
    let store = database.store();
    let (ended, live) = (record(1, "ada"), record(2, "ada"));
    for record in [&ended, &live] {
        create(&store, record, 10).await.unwrap();
    }
    revoke(&store, &ended, &actor(), NOW).await.unwrap();
    let is_kept = async |expected: bool| {
        database.purge_expired(NOW).await;
        assert_eq!(!database.item("U#ada", "M").await.is_empty(), expected);
    };
    database.purge(ended.id).await;
    store.unlist("ada", &[ended.id], NOW).await.unwrap();
    is_kept(true).await;
    database.purge(live.id).await;
    store.unlist("ada", &[live.id], NOW).await.unwrap();
    // A new key saves the item that is about to be deleted.
    create(&store, &record(3, "ada"), 10).await.unwrap();
    is_kept(true).await;
    database.purge(record(3, "ada").id).await;
    store.unlist("ada", &[record(3, "ada").id], NOW).await.unwrap();
    is_kept(false).await;
    store.unlist("ada", &[live.id], NOW).await.unwrap();
    is_kept(false).await;
}

#[tokio::test]
async fn an_expiring_key_has_a_deletion_time_from_its_creation() {
    let database = TestDatabase::start().await;
    let store = database.store();
    let (short, endless) = (short_lived(1, "ada"), record(2, "ada"));
    for record in [&short, &endless] {
        create(&store, record, 10).await.unwrap();
    }
    let items = async |id: KeyId| {
        let pk = format!("K#{id}");
        [database.item(&pk, "A").await, database.item(&pk, "U").await]
    };
    let has = |items: [String; 2], end| items.iter().all(|item| item.contains(&purged_90_days_after(end)));
    assert!(has(items(short.id).await, NOW.plus(5)));
    // A use and a change keep it, and neither sets one for a key without an expiry.
    for record in [&short, &endless] {
        database.reader().record_use(record.id, &used(NOW, "192.0.2.2")).await.unwrap();
        let change = KeyChange { name: Some("renamed".into()), ..KeyChange::default() };
        apply(&store, record, change, &actor(), NOW).await.unwrap();
    }
    assert!(has(items(short.id).await, NOW.plus(5)));
    assert!(!items(endless.id).await.concat().contains("purge_at"));
    // A successor has its own; the old key's moves with its expiry.
    let old = store.find(endless.id).await.unwrap().unwrap();
    let new = KeyRecord { expires_at: Some(NOW.plus(99)), ..record(3, "ada") };
    rotate(&store, &old, &new, 60, 10, &actor()).await.unwrap();
    assert!(has(items(old.id).await, new.created_at.plus(60)));
    assert!(has(items(new.id).await, NOW.plus(99)));
    // what is revoked before it would have ended ends then
    let revoked = store.find(short.id).await.unwrap().unwrap();
    revoke(&store, &revoked, &actor(), NOW.plus(1)).await.unwrap();
    assert!(has(items(short.id).await, NOW.plus(1)));
    // what is revoked after it expired had ended then
    revoke(&store, &store.find(old.id).await.unwrap().unwrap(), &actor(), NOW.plus(99)).await.unwrap();
    assert!(has(items(old.id).await, new.created_at.plus(60)));
}

#[tokio::test]
async fn an_expired_key_purged_before_a_sweep_no_longer_counts() {
    let database = TestDatabase::start().await;
    let store = database.store();
    for record in [short_lived(1, "ada"), short_lived(2, "ada"), record(3, "ada")] {
        create(&store, &record, 3).await.unwrap();
    }
    database.purge(record(1, "ada").id).await;
    for number in [10, 11] {
        create(&store, &record(number, "ada"), 3).await.unwrap();
    }
    assert!(matches!(create(&store, &record(12, "ada"), 3).await, Err(CommitError::LimitReached)));
}

/// Somebody with a token of group `user` that was issued then.
fn with_token(issued_at: Timestamp) -> Actor {
    Actor { token_issued_at: Some(issued_at), token_groups: Groups::named(["user"]), ..actor() }
}

#[tokio::test]
async fn a_token_from_before_the_bar_gives_a_key_nothing_more() {
    let database = TestDatabase::start().await;
    let store = database.store();
    let (old, new) = (with_token(NOW), with_token(NOW.plus(1)));
    let key = KeyRecord { scopes: vec!["read".parse().unwrap()], ..record(1, "ada") };
    create_by(&store, &key, 10, &old).await.unwrap();
    create_by(&store, &record(2, "bob"), 10, &old).await.unwrap();
    store.bar("ada", NOW).await.unwrap();
    // an earlier one doesn't take its place
    store.bar("ada", NOW.plus(-9)).await.unwrap();
    let items = database.dump().await.lines().count();
    let successor = record(3, "ada");
    let disabled = KeyRecord { status: KeyStatus::Disabled, ..key.clone() };
    for actor in [&old, &with_token(NOW.plus(-1)), &actor()] {
        let made = create_by(&store, &record(4, "ada"), 10, actor).await;
        assert!(matches!(made, Err(CommitError::TokenOutdated)), "{made:?}");
        let rotated = rotate(&store, &key, &successor, 60, 10, actor).await;
        assert!(matches!(rotated, Err(CommitError::TokenOutdated)), "{rotated:?}");
        let wider = KeyChange { scopes: Some(vec![]), ..KeyChange::default() };
        let groups = KeyChange { groups: Some(Groups::named(["operator", "user"])), ..KeyChange::default() };
        let enabled = KeyChange { is_enabled: Some(true), ..KeyChange::default() };
        for (record, change) in [(&key, wider), (&key, groups), (&disabled, enabled)] {
            let changed = apply(&store, record, change, actor, NOW).await;
            assert!(matches!(changed, Err(CommitError::TokenOutdated)), "{changed:?}");
        }
    }
    let version = store.find(key.id).await.unwrap().unwrap().version;
    assert_eq!((database.dump().await.lines().count(), version), (items, 1), "nothing was written");
    // The bar blocks no change that takes something away, no other owner, and no later token.
    let narrower = KeyChange { groups: Some(Groups::NONE), name: Some("less".into()), ..KeyChange::default() };
    let key = apply(&store, &key, narrower, &old, NOW).await.unwrap();
    create_by(&store, &record(5, "bob"), 10, &old).await.unwrap();
    create_by(&store, &record(6, "ada"), 10, &new).await.unwrap();
    let wider = KeyChange { scopes: Some(vec![]), ..KeyChange::default() };
    let key = apply(&store, &key, wider, &new, NOW).await.unwrap();
    revoke(&store, &key, &old, NOW).await.unwrap();
}

#[tokio::test]
async fn a_bar_is_kept_for_longer_than_a_token_lives() {
    let database = TestDatabase::start().await;
    // nobody has heard of her yet
    database.store().bar("ada", NOW).await.unwrap();
    let bar = database.item("U#ada", "B").await;
    assert!(bar.contains(&format!(r#""purge_at": N("{}")"#, NOW.plus(25 * 60 * 60).0)), "{bar}");
    let made = create_by(&database.store(), &record(1, "ada"), 10, &with_token(NOW)).await;
    assert!(matches!(made, Err(CommitError::TokenOutdated)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_older_token_creates_a_key_once_the_bar_is_set() {
    let database = TestDatabase::start().await;
    let store = Arc::new(database.store());
    let (made_one, mut one_is_made) = tokio::sync::mpsc::channel(1);
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (store, made_one) = (Arc::clone(&store), made_one.clone());
            tokio::spawn(async move {
                for number in (writer..).step_by(4) {
                    match create_by(&store, &record(number, "ada"), 1000, &with_token(NOW)).await {
                        Ok(()) => drop(made_one.try_send(())),
                        Err(CommitError::TokenOutdated) => return,
                        // a busy machine: the next one is tried
                        Err(CommitError::Fault(fault)) => assert_eq!(fault.code(), "store_unavailable"),
                        Err(other) => panic!("{other:?}"),
                    }
                }
            })
        })
        .collect();
    one_is_made.recv().await.unwrap();
    store.bar("ada", NOW).await.unwrap();
    let listed = ids(&store, "ada").await;
    for writer in writers {
        writer.await.unwrap();
    }
    assert!(!listed.is_empty());
    assert_eq!(ids(&store, "ada").await, listed, "what was read after the bar is all there is");
}

#[tokio::test]
async fn no_number_of_ended_keys_blocks_a_revocation_or_a_sweep() {
    let database = TestDatabase::start().await;
    let store = database.store();
    let (revoked, expired) = (record(1, "ada"), short_lived(2, "ada"));
    create(&store, &revoked, 2).await.unwrap();
    create(&store, &expired, 2).await.unwrap();
    database.fill_ended("ada", 1000).await;
    revoke(&store, &revoked, &actor(), NOW).await.unwrap();
    assert_eq!(store.find(revoked.id).await.unwrap().unwrap().status, KeyStatus::Revoked);
    create(&store, &record(10, "ada"), 2).await.unwrap();
    create(&store, &record(11, "ada"), 2).await.unwrap();
    let owner = database.item("U#ada", "M").await;
    assert!(!owner.contains(revoked.id.as_str()), "neither live nor listed");
    assert!(!owner.contains(expired.id.as_str()), "neither live nor listed");
}

#[tokio::test]
async fn more_expired_keys_than_a_transaction_takes_make_room() {
    let database = TestDatabase::start().await;
    let store = database.store();
    for number in 0..100 {
        create(&store, &KeyRecord { created_at: NOW, ..short_lived(number, "ada") }, 100).await.unwrap();
    }
    create(&store, &record(1000, "ada"), 100).await.unwrap();
    assert_eq!(ids(&store, "ada").await.len(), 101);
    for number in 1001..1100 {
        create(&store, &record(number, "ada"), 100).await.unwrap();
    }
    assert!(matches!(create(&store, &record(2000, "ada"), 100).await, Err(CommitError::LimitReached)));
}

#[tokio::test]
async fn exactly_one_of_concurrent_changes_of_a_version_commits() {
    let database = TestDatabase::start().await;
    let store = database.store();
    let read = record(1, "ada");
    create(&store, &read, 10).await.unwrap();
    let actor = actor();
    let rename = |name: &str| KeyChange { name: Some(name.into()), ..KeyChange::default() };
    let (one, two) = tokio::join!(
        apply(&store, &read, rename("one"), &actor, NOW),
        apply(&store, &read, rename("two"), &actor, NOW)
    );
    let made = match (one, two) {
        (Ok(made), Err(CommitError::Conflict)) | (Err(CommitError::Conflict), Ok(made)) => made,
        both => panic!("{both:?}"),
    };
    let found = store.find(read.id).await.unwrap().unwrap();
    assert_eq!((found.name, found.version), (made.name, 2));
    assert_eq!(database.dump().await.matches(r#""event": S("changed")"#).count(), 1);
}

#[tokio::test]
async fn events_are_ordered_by_version_whatever_the_clocks_say() {
    let database = TestDatabase::start().await;
    let store = database.store();
    let mut key = record(1, "ada");
    create(&store, &key, 10).await.unwrap();
    for number in 2..=12 {
        // a second machine's clock is behind
        let now = if number % 2 == 0 { NOW } else { NOW.plus(-5) };
        let change = KeyChange { name: Some(number.to_string()), is_enabled: Some(false), ..KeyChange::default() };
        key = apply(&store, &key, change, &actor(), now).await.unwrap();
    }
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let (events, next) = store.events("ada", key.id, 5, after, NOW).await.unwrap();
        seen.extend(events.iter().map(|event| (event.after["version"].as_u64().unwrap(), event.event)));
        after = next;
        if after.is_none() {
            break;
        }
    }
    let mut expected: Vec<(u64, EventKind)> = (3..=12).rev().map(|version| (version, EventKind::Changed)).collect();
    expected.extend([(2, EventKind::Disabled), (2, EventKind::Changed), (1, EventKind::Created)]);
    assert_eq!(seen, expected);
    assert!(store.events("bob", key.id, 5, None, NOW).await.unwrap().0.is_empty());
}

#[tokio::test]
async fn a_change_without_effect_writes_nothing() {
    let database = TestDatabase::start().await;
    let store = database.store();
    let read = record(1, "ada");
    create(&store, &read, 10).await.unwrap();
    let before = database.dump().await;
    let same = KeyChange { name: Some(read.name.clone()), is_enabled: Some(true), ..KeyChange::default() };
    assert_eq!(apply(&store, &read, same, &actor(), NOW).await.unwrap().version, 1);
    assert_eq!(database.dump().await.len(), before.len());
}

#[tokio::test]
async fn a_second_change_of_one_version_changes_nothing() {
    let database = TestDatabase::start().await;
    let store = database.store();
    let read = record(1, "ada");
    create(&store, &read, 10).await.unwrap();
    let rename = |name: &str| KeyChange { name: Some(name.into()), ..KeyChange::default() };
    let changed = apply(&store, &read, rename("first"), &actor(), NOW).await.unwrap();
    assert_eq!((changed.name.as_str(), changed.version), ("first", 2));
    assert!(matches!(apply(&store, &read, rename("second"), &actor(), NOW).await, Err(CommitError::Conflict)));
    assert!(matches!(revoke(&store, &read, &actor(), NOW).await, Err(CommitError::Conflict)));
    let found = store.find(read.id).await.unwrap().unwrap();
    assert_eq!((found.name.as_str(), found.version, found.status), ("first", 2, KeyStatus::Active));
}

#[tokio::test]
async fn an_update_decides_again_if_the_key_changed_meanwhile() {
    let database = TestDatabase::start().await;
    let store = database.store();
    let stale = record(1, "ada");
    create(&store, &stale, 10).await.unwrap();
    let rename = |name: &str| KeyChange { name: Some(name.into()), ..KeyChange::default() };
    apply(&store, &stale, rename("first"), &actor(), NOW).await.unwrap();
    let seen = Cell::new(0);
    let on_version = |asked: u64, change: KeyChange| {
        let (seen, stale) = (&seen, &stale);
        move |key: &KeyRecord| -> Result<_, &str> {
            seen.set(seen.get() + 1);
            if key.name == "final" {
                Err("no")
            } else {
                Ok((if seen.get() < asked { stale } else { key }).change(&change, None, NOW).unwrap())
            }
        }
    };
    // The decision before the last one was made on a version that is gone.
    let updated = store.update(stale.id, &actor(), NOW, on_version(2, rename("second"))).await.unwrap();
    assert_eq!((updated.is_changed, updated.record.version, seen.take()), (true, 3, 2));
    let same = store.update(stale.id, &actor(), NOW, on_version(1, rename("second"))).await.unwrap();
    assert_eq!((same.is_changed, same.record.version, seen.take()), (false, 3, 1));
    let contended = store.update(stale.id, &actor(), NOW, on_version(9, rename("third"))).await;
    assert!(matches!(contended, Err(UpdateError::Commit(CommitError::Conflict))), "{contended:?}");
    assert_eq!(seen.take(), 5);
    store.update(stale.id, &actor(), NOW, on_version(1, rename("final"))).await.unwrap();
    let refused = store.update(stale.id, &actor(), NOW, on_version(1, rename("fourth"))).await;
    assert!(matches!(refused, Err(UpdateError::Refused("no"))), "{refused:?}");
    let missing = store.update(record(2, "ada").id, &actor(), NOW, on_version(1, rename("fifth"))).await;
    assert!(matches!(missing, Err(UpdateError::NotFound)), "{missing:?}");
    assert_eq!(store.find(stale.id).await.unwrap().unwrap().version, 4);
}

#[tokio::test]
async fn a_recorded_use_leaves_the_version_alone() {
    let database = TestDatabase::start().await;
    let store = database.store();
    let key = record(1, "ada");
    create(&store, &key, 10).await.unwrap();
    database.reader().record_use(key.id, &used(NOW, "192.0.2.1")).await.unwrap();
    for at in [NOW.plus(-60), NOW] {
        database.reader().record_use(key.id, &used(at, "192.0.2.2")).await.unwrap();
        assert_eq!(store.find(key.id).await.unwrap().unwrap().last_use, Some(used(NOW, "192.0.2.1")));
    }
    database.reader().record_use(key.id, &used(NOW.plus(60), "192.0.2.3")).await.unwrap();
    let found = store.find(key.id).await.unwrap().unwrap();
    assert_eq!((found.last_use, found.version), (Some(used(NOW.plus(60), "192.0.2.3")), 1));
    assert_eq!(store.list("ada").await.unwrap()[0].last_use.as_ref().unwrap().address, "192.0.2.3");
}

#[tokio::test]
async fn garbled_records_and_outages_are_faults() {
    let database = TestDatabase::start().await;
    let store = database.store();
    let key = record(1, "ada");
    create(&store, &key, 10).await.unwrap();
    database.garble(key.id, "expires_at").await;
    assert_eq!(store.find(key.id).await.unwrap_err().code(), "record_unreadable");
    assert_eq!(store.list("ada").await.unwrap_err().code(), "record_unreadable");
    database.stop();
    assert_eq!(store.find(key.id).await.unwrap_err().code(), "store_unavailable");
}

/// The clock is the test's: it runs ahead whenever all wait.
#[tokio::test(start_paused = true)]
async fn a_database_that_never_answers_is_a_fault_in_time() {
    let silent = TestServer::start(Reply::Hang).await;
    let store = Store::new(&emulator(silent.url()), "keys".into());
    let started = tokio::time::Instant::now();
    assert_eq!(store.find(record(1, "ada").id).await.unwrap_err().code(), "store_unavailable");
    assert!(started.elapsed() <= Duration::from_millis(2600), "{:?}", started.elapsed());
}

#[tokio::test]
async fn more_keys_than_one_batch_takes_are_all_listed() {
    let database = TestDatabase::start().await;
    let store = database.store();
    for number in 0..120 {
        create(&store, &record(number, "ada"), 1000).await.unwrap();
    }
    assert_eq!(ids(&store, "ada").await.len(), 120);
}
