use serde::Serialize;
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use vega_auth::Timestamp;

/// The unit of a metric, as `CloudWatch` names it.
#[derive(Clone, Copy, Debug, Serialize)]
pub enum Unit {
    /// A number of things.
    Count,
    /// A duration.
    Milliseconds,
    /// An age.
    Seconds,
}

/// Metrics of a log line that have the same dimensions. Metrics and dimensions are members of the line, which must contain all of
/// them, or `CloudWatch` ignores the line's metrics.
#[derive(Debug)]
pub struct Directive(Option<Box<RawValue>>);

impl Directive {
    /// Each element of `dimensions` is a set of members by which `CloudWatch` adds up the metrics separately.
    pub fn new(namespace: &str, dimensions: &[&[&str]], metrics: &[(&str, Unit)]) -> Self {
        let metrics: Vec<_> = metrics.iter().map(|(name, unit)| json!({ "Name": name, "Unit": unit })).collect();
        let directive = json!({ "Namespace": namespace, "Dimensions": dimensions, "Metrics": metrics });
        Self(to_raw_value(&directive).ok())
    }
}

/// The member `_aws` of a log line, which turns some of its members into metrics without a call
/// ([embedded metric format](https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html)).
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct EmbeddedMetrics<'a> {
    timestamp: i64,
    cloud_watch_metrics: Vec<&'a RawValue>,
}

impl<'a> EmbeddedMetrics<'a> {
    /// The metrics of a line that is written at `now`.
    pub fn new(now: Timestamp, directives: impl IntoIterator<Item = &'a Directive>) -> Self {
        let cloud_watch_metrics = directives.into_iter().filter_map(|directive| directive.0.as_deref()).collect();
        Self { timestamp: now.0.saturating_mul(1000), cloud_watch_metrics }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_written_in_the_embedded_format() {
        let directive = Directive::new("Vega/x", &[&["outcome", "code"]], &[("duration_ms", Unit::Milliseconds)]);
        assert_eq!(
            serde_json::to_value(EmbeddedMetrics::new(Timestamp(1_800_000_000), [&directive])).unwrap(),
            json!({ "Timestamp": 1_800_000_000_000_i64, "CloudWatchMetrics": [{
                "Namespace": "Vega/x", "Dimensions": [["outcome", "code"]],
                "Metrics": [{ "Name": "duration_ms", "Unit": "Milliseconds" }]
            }] })
        );
    }
}
