//! The figures as a table, with ratios, because absolute figures depend on the machine.

use std::fmt::Write as _;

use crate::Failure;
use crate::bench::Rounds;
use crate::cases::Case;

/// The starts with one kind of request.
#[derive(Default)]
pub struct Times {
    pub wall: Rounds,
    pub cpu: Rounds,
}

/// From the start of the process to the first response.
#[derive(Default)]
pub struct Start {
    pub jwt: Times,
    pub key: Times,
    pub jwt_over_tls: Times,
    pub key_over_tls: Times,
}

enum Target {
    OfHello(f64),
    OfNaive(f64),
    AtMost(f64),
    None,
}

fn target(case: Case) -> Target {
    match case {
        Case::NewJwt | Case::BadSignature | Case::Expired | Case::Malformed => Target::OfHello(1.5),
        Case::SameJwt => Target::OfHello(1.15),
        Case::Key => Target::OfNaive(0.45),
        Case::BadChecksum => Target::OfHello(1.1),
    }
}

/// Prints the whole table.
pub fn print(start: &Start, warm: &[Rounds], memory: [f64; 3], programs: [&str; 3]) -> Result<(), Failure> {
    let mut text = String::from(
        "| | hello | authorizer | naive | ÷ hello | ÷ naive | target | |\n|---|--:|--:|--:|--:|--:|---|---|\n",
    );
    let starts = [
        ("JWT", Target::OfHello(2.5), &start.jwt),
        ("key", Target::OfHello(3.0), &start.key),
        ("JWT over TLS", Target::OfHello(3.5), &start.jwt_over_tls),
        ("key over TLS", Target::OfHello(3.5), &start.key_over_tls),
    ];
    for (name, target, times) in starts {
        row(&mut text, &format!("start + first {name}, ms"), &times.wall, &target)?;
        row(&mut text, &format!("start + first {name}, CPU ms"), &times.cpu, &Target::None)?;
    }
    for (case, rounds) in Case::ALL.into_iter().zip(warm) {
        row(&mut text, &format!("{}: CPU, µs", case.name()), rounds, &target(case))?;
    }
    row(&mut text, "peak memory, MiB", &vec![memory], &Target::AtMost(10.0))?;
    let mut sizes = [0.0; 3];
    for (size, program) in sizes.iter_mut().zip(programs) {
        *size = f64::from(u32::try_from(std::fs::metadata(program)?.len())?) / 1e6;
    }
    row(&mut text, "binary, MB", &vec![sizes], &Target::AtMost(6.0))?;
    print!("{text}");
    Ok(())
}

fn row(text: &mut String, name: &str, rounds: &Rounds, target: &Target) -> Result<(), Failure> {
    let [hello, ours, naive] = [0, 1, 2].map(|column| median(rounds.iter().map(|round| round[column])));
    // Ratios within one round: any disturbance affected both.
    let of_hello = median(rounds.iter().map(|round| round[1] / round[0]));
    let of_naive = median(rounds.iter().map(|round| round[1] / round[2]));
    let (wanted, is_reached) = match target {
        Target::OfHello(limit) => (format!("≤ {limit} × hello"), of_hello <= *limit),
        Target::OfNaive(limit) => (format!("≤ {limit} × naive"), of_naive <= *limit),
        Target::AtMost(limit) => (format!("≤ {limit}"), ours <= *limit),
        Target::None => (String::new(), true),
    };
    let mark = if is_reached { "" } else { "not reached" };
    writeln!(
        text,
        "| {name} | {hello:.1} | {ours:.1} | {naive:.1} | {of_hello:.2} | {of_naive:.2} | {wanted} | {mark} |"
    )?;
    Ok(())
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        even if even.is_multiple_of(2) => f64::midpoint(values[middle - 1], values[middle]),
        _ => values[middle],
    }
}
