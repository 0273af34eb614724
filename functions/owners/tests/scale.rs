//! The time that a pass takes, by the number of owners: with a pool that enforces Cognito's quotas, on its own clock.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod test_pool;

use std::fmt::Write as _;
use std::time::Duration;

use owners::{OwnerStatus, Owners, Report, Task};
use vega_auth::{Groups, KeyRecord, Timestamp, Transition};
use vega_testing::{TestDatabase, actor, numbered_key, record};

use crate::test_pool::{Category, TestClock, TestPool, groups};

const NOW: Timestamp = Timestamp(1_800_000_000);
const ALL: Task = Task::SyncAll { may_revoke: None };
const BUDGET: Duration = Duration::from_mins(14);
/// A request to `DynamoDB` takes this long, for the times below: the database of the test has no clock.
const TABLE_LATENCY: Duration = Duration::from_millis(20);
/// Items per page of the index.
const PAGE: usize = 1000;
/// People who lose their keys in each pass.
const LEAVERS: usize = 20;
const DOCUMENT: &str = include_str!("../../../docs/owners.md");

fn owner(number: usize) -> String {
    format!("user-{number:06}")
}

/// The index of this many owners with one key each, which the test doesn't create.
fn index(owners: usize) -> impl Fn(&str) -> Option<String> {
    move |request| {
        if !request.contains("DynamoDB_20120810.Scan") {
            return None;
        }
        let after = request.split(r#""holder":{"S":"user-"#).nth(1).map(|rest| rest[..6].parse::<usize>().unwrap() + 1);
        let first = after.unwrap_or(0);
        let last = (first + PAGE / 2).min(owners);
        let mut items = String::new();
        for number in first..last {
            let (owner, separator) = (owner(number), if number == first { "" } else { "," });
            let of = format!(r#""holder":{{"S":"{owner}"}},"owner_username":{{"S":"{owner}@example.com"}}"#);
            write!(
                items,
                r#"{separator}{{{of},"pk":{{"S":"K#{number:012}"}},"sk":{{"S":"A"}},"status":{{"S":"active"}},"created_at":{{"N":"1"}},"groups":{{"L":[{{"S":"user"}}]}}}},{{{of},"pk":{{"S":"U#{owner}"}},"sk":{{"S":"M"}},"groups":{{"SS":["user"]}}}}"#
            )
            .unwrap();
        }
        let next = if last == owners {
            String::new()
        } else {
            let owner = owner(last - 1);
            format!(r#","LastEvaluatedKey":{{"holder":{{"S":"{owner}"}},"pk":{{"S":"U#{owner}"}},"sk":{{"S":"M"}}}}"#)
        };
        Some(format!(r#"{{"Items":[{items}]{next}}}"#))
    }
}

struct Pass {
    report: Report,
    beside: Report,
    seconds: u64,
    lists: usize,
    looks: usize,
    refused: usize,
}

/// Two passes that start at once, over this many owners, of whom some were deleted.
async fn pass(owners: usize) -> Pass {
    let database = TestDatabase::start_with_index().await;
    let store = database.store_answered_by(index(owners));
    let pool = TestPool::new();
    for number in 0..owners {
        pool.set(&owner(number), OwnerStatus::Member(Groups::named(["user"])));
    }
    for number in 0..LEAVERS {
        let of = owner(number);
        let record = KeyRecord { owner_username: format!("{of}@example.com"), ..record(&numbered_key(number), &of) };
        store.commit(&[Transition::creation(record)], None, None, &actor(&of), NOW).await.unwrap();
        pool.set(&of, OwnerStatus::Gone);
    }
    let before = database.requests();
    let owners = Owners { store, pool, groups: groups() };
    let clock = TestClock::new(&owners.pool.time, NOW);
    let run = |request_id| owners.run(&ALL, request_id, &clock, BUDGET);
    let (one, other) = tokio::join!(run("run-1"), run("run-2"));
    let (report, beside) = if one.is_busy { (other, one) } else { (one, other) };
    let requests = u32::try_from(database.requests() - before).unwrap();
    Pass {
        report,
        beside,
        seconds: (owners.pool.time.now() + requests * TABLE_LATENCY).as_secs() + 1,
        lists: owners.pool.calls(Category::UserList),
        looks: owners.pool.calls(Category::UserRead),
        refused: owners.pool.refused(),
    }
}

#[tokio::test]
async fn a_pass_over_100000_owners_takes_less_than_5_minutes() {
    let mut rows = Vec::new();
    for count in [1_000, 10_000, 100_000] {
        let Pass { report, beside, seconds, lists, looks, refused } = Box::pin(pass(count)).await;
        assert!(beside.is_busy && !report.is_fault() && !report.is_incomplete, "{report:?} {beside:?}");
        assert_eq!((report.checked, report.losing, report.revoked), (count, LEAVERS, LEAVERS));
        assert_eq!(refused, 0, "no quota was exceeded");
        // Everybody is listed once, and as a member of their group; the two other groups have nobody.
        assert_eq!(lists, 2 * (count - LEAVERS).div_ceil(60) + 2);
        assert_eq!(looks, 2 * LEAVERS, "by username, and by sub");
        assert!(seconds < 5 * 60, "{count}: {seconds} s");
        rows.push(format!("  | {count} | {lists} | {seconds} s |\n"));
    }
    assert!(DOCUMENT.contains(&rows.concat()), "docs/owners.md lacks:\n{}", rows.concat());
}

#[tokio::test]
async fn two_passes_without_a_lease_would_exceed_a_quota() {
    let pool = TestPool::new();
    for number in 0..6_000 {
        pool.member(&owner(number), &["user"]);
    }
    let database = [TestDatabase::start_with_index().await, TestDatabase::start_with_index().await];
    let clock = TestClock::new(&pool.time, NOW);
    // Each has a table, and so a lease, of its own.
    let owners = |database: &TestDatabase| Owners { store: database.store(), pool: &pool, groups: groups() };
    let runs = database.each_ref().map(owners);
    let (one, other) =
        tokio::join!(runs[0].run(&ALL, "run-1", &clock, BUDGET), runs[1].run(&ALL, "run-2", &clock, BUDGET));
    assert!(pool.refused() > 0 && (one.is_fault() || other.is_fault()), "{one:?} {other:?}");
}
