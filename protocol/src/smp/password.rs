//! The password of a server for creating queues, `basicAuth` on the wire (smp.md §6.1).

use subtle::ConstantTimeEq as _;
use zeroize::ZeroizeOnDrop;

use crate::encoding::{Decode, DecodeError, Encode, Reader, put_short};

/// Printable characters of Latin-1 without space, `@`, `:` and `/`; at most 255, possibly none.
///
/// Comparing takes the same time for any two passwords of one length.
#[derive(Clone, ZeroizeOnDrop)]
pub struct BasicAuth(Vec<u8>);

impl BasicAuth {
    /// A password of these bytes.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`] when one is not allowed, or there are more than 255.
    pub fn new(bytes: &[u8]) -> Result<Self, DecodeError> {
        let fits = bytes.len() <= usize::from(u8::MAX);
        if fits && bytes.iter().copied().all(is_allowed) {
            Ok(Self(bytes.to_vec()))
        } else {
            Err(DecodeError::Invalid("server password"))
        }
    }

    /// The password itself.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

fn is_allowed(byte: u8) -> bool {
    match byte {
        b'@' | b':' | b'/' => false,
        0x21..=0x7e => true,
        // Latin-1's soft hyphen is not printable.
        0xad => false,
        0xa1..=0xff => true,
        _ => false,
    }
}

impl PartialEq for BasicAuth {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for BasicAuth {}

impl std::fmt::Debug for BasicAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BasicAuth([scrubbed])")
    }
}

impl Encode for BasicAuth {
    fn encode(&self, out: &mut Vec<u8>) {
        put_short(out, &self.0);
    }
}

impl Decode for BasicAuth {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::new(reader.short()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_printable_characters_that_an_address_can_hold() {
        for good in [&b""[..], b"!~", &[0xa1, 0xac, 0xae, 0xff], b"p?#&=%"] {
            assert_eq!(BasicAuth::new(good).unwrap().as_bytes(), good);
        }
        for bad in [&b" "[..], b"a b", b"@", b":", b"/", &[0x7f], &[0x80], &[0xa0], &[0xad], &[b'a'; 256]] {
            assert!(BasicAuth::new(bad).is_err(), "{bad:02x?}");
        }
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", BasicAuth::new(b"secret").unwrap()), "BasicAuth([scrubbed])");
    }
}
