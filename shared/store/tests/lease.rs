//! The lease: only one run at a time, whatever the clocks say.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use vega_auth::Timestamp;
use vega_store::{Ending, Lease, Leasing, Store};
use vega_testing::TestDatabase;

const NOW: Timestamp = Timestamp(1_800_000_000);
const WORK: &str = "P#work";

async fn lease(store: &Store, at: i64) -> Lease {
    match store.lease(WORK, NOW.plus(at)).await.unwrap() {
        Leasing::Granted(lease) => lease,
        Leasing::Busy { .. } => panic!("busy at {at}"),
    }
}

async fn is_busy(store: &Store, at: i64) -> bool {
    matches!(store.lease(WORK, NOW.plus(at)).await.unwrap(), Leasing::Busy { .. })
}

#[tokio::test]
async fn only_one_of_concurrent_runs_gets_the_lease() {
    let database = TestDatabase::start().await;
    let store = database.store();
    let leases = tokio::join!(store.lease(WORK, NOW), store.lease(WORK, NOW), store.lease(WORK, NOW.plus(1)));
    let granted = [leases.0, leases.1, leases.2].into_iter().filter(|one| matches!(one, Ok(Leasing::Granted(_))));
    assert_eq!(granted.count(), 1);
    assert!(matches!(store.lease("P#other", NOW).await.unwrap(), Leasing::Granted(_)), "other work has its own lease");
}

#[tokio::test]
async fn a_lease_ends_60_seconds_after_its_last_renewal() {
    let database = TestDatabase::start().await;
    let store = database.store();
    let mut first = lease(&store, 0).await;
    assert!(is_busy(&store, 59).await);
    store.renew(&mut first, NOW.plus(59)).await.unwrap();
    assert!(is_busy(&store, 118).await);
    let mut second = lease(&store, 119).await;
    // It was suspended, and can neither go on nor release what isn't its own.
    assert!(store.renew(&mut first, NOW.plus(120)).await.is_err());
    assert!(store.release(first, Ending::Complete { began_at: NOW }).await.is_err());
    store.renew(&mut second, NOW.plus(140)).await.unwrap();
    assert!(is_busy(&store, 141).await);
}

#[tokio::test]
async fn a_clock_that_jumps_holds_nobody_up_for_longer() {
    const YEAR: i64 = 365 * 24 * 60 * 60;
    let database = TestDatabase::start().await;
    let store = database.store();
    // A run whose clock is a year ahead stops without releasing its lease.
    let mut ahead = lease(&store, YEAR).await;
    let mut lease = lease(&store, 0).await;
    assert!(store.renew(&mut ahead, NOW.plus(YEAR + 30)).await.is_err());
    // The clock goes back by an hour while it holds the lease.
    store.renew(&mut lease, NOW.plus(-3600)).await.unwrap();
    assert!(is_busy(&store, -3550).await);
    assert!(!is_busy(&store, -3540).await);
}

#[tokio::test]
async fn a_run_is_told_of_requests_that_it_kept_waiting() {
    let database = TestDatabase::start().await;
    let store = database.store();
    let first = lease(&store, 0).await;
    assert!(is_busy(&store, 1).await && is_busy(&store, 2).await);
    assert!(store.release(first, Ending::Failed).await.unwrap());
    let second = lease(&store, 3).await;
    assert!(!store.release(second, Ending::Failed).await.unwrap(), "nobody came since");
}

#[tokio::test]
async fn a_lease_shows_the_last_complete_run_and_what_it_left() {
    let database = TestDatabase::start().await;
    let store = database.store();
    for (ending, carry, completed, carried) in [
        (Ending::Failed, Some(6), None, None),
        (Ending::Complete { began_at: NOW }, Some(6), Some(NOW), None),
        (Ending::Interrupted, Some(7), Some(NOW), Some(7)),
        (Ending::Interrupted, None, Some(NOW), None),
        (Ending::Interrupted, Some(8), Some(NOW), Some(8)),
        (Ending::Failed, Some(8), Some(NOW), None),
        (Ending::Complete { began_at: NOW.plus(1) }, None, Some(NOW.plus(1)), None),
    ] {
        let mut first = lease(&store, 0).await;
        first.carried = carry;
        store.release(first, ending).await.unwrap();
        let next = lease(&store, 0).await;
        assert_eq!((next.completed, next.carried), (completed, carried), "{ending:?} {carry:?}");
        let busy = store.lease(WORK, NOW).await.unwrap();
        assert!(matches!(busy, Leasing::Busy { completed: shown } if shown == completed));
        store.release(next, Ending::Interrupted).await.unwrap();
    }
    database.stop();
    assert!(store.lease(WORK, NOW).await.is_err());
}
