//! `make check-rules`: checks the folder `access` below the given folder, as the authorizer does when it starts. Prints every
//! problem with its file and line.

use std::path::Path;
use std::process::ExitCode;

use authorizer::read_rules;

fn main() -> ExitCode {
    let root = std::env::args_os().nth(1).unwrap_or_else(|| ".".into());
    match read_rules(Path::new(&root)) {
        Ok(_) => ExitCode::SUCCESS,
        Err(problems) => {
            for problem in problems {
                eprintln!("{problem}");
            }
            ExitCode::FAILURE
        }
    }
}
