//! `make load`: many concurrent instances, as in a busy API. Does a request cost more with more keys or more people, and how
//! do many writers affect each other?

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use vega_https_client::HttpsClient;

use crate::Failure;
use crate::backend::{Backend, TABLE};
use crate::bench::environment;
use crate::cases::{Subject, event};
use crate::credentials::{self, Issuer};
use crate::instance::Instance;

/// Concurrent instances of the authorizer.
const INSTANCES: usize = 8;
/// Requests to each of them, for each number of keys or people.
const REQUESTS: u64 = 400;
/// Concurrent writers.
const WRITERS: u64 = 50;
/// The configured limit of live keys per owner: all writers for one owner reach it.
const LIMIT: u64 = 100;
/// Keys that each writer tries to create.
const CREATES: u64 = 4;

/// Runs both measurements. The arguments are the paths of the two functions.
pub async fn run(authorizer: &str, api_keys: &str) -> Result<(), Failure> {
    println!(
        "| {INSTANCES} concurrent instances of the authorizer | requests | CPU per request, µs | requests per core, 1/s |"
    );
    println!("|---|--:|--:|--:|");
    for keys in [1_000, 10_000, 100_000, 1_000_000] {
        readers(authorizer, &format!("{keys} keys"), |number| {
            // Spread over all of them, in no order that suits a cache.
            let index = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % keys;
            Ok((credentials::key(index).expose().to_owned(), credentials::owner_of(index)))
        })
        .await?;
    }
    let issuer = Issuer::new()?;
    for people in [1, 100, 1_000] {
        let tokens = (0..people).map(|person| issuer.token(person, person, 3600)).collect::<Result<Vec<_>, _>>()?;
        readers(authorizer, &format!("tokens of {people} people"), |number| {
            let person = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % people;
            Ok((tokens[usize::try_from(person)?].clone(), credentials::person(person)))
        })
        .await?;
    }
    println!();
    println!(
        "| {WRITERS} concurrent writers, one instance each | created | refused | 1/s | median, ms | slowest, ms |"
    );
    println!("|---|--:|--:|--:|--:|--:|");
    writers(api_keys, "keys of one owner, limit 100", |_| credentials::person(1)).await?;
    writers(api_keys, "keys of 50 owners", credentials::person).await
}

/// The cost of requests with these credentials, on concurrent instances.
async fn readers(
    program: &str,
    name: &str,
    credential: impl Fn(u64) -> Result<(String, String), Failure>,
) -> Result<(), Failure> {
    let issuer = Issuer::new()?;
    let backend = Backend::new(issuer.key_set());
    let environment = environment(&backend.serve(None).await?, None);
    let mut running = JoinSet::new();
    for instance in 0..u64::try_from(INSTANCES)? {
        let requests = (0..REQUESTS).map(|n| credential(instance * REQUESTS + n)).collect::<Result<Vec<_>, _>>()?;
        let (program, environment) = (program.to_owned(), environment.clone());
        running.spawn(async move {
            let mut instance = Instance::start(&[&program], &environment).await?;
            let before = instance.cpu()?;
            for (credential, caller) in requests {
                let reply = instance.invoke(event(&credential)).await?;
                Subject::Authorizer.check_caller(&reply, Some(&caller))?;
            }
            let used = instance.cpu()?.saturating_sub(before);
            instance.stop().await?;
            Ok::<_, Failure>(used)
        });
    }
    let mut used = Duration::ZERO;
    while let Some(instance) = running.join_next().await {
        used += instance??;
    }
    backend.problems()?;
    let requests = u32::try_from(INSTANCES)? * u32::try_from(REQUESTS)?;
    let each = used.as_secs_f64() / f64::from(requests);
    println!("| {name} | {requests} | {:.0} | {:.0} |", each * 1e6, 1.0 / each);
    Ok(())
}

/// The results when many writers create keys at once in a real database.
async fn writers(program: &str, name: &str, owner: impl Fn(u64) -> String) -> Result<(), Failure> {
    let endpoint = database().await?;
    let mut environment = environment(&endpoint, None);
    environment.push(("VEGA_KEY_LIMIT".into(), LIMIT.to_string()));
    let mut instances = Vec::new();
    for _ in 0..WRITERS {
        instances.push(Instance::start(&[program], &environment).await?);
    }
    let started = Instant::now();
    let mut running = JoinSet::new();
    for (writer, mut instance) in (0..).zip(instances) {
        let owner = owner(writer);
        running.spawn(async move {
            let mut outcomes = Vec::new();
            for number in 0..CREATES {
                let sent = Instant::now();
                let reply = instance.invoke(create(&owner, &format!("{writer}-{number}"))).await?;
                let body: Value = serde_json::from_slice(&reply.body)?;
                outcomes.push((body["statusCode"].as_u64().unwrap_or_default(), sent.elapsed(), body));
            }
            instance.stop().await?;
            Ok::<_, Failure>(outcomes)
        });
    }
    let (mut created, mut refused, mut times) = (0_u32, 0_u32, Vec::new());
    while let Some(outcomes) = running.join_next().await {
        for (status, time, body) in outcomes?? {
            match status {
                201 => created += 1,
                409 => refused += 1,
                // For one owner, a writer that conflicts too often must try again later.
                503 => {}
                _ => return Err(format!("a writer received {body}").into()),
            }
            times.push(time);
        }
    }
    let elapsed = started.elapsed().as_secs_f64();
    if u64::from(created) > LIMIT && name.contains("one owner") {
        return Err(format!("{created} keys of one owner, whose limit is {LIMIT}").into());
    }
    times.sort();
    let [median, slowest] = [times.len() / 2, times.len() - 1].map(|at| times[at].as_secs_f64() * 1e3);
    println!("| {name} | {created} | {refused} | {:.0} | {median:.0} | {slowest:.0} |", f64::from(created) / elapsed);
    Ok(())
}

/// API Gateway's event for a signed-in person who creates a key.
fn create(owner: &str, name: &str) -> Bytes {
    let event = json!({
        "resource": "/v1/api-keys", "path": "/v1/api-keys", "httpMethod": "POST",
        "headers": { "Content-Type": "application/json" }, "multiValueHeaders": { "Content-Type": ["application/json"] },
        "queryStringParameters": null, "multiValueQueryStringParameters": null, "pathParameters": null,
        "stageVariables": null, "isBase64Encoded": false, "body": json!({ "name": name, "groups": ["user"] }).to_string(),
        "requestContext": {
            "accountId": "123456789012", "apiId": "abcdef1234", "stage": "live", "httpMethod": "POST",
            "path": "/live/v1/api-keys", "resourcePath": "/v1/api-keys", "resourceId": "xyz123", "protocol": "HTTP/1.1",
            "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef", "identity": { "sourceIp": "192.0.2.1" },
            "authorizer": { "id": owner, "username": owner, "groups": "user", "authenticated_by": "jwt" },
        },
    });
    Bytes::from(event.to_string())
}

/// An empty table in a database in this process, with template.yaml's key schema.
async fn database() -> Result<String, Failure> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    tokio::spawn(dynoxide::server::serve_on(listener, dynoxide::Database::memory()?));
    let table = json!({
        "TableName": TABLE, "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": [{ "AttributeName": "pk", "KeyType": "HASH" }, { "AttributeName": "sk", "KeyType": "RANGE" }],
        "AttributeDefinitions": [
            { "AttributeName": "pk", "AttributeType": "S" }, { "AttributeName": "sk", "AttributeType": "S" },
        ],
    });
    let request = http::Request::post(&endpoint)
        .header("content-type", "application/x-amz-json-1.0")
        .header("x-amz-target", "DynamoDB_20120810.CreateTable")
        .header("x-amz-date", "20261124T000000Z")
        // The emulator requires the form of a signature, but doesn't verify it.
        .header(
            "authorization",
            "AWS4-HMAC-SHA256 Credential=test/20261124/us-west-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0",
        )
        .body(Bytes::from(table.to_string()))?;
    let reply = Arc::new(HttpsClient::new(None)?).send(request, 1 << 20).await?;
    if reply.status().is_success() { Ok(endpoint) } else { Err(format!("no table: {:?}", reply.body()).into()) }
}
