use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

/// The text of a rules file. Problems with it have a line, and misspelt names a suggestion.
pub struct Source<'a> {
    json: &'a str,
    problems: Vec<Problem>,
}

/// A problem with a rules file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1.
    pub line: usize,
    /// The rule or scope, the problem and, if there is one, a suggestion.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.text)
    }
}

/// Every problem with a rules file.
#[derive(Debug, PartialEq, Eq)]
pub struct RulesError(pub Vec<Problem>);

impl fmt::Display for RulesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problems: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&problems.join("; "))
    }
}

impl std::error::Error for RulesError {}

impl<'a> Source<'a> {
    /// Largest file, in bytes. The rules of 1,200 routes have about 100,000.
    const MAX_BYTES: usize = 1 << 20;

    /// Reads the document, whose parts can then be read one by one.
    /// Fails when it isn't JSON of this form.
    pub fn document<T: Deserialize<'a>>(json: &'a str) -> Result<(Self, T), RulesError> {
        let problem = |line, text: &str| RulesError(vec![Problem { line, text: text.to_owned() }]);
        if json.len() > Self::MAX_BYTES {
            return Err(problem(1, "the file is larger than 1 MiB"));
        }
        if json.starts_with('\u{feff}') {
            return Err(problem(1, "the file begins with a byte order mark: save it as UTF-8 without one"));
        }
        match serde_json::from_str(json) {
            Ok(document) => Ok((Self { json, problems: Vec::new() }, document)),
            Err(error) => Err(problem(error.line(), &message(&error))),
        }
    }

    /// Reads a part of the document, called `name` in problems.
    pub fn read<T: Deserialize<'a>>(&mut self, name: impl FnOnce() -> String, part: &'a RawValue) -> Option<T> {
        serde_json::from_str(part.get())
            .map_err(|error| {
                let line = self.line(part) + error.line().saturating_sub(1);
                self.problems.push(Problem { line, text: format!("{}: {}", name(), message(&error)) });
            })
            .ok()
    }

    /// Adds a problem with a part of the document.
    pub fn problem(&mut self, part: &RawValue, text: String) {
        let line = self.line(part);
        self.problems.push(Problem { line, text });
    }

    /// Adds a problem with the whole document.
    pub fn problem_with_all(&mut self, text: &str) {
        self.problems.push(Problem { line: 1, text: text.to_owned() });
    }

    /// Returns the problems, if there are any.
    pub fn check(&mut self) -> Result<(), RulesError> {
        self.problems.sort_by_key(|problem| problem.line);
        if self.problems.is_empty() { Ok(()) } else { Err(RulesError(std::mem::take(&mut self.problems))) }
    }

    fn line(&self, part: &RawValue) -> usize {
        let offset = part.get().as_ptr().addr().saturating_sub(self.json.as_ptr().addr());
        1 + self.json.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count()
    }
}

/// serde's message without its position, and with a suggestion for an unknown member: "unknown field `group`, expected one of
/// `route`, `groups`".
fn message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    let mut quoted = text.split('`').skip(1).step_by(2);
    match quoted.next() {
        Some(name) if text.starts_with("unknown ") => format!("{text}{}", did_you_mean(name, quoted)),
        _ => text.to_owned(),
    }
}

/// `; did you mean "user"?` if one of the known names resembles `name`, or nothing.
pub fn did_you_mean<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let nearest = known.map(|known| (distance(name, known), known)).min();
    match nearest {
        Some((distance, known)) if distance > 0 && distance <= 1 + name.len() / 4 => {
            format!("; did you mean {known:?}?")
        }
        _ => String::new(),
    }
}

/// Levenshtein's distance in bytes.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, byte) in one.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (column, known) in other.bytes().enumerate() {
            let replaced = diagonal + usize::from(byte != known);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_gets_the_nearest_as_a_suggestion() {
        let known = ["root", "operator", "user"];
        for (name, suggestion) in [
            ("operater", r#"; did you mean "operator"?"#),
            ("users", r#"; did you mean "user"?"#),
            ("usre", r#"; did you mean "user"?"#),
            ("user", ""),
            ("admins", ""),
            ("", ""),
        ] {
            assert_eq!(did_you_mean(name, known.into_iter()), suggestion, "{name}");
        }
        assert_eq!(did_you_mean("x", std::iter::empty()), "");
    }

    #[test]
    fn the_distance_counts_inserted_removed_and_replaced_bytes() {
        for (one, other, expected) in
            [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("ab", "ba", 2), ("a", "a", 0)]
        {
            assert_eq!((distance(one, other), distance(other, one)), (expected, expected), "{one} {other}");
        }
    }
}
