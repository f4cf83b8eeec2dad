//! X3DH on X448: two pairs of keys on each side become the first secrets of a ratchet (agent.md §5.3).
//!
//! ```text
//! joiner s1,s2     initiator r1,r2     DH1 = s2·r1   DH2 = s1·r2   DH3 = s2·r2
//! HKDF(0⁶⁴, DH1 ‖ DH2 ‖ DH3, "SimpleXX3DH") = header key ‖ next header key ‖ root key
//! associated data = s1 ‖ r1, raw, in this order for both
//! ```

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::parameters::{RatchetOffer, RatchetParameters};
use super::root_key::thirds;
use super::secret::{HeaderKey, RootKey};
use crate::crypto::CryptoError;
use crate::crypto::dh::{X448PrivateKey, X448PublicKey};
use crate::crypto::hash::sha256;
use crate::crypto::kdf::hkdf;
use crate::encoding::{Decode, DecodeError, Encode, Reader};
use crate::version::VersionRange;

/// Bytes of the data that all messages of a ratchet are bound to.
pub(super) const ASSOCIATED_DATA_BYTES: usize = 112;

/// One party's two private keys, kept until the peer's public ones arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgreementKeys {
    pub(super) first: X448PrivateKey,
    pub(super) second: X448PrivateKey,
}

/// The first secrets of a ratchet, the same on both sides.
pub(super) struct Agreement {
    pub(super) header_key: HeaderKey,
    pub(super) next_header_key: HeaderKey,
    pub(super) root: RootKey,
    pub(super) associated_data: [u8; ASSOCIATED_DATA_BYTES],
}

impl AgreementKeys {
    /// Draws both keys.
    pub fn generate(rng: &mut dyn CryptoRng) -> Self {
        Self { first: X448PrivateKey::generate(rng), second: X448PrivateKey::generate(rng) }
    }

    /// From two private keys.
    #[must_use]
    pub fn new(first: X448PrivateKey, second: X448PrivateKey) -> Self {
        Self { first, second }
    }

    /// The public keys, for a message of the agreed version.
    #[must_use]
    pub fn parameters(&self, version: u16) -> RatchetParameters {
        RatchetParameters {
            version,
            first: self.first.public_key(),
            second: self.second.public_key(),
            kem: None,
        }
    }

    /// The public keys, for a link.
    #[must_use]
    pub fn offer(&self, versions: VersionRange) -> RatchetOffer {
        RatchetOffer { versions, first: self.first.public_key(), second: self.second.public_key(), kem: None }
    }

    /// As the party that used the link: `first` and `second` are the link's keys.
    pub(super) fn agree_as_joiner(
        &self,
        first: &X448PublicKey,
        second: &X448PublicKey,
    ) -> Result<Agreement, CryptoError> {
        let secrets = [
            self.second.diffie_hellman(first)?,
            self.first.diffie_hellman(second)?,
            self.second.diffie_hellman(second)?,
        ];
        Ok(Agreement::derive(secrets, &self.first.public_key(), first))
    }

    /// As the party that made the link: `first` and `second` are the joiner's keys.
    pub(super) fn agree_as_initiator(
        &self,
        first: &X448PublicKey,
        second: &X448PublicKey,
    ) -> Result<Agreement, CryptoError> {
        let secrets = [
            self.first.diffie_hellman(second)?,
            self.second.diffie_hellman(first)?,
            self.second.diffie_hellman(second)?,
        ];
        Ok(Agreement::derive(secrets, first, &self.first.public_key()))
    }
}

impl RatchetParameters {
    /// What names these keys among a connection's: SHA-256 of both, raw (agent.md §6.4).
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        sha256(&[self.first.0, self.second.0].concat())
    }
}

impl Agreement {
    fn derive(secrets: [[u8; 56]; 3], joiner: &X448PublicKey, initiator: &X448PublicKey) -> Self {
        let secrets = Zeroizing::new(secrets);
        let material = Zeroizing::new(secrets.concat());
        let derived = Zeroizing::new(hkdf::<96>(&[0; 64], &material, "SimpleXX3DH"));
        let [header_key, next_header_key, root] = thirds(&derived);
        let mut associated_data = [0; ASSOCIATED_DATA_BYTES];
        let (left, right) = associated_data.split_at_mut(joiner.0.len());
        left.copy_from_slice(&joiner.0);
        right.copy_from_slice(&initiator.0);
        Self {
            header_key: HeaderKey(header_key),
            next_header_key: HeaderKey(next_header_key),
            root: RootKey(root),
            associated_data,
        }
    }
}

impl Encode for AgreementKeys {
    fn encode(&self, out: &mut Vec<u8>) {
        self.first.encode(out);
        self.second.encode(out);
    }
}

impl Decode for AgreementKeys {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { first: X448PrivateKey::decode(reader)?, second: X448PrivateKey::decode(reader)? })
    }
}
