//! The root key: each step mixes in a new shared secret (agent.md §5.6).

use zeroize::{Zeroize as _, Zeroizing};

use super::secret::{ChainKey, HeaderKey, RootKey};
use crate::crypto::CryptoError;
use crate::crypto::dh::{X448PrivateKey, X448PublicKey};
use crate::crypto::kdf::hkdf;

/// What one step of the root key gives.
pub(super) struct Step {
    /// The root key of the next step.
    pub(super) root: RootKey,
    /// The chain that starts here.
    pub(super) chain: ChainKey,
    /// The header key of the chain after this one, in the same direction.
    pub(super) next_header_key: HeaderKey,
}

impl RootKey {
    /// Steps with the secret shared between `own` and `peer`.
    ///
    /// # Errors
    /// [`CryptoError::Key`] when the peer's key is none.
    pub(super) fn step(&self, peer: &X448PublicKey, own: &X448PrivateKey) -> Result<Step, CryptoError> {
        let mut secret = own.diffie_hellman(peer)?;
        let derived = Zeroizing::new(hkdf::<96>(&self.0, &secret, "SimpleXRootRatchet"));
        secret.zeroize();
        let [root, chain, next_header_key] = thirds(&derived);
        Ok(Step { root: RootKey(root), chain: ChainKey(chain), next_header_key: HeaderKey(next_header_key) })
    }
}

/// Splits what HKDF gave into its three keys.
pub(super) fn thirds(derived: &[u8; 96]) -> [[u8; 32]; 3] {
    let mut keys = [[0; 32]; 3];
    for (key, part) in keys.iter_mut().zip(derived.chunks_exact(32)) {
        key.copy_from_slice(part);
    }
    keys
}
