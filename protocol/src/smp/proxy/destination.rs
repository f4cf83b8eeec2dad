//! The destination server's part: opens both layers, and seals the answer in both.

use super::FORWARDED_PADDED_BYTES;
use super::forward::Forward;
use crate::crypto::CryptoError;
use crate::crypto::dh::X25519PrivateKey;
use crate::crypto::secretbox::{BoxKey, nonce_from, reverse_nonce};
use crate::encoding::put_short;
use crate::smp::command::Command;
use crate::smp::error::{CommandError, ErrorType};

/// A command that came through a proxy.
#[derive(Debug)]
pub struct ForwardedCommand {
    /// Its version: not that of the proxy's session.
    pub version: u16,
    /// The content of a block, with one transmission if the client is honest.
    pub content: Vec<u8>,
    correlation_id: Vec<u8>,
    client_key: BoxKey,
    proxy_key: BoxKey,
    proxy_nonce: [u8; 24],
}

impl ForwardedCommand {
    /// Opens the parameter of `RFWD`.
    ///
    /// # Errors
    /// What the proxy is told: `CRYPTO`, or `CMD SYNTAX`.
    pub fn open(
        own_key: &X25519PrivateKey,
        proxy_key: &BoxKey,
        correlation_id: &[u8],
        sealed: &[u8],
    ) -> Result<Self, ErrorType> {
        let proxy_nonce = nonce_from(correlation_id);
        let plain = proxy_key.open(&proxy_nonce, sealed).map_err(|_| ErrorType::Crypto)?;
        let forward = Forward::parse(&plain).map_err(|_| CommandError::Syntax)?;
        let client_key = own_key.box_key(&forward.client_key);
        let content = client_key
            .open_padded(&nonce_from(&forward.correlation_id), &forward.sealed)
            .map_err(|_| ErrorType::Crypto)?;
        Ok(Self {
            version: forward.version,
            content,
            correlation_id: forward.correlation_id.into_owned(),
            client_key,
            proxy_key: proxy_key.clone(),
            proxy_nonce,
        })
    }

    /// Whether a proxy may forward this command; others are answered `CMD PROHIBITED`.
    #[must_use]
    pub fn may_be(command: &Command<'_>) -> bool {
        matches!(command, Command::Send { .. } | Command::Skey { .. } | Command::Lkey { .. } | Command::Lget)
    }

    /// R2, the parameter of `RRES`: the content with the one response.
    ///
    /// # Errors
    /// [`CryptoError::TooLarge`].
    pub fn seal_answer(&self, content: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let nonce = reverse_nonce(nonce_from(&self.correlation_id));
        let sealed = self.client_key.seal_padded(&nonce, content, FORWARDED_PADDED_BYTES)?;
        let mut plain = Vec::with_capacity(sealed.len().saturating_add(32));
        put_short(&mut plain, &self.correlation_id);
        plain.extend_from_slice(&sealed);
        Ok(self.proxy_key.seal(&reverse_nonce(self.proxy_nonce), &plain))
    }
}
