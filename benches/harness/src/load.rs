//! `make load`: many instances at once, as a busy API has them. Whether a request costs more where there are more keys or
//! more people, and what many writers do to one another.

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

/// Instances of the authorizer that answer at once.
const INSTANCES: usize = 8;
/// Requests to each of them, a population.
const REQUESTS: u64 = 400;
/// Writers at once.
const WRITERS: u64 = 50;
/// The limit of live keys that the function is given: for one owner, all writers meet it.
const LIMIT: u64 = 100;
/// What each writer tries to make.
const CREATES: u64 = 4;

/// `programs` are the authorizer and the function of the keys.
pub async fn run(authorizer: &str, api_keys: &str) -> Result<(), Failure> {
    println!(
        "| {INSTANCES} instances of the authorizer at once | requests | CPU a request, µs | requests a core, 1/s |"
    );
    println!("|---|--:|--:|--:|");
    for keys in [1_000, 10_000, 100_000, 1_000_000] {
        readers(authorizer, &format!("{keys} keys"), |number| {
            // Spread over all of them, in no order that a cache could like.
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
    println!("| {WRITERS} writers at once, each its own instance | made | refused | 1/s | median, ms | slowest, ms |");
    println!("|---|--:|--:|--:|--:|--:|");
    writers(api_keys, "keys of one owner, limit 100", |_| credentials::person(1)).await?;
    writers(api_keys, "keys of 50 owners", credentials::person).await
}

/// What requests with these credentials cost, over instances that answer at once.
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
                let answer = instance.invoke(event(&credential)).await?;
                Subject::Authorizer.check_caller(&answer, Some(&caller))?;
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

/// What becomes of keys that many people make at once, in a real database.
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
                let answer = instance.invoke(create(&owner, &format!("{writer}-{number}"))).await?;
                let body: Value = serde_json::from_slice(&answer.body)?;
                outcomes.push((body["statusCode"].as_u64().unwrap_or_default(), sent.elapsed(), body));
            }
            instance.stop().await?;
            Ok::<_, Failure>(outcomes)
        });
    }
    let (mut made, mut refused, mut times) = (0_u32, 0_u32, Vec::new());
    while let Some(outcomes) = running.join_next().await {
        for (status, time, body) in outcomes?? {
            match status {
                201 => made += 1,
                409 => refused += 1,
                // On one owner, a writer that met others too often is told to come again.
                503 => {}
                _ => return Err(format!("a writer was answered {body}").into()),
            }
            times.push(time);
        }
    }
    let elapsed = started.elapsed().as_secs_f64();
    if u64::from(made) > LIMIT && name.contains("one owner") {
        return Err(format!("{made} keys of one owner, whose limit is {LIMIT}").into());
    }
    times.sort();
    let [median, slowest] = [times.len() / 2, times.len() - 1].map(|at| times[at].as_secs_f64() * 1e3);
    println!("| {name} | {made} | {refused} | {:.0} | {median:.0} | {slowest:.0} |", f64::from(made) / elapsed);
    Ok(())
}

/// A request of a signed-in person to make a key, as API Gateway hands it to the function.
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

/// An empty table in a database of this process, keyed as in template.yaml.
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
        // The emulator wants the form of a signature, and checks none.
        .header(
            "authorization",
            "AWS4-HMAC-SHA256 Credential=test/20261124/us-west-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0",
        )
        .body(Bytes::from(table.to_string()))?;
    let answer = Arc::new(HttpsClient::new(None)?).send(request, 1 << 20).await?;
    if answer.status().is_success() { Ok(endpoint) } else { Err(format!("no table: {:?}", answer.body()).into()) }
}
