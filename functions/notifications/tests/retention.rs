//! Ninety days after a key ended, nothing of it is left but its audit trail, and nothing is deleted before: random lives of
//! keys, with time that passes, a database that deletes two days late, and the stream of what changed.
//!
//! A failure prints its seed: `VEGA_MODEL_SEED=<seed> cargo test -p notifications --test retention` repeats it.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;

use fastrand::Rng;
use notifications::{Invocation, Notifier, SendNotification, Task};
use serde_json::{Value, json};
use vega_auth::{
    Authentication, CurrentUser, Groups, KeyChange, KeyId, KeyRecord, KeyRecords as _, LastUse, Timestamp, Transition,
};
use vega_aws::CallError;
use vega_notification::Notification;
use vega_store::{IdempotencyRecord, Store};
use vega_testing::{TestDatabase, actor, numbered_key, record};

const START: Timestamp = Timestamp(1_800_000_000);
const DAY: i64 = 24 * 60 * 60;
const KEPT: i64 = 90 * DAY;
/// How late the database deletes.
const LATE: i64 = 2 * DAY;
const OWNERS: [&str; 2] = ["ada", "ben"];

struct Bus;

impl SendNotification for Bus {
    async fn send(&self, _: &Notification) -> Result<(), CallError> {
        Ok(())
    }

    async fn resume_scan(&self) -> Result<(), CallError> {
        panic!("there is always time")
    }
}

struct Model {
    database: TestDatabase,
    store: Store,
    notifier: Notifier<Bus>,
    now: Timestamp,
    /// The table when its stream was last read.
    seen: BTreeMap<(String, String), Value>,
    keys: Vec<Key>,
}

/// A key as we know it: its id, its owner, and when it ends.
struct Key {
    id: KeyId,
    owner: &'static str,
    end: Option<Timestamp>,
}

impl Model {
    async fn start() -> Self {
        let database = TestDatabase::start_with_index().await;
        let (store, notifier) = (database.store(), Notifier { store: database.store(), bus: Bus });
        Self { database, store, notifier, now: START, seen: BTreeMap::new(), keys: Vec::new() }
    }

    async fn step(&mut self, rng: &mut Rng) {
        let usable: Vec<usize> =
            (0..self.keys.len()).filter(|at| self.keys[*at].end.is_none_or(|end| self.now < end)).collect();
        let key = rng.choice(&usable).copied();
        match (rng.u8(..12), key) {
            (0..=2, _) => self.create(rng).await,
            (3, Some(at)) => self.record_use(at, rng).await,
            (4, Some(at)) => self.change(at, rng).await,
            (5, Some(at)) => self.rotate(at, rng.i64(0..=7) * DAY).await,
            (6, _) if !self.keys.is_empty() => {
                // An expired key can be revoked too.
                let at = rng.usize(..self.keys.len());
                self.revoke(at, rng.bool()).await;
            }
            (7, _) => self.sync_owners().await,
            (8, _) => self.scan().await,
            _ => self.wait(rng.i64(1..=30)).await,
        }
        self.follow_stream().await;
    }

    async fn create(&mut self, rng: &mut Rng) {
        let owner = *rng.choice(&OWNERS).unwrap();
        let key = numbered_key(self.keys.len());
        let end = rng.bool().then(|| self.now.plus(rng.i64(1..=120) * DAY));
        let record = KeyRecord { created_at: self.now, expires_at: end, ..record(&key, owner) };
        let replay = IdempotencyRecord {
            owner: owner.into(),
            request: self.keys.len().to_string(),
            fingerprint: [0; 32],
            key_id: key.id(),
            nonce: [0; 12],
            sealed: vec![0; 100],
            at: self.now,
        };
        let created = [Transition::creation(record)];
        self.store.commit(&created, Some(100), rng.bool().then_some(&replay), &actor(owner), self.now).await.unwrap();
        self.keys.push(Key { id: key.id(), owner, end });
    }

    async fn record_use(&self, at: usize, rng: &mut Rng) {
        let last_use = LastUse {
            at: self.now,
            address: format!("192.0.{}.1", rng.u8(..)),
            user_agent: "ci/1".into(),
            moved_at: None,
        };
        self.database.reader().record_use(self.keys[at].id, &last_use).await.unwrap();
    }

    async fn change(&self, at: usize, rng: &mut Rng) {
        let change = KeyChange { name: Some("renamed".into()), is_enabled: Some(rng.bool()), ..KeyChange::default() };
        let Key { id, owner, .. } = self.keys[at];
        let decide = |key: &KeyRecord| Ok::<_, Infallible>(key.change(&change, None, self.now).unwrap());
        self.store.update(id, &actor(owner), self.now, decide).await.unwrap();
    }

    async fn rotate(&mut self, at: usize, overlap: i64) {
        let Key { id, owner, end } = self.keys[at];
        let old = self.store.find(id).await.unwrap().unwrap();
        let successor = numbered_key(self.keys.len());
        let user = CurrentUser {
            id: owner.into(),
            username: owner.into(),
            groups: Groups::named(["user"]),
            oauth_scopes: Vec::new(),
            authentication: Authentication::Jwt,
            issued_at: None,
            expires_at: None,
        };
        let Ok(rotation) = old.rotate(&successor, &user, overlap, self.now) else { return };
        let transitions = [rotation.successor, rotation.old];
        self.store.commit(&transitions, Some(100), None, &actor(owner), self.now).await.unwrap();
        let deadline = self.now.plus(overlap);
        self.keys[at].end = Some(end.map_or(deadline, |end| end.min(deadline)));
        self.keys.push(Key { id: successor.id(), owner, end });
    }

    async fn revoke(&mut self, at: usize, is_leaked: bool) {
        let (now, Key { id, owner, end }) = (self.now, &mut self.keys[at]);
        let decide = |key: &KeyRecord| {
            Ok::<_, Infallible>(if is_leaked { key.revoke_leaked("", now) } else { key.revoke(Some("lost"), now) })
        };
        // Its record may be gone.
        if self.store.update(*id, &actor(owner), now, decide).await.is_ok() {
            *end = Some(end.map_or(now, |end| end.min(now)));
        }
    }

    /// What the owner sync does with expired keys.
    async fn sync_owners(&self) {
        let mut key_owners = HashMap::new();
        self.store.key_owners(&mut key_owners, None, self.now).await.unwrap();
        for owner in key_owners.into_values() {
            self.store.end_expired(&owner.owner, &owner.expired).await.unwrap();
            if !owner.is_live {
                self.store.retire(&owner.owner, self.now).await.unwrap();
            }
        }
    }

    async fn scan(&self) {
        self.run(Task::ScanForExpiry).await;
    }

    async fn run(&self, task: Task) {
        let invocation = Invocation { request_id: "run-1".into(), now: self.now, has_time: || true };
        assert_eq!(self.notifier.run(task, &invocation).await.faults, Vec::<String>::new());
    }

    async fn wait(&mut self, days: i64) {
        self.now = self.now.plus(days * DAY);
        self.database.purge_expired(self.now.plus(-LATE)).await;
        self.follow_stream().await;
        // The owner's item was marked when its last key was purged.
        self.database.purge_expired(self.now.plus(-LATE)).await;
        self.check().await;
    }

    /// Reports every change since the last time, as the table's stream does.
    async fn follow_stream(&mut self) {
        let items = self.database.items().await;
        let mut records = Vec::new();
        for (pk, sk) in self.seen.keys().chain(items.keys()).collect::<BTreeSet<_>>() {
            let key = (pk.clone(), sk.clone());
            let (old, new) = (self.seen.get(&key), items.get(&key));
            let name = match (old, new) {
                (Some(_), None) => "REMOVE",
                (None, Some(_)) => "INSERT",
                _ if old == new => continue,
                _ => "MODIFY",
            };
            let keys = json!({ "pk": { "S": pk }, "sk": { "S": sk } });
            records.push(json!({
                "eventName": name,
                "dynamodb": {
                    "ApproximateCreationDateTime": self.now.0, "Keys": keys, "OldImage": old, "NewImage": new,
                },
            }));
        }
        self.run(Task::read(&json!({ "Records": records })).unwrap()).await;
        self.seen = self.database.items().await;
    }

    async fn check(&self) {
        let items = self.database.items().await;
        let mut listed = Vec::new();
        for owner in OWNERS {
            listed.extend(self.store.list(owner).await.unwrap().into_iter().map(|key| key.id));
        }
        for Key { id, end, .. } in &self.keys {
            if end.is_none_or(|end| self.now < end.plus(KEPT)) {
                assert!(items.contains_key(&(format!("K#{id}"), "A".into())), "{id} was deleted early");
                assert!(listed.contains(id), "{id} isn't listed");
            }
            if end.is_some_and(|end| self.now >= end.plus(KEPT + LATE)) {
                for ((pk, sk), item) in items.iter().filter(|((_, sk), _)| !sk.starts_with("E#")) {
                    let mut item = item.clone();
                    // Another key may have replaced it, or been replaced by it.
                    for name in ["rotated_from", "rotated_to"] {
                        item.as_object_mut().unwrap().remove(name);
                    }
                    assert!(!format!("{pk} {item}").contains(id.as_str()), "{id} ended at {end:?}: {pk} {sk} {item}");
                }
            }
        }
    }
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a seed that a person can give")]
async fn nothing_of_a_key_is_left_90_days_after_its_end() {
    let seeds = match std::env::var("VEGA_MODEL_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..5).collect(),
    };
    for seed in seeds {
        eprintln!("VEGA_MODEL_SEED={seed}");
        let (mut model, mut rng) = (Model::start().await, Rng::with_seed(seed));
        for _ in 0..50 {
            model.step(&mut rng).await;
        }
        for at in 0..model.keys.len() {
            if model.keys[at].end.is_none() {
                model.revoke(at, false).await;
            }
        }
        model.follow_stream().await;
        // The longest life, and then the time that its remains are kept.
        for _ in 0..8 {
            model.wait(31).await;
        }
        let left: Vec<_> = model.database.items().await.into_keys().filter(|(_, sk)| !sk.starts_with("E#")).collect();
        assert!(left.iter().all(|(pk, _)| pk == "P#expiry"), "{left:?}");
    }
}
