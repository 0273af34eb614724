//! The authorizer's requests to the table, through both adapters, which must give the same results.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use vega_auth::{Fault, KeyId, KeyRecord, KeyRecords as _, KeyStatus, LastUse, Timestamp, Transition};
use vega_key_table::KeyReader;
use vega_store::Store;
use vega_testing::{InjectedFault, Reply, TestDatabase, TestServer, actor, emulator, reader, record};

const NOW: Timestamp = Timestamp(1_800_000_000);

#[allow(clippy::large_enum_variant, reason = "there are two of them")]
enum Adapter {
    /// Through the SDK.
    Store(Store),
    /// The authorizer's own reader.
    Reader(KeyReader),
}

impl Adapter {
    fn both(database: &TestDatabase) -> [Self; 2] {
        [Self::Store(database.store()), Self::Reader(database.reader())]
    }

    fn both_faulty(database: &TestDatabase) -> [Self; 2] {
        [Self::Store(database.faulty_store()), Self::Reader(database.faulty_reader())]
    }

    async fn find(&self, id: KeyId) -> Result<Option<KeyRecord>, Fault> {
        match self {
            Self::Store(store) => store.find(id).await,
            Self::Reader(reader) => reader.find(id, NOW).await,
        }
    }
}

async fn key(database: &TestDatabase) -> KeyId {
    let key = vega_testing::key();
    let record = KeyRecord {
        owner_username: "Ada \"the\" \u{1f511}\u{e9}\n".into(),
        expires_at: Some(NOW.plus(60)),
        ..record(&key, "ada")
    };
    let created = Transition::creation(record);
    database.store().commit(&[created], Some(10), None, &actor("ada"), NOW).await.unwrap();
    key.id()
}

fn used(at: Timestamp) -> LastUse {
    LastUse { at, address: "192.0.2.1".into(), user_agent: "curl/8 \"\u{e9}\"".into(), moved_at: None }
}

#[tokio::test]
async fn both_find_the_same_record_or_none() {
    let database = TestDatabase::start().await;
    let id = key(&database).await;
    database.reader().record_use(id, &used(NOW)).await.unwrap();
    let [store, reader] = Adapter::both(&database);
    let (one, other) = (store.find(id).await.unwrap().unwrap(), reader.find(id).await.unwrap().unwrap());
    assert_eq!(format!("{one:?}"), format!("{other:?}"));
    assert_eq!(other.last_use, Some(used(NOW)));
    for adapter in [store, reader] {
        assert!(adapter.find("000000000000".parse().unwrap()).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn both_read_what_was_just_written() {
    let database = TestDatabase::start().await;
    let id = key(&database).await;
    let [store, reader] = Adapter::both(&database);
    let read = store.find(id).await.unwrap().unwrap();
    assert_eq!(reader.find(id).await.unwrap().unwrap().status, KeyStatus::Active);
    database.store().commit(&[read.revoke(None, NOW).unwrap()], None, None, &actor("ada"), NOW).await.unwrap();
    for adapter in [store, reader] {
        assert_eq!(adapter.find(id).await.unwrap().unwrap().status, KeyStatus::Revoked);
    }
}

#[tokio::test]
async fn a_recorded_use_never_goes_backwards() {
    let database = TestDatabase::start().await;
    let (id, reader) = (key(&database).await, database.reader());
    for (at, recorded) in [(0, 0), (-60, 0), (-1, 0), (1, 1), (60, 60)] {
        reader.record_use(id, &used(NOW.plus(at))).await.unwrap();
        assert_eq!(reader.find(id, NOW).await.unwrap().unwrap().last_use, Some(used(NOW.plus(recorded))));
    }
}

#[tokio::test]
async fn a_use_from_another_network_has_its_own_minute() {
    let database = TestDatabase::start().await;
    let (id, reader) = (key(&database).await, database.reader());
    let moved = |at| LastUse { moved_at: Some(NOW.plus(at)), ..used(NOW.plus(at)) };
    reader.record_use(id, &used(NOW)).await.unwrap();
    for (at, recorded) in [(-1, used(NOW)), (1, moved(1)), (2, moved(1)), (60, moved(1)), (61, moved(61))] {
        reader.record_use(id, &moved(at)).await.unwrap();
        assert_eq!(reader.find(id, NOW).await.unwrap().unwrap().last_use, Some(recorded), "{at}");
    }
    reader.record_use(id, &used(NOW.plus(121))).await.unwrap();
    let last = reader.find(id, NOW).await.unwrap().unwrap().last_use.unwrap();
    assert_eq!((last.at, last.moved_at), (NOW.plus(121), Some(NOW.plus(61))));
}

#[tokio::test]
async fn both_report_garbled_records_and_outages_alike() {
    let database = TestDatabase::start().await;
    let id = key(&database).await;
    database.garble(id, "expires_at").await;
    for adapter in Adapter::both(&database) {
        assert_eq!(adapter.find(id).await.unwrap_err().code(), "record_unreadable");
    }
    database.stop();
    for adapter in Adapter::both(&database) {
        assert_eq!(adapter.find(id).await.unwrap_err().code(), "store_unavailable");
    }
}

#[tokio::test]
async fn both_retry_transient_failures_up_to_three_attempts() {
    let database = TestDatabase::start().await;
    let id = key(&database).await;
    for fault in [InjectedFault::DropConnection, InjectedFault::Throttle, InjectedFault::Fail, InjectedFault::Hang] {
        for adapter in Adapter::both_faulty(&database) {
            database.inject(fault, 2);
            let before = database.requests();
            assert!(adapter.find(id).await.unwrap().is_some(), "{fault:?}");
            assert_eq!(database.requests() - before, 3, "{fault:?}");
        }
    }
    for adapter in Adapter::both_faulty(&database) {
        database.inject(InjectedFault::Fail, usize::MAX);
        let before = database.requests();
        assert_eq!(adapter.find(id).await.unwrap_err().code(), "store_unavailable");
        assert_eq!(database.requests() - before, 3);
        database.clear_faults();
    }
}

/// With a paused clock, which advances whenever every task waits.
#[tokio::test(start_paused = true)]
async fn a_silent_database_is_a_fault_within_the_deadline() {
    let silent = TestServer::start(Reply::Hang).await;
    let settings = emulator(silent.url());
    let id = "000000000000".parse().unwrap();
    for adapter in [Adapter::Store(Store::new(&settings, "keys".into())), Adapter::Reader(reader(&settings))] {
        let started = tokio::time::Instant::now();
        assert_eq!(adapter.find(id).await.unwrap_err().code(), "store_unavailable");
        assert!(started.elapsed() <= Duration::from_millis(2600), "{:?}", started.elapsed());
    }
    let reader = reader(&settings);
    let started = tokio::time::Instant::now();
    assert!(reader.record_use(id, &used(NOW)).await.is_err());
    assert!(started.elapsed() <= Duration::from_millis(400), "{:?}", started.elapsed());
}
