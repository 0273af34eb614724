use std::fmt::Display;

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde_json::Value;
use vega_auth::is_hidden;

/// The outcome of a command that found out what it was asked.
#[derive(Debug)]
pub struct Answer {
    /// For a person; complete lines.
    pub text: String,
    /// The same for a program: `--json`.
    pub json: Value,
    /// Whether a cause was found: exit code 1.
    pub is_problem: bool,
}

/// Why a command could not find out, in one sentence: exit code 2.
#[derive(Debug)]
pub struct Failure(pub String);

impl Answer {
    /// An answer without a problem.
    pub fn ok(text: impl Into<String>, json: Value) -> Self {
        Self { text: text.into(), json, is_problem: false }
    }

    /// A cause.
    pub fn problem(text: impl Into<String>, json: Value) -> Self {
        Self { is_problem: true, ..Self::ok(text, json) }
    }

    /// The output, ending with a line break.
    pub fn print(&self, json: bool) -> String {
        let text = if json { self.json.to_string() } else { printable(&self.text) };
        if text.is_empty() || text.ends_with('\n') { text } else { text + "\n" }
    }
}

/// The text without control and invisible characters, which a file or a response could contain to deceive a terminal.
pub fn printable(text: &str) -> String {
    text.chars().filter(|character| matches!(character, '\n' | '\t') || !is_hidden(*character)).collect()
}

/// A table with this header.
pub fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    *table.style_mut() = NOTHING;
    table.set_header(header);
    for row in rows {
        table.add_row(row);
    }
    format!("{table}\n")
}

/// `failure`, with what it is about.
pub fn about(subject: impl Display, failure: impl Display) -> Failure {
    Failure(format!("{subject}: {failure}"))
}
