//! Several elements in one agent message (channels.md §6).
//!
//! ```text
//! batch   = "=" count(1) 1*255( length(2, BE) element )
//! element = json / signed / forward / chunk
//! ```
//!
//! Elements keep their bytes, so a relay can take a signed statement out of one batch and put it into another.

use super::chunk::{CHUNK_TAG, Chunk};
use super::constants::{BATCH_ELEMENTS_MAX, MESSAGE_BYTES_MAX};
use super::forward::{FORWARD_TAG, Forward};
use super::signed::{JSON_TAG, SIGNED_TAG, Statement};
use crate::encoding::{DecodeError, Reader};

/// First byte of a batch.
pub(super) const BATCH_TAG: u8 = b'=';
/// Bytes of a batch before its first element.
const HEADER_BYTES: usize = 2;
/// Bytes of an element's length.
const LENGTH_BYTES: usize = 2;

/// One element of a batch, or a message that stands alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Element<'a> {
    /// Said by whoever sent it.
    Statement(Statement<'a>),
    /// Passed on by whoever sent it.
    Forward(Forward<'a>),
    /// A piece of a file.
    Chunk(Chunk<'a>),
}

impl<'a> Element<'a> {
    /// Parses one element that takes all of `bytes`.
    ///
    /// # Errors
    /// [`DecodeError`] when it is none of the four forms. A batch inside a batch is none of them.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        match bytes.first() {
            Some(&(JSON_TAG | SIGNED_TAG)) => Statement::parse(bytes).map(Self::Statement),
            Some(&FORWARD_TAG) => Forward::parse(bytes).map(Self::Forward),
            Some(&CHUNK_TAG) => Chunk::parse(bytes).map(Self::Chunk),
            Some(_) => Err(DecodeError::Invalid("element")),
            None => Err(DecodeError::Truncated),
        }
    }
}

/// Splits a batch. The batch must be whole; an element that is malformed by itself does not spoil the others.
pub(super) fn split(bytes: &[u8]) -> Result<Vec<Result<Element<'_>, DecodeError>>, DecodeError> {
    let mut reader = Reader::new(bytes);
    reader.expect(&[BATCH_TAG], "batch")?;
    let elements = reader.non_empty_list(|reader| reader.large().map(Element::parse))?;
    reader.end()?;
    Ok(elements)
}

/// What came of adding an element to a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Added {
    /// It is in.
    Added,
    /// It belongs into the next batch.
    Full,
    /// It does not fit into any batch.
    TooLarge,
}

/// How much of a body is taken: says what [`BatchWriter`] would, from lengths alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchRoom {
    bytes: usize,
    count: u8,
}

impl Default for BatchRoom {
    fn default() -> Self {
        Self { bytes: HEADER_BYTES, count: 0 }
    }
}

impl BatchRoom {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an element of so many bytes, if it fits.
    pub fn add(&mut self, element_bytes: usize) -> Added {
        let needed = LENGTH_BYTES.saturating_add(element_bytes);
        if needed > MESSAGE_BYTES_MAX - HEADER_BYTES {
            return Added::TooLarge;
        }
        let room = MESSAGE_BYTES_MAX.saturating_sub(self.bytes);
        if needed > room || usize::from(self.count) >= BATCH_ELEMENTS_MAX {
            return Added::Full;
        }
        self.bytes = self.bytes.saturating_add(needed);
        self.count = self.count.saturating_add(1);
        Added::Added
    }

    /// Whether nothing was added.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// Packs elements into one body of at most 15,602 bytes and 255 elements.
#[derive(Debug, Clone)]
pub struct BatchWriter {
    bytes: Vec<u8>,
    room: BatchRoom,
}

impl Default for BatchWriter {
    fn default() -> Self {
        Self { bytes: vec![BATCH_TAG, 0], room: BatchRoom::new() }
    }
}

impl BatchWriter {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an element, if it fits.
    pub fn add(&mut self, element: &[u8]) -> Added {
        let Ok(length) = u16::try_from(element.len()) else { return Added::TooLarge };
        let added = self.room.add(element.len());
        if added == Added::Added {
            self.bytes.extend_from_slice(&length.to_be_bytes());
            self.bytes.extend_from_slice(element);
        }
        added
    }

    /// Whether nothing was added.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.room.is_empty()
    }

    /// The body, or nothing when nothing was added.
    #[must_use]
    pub fn finish(mut self) -> Option<Vec<u8>> {
        if self.is_empty() {
            return None;
        }
        if let Some(count) = self.bytes.get_mut(1) {
            *count = self.room.count;
        }
        Some(self.bytes)
    }
}

/// Packs elements in order into as many bodies as they need. Those that fit into none are given back by index.
#[must_use]
pub fn pack<'a>(elements: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, Vec<usize>) {
    let (mut bodies, mut too_large) = (Vec::new(), Vec::new());
    let mut writer = BatchWriter::new();
    for (index, element) in elements.into_iter().enumerate() {
        match writer.add(element) {
            Added::Added => {}
            Added::TooLarge => too_large.push(index),
            Added::Full => {
                bodies.extend(std::mem::take(&mut writer).finish());
                // It is not too large, and an empty batch has room for it.
                let _ = writer.add(element);
            }
        }
    }
    bodies.extend(writer.finish());
    (bodies, too_large)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const JSON: &[u8] = br#"{"event":"x.ok","params":{}}"#;

    #[test]
    fn a_batch_holds_255_elements_and_no_more() {
        let mut writer = BatchWriter::new();
        for _ in 0..255 {
            assert_eq!(writer.add(b"{}"), Added::Added);
        }
        assert_eq!(writer.add(b"{}"), Added::Full);
        assert_eq!(split(&writer.finish().unwrap()).unwrap().len(), 255);
        assert_eq!(BatchWriter::new().finish(), None);
    }

    #[test]
    fn a_batch_holds_15602_bytes_and_no_more() {
        let most = vec![b'{'; MESSAGE_BYTES_MAX - 4];
        let mut writer = BatchWriter::new();
        assert_eq!(writer.add(&most), Added::Added);
        assert_eq!(writer.add(b""), Added::Full);
        assert_eq!(writer.finish().unwrap().len(), MESSAGE_BYTES_MAX);
        assert_eq!(BatchWriter::new().add(&vec![b'{'; MESSAGE_BYTES_MAX - 3]), Added::TooLarge);
        assert_eq!(BatchWriter::new().add(&vec![b'{'; 70_000]), Added::TooLarge);
    }

    #[test]
    fn one_bad_element_does_not_spoil_the_others() {
        let (bodies, _) = pack([JSON, &b"?"[..], b"", b"=\x01\x00\x02{}", JSON]);
        let elements = split(&bodies[0]).unwrap();
        assert_eq!(elements.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, false, false, true]);
    }

    #[test]
    fn a_batch_must_be_whole() {
        assert!(split(b"=\x00").is_err(), "an empty batch says nothing");
        assert!(split(b"=\x02\x00\x02{}").is_err());
        assert!(split(b"=\x01\x00\x02{}x").is_err());
        assert!(split(b"=\x01\xff\xff{}").is_err(), "a claimed length beyond the end");
    }

    proptest! {
        #[test]
        fn packing_keeps_order_and_bytes(sizes in prop::collection::vec(2_usize..6_000, 0..40)) {
            let elements: Vec<Vec<u8>> = sizes.iter().map(|size| [b"{", &vec![b' '; size - 1][..]].concat()).collect();
            let (bodies, too_large) = pack(elements.iter().map(Vec::as_slice));
            prop_assert!(too_large.is_empty());
            let mut seen = Vec::new();
            for body in &bodies {
                prop_assert!(body.len() <= MESSAGE_BYTES_MAX);
                for element in split(body).unwrap() {
                    let Ok(Element::Statement(statement)) = element else { panic!("not a statement") };
                    seen.push(statement.verbatim().to_vec());
                }
            }
            prop_assert_eq!(seen, elements);
        }

        #[test]
        fn any_bytes_fail_softly(bytes: Vec<u8>, count: u8) {
            let _ = split(&[&[b'=', count], &bytes[..]].concat());
        }
    }
}
