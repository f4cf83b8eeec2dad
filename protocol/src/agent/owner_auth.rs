//! Owners of a link: who else than its creator may sign its user data (agent.md §3.7, channels.md §3).
//!
//! ```text
//! owner     = short( short(owner id) short(SPKI Ed25519 owner key) short(signature) *ignored )
//! signature = Ed25519 over  owner id ‖ SPKI of owner key  by the root key or by an owner earlier in the list
//! ```

use thiserror::Error;

use crate::crypto::sign::{Ed25519PrivateKey, Ed25519PublicKey, Signature};
use crate::encoding::{Decode, DecodeError, Encode, Reader, put_short};

/// Longest owner id in bytes: with key and signature it must fit a short string.
pub const OWNER_ID_BYTES_MAX: usize = 255 - (1 + 45 + 65);

/// An owner's key, with the word of the root or of an earlier owner for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnerAuth {
    owner_id: Vec<u8>,
    owner_key: Ed25519PublicKey,
    signature: Signature,
}

impl OwnerAuth {
    /// Makes somebody an owner, in the word of `signer`: the root key or the key of an owner.
    ///
    /// # Errors
    /// When the id is longer than [`OWNER_ID_BYTES_MAX`].
    pub fn issue(
        owner_id: &[u8],
        owner_key: Ed25519PublicKey,
        signer: &Ed25519PrivateKey,
    ) -> Result<Self, DecodeError> {
        if owner_id.len() > OWNER_ID_BYTES_MAX {
            return Err(DecodeError::Invalid("owner id: more than 144 bytes"));
        }
        let signature = signer.sign(&signed_bytes(owner_id, &owner_key));
        Ok(Self { owner_id: owner_id.to_vec(), owner_key, signature })
    }

    /// The application's id of the owner.
    #[must_use]
    pub fn owner_id(&self) -> &[u8] {
        &self.owner_id
    }

    /// The owner's key.
    #[must_use]
    pub fn owner_key(&self) -> &Ed25519PublicKey {
        &self.owner_key
    }

    fn is_signed_by(&self, key: &Ed25519PublicKey) -> bool {
        key.verify(&signed_bytes(&self.owner_id, &self.owner_key), &self.signature).is_ok()
    }
}

fn signed_bytes(owner_id: &[u8], owner_key: &Ed25519PublicKey) -> Vec<u8> {
    [owner_id, &owner_key.to_der()].concat()
}

impl Encode for OwnerAuth {
    fn encode(&self, out: &mut Vec<u8>) {
        let mut inner = Vec::new();
        put_short(&mut inner, &self.owner_id);
        self.owner_key.encode(&mut inner);
        put_short(&mut inner, &self.signature);
        put_short(out, &inner);
    }
}

/// Bytes behind the signature are left for later versions.
impl Decode for OwnerAuth {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut inner = Reader::new(reader.short()?);
        let owner_id = inner.short()?.to_vec();
        let owner_key = Ed25519PublicKey::decode(&mut inner)?;
        let signature = inner.short()?.try_into().map_err(|_| DecodeError::Invalid("owner's signature"))?;
        Ok(Self { owner_id, owner_key, signature })
    }
}

/// Why a list of owners is not valid. One bad entry spoils the whole link. Entries count from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OwnerChainError {
    /// The root key cannot be an owner's key too.
    #[error("owner {0} has the root key")]
    KeyIsRoot(usize),
    /// Ids and keys must be unique.
    #[error("owner {0} has the id or the key of an earlier owner")]
    Duplicate(usize),
    /// Neither the root key nor an earlier owner has signed it.
    #[error("owner {0} is authorised by neither the root key nor an earlier owner")]
    NotAuthorised(usize),
}

/// Walks the list in order. It checks a signature at most once per pair of owners; the size of a link's data keeps
/// that below 8,000 times.
///
/// # Errors
/// For the first entry that is not valid.
pub fn check_owner_chain(owners: &[OwnerAuth], root_key: &Ed25519PublicKey) -> Result<(), OwnerChainError> {
    for (at, owner) in owners.iter().enumerate() {
        let earlier = owners.iter().take(at);
        if owner.owner_key == *root_key {
            return Err(OwnerChainError::KeyIsRoot(at));
        }
        let is_same =
            |other: &OwnerAuth| other.owner_id == owner.owner_id || other.owner_key == owner.owner_key;
        if earlier.clone().any(is_same) {
            return Err(OwnerChainError::Duplicate(at));
        }
        let mut authorities = std::iter::once(root_key).chain(earlier.map(OwnerAuth::owner_key));
        if !authorities.any(|key| owner.is_signed_by(key)) {
            return Err(OwnerChainError::NotAuthorised(at));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> Ed25519PrivateKey {
        Ed25519PrivateKey::from_seed(&[number; 32])
    }

    fn owner(number: u8, signer: u8) -> OwnerAuth {
        OwnerAuth::issue(&[number; 12], key(number).public_key(), &key(signer)).unwrap()
    }

    #[test]
    fn the_root_and_earlier_owners_authorise() {
        let check = |owners: &[OwnerAuth]| check_owner_chain(owners, &key(0).public_key());
        assert_eq!(check(&[]), Ok(()));
        assert_eq!(check(&[owner(1, 0), owner(2, 1), owner(3, 0), owner(4, 2)]), Ok(()));
        assert_eq!(
            check(&[owner(2, 1), owner(1, 0)]),
            Err(OwnerChainError::NotAuthorised(0)),
            "only earlier ones"
        );
        assert_eq!(check(&[owner(1, 0), owner(2, 2)]), Err(OwnerChainError::NotAuthorised(1)), "not itself");
        assert_eq!(check(&[owner(1, 0), owner(0, 0)]), Err(OwnerChainError::KeyIsRoot(1)));
        assert_eq!(check(&[owner(1, 0), owner(1, 0)]), Err(OwnerChainError::Duplicate(1)));
        let other_id = OwnerAuth::issue(&[9; 12], key(1).public_key(), &key(0)).unwrap();
        assert_eq!(check(&[owner(1, 0), other_id]), Err(OwnerChainError::Duplicate(1)));
        let other_key = OwnerAuth::issue(&[1; 12], key(9).public_key(), &key(0)).unwrap();
        assert_eq!(check(&[owner(1, 0), other_key]), Err(OwnerChainError::Duplicate(1)));
    }

    #[test]
    fn the_signature_covers_id_and_key() {
        let root_key = key(0).public_key();
        let mut stolen = owner(1, 0);
        stolen.owner_key = key(2).public_key();
        assert_eq!(check_owner_chain(&[stolen], &root_key), Err(OwnerChainError::NotAuthorised(0)));
        let mut renamed = owner(1, 0);
        renamed.owner_id = vec![2; 12];
        assert_eq!(check_owner_chain(&[renamed], &root_key), Err(OwnerChainError::NotAuthorised(0)));
    }

    #[test]
    fn later_bytes_inside_are_ignored() {
        let mut bytes = owner(1, 0).to_bytes();
        bytes[0] += 3;
        bytes.extend_from_slice(b"new");
        assert_eq!(OwnerAuth::from_bytes(&bytes), Ok(owner(1, 0)));
    }

    #[test]
    fn the_longest_id_fits() {
        let issue = |length| OwnerAuth::issue(&vec![1; length], key(1).public_key(), &key(0));
        let longest = issue(OWNER_ID_BYTES_MAX).unwrap();
        assert_eq!(OwnerAuth::from_bytes(&longest.to_bytes()), Ok(longest));
        assert!(issue(OWNER_ID_BYTES_MAX + 1).is_err());
    }
}
