//! Layouts by hand, from smp.md §1 and §2.1: no codec of this project stands between a case and the bytes.

use protocol::encoding::Reader;

use crate::failure::{Failure, Outcome, shown};

/// The size of every block.
pub const BLOCK_BYTES: usize = 16_384;

/// `short`: one byte of length. Longer strings do not fit one, and are cut.
#[must_use]
pub fn short(bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
    let mut out = vec![length];
    out.extend(bytes.iter().take(length.into()));
    out
}

/// `large`: two bytes of length.
#[must_use]
pub fn large(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    let mut out = length.to_be_bytes().to_vec();
    out.extend(bytes.iter().take(length.into()));
    out
}

/// `maybe`.
#[must_use]
pub fn maybe(value: Option<Vec<u8>>) -> Vec<u8> {
    match value {
        None => b"0".to_vec(),
        Some(value) => [b"1", value.as_slice()].concat(),
    }
}

/// The content of a block that holds these transmissions.
#[must_use]
pub fn batch(transmissions: &[Vec<u8>]) -> Vec<u8> {
    let mut content = vec![u8::try_from(transmissions.len()).unwrap_or(u8::MAX)];
    for transmission in transmissions {
        content.extend(large(transmission));
    }
    content
}

/// `short(SPKI)` of a key of 32 bytes, by the last byte of its algorithm: 0x6e X25519, 0x70 Ed25519.
fn spki32(algorithm: u8, raw: &[u8; 32]) -> Vec<u8> {
    short(&[&[0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, algorithm, 3, 0x21, 0], raw.as_slice()].concat())
}

/// An X25519 key as it stands on the wire.
#[must_use]
pub fn x25519_spki(raw: &[u8; 32]) -> Vec<u8> {
    spki32(0x6e, raw)
}

/// An Ed25519 key as it stands on the wire.
#[must_use]
pub fn ed25519_spki(raw: &[u8; 32]) -> Vec<u8> {
    spki32(0x70, raw)
}

/// An Ed448 key as it stands on the wire.
#[must_use]
pub fn ed448_spki(raw: &[u8; 57]) -> Vec<u8> {
    short(&[&[0x30, 0x43, 0x30, 5, 6, 3, 0x2b, 0x65, 0x71, 3, 0x3a, 0], raw.as_slice()].concat())
}

/// An X448 key as it stands on the wire: no key that authorises.
#[must_use]
pub fn x448_spki(raw: &[u8; 56]) -> Vec<u8> {
    short(&[&[0x30, 0x42, 0x30, 5, 6, 3, 0x2b, 0x65, 0x6f, 3, 0x39, 0], raw.as_slice()].concat())
}

/// Takes an answer apart, field by field.
#[derive(Debug)]
pub struct Fields<'a> {
    whole: &'a [u8],
    reader: Reader<'a>,
}

impl<'a> Fields<'a> {
    /// The fields of these bytes.
    #[must_use]
    pub fn of(whole: &'a [u8]) -> Self {
        Self { whole, reader: Reader::new(whole) }
    }

    /// The fields after a tag and a space.
    ///
    /// # Errors
    /// When the tag is another.
    pub fn after(tag: &str, whole: &'a [u8]) -> Outcome<Self> {
        let mut fields = Self::of(whole);
        let start = format!("{tag} ");
        if whole.starts_with(start.as_bytes()) {
            fields.take(start.len())?;
            return Ok(fields);
        }
        Err(Failure::differs(tag, shown(whole)))
    }

    fn bad<T>(&self, what: &str) -> Outcome<T> {
        let at = self.whole.len().saturating_sub(self.reader.rest().len());
        Err(Failure::differs(format!("{what} at byte {at}"), shown(self.whole)))
    }

    /// As many bytes.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn take(&mut self, count: usize) -> Outcome<&'a [u8]> {
        match self.reader.take(count) {
            Ok(bytes) => Ok(bytes),
            Err(_) => self.bad(&format!("{count} bytes")),
        }
    }

    /// Bytes that must be these.
    ///
    /// # Errors
    /// When they are others.
    pub fn expect(&mut self, expected: &[u8]) -> Outcome {
        let got = self.take(expected.len())?;
        if got == expected { Ok(()) } else { Err(Failure::differs(shown(expected), shown(got))) }
    }

    /// A `short`.
    ///
    /// # Errors
    /// When it is cut.
    pub fn short(&mut self) -> Outcome<&'a [u8]> {
        match self.reader.short() {
            Ok(bytes) => Ok(bytes),
            Err(_) => self.bad("a short string"),
        }
    }

    /// A `large`.
    ///
    /// # Errors
    /// When it is cut.
    pub fn large(&mut self) -> Outcome<&'a [u8]> {
        let length = self.u16()?;
        self.take(length.into())
    }

    /// A `word16`.
    ///
    /// # Errors
    /// When it is cut.
    pub fn u16(&mut self) -> Outcome<u16> {
        match self.reader.u16() {
            Ok(number) => Ok(number),
            Err(_) => self.bad("two bytes"),
        }
    }

    /// An `int64`.
    ///
    /// # Errors
    /// When it is cut.
    pub fn i64(&mut self) -> Outcome<i64> {
        match self.reader.i64() {
            Ok(number) => Ok(number),
            Err(_) => self.bad("eight bytes"),
        }
    }

    /// The tag of a `maybe`: whether a value follows.
    ///
    /// # Errors
    /// When it is neither `0` nor `1`.
    pub fn is_there(&mut self) -> Outcome<bool> {
        match self.take(1)? {
            b"0" => Ok(false),
            b"1" => Ok(true),
            _ => self.bad("`0` or `1`"),
        }
    }

    /// `short(SPKI X25519)`: the raw key.
    ///
    /// # Errors
    /// When it is another key.
    pub fn x25519(&mut self) -> Outcome<[u8; 32]> {
        let spki = self.short()?;
        let raw = spki.get(12..).and_then(|raw| raw.try_into().ok());
        match raw {
            Some(raw) if short(spki) == x25519_spki(&raw) => Ok(raw),
            _ => self.bad("an X25519 key"),
        }
    }

    /// All that is left.
    pub fn tail(&mut self) -> &'a [u8] {
        self.reader.tail()
    }

    /// Nothing is left.
    ///
    /// # Errors
    /// When something is.
    pub fn end(&self) -> Outcome {
        if self.reader.rest().is_empty() { Ok(()) } else { self.bad("the end") }
    }
}
