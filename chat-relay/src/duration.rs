//! Durations as people write them in settings: a whole number and a unit, `250ms`, `5s`, `15m`, `6h`, `1d`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// A length of time in milliseconds, written with its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration {
    ms: i64,
}

/// A text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("write a duration as a whole number and a unit, like 250ms, 5s, 15m, 6h or 1d")]
pub struct NotADuration;

/// Units and their length in milliseconds, longest first so that display picks the largest that fits.
const UNITS: [(&str, i64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

impl Duration {
    /// From milliseconds; negative lengths become zero.
    #[must_use]
    pub const fn from_ms(ms: i64) -> Self {
        Self { ms: if ms < 0 { 0 } else { ms } }
    }

    /// From seconds.
    #[must_use]
    pub const fn from_seconds(seconds: i64) -> Self {
        Self::from_ms(seconds.saturating_mul(1000))
    }

    /// In milliseconds, never negative.
    #[must_use]
    pub const fn ms(self) -> i64 {
        self.ms
    }

    /// As the standard library has it.
    #[must_use]
    pub const fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.ms.unsigned_abs())
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |length: i64| self.ms != 0 && self.ms % length == 0;
        let (unit, length) = UNITS.into_iter().find(|(_, length)| fits(*length)).unwrap_or(("ms", 1));
        write!(f, "{}{unit}", self.ms / length)
    }
}

impl FromStr for Duration {
    type Err = NotADuration;

    fn from_str(text: &str) -> Result<Self, NotADuration> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at_checked(digits).ok_or(NotADuration)?;
        let number: i64 = number.parse().map_err(|_| NotADuration)?;
        let (_, length) = UNITS.into_iter().find(|(name, _)| *name == unit).ok_or(NotADuration)?;
        number.checked_mul(length).map(Self::from_ms).ok_or(NotADuration)
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_value_agree() {
        for (text, ms) in [
            ("0ms", 0),
            ("250ms", 250),
            ("5s", 5000),
            ("15m", 900_000),
            ("6h", 21_600_000),
            ("1d", 86_400_000),
        ] {
            let duration: Duration = text.parse().unwrap();
            assert_eq!(duration.ms(), ms);
            assert_eq!(duration.to_string(), text);
        }
        assert_eq!("90s".parse::<Duration>().unwrap().to_string(), "90s");
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "5", "s", "-5s", "1.5s", "5 s", "5w", "9223372036854775807d"] {
            assert_eq!(text.parse::<Duration>(), Err(NotADuration), "{text}");
        }
    }
}
