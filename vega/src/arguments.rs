use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use serde_json::json;
use vega_auth::KeyId;

use crate::outcome::{Answer, Failure};

/// Explains decisions of Vega Auth, checks access rules, manages API keys and finds leaked ones.
///
/// Exit codes: 0 no problem, 1 a cause was found, 2 it could not be found out.
#[derive(Debug, Parser)]
#[command(name = "vega", version, max_term_width = 100)]
pub struct Arguments {
    /// Print JSON.
    #[arg(long, global = true)]
    pub json: bool,
    #[command(flatten)]
    pub connection: Connection,
    #[command(subcommand)]
    pub command: Command,
}

/// The API, and the source of the credential. A credential is never an argument: other processes can read those.
#[derive(Args, Debug)]
pub struct Connection {
    /// The API's base URL; otherwise the variable `VEGA_URL`.
    #[arg(long, global = true, value_name = "URL")]
    pub url: Option<String>,
    /// Read the access token or API key from standard input. Otherwise the variable `VEGA_TOKEN`, or the terminal.
    #[arg(long, global = true)]
    pub token_stdin: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Decide whether a caller can call a route, with the authorizer's own code, and name the rule.
    Can(Can),
    /// Find out why requests get 401, 403 or 503.
    Doctor(Doctor),
    /// Check, test and show access rules.
    #[command(subcommand)]
    Rules(Rules),
    /// Show who the API takes the caller for.
    Whoami,
    /// Manage API keys.
    #[command(subcommand)]
    Keys(Keys),
    /// Find API keys in files and in the history of git, by their checksum and without the network.
    Scan(Scan),
    /// Print the completion script of a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print the manual page.
    Man,
}

#[derive(Args, Debug)]
pub struct RulesFile {
    /// The rules.
    #[arg(long = "rules", value_name = "FILE", default_value = "access/vega.json")]
    pub file: PathBuf,
}

#[derive(Args, Debug)]
pub struct Can {
    /// The HTTP method.
    pub method: String,
    /// The path, or the route's template such as /v1/projects/{id}.
    pub path: String,
    #[command(flatten)]
    pub rules: RulesFile,
    /// The caller's address, for a key with networks.
    #[arg(long, value_name = "ADDRESS")]
    pub from: Option<IpAddr>,
    /// Decide about a caller in these groups instead of one with a credential: `user,operator`, or `-` for none.
    #[arg(long, value_name = "GROUPS")]
    pub groups: Option<String>,
    /// With --groups: the caller is an API key.
    #[arg(long, requires = "groups")]
    pub key: bool,
    /// With --groups and --key: the key's scopes.
    #[arg(long, requires = "key", value_delimiter = ',', value_name = "SCOPES")]
    pub scopes: Vec<String>,
}

#[derive(Args, Debug)]
pub struct Doctor {
    /// Also decide about this path, by the rules.
    #[arg(long)]
    pub path: Option<String>,
    /// The method of --path.
    #[arg(long, default_value = "GET")]
    pub method: String,
    #[command(flatten)]
    pub rules: RulesFile,
    /// The caller's address, for a key with networks.
    #[arg(long, value_name = "ADDRESS")]
    pub from: Option<IpAddr>,
}

#[derive(Debug, Subcommand)]
pub enum Rules {
    /// Report every problem of a rules file with its line.
    Check {
        #[command(flatten)]
        rules: RulesFile,
    },
    /// Run expectations such as "operator may DELETE /v1/projects/{id}", one per line.
    Test {
        /// The file of expectations.
        expectations: PathBuf,
        #[command(flatten)]
        rules: RulesFile,
    },
    /// Show who may call each route, or the given one.
    Who {
        /// The HTTP method.
        #[arg(requires = "path")]
        method: Option<String>,
        /// The path.
        path: Option<String>,
        #[command(flatten)]
        rules: RulesFile,
    },
}

#[derive(Debug, Subcommand)]
pub enum Keys {
    /// List your keys.
    List {
        /// Only keys with this status: active, disabled, expired or revoked.
        #[arg(long)]
        status: Option<String>,
    },
    /// Show a key.
    Show {
        /// The key's id.
        id: KeyId,
    },
    /// Create a key.
    Create {
        /// The name.
        name: String,
        /// The purpose.
        #[arg(long)]
        description: Option<String>,
        /// The key's groups; by default all of yours.
        #[arg(long, value_delimiter = ',')]
        groups: Vec<String>,
        /// The scopes that it is limited to.
        #[arg(long, value_delimiter = ',')]
        scopes: Vec<String>,
        /// The networks that it can be used from.
        #[arg(long, value_delimiter = ',')]
        cidrs: Vec<String>,
        /// Days until it expires.
        #[arg(long, value_name = "DAYS")]
        expires_in_days: Option<u32>,
        #[command(flatten)]
        secret: NewSecret,
    },
    /// Replace a key with a new one.
    Rotate {
        /// The key's id.
        id: KeyId,
        /// Seconds for which the old key keeps working; a day by default.
        #[arg(long, value_name = "SECONDS")]
        overlap_seconds: Option<u32>,
        #[command(flatten)]
        secret: NewSecret,
    },
    /// Disable a key; it can be enabled again.
    Disable {
        #[command(flatten)]
        change: Change,
    },
    /// Enable a disabled key.
    Enable {
        #[command(flatten)]
        change: Change,
    },
    /// Revoke a key, for good.
    Revoke {
        #[command(flatten)]
        change: Change,
    },
    /// Show a key's audit trail.
    Events {
        /// The key's id.
        id: KeyId,
    },
}

/// Where the new key goes. It is shown once, so one of the two is required.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub struct NewSecret {
    /// Print the new key.
    #[arg(long)]
    pub show_key: bool,
    /// Write the new key to a new file that only you can read.
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct Change {
    /// The key's id.
    pub id: KeyId,
    /// The reason, for the audit trail.
    #[arg(long)]
    pub reason: Option<String>,
}

#[derive(Args, Debug)]
pub struct Scan {
    /// The folder.
    pub folder: PathBuf,
    /// Report the keys that were found to the API, which revokes them.
    #[arg(long)]
    pub report: bool,
    /// Don't read the history of git.
    #[arg(long)]
    pub no_history: bool,
}

pub fn completions(shell: Shell) -> Answer {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "vega", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    Answer::ok(script.clone(), json!({ "completions": script }))
}

pub fn man_page() -> Result<Answer, Failure> {
    let mut page = Vec::new();
    clap_mangen::Man::new(Arguments::command())
        .render(&mut page)
        .map_err(|error| Failure(format!("the manual page: {error}")))?;
    let page = String::from_utf8_lossy(&page).into_owned();
    Ok(Answer::ok(page.clone(), json!({ "man": page })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_argument_takes_a_credential() {
        Arguments::command().debug_assert();
        for words in [&["vega", "can", "GET", "/", "--token", "x"][..], &["vega", "whoami", "vk_x"]] {
            assert!(Arguments::try_parse_from(words).is_err(), "{words:?}");
        }
    }
}
