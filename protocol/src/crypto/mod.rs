//! Keys, ciphers and hashes exactly as the wire has them (smp.md §2, agent.md §0.2–§0.6).
//!
//! Ciphers come from well-kept crates; what stands here is their composition and the key forms.

pub mod aead;
pub mod dh;
pub mod hash;
pub mod kdf;
pub mod padding;
pub mod ratchet;
pub mod secretbox;
pub mod sign;
mod wide_poly1305;
mod wide_salsa20;
mod wide_sha512;

use thiserror::Error;

/// Why a cryptographic step failed. Says nothing about secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CryptoError {
    /// The authentication tag does not match: wrong key, wrong nonce, or changed bytes.
    #[error("cannot decrypt: wrong key or changed bytes")]
    Decrypt,
    /// The signature does not verify.
    #[error("the signature is not valid")]
    Signature,
    /// The message does not fit its padded size.
    #[error("the message does not fit its padded size")]
    TooLarge,
    /// The padding announces more than there is.
    #[error("the padding is not valid")]
    Padding,
    /// Not a key of this algorithm.
    #[error("not a valid key")]
    Key,
}

/// Draws `N` random bytes.
pub fn random_bytes<const N: usize>(rng: &mut dyn rand_core::CryptoRng) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill_bytes(&mut bytes);
    bytes
}
