//! The keys that two parties give each other to start a ratchet (agent.md §5.2).
//!
//! ```text
//! parameters = version(2) short(k1) short(k2) [maybe kem]      kem from version 3 on
//! offer      = range(4)   short(k1) short(k2) maybe kem        in one-time links
//! kem        = "P" large(public key)  /  "A" large(ciphertext) large(public key)
//! ```
//!
//! A post-quantum KEM is never offered here. A peer's is read, because it may stand there, and goes unanswered.

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, URL_SAFE};

use crate::crypto::dh::X448PublicKey;
use crate::encoding::{Decode, DecodeError, Encode, Reader, put_large, put_maybe};
use crate::version::VersionRange;

/// Bytes of an sntrup761 public key.
pub const KEM_PUBLIC_KEY_BYTES: usize = 1158;
/// Bytes of an sntrup761 ciphertext.
pub const KEM_CIPHERTEXT_BYTES: usize = 1039;
/// The first version whose parameters and headers may carry a KEM element.
pub const KEM_VERSION: u16 = 3;

/// One party's two public keys, with the ratchet version that was agreed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RatchetParameters {
    /// The agreed ratchet version.
    pub version: u16,
    /// The long key of the agreement.
    pub first: X448PublicKey,
    /// The one-time key of the agreement.
    pub second: X448PublicKey,
    /// What a peer wrote of a KEM.
    pub kem: Option<KemElement>,
}

/// One party's two public keys as a link offers them: with all versions that it speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RatchetOffer {
    /// The ratchet versions of the link's creator.
    pub versions: VersionRange,
    /// The long key of the agreement.
    pub first: X448PublicKey,
    /// The one-time key of the agreement.
    pub second: X448PublicKey,
    /// What the link's creator wrote of a KEM.
    pub kem: Option<KemElement>,
}

/// A KEM element of parameters and of ratchet headers.
#[derive(Clone, PartialEq, Eq)]
pub enum KemElement {
    /// A key to encapsulate for. Going on without a KEM is a valid answer.
    Proposed {
        /// 1,158 bytes.
        public_key: Vec<u8>,
    },
    /// The answer to a proposal, and the next key.
    Accepted {
        /// 1,039 bytes.
        ciphertext: Vec<u8>,
        /// 1,158 bytes.
        public_key: Vec<u8>,
    },
}

impl std::fmt::Debug for KemElement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Proposed { .. } => "Proposed",
            Self::Accepted { .. } => "Accepted",
        })
    }
}

impl Encode for KemElement {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Proposed { public_key } => {
                out.push(b'P');
                put_large(out, public_key);
            }
            Self::Accepted { ciphertext, public_key } => {
                out.push(b'A');
                put_large(out, ciphertext);
                put_large(out, public_key);
            }
        }
    }
}

impl Decode for KemElement {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u8()? {
            b'P' => {
                Ok(Self::Proposed { public_key: of_size(reader.large()?.to_vec(), KEM_PUBLIC_KEY_BYTES)? })
            }
            b'A' => Ok(Self::Accepted {
                ciphertext: of_size(reader.large()?.to_vec(), KEM_CIPHERTEXT_BYTES)?,
                public_key: of_size(reader.large()?.to_vec(), KEM_PUBLIC_KEY_BYTES)?,
            }),
            _ => Err(DecodeError::Invalid("KEM element")),
        }
    }
}

fn of_size(bytes: Vec<u8>, size: usize) -> Result<Vec<u8>, DecodeError> {
    if bytes.len() == size { Ok(bytes) } else { Err(DecodeError::Invalid("KEM element")) }
}

impl Encode for RatchetParameters {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.version.to_be_bytes());
        self.first.encode(out);
        self.second.encode(out);
        if self.version >= KEM_VERSION {
            put_maybe(out, self.kem.as_ref(), |out, kem| kem.encode(out));
        }
    }
}

impl Decode for RatchetParameters {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let version = reader.u16()?;
        let (first, second) = (X448PublicKey::decode(reader)?, X448PublicKey::decode(reader)?);
        let kem = if version >= KEM_VERSION { reader.maybe(KemElement::decode)? } else { None };
        Ok(Self { version, first, second, kem })
    }
}

impl Encode for RatchetOffer {
    fn encode(&self, out: &mut Vec<u8>) {
        self.versions.encode(out);
        self.first.encode(out);
        self.second.encode(out);
        put_maybe(out, self.kem.as_ref(), |out, kem| kem.encode(out));
    }
}

impl Decode for RatchetOffer {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let versions = VersionRange::decode(reader)?;
        let (first, second) = (X448PublicKey::decode(reader)?, X448PublicKey::decode(reader)?);
        let kem = reader.maybe(KemElement::decode)?;
        Ok(Self { versions, first, second, kem })
    }
}

/// Padded base64url, read with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The value of a link's `e2e` parameter, not escaped: `v=2-3&x3dh=KEY,KEY[&kem_ct=CT][&kem_key=KEM]`.
impl std::fmt::Display for RatchetOffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let key = |key: &X448PublicKey| URL_SAFE.encode(key.to_der());
        write!(f, "v={}&x3dh={},{}", self.versions, key(&self.first), key(&self.second))?;
        if self.versions.max() < KEM_VERSION {
            return Ok(());
        }
        match &self.kem {
            None => Ok(()),
            Some(KemElement::Proposed { public_key }) => {
                write!(f, "&kem_key={}", URL_SAFE.encode(public_key))
            }
            Some(KemElement::Accepted { ciphertext, public_key }) => {
                write!(f, "&kem_ct={}&kem_key={}", URL_SAFE.encode(ciphertext), URL_SAFE.encode(public_key))
            }
        }
    }
}

impl std::str::FromStr for RatchetOffer {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<Self, DecodeError> {
        const BAD: DecodeError = DecodeError::Invalid("ratchet parameters");
        let value = |name: &str| {
            text.split(['&', ';']).find_map(|pair| {
                let (key, value) = pair.split_once('=')?;
                (key == name).then_some(value)
            })
        };
        let bytes = |text: &str| BASE64.decode(text).map_err(|_| BAD);
        let key = |text: &str| X448PublicKey::from_der(&bytes(text)?).map_err(|_| BAD);
        let versions: VersionRange = value("v").ok_or(BAD)?.parse()?;
        let (first, second) = value("x3dh").and_then(|keys| keys.split_once(',')).ok_or(BAD)?;
        let kem = match (value("kem_key"), value("kem_ct")) {
            (Some(key), ciphertext) if versions.max() >= KEM_VERSION => {
                let public_key = of_size(bytes(key)?, KEM_PUBLIC_KEY_BYTES)?;
                Some(match ciphertext {
                    None => KemElement::Proposed { public_key },
                    Some(text) => {
                        let ciphertext = of_size(bytes(text)?, KEM_CIPHERTEXT_BYTES)?;
                        KemElement::Accepted { ciphertext, public_key }
                    }
                })
            }
            _ => None,
        };
        Ok(Self { versions, first: key(first)?, second: key(second)?, kem })
    }
}
