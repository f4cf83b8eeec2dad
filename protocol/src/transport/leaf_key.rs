//! The private key of a server's leaf certificate: it signs TLS handshakes and session keys (smp.md §2.4, §3.1).
//!
//! Ours are Ed25519. Ed448 was the default of other servers: their owners keep their certificates, and with them
//! their address.

use crate::crypto::CryptoError;
use crate::crypto::sign::{Ed448PrivateKey, Ed25519PrivateKey};
use crate::transport::certified_key::CertificateKey;

/// The private key of a leaf certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "a server has one, and it seldom moves")]
pub enum LeafKey {
    /// Today's default.
    Ed25519(Ed25519PrivateKey),
    /// The former default of servers.
    Ed448(Ed448PrivateKey),
}

impl LeafKey {
    /// Reads DER PKCS#8 of version 1.
    ///
    /// # Errors
    /// [`CryptoError::Key`] when it is another form or algorithm.
    pub fn from_der(der: &[u8]) -> Result<Self, CryptoError> {
        (Ed25519PrivateKey::from_der(der).map(Self::Ed25519))
            .or_else(|_| Ed448PrivateKey::from_der(der).map(Self::Ed448))
    }

    /// The form that [`Self::from_der`] reads.
    #[must_use]
    pub fn to_der(&self) -> Vec<u8> {
        match self {
            Self::Ed25519(key) => key.to_der(),
            Self::Ed448(key) => key.to_der(),
        }
    }

    /// The key that stands in the certificate.
    #[must_use]
    pub fn public_key(&self) -> CertificateKey {
        match self {
            Self::Ed25519(key) => CertificateKey::Ed25519(key.public_key()),
            Self::Ed448(key) => CertificateKey::Ed448(key.public_key()),
        }
    }
}

impl From<Ed25519PrivateKey> for LeafKey {
    fn from(key: Ed25519PrivateKey) -> Self {
        Self::Ed25519(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::dh::X25519PublicKey;
    use crate::transport::certified_key::SignedKey;

    fn ed448() -> LeafKey {
        let prefix = [0x30, 0x47, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x71, 4, 0x3b, 4, 0x39];
        let private: Vec<u8> = (0..57).collect();
        LeafKey::from_der(&[&prefix[..], &private].concat()).unwrap()
    }

    /// smp.md §21.6: sizes and beginnings of a session key signed by Ed448.
    #[test]
    fn an_ed448_key_signs_session_keys() {
        let key = X25519PublicKey([7; 32]);
        let signed = SignedKey::sign_x25519(&key, &ed448());
        let der = signed.to_der();
        assert_eq!((der.len(), &der[..9]), (173, &[0x30, 0x81, 0xaa, 0x30, 0x2c, 0x30, 0x2a, 0x30, 5][..]));
        assert_eq!(der[49..59], [0x30, 5, 6, 3, 0x2b, 0x65, 0x71, 3, 0x73, 0]);
        let read = SignedKey::from_der(&der).unwrap();
        assert_eq!(read.verify_x25519(&ed448().public_key()), Ok(key));
        let other = LeafKey::from(Ed25519PrivateKey::from_seed(&[1; 32])).public_key();
        assert!(read.verify_x25519(&other).is_err());
    }

    #[test]
    fn keys_of_both_algorithms_round_trip_and_others_are_refused() {
        for key in [ed448(), Ed25519PrivateKey::from_seed(&[1; 32]).into()] {
            assert_eq!(LeafKey::from_der(&key.to_der()), Ok(key.clone()));
            assert!(format!("{key:?}").contains("[scrubbed]"));
            let mut long = key.to_der();
            long.push(0);
            assert_eq!(LeafKey::from_der(&long), Err(CryptoError::Key));
        }
        let x25519 = crate::crypto::dh::X25519PrivateKey::from_bytes([7; 32]).to_der();
        assert_eq!(LeafKey::from_der(&x25519), Err(CryptoError::Key));
    }
}
