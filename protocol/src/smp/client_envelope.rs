//! What a client sends to another through a queue: opaque to the server (smp.md §11.3).
//!
//! ```text
//! envelope = version(2) maybe short(SPKI X25519) nonce(24) box(both clients' queue keys, nonce, pad(message, N))
//! message  = "K" short(SPKI auth key) body / "_" body
//! N        = 15904 with the sender's X25519 key in the envelope, 16000 without
//! ```

use std::borrow::Cow;

use rand_core::CryptoRng;

use crate::crypto::dh::X25519PublicKey;
use crate::crypto::secretbox::BoxKey;
use crate::crypto::{CryptoError, random_bytes};
use crate::encoding::{Decode, DecodeError, Encode, Reader, put_maybe};
use crate::smp::command::owned;
use crate::smp::key::AuthPublicKey;

/// The padded size of a message that brings the sender's key.
const FIRST_PADDED_BYTES: usize = 15_904;
/// The padded size of all others.
const PADDED_BYTES: usize = 16_000;

/// The body of a `SEND`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientEnvelope<'a> {
    /// The version of the client's side of the queue protocol.
    pub version: u16,
    /// The sender's key, in confirmations and invitations: later messages use the same.
    pub sender_key: Option<X25519PublicKey>,
    /// The nonce of `sealed`.
    pub nonce: [u8; 24],
    /// The encrypted [`ClientMessage`].
    pub sealed: Cow<'a, [u8]>,
}

/// What an envelope holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientMessage<'a> {
    /// `K`: brings the key by which the recipient is to secure the queue.
    Confirmation {
        /// That key.
        sender_key: AuthPublicKey,
        /// The agent's envelope.
        body: Cow<'a, [u8]>,
    },
    /// `_`: all others.
    Regular {
        /// The agent's envelope.
        body: Cow<'a, [u8]>,
    },
}

impl<'a> ClientEnvelope<'a> {
    /// Encrypts a message. `key` is shared by the sender's key and the queue's; `sender_key` is put beside it where
    /// the recipient does not know it yet.
    ///
    /// # Errors
    /// [`CryptoError::TooLarge`].
    pub fn seal(
        version: u16,
        sender_key: Option<X25519PublicKey>,
        key: &BoxKey,
        message: &ClientMessage<'_>,
        rng: &mut dyn CryptoRng,
    ) -> Result<ClientEnvelope<'static>, CryptoError> {
        let nonce = random_bytes(rng);
        let size = if sender_key.is_some() { FIRST_PADDED_BYTES } else { PADDED_BYTES };
        let sealed = key.seal_padded(&nonce, &message.to_bytes(), size)?;
        Ok(ClientEnvelope { version, sender_key, nonce, sealed: sealed.into() })
    }

    /// Decrypts the message.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`] when it does not decrypt or is none.
    pub fn open(&self, key: &BoxKey) -> Result<ClientMessage<'static>, DecodeError> {
        let plain =
            key.open_padded(&self.nonce, &self.sealed).map_err(|_| DecodeError::Invalid("client message"))?;
        ClientMessage::parse(&plain).map(ClientMessage::into_owned)
    }

    /// Reads an envelope that takes all of `bytes`.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        Ok(Self {
            version: reader.u16()?,
            sender_key: reader.maybe(X25519PublicKey::decode)?,
            nonce: reader.array()?,
            sealed: reader.tail().into(),
        })
    }
}

impl Encode for ClientEnvelope<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.version.to_be_bytes());
        put_maybe(out, self.sender_key, |out, key| key.encode(out));
        out.extend_from_slice(&self.nonce);
        out.extend_from_slice(&self.sealed);
    }
}

impl<'a> ClientMessage<'a> {
    /// The agent's envelope.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        match self {
            Self::Confirmation { body, .. } | Self::Regular { body } => body,
        }
    }

    fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        match reader.u8()? {
            b'K' => Ok(Self::Confirmation {
                sender_key: AuthPublicKey::decode(&mut reader)?,
                body: reader.tail().into(),
            }),
            b'_' => Ok(Self::Regular { body: reader.tail().into() }),
            _ => Err(DecodeError::Invalid("client message")),
        }
    }

    fn into_owned(self) -> ClientMessage<'static> {
        match self {
            Self::Confirmation { sender_key, body } => {
                ClientMessage::Confirmation { sender_key, body: owned(body) }
            }
            Self::Regular { body } => ClientMessage::Regular { body: owned(body) },
        }
    }
}

impl Encode for ClientMessage<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Confirmation { sender_key, .. } => {
                out.push(b'K');
                sender_key.encode(out);
            }
            Self::Regular { .. } => out.push(b'_'),
        }
        out.extend_from_slice(self.body());
    }
}
