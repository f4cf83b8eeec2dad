//! Bytes inside JSON: base64url, written with padding (channels.md §4) and read with or without it.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize as _, Deserializer, Serializer};

use crate::encoding::DecodeError;

const ENGINE: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The text form, padded.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    ENGINE.encode(bytes)
}

/// Reads the text form.
///
/// # Errors
/// [`DecodeError::Invalid`] when a character is not of the alphabet or the length is impossible.
pub fn decode(text: &str) -> Result<Vec<u8>, DecodeError> {
    ENGINE.decode(text).map_err(|_| DecodeError::Invalid("base64url text"))
}

/// For `#[serde(with = "base64url")]` on a field of bytes.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&encode(bytes))
}

/// For `#[serde(with = "base64url")]` on a field of bytes.
///
/// # Errors
/// When the text is not base64url.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
    decode(&text).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_written_and_not_insisted_on() {
        assert_eq!(encode(&[0xff, 0xfe]), "__4=");
        assert_eq!(decode("__4=").unwrap(), [0xff, 0xfe]);
        assert_eq!(decode("__4").unwrap(), [0xff, 0xfe]);
        assert!(decode("//4=").is_err());
    }
}
