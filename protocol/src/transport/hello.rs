//! The first blocks of a connection (smp.md §4.2–§4.4, §13).
//!
//! ```text
//! server hello     = versions(4) short(session id) [certified key]
//! client hello     = version(2) short(fingerprint) [short(SPKI X25519)] bool(proxy) maybe(service)
//! service          = role certified key              from version 16 on
//! service response = "R" short(service id) / "E" transport error
//! ```
//!
//! Keys are optional without a tag: where none can be read, there is none. Bytes after a hello are ignored, so that
//! later versions can say more.

use crate::crypto::dh::X25519PublicKey;
use crate::encoding::{Decode, DecodeError, Encode, Reader, put_bool, put_maybe, put_short};
use crate::smp::SERVICES_VERSION;
use crate::smp::command::Party;
use crate::smp::error::TransportError;
use crate::smp::ids::ServiceId;
use crate::transport::certified_key::CertifiedKey;
use crate::version::VersionRange;

/// From here on a client hello may hold a session key.
const SESSION_KEY_VERSION: u16 = 7;
/// From here on a client hello says whether a proxy sends it.
pub(super) const PROXY_FLAG_VERSION: u16 = 14;

/// What a server says first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerHello {
    /// The versions it speaks.
    pub versions: VersionRange,
    /// The TLS session as it sees it; at most 255 bytes.
    pub session_id: Vec<u8>,
    /// Its certificates and session key.
    pub certified_key: Option<CertifiedKey>,
}

impl ServerHello {
    /// Reads a hello; later bytes are ignored.
    ///
    /// # Errors
    /// [`DecodeError`] when versions or session id cannot be read.
    pub fn parse(content: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(content);
        let versions = VersionRange::decode(&mut reader)?;
        let session_id = reader.short()?.to_vec();
        let certified_key =
            if versions.max() >= SESSION_KEY_VERSION { reader.attempt(CertifiedKey::decode) } else { None };
        Ok(Self { versions, session_id, certified_key })
    }
}

impl Encode for ServerHello {
    fn encode(&self, out: &mut Vec<u8>) {
        self.versions.encode(out);
        put_short(out, &self.session_id);
        if let Some(key) = &self.certified_key {
            key.encode(out);
        }
    }
}

/// What a client answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientHello {
    /// The version for this session.
    pub version: u16,
    /// The server that the client means to talk to: 32 bytes, unless it errs.
    pub key_hash: Vec<u8>,
    /// The client's session key; block encryption needs it.
    pub session_key: Option<X25519PublicKey>,
    /// Whether the client is a proxy, so that blocks stay plain.
    pub is_proxy: bool,
    /// The service that the client is, if it is one.
    pub service: Option<ServiceHello>,
}

impl ClientHello {
    /// Reads a hello of the version that it names; later bytes are ignored.
    ///
    /// # Errors
    /// [`DecodeError`] when a field is missing or malformed.
    pub fn parse(content: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(content);
        let version = reader.u16()?;
        let key_hash = reader.short()?.to_vec();
        let session_key =
            if version >= SESSION_KEY_VERSION { reader.attempt(X25519PublicKey::decode) } else { None };
        let is_proxy = if version >= PROXY_FLAG_VERSION { reader.bool()? } else { false };
        let service = if version >= SERVICES_VERSION { reader.maybe(ServiceHello::decode)? } else { None };
        Ok(Self { version, key_hash, session_key, is_proxy, service })
    }
}

impl Encode for ClientHello {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.version.to_be_bytes());
        put_short(out, &self.key_hash);
        if let Some(key) = &self.session_key {
            key.encode(out);
        }
        if self.version >= PROXY_FLAG_VERSION {
            put_bool(out, self.is_proxy);
        }
        if self.version >= SERVICES_VERSION {
            put_maybe(out, self.service.as_ref(), |out, service| service.encode(out));
        }
    }
}

/// How a client presents itself as a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceHello {
    /// What it serves.
    pub role: ServiceRole,
    /// Its TLS client certificates, and an Ed25519 session key signed by their leaf.
    pub certified_key: CertifiedKey,
}

impl Encode for ServiceHello {
    fn encode(&self, out: &mut Vec<u8>) {
        self.role.encode(out);
        self.certified_key.encode(out);
    }
}

impl Decode for ServiceHello {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { role: Decode::decode(reader)?, certified_key: Decode::decode(reader)? })
    }
}

/// What a service does; bounds the commands of its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServiceRole {
    /// `M`: receives messages for many recipients.
    Messaging,
    /// `N`: receives notifications.
    Notifier,
    /// `P`: forwards commands.
    Proxy,
}

impl ServiceRole {
    /// Whether commands of `party` may be sent in a session of this role (smp.md §5.6).
    #[must_use]
    pub fn may_send_as(self, party: Party) -> bool {
        match party {
            Party::Creator
            | Party::Recipient
            | Party::Sender
            | Party::LinkClient
            | Party::RecipientService
            | Party::ProxiedClient => self == Self::Messaging,
            Party::Notifier | Party::NotifierService => self == Self::Notifier,
            Party::Proxy => self == Self::Proxy,
            Party::Any => true,
        }
    }
}

impl Encode for ServiceRole {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(match self {
            Self::Messaging => b'M',
            Self::Notifier => b'N',
            Self::Proxy => b'P',
        });
    }
}

impl Decode for ServiceRole {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u8()? {
            b'M' => Ok(Self::Messaging),
            b'N' => Ok(Self::Notifier),
            b'P' => Ok(Self::Proxy),
            _ => Err(DecodeError::Invalid("service role")),
        }
    }
}

/// What a server answers to a client that is a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceResponse {
    /// Accepted, under this id.
    Accepted(ServiceId),
    /// Refused; the server disconnects.
    Refused(TransportError),
}

impl ServiceResponse {
    /// Reads a response; later bytes are ignored.
    ///
    /// # Errors
    /// [`DecodeError`] when it is none.
    pub fn parse(content: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(content);
        match reader.u8()? {
            b'R' => ServiceId::decode(&mut reader).map(Self::Accepted),
            b'E' => TransportError::read(&mut reader).map(Self::Refused),
            _ => Err(DecodeError::Invalid("service response")),
        }
    }
}

impl Encode for ServiceResponse {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Accepted(id) => {
                out.push(b'R');
                id.encode(out);
            }
            Self::Refused(error) => {
                out.push(b'E');
                error.encode(out);
            }
        }
    }
}
