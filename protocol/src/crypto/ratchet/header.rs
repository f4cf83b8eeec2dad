//! The header of a ratchet message, and how it is hidden (agent.md §5.7).
//!
//! ```text
//! header    = max version(2) short(ratchet key) [maybe kem, from version 3] PN(4) Ns(4)
//! encrypted = version(2) iv(16) tag(16) L(ciphertext)        L: large from version 3, else short
//! message   = L(encrypted) tag(16) ciphertext
//! ```
//!
//! Headers are never shorter than 32 bytes and never as long as 8,192: so the first byte of a length tells
//! whether it has one byte or two.

use super::error::RatchetError;
use super::parameters::{KEM_VERSION, KemElement};
use super::secret::HeaderKey;
use crate::crypto::aead;
use crate::crypto::dh::X448PublicKey;
use crate::encoding::{Decode as _, DecodeError, Encode as _, Reader, put_large, put_short};

/// Bytes that a header without a KEM is padded to. Peers that propose one pad to 2,310.
pub(super) const HEADER_PADDED_BYTES: usize = 88;

/// What a header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    /// The highest ratchet version of the sender.
    pub(super) max_version: u16,
    /// The sender's current ratchet key.
    pub(super) ratchet_key: X448PublicKey,
    /// What the sender wrote of a KEM.
    pub(super) kem: Option<KemElement>,
    /// Messages in the sender's chain before this one.
    pub(super) previous: u32,
    /// The message's number in its chain.
    pub(super) number: u32,
}

impl Header {
    /// The encrypted header of a message of ratchet version `version`; without a KEM element.
    pub(super) fn seal(
        &self,
        version: u16,
        key: &HeaderKey,
        iv: &[u8; 16],
        associated_data: &[u8],
    ) -> Result<Vec<u8>, RatchetError> {
        let mut plain = Vec::with_capacity(HEADER_PADDED_BYTES);
        plain.extend_from_slice(&self.max_version.to_be_bytes());
        self.ratchet_key.encode(&mut plain);
        if version >= KEM_VERSION {
            plain.push(b'0');
        }
        plain.extend_from_slice(&self.previous.to_be_bytes());
        plain.extend_from_slice(&self.number.to_be_bytes());
        let (tag, ciphertext) =
            aead::encrypt_padded(&key.0, iv, associated_data, &plain, HEADER_PADDED_BYTES)
                .map_err(|_| RatchetError::TooLarge)?;
        let mut sealed = version.to_be_bytes().to_vec();
        sealed.extend_from_slice(iv);
        sealed.extend_from_slice(&tag);
        put_length(&mut sealed, version, &ciphertext);
        Ok(sealed)
    }
}

/// An encrypted header, taken apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct SealedHeader<'a> {
    version: u16,
    iv: [u8; 16],
    tag: [u8; 16],
    ciphertext: &'a [u8],
}

impl<'a> SealedHeader<'a> {
    /// Tries a key; nothing when it is another's. A header that opens and says nonsense is an error.
    pub(super) fn open(
        &self,
        key: &HeaderKey,
        associated_data: &[u8],
    ) -> Result<Option<Header>, RatchetError> {
        let Ok(plain) = aead::decrypt_padded(&key.0, &self.iv, associated_data, &self.tag, self.ciphertext)
        else {
            return Ok(None);
        };
        let mut reader = Reader::new(&plain);
        self.read_plain(&mut reader).map(Some).map_err(|_| RatchetError::Header)
    }

    fn read_plain(&self, reader: &mut Reader<'_>) -> Result<Header, DecodeError> {
        let max_version = reader.u16()?;
        let ratchet_key = X448PublicKey::decode(reader)?;
        let kem = if self.version >= KEM_VERSION { reader.maybe(KemElement::decode)? } else { None };
        let (previous, number) = (reader.u32()?, reader.u32()?);
        reader.end()?;
        Ok(Header { max_version, ratchet_key, kem, previous, number })
    }

    fn read(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let (version, iv, tag) = (reader.u16()?, reader.array()?, reader.array()?);
        let ciphertext = take_length(&mut reader)?;
        reader.end()?;
        Ok(Self { version, iv, tag, ciphertext })
    }
}

/// A ratchet message, taken apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct SealedMessage<'a> {
    /// The header as it stands: the body is bound to these bytes.
    pub(super) header_bytes: &'a [u8],
    pub(super) header: SealedHeader<'a>,
    pub(super) tag: [u8; 16],
    pub(super) ciphertext: &'a [u8],
}

impl<'a> SealedMessage<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let header_bytes = take_length(&mut reader)?;
        let header = SealedHeader::read(header_bytes)?;
        let tag = reader.array()?;
        Ok(Self { header_bytes, header, tag, ciphertext: reader.tail() })
    }
}

/// The length and the bytes of an encrypted header in a message of ratchet version `version`.
pub(super) fn put_length(out: &mut Vec<u8>, version: u16, bytes: &[u8]) {
    if version >= KEM_VERSION { put_large(out, bytes) } else { put_short(out, bytes) }
}

fn take_length<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
    const LENGTH_HIGH_BYTE_MAX: u8 = 31;
    match reader.peek() {
        Some(..=LENGTH_HIGH_BYTE_MAX) => reader.large(),
        _ => reader.short(),
    }
}
