//! A session key that a certificate vouches for (smp.md §2.4, §3.3).
//!
//! ```text
//! certified key = chain signed-key        chain = count(1) count × large(DER certificate), leaf first
//! signed key    = large(DER)
//! DER           = SEQUENCE { wrapper, AlgorithmIdentifier (Ed25519 | Ed448), BIT STRING signature }
//! wrapper       = SEQUENCE { SubjectPublicKeyInfo }
//! ```
//!
//! Trap: the signature covers the whole wrapper, not the bare key in it.
//!
//! Certificates themselves are read where TLS is; here only their order, number and hashes matter, and the leaf's
//! key is given by the caller.

use thiserror::Error;

use crate::crypto::CryptoError;
use crate::crypto::dh::X25519PublicKey;
use crate::crypto::hash;
use crate::crypto::sign::{
    ED448_SIGNATURE_BYTES, ED25519_SIGNATURE_BYTES, Ed448PublicKey, Ed25519PrivateKey, Ed25519PublicKey,
};
use crate::encoding::{Decode, DecodeError, Encode, Reader, put_large, put_list};
use crate::transport::leaf_key::LeafKey;

const ED25519_ALGORITHM: &[u8] = &[0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70];
const ED448_ALGORITHM: &[u8] = &[0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x71];
const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;

/// The public key of a certificate of this network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateKey {
    /// Today's default.
    Ed25519(Ed25519PublicKey),
    /// The former default of servers.
    Ed448(Ed448PublicKey),
}

impl CertificateKey {
    /// Reads a DER `SubjectPublicKeyInfo`.
    ///
    /// # Errors
    /// [`CryptoError::Key`] when it is of another algorithm.
    pub fn from_der(der: &[u8]) -> Result<Self, CryptoError> {
        (Ed25519PublicKey::from_der(der).map(Self::Ed25519))
            .or_else(|_| Ed448PublicKey::from_der(der).map(Self::Ed448))
    }

    /// Checks a signature.
    ///
    /// # Errors
    /// [`CryptoError::Signature`].
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        match self {
            Self::Ed25519(key) => key.verify(message, signature),
            Self::Ed448(key) => key.verify(message, signature),
        }
    }
}

/// DER certificates, leaf first; at least one. Nothing about them has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateChain(Vec<Vec<u8>>);

/// The number of certificates is none that this network uses (smp.md §3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "the certificate chain has {0} certificates; a leaf and its identity certificate are needed, at most 4 in all"
)]
pub struct ChainShapeError(pub usize);

impl CertificateChain {
    /// The most certificates that a chain may have.
    pub const CERTIFICATES_MAX: usize = 4;

    /// A chain of these certificates.
    ///
    /// # Errors
    /// [`ChainShapeError`] when there is none, or more than four.
    pub fn new(certificates: Vec<Vec<u8>>) -> Result<Self, ChainShapeError> {
        match certificates.len() {
            1..=Self::CERTIFICATES_MAX => Ok(Self(certificates)),
            count => Err(ChainShapeError(count)),
        }
    }

    /// All certificates, leaf first.
    #[must_use]
    pub fn certificates(&self) -> &[Vec<u8>] {
        &self.0
    }

    /// The identity certificate of a server: the second of two to four.
    ///
    /// # Errors
    /// [`ChainShapeError`] for other numbers.
    pub fn server_identity(&self) -> Result<&[u8], ChainShapeError> {
        match self.0.as_slice() {
            [_, identity] | [_, identity, _] | [_, identity, _, _] => Ok(identity),
            other => Err(ChainShapeError(other.len())),
        }
    }

    /// The identity certificate of a service: as of a server, or the only one.
    ///
    /// # Errors
    /// [`ChainShapeError`] for other numbers.
    pub fn service_identity(&self) -> Result<&[u8], ChainShapeError> {
        match self.0.as_slice() {
            [only] => Ok(only),
            _ => self.server_identity(),
        }
    }
}

impl Encode for CertificateChain {
    fn encode(&self, out: &mut Vec<u8>) {
        put_list(out, &self.0, |out, certificate| put_large(out, certificate));
    }
}

impl Decode for CertificateChain {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self(reader.non_empty_list(|reader| reader.large().map(<[u8]>::to_vec))?))
    }
}

/// SHA-256 of a certificate: what the address of a server names it by.
#[must_use]
pub fn fingerprint(certificate: &[u8]) -> [u8; 32] {
    hash::sha256(certificate)
}

/// A public key and a signature over it, not checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedKey {
    /// The wrapper with the key, exactly as it was signed.
    wrapper: Vec<u8>,
    signature: KeySignature,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum KeySignature {
    Ed25519([u8; ED25519_SIGNATURE_BYTES]),
    Ed448(Box<[u8; ED448_SIGNATURE_BYTES]>),
}

impl SignedKey {
    /// Signs an X25519 key: a server's session key.
    #[must_use]
    pub fn sign_x25519(key: &X25519PublicKey, signer: &LeafKey) -> Self {
        Self::sign(&key.to_der(), |wrapper| match signer {
            LeafKey::Ed25519(signer) => KeySignature::Ed25519(signer.sign(wrapper)),
            LeafKey::Ed448(signer) => KeySignature::Ed448(Box::new(signer.sign(wrapper))),
        })
    }

    /// Signs an Ed25519 key: a service's session key.
    #[must_use]
    pub fn sign_ed25519(key: &Ed25519PublicKey, signer: &Ed25519PrivateKey) -> Self {
        Self::sign(&key.to_der(), |wrapper| KeySignature::Ed25519(signer.sign(wrapper)))
    }

    fn sign(spki: &[u8], sign: impl FnOnce(&[u8]) -> KeySignature) -> Self {
        let mut wrapper = Vec::new();
        put_der(&mut wrapper, SEQUENCE, spki);
        let signature = sign(&wrapper);
        Self { wrapper, signature }
    }

    /// The key, if `leaf` signed it and it is X25519.
    ///
    /// # Errors
    /// [`CryptoError::Signature`] or [`CryptoError::Key`].
    pub fn verify_x25519(&self, leaf: &CertificateKey) -> Result<X25519PublicKey, CryptoError> {
        X25519PublicKey::from_der(self.verify(leaf)?)
    }

    /// The key, if `leaf` signed it and it is Ed25519.
    ///
    /// # Errors
    /// [`CryptoError::Signature`] or [`CryptoError::Key`].
    pub fn verify_ed25519(&self, leaf: &CertificateKey) -> Result<Ed25519PublicKey, CryptoError> {
        Ed25519PublicKey::from_der(self.verify(leaf)?)
    }

    /// The DER of the key inside, if `leaf` signed it. The algorithm that the object names must be the leaf's.
    fn verify(&self, leaf: &CertificateKey) -> Result<&[u8], CryptoError> {
        match (leaf, &self.signature) {
            (CertificateKey::Ed25519(key), KeySignature::Ed25519(signature)) => {
                key.verify(&self.wrapper, signature)?;
            }
            (CertificateKey::Ed448(key), KeySignature::Ed448(signature)) => {
                key.verify(&self.wrapper, signature.as_slice())?;
            }
            _ => return Err(CryptoError::Signature),
        }
        let (spki, _) = take_der(&mut Reader::new(&self.wrapper), SEQUENCE).map_err(|_| CryptoError::Key)?;
        Ok(spki)
    }

    /// The DER object.
    #[must_use]
    pub fn to_der(&self) -> Vec<u8> {
        let (algorithm, signature) = match &self.signature {
            KeySignature::Ed25519(signature) => (ED25519_ALGORITHM, signature.as_slice()),
            KeySignature::Ed448(signature) => (ED448_ALGORITHM, signature.as_slice()),
        };
        let mut content = [&self.wrapper, algorithm].concat();
        // A bit string says how many bits of its last byte are unused: none.
        put_der(&mut content, BIT_STRING, &[&[0], signature].concat());
        let mut out = Vec::new();
        put_der(&mut out, SEQUENCE, &content);
        out
    }

    /// Reads a DER object that takes all of `der`.
    ///
    /// # Errors
    /// [`DecodeError`] when it is another structure or algorithm.
    pub fn from_der(der: &[u8]) -> Result<Self, DecodeError> {
        let invalid = DecodeError::Invalid("signed key");
        let mut outer = Reader::new(der);
        let (content, _) = take_der(&mut outer, SEQUENCE)?;
        outer.end()?;
        let mut reader = Reader::new(content);
        let (inside, wrapper) = take_der(&mut reader, SEQUENCE)?;
        let mut inside = Reader::new(inside);
        take_der(&mut inside, SEQUENCE)?;
        inside.end()?;
        let (_, algorithm) = take_der(&mut reader, SEQUENCE)?;
        let (bits, _) = take_der(&mut reader, BIT_STRING)?;
        reader.end()?;
        let signature = bits.strip_prefix(&[0]).ok_or(invalid)?;
        let signature = match algorithm {
            ED25519_ALGORITHM => KeySignature::Ed25519(signature.try_into().map_err(|_| invalid)?),
            ED448_ALGORITHM => KeySignature::Ed448(Box::new(signature.try_into().map_err(|_| invalid)?)),
            _ => return Err(invalid),
        };
        Ok(Self { wrapper: wrapper.to_vec(), signature })
    }
}

impl Encode for SignedKey {
    fn encode(&self, out: &mut Vec<u8>) {
        put_large(out, &self.to_der());
    }
}

impl Decode for SignedKey {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::from_der(reader.large()?)
    }
}

/// A chain, and a session key that its leaf is said to have signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertifiedKey {
    /// The certificates.
    pub chain: CertificateChain,
    /// The key.
    pub signed_key: SignedKey,
}

impl Encode for CertifiedKey {
    fn encode(&self, out: &mut Vec<u8>) {
        self.chain.encode(out);
        self.signed_key.encode(out);
    }
}

impl Decode for CertifiedKey {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { chain: Decode::decode(reader)?, signed_key: Decode::decode(reader)? })
    }
}

/// Takes one DER value with this tag: its content, and all its bytes. Lengths must be as short as they can be, up
/// to two bytes, which is all that fits a block.
fn take_der<'a>(reader: &mut Reader<'a>, tag: u8) -> Result<(&'a [u8], &'a [u8]), DecodeError> {
    let start = reader.rest();
    let invalid = DecodeError::Invalid("DER");
    if reader.u8()? != tag {
        return Err(invalid);
    }
    let length: usize = match reader.u8()? {
        short @ 0..=0x7f => short.into(),
        0x81 => Some(reader.u8()?).filter(|length| *length >= 0x80).ok_or(invalid)?.into(),
        0x82 => Some(reader.u16()?).filter(|length| *length >= 0x100).ok_or(invalid)?.into(),
        _ => return Err(invalid),
    };
    let content = reader.take(length)?;
    let all = start.get(..start.len().saturating_sub(reader.rest().len())).ok_or(invalid)?;
    Ok((content, all))
}

/// Appends one DER value of at most 65,535 bytes, which all of ours are.
fn put_der(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    let length = u16::try_from(content.len()).expect("signed keys are far shorter");
    out.push(tag);
    match length.to_be_bytes() {
        [0, low @ 0..=0x7f] => out.push(low),
        [0, low] => out.extend_from_slice(&[0x81, low]),
        [high, low] => out.extend_from_slice(&[0x82, high, low]),
    }
    out.extend_from_slice(content);
}
