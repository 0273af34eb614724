use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// An instant in whole seconds since 1970-01-01T00:00:00Z (the `NumericDate` of RFC 7519 section 2).
///
/// Written and read as RFC 3339 in UTC: `2026-11-24T05:00:00Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The last second that RFC 3339 can express: 9999-12-31T23:59:59Z.
    pub const MAX: Self = Self(253_402_300_799);

    /// This instant moved by `seconds`, clamped to what RFC 3339 can express from 1970 on.
    #[must_use]
    pub fn plus(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds).clamp(0, Self::MAX.0))
    }
}

/// Only a `main` reads the clock.
impl From<std::time::SystemTime> for Timestamp {
    fn from(time: std::time::SystemTime) -> Self {
        Self(OffsetDateTime::from(time).unix_timestamp())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = OffsetDateTime::from_unix_timestamp(self.0)
            .ok()
            .and_then(|time| time.format(&Rfc3339).ok())
            .ok_or(fmt::Error)?;
        f.write_str(&text)
    }
}

impl FromStr for Timestamp {
    type Err = time::error::Parse;

    /// Reads any RFC 3339 date-time. The offset is applied and the fraction dropped.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(OffsetDateTime::parse(text, &Rfc3339)?.unix_timestamp()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(|_| {
            let other = de::Unexpected::Other("another text");
            de::Error::invalid_value(other, &"an RFC 3339 date-time such as 2026-11-24T05:00:00Z")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_rfc_3339_in_utc() {
        let instant: Timestamp = "2026-11-24T06:00:00.9+01:00".parse().unwrap();
        assert_eq!(instant.to_string(), "2026-11-24T05:00:00Z");
        assert_eq!(instant.to_string().parse(), Ok(instant));
        assert!("tomorrow".parse::<Timestamp>().is_err());
    }

    #[test]
    fn arithmetic_stays_within_rfc_3339() {
        assert_eq!(Timestamp(10).plus(i64::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::MAX.to_string(), "9999-12-31T23:59:59Z");
        assert_eq!(Timestamp(10).plus(i64::MIN), Timestamp(0));
    }
}
