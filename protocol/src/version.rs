//! Version ranges and how two of them meet (agent.md §1.4, smp.md §4.5).

use crate::encoding::{Decode, DecodeError, Encode, Reader};

/// An inclusive range of versions, `min ≤ max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionRange {
    min: u16,
    max: u16,
}

impl VersionRange {
    /// The range from `min` to `max`, or nothing when it is empty.
    #[must_use]
    pub const fn new(min: u16, max: u16) -> Option<Self> {
        if min <= max { Some(Self { min, max }) } else { None }
    }

    /// The range of one version.
    #[must_use]
    pub const fn single(version: u16) -> Self {
        Self { min: version, max: version }
    }

    /// The lowest version.
    #[must_use]
    pub const fn min(self) -> u16 {
        self.min
    }

    /// The highest version.
    #[must_use]
    pub const fn max(self) -> u16 {
        self.max
    }

    /// Whether `version` lies within.
    #[must_use]
    pub const fn contains(self, version: u16) -> bool {
        self.min <= version && version <= self.max
    }

    /// The versions common to both.
    #[must_use]
    pub fn meet(self, other: Self) -> Option<Self> {
        Self::new(self.min.max(other.min), self.max.min(other.max))
    }

    /// The version that two parties with these ranges use: the highest common one.
    #[must_use]
    pub fn agree(self, other: Self) -> Option<u16> {
        self.meet(other).map(Self::max)
    }
}

/// `min-max`, or one number when both are equal.
impl std::fmt::Display for VersionRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.min == self.max { write!(f, "{}", self.min) } else { write!(f, "{}-{}", self.min, self.max) }
    }
}

impl std::str::FromStr for VersionRange {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<Self, DecodeError> {
        let number = |part: &str| part.parse::<u16>().map_err(|_| DecodeError::Invalid("version range"));
        let (min, max) = match text.split_once('-') {
            Some((min, max)) => (number(min)?, number(max)?),
            None => (number(text)?, number(text)?),
        };
        Self::new(min, max).ok_or(DecodeError::Invalid("version range"))
    }
}

impl Encode for VersionRange {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.min.to_be_bytes());
        out.extend_from_slice(&self.max.to_be_bytes());
    }
}

impl Decode for VersionRange {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (min, max) = (reader.u16()?, reader.u16()?);
        Self::new(min, max).ok_or(DecodeError::Invalid("version range"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_meet_in_their_highest_common_version() {
        let range = |min, max| VersionRange::new(min, max).unwrap();
        assert_eq!(range(15, 18).agree(range(6, 17)), Some(17));
        assert_eq!(range(15, 18).agree(range(6, 14)), None);
        assert_eq!(VersionRange::new(3, 2), None);
    }

    #[test]
    fn text_and_bytes_round_trip() {
        for text in ["1-19", "7"] {
            let range: VersionRange = text.parse().unwrap();
            assert_eq!(range.to_string(), text);
            assert_eq!(VersionRange::from_bytes(&range.to_bytes()), Ok(range));
        }
        assert!("5-3".parse::<VersionRange>().is_err());
        assert!(VersionRange::from_bytes(&[0, 5, 0, 3]).is_err());
    }
}
