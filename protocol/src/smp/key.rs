//! Keys that authorise commands, and what they make (smp.md §2.1, §5.2, §5.3).
//!
//! ```text
//! key           = short(SPKI of Ed25519 | Ed448 | X25519)
//! authenticator = short(nothing | Ed25519 signature (64) | X25519 authenticator (80) | Ed448 signature (114))
//! ```

use rand_core::CryptoRng;

use crate::crypto::CryptoError;
use crate::crypto::dh::{X25519PrivateKey, X25519PublicKey};
use crate::crypto::sign::{
    ED448_SIGNATURE_BYTES, ED25519_SIGNATURE_BYTES, Ed448PublicKey, Ed25519PrivateKey, Ed25519PublicKey,
};
use crate::encoding::{Decode, DecodeError, Encode, Reader, put_short};

/// The length of an X25519 authenticator: a box around a SHA-512.
pub const X25519_AUTHENTICATOR_BYTES: usize = 80;

/// The public key by which commands to a queue are authorised. X448 is not allowed here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AuthPublicKey {
    /// Signs.
    Ed25519(Ed25519PublicKey),
    /// Signs; older clients use it.
    Ed448(Ed448PublicKey),
    /// Authenticates to the server alone: nobody can prove to a third party who sent a command.
    X25519(X25519PublicKey),
}

impl AuthPublicKey {
    /// Reads a DER `SubjectPublicKeyInfo`.
    ///
    /// # Errors
    /// [`CryptoError::Key`] when it is another algorithm, or bytes are left.
    pub fn from_der(der: &[u8]) -> Result<Self, CryptoError> {
        (Ed25519PublicKey::from_der(der).map(Self::Ed25519))
            .or_else(|_| X25519PublicKey::from_der(der).map(Self::X25519))
            .or_else(|_| Ed448PublicKey::from_der(der).map(Self::Ed448))
    }

    /// The DER `SubjectPublicKeyInfo`.
    #[must_use]
    pub fn to_der(&self) -> Vec<u8> {
        match self {
            Self::Ed25519(key) => key.to_der(),
            Self::Ed448(key) => key.to_der(),
            Self::X25519(key) => key.to_der(),
        }
    }
}

impl Encode for AuthPublicKey {
    fn encode(&self, out: &mut Vec<u8>) {
        put_short(out, &self.to_der());
    }
}

impl Decode for AuthPublicKey {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::from_der(reader.short()?).map_err(|_| DecodeError::Invalid("authorisation key"))
    }
}

/// The private key that authorises commands. We never make Ed448 keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthPrivateKey {
    /// Signs.
    Ed25519(Ed25519PrivateKey),
    /// Authenticates to the server alone.
    X25519(X25519PrivateKey),
}

impl AuthPrivateKey {
    /// Draws an Ed25519 key.
    pub fn generate_ed25519(rng: &mut dyn CryptoRng) -> Self {
        Self::Ed25519(Ed25519PrivateKey::generate(rng))
    }

    /// Draws an X25519 key.
    pub fn generate_x25519(rng: &mut dyn CryptoRng) -> Self {
        Self::X25519(X25519PrivateKey::generate(rng))
    }

    /// The public key.
    #[must_use]
    pub fn public_key(&self) -> AuthPublicKey {
        match self {
            Self::Ed25519(key) => AuthPublicKey::Ed25519(key.public_key()),
            Self::X25519(key) => AuthPublicKey::X25519(key.public_key()),
        }
    }
}

/// `E` or `X` and the raw key, for records at rest; never on the wire.
impl Encode for AuthPrivateKey {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Ed25519(key) => {
                out.push(b'E');
                key.encode(out);
            }
            Self::X25519(key) => {
                out.push(b'X');
                key.encode(out);
            }
        }
    }
}

impl Decode for AuthPrivateKey {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u8()? {
            b'E' => Decode::decode(reader).map(Self::Ed25519),
            b'X' => Decode::decode(reader).map(Self::X25519),
            _ => Err(DecodeError::Invalid("authorisation key")),
        }
    }
}

/// What authorises one transmission. Its length on the wire tells its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authenticator {
    /// Not authorised.
    None,
    /// An Ed25519 signature.
    Ed25519([u8; ED25519_SIGNATURE_BYTES]),
    /// An Ed448 signature; boxed, because it is long and rare.
    Ed448(Box<[u8; ED448_SIGNATURE_BYTES]>),
    /// A box that only the holder of the key and the server can make.
    X25519([u8; X25519_AUTHENTICATOR_BYTES]),
}

impl Authenticator {
    /// Whether there is none.
    #[must_use]
    pub fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// The bytes on the wire, without their length.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::None => &[],
            Self::Ed25519(bytes) => bytes,
            Self::Ed448(bytes) => bytes.as_slice(),
            Self::X25519(bytes) => bytes,
        }
    }
}

impl TryFrom<&[u8]> for Authenticator {
    type Error = DecodeError;

    fn try_from(bytes: &[u8]) -> Result<Self, DecodeError> {
        let invalid = |_| DecodeError::Invalid("authenticator length");
        match bytes.len() {
            0 => Ok(Self::None),
            ED25519_SIGNATURE_BYTES => bytes.try_into().map(Self::Ed25519).map_err(invalid),
            X25519_AUTHENTICATOR_BYTES => bytes.try_into().map(Self::X25519).map_err(invalid),
            _ => <[u8; ED448_SIGNATURE_BYTES]>::try_from(bytes)
                .map(|bytes| Self::Ed448(Box::new(bytes)))
                .map_err(invalid),
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;
    use crate::crypto::dh::X448PublicKey;

    #[test]
    fn keys_of_the_three_algorithms_round_trip() {
        for key in [
            AuthPublicKey::Ed25519(Ed25519PublicKey([1; 32])),
            AuthPublicKey::Ed448(Ed448PublicKey([2; 57])),
            AuthPublicKey::X25519(X25519PublicKey([3; 32])),
        ] {
            assert_eq!(AuthPublicKey::from_bytes(&key.to_bytes()), Ok(key));
            let mut long = key.to_der();
            long.push(0);
            assert!(AuthPublicKey::from_der(&long).is_err(), "bytes after the key");
        }
        assert!(
            AuthPublicKey::from_bytes(&X448PublicKey([4; 56]).to_bytes()).is_err(),
            "X448 authorises nothing"
        );
    }

    #[test]
    fn the_length_of_an_authenticator_tells_its_kind() {
        assert_eq!(Authenticator::try_from(&[][..]), Ok(Authenticator::None));
        for length in [64, 80, 114] {
            let bytes = vec![5; length];
            assert_eq!(Authenticator::try_from(&bytes[..]).unwrap().as_bytes(), bytes);
        }
        for length in [1, 63, 65, 79, 81, 113, 115, 255] {
            assert!(Authenticator::try_from(&vec![5; length][..]).is_err(), "{length}");
        }
    }

    #[test]
    fn private_keys_round_trip_and_do_not_show() {
        let mut rng = rand::rngs::StdRng::seed_from_u64(1);
        for key in [AuthPrivateKey::generate_ed25519(&mut rng), AuthPrivateKey::generate_x25519(&mut rng)] {
            assert_eq!(AuthPrivateKey::from_bytes(&key.to_bytes()), Ok(key.clone()));
            assert!(format!("{key:?}").contains("[scrubbed]"));
        }
    }
}
