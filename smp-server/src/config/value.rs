//! Values of settings as people write them: `15s`, `on`, `5223,443`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use protocol::smp::host::Host;
use serde::de::{self, Deserialize, Deserializer, Visitor};
use thiserror::Error;

use super::section::quoted;

/// Why the text of a setting was not understood.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ValueError {
    /// Not a length of time.
    #[error(
        "`{0}` is not a length of time: write a number with its unit, such as 500ms, 15s, 10m, 2h or 21d"
    )]
    Period(String),
    /// Not a switch.
    #[error("`{0}` is neither `on` nor `off`")]
    Switch(String),
    /// Not a list of ports.
    #[error("`{0}` is not a list of ports: write numbers from 0 to 65535 joined by commas")]
    Ports(String),
    /// Not a port.
    #[error("`{0}` is neither `off` nor a port: write a number from 0 to 65535")]
    Port(String),
    /// Not a place to listen at.
    #[error("`{0}` is neither `off` nor an address and port such as 127.0.0.1:9223 or [::1]:9223")]
    Endpoint(String),
    /// Not what is told in this place.
    #[error("`{text}` is not {expected}")]
    Information {
        /// What was written.
        text: String,
        /// What is expected, in words.
        expected: &'static str,
    },
    /// Not a list of host names.
    #[error("`{0}` is not a list of host names: write names or addresses joined by commas, without spaces")]
    Hosts(String),
}

/// A length of time, written with its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub Duration);

impl Period {
    /// A length in milliseconds.
    #[must_use]
    pub const fn ms(ms: u64) -> Self {
        Self(Duration::from_millis(ms))
    }

    /// A length in seconds.
    #[must_use]
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// A length in hours.
    #[must_use]
    pub const fn hours(hours: u64) -> Self {
        Self(Duration::from_secs(hours * 3600))
    }

    /// As people say it: `21 days`.
    #[must_use]
    pub fn in_words(self) -> String {
        let ms = self.as_ms().unsigned_abs();
        let units = [("day", 86_400_000), ("hour", 3_600_000), ("minute", 60_000), ("second", 1000)];
        let whole = units.iter().find(|(_, unit_ms)| ms >= *unit_ms && ms.is_multiple_of(*unit_ms));
        let (name, unit_ms) = whole.unwrap_or(&("millisecond", 1));
        let count = ms / unit_ms;
        format!("{count} {name}{}", if count == 1 { "" } else { "s" })
    }

    /// Whole milliseconds, as stored times are compared.
    #[must_use]
    pub fn as_ms(self) -> i64 {
        i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX)
    }
}

/// Units, largest first, in milliseconds.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

impl FromStr for Period {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let wrong = || ValueError::Period(text.to_owned());
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let (_, unit_ms) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        number.checked_mul(*unit_ms).map(Self::ms).ok_or_else(wrong)
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        let (name, unit_ms) = UNITS
            .iter()
            .find(|(_, unit_ms)| ms >= *unit_ms && ms.is_multiple_of(*unit_ms))
            .unwrap_or(&("ms", 1));
        write!(f, "{}{name}", ms / unit_ms)
    }
}

/// `on` or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switch(pub bool);

impl FromStr for Switch {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text {
            "on" | "true" => Ok(Self(true)),
            "off" | "false" => Ok(Self(false)),
            _ => Err(ValueError::Switch(text.to_owned())),
        }
    }
}

impl fmt::Display for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0 { "on" } else { "off" })
    }
}

/// One or more TCP ports; port 0 lets the system choose a free one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ports(pub Vec<u16>);

impl FromStr for Ports {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let ports: Result<Vec<u16>, _> = text.split(',').map(|port| port.trim().parse()).collect();
        ports.map(Self).map_err(|_| ValueError::Ports(text.to_owned()))
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ports: Vec<String> = self.0.iter().map(u16::to_string).collect();
        f.write_str(&ports.join(","))
    }
}

/// The names under which clients find the server, first the preferred one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosts(pub Vec<Host>);

impl FromStr for Hosts {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let hosts: Result<Vec<Host>, _> = text.split(',').map(|host| host.trim().parse()).collect();
        hosts.map(Self).map_err(|_| ValueError::Hosts(text.to_owned()))
    }
}

impl fmt::Display for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<String> = self.0.iter().map(Host::to_string).collect();
        f.write_str(&hosts.join(","))
    }
}

/// A path; relative ones start at the server's directory.
pub type FilePath = PathBuf;

quoted! {
    IpAddr: |value| value.to_string(),
    FilePath: |value| value.display().to_string(),
    Ports: |value| value.to_string(),
    Port: |value| value.to_string(),
    Hosts: |value| value.to_string(),
    Period: |value| value.to_string(),
    Switch: |value| value.to_string(),
    Endpoint: |value| value.to_string(),
}

/// A TCP port, or `off`; port 0 lets the system choose a free one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port(pub Option<u16>);

impl FromStr for Port {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if text == "off" {
            return Ok(Self(None));
        }
        text.parse().map(|port| Self(Some(port))).map_err(|_| ValueError::Port(text.to_owned()))
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(port) => port.fmt(f),
            None => f.write_str("off"),
        }
    }
}

/// Where something listens, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint(pub Option<SocketAddr>);

impl FromStr for Endpoint {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if text == "off" {
            return Ok(Self(None));
        }
        text.parse().map(|address| Self(Some(address))).map_err(|_| ValueError::Endpoint(text.to_owned()))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("off"),
        }
    }
}

/// In the file these values are strings; ports may be a number and switches a boolean too.
macro_rules! read_as_text {
    ($($value:ty),*) => {$(
        impl<'de> Deserialize<'de> for $value {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(AsText)?.parse().map_err(de::Error::custom)
            }
        }
    )*};
}
read_as_text!(Period, Switch, Ports, Port, Hosts, Endpoint);

struct AsText;

impl Visitor<'_> for AsText {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, a number or a boolean")
    }

    fn visit_str<E>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_i64<E>(self, number: i64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_bool<E>(self, value: bool) -> Result<String, E> {
        Ok(value.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_carry_a_unit() {
        for (text, ms) in
            [("500ms", 500), ("15s", 15_000), ("10m", 600_000), ("2h", 7_200_000), ("21d", 1_814_400_000)]
        {
            let period: Period = text.parse().unwrap();
            assert_eq!(period.as_ms(), ms);
            assert_eq!(period.to_string(), text);
        }
        for wrong in ["", "15", "s", "-1s", "1w", "1.5s", "99999999999999999999d", "999999999999999999d"] {
            assert_eq!(wrong.parse::<Period>(), Err(ValueError::Period(wrong.to_owned())));
        }
        assert_eq!(Period::ms(0).to_string(), "0ms");
        assert_eq!(Period::hours(21 * 24).in_words(), "21 days");
        assert_eq!(Period::hours(1).in_words(), "1 hour");
        assert_eq!(Period::ms(90_500).in_words(), "90500 milliseconds");
    }

    #[test]
    fn endpoints_are_off_or_an_address_with_its_port() {
        for text in ["off", "127.0.0.1:9223", "[::1]:0"] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        assert!("9223".parse::<Endpoint>().is_err() && "localhost:1".parse::<Endpoint>().is_err());
    }

    #[test]
    fn a_port_is_off_or_a_number() {
        for text in ["off", "0", "443"] {
            assert_eq!(text.parse::<Port>().unwrap().to_string(), text);
        }
        assert!("on".parse::<Port>().is_err() && "65536".parse::<Port>().is_err());
    }

    #[test]
    fn lists_are_joined_by_commas() {
        assert_eq!("5223, 443".parse(), Ok(Ports(vec![5223, 443])));
        assert!("5223,".parse::<Ports>().is_err() && "70000".parse::<Ports>().is_err());
        assert_eq!("a.example, b.onion".parse::<Hosts>().unwrap().to_string(), "a.example,b.onion");
        assert!("a b".parse::<Hosts>().is_err() && "".parse::<Hosts>().is_err());
    }
}
