//! Diffie–Hellman keys: X25519 for queues, X448 for the ratchet (smp.md §2.1, agent.md §0.2).
//!
//! On the wire a public key is a short string that holds its DER `SubjectPublicKeyInfo`.

use ed448_goldilocks_plus::x448;
use rand_core::CryptoRng;
use zeroize::{Zeroize as _, ZeroizeOnDrop};

use super::{CryptoError, random_bytes, secretbox::BoxKey};
use crate::encoding::{Decode, DecodeError, Encode, Reader, put_short};

macro_rules! dh_keys {
    ($public:ident, $private:ident, $size:literal, $name:literal, $spki:expr, $pkcs8:expr) => {
        #[doc = concat!("An ", $name, " public key, ", stringify!($size), " bytes raw.")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $public(pub [u8; $size]);

        impl $public {
            const PREFIX: &'static [u8] = &$spki;

            /// The DER `SubjectPublicKeyInfo`.
            #[must_use]
            pub fn to_der(&self) -> Vec<u8> {
                [Self::PREFIX, &self.0].concat()
            }

            /// Reads a DER `SubjectPublicKeyInfo`.
            ///
            /// # Errors
            /// [`CryptoError::Key`] when it is not one of this algorithm, or bytes are left.
            pub fn from_der(der: &[u8]) -> Result<Self, CryptoError> {
                let raw = der.strip_prefix(Self::PREFIX).ok_or(CryptoError::Key)?;
                raw.try_into().map(Self).map_err(|_| CryptoError::Key)
            }
        }

        impl Encode for $public {
            fn encode(&self, out: &mut Vec<u8>) {
                put_short(out, &self.to_der());
            }
        }

        impl Decode for $public {
            fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Self::from_der(reader.short()?).map_err(|_| DecodeError::Invalid(concat!($name, " key")))
            }
        }

        #[doc = concat!("An ", $name, " private key; wiped when dropped.")]
        #[derive(Clone, PartialEq, Eq, ZeroizeOnDrop)]
        pub struct $private([u8; $size]);

        impl $private {
            const PREFIX: &'static [u8] = &$pkcs8;

            /// Draws a key.
            pub fn generate(rng: &mut dyn CryptoRng) -> Self {
                Self(random_bytes(rng))
            }

            /// From raw bytes.
            #[must_use]
            pub fn from_bytes(bytes: [u8; $size]) -> Self {
                Self(bytes)
            }

            /// The raw bytes.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; $size] {
                &self.0
            }

            /// The DER PKCS#8 form (files and vectors only).
            #[must_use]
            pub fn to_der(&self) -> Vec<u8> {
                [Self::PREFIX, &self.0].concat()
            }
        }

        impl std::fmt::Debug for $private {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($private), "([scrubbed])"))
            }
        }

        /// Raw bytes, for records at rest.
        impl Encode for $private {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.0);
            }
        }

        impl Decode for $private {
            fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                reader.array().map(Self)
            }
        }
    };
}

dh_keys!(
    X25519PublicKey,
    X25519PrivateKey,
    32,
    "X25519",
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x03, 0x21, 0x00],
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x04, 0x22, 0x04, 0x20]
);

dh_keys!(
    X448PublicKey,
    X448PrivateKey,
    56,
    "X448",
    [0x30, 0x42, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6f, 0x03, 0x39, 0x00],
    [0x30, 0x46, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6f, 0x04, 0x3a, 0x04, 0x38]
);

impl X25519PrivateKey {
    /// The public key.
    #[must_use]
    pub fn public_key(&self) -> X25519PublicKey {
        X25519PublicKey(x25519_dalek::x25519(self.0, x25519_dalek::X25519_BASEPOINT_BYTES))
    }

    /// The raw shared secret. All-zero results are not refused, as on the wire (smp.md §2.2).
    #[must_use]
    pub fn diffie_hellman(&self, peer: &X25519PublicKey) -> [u8; 32] {
        x25519_dalek::x25519(self.0, peer.0)
    }

    /// The box key shared with `peer`.
    #[must_use]
    pub fn box_key(&self, peer: &X25519PublicKey) -> BoxKey {
        let mut secret = self.diffie_hellman(peer);
        let key = BoxKey::new(&secret);
        secret.zeroize();
        key
    }
}

impl X448PrivateKey {
    /// The public key.
    #[must_use]
    pub fn public_key(&self) -> X448PublicKey {
        X448PublicKey(x448::PublicKey::from(&x448::StaticSecret::from(self.0)).to_bytes())
    }

    /// The raw shared secret.
    ///
    /// # Errors
    /// [`CryptoError::Key`] when the peer's key forces an all-zero secret: no honest peer sends one.
    pub fn diffie_hellman(&self, peer: &X448PublicKey) -> Result<[u8; 56], CryptoError> {
        let secret = x448::StaticSecret::from(self.0).diffie_hellman(&x448::PublicKey::from(peer.0));
        if secret.was_contributory() { Ok(secret.to_bytes()) } else { Err(CryptoError::Key) }
    }
}
