use vega_auth::Timestamp;
use vega_aws::{Directive, EmbeddedMetrics, Unit};

use crate::log_line::LogLine;

/// The metrics in the log lines. No dimension grows with keys or callers: docs/operations.md, "Metrics".
#[derive(Debug)]
pub struct Metrics {
    rejections: Directive,
    decisions: Directive,
    key_reads: Directive,
    key_set_age: Directive,
    key_set_fetches: Directive,
    cold_starts: Directive,
}

impl Metrics {
    /// The metrics in this namespace: `VEGA_METRIC_NAMESPACE`.
    pub fn new(namespace: &str) -> Self {
        let outcome: &[&[&str]] = &[&["outcome"]];
        Self {
            rejections: Directive::new(namespace, &[&["outcome", "code"]], &[("duration_ms", Unit::Milliseconds)]),
            decisions: Directive::new(
                namespace,
                &[&["outcome", "code"], &["outcome", "code", "via"]],
                &[("duration_ms", Unit::Milliseconds)],
            ),
            key_reads: Directive::new(
                namespace,
                outcome,
                &[("key_read_ms", Unit::Milliseconds), ("key_read_attempts", Unit::Count)],
            ),
            key_set_age: Directive::new(namespace, outcome, &[("key_set_age_seconds", Unit::Seconds)]),
            key_set_fetches: Directive::new(namespace, outcome, &[("key_set_fetches", Unit::Count)]),
            cold_starts: Directive::new(namespace, outcome, &[("cold_start", Unit::Count)]),
        }
    }

    /// The metrics of a line, of whose members some can be absent.
    pub fn of(&self, line: &LogLine<'_>, now: Timestamp) -> EmbeddedMetrics<'_> {
        let directives = [
            line.duration_ms.map(|_| if line.via.is_some() { &self.decisions } else { &self.rejections }),
            line.key_read_ms.and(line.key_read_attempts).map(|_| &self.key_reads),
            line.key_set_age_seconds.map(|_| &self.key_set_age),
            line.key_set_fetches.map(|_| &self.key_set_fetches),
            line.cold_start.map(|_| &self.cold_starts),
        ];
        EmbeddedMetrics::new(now, directives.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::event::EventError;
    use crate::outcome::Outcome;
    use crate::outcome::tests::caller;

    /// The names of the metrics in a line that is changed like this.
    fn names(outcome: &Outcome, change: impl FnOnce(&mut LogLine<'_>)) -> Vec<String> {
        let metrics = Metrics::new("Vega/test");
        let mut line = LogLine::new(None, None, outcome);
        line.duration_ms = Some(1);
        change(&mut line);
        line.metrics = Some(metrics.of(&line, Timestamp(1)));
        let line: Value = serde_json::from_str(&line.to_string()).unwrap();
        let mut names = Vec::new();
        for directive in line["_aws"]["CloudWatchMetrics"].as_array().unwrap() {
            let dimensions = directive["Dimensions"].as_array().unwrap().iter().flat_map(|set| set.as_array().unwrap());
            for name in dimensions {
                assert!(line[name.as_str().unwrap()].is_string(), "{name} isn't in the line");
                assert!(
                    ["outcome", "code", "via"].contains(&name.as_str().unwrap()),
                    "{name} could grow without bound"
                );
            }
            for metric in directive["Metrics"].as_array().unwrap() {
                let name = metric["Name"].as_str().unwrap();
                assert!(line[name].is_number(), "{name} isn't in the line");
                names.push(name.to_owned());
            }
        }
        names
    }

    #[test]
    fn a_line_contains_every_metric_and_dimension_it_names() {
        assert_eq!(names(&Outcome::BadEvent(EventError::Malformed), |_| {}), ["duration_ms"]);
        assert_eq!(names(&Outcome::Allow(caller()), |line| line.cold_start = Some(1)), ["duration_ms", "cold_start"]);
        let all = names(&Outcome::Allow(caller()), |line| {
            (line.key_read_ms, line.key_read_attempts) = (Some(3), Some(1));
            (line.key_set_age_seconds, line.key_set_fetches, line.cold_start) = (Some(60), Some(1), Some(1));
        });
        assert_eq!(
            all,
            ["duration_ms", "key_read_ms", "key_read_attempts", "key_set_age_seconds", "key_set_fetches", "cold_start"]
        );
    }
}
