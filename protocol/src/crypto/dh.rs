//! Diffie–Hellman keys: X25519 for queues, X448 for the ratchet (smp.md §2.1, agent.md §0.2).
//!
//! On the wire a public key is a short string that holds its DER `SubjectPublicKeyInfo`.

use crrl::x448::{x448, x448_base};
use rand_core::CryptoRng;
use subtle::ConstantTimeEq as _;
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
    /// The public key. By a table of the base point's multiples, which takes much less time than an agreement.
    #[must_use]
    pub fn public_key(&self) -> X25519PublicKey {
        let secret = x25519_dalek::StaticSecret::from(self.0);
        X25519PublicKey(x25519_dalek::PublicKey::from(&secret).to_bytes())
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
        X448PublicKey(x448_base(&self.0))
    }

    /// The raw shared secret.
    ///
    /// # Errors
    /// [`CryptoError::Key`] when the peer's key forces an all-zero secret: no honest peer sends one.
    pub fn diffie_hellman(&self, peer: &X448PublicKey) -> Result<[u8; 56], CryptoError> {
        let secret = x448(&peer.0, &self.0);
        if bool::from(secret.ct_eq(&[0; 56])) { Err(CryptoError::Key) } else { Ok(secret) }
    }
}

#[cfg(test)]
mod tests {
    use ed448_goldilocks_plus::x448 as other;
    use proptest::prelude::*;

    use super::*;

    fn bytes(hex: &str) -> [u8; 56] {
        std::array::from_fn(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
    }

    /// RFC 7748, section 5.2: the iterated test.
    #[test]
    fn x448_iterated() {
        let mut scalar = [0; 56];
        scalar[0] = 5;
        let mut u = scalar;
        for round in 1..=1000 {
            let next = X448PrivateKey(scalar).diffie_hellman(&X448PublicKey(u)).unwrap();
            (u, scalar) = (scalar, next);
            let expected = match round {
                1 => {
                    "3f482c8a9f19b01e6c46ee9711d9dc14fd4bf67af30765c2ae2b846a4d23a8cd\
                     0db897086239492caf350b51f833868b9bc2b3bca9cf4113"
                }
                1000 => {
                    "aa3b4749d55b9daf1e5b00288826c467274ce3ebbdd5c17b975e09d4af6c67cf\
                     10d087202db88286e2b79fceea3ec353ef54faa26e219f38"
                }
                _ => continue,
            };
            assert_eq!(scalar, bytes(expected), "after {round}");
        }
    }

    /// A point whose multiples are all zero: 0, 1, p - 1, and the first two again as p and p + 1.
    #[test]
    fn x448_of_small_order_is_refused() {
        let (mut one, mut p_less_one) = ([0; 56], [0xff; 56]);
        one[0] = 1;
        p_less_one[0] = 0xfe;
        p_less_one[28] = 0xfe;
        let (mut p, mut p_and_one) = (p_less_one, [0; 56]);
        p[0] = 0xff;
        p_and_one[28..].fill(0xff);
        for u in [[0; 56], one, p_less_one, p, p_and_one] {
            let secret = X448PrivateKey([7; 56]).diffie_hellman(&X448PublicKey(u));
            assert_eq!(secret, Err(CryptoError::Key), "{u:?}");
        }
    }

    proptest! {
        #[test]
        fn x25519_by_table_or_not(secret in any::<[u8; 32]>()) {
            let plain = x25519_dalek::x25519(secret, x25519_dalek::X25519_BASEPOINT_BYTES);
            prop_assert_eq!(X25519PrivateKey(secret).public_key().0, plain);
        }

        /// Two implementations that have nothing in common agree, whatever the bytes.
        #[test]
        fn x448_as_another_library(
            scalar in any::<[u8; 56]>(),
            mut u in any::<[u8; 56]>(),
            above_p in any::<bool>(),
        ) {
            if above_p {
                u[28..].fill(0xff);
            }
            let (own, theirs) = (X448PrivateKey(scalar), other::StaticSecret::from(scalar));
            prop_assert_eq!(own.public_key().0, other::PublicKey::from(&theirs).to_bytes());
            let secret = theirs.diffie_hellman(&other::PublicKey::from(u)).to_bytes();
            prop_assert_eq!(own.diffie_hellman(&X448PublicKey(u)), Ok(secret));
        }
    }
}
