use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::user_pool::is_client_id;
use super::{Claims, Issuer, UserPool};
use crate::{Authentication, CurrentUser, Groups, Object, Rejection, Timestamp};

/// The most user pools, and the most issuers: a replicated pool has several.
const MAX_POOLS: usize = 8;
const MAX_ISSUERS: usize = 2 * MAX_POOLS;

/// Where tokens are accepted from: one issuer, and the clients that it issues them to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSource {
    issuer: Issuer,
    /// Whether this is the deployment's own pool, whose people own API keys.
    is_own: bool,
    clients: BTreeMap<String, Client>,
}

/// The kind of tokens that a client gets. It can't get both.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Client {
    /// For people who signed in.
    People,
    /// For itself, by the grant `client_credentials`, with these groups.
    Machine(Groups),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default, rename = "$schema")]
    _schema: Option<String>,
    sources: Vec<Object<Entry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    issuer: String,
    #[serde(default)]
    people: Vec<String>,
    #[serde(default)]
    machines: Vec<Object<Machine>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Machine {
    client: String,
    #[serde(default)]
    groups: Groups,
}

impl TokenSource {
    /// The sources that `document` lists, or the own pool and its one client if there is no document.
    /// Fails when the document is invalid, or the dashboard's client is missing.
    pub fn read(own: &UserPool, document: Option<&str>) -> Result<Vec<Self>, String> {
        let Some(document) = document else {
            let clients = BTreeMap::from([(own.client_id().to_owned(), Client::People)]);
            return Ok(vec![Self { issuer: own.issuer().clone(), is_own: true, clients }]);
        };
        let sources = Self::parse(own.issuer().pool_id(), document)?;
        if sources.iter().any(|source| source.is_own && source.clients.get(own.client_id()) == Some(&Client::People)) {
            Ok(sources)
        } else {
            Err("no source of the own pool has VEGA_COGNITO_APP_CLIENT_ID among its people".into())
        }
    }

    /// The sources that `document` lists for the deployment whose own pool is `own`.
    /// Fails when the document is invalid, or two of its sources could both match a token.
    pub fn parse(own: &str, document: &str) -> Result<Vec<Self>, String> {
        let Object(document): Object<Document> = serde_json::from_str(document).map_err(|error| error.to_string())?;
        let mut sources: Vec<Self> = Vec::new();
        for (index, Object(entry)) in document.sources.into_iter().enumerate() {
            let source = Self::new(own, entry)
                .and_then(|source| source.check_beside(&sources).map(|()| source))
                .map_err(|problem| format!("source {}: {problem}", index + 1))?;
            sources.push(source);
        }
        let pools: BTreeSet<&str> = sources.iter().map(|source| source.issuer.pool_id()).collect();
        if sources.len() > MAX_ISSUERS || pools.len() > MAX_POOLS {
            return Err(format!("more than {MAX_ISSUERS} issuers or {MAX_POOLS} pools"));
        }
        if !pools.contains(own) {
            return Err("no source has the pool that the file is named after".into());
        }
        Ok(sources)
    }

    /// Refuses what could match the same token as one of `others`, or a caller with the same id.
    fn check_beside(&self, others: &[Self]) -> Result<(), String> {
        for other in others {
            if other.issuer == self.issuer {
                return Err("the issuer occurs twice".into());
            }
            let shared = self.clients.keys().find(|client| other.clients.contains_key(*client));
            if let Some(client) = shared.filter(|_| other.issuer.pool_id() != self.issuer.pool_id()) {
                return Err(format!("client {client:?} belongs to another pool too"));
            }
        }
        Ok(())
    }

    fn new(own: &str, entry: Entry) -> Result<Self, String> {
        let issuer: Issuer = entry.issuer.parse().map_err(|error| format!("issuer: {error}"))?;
        let people = entry.people.into_iter().map(|client| (client, Client::People));
        let machines =
            entry.machines.into_iter().map(|Object(machine)| (machine.client, Client::Machine(machine.groups)));
        let mut clients = BTreeMap::new();
        for (client, kind) in people.chain(machines) {
            if !is_client_id(&client) {
                return Err(format!("client {client:?}: expected letters and digits"));
            }
            if clients.insert(client.clone(), kind).is_some() {
                return Err(format!("client {client:?} occurs twice"));
            }
        }
        if clients.is_empty() {
            return Err("no client".into());
        }
        Ok(Self { is_own: issuer.pool_id() == own, issuer, clients })
    }

    /// The issuer.
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// The clients of machines, with their groups.
    pub fn machines(&self) -> impl Iterator<Item = (&str, &Groups)> {
        self.clients.iter().filter_map(|(client, kind)| match kind {
            Client::Machine(groups) => Some((client.as_str(), groups)),
            Client::People => None,
        })
    }

    /// The caller whom a verified token of this issuer identifies.
    /// Fails when the token isn't valid at `now`, or its client and kind aren't this source's.
    pub(crate) fn current_user(&self, claims: Claims, now: Timestamp) -> Result<CurrentUser, Rejection> {
        claims.validate(now)?;
        let is_machine = claims.username.is_none() && claims.sub == claims.client_id;
        match (self.clients.get(&claims.client_id), is_machine) {
            (Some(Client::Machine(groups)), true) => Ok(claims.into_machine(groups.clone())),
            (Some(Client::People), false) => self.person(claims),
            (_, true) => Err(Rejection::Machine),
            (Some(Client::Machine(_)), false) => Err(Rejection::Person),
            (None, false) => Err(Rejection::Client),
        }
    }

    /// A person's id is their `sub`, a UUID that Cognito generates. People of another pool have it behind the pool's id, so
    /// that they are never taken for somebody else, and a colon in a `sub` could imitate that.
    fn person(&self, claims: Claims) -> Result<CurrentUser, Rejection> {
        if claims.sub == claims.client_id {
            return Err(Rejection::SubjectIsClient);
        }
        if claims.sub.contains(':') {
            return Err(Rejection::Subject);
        }
        let mut user = claims.into_person()?;
        if !self.is_own {
            user.id = format!("{}:{}", self.issuer.pool_id(), user.id);
            user.authentication = Authentication::OtherPool;
        }
        Ok(user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TokenUse;

    const NOW: Timestamp = Timestamp(1_800_000_000);
    const OWN: &str = "https://cognito-idp.us-west-1.amazonaws.com/us-west-1_Own";
    const OTHER: &str = "https://issuer-cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Other";

    fn read(sources: &str) -> Result<Vec<TokenSource>, String> {
        let own = UserPool::new("us-west-1", "us-west-1_Own", "web").unwrap();
        TokenSource::read(&own, Some(&format!(r#"{{ "sources": [{sources}] }}"#)))
    }

    fn own_and_other() -> Vec<TokenSource> {
        read(&format!(
            r#"{{ "issuer": "{OWN}", "people": ["web", "mobile"], "machines": [{{ "client": "ci", "groups": ["operator"] }}] }},
               {{ "issuer": "{OTHER}", "people": ["partner"], "machines": [{{ "client": "robot" }}] }}"#
        ))
        .unwrap()
    }

    fn claims(issuer: &str, client: &str) -> Claims {
        let claims = Claims::custom(TokenUse::Access, "ada", "Ada", NOW, NOW.plus(60));
        Claims { iss: issuer.into(), client_id: client.into(), groups: vec!["user".into(), "root".into()], ..claims }
    }

    fn machine(issuer: &str, client: &str) -> Claims {
        Claims { sub: client.into(), username: None, ..claims(issuer, client) }
    }

    #[track_caller]
    fn check(claims: Claims, expected: Result<(&str, Authentication), Rejection>) {
        let sources = own_and_other();
        let source = sources.iter().find(|source| source.issuer().as_str() == claims.iss).unwrap();
        let seen = source.current_user(claims, NOW).map(|user| (user.id, user.authentication));
        assert_eq!(seen, expected.map(|(id, kind)| (id.to_owned(), kind)));
    }

    #[test]
    fn issuer_client_and_kind_must_match_one_source() {
        for client in ["web", "mobile"] {
            check(claims(OWN, client), Ok(("ada", Authentication::Jwt)));
        }
        check(claims(OTHER, "partner"), Ok(("eu-west-1_Other:ada", Authentication::OtherPool)));
        check(machine(OWN, "ci"), Ok(("client:ci", Authentication::Machine)));
        check(machine(OTHER, "robot"), Ok(("client:robot", Authentication::Machine)));
        // A client of the other pool, or of none.
        for (issuer, client) in [(OWN, "partner"), (OTHER, "web"), (OWN, "Web"), (OWN, ""), (OTHER, "partner ")] {
            check(claims(issuer, client), Err(Rejection::Client));
        }
        // A machine that is another pool's, isn't listed, or is a client for people.
        for (issuer, client) in [(OWN, "robot"), (OTHER, "ci"), (OWN, "cd"), (OWN, "web")] {
            check(machine(issuer, client), Err(Rejection::Machine));
        }
        check(claims(OWN, "ci"), Err(Rejection::Person));
        check(Claims { username: None, ..claims(OWN, "web") }, Err(Rejection::Subject));
        check(Claims { username: None, ..claims(OWN, "ci") }, Err(Rejection::Person));
        check(Claims { sub: "web".into(), ..claims(OWN, "web") }, Err(Rejection::SubjectIsClient));
        check(Claims { sub: "ci".into(), ..claims(OWN, "ci") }, Err(Rejection::Person));
        for sub in ["client:ci", "us-west-1_Own:ada", "eu-west-1_Other:ada"] {
            check(Claims { sub: sub.into(), ..claims(OWN, "web") }, Err(Rejection::Subject));
        }
    }

    #[test]
    fn a_machine_has_the_configured_groups_and_no_others() {
        let user = |claims: Claims, index: usize| own_and_other()[index].current_user(claims, NOW).unwrap();
        assert_eq!(user(machine(OWN, "ci"), 0).groups, Groups::named(["operator"]));
        assert_eq!(user(machine(OTHER, "robot"), 1).groups, Groups::NONE);
        assert_eq!(user(claims(OTHER, "partner"), 1).groups, Groups::named(["root", "user"]));
        assert_eq!(user(machine(OWN, "ci"), 0).username, "ci");
    }

    #[test]
    fn without_a_document_only_the_own_pools_people_count() {
        let own = UserPool::new("us-west-1", "us-west-1_Own", "web").unwrap();
        let sources = TokenSource::read(&own, None).unwrap();
        assert_eq!(sources, read(&format!(r#"{{ "issuer": "{OWN}", "people": ["web"] }}"#)).unwrap());
    }

    #[test]
    fn a_replica_and_both_forms_are_issuers_of_the_own_pool() {
        let replica = "https://cognito-idp.us-east-2.amazonaws.com/us-west-1_Own";
        let updated = "https://issuer-cognito-idp.us-west-1.amazonaws.com/us-west-1_Own";
        let source = |issuer| format!(r#"{{ "issuer": "{issuer}", "people": ["web"] }}"#);
        let sources = read(&[source(updated), source(replica), source(OWN)].join(",")).unwrap();
        for (source, issuer) in sources.iter().zip([updated, replica, OWN]) {
            let user = source.current_user(claims(issuer, "web"), NOW).unwrap();
            assert_eq!((user.id.as_str(), user.authentication), ("ada", Authentication::Jwt));
        }
    }

    #[test]
    fn sources_that_could_both_match_prevent_start_up() {
        let own = format!(r#"{{ "issuer": "{OWN}", "people": ["web"] }}"#);
        for (sources, problem) in [
            (format!("{own},{own}"), "source 2: the issuer occurs twice"),
            (format!(r#"{{ "issuer": "{OWN}", "people": ["web", "web"] }}"#), r#"source 1: client "web" occurs twice"#),
            (
                format!(r#"{{ "issuer": "{OWN}", "people": ["web"], "machines": [{{ "client": "web" }}] }}"#),
                r#"source 1: client "web" occurs twice"#,
            ),
            (
                format!(r#"{own}, {{ "issuer": "{OTHER}", "machines": [{{ "client": "web" }}] }}"#),
                r#"source 2: client "web" belongs to another pool too"#,
            ),
        ] {
            assert_eq!(read(&sources).unwrap_err(), problem);
        }
    }

    #[test]
    fn an_invalid_document_is_refused_with_its_problem() {
        let own = format!(r#"{{ "issuer": "{OWN}", "people": ["web"] }}"#);
        let many = |count| {
            (0..count).fold(own.clone(), |list, n| {
                let issuer = OWN.replace("1_Own", &format!("1_Own{n}"));
                format!(r#"{list}, {{ "issuer": "{issuer}", "people": ["web{n}"] }}"#)
            })
        };
        assert_eq!(read(&many(7)).unwrap().len(), 8);
        for (sources, problem) in [
            (String::new(), "no source has the pool"),
            (format!(r#"{{ "issuer": "{OWN}", "people": ["mobile"] }}"#), "no source of the own pool has"),
            (format!(r#"{{ "issuer": "{OTHER}", "people": ["web"] }}"#), "no source has the pool"),
            (format!(r#"{{ "issuer": "{OWN}" }}"#), "source 1: no client"),
            (
                format!(r#"{{ "issuer": "{OWN}/", "people": ["web"] }}"#),
                "source 1: issuer: expected a user pool's issuer",
            ),
            (format!(r#"{{ "issuer": "{OWN}", "people": ["*"] }}"#), r#"client "*": expected letters"#),
            (format!(r#"{{ "issuer": "{OWN}", "people": "web" }}"#), "expected a sequence"),
            (format!(r#"["{OWN}", ["web"], []]"#), "expected an object"),
            (format!(r#"{{ "issuer": "{OWN}", "clients": ["web"] }}"#), "unknown field `clients`"),
            (
                format!(r#"{{ "issuer": "{OWN}", "machines": [{{ "client": "a", "groups": ["my admins"] }}] }}"#),
                "a name that no group can have",
            ),
            (many(8), "more than 16 issuers or 8 pools"),
        ] {
            let error = read(&sources).unwrap_err();
            assert!(error.contains(problem), "{error}");
        }
    }
}
