//! One piece of a file inside the conversation; only rosters travel so (channels.md §6, §14).
//!
//! ```text
//! chunk = "F" 0x00 short(id of the announcing message) chunkNo(1) *OCTET
//! ```
//!
//! Number 0 means that the transfer is cancelled; pieces count from 1.

use super::constants::CHUNK_BYTES_MAX;
use super::msg_id::SharedMessageId;
use crate::encoding::{Decode as _, DecodeError, Encode as _, Reader};

/// First byte of a chunk.
pub(super) const CHUNK_TAG: u8 = b'F';

/// One piece of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// The message that announced the file.
    pub message_id: SharedMessageId,
    /// Which piece, from 1; 0 cancels.
    pub number: u8,
    /// The piece.
    pub bytes: &'a [u8],
}

impl<'a> Chunk<'a> {
    /// Parses a whole chunk element.
    ///
    /// # Errors
    /// [`DecodeError`] when it is malformed or longer than a chunk may be.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        reader.expect(&[CHUNK_TAG], "chunk")?;
        // A message id of its own, always empty.
        reader.short()?;
        let message_id = SharedMessageId::decode(&mut reader)?;
        let number = reader.u8()?;
        let bytes = reader.tail();
        if bytes.len() > CHUNK_BYTES_MAX {
            return Err(DecodeError::Invalid("chunk: too long"));
        }
        Ok(Self { message_id, number, bytes })
    }

    /// The element's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![CHUNK_TAG, 0];
        self.message_id.encode(&mut out);
        out.push(self.number);
        out.extend_from_slice(self.bytes);
        out
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_over_long_chunk_is_refused() {
        let bytes = vec![0; CHUNK_BYTES_MAX + 1];
        let chunk = Chunk { message_id: SharedMessageId::new(*b"id").unwrap(), number: 1, bytes: &bytes };
        assert!(Chunk::parse(&chunk.to_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn chunks_round_trip(id in prop::collection::vec(any::<u8>(), 1..=255), number: u8, bytes: Vec<u8>) {
            let chunk = Chunk { message_id: SharedMessageId::new(id).unwrap(), number, bytes: &bytes };
            let encoded = chunk.to_bytes();
            prop_assert_eq!(Chunk::parse(&encoded), Ok(chunk));
        }

        #[test]
        fn any_bytes_fail_softly(bytes: Vec<u8>) {
            let _ = Chunk::parse(&bytes);
            let _ = Chunk::parse(&[b"F\x00", &bytes[..]].concat());
        }
    }
}
