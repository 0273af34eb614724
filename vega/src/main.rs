//! `vega`: docs/vega.md. Wiring only: reads the environment, the clock and the random source, and passes them on.

mod api;
mod arguments;
mod can;
mod doctor;
mod keys;
mod outcome;
mod rules;
mod scan;
mod token;
mod whoami;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use crate::arguments::{Arguments, Command};
use crate::outcome::{Answer, Failure};

/// What a command may read of the outside world.
pub struct World {
    lookup: fn(&str) -> Option<String>,
    now: vega_auth::Timestamp,
    random: fn(&mut [u8]) -> Result<(), Failure>,
}

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::disallowed_methods, reason = "main reads the environment, the clock and the random source")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let world = World {
        lookup: |name| std::env::var(name).ok().filter(|value| !value.is_empty()),
        now: std::time::SystemTime::now().into(),
        random: |bytes| getrandom::fill(bytes).map_err(|error| Failure(format!("no random numbers: {error}"))),
    };
    let json = arguments.json;
    let (text, code) = match run(arguments, &world).await {
        Ok(answer) => (answer.print(json), u8::from(answer.is_problem)),
        Err(failure) => {
            if !json {
                let _ = writeln!(std::io::stderr(), "vega: {}", outcome::printable(&failure.0));
            }
            (if json { format!("{}\n", serde_json::json!({ "error": failure.0 })) } else { String::new() }, 2)
        }
    };
    // Whoever closed the pipe has read enough; the code still tells the outcome.
    let mut output = std::io::stdout().lock();
    let _ = output.write_all(text.as_bytes()).and_then(|()| output.flush());
    ExitCode::from(code)
}

async fn run(arguments: Arguments, world: &World) -> Result<Answer, Failure> {
    let Arguments { json: _, connection, command } = arguments;
    match command {
        Command::Can(can) => can::run(can, &connection, world).await,
        Command::Rules(command) => rules::run(&command),
        Command::Doctor(doctor) => doctor::run(doctor, &connection, world).await,
        Command::Whoami => whoami::run(&connection, world).await,
        Command::Keys(command) => keys::run(command, &connection, world).await,
        Command::Scan(scan) => scan::run(scan, &connection, world).await,
        Command::Completions { shell } => Ok(arguments::completions(shell)),
        Command::Man => arguments::man_page(),
    }
}
