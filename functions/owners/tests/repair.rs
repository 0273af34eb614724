//! The repair of items that older versions wrote, against a real `DynamoDB` API.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::cell::Cell;
use std::collections::BTreeMap;

use owners::{RepairKeys, RepairReport};
use serde_json::{Value, json};
use vega_auth::{KeyId, KeyRecord, KeyRecords as _, LastUse, Timestamp};
use vega_testing::{InjectedFault, NOW, TestDatabase, numbered_key, record};

const DAY: i64 = 24 * 60 * 60;

async fn run(database: &TestDatabase, dry_run: bool, now: Timestamp, has_time: bool) -> RepairReport {
    RepairKeys { dry_run }.run(&database.faulty_store(), "run-1", now, || has_time).await
}

async fn repair(database: &TestDatabase, now: Timestamp) -> BTreeMap<&'static str, usize> {
    let report = run(database, false, now, true).await;
    assert_eq!((report.faults, report.complete), (vec![], true));
    report.repairs
}

async fn create(database: &TestDatabase, number: usize, expires_at: Option<Timestamp>) -> KeyId {
    let key = numbered_key(number);
    database.create(&KeyRecord { expires_at, ..record(&key, "ada") }).await;
    let last_use = LastUse { at: NOW, address: "192.0.2.1".into(), user_agent: "ci/1".into(), moved_at: None };
    database.reader().record_use(key.id(), &last_use).await.unwrap();
    key.id()
}

/// Removes what 0.1.0 didn't write.
async fn age(database: &TestDatabase, id: KeyId) {
    let pk = format!("K#{id}");
    for (sk, attribute) in [("A", "purge_at"), ("A", "holder"), ("U", "purge_at")] {
        database.unset(&pk, sk, attribute).await;
    }
}

/// The table without audit events, last uses' contents and the repair's own place.
async fn contents(database: &TestDatabase) -> BTreeMap<(String, String), Value> {
    let mut items = database.items().await;
    items.retain(|(pk, _), _| !pk.starts_with("P#"));
    items
}

#[tokio::test]
async fn old_items_become_what_this_version_writes_and_stay_so() {
    let database = TestDatabase::start_with_index().await;
    let (endless, expiring) = (create(&database, 1, None).await, create(&database, 2, Some(NOW.plus(99 * DAY))).await);
    let (revoked, purged) = (create(&database, 4, Some(NOW.plus(99 * DAY))).await, create(&database, 5, None).await);
    database.revoke(revoked).await;
    database.revoke(purged).await;
    let expected = contents(&database).await;
    let expired = create(&database, 3, Some(NOW.plus(DAY))).await;
    for id in [endless, expiring, expired, revoked] {
        age(&database, id).await;
    }
    let old = contents(&database).await;

    let now = NOW.plus(2 * DAY);
    let dry = run(&database, true, now, true).await;
    assert_eq!((dry.complete, dry.faults), (true, vec![]));
    assert_eq!(dry.repairs, BTreeMap::from([("expired", 1), ("records", 3)]));
    assert_eq!(contents(&database).await, old, "a dry run changes nothing");

    assert_eq!(repair(&database, now).await, dry.repairs);
    let repaired = contents(&database).await;
    for id in [endless, expiring, revoked] {
        for sk in ["A", "U"] {
            let key = (format!("K#{id}"), sk.to_owned());
            assert_eq!(repaired[&key], expected[&key], "{key:?}");
        }
    }
    let [record, last_use] = ["A", "U"].map(|sk| &repaired[&(format!("K#{expired}"), sk.to_owned())]);
    let purge_at = json!({ "N": NOW.plus(91 * DAY).0.to_string() });
    assert_eq!((&record["purge_at"], &last_use["purge_at"], record.get("holder")), (&purge_at, &purge_at, None));
    let lists = &repaired[&("U#ada".to_owned(), "M".to_owned())];
    assert!(
        !lists["live"].to_string().contains(expired.as_str()) && lists["ended"].to_string().contains(expired.as_str())
    );

    assert_eq!(repair(&database, now).await, BTreeMap::new(), "a second run finds nothing");
    assert_eq!(contents(&database).await, repaired);
}

#[tokio::test]
async fn what_is_left_of_purged_keys_is_removed() {
    let database = TestDatabase::start_with_index().await;
    let (live, ended) = (create(&database, 1, None).await, create(&database, 2, None).await);
    database.revoke(ended).await;
    database.purge(ended).await;
    assert_eq!(repair(&database, NOW).await, BTreeMap::from([("lists", 1)]));
    assert!(!database.item("U#ada", "M").await.contains(ended.as_str()));
    // The record is gone, and only the last use is left.
    let last_use = LastUse { at: NOW, address: "192.0.2.1".into(), user_agent: "ci/1".into(), moved_at: None };
    database.purge(live).await;
    database.reader().record_use(live, &last_use).await.unwrap();
    assert_eq!(repair(&database, NOW).await, BTreeMap::from([("last_uses", 1), ("lists", 1)]));
    database.purge_expired(NOW).await;
    assert!(contents(&database).await.into_keys().all(|(_, sk)| sk.starts_with("E#")));
    assert_eq!(repair(&database, NOW).await, BTreeMap::new());
}

#[tokio::test]
async fn a_key_revoked_after_its_expiry_is_scheduled_by_its_expiry() {
    let database = TestDatabase::start_with_index().await;
    let id = create(&database, 1, Some(NOW.plus(-1))).await;
    database.revoke(id).await;
    let right = contents(&database).await;
    database.unset(&format!("K#{id}"), "A", "purge_at").await;
    assert_eq!(repair(&database, NOW).await, BTreeMap::from([("records", 1)]));
    database.unset(&format!("K#{id}"), "U", "purge_at").await;
    assert_eq!(repair(&database, NOW).await, BTreeMap::from([("last_uses", 1)]));
    assert_eq!(contents(&database).await, right);
}

#[tokio::test]
async fn a_repair_continues_where_it_stopped() {
    let database = TestDatabase::start_with_index().await;
    // Each key has a record and a last use, and a page 500 items.
    for number in 0..255 {
        create(&database, number, None).await;
        database.unset(&format!("K#{number:012}"), "A", "holder").await;
    }
    let first = run(&database, false, NOW, false).await;
    assert_eq!((first.complete, first.scanned, &first.faults), (false, 500, &vec![]));
    database.inject(InjectedFault::Fail, 100);
    assert_eq!(run(&database, false, NOW, true).await.faults.len(), 1);
    database.clear_faults();
    let second = run(&database, false, NOW, true).await;
    assert!(second.complete && second.scanned < 500, "{second:?}");
    assert_eq!(first.repairs["records"] + second.repairs["records"], 255);
    assert_eq!(repair(&database, NOW).await, BTreeMap::new());
}

#[tokio::test]
async fn a_malformed_item_is_a_fault_and_hides_no_other() {
    let database = TestDatabase::start_with_index().await;
    for number in 0..3 {
        create(&database, number, None).await;
        database.unset(&format!("K#{number:012}"), "A", "holder").await;
    }
    database.garble(numbered_key(1).id(), "expires_at").await;
    let report = run(&database, false, NOW, true).await;
    assert_eq!((report.repairs["records"], report.complete), (2, true));
    assert!(!report.faults.is_empty() && report.line()["outcome"] == "fault");
}

#[test]
fn only_an_exact_request_starts_a_repair() {
    let read = |event: Value| RepairKeys::read(&event).map(|request| request.dry_run);
    assert_eq!(read(json!({ "repair_keys": { "dry_run": true } })), Some(true));
    assert_eq!(read(json!({ "repair_keys": { "dry_run": false } })), Some(false));
    for other in [
        json!({}),
        json!({ "repair_keys": {} }),
        json!({ "repair_keys": { "dry_run": "no" } }),
        json!({ "repair_keys": { "dry_run": true, "x": 1 } }),
        json!({ "repair_keys": { "dry_run": true }, "x": 1 }),
        json!({ "repair_keys": [true] }),
        json!({ "detail-type": "Scheduled Event" }),
    ] {
        assert_eq!(read(other.clone()), None, "{other}");
    }
}

/// A page of a table of `keys` keys with a record each, of which every hundredth lacks its place in the index.
fn page(keys: usize) -> impl Fn(&str) -> Option<String> {
    move |request| {
        if !request.contains("DynamoDB_20120810.Scan") {
            return None;
        }
        let after = request.split(r#""S":"K#"#).nth(1).map(|rest| rest[..12].parse::<usize>().unwrap() + 1);
        let first = after.unwrap_or(0);
        let last = (first + 500).min(keys);
        let items = (first..last).map(|number| {
            let holder = if number.is_multiple_of(100) { "" } else { r#","holder":{"S":"ada"}"# };
            format!(
                r#"{{"pk":{{"S":"K#{number:012}"}},"sk":{{"S":"A"}},"owner":{{"S":"ada"}},"status":{{"S":"active"}}{holder}}}"#
            )
        });
        let items = items.collect::<Vec<_>>().join(",");
        let next = if last == keys {
            String::new()
        } else {
            format!(r#","LastEvaluatedKey":{{"pk":{{"S":"K#{:012}"}},"sk":{{"S":"A"}}}}"#, last - 1)
        };
        Some(format!(r#"{{"Items":[{items}]{next}}}"#))
    }
}

#[tokio::test]
async fn a_dry_run_over_100000_keys_reads_each_page_once() {
    let database = TestDatabase::start_with_index().await;
    let store = database.store_answered_by(page(100_000));
    let (mut runs, mut scanned, mut due) = (0, 0, 0);
    let before = database.requests();
    loop {
        runs += 1;
        assert!(runs <= 4, "it doesn't continue where it stopped");
        // Time for 60 pages.
        let pages = Cell::new(60);
        let has_time = || pages.replace(pages.get() - 1) > 1;
        let report = RepairKeys { dry_run: true }.run(&store, &format!("run-{runs}"), NOW, has_time).await;
        assert_eq!(report.faults, Vec::<String>::new());
        scanned += report.scanned;
        due += report.repairs["records"];
        if report.complete {
            break;
        }
    }
    assert_eq!((runs, scanned, due), (4, 100_000, 1_000));
    // Each run leases the pass and ends it.
    assert_eq!(database.requests() - before, 100_000 / 500 + 2 * runs);
}
