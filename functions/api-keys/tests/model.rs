//! Random sequences of operations on keys, changes of their owners' groups, passing time and database faults: the real functions
//! on a real `DynamoDB` API are compared with a simple model.
//!
//! It runs for about 20 seconds with a new seed each time. A failure prints the seed and the shortest failing sequence;
//! `VEGA_MODEL_SEED=<seed> cargo test -p api-keys --test model` repeats it.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use api_keys::ApiKeys;
use authorizer::{Authorizer, HttpApiResponse, Policies};
use owners::{Clock, OwnerStatus, Owners, Page, Pool, PoolFault, Task};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use serde_json::{Value, json};
use vega_auth::{AccessRules, Authenticator, CachedKeys, Group, Groups, HmacSecret, Timestamp, TokenVerifier};
use vega_http::Handler as _;
use vega_key_table::KeyReader;
use vega_testing::{InjectedFault, NoIssuer, TestDatabase};

const START: Timestamp = Timestamp(1_800_000_000);
const DAY: i64 = 24 * 60 * 60;
/// People per sequence. Each sequence has new ones.
const PEOPLE: usize = 2;
/// Stands for the owner of a step's key.
const OWNER: usize = 99;
const LIMIT: usize = 3;
const HERE: &str = "192.0.2.1";
const ELSEWHERE: &str = "198.51.100.1";
const RULES: &str = r#"{
    "rules": [
        { "route": "* /v1/projects", "groups": ["user"] },
        { "route": "* /v1/admin/*", "groups": ["operator"] },
        { "route": "GET /v1/api-keys/self", "groups": "any", "scopes": false }
    ],
    "scopes": { "deploy": ["POST /v1/projects"] }
}"#;
/// Duration of the test.
const BUDGET: Duration = Duration::from_secs(20);

// --- the operations --------------------------------------------------------------------------------------------------

#[derive(Clone, Debug)]
enum Step {
    Wait(i64),
    Create {
        person: usize,
        groups: Option<Groups>,
        lives: Option<i64>,
        scopes: Vec<&'static str>,
        cidrs: Vec<&'static str>,
    },
    Change {
        key: usize,
        by: usize,
        patch: Patch,
        if_match: IfMatch,
    },
    Rotate {
        key: usize,
        by: usize,
        overlap: i64,
        if_match: IfMatch,
    },
    Revoke {
        key: usize,
        by: usize,
        if_match: IfMatch,
    },
    RevokeItself {
        key: usize,
    },
    Use {
        key: usize,
    },
    /// The pool moves them to these groups. Their present token still has the old ones.
    Join {
        person: usize,
        groups: Groups,
    },
    SignIn {
        person: usize,
    },
    /// A run of the owner sync.
    Reconcile {
        person: usize,
        is: Is,
    },
}

#[derive(Clone, Copy, Debug)]
enum Is {
    Member,
    Disabled,
    Gone,
}

#[derive(Clone, Debug)]
enum Patch {
    Name(&'static str),
    Status(Status),
    Groups(Groups),
    Scopes(Vec<&'static str>),
    Cidrs(Vec<&'static str>),
}

#[derive(Clone, Copy, Debug)]
enum IfMatch {
    Absent,
    Current,
    Stale,
}

/// The number of database requests that succeed, then a fault, and the number of requests that meet it.
type FaultPlan = Option<(usize, InjectedFault, usize)>;

/// A step, in which weather, and whether it is sent once more with the same `Idempotency-Key`, if it makes a key.
type Turn = (Step, FaultPlan, bool);

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let key = 0..8_usize;
    // Mostly the owner, sometimes anybody.
    let by = prop_oneof![4 => Just(OWNER), 1 => 0..PEOPLE];
    let groups = || prop::sample::subsequence(vec!["operator", "user"], 0..=2).prop_map(Groups::named);
    let scopes = || prop::sample::subsequence(vec!["deploy", "read"], 0..=2);
    let cidrs = || prop::sample::select(vec![vec![], vec!["192.0.2.0/24"], vec!["198.51.100.0/24", "2001:db8::/32"]]);
    let if_match = || prop_oneof![6 => Just(IfMatch::Absent), 2 => Just(IfMatch::Current), 1 => Just(IfMatch::Stale)];
    let patch = prop_oneof![
        1 => Just(Patch::Name("renamed")),
        3 => prop::sample::select(vec![Status::Active, Status::Disabled]).prop_map(Patch::Status),
        2 => groups().prop_map(Patch::Groups),
        1 => scopes().prop_map(Patch::Scopes),
        1 => cidrs().prop_map(Patch::Cidrs),
    ];
    let overlaps = vec![0, 1, 60, DAY, 7 * DAY, 7 * DAY + 1, -1];
    let step = prop_oneof![
        3 => prop::sample::select(vec![1, 59, 60, DAY - 1, DAY, 7 * DAY]).prop_map(Step::Wait),
        5 => (0..PEOPLE, prop::option::of(groups()), prop::option::of(1..3_i64), scopes(), cidrs())
            .prop_map(|(person, groups, lives, scopes, cidrs)| Step::Create { person, groups, lives, scopes, cidrs }),
        5 => (key.clone(), by.clone(), patch, if_match())
            .prop_map(|(key, by, patch, if_match)| Step::Change { key, by, patch, if_match }),
        4 => (key.clone(), by.clone(), prop::sample::select(overlaps), if_match())
            .prop_map(|(key, by, overlap, if_match)| Step::Rotate { key, by, overlap, if_match }),
        2 => (key.clone(), by, if_match()).prop_map(|(key, by, if_match)| Step::Revoke { key, by, if_match }),
        1 => key.clone().prop_map(|key| Step::RevokeItself { key }),
        2 => key.prop_map(|key| Step::Use { key }),
        2 => (0..PEOPLE, groups()).prop_map(|(person, groups)| Step::Join { person, groups }),
        3 => (0..PEOPLE).prop_map(|person| Step::SignIn { person }),
        2 => (0..PEOPLE, prop::sample::select(vec![Is::Member, Is::Member, Is::Member, Is::Disabled, Is::Gone]))
            .prop_map(|(person, is)| Step::Reconcile { person, is }),
    ];
    let kinds = vec![
        InjectedFault::DropConnection,
        InjectedFault::Throttle,
        InjectedFault::Fail,
        InjectedFault::Garbage,
        InjectedFault::Truncate,
    ];
    // from the first request to the database on, or from a later one, once or for good
    let trouble = (0..4_usize, prop::sample::select(kinds), prop::sample::select(vec![1, 99]));
    let trouble = prop_oneof![4 => Just(None), 1 => trouble.prop_map(Some)];
    prop::collection::vec((step, trouble, any::<bool>()), 1..40)
}

// --- what should come of it -------------------------------------------------------------------------------------------

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Active,
    Disabled,
    Revoked,
}

#[derive(Clone, Debug)]
struct Key {
    person: usize,
    /// Empty, until it is known.
    id: String,
    /// As it was shown, once; nobody saw the key of an answer that was lost.
    secret: Option<String>,
    status: Status,
    expires_at: Option<Timestamp>,
    groups: Groups,
    scopes: Vec<&'static str>,
    cidrs: Vec<&'static str>,
    has_successor: bool,
}

#[derive(Clone, Debug)]
struct Model {
    now: Timestamp,
    people: [String; PEOPLE],
    /// As the pool has them.
    groups: [Groups; PEOPLE],
    /// The groups that their tokens say, and when these were issued.
    tokens: [(Groups, Timestamp); PEOPLE],
    /// Up to when tokens were issued that give a key nothing more.
    barred: [Option<Timestamp>; PEOPLE],
    keys: Vec<Key>,
}

impl Key {
    fn is_live(&self, now: Timestamp) -> bool {
        self.status != Status::Revoked && self.expires_at.is_none_or(|end| now < end)
    }

    fn state(&self, now: Timestamp) -> &'static str {
        match self.status {
            Status::Revoked => "revoked",
            _ if !self.is_live(now) => "expired",
            Status::Disabled => "disabled",
            Status::Active => "active",
        }
    }

    /// As the list shows it.
    fn shown(&self, now: Timestamp) -> String {
        let end = self.expires_at.map_or("null".to_owned(), |end| format!("\"{end}\""));
        format!(
            "{} {} {} [{}] {:?} {:?} {end}",
            self.person,
            self.id,
            self.state(now),
            self.groups,
            self.scopes,
            self.cidrs
        )
    }

    fn is_good_from(&self, address: &str, now: Timestamp) -> bool {
        let is_inside = self.cidrs.is_empty() || self.cidrs.iter().any(|cidr| cidr[..3] == address[..3]);
        self.state(now) == "active" && is_inside
    }
}

impl Key {
    fn can_do_more_than(&self, before: &Self) -> bool {
        let is_wider = |after: &[&str], before: &[&str]| {
            !before.is_empty() && (after.is_empty() || after.iter().any(|one| !before.contains(one)))
        };
        (self.status == Status::Active && before.status == Status::Disabled)
            || !self.groups.is_subset(&before.groups)
            || is_wider(&self.scopes, &before.scopes)
            || is_wider(&self.cidrs, &before.cidrs)
    }
}

impl Model {
    fn new(number: usize) -> Self {
        let groups = [Groups::named(["operator", "user"]), Groups::named(["user"])];
        Self {
            now: START,
            people: ["ada", "bob"].map(|name| format!("{name}-{number}")),
            groups: groups.clone(),
            tokens: groups.map(|groups| (groups, START)),
            barred: [None; PEOPLE],
            keys: Vec::new(),
        }
    }

    fn live(&self, person: usize) -> usize {
        self.keys.iter().filter(|key| key.person == person && key.is_live(self.now)).count()
    }

    fn is_barred(&self, person: usize) -> bool {
        self.barred[person].is_some_and(|until| self.tokens[person].1 <= until)
    }

    fn has_room(&self, person: usize) -> bool {
        self.live(person) < LIMIT
    }

    /// The status that the step is answered with, and the world after it. One that is refused changes nothing.
    fn expect(&self, step: &Step) -> (u16, Self) {
        let mut after = self.clone();
        let refused = |status| (status, self.clone());
        match step {
            Step::Create { person, groups, lives, scopes, cidrs } => {
                let (theirs, _) = &self.tokens[*person];
                let groups = groups.as_ref().unwrap_or(theirs).clone();
                if !groups.is_subset(theirs) {
                    return refused(422);
                }
                if self.is_barred(*person) {
                    return refused(403);
                }
                if !self.has_room(*person) {
                    return refused(409);
                }
                after.keys.push(Key {
                    person: *person,
                    id: String::new(),
                    secret: None,
                    status: Status::Active,
                    expires_at: lives.map(|days| self.now.plus(days * DAY)),
                    groups,
                    scopes: scopes.clone(),
                    cidrs: cidrs.clone(),
                    has_successor: false,
                });
                (201, after)
            }
            Step::Change { key, by, patch, if_match } => {
                let changed = &mut after.keys[*key];
                if matches!(patch, Patch::Groups(groups) if !groups.is_subset(&self.tokens[*by].0)) {
                    return refused(422);
                }
                if changed.person != *by {
                    return refused(404);
                }
                if matches!(if_match, IfMatch::Stale) {
                    return refused(412);
                }
                if !changed.is_live(self.now) {
                    return refused(409);
                }
                match patch {
                    Patch::Name(_) => {}
                    Patch::Status(status) => changed.status = *status,
                    Patch::Groups(groups) => changed.groups.clone_from(groups),
                    Patch::Scopes(scopes) => changed.scopes.clone_from(scopes),
                    Patch::Cidrs(cidrs) => changed.cidrs.clone_from(cidrs),
                }
                if changed.can_do_more_than(&self.keys[*key]) && self.is_barred(*by) {
                    return refused(403);
                }
                (200, after)
            }
            Step::Rotate { key, by, overlap, if_match } => self.expect_rotation(*key, *by, *overlap, *if_match),
            Step::Revoke { key, by, if_match } => {
                let key = &mut after.keys[*key];
                if key.person != *by {
                    return refused(404);
                }
                if key.status != Status::Revoked && matches!(if_match, IfMatch::Stale) {
                    return refused(412);
                }
                key.status = Status::Revoked;
                (204, after)
            }
            Step::RevokeItself { key } => {
                after.keys[*key].status = Status::Revoked;
                (204, after)
            }
            Step::Wait(_) | Step::Join { .. } | Step::SignIn { .. } | Step::Reconcile { .. } | Step::Use { .. } => {
                unreachable!("no request of a person")
            }
        }
    }

    fn expect_rotation(&self, key: usize, by: usize, overlap: i64, if_match: IfMatch) -> (u16, Self) {
        let mut after = self.clone();
        let refused = |status| (status, self.clone());
        let old = &mut after.keys[key];
        if !(0..=7 * DAY).contains(&overlap) {
            return refused(422);
        }
        if old.person != by {
            return refused(404);
        }
        if matches!(if_match, IfMatch::Stale) {
            return refused(412);
        }
        if old.has_successor || old.state(self.now) != "active" {
            return refused(409);
        }
        if self.is_barred(by) {
            return refused(403);
        }
        if overlap > 0 && !self.has_room(by) {
            return refused(409);
        }
        let successor =
            Key { id: String::new(), secret: None, groups: old.groups.intersection(&self.tokens[by].0), ..old.clone() };
        let deadline = self.now.plus(overlap);
        old.expires_at = Some(old.expires_at.map_or(deadline, |end| end.min(deadline)));
        old.has_successor = true;
        after.keys.push(successor);
        (201, after)
    }

    /// What becomes of the keys of somebody of whom the pool says this.
    fn reconcile(&mut self, person: usize, is: Is) {
        let (now, groups) = (self.now, self.groups[person].clone());
        self.barred[person] = Some(now);
        for key in self.keys.iter_mut().filter(|key| key.person == person && key.is_live(now)) {
            match is {
                Is::Member => key.groups = key.groups.intersection(&groups),
                Is::Disabled => key.status = Status::Disabled,
                Is::Gone => key.status = Status::Revoked,
            }
        }
    }

    /// Gives the key that nobody has the id of yet this one.
    fn name_new_key(&mut self, id: &str, secret: Option<&str>) {
        if let Some(key) = self.keys.iter_mut().find(|key| key.id.is_empty()) {
            id.clone_into(&mut key.id);
            key.secret = secret.map(str::to_owned);
        }
    }

    fn shown(&self) -> Vec<String> {
        let mut shown: Vec<String> = self.keys.iter().map(|key| key.shown(self.now)).collect();
        shown.sort();
        shown
    }
}

// --- the real thing ---------------------------------------------------------------------------------------------------

/// A user pool that says the same of everybody, and has every group.
#[derive(Clone)]
struct SamePool(Arc<Mutex<OwnerStatus>>);

impl Pool for SamePool {
    async fn find(&self, _: &str, _: &str) -> Result<OwnerStatus, PoolFault> {
        Ok(self.0.lock().unwrap().clone())
    }

    async fn page(&self, _: Option<&Group>, _: Option<&str>) -> Result<Page, PoolFault> {
        Ok(Page::default())
    }
}

/// A clock that stands still.
struct Still(Timestamp);

impl Clock for Still {
    fn now(&self) -> Timestamp {
        self.0
    }

    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }

    async fn wait_until(&self, _: Duration) {}
}

struct World {
    database: TestDatabase,
    /// What people call, by way of whatever trouble there is.
    api: ApiKeys,
    gate: Authorizer<NoIssuer, CachedKeys<KeyReader>>,
    owners: Owners<SamePool>,
    pool: SamePool,
    /// The same without trouble: to see what is.
    calm_api: ApiKeys,
    calm_gate: Authorizer<NoIssuer, CachedKeys<KeyReader>>,
    calm_owners: Owners<SamePool>,
    log: Vec<String>,
    secrets: Vec<String>,
    /// The last second that each key was ever to live.
    ends: HashMap<String, Option<Timestamp>>,
    /// The keys that were tried since they ended.
    ended: HashSet<String>,
}

/// Different each time, and the same in each run.
#[expect(clippy::unnecessary_wraps, reason = "the operating system's can fail")]
fn entropy(bytes: &mut [u8]) -> Result<(), getrandom::Error> {
    static DRAWN: AtomicU64 = AtomicU64::new(1);
    for byte in bytes {
        // splitmix64
        let mut bits = DRAWN.fetch_add(1, Ordering::SeqCst).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        *byte = (bits >> 40).to_le_bytes()[0];
    }
    Ok(())
}

fn rules() -> AccessRules {
    RULES.parse().unwrap()
}

impl World {
    async fn new() -> Self {
        let database = TestDatabase::start().await;
        let api = |store| ApiKeys { store, limit: u32::try_from(LIMIT).unwrap(), rules: rules(), entropy };
        let gate = |keys| {
            let tokens = TokenVerifier::Custom(HmacSecret::new_from_text("0123456789abcdef0123456789abcdef").unwrap());
            // as it is deployed: nothing is remembered
            let authenticator = Authenticator { tokens, keys: CachedKeys::new(keys, 0) };
            Authorizer {
                authenticator,
                policies: Policies::new(rules()),
                http_api_response: HttpApiResponse::Policy,
                gateway_caches: false,
            }
        };
        let pool = SamePool(Arc::new(Mutex::new(OwnerStatus::Gone)));
        let owners = |store| Owners { store, pool: pool.clone(), groups: Groups::named(["operator", "user"]) };
        Self {
            api: api(database.faulty_store()),
            gate: gate(database.faulty_reader()),
            owners: owners(database.faulty_store()),
            calm_owners: owners(database.store()),
            pool: pool.clone(),
            calm_api: api(database.store()),
            calm_gate: gate(database.reader()),
            database,
            log: Vec::new(),
            secrets: Vec::new(),
            ends: HashMap::new(),
            ended: HashSet::new(),
        }
    }
}

/// A request as API Gateway hands it on, of a person, or of a key of theirs.
fn request(
    person: &str,
    (groups, issued_at): (Groups, Timestamp),
    key: Option<&str>,
    call: &Call,
) -> lambda_http::Request {
    let mut authorizer = json!({ "id": person, "username": person, "authenticated_by": "jwt", "issued_at": issued_at });
    if !groups.is_empty() {
        authorizer["groups"] = json!(groups.to_string());
    }
    if let Some(id) = key {
        authorizer["authenticated_by"] = json!("api_key");
        authorizer["key_id"] = json!(id);
    }
    let mut headers = json!({ "content-type": "application/json" });
    if let Some(etag) = &call.if_match {
        headers["if-match"] = json!(etag);
    }
    if let Some(key) = &call.repetition {
        headers["idempotency-key"] = json!(key);
    }
    let query = if call.method == "GET" { json!({ "limit": ["100"] }) } else { Value::Null };
    let event = json!({
        "httpMethod": call.method, "path": call.resource, "resource": call.resource, "headers": headers,
        "multiValueHeaders": {}, "multiValueQueryStringParameters": query,
        "pathParameters": { "id": call.id }, "body": call.body.as_ref().map(Value::to_string), "isBase64Encoded": false,
        "requestContext": {
            "stage": "live", "requestId": "r-1", "httpMethod": call.method, "resourcePath": call.resource,
            "identity": { "sourceIp": HERE }, "authorizer": authorizer
        }
    });
    lambda_http::request::from_str(&event.to_string()).unwrap()
}

#[derive(Default)]
struct Call {
    method: &'static str,
    resource: &'static str,
    id: String,
    body: Option<Value>,
    if_match: Option<String>,
    /// The `Idempotency-Key`.
    repetition: Option<String>,
}

async fn answer(api: &ApiKeys, request: &lambda_http::Request, now: Timestamp) -> (u16, Value) {
    match api.handle(request, now).await {
        Ok(response) => (response.status().as_u16(), serde_json::from_slice(response.body()).unwrap_or(Value::Null)),
        Err(problem) => (
            problem.code.status().as_u16(),
            json!({ "error": problem.code, "detail": problem.detail, "cause": problem.cause }),
        ),
    }
}

impl World {
    /// Every key as its owner sees it.
    async fn views(&self, model: &Model) -> Vec<(usize, Value)> {
        let mut views = Vec::new();
        for (person, name) in model.people.iter().enumerate() {
            let list = Call { method: "GET", resource: "/v1/api-keys", ..Call::default() };
            let (status, body) =
                answer(&self.calm_api, &request(name, (Groups::NONE, START), None, &list), model.now).await;
            assert_eq!(status, 200, "{body}");
            views.extend(body["items"].as_array().unwrap().iter().map(|view| (person, view.clone())));
        }
        views
    }

    async fn send(&self, api: &ApiKeys, model: &Model, step: &Step, repetition: Option<&str>) -> (u16, Value) {
        let etag = |key: usize, if_match: IfMatch| {
            let id = model.keys[key].id.clone();
            async move {
                match if_match {
                    IfMatch::Absent => None,
                    IfMatch::Stale => Some("\"999\"".to_owned()),
                    IfMatch::Current => {
                        let id = id.parse().unwrap();
                        let record = self.calm_api.store.find(id).await.unwrap().unwrap();
                        Some(format!("\"{}\"", record.version))
                    }
                }
            }
        };
        let (person, as_key, mut call) = match step {
            Step::Create { person, groups, lives, scopes, cidrs } => {
                let mut body = json!({ "name": "ci", "scopes": scopes, "cidrs": cidrs });
                if let Some(groups) = groups {
                    body["groups"] = json!(groups);
                }
                match lives {
                    Some(days) => body["expires_in_days"] = json!(days),
                    None => body["expires_at"] = Value::Null,
                }
                (*person, None, Call { method: "POST", resource: "/v1/api-keys", body: Some(body), ..Call::default() })
            }
            Step::Change { key, by, patch, if_match } => {
                let body = match patch {
                    Patch::Name(name) => json!({ "name": name }),
                    Patch::Status(status) => json!({ "status": format!("{status:?}").to_lowercase() }),
                    Patch::Groups(groups) => json!({ "groups": groups }),
                    Patch::Scopes(scopes) => json!({ "scopes": scopes }),
                    Patch::Cidrs(cidrs) => json!({ "cidrs": cidrs }),
                };
                let call = Call {
                    method: "PATCH",
                    resource: "/v1/api-keys/{id}",
                    id: model.keys[*key].id.clone(),
                    body: Some(body),
                    if_match: etag(*key, *if_match).await,
                    ..Call::default()
                };
                (*by, None, call)
            }
            Step::Rotate { key, by, overlap, if_match } => {
                let call = Call {
                    method: "POST",
                    resource: "/v1/api-keys/{id}/rotate",
                    id: model.keys[*key].id.clone(),
                    body: Some(json!({ "overlap_seconds": overlap })),
                    if_match: etag(*key, *if_match).await,
                    ..Call::default()
                };
                (*by, None, call)
            }
            Step::Revoke { key, by, if_match } => {
                let call = Call {
                    method: "DELETE",
                    resource: "/v1/api-keys/{id}",
                    id: model.keys[*key].id.clone(),
                    body: None,
                    if_match: etag(*key, *if_match).await,
                    ..Call::default()
                };
                (*by, None, call)
            }
            Step::RevokeItself { key } => {
                let call = Call { method: "DELETE", resource: "/v1/api-keys/self", ..Call::default() };
                (model.keys[*key].person, Some(model.keys[*key].id.as_str()), call)
            }
            Step::Wait(_) | Step::Join { .. } | Step::SignIn { .. } | Step::Reconcile { .. } | Step::Use { .. } => {
                unreachable!("no request of a person")
            }
        };
        call.repetition = repetition.map(str::to_owned);
        answer(api, &request(&model.people[person], model.tokens[person].clone(), as_key, &call), model.now).await
    }

    /// Uses a key: whether it gets through, or why not.
    async fn use_key(&mut self, is_calm: bool, secret: &str, address: &str, now: Timestamp) -> Result<Value, String> {
        let gate = if is_calm { &self.calm_gate } else { &self.gate };
        let authorization = format!("Bearer {secret}");
        let event = json!({
            "type": "REQUEST", "methodArn": "arn:aws:execute-api:us-west-1:123456789012:abcdef1234/live/GET/v1/projects",
            "headers": { "Authorization": authorization },
            "requestContext": { "requestId": "r-2", "identity": { "sourceIp": address, "userAgent": "ci" } }
        });
        let (decision, line) = gate.decide(event, now).await;
        self.log.push(line.to_string());
        decision.map(|answer| serde_json::to_value(answer).unwrap()).map_err(|refusal| refusal.to_string())
    }

    async fn play_all(&mut self, model: &mut Model, turns: &[Turn]) -> Result<(), TestCaseError> {
        for turn in turns {
            self.play(model, turn).await?;
        }
        self.ended.clear();
        self.check(model).await
    }

    async fn play(&mut self, model: &mut Model, (step, trouble, is_repeated): &Turn) -> Result<(), TestCaseError> {
        let Some(step) = resolve(model, step) else { return Ok(()) };
        let trouble = *trouble;
        match &step {
            Step::Wait(seconds) => model.now = model.now.plus(*seconds),
            Step::Join { person, groups } => model.groups[*person] = groups.clone(),
            Step::SignIn { person } => model.tokens[*person] = (model.groups[*person].clone(), model.now),
            Step::Reconcile { person, is } => {
                *self.pool.0.lock().unwrap() = match is {
                    Is::Member => OwnerStatus::Member(model.groups[*person].clone()),
                    Is::Disabled => OwnerStatus::Disabled,
                    Is::Gone => OwnerStatus::Gone,
                };
                let task = Task::SyncOwner(model.people[*person].clone());
                self.make(trouble);
                let report = self.owners.run(&task, "r-3", &Still(model.now), Duration::MAX).await;
                self.make(None);
                prop_assert!(!report.is_fault() || trouble.is_some(), "a fault without trouble: {:?}", report);
                if report.is_fault() {
                    // It may have reached some of the keys; the next run reaches the others.
                    let report = self.calm_owners.run(&task, "r-3", &Still(model.now), Duration::MAX).await;
                    prop_assert!(!report.is_fault(), "{:?}", report);
                }
                model.reconcile(*person, *is);
            }
            Step::Use { key } => {
                let key = model.keys[*key].clone();
                let Some(secret) = key.secret else { return Ok(()) };
                self.make(trouble);
                let seen = self.use_key(false, &secret, HERE, model.now).await;
                self.make(None);
                match seen {
                    Ok(_) => prop_assert!(key_is_good(model, &key.id, HERE), "{} got through", key.id),
                    Err(refusal) if refusal == "Unauthorized" => {
                        prop_assert!(!key_is_good(model, &key.id, HERE), "{} was refused", key.id);
                    }
                    Err(_) => prop_assert!(trouble.is_some(), "a fault without trouble"),
                }
            }
            step => {
                let (expected, after) = model.expect(step);
                let makes_a_key = matches!(step, Step::Create { .. } | Step::Rotate { .. });
                let repetition = (makes_a_key && *is_repeated).then(|| format!("repetition-{:08}", self.secrets.len()));
                self.make(trouble);
                let (mut status, mut body) = self.send(&self.api, model, step, repetition.as_deref()).await;
                self.make(None);
                if status != 201 {
                    self.log.push(body.to_string());
                }
                prop_assert!(status != 503 || trouble.is_some(), "a fault without trouble: {}", body);
                if repetition.is_some() && [201, 503].contains(&status) {
                    // Whether the first was made or not, there is one key, and its owner has it.
                    let first = body["key"].take();
                    (status, body) = self.send(&self.calm_api, model, step, repetition.as_deref()).await;
                    prop_assert!(first.is_null() || first == body["key"], "another key");
                }
                if let Some(secret) = body["key"].as_str() {
                    self.secrets.push(secret.to_owned());
                }
                if status == 503 {
                    self.find_out(model, after).await?;
                } else {
                    prop_assert_eq!(status, expected, "{}", body);
                    *model = after;
                    if let Some(id) = body["id"].as_str() {
                        model.name_new_key(id, body["key"].as_str());
                    }
                }
            }
        }
        self.check(model).await
    }

    fn make(&self, trouble: FaultPlan) {
        match trouble {
            Some((good, kind, times)) => self.database.inject_after(good, kind, times),
            None => self.database.clear_faults(),
        }
    }

    /// Where the answer was lost, the change was made, or it was not: all of it, or nothing.
    async fn find_out(&self, model: &mut Model, mut after: Model) -> Result<(), TestCaseError> {
        let views = self.views(model).await;
        let known: Vec<&str> = model.keys.iter().map(|key| key.id.as_str()).collect();
        if let Some(id) = views.iter().filter_map(|(_, view)| view["id"].as_str()).find(|id| !known.contains(id)) {
            after.name_new_key(id, None);
        }
        let seen = shown(&views);
        if seen == after.shown() {
            *model = after;
        }
        prop_assert_eq!(seen, model.shown(), "half of a change");
        Ok(())
    }

    /// All that must hold whatever happened.
    async fn check(&mut self, model: &Model) -> Result<(), TestCaseError> {
        let views = self.views(model).await;
        prop_assert_eq!(shown(&views), model.shown());
        for person in 0..PEOPLE {
            let live = views
                .iter()
                .filter(|(of, view)| *of == person && (view["status"] == "active" || view["status"] == "disabled"));
            prop_assert!(live.count() <= LIMIT, "more live keys than allowed");
        }
        let ends = self.ends.clone();
        for (_, view) in &views {
            let end = view["expires_at"].as_str().map(|text| text.parse::<Timestamp>().unwrap());
            let of = |id: &Value| id.as_str().and_then(|id| ends.get(id)).copied();
            // its own end as it was, or that of the key whose place it takes
            if let Some(before) = of(&view["id"]).or_else(|| of(&view["rotated_from"])) {
                let is_no_longer = before.is_none_or(|before| end.is_some_and(|end| end <= before));
                prop_assert!(is_no_longer, "a life was lengthened: {}", view);
            }
            self.ends.insert(view["id"].as_str().unwrap().to_owned(), end);
        }
        for key in model.keys.clone() {
            let Some(secret) = &key.secret else { continue };
            // one that ended is tried as it ends, whenever a step uses it, and once everything is over
            if !key.is_live(model.now) && !self.ended.insert(key.id.clone()) {
                continue;
            }
            let addresses = if key.cidrs.is_empty() { &[HERE][..] } else { &[HERE, ELSEWHERE] };
            for address in addresses {
                match self.use_key(true, secret, address, model.now).await {
                    Ok(answer) => {
                        prop_assert!(key.is_good_from(address, model.now), "{} got through", key.id);
                        let groups = answer["context"].get("groups").and_then(Value::as_str).unwrap_or_default();
                        prop_assert_eq!(groups, key.groups.to_string());
                        let statement = answer["policyDocument"]["Statement"][0].to_string();
                        let may_read = key.scopes.is_empty() || key.scopes.contains(&"read");
                        let is_allowed = statement.contains("Allow") && statement.contains("/GET/v1/projects");
                        prop_assert_eq!(is_allowed, may_read && groups.contains("user"), "{}", statement);
                    }
                    Err(refusal) => {
                        prop_assert_eq!(refusal, "Unauthorized");
                        prop_assert!(!key.is_good_from(address, model.now), "{} was refused", key.id);
                    }
                }
            }
        }
        Ok(())
    }

    /// No secret was written down anywhere.
    async fn look_for_secrets(&self) {
        let written = self.database.dump().await + &self.log.concat();
        for secret in &self.secrets {
            assert!(!written.contains(&secret[16..59]), "a secret was written down");
        }
    }
}

fn key_is_good(model: &Model, id: &str, address: &str) -> bool {
    model.keys.iter().any(|key| key.id == id && key.is_good_from(address, model.now))
}

/// The step with a key that there is, and with the person who has it; none, where it can't be.
fn resolve(model: &Model, step: &Step) -> Option<Step> {
    let count = model.keys.len();
    let mut step = step.clone();
    match &mut step {
        Step::Change { key, by, .. } | Step::Rotate { key, by, .. } | Step::Revoke { key, by, .. } => {
            *key = key.checked_rem(count)?;
            if *by == OWNER {
                *by = model.keys[*key].person;
            }
        }
        Step::Use { key } => *key = key.checked_rem(count)?,
        Step::RevokeItself { key } => {
            *key = key.checked_rem(count)?;
            // another doesn't get as far
            model.keys[*key].is_good_from(HERE, model.now).then_some(())?;
        }
        Step::Wait(_) | Step::Create { .. } | Step::Join { .. } | Step::SignIn { .. } | Step::Reconcile { .. } => {}
    }
    Some(step)
}

fn shown(views: &[(usize, Value)]) -> Vec<String> {
    let texts = |list: &Value| -> Vec<String> { serde_json::from_value(list.clone()).unwrap() };
    let mut shown: Vec<String> = views
        .iter()
        .map(|(person, view)| {
            let [id, status] = ["id", "status"].map(|name| view[name].as_str().unwrap());
            let groups = texts(&view["groups"]).join(" ");
            let (scopes, cidrs) = (texts(&view["scopes"]), texts(&view["cidrs"]));
            format!("{} {id} {status} [{groups}] {scopes:?} {cidrs:?} {}", person, view["expires_at"])
        })
        .collect();
    shown.sort();
    shown
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a budget, and a seed that a person can give")]
fn whatever_happens_in_whatever_order_the_rules_of_keys_hold() {
    let mut drawn = [0; 8];
    getrandom::fill(&mut drawn).unwrap();
    let seed = std::env::var("VEGA_MODEL_SEED").map_or(u64::from_le_bytes(drawn), |text| text.parse().unwrap());
    println!("VEGA_MODEL_SEED={seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { cases: 400, failure_persistence: None, max_shrink_time: 30_000, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let world = RefCell::new(runtime.block_on(World::new()));
    let started = Instant::now();
    let (cases, has_failed) = (Cell::new(0), Cell::new(false));
    let outcome = runner.run(&turns(), |turns| {
        if started.elapsed() > BUDGET && !has_failed.get() {
            return Ok(());
        }
        let mut model = Model::new(cases.replace(cases.get() + 1));
        let outcome = runtime.block_on(world.borrow_mut().play_all(&mut model, &turns));
        has_failed.set(has_failed.get() || outcome.is_err());
        outcome
    });
    if let Err(TestError::Fail(reason, turns)) = outcome {
        let way: Vec<String> = turns.iter().map(|turn| format!("    {turn:?}")).collect();
        panic!("{reason}\nVEGA_MODEL_SEED={seed}, and the shortest way to it that was found:\n{}", way.join("\n"));
    }
    println!("{} ways of things", cases.get());
    runtime.block_on(world.into_inner().look_for_secrets());
}
