//! The scan for expiry with a million keys: how many requests it makes, and that it continues where it stopped. The table exists
//! only in its responses.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::cell::Cell;
use std::sync::{Arc, Mutex};

use notifications::{Invocation, Notifier, SendNotification, Task};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use vega_auth::Timestamp;
use vega_aws::CallError;
use vega_notification::Notification;
use vega_store::Store;
use vega_testing::{emulator, read_request, response};

const NOW: Timestamp = Timestamp(1_800_000_000);
const DAY: i64 = 24 * 60 * 60;
const KEYS: usize = 1_000_000;
/// The pages that a run has time for.
const PAGES_PER_RUN: usize = 250;

/// A table whose keys expire one after the other within a year. Every notification that is due was sent.
#[derive(Default)]
struct Table {
    keys: usize,
    scans: usize,
    batches: usize,
    others: usize,
    looked_up: usize,
    place: Option<Value>,
    /// One batch in so many leaves half of its keys unprocessed; 0 means none.
    unprocessed: usize,
}

impl Table {
    fn respond(&mut self, operation: &str, body: &Value) -> Value {
        match operation {
            "Scan" => {
                self.scans += 1;
                self.scan(body)
            }
            "BatchGetItem" => {
                self.batches += 1;
                let keys = body["RequestItems"]["keys"]["Keys"].as_array().unwrap();
                let is_partial = keys.len() > 1 && self.batches.is_multiple_of(self.unprocessed);
                let (now, later) = keys.split_at(if is_partial { keys.len() / 2 } else { keys.len() });
                self.looked_up += now.len();
                let later = if later.is_empty() { json!({}) } else { json!({ "keys": { "Keys": later } }) };
                json!({ "Responses": { "keys": now }, "UnprocessedKeys": later })
            }
            "UpdateItem" => {
                self.others += 1;
                if body["UpdateExpression"].as_str().unwrap().contains("leased_until =") {
                    let mut attributes = json!({ "completed_at": { "N": (NOW.0 - 3600).to_string() } });
                    if let Some(place) = &self.place {
                        attributes["place"] = place.clone();
                    }
                    return json!({ "Attributes": attributes });
                }
                self.place = Some(body["ExpressionAttributeValues"][":place"].clone());
                json!({})
            }
            _ => panic!("{operation} isn't needed"),
        }
    }

    /// A page, without what the filter leaves out.
    fn scan(&self, body: &Value) -> Value {
        assert_eq!(body["FilterExpression"], "expires_at BETWEEN :first AND :last");
        let limit = usize::try_from(body["Limit"].as_i64().unwrap()).unwrap();
        let number = |key: &Value| key["pk"]["S"].as_str().unwrap()["K#".len()..].parse::<usize>().unwrap();
        let start = body.get("ExclusiveStartKey").map_or(0, |key| number(key) + 1);
        let end = (start + limit).min(self.keys);
        let bound = |name: &str| body["ExpressionAttributeValues"][name]["N"].as_str().unwrap().parse::<i64>().unwrap();
        let (first, last) = (bound(":first"), bound(":last"));
        let key = |number: usize| json!({ "pk": { "S": format!("K#{number:012}") }, "sk": { "S": "A" }, "holder": { "S": "ada" } });
        let mut items = Vec::new();
        for number in start..end {
            let expires_at = expiry(number);
            if (first..=last).contains(&expires_at) {
                let mut item = key(number);
                item["created_at"] = json!({ "N": (expires_at - 90 * DAY).to_string() });
                item["expires_at"] = json!({ "N": expires_at.to_string() });
                items.push(item);
            }
        }
        let mut page = json!({ "Items": items, "Count": items.len(), "ScannedCount": end - start });
        if end < self.keys {
            page["LastEvaluatedKey"] = key(end - 1);
        }
        page
    }
}

/// Spread evenly over the year from now on.
fn expiry(number: usize) -> i64 {
    NOW.0 + 1 + i64::try_from(number % 36_500).unwrap() * DAY / 100
}

fn count_due(keys: usize) -> usize {
    (0..keys).filter(|number| expiry(*number) <= NOW.0 + 14 * DAY).count()
}

struct Bus;

impl SendNotification for Bus {
    async fn send(&self, notification: &Notification) -> Result<(), CallError> {
        panic!("{} was sent already", notification.id)
    }

    async fn resume_scan(&self) -> Result<(), CallError> {
        Ok(())
    }
}

/// Scans the whole table in as many runs as it takes. Returns their number.
async fn scan(table: Table) -> (usize, Table) {
    let table = Arc::new(Mutex::new(table));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn({
        let table = Arc::clone(&table);
        async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let request = read_request(&mut client).await.unwrap();
                let (head, body) = request.split_once("\r\n\r\n").unwrap();
                let target =
                    head.lines().find_map(|line| line.strip_prefix("x-amz-target: DynamoDB_20120810.")).unwrap();
                let body = table.lock().unwrap().respond(target, &serde_json::from_str(body).unwrap());
                client.write_all(&response("200 OK", body)).await.unwrap();
            }
        }
    });
    let notifier = Notifier { store: Store::new(&emulator(&url), "keys".into()), bus: Bus };
    let mut runs = 0;
    loop {
        runs += 1;
        let pages = Cell::new(PAGES_PER_RUN);
        let has_time = || pages.replace(pages.get().saturating_sub(1)) > 1;
        let invocation = Invocation { request_id: format!("run-{runs}"), now: NOW, has_time };
        let report = notifier.run(Task::ScanForExpiry, &invocation).await;
        assert_eq!((report.sent, report.faults), (0, vec![]));
        if report.scan_age_seconds == Some(0) {
            break;
        }
        assert_eq!(report.scan_age_seconds, Some(3600), "the last complete scan ended an hour ago");
    }
    server.abort();
    let table = std::mem::take(&mut *table.lock().unwrap());
    (runs, table)
}

#[tokio::test]
async fn a_million_keys_take_one_request_per_hundred_and_page() {
    let (runs, table) = scan(Table { keys: KEYS, ..Table::default() }).await;
    let pages = KEYS / 1000;
    let due = count_due(KEYS);
    assert_eq!((runs, table.scans), (4, pages), "every page is read once, by some run");
    assert_eq!(table.looked_up, due, "every key that is due is looked up, once");
    let requests = table.scans + table.batches + table.others;
    assert_eq!((due, requests), (39_200, 1_400), "docs/notifications.md names these numbers");
    assert!(requests <= KEYS / 100 + pages);
    // Beside the pages, each run leases and ends the pass.
    assert!(table.batches + table.others <= due / 100 + pages + 2 * runs, "{} batches", table.batches);
}

#[tokio::test]
async fn unprocessed_keys_of_a_batch_are_looked_up_again() {
    let (_, table) = scan(Table { keys: 10_000, unprocessed: 3, ..Table::default() }).await;
    assert_eq!(table.looked_up, count_due(10_000));
}
