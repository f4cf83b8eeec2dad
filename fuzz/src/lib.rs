//! What the targets share: the property of every decoder.

#![forbid(unsafe_code)]

use std::fmt::{Debug, Display};
use std::str::FromStr;

use protocol::encoding::{Decode, Encode};

/// What is read, written and read again is the same; anything else is refused without a panic.
pub fn binary<T: Decode + Encode + PartialEq + Debug>(bytes: &[u8]) {
    if let Ok(value) = T::from_bytes(bytes) {
        assert_eq!(T::from_bytes(&value.to_bytes()), Ok(value));
    }
}

/// As [`binary`], of what holds addresses of queues: those of old versions are written without the mode that they were
/// read with, so that it is the bytes that stay the same.
pub fn settled<T: Decode + Encode>(bytes: &[u8]) {
    if let Ok(value) = T::from_bytes(bytes) {
        let written = value.to_bytes();
        let again = T::from_bytes(&written).map(|value| value.to_bytes());
        assert_eq!(again.as_deref(), Ok(&written[..]));
    }
}

/// As [`binary`], of text.
pub fn text<T: FromStr + Display + PartialEq + Debug>(text: &str)
where
    T::Err: PartialEq + Debug,
{
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(value.to_string().parse(), Ok(value));
    }
}
