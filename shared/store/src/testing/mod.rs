//! A `DynamoDB` of a test's own, in its process, behind the real client: for the tests of this crate and of the functions.

mod trouble;

use std::sync::Arc;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType,
};
use dynoxide::Database;
use tokio::net::TcpListener;
use vega_auth::{Fault, KeyId, KeyRecord};
use vega_https_client::HttpsClient;

pub use self::trouble::InjectedFault;
use self::trouble::{Switch, proxy};
use crate::client::Settings;
use crate::key_owners::{INDEX, PROJECTED};
use crate::reader::items;
use crate::{KeyReader, Store, item};

const TABLE: &str = "keys";

/// The database; it ends with the test's runtime.
pub struct TestDatabase {
    settings: Settings,
    server: tokio::task::JoinHandle<()>,
    /// Kept, so that no other test's database is where this one was.
    port: std::net::TcpListener,
    proxy: tokio::task::JoinHandle<()>,
    proxied: Settings,
    switch: Arc<Switch>,
}

impl TestDatabase {
    /// An empty table, keyed as in template.yaml.
    ///
    /// # Panics
    /// When it can't be made: there is no test then.
    pub async fn start() -> Self {
        Self::start_with(None).await
    }

    /// An empty table, keyed and indexed as in template.yaml.
    ///
    /// # Panics
    /// When it can't be made: there is no test then.
    #[allow(clippy::expect_used, reason = "a test's fixture")]
    pub async fn start_with_index() -> Self {
        let key = KeySchemaElement::builder().attribute_name("holder").key_type(KeyType::Hash).build().expect("a key");
        let projection = Projection::builder()
            .projection_type(ProjectionType::Include)
            .set_non_key_attributes(Some(PROJECTED.map(str::to_owned).to_vec()));
        let index = GlobalSecondaryIndex::builder().index_name(INDEX).key_schema(key).projection(projection.build());
        Self::start_with(Some(index.build().expect("an index"))).await
    }

    #[allow(clippy::expect_used, reason = "a test's fixture")]
    async fn start_with(index: Option<GlobalSecondaryIndex>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let port = listener.try_clone().expect("a listener");
        let listener = TcpListener::from_std(listener).expect("a listener");
        let server = tokio::spawn(dynoxide::server::serve_on(listener, Database::memory().expect("a database")));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let proxied = Settings::emulator(&format!("http://{}", listener.local_addr().expect("an address")));
        let switch = Arc::new(Switch::default());
        let proxy = tokio::spawn(proxy(listener, address, Arc::clone(&switch)));
        let settings = Settings::emulator(&format!("http://{address}")).with_batch_timeouts();
        let database = Self { settings, server, port, proxy, proxied, switch };
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
            .settings
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

    /// The store on it.
    pub fn store(&self) -> Store {
        Store::new(&self.settings, TABLE.into())
    }

    /// The authorizer's way to it.
    pub fn reader(&self) -> KeyReader {
        reader(&self.settings)
    }

    /// The authorizer's way to it, by way of the proxy: see [`Self::troubled_store`].
    pub fn troubled_reader(&self) -> KeyReader {
        reader(&self.proxied)
    }

    /// The store on it, by way of a proxy that [`Self::trouble`] can set to make trouble.
    pub fn troubled_store(&self) -> Store {
        Store::new(&self.proxied, TABLE.into())
    }

    /// The next `times` requests by way of the proxy meet this; `None` is the end of it.
    pub fn trouble(&self, trouble: Option<(InjectedFault, usize)>) {
        self.switch.set(0, trouble);
    }

    /// The next `good` requests by way of the proxy go well; then it is as with [`Self::trouble`].
    pub fn trouble_after(&self, good: usize, trouble: Option<(InjectedFault, usize)>) {
        self.switch.set(good, trouble);
    }

    /// Every second request by way of the proxy meets this.
    pub fn partial_trouble(&self, trouble: InjectedFault) {
        self.switch.set_partial(trouble);
    }

    /// How many requests came by way of the proxy.
    pub fn requests(&self) -> usize {
        self.switch.requests()
    }

    /// Takes the database away, as an outage does.
    ///
    /// # Panics
    /// When its port can't be kept.
    #[allow(clippy::expect_used, reason = "a test's fixture")]
    pub fn stop(&self) {
        self.server.abort();
        let port = TcpListener::from_std(self.port.try_clone().expect("a listener")).expect("a listener");
        tokio::spawn(async move { while port.accept().await.is_ok() {} });
    }

    /// Every item, as it would stand in a dump: to look for what must not be there.
    ///
    /// # Panics
    /// When the table can't be read.
    #[allow(clippy::expect_used, reason = "a test's fixture")]
    pub async fn dump(&self) -> String {
        let pages = self.settings.client().scan().table_name(TABLE).into_paginator().items().send();
        let items = pages.collect::<Result<Vec<_>, _>>().await.expect("a scan");
        items.iter().fold(String::new(), |dump, item| dump + &format!("{item:?}\n"))
    }

    /// Puts an attribute of a key's record out of shape.
    pub async fn garble(&self, id: KeyId, attribute: &str) {
        self.set(item::key_pk(id), "A", attribute, item::string("nonsense")).await;
    }

    /// Gives an owner as many ended keys, of which nothing is left: as many years of making and revoking do.
    pub async fn fill_ended(&self, owner: &str, count: u32) {
        let ids = (0..count).map(|number| format!("zzzzzzzz{number:04}")).collect();
        self.set(item::owner_pk(owner), "M", "ended", AttributeValue::Ss(ids)).await;
    }

    #[allow(clippy::expect_used, reason = "a test's fixture")]
    async fn set(&self, pk: AttributeValue, sk: &str, attribute: &str, value: AttributeValue) {
        self.settings
            .client()
            .update_item()
            .table_name(TABLE)
            .key("pk", pk)
            .key("sk", item::string(sk))
            .update_expression("SET #name = :value")
            .expression_attribute_names("#name", attribute)
            .expression_attribute_values(":value", value)
            .send()
            .await
            .expect("an update");
    }

    /// One item, as it would stand in a dump; empty, where there is none.
    ///
    /// # Panics
    /// When the table can't be read.
    pub async fn item(&self, pk: &str, sk: &str) -> String {
        let [pk, sk] = [("pk", pk), ("sk", sk)].map(|(name, value)| format!("\"{name}\": S(\"{value}\")"));
        self.dump().await.lines().find(|line| line.contains(&pk) && line.contains(&sk)).unwrap_or_default().to_owned()
    }

    /// Purges what is left of a key, as `DynamoDB` does some time after `purge_at`.
    ///
    /// # Panics
    /// When it can't be deleted.
    #[allow(clippy::expect_used, reason = "a test's fixture")]
    pub async fn purge(&self, id: KeyId) {
        for sk in ["A", "U"] {
            let delete = self.settings.client().delete_item().table_name(TABLE);
            delete.key("pk", item::key_pk(id)).key("sk", item::string(sk)).send().await.expect("a deletion");
        }
    }
}

/// The key in `DynamoDB`'s answer to the authorizer's Query, as the authorizer reads it.
///
/// # Errors
/// When the answer or a record in it can't be read.
pub fn read_answer(answer: &[u8], id: KeyId) -> Result<Option<KeyRecord>, Fault> {
    item::read_key(&items(answer)?, id)
}

#[allow(clippy::expect_used, reason = "a test's fixture")]
fn reader(settings: &Settings) -> KeyReader {
    let client = HttpsClient::new(None).expect("a client");
    KeyReader::new(client, settings.clone(), TABLE.into()).expect("a URL")
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        self.server.abort();
        self.proxy.abort();
    }
}
