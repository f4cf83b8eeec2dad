//! What follows from a link key, and the sealed blobs that a server keeps for a link (smp.md §15.2,
//! agent.md §3.6–§3.7).
//!
//! ```text
//! link key    = SHA3-256(fixed link data)                  32 bytes, in the link
//! contact     : link id(24) ‖ blob key(32) = HKDF("", link key, "SimpleXContactLink")
//! invitation  :               blob key(32) = HKDF("", link key, "SimpleXInvLink");  the server chooses the link id
//!
//! blob        = nonce(24) ‖ box(blob key, nonce, pad(signed data))      fixed: 2,048 bytes   user: 13,824 bytes
//! ```

use zeroize::{Zeroize as _, ZeroizeOnDrop};

use super::ids::{ID_BYTES, LinkId};
use crate::crypto::secretbox::{BOX_OVERHEAD_BYTES, BoxKey};
use crate::crypto::{CryptoError, hash, kdf};
use crate::encoding::{Decode, DecodeError, Encode, Reader, put_short};

/// Length of a link key, in bytes.
pub const LINK_KEY_BYTES: usize = 32;
/// Length of the sealed fixed data, in bytes.
pub const FIXED_BLOB_BYTES: usize = 2048;
/// Length of the sealed user data, in bytes.
pub const USER_BLOB_BYTES: usize = 13_824;

const NONCE_BYTES: usize = 24;

/// The secret in a link: who has it can find and read the link's data, and check that its fixed part is the one
/// that the link was made for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, ZeroizeOnDrop)]
pub struct LinkKey([u8; LINK_KEY_BYTES]);

impl LinkKey {
    /// The key of a link with this fixed data (unsigned, as encoded).
    #[must_use]
    pub fn of(fixed_data: &[u8]) -> Self {
        Self(hash::sha3_256(fixed_data))
    }

    /// The raw bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; LINK_KEY_BYTES] {
        &self.0
    }

    /// Where the data of a contact link is, and the key of its blobs.
    #[must_use]
    pub fn contact(&self) -> (LinkId, BlobKey) {
        let mut derived: [u8; ID_BYTES + LINK_KEY_BYTES] = kdf::hkdf(&[], &self.0, "SimpleXContactLink");
        let mut reader = Reader::new(&derived);
        let parts =
            reader.array().and_then(|id| Ok((LinkId(id), BlobKey(BoxKey::from(reader.array::<32>()?)))));
        let parts = parts.expect("the array has the length of both parts");
        derived.zeroize();
        parts
    }

    /// The key of a one-time link's blobs.
    #[must_use]
    pub fn invitation(&self) -> BlobKey {
        BlobKey(BoxKey::from(kdf::hkdf::<LINK_KEY_BYTES>(&[], &self.0, "SimpleXInvLink")))
    }
}

impl From<[u8; LINK_KEY_BYTES]> for LinkKey {
    fn from(bytes: [u8; LINK_KEY_BYTES]) -> Self {
        Self(bytes)
    }
}

impl TryFrom<&[u8]> for LinkKey {
    type Error = DecodeError;

    fn try_from(bytes: &[u8]) -> Result<Self, DecodeError> {
        bytes.try_into().map(Self).map_err(|_| DecodeError::Invalid("link key"))
    }
}

impl Encode for LinkKey {
    fn encode(&self, out: &mut Vec<u8>) {
        put_short(out, &self.0);
    }
}

impl Decode for LinkKey {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::try_from(reader.short()?)
    }
}

impl std::fmt::Debug for LinkKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LinkKey([scrubbed])")
    }
}

/// One of the two parts of a link's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Bound into the link; never changes.
    Fixed,
    /// May be replaced by the link's owner.
    User,
}

impl Part {
    /// Length of the sealed blob, in bytes.
    #[must_use]
    pub const fn blob_bytes(self) -> usize {
        match self {
            Self::Fixed => FIXED_BLOB_BYTES,
            Self::User => USER_BLOB_BYTES,
        }
    }

    /// Length to which signed data is padded, in bytes.
    const fn padded_bytes(self) -> usize {
        self.blob_bytes() - NONCE_BYTES - BOX_OVERHEAD_BYTES
    }

    /// Most bytes of signed data that fit, with the signature.
    #[must_use]
    pub const fn signed_bytes_max(self) -> usize {
        self.padded_bytes() - 2
    }
}

/// Seals and opens the blobs of one link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobKey(BoxKey);

impl BlobKey {
    /// Seals signed data. Never twice with one nonce: draw it.
    ///
    /// # Errors
    /// [`CryptoError::TooLarge`] when it is longer than [`Part::signed_bytes_max`].
    pub fn seal(&self, part: Part, nonce: &[u8; NONCE_BYTES], signed: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let sealed = self.0.seal_padded(nonce, signed, part.padded_bytes())?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// Opens a blob. As in the reference, its length is not checked.
    ///
    /// # Errors
    /// [`CryptoError`] when it is not a blob of this link.
    pub fn open(&self, blob: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let (nonce, sealed) = blob.split_first_chunk::<NONCE_BYTES>().ok_or(CryptoError::Decrypt)?;
        self.0.open_padded(nonce, sealed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_has_its_size_and_opens_with_its_key_only() {
        let (_, key) = LinkKey::of(b"fixed data").contact();
        for part in [Part::Fixed, Part::User] {
            let signed = vec![7; part.signed_bytes_max()];
            let blob = key.seal(part, &[1; 24], &signed).unwrap();
            assert_eq!(blob.len(), part.blob_bytes());
            assert_eq!(key.open(&blob), Ok(signed));
            assert_eq!(LinkKey::of(b"fixed data").invitation().open(&blob), Err(CryptoError::Decrypt));
            let too_long = vec![7; part.signed_bytes_max() + 1];
            assert_eq!(key.seal(part, &[1; 24], &too_long), Err(CryptoError::TooLarge));
        }
        assert_eq!(key.open(&[0; 23]), Err(CryptoError::Decrypt));
    }

    #[test]
    fn debug_shows_nothing() {
        let key = LinkKey::of(b"");
        assert_eq!(format!("{key:?}"), "LinkKey([scrubbed])");
        assert_eq!(format!("{:?}", key.invitation()), "BlobKey(BoxKey([scrubbed]))");
    }
}
