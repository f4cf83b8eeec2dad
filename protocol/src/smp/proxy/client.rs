//! The client's part: seals a command for the destination server and opens the answer.

use rand_core::CryptoRng;
use thiserror::Error;

use super::{FORWARDED_PADDED_BYTES, single};
use crate::crypto::CryptoError;
use crate::crypto::dh::{X25519PrivateKey, X25519PublicKey};
use crate::crypto::secretbox::{BoxKey, nonce_from, reverse_nonce};
use crate::encoding::DecodeError;
use crate::smp::authorize::Authorizer;
use crate::smp::batch::{Batch, TransmissionTooLarge};
use crate::smp::command::Command;
use crate::smp::ids::CorrelationId;
use crate::smp::key::AuthPrivateKey;
use crate::smp::response::BrokerMessage;
use crate::smp::transmission::Transmission;
use crate::transport::certified_key::{CertificateKey, CertifiedKey, fingerprint};
use crate::version::VersionRange;

/// Why the session that a proxy offers is not used: the proxy is not honest, or the destination is too old.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DestinationError {
    /// The certificates are of another server, or did not sign the key.
    #[error("the proxy's session is not with the server that the address names")]
    Identity,
    /// No version in common.
    #[error("the destination server speaks versions {offered} through the proxy, this program others")]
    Version {
        /// What the proxy offers.
        offered: VersionRange,
    },
}

/// A proxy's session with a destination server, as the client knows it from `PKEY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationSession {
    /// Names the session to the proxy, and is authorised with each command.
    pub session_id: Vec<u8>,
    /// The version of forwarded commands.
    pub version: u16,
    /// The destination server's key in this session.
    pub server_key: X25519PublicKey,
}

impl DestinationSession {
    /// Reads what `PKEY` offers. The caller has checked the chain as that of a server (smp.md §3.3) and read the
    /// `leaf`'s key from it; here the identity must be the address's, and the leaf must have signed the session key.
    ///
    /// # Errors
    /// [`DestinationError`].
    pub fn new(
        session_id: &[u8],
        offered: VersionRange,
        certified_key: &CertifiedKey,
        key_hash: &[u8; 32],
        leaf: &CertificateKey,
        ours: VersionRange,
    ) -> Result<Self, DestinationError> {
        let identity = certified_key.chain.server_identity().map_err(|_| DestinationError::Identity)?;
        if fingerprint(identity) != *key_hash {
            return Err(DestinationError::Identity);
        }
        let server_key =
            certified_key.signed_key.verify_x25519(leaf).map_err(|_| DestinationError::Identity)?;
        let version = ours.agree(offered).ok_or(DestinationError::Version { offered })?;
        Ok(Self { session_id: session_id.to_vec(), version, server_key })
    }

    /// Seals a command. A correlation id must not be used twice: it is the nonce, too.
    ///
    /// # Errors
    /// [`TransmissionTooLarge`] when a body is longer than forwarded commands can be.
    pub fn seal(
        &self,
        correlation_id: CorrelationId,
        key: Option<&AuthPrivateKey>,
        entity_id: &[u8],
        command: &Command<'_>,
        rng: &mut dyn CryptoRng,
    ) -> Result<SealedCommand, TransmissionTooLarge> {
        let command = command.encode(self.version);
        let id = correlation_id.as_bytes();
        let transmission = match key {
            Some(key) => {
                let authorizer = Authorizer { session_id: &self.session_id, server_key: &self.server_key };
                authorizer.authorize(key, id, entity_id, &command)
            }
            None => Transmission::unauthorized(id, entity_id, &command),
        };
        let content = single(|out| transmission.encode_into(self.version, out))?;
        let client_key = X25519PrivateKey::generate(rng);
        let answer =
            AnswerKey { key: client_key.box_key(&self.server_key), nonce: *id, version: self.version };
        let sealed = answer.seal_content(&content).map_err(|_| TransmissionTooLarge)?;
        let command = Command::Pfwd {
            version: self.version,
            client_key: client_key.public_key(),
            sealed: sealed.into(),
        };
        Ok(SealedCommand { correlation_id, command, answer })
    }
}

/// A command for a destination server, ready to be sent to the proxy.
#[derive(Debug)]
pub struct SealedCommand {
    /// To send it with.
    pub correlation_id: CorrelationId,
    /// `PFWD`, without authenticator; its entity is the session's id.
    pub command: Command<'static>,
    /// What opens the answer.
    pub answer: AnswerKey,
}

/// Why an answer through a proxy is of no use: the proxy or the destination server changed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// It does not open.
    #[error("the answer through the proxy does not decrypt")]
    Crypto(#[from] CryptoError),
    /// It is malformed, or has not exactly one transmission.
    #[error("the answer through the proxy is malformed")]
    Malformed(#[from] DecodeError),
    /// It is about something else.
    #[error("the answer through the proxy does not fit the command")]
    Unexpected,
}

/// Seals one command and opens its answer.
#[derive(Debug)]
pub struct AnswerKey {
    key: BoxKey,
    nonce: [u8; 24],
    version: u16,
}

impl AnswerKey {
    /// From the client's key for this command and the destination's session key. The correlation id is the nonce.
    #[must_use]
    pub fn new(
        client_key: &X25519PrivateKey,
        server_key: &X25519PublicKey,
        correlation_id: &[u8],
        version: u16,
    ) -> Self {
        Self { key: client_key.box_key(server_key), nonce: nonce_from(correlation_id), version }
    }

    /// T1, 16,242 bytes.
    ///
    /// # Errors
    /// [`CryptoError::TooLarge`].
    pub fn seal_content(&self, content: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.key.seal_padded(&self.nonce, content, FORWARDED_PADDED_BYTES)
    }

    /// What is in R1.
    ///
    /// # Errors
    /// [`CryptoError`].
    pub fn open_content(&self, sealed: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.key.open_padded(&reverse_nonce(self.nonce), sealed)
    }

    /// Opens the answer to a command about `entity_id`; an error of the destination server is an answer, too.
    ///
    /// # Errors
    /// [`AnswerError`].
    pub fn open(&self, sealed: &[u8], entity_id: &[u8]) -> Result<BrokerMessage<'static>, AnswerError> {
        let content = self.open_content(sealed)?;
        let mut batch = Batch::parse(&content)?;
        let (Some(bytes), None) = (batch.next(), batch.next()) else { return Err(AnswerError::Unexpected) };
        let transmission = Transmission::parse(bytes, self.version)
            .map_err(|_| AnswerError::Malformed(DecodeError::Invalid("transmission")))?;
        let message = BrokerMessage::parse(transmission.command, self.version)?;
        let fits = matches!(message, BrokerMessage::Err(_))
            || (transmission.correlation_id == self.nonce && transmission.entity_id == entity_id);
        if fits { Ok(message.into_owned()) } else { Err(AnswerError::Unexpected) }
    }
}
