//! One command or message on its way, with what authorises it (smp.md §5.2, §5.3).
//!
//! ```text
//! transmission = short(authenticator) [maybe short(service signature)] short(corrId) short(entityId) command
//! authorised   = short(sessionId) short(corrId) short(entityId) command
//! ```
//!
//! The field of the service signature is there from version 16 on, and only after an authenticator.

use thiserror::Error;

use crate::crypto::sign::Signature;
use crate::encoding::{DecodeError, Reader, put_maybe, put_short};
use crate::smp::SERVICES_VERSION;
use crate::smp::key::Authenticator;

/// A transmission, borrowed from its block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmission<'a> {
    /// What authorises it; servers send none.
    pub authenticator: Authenticator,
    /// The second signature, in sessions of services.
    pub service_signature: Option<Signature>,
    /// Ties a response to its command; empty for events. At most 255 bytes.
    pub correlation_id: &'a [u8],
    /// The queue, service or session that it is about; at most 255 bytes.
    pub entity_id: &'a [u8],
    /// The bytes of a [`super::command::Command`] or a [`super::response::BrokerMessage`].
    pub command: &'a [u8],
}

/// A transmission that cannot be read: answer `ERR BLOCK` with this correlation id and an empty entity id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("malformed transmission")]
pub struct MalformedTransmission<'a> {
    /// What the transmission says, if only the length of its authenticator is wrong; else empty.
    pub correlation_id: &'a [u8],
}

impl<'a> Transmission<'a> {
    /// A transmission that nothing authorises.
    #[must_use]
    pub fn unauthorized(correlation_id: &'a [u8], entity_id: &'a [u8], command: &'a [u8]) -> Self {
        Self {
            authenticator: Authenticator::None,
            service_signature: None,
            correlation_id,
            entity_id,
            command,
        }
    }

    /// Reads a transmission that takes all of `bytes`.
    ///
    /// # Errors
    /// [`MalformedTransmission`].
    pub fn parse(bytes: &'a [u8], version: u16) -> Result<Self, MalformedTransmission<'a>> {
        let fields =
            Fields::read(bytes, version).map_err(|_| MalformedTransmission { correlation_id: &[] })?;
        let Fields { authenticator, service_signature, correlation_id, entity_id, command } = fields;
        let authenticator =
            Authenticator::try_from(authenticator).map_err(|_| MalformedTransmission { correlation_id })?;
        Ok(Self { authenticator, service_signature, correlation_id, entity_id, command })
    }

    /// Appends the transmission.
    ///
    /// # Panics
    /// When an id is longer than 255 bytes.
    pub fn encode_into(&self, version: u16, out: &mut Vec<u8>) {
        put_short(out, self.authenticator.as_bytes());
        if version >= SERVICES_VERSION && !self.authenticator.is_none() {
            put_maybe(out, self.service_signature.as_ref(), |out, signature| put_short(out, signature));
        }
        put_short(out, self.correlation_id);
        put_short(out, self.entity_id);
        out.extend_from_slice(self.command);
    }

    /// What keys authorise of this transmission.
    #[must_use]
    pub fn authorized_bytes(&self, session_id: &[u8]) -> Vec<u8> {
        authorized_bytes(session_id, self.correlation_id, self.entity_id, self.command)
    }
}

/// What keys authorise: the session is part of it, though not sent.
///
/// # Panics
/// When an id is longer than 255 bytes.
#[must_use]
pub fn authorized_bytes(
    session_id: &[u8],
    correlation_id: &[u8],
    entity_id: &[u8],
    command: &[u8],
) -> Vec<u8> {
    let ids = session_id.len().saturating_add(correlation_id.len()).saturating_add(entity_id.len());
    let mut out = Vec::with_capacity(ids.saturating_add(3).saturating_add(command.len()));
    put_short(&mut out, session_id);
    put_short(&mut out, correlation_id);
    put_short(&mut out, entity_id);
    out.extend_from_slice(command);
    out
}

/// A transmission whose authenticator may have a wrong length.
struct Fields<'a> {
    authenticator: &'a [u8],
    service_signature: Option<Signature>,
    correlation_id: &'a [u8],
    entity_id: &'a [u8],
    command: &'a [u8],
}

impl<'a> Fields<'a> {
    fn read(bytes: &'a [u8], version: u16) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let authenticator = reader.short()?;
        let service_signature = if version >= SERVICES_VERSION && !authenticator.is_empty() {
            let signature = |reader: &mut Reader<'a>| {
                reader.short()?.try_into().map_err(|_| DecodeError::Invalid("service signature"))
            };
            reader.maybe(signature)?
        } else {
            None
        };
        let (correlation_id, entity_id) = (reader.short()?, reader.short()?);
        Ok(Self { authenticator, service_signature, correlation_id, entity_id, command: reader.tail() })
    }
}
