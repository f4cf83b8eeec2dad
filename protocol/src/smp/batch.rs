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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smp::ids::{MessageId, NotifierId, RecipientId};
    use crate::smp::key::Authenticator;
    use crate::smp::response::BrokerMessage;
    use crate::smp::transmission::Transmission;
    use crate::transport::block::SEALED_CONTENT_BYTES_MAX;

    /// The sizes of the batches that `count` transmissions make.
    fn pack(count: usize, transmission: &Transmission<'_>, content_bytes_max: usize) -> Vec<usize> {
        let mut writer = BlockWriter::new(content_bytes_max);
        let mut blocks = Vec::new();
        for _ in 0..count {
            blocks.extend(writer.push(|out| transmission.encode_into(18, out)).unwrap());
        }
        blocks.extend(writer.take());
        assert_eq!(writer.take(), None);
        blocks.iter().map(|content| Batch::parse(content).unwrap().len()).collect()
    }

    fn event(entity: &[u8; 24], message: &BrokerMessage<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        Transmission::unauthorized(&[], entity, &message.encode(18)).encode_into(18, &mut out);
        out
    }

    /// smp.md §20.7.
    #[test]
    fn blocks_hold_as_many_as_those_of_every_writer() {
        let signed = Transmission {
            authenticator: Authenticator::Ed25519([1; 64]),
            ..Transmission::unauthorized(&[2; 24], &[3; 24], b"SUB")
        };
        for content_bytes_max in [SEALED_CONTENT_BYTES_MAX, PLAIN_CONTENT_BYTES_MAX] {
            assert_eq!(pack(300, &signed, content_bytes_max), [135, 135, 30]);
            let end = Transmission::unauthorized(&[], &[3; 24], b"END");
            assert_eq!(pack(600, &end, content_bytes_max), [255, 255, 90]);
            let nmsg = BrokerMessage::Nmsg { nonce: [4; 24], metadata: vec![5; 144].into() }.encode(18);
            let nmsg = Transmission::unauthorized(&[], &NotifierId([3; 24]).0, &nmsg);
            assert_eq!(pack(100, &nmsg, content_bytes_max), [80, 20]);
        }
    }

    /// smp.md §20.7; correlation ids of its test client have four bytes.
    #[test]
    fn four_answers_and_a_full_message_fit_a_block_and_five_do_not() {
        let id = RecipientId([3; 24]);
        let message = BrokerMessage::Msg { message_id: MessageId([4; 24]), body: vec![5; 16_122].into() };
        for (answers, blocks) in [(4, 1), (5, 2)] {
            let mut writer = BlockWriter::new(SEALED_CONTENT_BYTES_MAX);
            let mut closed = 0;
            for _ in 0..answers {
                let answer = Transmission::unauthorized(b"abcd", &id.0, b"SOK 0");
                closed += writer.push(|out| answer.encode_into(18, out)).unwrap().iter().count();
            }
            closed += writer.push(|out| out.extend(event(&id.0, &message))).unwrap().iter().count();
            assert_eq!(closed + writer.take().iter().count(), blocks, "{answers} answers");
        }
    }

    #[test]
    fn a_transmission_that_fits_no_block_leaves_the_others() {
        let mut writer = BlockWriter::new(SEALED_CONTENT_BYTES_MAX);
        assert_eq!(writer.push(|out| out.extend(b"first")), Ok(None));
        for too_large in [16_364, 17_000, 70_000] {
            let outcome = writer.push(|out| out.resize(out.len() + too_large, 0));
            assert_eq!(outcome, Err(TransmissionTooLarge));
        }
        assert_eq!(writer.push(|out| out.extend(b"last")), Ok(None));
        let content = writer.take().unwrap();
        assert_eq!(Batch::parse(&content).unwrap().collect::<Vec<_>>(), [&b"first"[..], b"last"]);
    }

    #[test]
    fn alone_a_transmission_may_fill_a_plain_block() {
        let mut writer = BlockWriter::new(PLAIN_CONTENT_BYTES_MAX);
        assert_eq!(writer.push(|out| out.extend(b"small")), Ok(None));
        let largest = PLAIN_CONTENT_BYTES_MAX - COUNT_BYTES - LENGTH_BYTES;
        let small = writer.push(|out| out.resize(out.len() + largest, 0)).unwrap().unwrap();
        assert_eq!(Batch::parse(&small).unwrap().collect::<Vec<_>>(), [b"small"]);
        let large = writer.push(|out| out.extend(b"small")).unwrap().unwrap();
        assert_eq!(large.len(), PLAIN_CONTENT_BYTES_MAX);
        assert_eq!(Batch::parse(&large).unwrap().len(), 1);
    }
}
