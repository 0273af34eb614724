//! `make bench`: the authorizer's cost beside a minimal function and a plain authorizer. All three take turns in one run, so
//! that other load on the machine affects them equally.

use std::time::Duration;

use crate::backend::{Backend, TABLE, Tls};
use crate::cases::{Case, Subject};
use crate::credentials::{CLIENT, Issuer, POOL};
use crate::instance::Instance;
use crate::{Failure, table};

/// Requests of one kind to one function per turn.
const BATCH: u64 = 60;

/// The folder with the access rules, as for a deployed function.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
/// The access rules of the stack's own API.
pub const RULES: &str = include_str!("../../../access/vega.json");

/// The functions' environment variables. `bundle` is a file of trusted authorities.
pub fn environment(endpoint: &str, bundle: Option<&str>) -> Vec<(String, String)> {
    let mut variables = vec![
        ("AWS_REGION", "us-west-1"),
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
        ("AWS_SESSION_TOKEN", "IQoJb3JpZ2luX2VjEXAMPLETOKEN"),
        ("AWS_ENDPOINT_URL_DYNAMODB", endpoint),
        ("AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER", endpoint),
        ("VEGA_AUTH_PROVIDER", "cognito"),
        ("VEGA_COGNITO_REGION", "us-west-1"),
        ("VEGA_COGNITO_USER_POOL_ID", POOL),
        ("VEGA_COGNITO_APP_CLIENT_ID", CLIENT),
        ("VEGA_KEYS_TABLE", TABLE),
        ("VEGA_METRIC_NAMESPACE", "Vega/bench"),
        ("LAMBDA_TASK_ROOT", ROOT),
    ];
    variables.extend(bundle.map(|path| ("SSL_CERT_FILE", path)));
    variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// One figure per round for each of the three functions: hello, authorizer, naive.
pub type Rounds = Vec<[f64; 3]>;

/// Runs `rounds` rounds and prints the table. `programs` are hello, authorizer and naive.
pub async fn run(programs: [&str; 3], rounds: u64) -> Result<(), Failure> {
    let issuer = Issuer::new()?;
    let backend = Backend::new(issuer.key_set());
    let tls = Tls::new()?;
    let bundle = std::env::temp_dir().join(format!("vega-bench-{}.pem", std::process::id()));
    std::fs::write(&bundle, &tls.bundle)?;
    let plain = environment(&backend.serve(None).await?, None);
    let secure = environment(&backend.serve(Some(&tls)).await?, bundle.to_str());

    let mut start = table::Start::default();
    for round in 0..rounds {
        for (case, environment, rows) in [
            (Case::NewJwt, &plain, &mut start.jwt),
            (Case::Key, &plain, &mut start.key),
            (Case::NewJwt, &secure, &mut start.jwt_over_tls),
            (Case::Key, &secure, &mut start.key_over_tls),
        ] {
            let mut times = [(0.0, 0.0); 3];
            for (subject, program, time) in zip(programs, &mut times) {
                *time = cold(program, subject, case, environment, &issuer, round).await?;
            }
            rows.wall.push(times.map(|(wall, _)| wall));
            rows.cpu.push(times.map(|(_, cpu)| cpu));
        }
    }

    let mut instances = Vec::new();
    for program in programs {
        instances.push(Instance::start(&[program], &plain).await?);
    }
    let mut warm: [Rounds; Case::ALL.len()] = Default::default();
    for round in 0..=rounds {
        for (case, rows) in Case::ALL.into_iter().zip(&mut warm) {
            let mut costs = [0.0; 3];
            for ((subject, _, cost), instance) in zip(programs, &mut costs).into_iter().zip(&mut instances) {
                *cost = batch(instance, subject, case, &issuer, round).await?;
            }
            // The first round is the warm-up.
            if round > 0 {
                rows.push(costs);
            }
        }
    }
    let mut memory = [0.0; 3];
    for (peak, instance) in memory.iter_mut().zip(instances) {
        *peak = f64::from(u32::try_from(instance.peak_memory()?)?) / 1024.0;
        instance.stop().await?;
    }
    std::fs::remove_file(bundle)?;
    backend.problems()?;
    table::print(&start, &warm, memory, programs)?;
    Ok(())
}

fn zip<'a, T>(programs: [&'a str; 3], values: &'a mut [T; 3]) -> Vec<(Subject, &'a str, &'a mut T)> {
    Subject::ALL
        .into_iter()
        .zip(programs)
        .zip(values)
        .map(|((subject, program), value)| (subject, program, value))
        .collect()
}

/// Wall-clock and CPU time in ms from the start of the process to its first response.
async fn cold(
    program: &str,
    subject: Subject,
    case: Case,
    environment: &[(String, String)],
    issuer: &Issuer,
    round: u64,
) -> Result<(f64, f64), Failure> {
    let (event, caller) = case.request(issuer, round)?;
    let mut instance = Instance::start(&[program], environment).await?;
    let reply = instance.invoke(event).await?;
    subject.check(case, &reply, caller.as_deref())?;
    let wall = milliseconds(reply.at.duration_since(instance.started()));
    let cpu = milliseconds(instance.cpu()?);
    instance.stop().await?;
    Ok((wall, cpu))
}

/// CPU time per request in µs.
async fn batch(
    instance: &mut Instance,
    subject: Subject,
    case: Case,
    issuer: &Issuer,
    round: u64,
) -> Result<f64, Failure> {
    let requests = (0..BATCH).map(|n| case.request(issuer, round * BATCH + n)).collect::<Result<Vec<_>, _>>()?;
    let before = instance.cpu()?;
    let mut replies = Vec::new();
    for (event, caller) in requests {
        replies.push((instance.invoke(event).await?, caller));
    }
    let used = instance.cpu()?.saturating_sub(before);
    for (reply, caller) in replies {
        subject.check(case, &reply, caller.as_deref())?;
    }
    Ok(milliseconds(used) * 1000.0 / f64::from(u32::try_from(BATCH)?))
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
