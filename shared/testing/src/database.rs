//! A `DynamoDB` of a test's own, in its process, behind the real clients.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::SystemTime;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType,
};
use dynoxide::Database;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use vega_auth::config::Environment;
use vega_auth::{KeyId, KeyRecord, Timestamp, Transition};
use vega_aws::{Api, Service, Settings};
use vega_https_client::HttpsClient;
use vega_key_table::{INDEX, KeyReader, key_pk, owner_pk};
use vega_store::{Store, client};

use crate::NOW;
use crate::faults::{FaultPlan, InjectedFault, proxy};
use crate::fixtures::actor;

const TABLE: &str = "keys";
/// The attributes in the index, as in template.yaml.
const PROJECTED: [&str; 6] = ["owner_username", "groups", "status", "created_at", "expires_at", "rotated_to"];

/// The database. It stops with the test's runtime.
pub struct TestDatabase {
    settings: Settings,
    server: tokio::task::JoinHandle<()>,
    /// Kept, so that no other test's database gets this port once this one is stopped.
    port: std::net::TcpListener,
    proxy: tokio::task::JoinHandle<()>,
    proxied: Settings,
    faults: Arc<FaultPlan>,
}

impl TestDatabase {
    /// An empty table, keyed as in template.yaml.
    pub async fn start() -> Self {
        Self::start_with(None).await
    }

    /// An empty table, keyed and indexed as in template.yaml.
    pub async fn start_with_index() -> Self {
        let key = KeySchemaElement::builder().attribute_name("holder").key_type(KeyType::Hash).build().expect("a key");
        let projection = Projection::builder()
            .projection_type(ProjectionType::Include)
            .set_non_key_attributes(Some(PROJECTED.map(str::to_owned).to_vec()));
        let index = GlobalSecondaryIndex::builder().index_name(INDEX).key_schema(key).projection(projection.build());
        Self::start_with(Some(index.build().expect("an index"))).await
    }

    async fn start_with(index: Option<GlobalSecondaryIndex>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let port = listener.try_clone().expect("a listener");
        let listener = TcpListener::from_std(listener).expect("a listener");
        let server = tokio::spawn(dynoxide::server::serve_on(listener, Database::memory().expect("a database")));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let proxied = emulator(&format!("http://{}", listener.local_addr().expect("an address")));
        let faults = Arc::new(FaultPlan::default());
        let proxy = tokio::spawn(proxy(listener, address, Arc::clone(&faults)));
        // A busy machine answers late, and retries would make it busier.
        let mut settings = emulator(&format!("http://{address}"));
        settings.time_factor = 120;
        let database = Self { settings, server, port, proxy, proxied, faults };
        let key =
            |name: &str, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build().expect("a key");
        let text = |name: &str| {
            AttributeDefinition::builder()
                .attribute_name(name)
                .attribute_type(ScalarAttributeType::S)
                .build()
                .expect("an attribute")
        };
        let mut create = database
            .client()
            .create_table()
            .table_name(TABLE)
            .billing_mode(BillingMode::PayPerRequest)
            .key_schema(key("pk", KeyType::Hash))
            .key_schema(key("sk", KeyType::Range))
            .attribute_definitions(text("pk"))
            .attribute_definitions(text("sk"))
            .set_global_secondary_indexes(index.clone().map(|index| vec![index]));
        if index.is_some() {
            create = create.attribute_definitions(text("holder"));
        }
        create.send().await.expect("a table");
        database
    }

    fn client(&self) -> Client {
        client(&self.settings)
    }

    /// A store on it.
    pub fn store(&self) -> Store {
        Store::new(&self.settings, TABLE.into())
    }

    /// Creates a key for its owner.
    pub async fn create(&self, record: &KeyRecord) {
        let created = Transition::creation(record.clone());
        self.store().commit(&[created], None, None, &actor(&record.owner), record.created_at).await.unwrap();
    }

    /// Revokes a key at [`NOW`].
    pub async fn revoke(&self, id: KeyId) {
        let revoked = self.store().update::<Infallible>(id, &actor("ada"), NOW, |key| Ok(key.revoke(None, NOW))).await;
        assert!(revoked.unwrap().is_changed);
    }

    /// A store on it that meets the injected faults.
    pub fn faulty_store(&self) -> Store {
        Store::new(&self.proxied, TABLE.into())
    }

    /// A store on it whose requests `answers` answers first: a table that is larger than a test can fill.
    pub fn store_answered_by(&self, answers: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Store {
        self.faults.answer_by(Box::new(answers));
        let mut settings = self.proxied.clone();
        settings.time_factor = self.settings.time_factor;
        Store::new(&settings, TABLE.into())
    }

    /// The authorizer's reader of it.
    pub fn reader(&self) -> KeyReader {
        reader(&self.settings)
    }

    /// The authorizer's reader of it, which meets the injected faults.
    pub fn faulty_reader(&self) -> KeyReader {
        reader(&self.proxied)
    }

    /// The next `times` requests of the faulty store and reader meet this fault.
    pub fn inject(&self, fault: InjectedFault, times: usize) {
        self.inject_after(0, fault, times);
    }

    /// The same after `good` requests without a fault.
    pub fn inject_after(&self, good: usize, fault: InjectedFault, times: usize) {
        self.faults.inject_after(good, fault, times);
    }

    /// Every second request of the faulty store and reader meets this fault.
    pub fn inject_every_second(&self, fault: InjectedFault) {
        self.faults.inject_every_second(fault);
    }

    /// No request meets a fault any more.
    pub fn clear_faults(&self) {
        self.faults.clear();
    }

    /// Requests of the faulty store and reader so far.
    pub fn requests(&self) -> usize {
        self.faults.requests()
    }

    /// Stops the database, as an outage does: connections are accepted and closed.
    pub fn stop(&self) {
        self.server.abort();
        let port = TcpListener::from_std(self.port.try_clone().expect("a listener")).expect("a listener");
        tokio::spawn(async move { while port.accept().await.is_ok() {} });
    }

    /// Every item as text, to check that something is not stored.
    pub async fn dump(&self) -> String {
        let pages = self.client().scan().table_name(TABLE).into_paginator().items().send();
        let items = pages.collect::<Result<Vec<_>, _>>().await.expect("a scan");
        items.iter().fold(String::new(), |dump, item| dump + &format!("{item:?}\n"))
    }

    /// Every item by its primary key, in `DynamoDB`'s JSON, as the table's stream has it.
    pub async fn items(&self) -> BTreeMap<(String, String), Value> {
        let pages = self.client().scan().table_name(TABLE).into_paginator().items().send();
        let items = pages.collect::<Result<Vec<_>, _>>().await.expect("a scan");
        let key = |item: &HashMap<String, AttributeValue>| ["pk", "sk"].map(|name| item[name].as_s().unwrap().clone());
        items.iter().map(|item| (key(item).into(), json!(vega_store::from_sdk(item)))).collect()
    }

    /// Deletes the items whose `purge_at` is past at `now`, as `DynamoDB` does.
    pub async fn purge_expired(&self, now: Timestamp) {
        for ((pk, sk), item) in self.items().await {
            if item["purge_at"]["N"].as_str().is_some_and(|at| at.parse::<i64>().unwrap() <= now.0) {
                self.delete(pk, &sk).await;
            }
        }
    }

    async fn delete(&self, pk: String, sk: &str) {
        let delete = self.client().delete_item().table_name(TABLE).key("pk", AttributeValue::S(pk));
        delete.key("sk", AttributeValue::S(sk.into())).send().await.expect("a deletion");
    }

    /// Overwrites an attribute of a key's record with nonsense.
    pub async fn garble(&self, id: KeyId, attribute: &str) {
        self.set(key_pk(id), "A", attribute, AttributeValue::S("nonsense".into())).await;
    }

    /// Gives an owner this many ended keys whose records are gone, as years of creating and revoking do.
    pub async fn fill_ended(&self, owner: &str, count: u32) {
        let ids = (0..count).map(|number| format!("zzzzzzzz{number:04}")).collect();
        self.set(owner_pk(owner), "M", "ended", AttributeValue::Ss(ids)).await;
    }

    async fn set(&self, pk: String, sk: &str, attribute: &str, value: AttributeValue) {
        self.client()
            .update_item()
            .table_name(TABLE)
            .key("pk", AttributeValue::S(pk))
            .key("sk", AttributeValue::S(sk.into()))
            .update_expression("SET #name = :value")
            .expression_attribute_names("#name", attribute)
            .expression_attribute_values(":value", value)
            .send()
            .await
            .expect("an update");
    }

    /// Removes an attribute of an item, as if an older version had written it.
    pub async fn unset(&self, pk: &str, sk: &str, attribute: &str) {
        let update = self.client().update_item().table_name(TABLE).update_expression("REMOVE #name");
        let update = update.key("pk", AttributeValue::S(pk.into())).key("sk", AttributeValue::S(sk.into()));
        update.expression_attribute_names("#name", attribute).send().await.expect("an update");
    }

    /// One item as text. Empty if there is none.
    pub async fn item(&self, pk: &str, sk: &str) -> String {
        let [pk, sk] = [("pk", pk), ("sk", sk)].map(|(name, value)| format!("\"{name}\": S(\"{value}\")"));
        self.dump().await.lines().find(|line| line.contains(&pk) && line.contains(&sk)).unwrap_or_default().to_owned()
    }

    /// Deletes a key's items, as `DynamoDB` does some time after `purge_at`.
    pub async fn purge(&self, id: KeyId) {
        for sk in ["A", "U"] {
            self.delete(key_pk(id), sk).await;
        }
    }
}

/// The settings of an emulator at this endpoint, which accepts any credentials.
pub fn emulator(endpoint: &str) -> Settings {
    let mut environment = Environment::new(|name| match name {
        "AWS_REGION" => Some("us-west-1".to_owned()),
        "AWS_ENDPOINT_URL_DYNAMODB" => Some(endpoint.to_owned()),
        "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => Some("test".to_owned()),
        _ => None,
    });
    Settings::read(&mut environment).expect("settings")
}

/// The authorizer's reader of the table `keys` at these settings' endpoint.
pub fn reader(settings: &Settings) -> KeyReader {
    let client = HttpsClient::new(None).expect("a client");
    let database = Service::new(client, settings.clone(), Api::DYNAMODB, || SystemTime::UNIX_EPOCH);
    KeyReader::new(database.expect("a URL"), TABLE.into())
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        self.server.abort();
        self.proxy.abort();
    }
}
