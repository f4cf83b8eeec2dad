//! Addresses of servers (smp.md §1.1 and §16.1, agent.md §0.8).
//!
//! ```text
//! bytes  server = list1 host   short port   short keyHash          port is decimal, or empty for the default
//! text   smp:// keyHash [":" password] "@" host *("," host) [":" port]
//! ```

use std::str::FromStr;

use super::host::Host;
use super::password::BasicAuth;
use crate::base64url;
use crate::encoding::{Decode, DecodeError, Encode, Reader, put_list, put_short};

/// The port when an address has none.
pub const DEFAULT_PORT: u16 = 5223;

/// Most hosts of one server: the list's count is one byte.
const HOSTS_MAX: usize = 255;
const SCHEME: &str = "smp://";

/// The fingerprint in an address: SHA-256 of the server's identity certificate.
///
/// The wire does not fix its length; nothing connects to a server without a full [`fingerprint`](Self::sha256),
/// and links of well-known servers come without (agent.md §3.5).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash(Vec<u8>);

impl KeyHash {
    /// The hash that stands in a link whose server must be looked up.
    #[must_use]
    pub fn absent() -> Self {
        Self(Vec::new())
    }

    /// The raw bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The fingerprint to compare with, unless it has another length.
    #[must_use]
    pub fn sha256(&self) -> Option<[u8; 32]> {
        self.0.as_slice().try_into().ok()
    }
}

impl From<[u8; 32]> for KeyHash {
    fn from(fingerprint: [u8; 32]) -> Self {
        Self(fingerprint.to_vec())
    }
}

impl TryFrom<&[u8]> for KeyHash {
    type Error = DecodeError;

    fn try_from(bytes: &[u8]) -> Result<Self, DecodeError> {
        // A short string cannot hold more.
        if bytes.len() > 255 { Err(DecodeError::Invalid("key hash")) } else { Ok(Self(bytes.to_vec())) }
    }
}

impl Encode for KeyHash {
    fn encode(&self, out: &mut Vec<u8>) {
        put_short(out, &self.0);
    }
}

impl Decode for KeyHash {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::try_from(reader.short()?)
    }
}

impl std::fmt::Display for KeyHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&base64url::encode(&self.0))
    }
}

impl std::fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyHash({self})")
    }
}

/// Where a server is and how to recognise it. Its hosts are alternatives for the same server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerAddress {
    hosts: Vec<Host>,
    port: Option<u16>,
    key_hash: KeyHash,
}

impl ServerAddress {
    /// An address; without a port it is the default one.
    ///
    /// # Errors
    /// When there is no host, or more than a list can hold.
    pub fn new(hosts: Vec<Host>, port: Option<u16>, key_hash: KeyHash) -> Result<Self, DecodeError> {
        if hosts.is_empty() || hosts.len() > HOSTS_MAX {
            return Err(DecodeError::Invalid("list of hosts"));
        }
        Ok(Self { hosts, port, key_hash })
    }

    /// The hosts, at least one.
    #[must_use]
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The host that names the server to people.
    ///
    /// # Panics
    /// Never: an address has at least one host.
    #[must_use]
    pub fn first_host(&self) -> &Host {
        self.hosts.first().expect("an address is made with a host")
    }

    /// The port as written in the address.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The port to connect to.
    #[must_use]
    pub fn port_or_default(&self) -> u16 {
        self.port.unwrap_or(DEFAULT_PORT)
    }

    /// What the server's certificate must hash to.
    #[must_use]
    pub fn key_hash(&self) -> &KeyHash {
        &self.key_hash
    }

    /// Whether both are one server as links compare them: the same hosts and port, whatever the key hash.
    #[must_use]
    pub fn is_same_place(&self, other: &Self) -> bool {
        self.hosts == other.hosts && self.port == other.port
    }

    /// The same server with its first `count` hosts, and the other hosts.
    pub(crate) fn split_hosts(&self, count: usize) -> (Self, &[Host]) {
        let (first, others) = self.hosts.split_at(count.clamp(1, self.hosts.len()));
        (Self { hosts: first.to_vec(), ..self.clone() }, others)
    }

    /// The same server with further hosts.
    pub(crate) fn with_more_hosts(self, hosts: Vec<Host>) -> Result<Self, DecodeError> {
        Self::new([self.hosts, hosts].concat(), self.port, self.key_hash)
    }

    /// The form of client version 1: one host without a list.
    pub(crate) fn encode_one_host(&self, out: &mut Vec<u8>) {
        self.first_host().encode(out);
        self.encode_after_hosts(out);
    }

    /// Reads the form of client version 1.
    pub(crate) fn decode_one_host(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let host = Host::decode(reader)?;
        Self::decode_after_hosts(reader, vec![host])
    }

    fn encode_after_hosts(&self, out: &mut Vec<u8>) {
        put_short(out, self.port.map(|port| port.to_string()).unwrap_or_default().as_bytes());
        self.key_hash.encode(out);
    }

    fn decode_after_hosts(reader: &mut Reader<'_>, hosts: Vec<Host>) -> Result<Self, DecodeError> {
        let port = match reader.text()? {
            "" => None,
            port => Some(parse_port(port)?),
        };
        Self::new(hosts, port, KeyHash::decode(reader)?)
    }
}

impl Encode for ServerAddress {
    fn encode(&self, out: &mut Vec<u8>) {
        put_list(out, &self.hosts, |out, host| host.encode(out));
        self.encode_after_hosts(out);
    }
}

impl Decode for ServerAddress {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let hosts = reader.non_empty_list(Host::decode)?;
        Self::decode_after_hosts(reader, hosts)
    }
}

impl std::fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{SCHEME}{}@{}", self.key_hash, authority(&self.hosts, self.port))
    }
}

/// The form inside queue addresses, which may not hold a password.
impl FromStr for ServerAddress {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<Self, DecodeError> {
        let address: ServerAddressWithAuth = text.parse()?;
        match address.password {
            None => Ok(address.server),
            Some(_) => Err(DecodeError::Invalid("server address: a password may not stand in a link")),
        }
    }
}

/// A server to create queues on: as people configure it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAddressWithAuth {
    /// The server.
    pub server: ServerAddress,
    /// What it asks for before it creates a queue, if anything.
    pub password: Option<BasicAuth>,
}

impl From<ServerAddress> for ServerAddressWithAuth {
    fn from(server: ServerAddress) -> Self {
        Self { server, password: None }
    }
}

/// For records at rest: the address, then `maybe` the password.
impl Encode for ServerAddressWithAuth {
    fn encode(&self, out: &mut Vec<u8>) {
        self.server.encode(out);
        crate::encoding::put_maybe(out, self.password.as_ref(), |out, password| password.encode(out));
    }
}

impl Decode for ServerAddressWithAuth {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { server: ServerAddress::decode(reader)?, password: reader.maybe(BasicAuth::decode)? })
    }
}

/// With the password: for the owner's eyes only.
impl std::fmt::Display for ServerAddressWithAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { server, password } = self;
        write!(f, "{SCHEME}{}", server.key_hash)?;
        if let Some(password) = password {
            // Latin-1, whose codes are those of Unicode.
            let text: String = password.as_bytes().iter().copied().map(char::from).collect();
            write!(f, ":{text}")?;
        }
        write!(f, "@{}", authority(&server.hosts, server.port))
    }
}

impl FromStr for ServerAddressWithAuth {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<Self, DecodeError> {
        let invalid =
            DecodeError::Invalid("server address: expected smp://FINGERPRINT[:PASSWORD]@HOST[:PORT]");
        let rest = text.strip_prefix(SCHEME).ok_or(invalid)?;
        let (identity, authority) = rest.split_once('@').ok_or(invalid)?;
        let (key_hash, password) = match identity.split_once(':') {
            Some((key_hash, password)) => (key_hash, Some(parse_password(password)?)),
            None => (identity, None),
        };
        let key_hash = KeyHash::try_from(base64url::decode(key_hash)?.as_slice())?;
        let (hosts, port) = parse_authority(authority)?;
        Ok(Self { server: ServerAddress::new(hosts, port, key_hash)?, password })
    }
}

fn parse_password(text: &str) -> Result<BasicAuth, DecodeError> {
    let bytes: Option<Vec<u8>> = text.chars().map(|character| u8::try_from(character).ok()).collect();
    match bytes {
        Some(bytes) if !bytes.is_empty() => BasicAuth::new(&bytes),
        _ => Err(DecodeError::Invalid("server password")),
    }
}

/// `host,host…[:port]`
fn authority(hosts: &[Host], port: Option<u16>) -> String {
    let mut text = host_list(hosts);
    if let Some(port) = port {
        text.push(':');
        text.push_str(&port.to_string());
    }
    text
}

/// Hosts joined by commas, as in texts.
pub(crate) fn host_list(hosts: &[Host]) -> String {
    hosts.iter().map(Host::to_uri).collect::<Vec<_>>().join(",")
}

/// Reads hosts joined by commas.
pub(crate) fn parse_host_list(text: &str) -> Result<Vec<Host>, DecodeError> {
    text.split(',').map(str::parse).collect()
}

fn parse_authority(text: &str) -> Result<(Vec<Host>, Option<u16>), DecodeError> {
    // An IPv6 address without brackets takes all its colons, so that no port can follow it.
    let last = text.rsplit(',').next().unwrap_or(text);
    let has_port = last.contains(':') && !matches!(last.parse(), Ok(Host::Ipv6(_)));
    match text.rsplit_once(':').filter(|_| has_port) {
        Some((hosts, port)) => Ok((parse_host_list(hosts)?, Some(parse_port(port)?))),
        None => Ok((parse_host_list(text)?, None)),
    }
}

/// Reads a port; unlike the standard library, without a sign.
pub(crate) fn parse_port(text: &str) -> Result<u16, DecodeError> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().ok_or(DecodeError::Invalid("port"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "SJ-3QErjPY0_mrD9fMGu68OWOO5jXxjMC4H6nLva9EY=";

    fn parse(rest: &str) -> Result<ServerAddress, DecodeError> {
        format!("{SCHEME}{rest}").parse()
    }

    #[test]
    fn texts_round_trip() {
        for rest in [
            "@a.example",
            "@a.example:443",
            "@a.example,abc.onion:5223",
            "@10.0.0.1:1",
            "@[::1]:5223",
            "@[::1],a.example",
            "@[::1]",
        ] {
            let address = parse(&format!("{HASH}{rest}")).unwrap();
            assert_eq!(address.to_string(), format!("{SCHEME}{HASH}{rest}"));
            assert_eq!(ServerAddress::from_bytes(&address.to_bytes()), Ok(address));
        }
    }

    #[test]
    fn the_key_hash_may_come_without_padding() {
        let unpadded = HASH.trim_end_matches('=');
        assert_eq!(parse(&format!("{unpadded}@a.example")), parse(&format!("{HASH}@a.example")));
    }

    #[test]
    fn a_bare_ipv6_address_has_no_port() {
        let address = parse(&format!("{HASH}@2001:db8::5223")).unwrap();
        assert_eq!((address.port(), address.port_or_default()), (None, DEFAULT_PORT));
    }

    #[test]
    fn bytes_are_as_on_the_wire() {
        let address = parse(&format!("{HASH}@a.example,b.onion:5223")).unwrap();
        let bytes = address.to_bytes();
        assert!(bytes.starts_with(b"\x02\x09a.example\x07b.onion\x045223\x20\x48\x9f"));
        assert_eq!(bytes.len(), 1 + 10 + 8 + 5 + 33);
    }

    #[test]
    fn bad_texts_are_refused() {
        for rest in [
            "@a.example",
            "====@a.example",
            "1234-w",
            "1234-w@",
            "1234-w@a.example:",
            "1234-w@a.example:+1",
            "1234-w@a.example:65536",
            "1234-w@a.example,",
            "1234-w@a example",
            "1234-w:@a.example",
        ] {
            assert!(parse(rest).is_err(), "{rest}");
        }
        assert!("xftp://1234-w@a.example".parse::<ServerAddress>().is_err());
    }

    #[test]
    fn a_password_is_for_the_owner_only() {
        let text = format!("{SCHEME}{HASH}:s3cret@a.example");
        let address: ServerAddressWithAuth = text.parse().unwrap();
        assert_eq!(address.to_string(), text);
        assert_eq!(ServerAddressWithAuth::from_bytes(&address.to_bytes()), Ok(address.clone()));
        assert!(!format!("{address:?}").contains("s3cret"));
        assert!(text.parse::<ServerAddress>().is_err());
        assert!(!address.server.to_string().contains("s3cret"));
    }

    #[test]
    fn an_empty_host_list_is_refused() {
        assert!(ServerAddress::from_bytes(&[0, 0, 0]).is_err());
        assert!(ServerAddress::new(vec![], None, KeyHash::absent()).is_err());
        assert!(ServerAddress::new(vec![Host::Domain("a".into()); 256], None, KeyHash::absent()).is_err());
    }
}
