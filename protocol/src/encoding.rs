//! The primitives of every binary format here (smp.md §1.1, agent.md §0.1).
//!
//! ```text
//! short  = length(1) bytes      large = length(2, BE) bytes      tail = all that is left
//! maybe  = "0" / "1" value      bool  = "T" / "F"                list = count(1) items
//! ```
//!
//! A [`Reader`] only ever moves forward over bytes that are there: a claimed length is checked before it is
//! used, and nothing is allocated by a claimed length.

use thiserror::Error;

/// Why bytes could not be read as a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The input ends before the value does.
    #[error("the input ends too early")]
    Truncated,
    /// Bytes are left after a value that should have taken all.
    #[error("bytes are left over")]
    LeftOver,
    /// A tag, length or content that this format does not allow; names the field.
    #[error("not a valid {0}")]
    Invalid(&'static str),
}

/// Reads a value from the front of a [`Reader`].
pub trait Decode: Sized {
    /// Takes one value from the front.
    ///
    /// # Errors
    /// When the bytes are not a value of this type.
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;

    /// Reads a value that takes all of `bytes`.
    ///
    /// # Errors
    /// As [`Decode::decode`], and [`DecodeError::LeftOver`] when bytes remain.
    fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let value = Self::decode(&mut reader)?;
        reader.end()?;
        Ok(value)
    }
}

/// Appends a value to a buffer.
pub trait Encode {
    /// Appends the value's bytes to `out`.
    fn encode(&self, out: &mut Vec<u8>);

    /// The value's bytes alone.
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }
}

/// A cursor over bytes from outside.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next byte, without taking it.
    #[must_use]
    pub fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// # Errors
    /// [`DecodeError::LeftOver`] unless everything was read.
    pub fn end(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::LeftOver) }
    }

    /// Takes `count` bytes.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] when there are fewer.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Takes exactly `N` bytes.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] when there are fewer.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// Takes one byte.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] at the end.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    /// Takes a big-endian 16-bit number.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    /// Takes a big-endian 32-bit number.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    /// Takes a big-endian signed 64-bit number.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        self.array().map(i64::from_be_bytes)
    }

    /// Takes `T` or `F`.
    ///
    /// # Errors
    /// When the byte is another, or there is none.
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        match self.u8()? {
            b'T' => Ok(true),
            b'F' => Ok(false),
            _ => Err(DecodeError::Invalid("bool")),
        }
    }

    /// Takes a string with a one-byte length.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn short(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.u8()?;
        self.take(length.into())
    }

    /// Takes a string with a two-byte length.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn large(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.u16()?;
        self.take(length.into())
    }

    /// Takes everything that is left.
    pub fn tail(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// Takes a short string that is UTF-8.
    ///
    /// # Errors
    /// When it is cut or not UTF-8.
    pub fn text(&mut self) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.short()?).map_err(|_| DecodeError::Invalid("text"))
    }

    /// Takes exactly these bytes.
    ///
    /// # Errors
    /// When others stand there; `what` names the field.
    pub fn expect(&mut self, bytes: &[u8], what: &'static str) -> Result<(), DecodeError> {
        if self.take(bytes.len())? == bytes { Ok(()) } else { Err(DecodeError::Invalid(what)) }
    }

    /// Takes `0`, or `1` and a value read by `read`.
    ///
    /// # Errors
    /// When the tag is another, or the value is not valid.
    pub fn maybe<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        match self.u8()? {
            b'0' => Ok(None),
            b'1' => read(self).map(Some),
            _ => Err(DecodeError::Invalid("maybe")),
        }
    }

    /// Takes a one-byte count and that many values. The list grows as values are read, not by the count.
    ///
    /// # Errors
    /// When a value is not valid.
    pub fn list<T>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let count = self.u8()?;
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(read(self)?);
        }
        Ok(items)
    }

    /// Takes a list that must hold at least one value.
    ///
    /// # Errors
    /// When it is empty or a value is not valid.
    pub fn non_empty_list<T>(
        &mut self,
        read: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let items = self.list(read)?;
        if items.is_empty() { Err(DecodeError::Invalid("non-empty list")) } else { Ok(items) }
    }

    /// Tries `read`; on failure nothing is taken. For the untagged optional fields of the wire.
    pub fn attempt<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, DecodeError>) -> Option<T> {
        let mut ahead = *self;
        let value = read(&mut ahead).ok()?;
        *self = ahead;
        Some(value)
    }
}

/// Appends a string with a one-byte length.
///
/// # Panics
/// When it is longer than 255 bytes: the length byte would wrap and corrupt the stream, so callers bound such
/// values when they are made.
pub fn put_short(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u8::try_from(bytes.len()).expect("short strings are bounded where they are made");
    out.push(length);
    out.extend_from_slice(bytes);
}

/// Appends a string with a two-byte length.
///
/// # Panics
/// When it is longer than 65,535 bytes, see [`put_short`].
pub fn put_large(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).expect("large strings are bounded where they are made");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Appends `T` or `F`.
pub fn put_bool(out: &mut Vec<u8>, value: bool) {
    out.push(if value { b'T' } else { b'F' });
}

/// Appends `0`, or `1` and the value by `put`.
pub fn put_maybe<T>(out: &mut Vec<u8>, value: Option<T>, put: impl FnOnce(&mut Vec<u8>, T)) {
    match value {
        None => out.push(b'0'),
        Some(value) => {
            out.push(b'1');
            put(out, value);
        }
    }
}

/// Appends a one-byte count and the items by `put`.
///
/// # Panics
/// When there are more than 255 items, see [`put_short`].
pub fn put_list<T>(out: &mut Vec<u8>, items: &[T], mut put: impl FnMut(&mut Vec<u8>, &T)) {
    out.push(u8::try_from(items.len()).expect("lists are bounded where they are made"));
    for item in items {
        put(out, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_big_endian() {
        // smp.md §21
        assert_eq!(
            1_234_567_890_123_456_789_i64.to_be_bytes(),
            [0x11, 0x22, 0x10, 0xf4, 0x7d, 0xe9, 0x81, 0x15]
        );
        let mut reader = Reader::new(&[0x11, 0x22, 0x10, 0xf4, 0x7d, 0xe9, 0x81, 0x15]);
        assert_eq!(reader.i64(), Ok(1_234_567_890_123_456_789));
    }

    #[test]
    fn a_claimed_length_beyond_the_input_is_refused() {
        assert_eq!(Reader::new(&[5, 1, 2]).short(), Err(DecodeError::Truncated));
        assert_eq!(Reader::new(&[255, 255, 1]).large(), Err(DecodeError::Truncated));
    }

    #[test]
    fn maybe_and_bool_are_ascii() {
        assert_eq!(Reader::new(&[0]).maybe(|r| r.u8()), Err(DecodeError::Invalid("maybe")));
        assert_eq!(Reader::new(b"0").maybe(|r| r.u8()), Ok(None));
        assert_eq!(Reader::new(b"1x").maybe(|r| r.u8()), Ok(Some(b'x')));
        assert_eq!(Reader::new(&[1]).bool(), Err(DecodeError::Invalid("bool")));
    }

    #[test]
    fn a_failed_attempt_takes_nothing() {
        let mut reader = Reader::new(b"\x05abT");
        assert_eq!(reader.attempt(|r| r.short()), None);
        assert_eq!(reader.rest(), b"\x05abT");
    }

    #[test]
    fn an_empty_list_is_refused_where_one_item_is_needed() {
        assert_eq!(Reader::new(&[0]).non_empty_list(|r| r.u8()), Err(DecodeError::Invalid("non-empty list")));
    }
}
