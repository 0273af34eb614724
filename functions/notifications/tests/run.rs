//! Notifications are sent once: a real `DynamoDB` API, and a list in place of the bus.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use notifications::{Invocation, Notifier, Report, SendNotification, Task};
use serde_json::Value;
use vega_auth::{KeyId, KeyRecord, Timestamp};
use vega_aws::CallError;
use vega_notification::{KeyEvent, Kind, Notification};
use vega_store::Begun;
use vega_testing::{InjectedFault, TestDatabase, actor, key, numbered_key, record};

const NOW: Timestamp = Timestamp(1_800_000_000);
const DAY: i64 = 24 * 60 * 60;

/// The notifications that were sent, as JSON.
#[derive(Default)]
struct Bus {
    sent: Mutex<Vec<Value>>,
    is_down: Mutex<bool>,
    resumed: AtomicUsize,
}

impl SendNotification for Bus {
    async fn send(&self, notification: &Notification) -> Result<(), CallError> {
        if *self.is_down.lock().unwrap() {
            return Err(CallError::Unavailable("down".into()));
        }
        self.sent.lock().unwrap().push(serde_json::to_value(notification).unwrap());
        Ok(())
    }

    async fn resume_scan(&self) -> Result<(), CallError> {
        self.resumed.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

struct Test {
    database: TestDatabase,
    notifier: Notifier<Bus>,
}

impl Test {
    async fn start() -> Self {
        let database = TestDatabase::start_with_index().await;
        let notifier = Notifier { store: database.store(), bus: Bus::default() };
        Self { database, notifier }
    }

    async fn create(&self, change: impl FnOnce(&mut KeyRecord)) -> KeyId {
        let mut record = KeyRecord { description: "a secret plan".into(), ..record(&key(), "user-1") };
        change(&mut record);
        self.database.create(&record).await;
        record.id
    }

    async fn notify(&self, kind: Kind, network: Option<&str>) -> Report {
        let network = network.map(str::to_owned);
        let event = KeyEvent { network, ..KeyEvent::new(key().id(), kind, NOW.plus(-1)) };
        self.follow(vec![event], NOW).await
    }

    async fn follow(&self, events: Vec<KeyEvent>, now: Timestamp) -> Report {
        self.notifier.run(Task::Follow { events, purged: BTreeMap::new() }, &invocation("run-1", now, || true)).await
    }

    async fn scan(&self, now: Timestamp) -> Report {
        self.notifier.run(Task::ScanForExpiry, &invocation("run-1", now, || true)).await
    }

    /// Creates this many keys that expire within a day.
    async fn create_expiring(&self, count: usize) {
        for number in 0..count {
            let key = numbered_key(number);
            self.create(|record| {
                (record.id, record.created_at, record.expires_at) =
                    (key.id(), NOW.plus(-89 * DAY), Some(NOW.plus(DAY)));
            })
            .await;
        }
    }

    /// The ids of the notifications sent since the last call.
    fn sent(&self) -> Vec<String> {
        self.notifier.bus.sent.lock().unwrap().drain(..).map(|sent| sent["id"].as_str().unwrap().into()).collect()
    }
}

fn invocation<T: Fn() -> bool>(request_id: &str, now: Timestamp, has_time: T) -> Invocation<T> {
    Invocation { request_id: request_id.into(), now, has_time }
}

fn sent(count: usize) -> Report {
    Report { sent: count, ..Report::default() }
}

/// A complete scan.
fn scanned(count: usize) -> Report {
    Report { scan_age_seconds: Some(0), ..sent(count) }
}

#[tokio::test]
async fn a_notification_is_sent_once() {
    let test = Test::start().await;
    let id = test.create(|record| record.expires_at = Some(NOW.plus(90 * DAY))).await;
    let (store, actor) = (&test.notifier.store, actor("user-1"));
    store.update::<Infallible>(id, &actor, NOW, |key| Ok(key.revoke_leaked("a paste", NOW))).await.unwrap();
    for kind in [Kind::Created, Kind::FirstUsed, Kind::Leaked] {
        let network = (kind == Kind::FirstUsed).then_some("192.0.2.0/24");
        assert_eq!(test.notify(kind, network).await, sent(1));
        assert_eq!(test.notify(kind, network).await, Report::default(), "{kind:?} again");
    }
    let sent = test.notifier.bus.sent.lock().unwrap();
    let expected = serde_json::json!({
        "id": "7Gh2kQ9XbT4m/created", "notice": "created", "at": "2027-01-15T07:59:59Z", "key_id": "7Gh2kQ9XbT4m",
        "key_name": "ci", "owner": "user-1", "owner_username": "ada", "expires_at": "2027-04-15T08:00:00Z",
    });
    assert_eq!(sent[0], expected);
    assert_eq!(sent[1]["network"], "192.0.2.0/24");
    assert_eq!(sent[2]["reason"], "leaked: a paste");
    for notification in sent.iter() {
        assert!(!notification.to_string().contains("secret") && !notification.to_string().contains("192.0.2.1"));
    }
}

#[tokio::test]
async fn every_version_that_took_something_is_reported_once() {
    let test = Test::start().await;
    test.create(|_| {}).await;
    let narrowed = |version| KeyEvent { version: Some(version), ..KeyEvent::new(key().id(), Kind::Narrowed, NOW) };
    let events = [2, 2, 3].map(narrowed).to_vec();
    assert_eq!(test.follow(events, NOW).await, sent(2));
    assert_eq!(test.notifier.bus.sent.lock().unwrap()[1]["version"], 3);
    assert_eq!(test.sent(), ["7Gh2kQ9XbT4m/narrowed/2", "7Gh2kQ9XbT4m/narrowed/3"]);
}

#[tokio::test]
async fn a_notification_is_late_after_two_hours() {
    let test = Test::start().await;
    test.create(|_| {}).await;
    let event = |version, seconds: i64| KeyEvent {
        version: Some(version),
        ..KeyEvent::new(key().id(), Kind::Narrowed, NOW.plus(-seconds))
    };
    let report = test.follow(vec![event(2, 7200), event(3, 7201), event(4, 0)], NOW).await;
    assert_eq!((report.sent, report.late), (3, 1));
    let line = report.line(Some(&notifications::metrics("Vega/test")), NOW);
    assert_eq!(
        serde_json::json!([line["sent"], line["late"], line["function"]]),
        serde_json::json!([3, 1, "notifications"])
    );
    let directive = serde_json::json!({
        "Namespace": "Vega/test", "Dimensions": [["function"]],
        "Metrics": [{ "Name": "sent", "Unit": "Count" }, { "Name": "late", "Unit": "Count" }],
    });
    assert_eq!(line["_aws"]["CloudWatchMetrics"], serde_json::json!([directive]));
}

#[tokio::test]
async fn each_new_network_is_reported_once_the_first_not_at_all() {
    let test = Test::start().await;
    test.create(|_| {}).await;
    test.notify(Kind::FirstUsed, Some("192.0.2.0/24")).await;
    assert_eq!(test.sent(), ["7Gh2kQ9XbT4m/first_used"]);
    for network in ["198.51.100.0/24", "192.0.2.0/24", "198.51.100.0/24", "2001:db8:1::/48"] {
        test.notify(Kind::NewNetwork, Some(network)).await;
    }
    assert_eq!(test.sent(), ["7Gh2kQ9XbT4m/network/198.51.100.0/24", "7Gh2kQ9XbT4m/network/2001:db8:1::/48"]);
}

#[tokio::test]
async fn a_failed_notification_is_sent_again_and_stops_no_other() {
    let test = Test::start().await;
    test.create(|_| {}).await;
    *test.notifier.bus.is_down.lock().unwrap() = true;
    let report = test.notify(Kind::Created, None).await;
    assert_eq!((report.sent, report.faults.len(), &report.line(None, NOW)["outcome"]), (0, 1, &Value::from("fault")));
    *test.notifier.bus.is_down.lock().unwrap() = false;
    let event = |kind| KeyEvent::new(key().id(), kind, NOW);
    let unknown = KeyEvent { key: "000000000000".parse().unwrap(), ..event(Kind::Created) };
    let report = test.follow(vec![unknown, event(Kind::Created)], NOW).await;
    assert_eq!(report, sent(1), "a key that is gone needs no notification");
}

#[tokio::test]
async fn an_expiring_key_is_reported_at_14_and_3_days_and_at_the_end() {
    let test = Test::start().await;
    test.create(|record| record.expires_at = Some(NOW.plus(90 * DAY))).await;
    let mut reported = Vec::new();
    for hour in (0..=98 * 24).step_by(8) {
        let report = test.scan(NOW.plus(hour * 3600)).await;
        assert_eq!(report.faults, Vec::<String>::new());
        reported.extend(test.sent().into_iter().map(|id| (hour / 24, id)));
    }
    let expected = [(76, "expires_in_14_days"), (87, "expires_in_3_days"), (90, "expired")];
    assert_eq!(reported, expected.map(|(day, kind)| (day, format!("7Gh2kQ9XbT4m/{kind}"))));
}

#[tokio::test]
async fn a_key_that_left_the_index_is_reported_as_expired() {
    let test = Test::start().await;
    let end = NOW.plus(DAY);
    let id = test.create(|record| record.expires_at = Some(end)).await;
    test.notifier.store.end_expired("user-1", &[(id, end)]).await.unwrap();
    assert_eq!(test.scan(end).await, scanned(0), "the scan doesn't find it any more");
    let swept = || vec![KeyEvent::new(id, Kind::Expired, end)];
    assert_eq!(test.follow(swept(), end.plus(7 * DAY)).await, Report::default(), "too long ago");
    assert_eq!(test.follow(swept(), end.plus(7 * DAY - 1)).await.sent, 1);
    assert_eq!(test.follow(swept(), end.plus(7 * DAY - 1)).await, Report::default());
    assert_eq!(test.sent(), ["7Gh2kQ9XbT4m/expired"]);
}

#[tokio::test]
async fn a_key_without_expiry_or_revoked_is_not_reported_to_expire() {
    let test = Test::start().await;
    test.create(|_| {}).await;
    let id = "000000000000".parse().unwrap();
    test.create(|record| (record.id, record.expires_at) = (id, Some(NOW.plus(90 * DAY)))).await;
    test.database.revoke(id).await;
    for day in [80, 88, 91] {
        assert_eq!(test.scan(NOW.plus(day * DAY)).await, scanned(0));
    }
}

#[tokio::test]
async fn a_scan_that_runs_out_of_time_is_resumed_at_once() {
    let test = Test::start().await;
    test.create_expiring(65).await;
    let mut runs = Vec::new();
    for run in 0..10 {
        // Time for two batches of ten notifications.
        let batches = Cell::new(2);
        let has_time = || batches.replace(batches.get() - 1) > 1;
        let now = NOW.plus(run * 300);
        let report = test.notifier.run(Task::ScanForExpiry, &invocation(&format!("run-{run}"), now, has_time)).await;
        assert_eq!(report.faults, Vec::<String>::new());
        runs.push((report.sent, report.scan_age_seconds));
        let resumed = test.notifier.bus.resumed.swap(0, Ordering::SeqCst);
        if resumed == 0 {
            break;
        }
    }
    let age = |run: i64| Some(run * 300);
    assert_eq!(runs, [(20, age(0)), (20, age(1)), (20, age(2)), (5, Some(0))]);
    let mut sent = test.sent();
    sent.sort();
    sent.dedup();
    assert_eq!(sent.len(), 65, "each key is reported once");
    assert_eq!(test.scan(NOW.plus(3600)).await, scanned(0), "the next scan begins again, and finds nothing new");
}

#[tokio::test]
async fn two_scans_at_once_send_each_notification_once() {
    let test = Test::start().await;
    test.create_expiring(30).await;
    let [first, second] = ["run-1", "run-2"].map(|run| invocation(run, NOW, || true));
    let (first, second) =
        tokio::join!(test.notifier.run(Task::ScanForExpiry, &first), test.notifier.run(Task::ScanForExpiry, &second));
    let mut reports = [first, second];
    reports.sort_by_key(|report| report.sent);
    assert_eq!(reports, [Report::default(), scanned(30)]);
}

#[tokio::test]
async fn a_killed_scan_holds_up_the_next_for_at_most_15_minutes() {
    let test = Test::start().await;
    test.create_expiring(1).await;
    test.notifier.store.begin_pass("expiry", "killed", NOW).await.unwrap();
    assert_eq!(test.scan(NOW.plus(15 * 60)).await, Report::default());
    assert_eq!(test.scan(NOW.plus(15 * 60 + 1)).await, scanned(1));
    // A clock that was wrong: no lease is longer.
    test.notifier.store.begin_pass("expiry", "ahead", NOW.plus(100 * DAY)).await.unwrap();
    assert_eq!(test.scan(NOW.plus(16 * 60)).await, scanned(0));
}

#[tokio::test]
async fn a_clock_that_jumps_repeats_no_notification_and_loses_none() {
    let test = Test::start().await;
    test.create(|record| record.expires_at = Some(NOW.plus(90 * DAY))).await;
    let mut reported = Vec::new();
    for day in [0, 76, 10, 77, 200, 78, 87, 80, 88, 90, 75, 91, 300, 92] {
        let report = test.scan(NOW.plus(day * DAY)).await;
        assert_eq!(report.faults, Vec::<String>::new());
        reported.extend(test.sent().into_iter().map(|id| (day, id)));
    }
    let expected = [(76, "expires_in_14_days"), (87, "expires_in_3_days"), (90, "expired")];
    assert_eq!(reported, expected.map(|(day, kind)| (day, format!("7Gh2kQ9XbT4m/{kind}"))));
}

#[tokio::test]
async fn a_scan_that_meets_a_fault_continues_where_it_stopped() {
    let test = Test::start().await;
    test.create_expiring(25).await;
    let notifier = Notifier { store: test.database.faulty_store(), bus: Bus::default() };
    let scan = async || notifier.run(Task::ScanForExpiry, &invocation("run-1", NOW, || true)).await;
    let completed = async || {
        // The lease is over, and the scan not complete.
        let begun = test.notifier.store.begin_pass("expiry", "run-1", NOW.plus(1)).await.unwrap();
        let Begun::Leased(pass) = begun else { panic!("{begun:?}") };
        let completed_at = pass.completed_at;
        test.notifier.store.end_pass(pass).await.unwrap();
        completed_at
    };
    for good in [0, 1, 2, 20, 30] {
        test.database.inject_after(good, InjectedFault::Fail, 100);
        let report = scan().await;
        assert!(!report.faults.is_empty(), "after {good} requests");
        test.database.clear_faults();
        assert_eq!(completed().await, NOW.plus(1), "the scan isn't complete");
    }
    assert_eq!(scan().await.faults, Vec::<String>::new());
    let mut sent: Vec<Value> = notifier.bus.sent.lock().unwrap().iter().map(|sent| sent["id"].clone()).collect();
    assert_eq!(notifier.bus.resumed.load(Ordering::SeqCst), 0, "Lambda's retry continues it");
    sent.sort_by_key(ToString::to_string);
    sent.dedup();
    assert_eq!(sent.len(), 25);
}

#[tokio::test]
async fn a_malformed_key_is_a_fault_and_hides_no_other() {
    let test = Test::start().await;
    test.create_expiring(3).await;
    test.database.garble(numbered_key(1).id(), "created_at").await;
    let report = test.scan(NOW).await;
    assert_eq!((report.sent, report.faults.len(), report.scan_age_seconds), (2, 1, Some(0)));
}

#[tokio::test]
async fn without_the_table_nothing_is_sent_and_a_fault_is_reported() {
    let test = Test::start().await;
    test.database.stop();
    assert_eq!(test.notify(Kind::Created, None).await.faults.len(), 1);
    assert_eq!(test.scan(NOW).await.faults.len(), 1);
    assert!(test.sent().is_empty());
}
