//! Notifications are sent once: a real `DynamoDB` API, and a list in place of the bus.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::convert::Infallible;
use std::sync::Mutex;

use notifications::{Notifier, Report, SendNotification, Task};
use serde_json::Value;
use vega_auth::{KeyId, KeyRecord, Timestamp};
use vega_aws::CallError;
use vega_notification::{KeyEvent, Kind, Notification};
use vega_testing::{TestDatabase, actor, key, record};

const NOW: Timestamp = Timestamp(1_800_000_000);
const DAY: i64 = 24 * 60 * 60;

/// The notifications that were sent, as JSON.
#[derive(Default)]
struct Bus {
    sent: Mutex<Vec<Value>>,
    is_down: Mutex<bool>,
}

impl SendNotification for Bus {
    async fn send(&self, notification: &Notification) -> Result<(), CallError> {
        if *self.is_down.lock().unwrap() {
            return Err(CallError::Unavailable("down".into()));
        }
        self.sent.lock().unwrap().push(serde_json::to_value(notification).unwrap());
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
        self.notifier.run(Task::Deliver(vec![event]), NOW).await
    }

    /// The ids of the notifications sent since the last call.
    fn sent(&self) -> Vec<String> {
        self.notifier.bus.sent.lock().unwrap().drain(..).map(|sent| sent["id"].as_str().unwrap().into()).collect()
    }
}

#[tokio::test]
async fn a_notification_is_sent_once() {
    let test = Test::start().await;
    let id = test.create(|record| record.expires_at = Some(NOW.plus(90 * DAY))).await;
    let (store, actor) = (&test.notifier.store, actor("user-1"));
    store.update::<Infallible>(id, &actor, NOW, |key| Ok(key.revoke_leaked("a paste", NOW))).await.unwrap();
    for kind in [Kind::Created, Kind::FirstUsed, Kind::Leaked] {
        let network = (kind == Kind::FirstUsed).then_some("192.0.2.0/24");
        assert_eq!(test.notify(kind, network).await, Report { sent: 1, faults: vec![] });
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
    assert_eq!(test.notifier.run(Task::Deliver(events), NOW).await, Report { sent: 2, faults: vec![] });
    assert_eq!(test.notifier.bus.sent.lock().unwrap()[1]["version"], 3);
    assert_eq!(test.sent(), ["7Gh2kQ9XbT4m/narrowed/2", "7Gh2kQ9XbT4m/narrowed/3"]);
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
    assert_eq!((report.sent, report.faults.len(), &report.line()["outcome"]), (0, 1, &Value::from("fault")));
    *test.notifier.bus.is_down.lock().unwrap() = false;
    let event = |kind| KeyEvent::new(key().id(), kind, NOW);
    let unknown = KeyEvent { key: "000000000000".parse().unwrap(), ..event(Kind::Created) };
    let report = test.notifier.run(Task::Deliver(vec![unknown, event(Kind::Created)]), NOW).await;
    assert_eq!(report, Report { sent: 1, faults: vec![] }, "a key that is gone needs no notification");
}

#[tokio::test]
async fn an_expiring_key_is_reported_at_14_and_3_days_and_at_the_end() {
    let test = Test::start().await;
    test.create(|record| record.expires_at = Some(NOW.plus(90 * DAY))).await;
    let mut reported = Vec::new();
    for hour in (0..=98 * 24).step_by(8) {
        let report = test.notifier.run(Task::ScanForExpiry, NOW.plus(hour * 3600)).await;
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
    assert_eq!(
        test.notifier.run(Task::ScanForExpiry, end).await,
        Report::default(),
        "the scan doesn't find it any more"
    );
    let swept = || Task::Deliver(vec![KeyEvent::new(id, Kind::Expired, end)]);
    assert_eq!(test.notifier.run(swept(), end.plus(7 * DAY)).await, Report::default(), "too long ago");
    assert_eq!(test.notifier.run(swept(), end.plus(7 * DAY - 1)).await.sent, 1);
    assert_eq!(test.notifier.run(swept(), end.plus(7 * DAY - 1)).await, Report::default());
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
        assert_eq!(test.notifier.run(Task::ScanForExpiry, NOW.plus(day * DAY)).await, Report::default());
    }
}

#[tokio::test]
async fn without_the_table_nothing_is_sent_and_a_fault_is_reported() {
    let test = Test::start().await;
    test.database.stop();
    assert_eq!(test.notify(Kind::Created, None).await.faults.len(), 1);
    assert_eq!(test.notifier.run(Task::ScanForExpiry, NOW).await.faults.len(), 1);
    assert!(test.sent().is_empty());
}
