//! Reads the access rules that are deployed with a function: the folder `access` beside its program.

use std::path::Path;

use vega_auth::AccessRules;
use vega_auth::config::Environment;

/// The rules of the stack's own API.
const OWN: &str = "access/vega.json";

/// Reads the rules of the running function. The problems are collected in `environment`.
pub fn read(environment: &mut Environment<'_>) -> Option<AccessRules> {
    environment.required("LAMBDA_TASK_ROOT", |root| read_below(Path::new(root)).map_err(|problems| problems.join("; ")))
}

/// Reads the rules in the folder `access` below `root`, or returns every problem with its file and line:
/// `access/vega.json:3: …`.
pub fn read_below(root: &Path) -> Result<AccessRules, Vec<String>> {
    let json = std::fs::read_to_string(root.join(OWN)).map_err(|error| vec![format!("{OWN}: {error}")])?;
    json.parse().map_err(|error: vega_auth::RulesError| {
        error.0.iter().map(|problem| format!("{OWN}:{}: {}", problem.line, problem.text)).collect()
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_of_this_repository_are_valid() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        assert!(read_below(&root).unwrap().scopes().count() > 1);
    }

    #[test]
    fn a_missing_file_is_a_problem() {
        let problems = read_below(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap_err();
        assert!(problems[0].starts_with("access/vega.json: "), "{problems:?}");
    }
}
