//! The reasons for a report to fail.

use vega_http::{Code, ProblemType};

use crate::{MAX_FOUND_AT, MAX_GITHUB_BODY_BYTES, MAX_KEYS};

/// The problem types of the reports.
#[derive(Debug, thiserror::Error)]
pub enum ReportProblem {
    #[error("found_at: expected a line of at most {MAX_FOUND_AT} characters, none of them hidden.")]
    FoundAt,
    #[error("Expected either key or keys, with 1 to {MAX_KEYS} texts.")]
    Keys,
    #[error("The body has more than {MAX_GITHUB_BODY_BYTES} bytes.")]
    TooLarge,
    #[error("The body is not signed by one of GitHub's keys.")]
    NotSigned,
    #[error("The body is not a list of matches as GitHub sends it.")]
    NotMatches,
}

impl ProblemType for ReportProblem {
    fn code(&self) -> Code {
        match self {
            Self::FoundAt | Self::Keys => Code::InvalidValue,
            Self::TooLarge => Code::BodyTooLarge,
            Self::NotSigned => Code::InvalidSignature,
            Self::NotMatches => Code::InvalidBody,
        }
    }
}
