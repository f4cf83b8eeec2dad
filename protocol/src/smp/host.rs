//! Names of the machines that servers run on (smp.md §1.3).

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::encoding::{Decode, DecodeError, Encode, Reader, put_short};

/// Longest name in bytes: it is sent as a short string.
const HOST_BYTES_MAX: usize = 255;
const ONION: &str = ".onion";

/// Where a server can be reached, without the port.
///
/// Read in the order of the variants, so that `192.256.0.1` is a domain name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// Four decimal numbers.
    Ipv4(Ipv4Addr),
    /// In brackets in texts, without them in bytes; both are read.
    Ipv6(Ipv6Addr),
    /// A Tor service: letters and digits before `.onion`, which is not part of this value.
    Onion(String),
    /// A name to be resolved.
    Domain(String),
}

impl Host {
    /// Whether it is reached through Tor.
    #[must_use]
    pub fn is_onion(&self) -> bool {
        matches!(self, Self::Onion(_))
    }

    /// The form inside URIs: an IPv6 address in brackets, because a port may follow.
    pub(crate) fn to_uri(&self) -> String {
        match self {
            Self::Ipv6(_) => format!("[{self}]"),
            _ => self.to_string(),
        }
    }
}

/// The form in bytes, see [`Host`].
impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ipv4(address) => address.fmt(f),
            // The standard form of a mapped address has dots, which the bare form on the wire may not have.
            Self::Ipv6(address) => match (address.to_ipv4_mapped(), address.segments()) {
                (Some(_), [.., high, low]) => write!(f, "::ffff:{high:x}:{low:x}"),
                (None, _) => address.fmt(f),
            },
            Self::Onion(name) => write!(f, "{name}{ONION}"),
            Self::Domain(name) => f.write_str(name),
        }
    }
}

impl std::str::FromStr for Host {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<Self, DecodeError> {
        if text.is_empty() || text.len() > HOST_BYTES_MAX {
            return Err(DecodeError::Invalid("host"));
        }
        None.or_else(|| ipv4(text).map(Self::Ipv4))
            .or_else(|| ipv6(text).map(Self::Ipv6))
            .or_else(|| onion(text).map(|name| Self::Onion(name.to_owned())))
            .or_else(|| domain(text).map(|name| Self::Domain(name.to_owned())))
            .ok_or(DecodeError::Invalid("host"))
    }
}

impl Encode for Host {
    fn encode(&self, out: &mut Vec<u8>) {
        put_short(out, self.to_string().as_bytes());
    }
}

impl Decode for Host {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.text()?.parse()
    }
}

/// Unlike the standard library, leading zeros are allowed.
fn ipv4(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next().filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()))?;
        *octet = part.parse().ok()?;
    }
    parts.next().is_none().then(|| octets.into())
}

fn ipv6(text: &str) -> Option<Ipv6Addr> {
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let bare = || text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':').then_some(text);
    inner.or_else(bare)?.parse().ok()
}

fn onion(text: &str) -> Option<&str> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.strip_suffix(ONION).filter(|name| !name.is_empty() && name.bytes().all(allowed))
}

/// The protocol allows any bytes but its separators; names outside of printable ASCII cannot be resolved and
/// could hide in a terminal, so they are refused.
fn domain(text: &str) -> Option<&str> {
    let allowed = |byte: u8| byte.is_ascii_graphic() && !b":#,;/".contains(&byte);
    Some(text).filter(|name| name.bytes().all(allowed) && !name.ends_with(ONION))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_tried_in_order() {
        let host = |text: &str| text.parse::<Host>();
        assert_eq!(host("192.168.0.1"), Ok(Host::Ipv4([192, 168, 0, 1].into())));
        assert_eq!(host("010.0.0.1"), Ok(Host::Ipv4([10, 0, 0, 1].into())));
        assert_eq!(host("192.256.0.1"), Ok(Host::Domain("192.256.0.1".into())));
        assert_eq!(host("+1.2.3.4"), Ok(Host::Domain("+1.2.3.4".into())));
        assert_eq!(host("::1"), Ok(Host::Ipv6(Ipv6Addr::LOCALHOST)));
        assert_eq!(host("[::1]"), Ok(Host::Ipv6(Ipv6Addr::LOCALHOST)));
        assert_eq!(host("abc123.onion"), Ok(Host::Onion("abc123".into())));
        assert_eq!(host("beef"), Ok(Host::Domain("beef".into())));
        assert_eq!(host("smp.example.com"), Ok(Host::Domain("smp.example.com".into())));
        for text in
            ["", "a b", "a:1", "a,b", "a;b", "a/b", "a#b", "a\n", "ABC.onion", ".onion", "[::1", "é.example"]
        {
            assert!(host(text).is_err(), "{text:?}");
        }
        assert!(host(&"a".repeat(256)).is_err());
    }

    #[test]
    fn every_form_round_trips() {
        for text in ["10.0.0.1", "2001:db8::1", "::ffff:102:304", "abc.onion", "localhost"] {
            let host: Host = text.parse().unwrap();
            assert_eq!(host.to_string(), text);
            assert_eq!(Host::from_bytes(&host.to_bytes()), Ok(host.clone()));
            assert_eq!(host.to_uri().parse(), Ok(host));
        }
    }
}
