//! Padding to a fixed size: `length(2) message '#'…` (smp.md §2.2).

use super::CryptoError;

/// The largest message that can be padded, in bytes.
pub const PADDED_MESSAGE_BYTES_MAX: usize = 65_533;

/// Pads `message` to exactly `size` bytes.
///
/// # Errors
/// [`CryptoError::TooLarge`] when it does not fit with its two-byte length.
pub fn pad(message: &[u8], size: usize) -> Result<Vec<u8>, CryptoError> {
    let mut padded = Vec::new();
    pad_into(message, size, &mut padded)?;
    Ok(padded)
}

/// Appends `message` padded to exactly `size` bytes.
///
/// # Errors
/// As [`pad`]; then nothing was appended.
pub fn pad_into(message: &[u8], size: usize, out: &mut Vec<u8>) -> Result<(), CryptoError> {
    if message.len() > PADDED_MESSAGE_BYTES_MAX || message.len() + 2 > size {
        return Err(CryptoError::TooLarge);
    }
    let length = u16::try_from(message.len()).map_err(|_| CryptoError::TooLarge)?;
    let end = out.len().saturating_add(size);
    out.reserve(size);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(message);
    out.resize(end, b'#');
    Ok(())
}

/// The message inside a padded one. The filler is not checked, as the protocol says.
///
/// # Errors
/// [`CryptoError::Padding`] when there are fewer bytes than announced.
pub fn unpad(padded: &[u8]) -> Result<&[u8], CryptoError> {
    let (length, rest) = padded.split_first_chunk::<2>().ok_or(CryptoError::Padding)?;
    rest.get(..usize::from(u16::from_be_bytes(*length))).ok_or(CryptoError::Padding)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// smp.md §21.
    #[test]
    fn known_answers() {
        assert_eq!(pad(b"abc", 5).unwrap(), [0, 3, b'a', b'b', b'c']);
        assert_eq!(pad(b"abc", 4), Err(CryptoError::TooLarge));
        assert!(pad(&vec![0; 65_533], 65_535).is_ok());
        assert_eq!(pad(&vec![0; 65_534], 65_536), Err(CryptoError::TooLarge));
        assert_eq!(unpad(&[0, 0]), Ok(&[][..]));
        for bad in [&[0][..], &[], &[0, 3, b'a', b'b']] {
            assert_eq!(unpad(bad), Err(CryptoError::Padding));
        }
    }
}
