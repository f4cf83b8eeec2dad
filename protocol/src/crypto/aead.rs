//! AES-256-GCM with a 16-byte IV, the ratchet's cipher (agent.md §0.5). The tag travels apart from the text.

use aes_gcm::aead::consts::U16;
use aes_gcm::aead::{AeadInOut as _, KeyInit as _};
use aes_gcm::aes::Aes256;

use super::{CryptoError, padding};

type Cipher = aes_gcm::AesGcm<Aes256, U16>;

/// Pads `message` to `size` bytes and encrypts it; gives the tag and the text.
///
/// # Errors
/// [`CryptoError::TooLarge`] when it does not fit.
pub fn encrypt_padded(
    key: &[u8; 32],
    iv: &[u8; 16],
    associated_data: &[u8],
    message: &[u8],
    size: usize,
) -> Result<([u8; 16], Vec<u8>), CryptoError> {
    let mut text = padding::pad(message, size)?;
    let tag = Cipher::new(&(*key).into())
        .encrypt_inout_detached(&(*iv).into(), associated_data, text.as_mut_slice().into())
        .map_err(|_| CryptoError::TooLarge)?;
    Ok((tag.into(), text))
}

/// Decrypts and takes the padding off.
///
/// # Errors
/// [`CryptoError::Decrypt`] or [`CryptoError::Padding`].
pub fn decrypt_padded(
    key: &[u8; 32],
    iv: &[u8; 16],
    associated_data: &[u8],
    tag: &[u8; 16],
    ciphertext: &[u8],
) -> Result<Vec<u8>, CryptoError> {
    let mut text = ciphertext.to_vec();
    Cipher::new(&(*key).into())
        .decrypt_inout_detached(&(*iv).into(), associated_data, text.as_mut_slice().into(), &(*tag).into())
        .map_err(|_| CryptoError::Decrypt)?;
    Ok(padding::unpad(&text)?.to_vec())
}
