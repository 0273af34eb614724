//! A user pool with Cognito's quotas, and a clock that moves only when somebody waits.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use owners::{Clock, OwnerStatus, Page, Pool, PoolFault};
use vega_auth::{Group, Groups, Timestamp};

/// Users per page, at most.
const PAGE: usize = 60;
/// The time that a call takes.
pub const LATENCY: Duration = Duration::from_millis(80);

/// The categories of Cognito's request rate quotas, with the calls per second that an account has by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::enum_variant_names, reason = "the names are Cognito's")]
pub enum Category {
    UserList = 30,
    UserRead = 120,
    UserResourceRead = 50,
}

/// The time of a test: everybody's clock.
#[derive(Clone, Default)]
pub struct Time(Arc<Mutex<(Duration, i64)>>);

impl Time {
    pub fn now(&self) -> Duration {
        self.0.lock().unwrap().0
    }

    /// Others go on meanwhile.
    pub async fn pass_until(&self, at: Duration) {
        tokio::task::yield_now().await;
        let mut time = self.0.lock().unwrap();
        time.0 = time.0.max(at);
    }

    /// The date jumps by this many seconds; elapsed time goes on as before.
    pub fn jump(&self, seconds: i64) {
        self.0.lock().unwrap().1 += seconds;
    }
}

/// The clock of a run that begins now.
pub struct TestClock {
    time: Time,
    start: Timestamp,
    began: Duration,
}

impl TestClock {
    /// `start` is the date at its beginning.
    pub fn new(time: &Time, start: Timestamp) -> Self {
        Self { time: time.clone(), start, began: time.now() }
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let (elapsed, jumped) = *self.time.0.lock().unwrap();
        self.start.plus(i64::try_from(elapsed.saturating_sub(self.began).as_secs()).unwrap() + jumped)
    }

    fn elapsed(&self) -> Duration {
        self.time.now().saturating_sub(self.began)
    }

    async fn wait_until(&self, elapsed: Duration) {
        if elapsed > self.elapsed() {
            self.time.pass_until(self.began + elapsed).await;
        }
    }
}

/// The groups that the access rules can name.
pub fn groups() -> Groups {
    Groups::named(["root", "operator", "user"])
}

/// A change of a page before it is delivered: the group, the listing calls so far, the page.
pub type Alteration = fn(Option<&str>, usize, Page) -> Result<Page, PoolFault>;

/// The pool.
pub struct TestPool {
    pub time: Time,
    state: Mutex<State>,
}

struct State {
    people: BTreeMap<String, bool>,
    members: BTreeMap<Group, BTreeSet<String>>,
    /// People about whom a look fails.
    unavailable: BTreeSet<String>,
    /// People whom the listings show differently from a look at them.
    listed: BTreeMap<String, OwnerStatus>,
    calls: HashMap<Category, Vec<Duration>>,
    recent: HashMap<Category, VecDeque<Duration>>,
    refused: usize,
    latency: Duration,
    alteration: Alteration,
}

impl TestPool {
    /// Everybody's username is their `sub` with a domain.
    pub fn new() -> Self {
        let state = State {
            people: BTreeMap::new(),
            members: groups().iter().map(|group| (group.clone(), BTreeSet::new())).collect(),
            unavailable: BTreeSet::new(),
            listed: BTreeMap::new(),
            calls: HashMap::new(),
            recent: HashMap::new(),
            refused: 0,
            latency: LATENCY,
            alteration: |_, _, page| Ok(page),
        };
        Self { time: Time::default(), state: Mutex::new(state) }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Sets the status of a person.
    pub fn set(&self, owner: &str, status: OwnerStatus) {
        self.state().set(owner, status);
    }

    pub fn member(&self, owner: &str, groups: &[&str]) {
        self.set(owner, OwnerStatus::Member(Groups::named(groups.iter().copied())));
    }

    /// The listings show this status, which isn't theirs (any more).
    pub fn list_as(&self, owner: &str, status: OwnerStatus) {
        self.state().listed.insert(owner.into(), status);
    }

    /// From now on, looks at this person fail.
    pub fn fail_for(&self, owner: &str) {
        self.state().unavailable.insert(owner.into());
    }

    pub fn recover(&self) {
        let mut state = self.state();
        state.unavailable.clear();
        state.listed.clear();
        state.alteration = |_, _, page| Ok(page);
    }

    pub fn alter(&self, alteration: Alteration) {
        self.state().alteration = alteration;
    }

    pub fn delete_group(&self, group: &str) {
        self.state().members.remove(&group.parse::<Group>().unwrap());
    }

    pub fn create_group(&self, group: &str) {
        self.state().members.entry(group.parse().unwrap()).or_default();
    }

    /// From now on, a call takes this long.
    pub fn slow_down(&self, latency: Duration) {
        self.state().latency = latency;
    }

    /// Calls so far of this category.
    pub fn calls(&self, category: Category) -> usize {
        self.state().calls.get(&category).map_or(0, Vec::len)
    }

    /// Calls so far that exceeded a quota.
    pub fn refused(&self) -> usize {
        self.state().refused
    }

    async fn call(&self, category: Category) -> Result<(), PoolFault> {
        let now = self.time.now();
        let (is_within, latency) = {
            let mut state = self.state();
            state.calls.entry(category).or_default().push(now);
            let recent = state.recent.entry(category).or_default();
            while recent.front().is_some_and(|at| *at + Duration::from_secs(1) <= now) {
                recent.pop_front();
            }
            let is_within = recent.len() < category as usize;
            if is_within {
                recent.push_back(now);
            } else {
                state.refused += 1;
            }
            (is_within, state.latency)
        };
        self.time.pass_until(now + latency).await;
        if is_within { Ok(()) } else { Err("refused with TooManyRequestsException".into()) }
    }
}

impl State {
    fn set(&mut self, owner: &str, status: OwnerStatus) {
        for members in self.members.values_mut() {
            members.remove(owner);
        }
        match status {
            OwnerStatus::Gone => self.people.remove(owner),
            OwnerStatus::Disabled => self.people.insert(owner.into(), false),
            OwnerStatus::Member(groups) => {
                for group in groups.iter() {
                    self.members.entry(group.clone()).or_default().insert(owner.into());
                }
                self.people.insert(owner.into(), true)
            }
        };
    }

    fn status(&self, owner: &str) -> OwnerStatus {
        match self.people.get(owner) {
            None => OwnerStatus::Gone,
            Some(false) => OwnerStatus::Disabled,
            Some(true) => OwnerStatus::Member(
                self.members
                    .iter()
                    .filter(|(_, members)| members.contains(owner))
                    .map(|(group, _)| group.clone())
                    .collect(),
            ),
        }
    }

    fn page(&self, group: Option<&Group>, after: Option<&str>) -> Result<Page, PoolFault> {
        let from = after.map_or(Unbounded, Excluded);
        let mut subjects: Vec<String> = match group {
            None => {
                self.people.range::<str, _>((from, Unbounded)).map(|(owner, _)| owner.clone()).take(PAGE + 1).collect()
            }
            Some(group) => {
                let members = self.members.get(group).ok_or("refused with ResourceNotFoundException")?;
                members.range::<str, _>((from, Unbounded)).take(PAGE + 1).cloned().collect()
            }
        };
        let more = subjects.len() > PAGE;
        subjects.truncate(PAGE);
        let next = subjects.last().filter(|_| more).cloned();
        subjects.retain(|owner| match self.listed.get(owner) {
            None => true,
            Some(OwnerStatus::Gone) => false,
            Some(OwnerStatus::Disabled) => group.is_none(),
            Some(OwnerStatus::Member(groups)) => group.is_none_or(|group| groups.contains(group)),
        });
        let is_enabled = |owner: &str| match self.listed.get(owner) {
            Some(status) => *status != OwnerStatus::Disabled,
            None => self.people[owner],
        };
        Ok(Page { users: subjects.into_iter().map(|owner| (owner.clone(), is_enabled(&owner))).collect(), next })
    }
}

/// Several runs can share a pool.
impl Pool for &TestPool {
    async fn find(&self, owner: &str, username: &str) -> Result<OwnerStatus, PoolFault> {
        Pool::find(*self, owner, username).await
    }

    async fn page(&self, group: Option<&Group>, token: Option<&str>) -> Result<Page, PoolFault> {
        Pool::page(*self, group, token).await
    }
}

impl Pool for TestPool {
    async fn find(&self, owner: &str, username: &str) -> Result<OwnerStatus, PoolFault> {
        assert_eq!(username, format!("{owner}@example.com"));
        self.call(Category::UserRead).await?;
        let (status, fails) = {
            let state = self.state();
            (state.status(owner), state.unavailable.contains(owner))
        };
        if fails {
            return Err("the pool is down".into());
        }
        match status {
            OwnerStatus::Gone => self.call(Category::UserRead).await?,
            OwnerStatus::Disabled => {}
            OwnerStatus::Member(_) => self.call(Category::UserResourceRead).await?,
        }
        Ok(status)
    }

    async fn page(&self, group: Option<&Group>, token: Option<&str>) -> Result<Page, PoolFault> {
        self.call(Category::UserList).await?;
        let state = self.state();
        let page = state.page(group, token)?;
        (state.alteration)(group.map(Group::name), state.calls[&Category::UserList].len(), page)
    }
}
