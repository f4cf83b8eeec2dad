//! What one outgoing message is encrypted with: made when it is queued, used at each attempt to deliver it, always
//! with the same result (agent.md §5.8).

use super::agreement::ASSOCIATED_DATA_BYTES;
use super::chain_key::BodyKey;
use super::error::RatchetError;
use super::header::put_length;
use crate::crypto::aead;
use crate::encoding::{Decode, DecodeError, Encode, Reader, put_large};

/// Key, IV, finished header and padded size of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageKey {
    pub(super) version: u16,
    pub(super) body: BodyKey,
    pub(super) associated_data: [u8; ASSOCIATED_DATA_BYTES],
    pub(super) header: Vec<u8>,
    pub(super) padded_bytes: u16,
}

impl MessageKey {
    /// The ratchet message that carries `message`. The same bytes for the same message, however often.
    ///
    /// # Errors
    /// [`RatchetError::TooLarge`] when it is larger than what was announced to `encrypt_header`.
    pub fn encrypt_body(&self, message: &[u8]) -> Result<Vec<u8>, RatchetError> {
        let bound = [&self.associated_data[..], &self.header].concat();
        let size = usize::from(self.padded_bytes);
        let (tag, ciphertext) = aead::encrypt_padded(&self.body.key, &self.body.iv, &bound, message, size)
            .map_err(|_| RatchetError::TooLarge)?;
        let mut sealed = Vec::with_capacity(2 + self.header.len() + tag.len() + ciphertext.len());
        put_length(&mut sealed, self.version, &self.header);
        sealed.extend_from_slice(&tag);
        sealed.extend_from_slice(&ciphertext);
        Ok(sealed)
    }
}

impl Encode for MessageKey {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.version.to_be_bytes());
        self.body.encode(out);
        out.extend_from_slice(&self.associated_data);
        put_large(out, &self.header);
        out.extend_from_slice(&self.padded_bytes.to_be_bytes());
    }
}

impl Decode for MessageKey {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            version: reader.u16()?,
            body: BodyKey::decode(reader)?,
            associated_data: reader.array()?,
            header: reader.large()?.to_vec(),
            padded_bytes: reader.u16()?,
        })
    }
}
