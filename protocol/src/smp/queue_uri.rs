//! Addresses of queues, as senders get them (smp.md §15.1 and §16.2, agent.md §3.1–§3.3).
//!
//! ```text
//! bytes  uri  = range(4)   server short(sender id) short(dh key) [mode]
//!        info = version(2) server short(sender id) short(dh key) [mode]
//! text   uri  = server "/" sender-id "#/?v=" range "&dh=" key ["&q=" ("m" / "c")] ["&k=s"] ["&srv=" hosts]
//! ```
//!
//! Whether the mode stands in the bytes depends on the versions:
//!
//! | uri range | info version | messaging | contact | unknown |
//! |---|---|---|---|---|
//! | min ≥ 4 | ≥ 4 | `M` | `C` | – |
//! | min = 3 | | `T` | `F` | `F` |
//! | min < 3 ≤ max | 3 | `T` | – | – |
//! | max < 3 | ≤ 2 | – | – | – |

use std::str::FromStr;

use super::address::{ServerAddress, host_list, parse_host_list};
use super::ids::SenderId;
use super::query_string::{QueryString, escape};
use crate::base64url;
use crate::crypto::dh::X25519PublicKey;
use crate::encoding::{Decode, DecodeError, Encode, Reader, put_bool};
use crate::version::VersionRange;

/// The client versions that we write in addresses: as the reference does, so that ours look the same.
pub const CLIENT_VERSIONS: VersionRange = match VersionRange::new(1, 4) {
    Some(range) => range,
    None => panic!("the range is not empty"),
};

/// From here on a server has several hosts, and they all stand in its address.
const HOSTS_VERSION: u16 = 2;
/// From here on a sender may secure the queue, and the address says whether.
const SENDER_SECURES_VERSION: u16 = 3;
/// From here on the mode of a queue is named.
const MODE_VERSION: u16 = 4;

/// What a queue is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QueueMode {
    /// One sender, who may secure it.
    Messaging,
    /// Anybody sends requests; never secured.
    Contact,
}

impl QueueMode {
    /// The letter on the wire.
    #[must_use]
    pub fn letter(self) -> u8 {
        match self {
            Self::Messaging => b'M',
            Self::Contact => b'C',
        }
    }
}

impl Encode for QueueMode {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.letter());
    }
}

impl Decode for QueueMode {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u8()? {
            b'M' => Ok(Self::Messaging),
            b'C' => Ok(Self::Contact),
            _ => Err(DecodeError::Invalid("queue mode")),
        }
    }
}

/// Where and how to send into a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueAddress {
    /// The server.
    pub server: ServerAddress,
    /// The queue, to its senders.
    pub sender_id: SenderId,
    /// The recipient's key for the end-to-end box of this queue.
    pub dh_key: X25519PublicKey,
    /// What the queue is for, where the address says.
    pub mode: Option<QueueMode>,
}

impl QueueAddress {
    /// Where the queue is, without its key.
    #[must_use]
    pub fn location(&self) -> QueueLocation {
        QueueLocation { server: self.server.clone(), sender_id: self.sender_id }
    }

    fn put_ids(&self, out: &mut Vec<u8>) {
        self.sender_id.encode(out);
        self.dh_key.encode(out);
    }

    fn read(reader: &mut Reader<'_>, server: ServerAddress) -> Result<Self, DecodeError> {
        Ok(Self {
            server,
            sender_id: SenderId::decode(reader)?,
            dh_key: X25519PublicKey::decode(reader)?,
            mode: read_mode(reader),
        })
    }
}

/// Which queue is meant, among those of a connection.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueueLocation {
    /// The server.
    pub server: ServerAddress,
    /// The queue, to its senders.
    pub sender_id: SenderId,
}

impl Encode for QueueLocation {
    fn encode(&self, out: &mut Vec<u8>) {
        self.server.encode(out);
        self.sender_id.encode(out);
    }
}

impl Decode for QueueLocation {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { server: ServerAddress::decode(reader)?, sender_id: SenderId::decode(reader)? })
    }
}

/// An address with all client versions that its recipient speaks: in links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueUri {
    /// The recipient's client versions.
    pub versions: VersionRange,
    /// Where to send.
    pub address: QueueAddress,
}

impl QueueUri {
    /// An address as we write it.
    #[must_use]
    pub fn new(address: QueueAddress) -> Self {
        Self { versions: CLIENT_VERSIONS, address }
    }

    /// The address at the highest version that both sides speak; nothing when there is none.
    #[must_use]
    pub fn agree(&self) -> Option<QueueInfo> {
        let version = self.versions.agree(CLIENT_VERSIONS)?;
        Some(QueueInfo { version, address: self.address.clone() })
    }
}

impl Encode for QueueUri {
    fn encode(&self, out: &mut Vec<u8>) {
        self.versions.encode(out);
        self.address.server.encode(out);
        self.address.put_ids(out);
        match (self.versions.min(), self.versions.max(), self.address.mode) {
            (MODE_VERSION.., _, Some(mode)) => mode.encode(out),
            (MODE_VERSION.., _, None) => {}
            (SENDER_SECURES_VERSION, _, mode) => put_bool(out, mode == Some(QueueMode::Messaging)),
            (_, SENDER_SECURES_VERSION.., Some(QueueMode::Messaging)) => put_bool(out, true),
            _ => {}
        }
    }
}

impl Decode for QueueUri {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let versions = VersionRange::decode(reader)?;
        let server = ServerAddress::decode(reader)?;
        Ok(Self { versions, address: QueueAddress::read(reader, server)? })
    }
}

/// An address at the version that was agreed: between connected parties.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueInfo {
    /// The agreed client version.
    pub version: u16,
    /// Where to send.
    pub address: QueueAddress,
}

impl Encode for QueueInfo {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.version.to_be_bytes());
        let QueueAddress { server, mode, .. } = &self.address;
        if self.version < HOSTS_VERSION {
            server.encode_one_host(out);
        } else {
            server.encode(out);
        }
        self.address.put_ids(out);
        match (self.version, mode) {
            (MODE_VERSION.., Some(mode)) => mode.encode(out),
            (SENDER_SECURES_VERSION, Some(QueueMode::Messaging)) => put_bool(out, true),
            _ => {}
        }
    }
}

impl Decode for QueueInfo {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let version = reader.u16()?;
        let server = if version < HOSTS_VERSION {
            ServerAddress::decode_one_host(reader)?
        } else {
            ServerAddress::decode(reader)?
        };
        Ok(Self { version, address: QueueAddress::read(reader, server)? })
    }
}

/// Takes the mode if one stands next. What follows a mode-less address must not begin like a mode; that is why
/// we always write one where free bytes follow.
fn read_mode(reader: &mut Reader<'_>) -> Option<QueueMode> {
    reader.attempt(QueueMode::decode).or_else(|| {
        let sender_secures = reader.attempt(Reader::bool)?;
        Some(if sender_secures { QueueMode::Messaging } else { QueueMode::Contact })
    })
}

/// See the module. Not escaped itself: a long link escapes the whole once more.
impl std::fmt::Display for QueueUri {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let QueueAddress { server, sender_id, dh_key, mode } = &self.address;
        let single_host = self.versions.min() < HOSTS_VERSION;
        let (shown, others) = server.split_hosts(if single_host { 1 } else { server.hosts().len() });
        let dh_key = base64url::encode(&dh_key.to_der());
        write!(f, "{shown}/{sender_id}#/?v={}&dh={}", self.versions, escape(&dh_key))?;
        match mode {
            Some(QueueMode::Messaging) => f.write_str("&q=m")?,
            Some(QueueMode::Contact) => f.write_str("&q=c")?,
            None => {}
        }
        if *mode == Some(QueueMode::Messaging) && self.versions.min() < MODE_VERSION {
            f.write_str("&k=s")?;
        }
        if others.is_empty() { Ok(()) } else { write!(f, "&srv={}", escape(&host_list(others))) }
    }
}

impl FromStr for QueueUri {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<Self, DecodeError> {
        let invalid = DecodeError::Invalid("queue address: expected smp://SERVER/QUEUE#/?v=VERSIONS&dh=KEY");
        let (place, fragment) = text.split_once('#').ok_or(invalid)?;
        let place = place.strip_suffix('/').unwrap_or(place);
        let (server, sender_id) = place.rsplit_once('/').ok_or(invalid)?;
        let server: ServerAddress = server.parse()?;
        let sender_id = SenderId::try_from(base64url::decode(sender_id)?.as_slice())?;
        let Some((before, query)) = fragment.split_once('?') else {
            // The first version: nothing but the key.
            let dh_key = read_key(fragment.strip_suffix('/').unwrap_or(fragment))?;
            let address = QueueAddress { server, sender_id, dh_key, mode: None };
            return Ok(Self { versions: VersionRange::single(1), address });
        };
        let bare_key = before.strip_suffix('/').unwrap_or(before);
        let query = QueryString(query);
        let dh_key = match query.value("dh")? {
            Some(key) => read_key(&key)?,
            None => read_key(bare_key)?,
        };
        let mode = match (query.value("q")?.as_deref(), query.value("k")?.as_deref()) {
            (Some("m"), _) | (None, Some("s")) => Some(QueueMode::Messaging),
            (Some("c"), _) => Some(QueueMode::Contact),
            (Some(_), _) => return Err(DecodeError::Invalid("queue mode")),
            (None, _) => None,
        };
        let server = match query.value("srv")?.filter(|hosts| !hosts.is_empty()) {
            Some(hosts) => server.with_more_hosts(parse_host_list(&hosts)?)?,
            None => server,
        };
        let versions = query.required("v", "queue address: the versions (v=) are missing")?.parse()?;
        Ok(Self { versions, address: QueueAddress { server, sender_id, dh_key, mode } })
    }
}

fn read_key(text: &str) -> Result<X25519PublicKey, DecodeError> {
    X25519PublicKey::from_der(&base64url::decode(text)?).map_err(|_| DecodeError::Invalid("queue key"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str = "smp://SJ-3QErjPY0_mrD9fMGu68OWOO5jXxjMC4H6nLva9EY=@a.example,b.onion:5223";
    const ID: &str = "dKmWDXJCR1spfflP5EooPTpYknfr2C-v";
    const KEY: &str = "MCowBQYDK2VuAyEAQfxnGeQYJY_q8T6rlOZhmqLYL7w7_iw4Bev7ubwAdXw=";

    fn address(mode: Option<QueueMode>) -> QueueAddress {
        QueueAddress {
            server: SERVER.parse().unwrap(),
            sender_id: ID.parse().unwrap(),
            dh_key: read_key(KEY).unwrap(),
            mode,
        }
    }

    /// The whole table of the module.
    #[test]
    fn the_mode_depends_on_the_version() {
        use QueueMode::{Contact, Messaging};
        let modes = [Some(Messaging), Some(Contact), None];
        let after = |bytes: &[u8], without: usize| bytes.split_at(without).1.to_vec();
        for (min, max, expected) in [
            (4, 4, [&b"M"[..], b"C", b""]),
            (5, 9, [b"M", b"C", b""]),
            (3, 4, [b"T", b"F", b"F"]),
            (3, 3, [b"T", b"F", b"F"]),
            (1, 4, [b"T", b"", b""]),
            (2, 3, [b"T", b"", b""]),
            (1, 2, [b"", b"", b""]),
        ] {
            let versions = VersionRange::new(min, max).unwrap();
            let bare = 4 + address(None).server.to_bytes().len() + 25 + 45;
            for (mode, expected) in modes.into_iter().zip(expected) {
                let bytes = QueueUri { versions, address: address(mode) }.to_bytes();
                assert_eq!(after(&bytes, bare), expected, "{versions} {mode:?}");
            }
        }
        for (version, expected) in [(5, [&b"M"[..], b"C", b""]), (3, [b"T", b"", b""]), (2, [b"", b"", b""])]
        {
            let bare = 2 + address(None).server.to_bytes().len() + 25 + 45;
            for (mode, expected) in modes.into_iter().zip(expected) {
                let bytes = QueueInfo { version, address: address(mode) }.to_bytes();
                assert_eq!(after(&bytes, bare), expected, "{version} {mode:?}");
            }
        }
    }

    #[test]
    fn both_forms_of_the_mode_are_read_at_any_version() {
        let mut bytes = QueueInfo { version: 2, address: address(None) }.to_bytes();
        for (letter, mode) in
            [(b'M', QueueMode::Messaging), (b'C', QueueMode::Contact), (b'T', QueueMode::Messaging)]
        {
            bytes.push(letter);
            assert_eq!(QueueInfo::from_bytes(&bytes).unwrap().address.mode, Some(mode));
            bytes.pop();
        }
        bytes.push(b'X');
        assert_eq!(QueueInfo::from_bytes(&bytes), Err(DecodeError::LeftOver));
    }

    #[test]
    fn texts_round_trip_for_all_versions_and_modes() {
        for (min, max) in [(1, 4), (2, 4), (4, 4), (1, 1)] {
            for mode in [Some(QueueMode::Messaging), Some(QueueMode::Contact), None] {
                let versions = VersionRange::new(min, max).unwrap();
                let uri = QueueUri { versions, address: address(mode) };
                assert_eq!(uri.to_string().parse(), Ok(uri));
            }
        }
    }

    #[test]
    fn further_hosts_move_to_a_parameter_when_version_1_is_spoken() {
        let uri = QueueUri::new(address(Some(QueueMode::Contact)));
        assert!(uri.to_string().contains("@a.example:5223/"), "{uri}");
        assert!(uri.to_string().ends_with("&q=c&srv=b.onion"), "{uri}");
        let messaging = QueueUri::new(address(Some(QueueMode::Messaging)));
        assert!(messaging.to_string().ends_with("&q=m&k=s&srv=b.onion"), "{messaging}");
    }

    #[test]
    fn older_and_freer_texts_are_read() {
        let server = "smp://1234-w@a.example";
        for text in [
            format!("{server}/{ID}#{KEY}"),
            format!("{server}/{ID}/#{KEY}"),
            format!("{server}/{ID}#{KEY}/"),
            format!("{server}/{ID}#{KEY}/?v=1"),
            format!("{server}/{ID}#/?dh={KEY}&x=y&v=1&v=3"),
            format!("{server}/{ID}/#?v=1-1;dh={}", escape(KEY)),
        ] {
            let uri: QueueUri = text.parse().expect(&text);
            assert_eq!((uri.versions, uri.address.mode), (VersionRange::single(1), None), "{text}");
            assert_eq!(uri.address.dh_key, read_key(KEY).unwrap());
        }
        let secured: QueueUri = format!("{server}/{ID}#/?v=2-3&dh={KEY}&k=s").parse().unwrap();
        assert_eq!(secured.address.mode, Some(QueueMode::Messaging));
    }

    #[test]
    fn bad_texts_are_refused() {
        let server = "smp://1234-w@a.example";
        for text in [
            String::new(),
            format!("{server}#{KEY}"),
            format!("{server}/{ID}"),
            format!("{server}/{ID}#/?v=1-4"),
            format!("{server}/{ID}#/?dh={KEY}"),
            format!("{server}/abcd#/?v=1-4&dh={KEY}"),
            format!("{server}/{ID}#/?v=4-1&dh={KEY}"),
            format!("{server}/{ID}#/?v=1-4&dh={KEY}&q=x"),
            format!("smp://1234-w:secret@a.example/{ID}#/?v=1-4&dh={KEY}"),
        ] {
            assert!(text.parse::<QueueUri>().is_err(), "{text}");
        }
    }

    #[test]
    fn versions_are_agreed() {
        let uri =
            |min, max| QueueUri { versions: VersionRange::new(min, max).unwrap(), address: address(None) };
        assert_eq!(uri(2, 9).agree().unwrap().version, 4);
        assert_eq!(uri(1, 2).agree().unwrap().version, 2);
        assert_eq!(uri(5, 9).agree(), None);
    }
}
