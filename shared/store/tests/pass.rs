//! Passes: one at a time, whatever the clocks say, and none is lost.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use vega_auth::Timestamp;
use vega_store::{Begun, Pass, Store};
use vega_testing::TestDatabase;

const NOW: Timestamp = Timestamp(1_800_000_000);
const MINUTE: i64 = 60;

async fn begin(store: &Store, holder: &str, at: i64) -> Begun {
    store.begin_pass("work", holder, NOW.plus(at)).await.unwrap()
}

#[track_caller]
fn leased(begun: Begun) -> Pass {
    match begun {
        Begun::Leased(pass) => pass,
        Begun::Busy { .. } => panic!("busy"),
    }
}

#[track_caller]
fn assert_busy(begun: &Begun, completed_at: i64) {
    assert!(matches!(begun, Begun::Busy { completed_at: at } if *at == NOW.plus(completed_at)), "{begun:?}");
}

#[tokio::test]
async fn only_one_of_concurrent_invocations_gets_the_pass() {
    let database = TestDatabase::start().await;
    let store = database.store();
    let begun = tokio::join!(begin(&store, "a", 0), begin(&store, "b", 0), begin(&store, "c", 1));
    let leased = [begun.0, begun.1, begun.2].into_iter().filter(|begun| matches!(begun, Begun::Leased(_)));
    assert_eq!(leased.count(), 1);
    let other = store.begin_pass("other", "d", NOW).await.unwrap();
    assert!(matches!(other, Begun::Leased(_)), "each pass has its own lease");
}

#[tokio::test]
async fn a_dead_invocations_lease_ends_after_15_minutes() {
    let database = TestDatabase::start().await;
    let store = database.store();
    let mut dead = leased(begin(&store, "dead", 0).await);
    assert_busy(&begin(&store, "next", 15 * MINUTE).await, 0);
    let next = leased(begin(&store, "next", 15 * MINUTE + 1).await);
    // It wasn't dead, and neither ends a lease nor saves a place that isn't its own.
    dead.completed_at = NOW.plus(7);
    assert!(!store.end_pass(dead).await.unwrap());
    assert_busy(&begin(&store, "third", 16 * MINUTE).await, 0);
    assert!(store.end_pass(next).await.unwrap(), "the third asked for it");
}

#[tokio::test]
async fn a_retry_with_the_same_id_gets_the_lease_back() {
    let database = TestDatabase::start().await;
    let store = database.store();
    leased(begin(&store, "killed", 0).await);
    assert_busy(&begin(&store, "other", MINUTE).await, 0);
    let retry = leased(begin(&store, "killed", MINUTE).await);
    assert_busy(&begin(&store, "other", 16 * MINUTE).await, 0);
    assert!(store.end_pass(retry).await.unwrap());
}

#[tokio::test]
async fn a_clock_that_jumps_holds_nobody_up_for_longer() {
    const YEAR: i64 = 365 * 24 * 60 * MINUTE;
    for jump in [YEAR, -YEAR] {
        let database = TestDatabase::start().await;
        let store = database.store();
        // An invocation whose clock is wrong dies.
        leased(begin(&store, "wrong", jump).await);
        let right = leased(begin(&store, "right", 0).await);
        assert_busy(&begin(&store, "other", 0).await, jump);
        store.end_pass(right).await.unwrap();
        // The clock jumps while an invocation is at it: its lease counts for nothing.
        leased(begin(&store, "right", 0).await);
        leased(begin(&store, "later", jump).await);
    }
    // Clocks differ by minutes, which nobody takes for a jump.
    let database = TestDatabase::start().await;
    leased(begin(&database.store(), "ahead", 14 * MINUTE).await);
    assert_busy(&begin(&database.store(), "behind", 0).await, 14 * MINUTE);
}

#[tokio::test]
async fn a_holder_learns_of_requests_it_kept_waiting() {
    let database = TestDatabase::start().await;
    let store = database.store();
    let first = leased(begin(&store, "first", 0).await);
    for at in [1, 2] {
        assert_busy(&begin(&store, "other", at).await, 0);
    }
    assert!(store.end_pass(first).await.unwrap());
    let second = leased(begin(&store, "second", 3).await);
    assert!(!store.end_pass(second).await.unwrap(), "nobody came since");
}

#[tokio::test]
async fn a_pass_continues_with_what_the_last_invocation_saved() {
    let database = TestDatabase::start_with_index().await;
    let store = database.store();
    for (confirmed, completed_at) in [(Some(7), 0), (Some(0), 5), (None, 5), (Some(8), 9), (None, 10)] {
        let mut pass = leased(begin(&store, "first", 0).await);
        (pass.confirmed, pass.completed_at) = (confirmed, NOW.plus(completed_at));
        store.end_pass(pass).await.unwrap();
        let pass = leased(begin(&store, "second", 100).await);
        assert_eq!((pass.confirmed, pass.completed_at), (confirmed, NOW.plus(completed_at)));
        assert_eq!(pass.place, None);
        assert_busy(&begin(&store, "third", 0).await, completed_at);
        store.end_pass(pass).await.unwrap();
    }
    database.stop();
    assert!(store.begin_pass("work", "first", NOW).await.is_err());
}
