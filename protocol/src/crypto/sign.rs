//! Signature keys: Ed25519 everywhere; Ed448 to check what older servers and clients sign, and for servers whose
//! certificates were made with it (smp.md §2.1, §3.1).

use ed25519_dalek::{Signer as _, Verifier as _};
use rand_core::CryptoRng;
use zeroize::Zeroize as _;

use super::{CryptoError, random_bytes};
use crate::encoding::{Decode, DecodeError, Encode, Reader, put_short};

/// Length of an Ed25519 signature.
pub const ED25519_SIGNATURE_BYTES: usize = 64;
/// Length of an Ed448 signature.
pub const ED448_SIGNATURE_BYTES: usize = 114;

const ED25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
const ED25519_PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
const ED448_SPKI: [u8; 12] = [0x30, 0x43, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x71, 0x03, 0x3a, 0x00];
const ED448_PKCS8: [u8; 16] =
    [0x30, 0x47, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x71, 0x04, 0x3b, 0x04, 0x39];

/// An Ed25519 signature.
pub type Signature = [u8; ED25519_SIGNATURE_BYTES];

/// An Ed25519 public key, 32 bytes raw. Any 32 bytes are held; a point that is none fails when it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ed25519PublicKey(pub [u8; 32]);

impl Ed25519PublicKey {
    /// The DER `SubjectPublicKeyInfo`, 44 bytes.
    #[must_use]
    pub fn to_der(&self) -> Vec<u8> {
        [&ED25519_SPKI[..], &self.0].concat()
    }

    /// Reads a DER `SubjectPublicKeyInfo`.
    ///
    /// # Errors
    /// [`CryptoError::Key`] when it is not an Ed25519 key.
    pub fn from_der(der: &[u8]) -> Result<Self, CryptoError> {
        let raw = der.strip_prefix(&ED25519_SPKI[..]).ok_or(CryptoError::Key)?;
        raw.try_into().map(Self).map_err(|_| CryptoError::Key)
    }

    /// Checks a signature.
    ///
    /// # Errors
    /// [`CryptoError::Signature`] when it is not by this key over `message`, or has another length;
    /// [`CryptoError::Key`] when the key is no point of the curve.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        let signature =
            ed25519_dalek::Signature::from_slice(signature).map_err(|_| CryptoError::Signature)?;
        let key = ed25519_dalek::VerifyingKey::from_bytes(&self.0).map_err(|_| CryptoError::Key)?;
        key.verify(message, &signature).map_err(|_| CryptoError::Signature)
    }
}

impl Encode for Ed25519PublicKey {
    fn encode(&self, out: &mut Vec<u8>) {
        put_short(out, &self.to_der());
    }
}

impl Decode for Ed25519PublicKey {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::from_der(reader.short()?).map_err(|_| DecodeError::Invalid("Ed25519 key"))
    }
}

/// An Ed25519 private key; wiped when dropped. Holds the seed alone: most keys that are read with a record are not used
/// then, and to expand one costs as much as to sign.
#[derive(Clone, PartialEq, Eq, zeroize::ZeroizeOnDrop)]
pub struct Ed25519PrivateKey([u8; 32]);

impl Ed25519PrivateKey {
    /// Draws a key.
    pub fn generate(rng: &mut dyn CryptoRng) -> Self {
        let mut seed = random_bytes(rng);
        let key = Self::from_seed(&seed);
        seed.zeroize();
        key
    }

    /// From its 32-byte seed.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(*seed)
    }

    /// The 32-byte seed.
    #[must_use]
    pub fn seed(&self) -> &[u8; 32] {
        &self.0
    }

    /// The DER PKCS#8 form of version 1, 48 bytes, which every library reads.
    #[must_use]
    pub fn to_der(&self) -> Vec<u8> {
        [&ED25519_PKCS8[..], self.seed()].concat()
    }

    /// Reads the form that [`Self::to_der`] writes.
    ///
    /// # Errors
    /// [`CryptoError::Key`] when it is another form or algorithm.
    pub fn from_der(der: &[u8]) -> Result<Self, CryptoError> {
        let seed = der.strip_prefix(&ED25519_PKCS8[..]).ok_or(CryptoError::Key)?;
        seed.try_into().map(Self::from_seed).map_err(|_| CryptoError::Key)
    }

    /// The public key.
    #[must_use]
    pub fn public_key(&self) -> Ed25519PublicKey {
        Ed25519PublicKey(self.expanded().verifying_key().to_bytes())
    }

    /// Signs `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Signature {
        self.expanded().sign(message).to_bytes()
    }

    fn expanded(&self) -> ed25519_dalek::SigningKey {
        ed25519_dalek::SigningKey::from_bytes(&self.0)
    }
}

impl std::fmt::Debug for Ed25519PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ed25519PrivateKey([scrubbed])")
    }
}

/// The raw seed, for records at rest.
impl Encode for Ed25519PrivateKey {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.seed());
    }
}

impl Decode for Ed25519PrivateKey {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.array().map(|seed| Self::from_seed(&seed))
    }
}

/// An Ed448 public key, 57 bytes raw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ed448PublicKey(pub [u8; 57]);

impl Ed448PublicKey {
    /// The DER `SubjectPublicKeyInfo`, 69 bytes.
    #[must_use]
    pub fn to_der(&self) -> Vec<u8> {
        [&ED448_SPKI[..], &self.0].concat()
    }

    /// Reads a DER `SubjectPublicKeyInfo`.
    ///
    /// # Errors
    /// [`CryptoError::Key`] when it is not an Ed448 key.
    pub fn from_der(der: &[u8]) -> Result<Self, CryptoError> {
        let raw = der.strip_prefix(&ED448_SPKI[..]).ok_or(CryptoError::Key)?;
        raw.try_into().map(Self).map_err(|_| CryptoError::Key)
    }

    /// Checks a signature (pure Ed448, empty context).
    ///
    /// # Errors
    /// [`CryptoError::Signature`] when it is not by this key over `message`, or has another length;
    /// [`CryptoError::Key`] when the key is no point of the curve.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        use ed448_goldilocks_plus as ed448;
        let key = ed448::VerifyingKey::from_bytes(&self.0).map_err(|_| CryptoError::Key)?;
        let signature = ed448::Signature::from_slice(signature).map_err(|_| CryptoError::Signature)?;
        key.verify_raw(&signature, message).map_err(|_| CryptoError::Signature)
    }
}

/// An Ed448 private key, of a server's certificate that was made with one: we draw none. Wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Ed448PrivateKey(ed448_goldilocks_plus::SigningKey);

impl Ed448PrivateKey {
    /// Reads the DER PKCS#8 form of version 1, 73 bytes.
    ///
    /// # Errors
    /// [`CryptoError::Key`] when it is another form or algorithm.
    pub fn from_der(der: &[u8]) -> Result<Self, CryptoError> {
        let raw = der.strip_prefix(&ED448_PKCS8[..]).ok_or(CryptoError::Key)?;
        ed448_goldilocks_plus::SigningKey::try_from(raw).map(Self).map_err(|_| CryptoError::Key)
    }

    /// The form that [`Self::from_der`] reads.
    #[must_use]
    pub fn to_der(&self) -> Vec<u8> {
        [&ED448_PKCS8[..], self.0.as_bytes()].concat()
    }

    /// The public key.
    #[must_use]
    pub fn public_key(&self) -> Ed448PublicKey {
        Ed448PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs `message` (pure Ed448, empty context).
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; ED448_SIGNATURE_BYTES] {
        self.0.sign_raw(message).to_bytes()
    }
}

impl std::fmt::Debug for Ed448PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ed448PrivateKey([scrubbed])")
    }
}
