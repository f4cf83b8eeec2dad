//! Whether a relay holds the key of its address (channels.md §21).
//!
//! ```text
//! tester ── x.grp.relay.test { challenge: 32 random bytes } ──▶ relay
//! tester ◀── x.grp.relay.test { challenge, signature by the root key of the address link } ── relay
//! ```

use rand_core::CryptoRng;
use thiserror::Error;

use super::event::owner_relay::RelayTest;
use crate::crypto::random_bytes;
use crate::crypto::sign::{Ed25519PrivateKey, Ed25519PublicKey};

/// Bytes of a challenge.
const CHALLENGE_BYTES: usize = 32;

/// Why a relay failed its test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TestFailed {
    /// The answer belongs to another test.
    #[error("the relay answered another challenge")]
    OtherChallenge,
    /// There is no signature, or not one by the key of the address.
    #[error("the relay does not hold the key of its address")]
    Signature,
}

/// What to send to a relay address.
pub fn challenge(rng: &mut dyn CryptoRng) -> RelayTest {
    RelayTest { challenge: random_bytes::<CHALLENGE_BYTES>(rng).to_vec(), signature: None }
}

/// A relay's answer. Challenges of another length are not signed: they could be something that has a meaning.
#[must_use]
pub fn answer(test: &RelayTest, address_key: &Ed25519PrivateKey) -> Option<RelayTest> {
    if test.challenge.len() != CHALLENGE_BYTES {
        return None;
    }
    let signature = address_key.sign(&test.challenge).to_vec();
    Some(RelayTest { challenge: test.challenge.clone(), signature: Some(signature) })
}

/// Checks an answer.
///
/// # Errors
/// [`TestFailed`].
pub fn check(sent: &RelayTest, answer: &RelayTest, address_key: &Ed25519PublicKey) -> Result<(), TestFailed> {
    if sent.challenge != answer.challenge {
        return Err(TestFailed::OtherChallenge);
    }
    let signature = answer.signature.as_deref().ok_or(TestFailed::Signature)?;
    address_key.verify(&sent.challenge, signature).map_err(|_| TestFailed::Signature)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn only_the_key_of_the_address_passes() {
        let mut rng = rand::rngs::StdRng::seed_from_u64(1);
        let (key, other) = (Ed25519PrivateKey::from_seed(&[1; 32]), Ed25519PrivateKey::from_seed(&[2; 32]));
        let sent = challenge(&mut rng);
        let good = answer(&sent, &key).unwrap();
        assert_eq!(check(&sent, &good, &key.public_key()), Ok(()));
        assert_eq!(check(&sent, &good, &other.public_key()), Err(TestFailed::Signature));
        assert_eq!(check(&sent, &sent, &key.public_key()), Err(TestFailed::Signature));
        assert_eq!(check(&challenge(&mut rng), &good, &key.public_key()), Err(TestFailed::OtherChallenge));
        let meaningful =
            RelayTest { challenge: b"G and a group and a member and words".to_vec(), signature: None };
        assert_eq!(answer(&meaningful, &key), None);
    }
}
