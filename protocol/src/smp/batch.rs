//! Many transmissions in one block (smp.md §5.1).
//!
//! ```text
//! block content = count(1, 1..255) count × large(transmission)
//! ```

use thiserror::Error;

use crate::encoding::{DecodeError, Reader};
use crate::transport::block::PLAIN_CONTENT_BYTES_MAX;

/// The most transmissions in a block.
pub const TRANSMISSIONS_MAX: u8 = u8::MAX;

/// What several transmissions with their lengths may take together. It leaves room for block encryption in plain
/// blocks too, as all writers of this protocol do.
const BATCH_BYTES_MAX: usize = 16_365;
const COUNT_BYTES: usize = 1;
const LENGTH_BYTES: usize = 2;

/// The transmissions of a block whose structure was checked as a whole.
#[derive(Debug, Clone)]
pub struct Batch<'a> {
    count: u8,
    reader: Reader<'a>,
}

impl<'a> Batch<'a> {
    /// Reads the content of a block.
    ///
    /// # Errors
    /// [`DecodeError`]: answer `ERR BLOCK` with empty ids, for the whole block.
    pub fn parse(content: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(content);
        let count = reader.u8()?;
        if count == 0 {
            return Err(DecodeError::Invalid("count of transmissions"));
        }
        let batch = Self { count, reader };
        for _ in 0..count {
            reader.large()?;
        }
        reader.end()?;
        Ok(batch)
    }
}

impl<'a> Iterator for Batch<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.count = self.count.checked_sub(1)?;
        self.reader.large().ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.count.into(), Some(self.count.into()))
    }
}

impl ExactSizeIterator for Batch<'_> {}

/// A transmission does not fit a block by itself. Nothing was written; the writer goes on with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the command does not fit a block")]
pub struct TransmissionTooLarge;

/// Packs transmissions into as few blocks as their order allows.
#[derive(Debug)]
pub struct BlockWriter {
    content_bytes_max: usize,
    content: Vec<u8>,
    count: u8,
}

impl BlockWriter {
    /// A writer of contents for blocks of this session; see
    /// [`crate::transport::block::BlockSealer::content_bytes_max`].
    #[must_use]
    pub fn new(content_bytes_max: usize) -> Self {
        Self { content_bytes_max, content: Vec::new(), count: 0 }
    }

    /// Adds the transmission that `put` appends. Gives the content of the block that was full before it, if one was.
    ///
    /// # Errors
    /// [`TransmissionTooLarge`].
    pub fn push(&mut self, put: impl FnOnce(&mut Vec<u8>)) -> Result<Option<Vec<u8>>, TransmissionTooLarge> {
        if self.count == 0 {
            self.content = new_content();
        }
        let start = self.content.len();
        self.content.extend_from_slice(&[0; LENGTH_BYTES]);
        put(&mut self.content);
        let taken = self.content.len().saturating_sub(start);
        let length = u16::try_from(taken.saturating_sub(LENGTH_BYTES));
        let (true, Ok(length)) = (COUNT_BYTES.saturating_add(taken) <= self.content_bytes_max, length) else {
            self.content.truncate(start);
            return Err(TransmissionTooLarge);
        };
        if let Some(field) = self.content.get_mut(start..).and_then(<[u8]>::first_chunk_mut) {
            *field = length.to_be_bytes();
        }
        let is_full = self.count == TRANSMISSIONS_MAX
            || self.content.len().saturating_sub(COUNT_BYTES) > BATCH_BYTES_MAX;
        if self.count == 0 || !is_full {
            self.count = self.count.saturating_add(1);
            return Ok(None);
        }
        let mut next = new_content();
        next.extend(self.content.drain(start..));
        let full = self.take();
        (self.content, self.count) = (next, 1);
        Ok(full)
    }

    /// How many transmissions wait for the block to be closed.
    #[must_use]
    pub fn count(&self) -> u8 {
        self.count
    }

    /// Closes the block: its content, unless nothing waits.
    pub fn take(&mut self) -> Option<Vec<u8>> {
        if self.count == 0 {
            return None;
        }
        if let Some(count) = self.content.first_mut() {
            *count = self.count;
        }
        self.count = 0;
        Some(std::mem::take(&mut self.content))
    }
}

/// An empty content: room for a block, and the count to be filled in.
fn new_content() -> Vec<u8> {
    let mut content = Vec::with_capacity(PLAIN_CONTENT_BYTES_MAX);
    content.push(0);
    content
}
