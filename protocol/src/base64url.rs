//! Binary values in text: base64url (RFC 4648 §5), see smp.md §1.2.
//!
//! Written with `=` padding, except in short links; read with or without.

use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};

use crate::encoding::DecodeError;

/// The text of `bytes`, with padding.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    URL_SAFE.encode(bytes)
}

/// The text of `bytes` as short links have it, without padding.
#[must_use]
pub fn encode_unpadded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads text with any amount of padding at its end.
///
/// # Errors
/// [`DecodeError::Invalid`] when it is empty, holds another character, or has bits that stand for nothing.
pub fn decode(text: &str) -> Result<Vec<u8>, DecodeError> {
    let characters = text.trim_end_matches('=');
    if characters.is_empty() {
        return Err(DecodeError::Invalid("base64url text"));
    }
    URL_SAFE_NO_PAD.decode(characters).map_err(|_| DecodeError::Invalid("base64url text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_written_and_not_required() {
        assert_eq!(encode(&[0xd7, 0x6d, 0xf8, 0xfb]), "1234-w==");
        assert_eq!(encode_unpadded(&[0xd7, 0x6d, 0xf8, 0xfb]), "1234-w");
        for text in ["1234-w==", "1234-w", "1234-w==="] {
            assert_eq!(decode(text), Ok(vec![0xd7, 0x6d, 0xf8, 0xfb]));
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "=", "==", "a", "1234+w", "12=34", "1234-x", "12 34"] {
            assert!(decode(text).is_err(), "{text}");
        }
    }
}
