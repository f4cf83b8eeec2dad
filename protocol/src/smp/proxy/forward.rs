//! The proxy's part: one more layer around what it cannot read, and off again around the answer.
//!
//! ```text
//! forward  = short(n) version(2) short(SPKI of the client's key) T1
//! response = short(n) R1
//! ```

use std::borrow::Cow;

use crate::crypto::CryptoError;
use crate::crypto::dh::X25519PublicKey;
use crate::crypto::secretbox::{BoxKey, reverse_nonce};
use crate::encoding::{Decode as _, DecodeError, Encode as _, Reader, put_short};

/// What a proxy hands on of a `PFWD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward<'a> {
    /// The correlation id of `PFWD`, at most 255 bytes.
    pub correlation_id: Cow<'a, [u8]>,
    /// The version of the command inside.
    pub version: u16,
    /// The client's key for this command.
    pub client_key: X25519PublicKey,
    /// The command, sealed by the client.
    pub sealed: Cow<'a, [u8]>,
}

impl<'a> Forward<'a> {
    /// T2: the parameter of `RFWD` with the correlation id `nonce`.
    ///
    /// # Panics
    /// When the correlation id is longer than 255 bytes.
    #[must_use]
    pub fn seal(&self, key: &BoxKey, nonce: &[u8; 24]) -> Vec<u8> {
        let mut plain = Vec::with_capacity(self.sealed.len().saturating_add(128));
        put_short(&mut plain, &self.correlation_id);
        plain.extend_from_slice(&self.version.to_be_bytes());
        self.client_key.encode(&mut plain);
        plain.extend_from_slice(&self.sealed);
        key.seal(nonce, &plain)
    }

    /// Reads what was in T2.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn parse(plain: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(plain);
        Ok(Self {
            correlation_id: reader.short()?.into(),
            version: reader.u16()?,
            client_key: X25519PublicKey::decode(&mut reader)?,
            sealed: reader.tail().into(),
        })
    }
}

/// R1 out of R2, the parameter of `RRES`. The correlation id inside is ignored, as by other proxies: the client's
/// box proves which command is answered.
///
/// # Errors
/// [`CryptoError`] when it does not open or has no correlation id.
pub fn open_response(key: &BoxKey, nonce: &[u8; 24], sealed: &[u8]) -> Result<Vec<u8>, CryptoError> {
    let plain = key.open(&reverse_nonce(*nonce), sealed)?;
    let mut reader = Reader::new(&plain);
    reader.short().map_err(|_| CryptoError::Decrypt)?;
    Ok(reader.tail().to_vec())
}
