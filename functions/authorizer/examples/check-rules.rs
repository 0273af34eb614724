//! `make check-rules`: checks the folder `access` below the given folder, rules and sources of tokens, as the authorizer does when it
//! starts. Prints every problem with its file.

use std::path::Path;
use std::process::ExitCode;

use authorizer::{check_sources, read_rules};

fn main() -> ExitCode {
    let root = std::env::args_os().nth(1).unwrap_or_else(|| ".".into());
    let root = Path::new(&root);
    let problems = read_rules(root).and_then(|rules| check_sources(root, &rules)).err().unwrap_or_default();
    for problem in &problems {
        eprintln!("{problem}");
    }
    if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
