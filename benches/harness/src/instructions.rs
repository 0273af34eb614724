//! `make instructions`: the instructions of a start and of a request, counted by valgrind's callgrind. Unlike times, the
//! numbers hardly vary between runs or machines, so CI can enforce a budget.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::Failure;
use crate::backend::Backend;
use crate::bench::environment;
use crate::cases::{Case, Subject};
use crate::credentials::Issuer;
use crate::instance::Instance;

/// Requests of each kind after the first one.
const REQUESTS: u64 = 40;
/// The most counts of one run, before giving up.
const COUNTS: usize = 4;
/// Tolerance as a factor of the recorded number: compilers and libraries cause changes of some percent.
const ROOM: f64 = 1.1;

/// Counts, prints the counts beside those in `budget`, and fails if one exceeds its budget. With `renew`, the budget is
/// rewritten first. Callgrind's output stays in `folder`.
pub async fn run(program: &str, budget: &Path, folder: &Path, renew: bool) -> Result<(), Failure> {
    std::fs::create_dir_all(folder)?;
    let counted = count(program, folder).await?;
    if renew {
        std::fs::write(budget, serde_json::to_string_pretty(&counted)? + "\n")?;
    }
    let recorded: Map<String, Value> = serde_json::from_str(&std::fs::read_to_string(budget)?)?;
    println!("| instructions | now | recorded | ratio |\n|---|--:|--:|--:|");
    let mut exceeded = Vec::new();
    for (name, now) in &counted {
        let (Some(now), Some(before)) = (now.as_f64(), recorded.get(name).and_then(Value::as_f64)) else {
            return Err(format!("{name}: not in {}", budget.display()).into());
        };
        println!("| {name} | {now} | {before} | {:.2} |", now / before);
        if now > before * ROOM {
            exceeded.push(name.as_str());
        }
    }
    if exceeded.is_empty() {
        return Ok(());
    }
    Err(format!(
        "more than {ROOM} times the numbers in {}: {}. Find the function with callgrind_annotate in {}, or renew the budget \
         and explain why in the commit.",
        budget.display(),
        exceeded.join(", "),
        folder.display()
    )
    .into())
}

async fn count(program: &str, folder: &Path) -> Result<Map<String, Value>, Failure> {
    let issuer = Issuer::new()?;
    let backend = Backend::new(issuer.key_set());
    let environment = environment(&backend.serve(None).await?, None);
    let mut counted = Map::new();
    for case in Case::ALL {
        let count = async |requests| {
            let output = folder.join(format!("{case:?}-{requests}"));
            // On a busy machine, a fetch under valgrind can miss its deadline. Such a run does more than the one that is counted.
            for _ in 0..COUNTS {
                let before = backend.fetches();
                let counted = instructions(program, case, requests, &environment, &issuer, &output).await?;
                if backend.fetches() - before == 1 {
                    return Ok::<_, Failure>(counted);
                }
            }
            Err(format!("{}: in none of {COUNTS} runs was the key set fetched exactly once", case.name()).into())
        };
        let first = count(1).await?;
        let all = count(1 + REQUESTS).await?;
        if let Case::NewJwt | Case::Key = case {
            counted.insert(format!("start + first {}", case.name()), json!(first));
        }
        counted.insert(case.name().to_owned(), json!(all.saturating_sub(first) / REQUESTS));
    }
    backend.problems()?;
    Ok(counted)
}

/// The instructions of a whole process that handles `requests` requests of one kind, without the kernel's.
async fn instructions(
    program: &str,
    case: Case,
    requests: u64,
    environment: &[(String, String)],
    issuer: &Issuer,
    output: &Path,
) -> Result<u64, Failure> {
    let output_option = format!("--callgrind-out-file={}", output.display());
    let command = ["valgrind", "--quiet", "--tool=callgrind", &output_option, program];
    let mut instance = Instance::start(&command, environment).await?;
    for number in 0..requests {
        let (event, caller) = case.request(issuer, number)?;
        Subject::Authorizer.check(case, &instance.invoke(event).await?, caller.as_deref())?;
    }
    instance.terminate().await?;
    let counts = std::fs::read_to_string(output)?;
    let total = counts.lines().find_map(|line| line.strip_prefix("totals: "));
    Ok(total.ok_or("callgrind counted nothing")?.trim().parse()?)
}
