//! Blocks of 16,384 bytes, padded and, after the hellos, encrypted once more inside TLS (smp.md §4.1, §4.6).
//!
//! ```text
//! plain block  = pad(content, 16384)
//! sealed block = box(key, nonce, pad(content, 16368))        chain key ─hkdf▶ next chain key, key, nonce
//! ```
//!
//! Each direction has its chain of keys, and every block takes one step of it, also a block that does not decrypt.

use std::ops::Range;

use thiserror::Error;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::crypto::dh::{X25519PrivateKey, X25519PublicKey};
use crate::crypto::secretbox::{BOX_OVERHEAD_BYTES, BoxKey};
use crate::crypto::{kdf, padding};
use crate::encoding::Reader;

/// The size of every block.
pub const BLOCK_BYTES: usize = 16_384;
/// The most that a plain block holds.
pub const PLAIN_CONTENT_BYTES_MAX: usize = BLOCK_BYTES - PAD_LENGTH_BYTES;
/// The most that a sealed block holds.
pub const SEALED_CONTENT_BYTES_MAX: usize = PLAIN_CONTENT_BYTES_MAX - BOX_OVERHEAD_BYTES;

const PAD_LENGTH_BYTES: usize = 2;

/// Why a block could not be written or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BlockError {
    /// The content does not fit. Nothing was written and no key was used.
    #[error("the content does not fit a block")]
    TooLarge,
    /// The block does not decrypt, or its padding is not valid. The next one may be fine.
    #[error("the block is malformed")]
    Malformed,
}

/// Both directions of one side of a session.
#[derive(Debug)]
pub struct BlockCipher {
    /// What this side sends.
    pub send: BlockSealer,
    /// What this side receives.
    pub receive: BlockOpener,
}

impl BlockCipher {
    /// Padding alone: the hellos, and sessions between a proxy and a destination server.
    #[must_use]
    pub fn plain() -> Self {
        Self { send: BlockSealer::plain(), receive: BlockOpener::plain() }
    }

    /// The client's side of an encrypted session.
    #[must_use]
    pub fn client(session_id: &[u8], own: &X25519PrivateKey, server: &X25519PublicKey) -> Self {
        let (from_server, from_client) = chain_keys(session_id, own, server);
        Self { send: BlockSealer(Some(from_client)), receive: BlockOpener(Some(from_server)) }
    }

    /// The server's side of an encrypted session.
    #[must_use]
    pub fn server(session_id: &[u8], own: &X25519PrivateKey, client: &X25519PublicKey) -> Self {
        let (from_server, from_client) = chain_keys(session_id, own, client);
        Self { send: BlockSealer(Some(from_server)), receive: BlockOpener(Some(from_client)) }
    }
}

/// Makes blocks of contents, in order.
#[derive(Debug)]
pub struct BlockSealer(Option<ChainKey>);

impl BlockSealer {
    /// Padding alone.
    #[must_use]
    pub fn plain() -> Self {
        Self(None)
    }

    /// The most that a content may have, in bytes.
    #[must_use]
    pub fn content_bytes_max(&self) -> usize {
        if self.0.is_some() { SEALED_CONTENT_BYTES_MAX } else { PLAIN_CONTENT_BYTES_MAX }
    }

    /// The block of `content`.
    ///
    /// # Errors
    /// [`BlockError::TooLarge`].
    pub fn seal(&mut self, content: &[u8]) -> Result<Vec<u8>, BlockError> {
        let mut out = Vec::with_capacity(BLOCK_BYTES);
        self.seal_into(content, &mut out)?;
        Ok(out)
    }

    /// Appends the block of `content`, so that several blocks can leave in one write.
    ///
    /// # Errors
    /// [`BlockError::TooLarge`]; then nothing was appended.
    pub fn seal_into(&mut self, content: &[u8], out: &mut Vec<u8>) -> Result<(), BlockError> {
        if content.len() > self.content_bytes_max() {
            return Err(BlockError::TooLarge);
        }
        let start = out.len();
        out.reserve(BLOCK_BYTES);
        let padded_bytes = match self.0 {
            None => BLOCK_BYTES,
            Some(_) => {
                out.extend_from_slice(&[0; BOX_OVERHEAD_BYTES]);
                BLOCK_BYTES - BOX_OVERHEAD_BYTES
            }
        };
        padding::pad_into(content, padded_bytes, out).map_err(|_| BlockError::TooLarge)?;
        if let (Some(chain), Some(block)) = (&mut self.0, out.get_mut(start..)) {
            let (key, nonce) = chain.step();
            key.seal_in_place(&nonce, block);
        }
        Ok(())
    }
}

/// Gives the contents of blocks, in order.
#[derive(Debug)]
pub struct BlockOpener(Option<ChainKey>);

impl BlockOpener {
    /// Padding alone.
    #[must_use]
    pub fn plain() -> Self {
        Self(None)
    }

    /// The content of a block, decrypted where it stands.
    ///
    /// # Errors
    /// [`BlockError::Malformed`]. The session may go on: a server answers `ERR BLOCK`.
    pub fn open<'b>(&mut self, block: &'b mut [u8; BLOCK_BYTES]) -> Result<&'b [u8], BlockError> {
        let place = self.open_place(block)?;
        Ok(block.get(place).unwrap_or_default())
    }

    /// As [`Self::open`]: where in the block its content stands.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_place(&mut self, block: &mut [u8; BLOCK_BYTES]) -> Result<Range<usize>, BlockError> {
        let (padded, padded_at): (&[u8], usize) = match &mut self.0 {
            None => (block, 0),
            Some(chain) => {
                let (key, nonce) = chain.step();
                let padded = key.open_in_place(&nonce, block).map_err(|_| BlockError::Malformed)?;
                (padded, BOX_OVERHEAD_BYTES)
            }
        };
        let content = padding::unpad(padded).map_err(|_| BlockError::Malformed)?;
        let start = padded_at.saturating_add(PAD_LENGTH_BYTES);
        Ok(start..start.saturating_add(content.len()))
    }
}

/// The key from which the next block's key comes.
#[derive(ZeroizeOnDrop)]
struct ChainKey([u8; 32]);

impl ChainKey {
    /// The next block's key and nonce.
    fn step(&mut self) -> (BoxKey, [u8; 24]) {
        let out = Zeroizing::new(kdf::hkdf::<88>(b"", &self.0, "SimpleXSbChain"));
        let mut reader = Reader::new(out.as_ref());
        let enough = "a step gives two keys and a nonce";
        self.0 = reader.array().expect(enough);
        let (key, nonce) = (reader.array().expect(enough), reader.array().expect(enough));
        (BoxKey::from(key), nonce)
    }
}

impl std::fmt::Debug for ChainKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ChainKey([scrubbed])")
    }
}

/// The first chain keys of both directions: server to client, client to server.
fn chain_keys(session_id: &[u8], own: &X25519PrivateKey, peer: &X25519PublicKey) -> (ChainKey, ChainKey) {
    let secret = Zeroizing::new(own.diffie_hellman(peer));
    let out = Zeroizing::new(kdf::hkdf::<64>(session_id, secret.as_ref(), "SimpleXSbChainInit"));
    let mut reader = Reader::new(out.as_ref());
    let mut key = || ChainKey(reader.array().expect("there are two keys"));
    let from_server = key();
    (from_server, key())
}
