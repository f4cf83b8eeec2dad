//! The one authenticated cipher of SMP, whether its secret comes from X25519 or is a symmetric key
//! (smp.md §2.2, agent.md §0.4).
//!
//! ```text
//! k1 = HSalsa20(secret, 0¹⁶)   k2 = HSalsa20(k1, nonce[0..16])
//! ks = Salsa20(k2, nonce[16..24])   c = m XOR ks[32..]   box = Poly1305(ks[0..32], c) ‖ c
//! ```
//!
//! Trap: the first HSalsa20 is applied to symmetric keys too, so this is not NaCl's `secretbox`.

use salsa20::cipher::{KeyIvInit as _, StreamCipher as _, consts::U10};
use salsa20::{Salsa20, hsalsa};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

use super::{CryptoError, padding, wide_poly1305, wide_salsa20};

/// Bytes that a box adds to its plaintext.
pub const BOX_OVERHEAD_BYTES: usize = 16;
/// The first half block of the keystream is the key of the authenticator.
const MAC_KEY_BYTES: usize = 32;

/// A box key with the first HSalsa20 done. Costs one X25519 less than starting from keys, so keep it per queue.
#[derive(Clone, PartialEq, Eq, zeroize::ZeroizeOnDrop)]
pub struct BoxKey([u8; 32]);

impl std::fmt::Debug for BoxKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BoxKey([scrubbed])")
    }
}

impl BoxKey {
    /// From a raw X25519 shared secret or a symmetric key.
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(hsalsa::<U10>(&(*secret).into(), &[0; 16].into()).into())
    }

    /// Seals `message` as it is.
    #[must_use]
    pub fn seal(&self, nonce: &[u8; 24], message: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::with_capacity(BOX_OVERHEAD_BYTES + message.len());
        sealed.extend_from_slice(&[0; BOX_OVERHEAD_BYTES]);
        sealed.extend_from_slice(message);
        self.seal_in_place(nonce, &mut sealed);
        sealed
    }

    /// Seals `message` padded to `size` bytes; the box has `size + 16`.
    ///
    /// # Errors
    /// [`CryptoError::TooLarge`] when it does not fit.
    pub fn seal_padded(&self, nonce: &[u8; 24], message: &[u8], size: usize) -> Result<Vec<u8>, CryptoError> {
        let mut sealed = Vec::with_capacity(BOX_OVERHEAD_BYTES.saturating_add(size));
        sealed.extend_from_slice(&[0; BOX_OVERHEAD_BYTES]);
        padding::pad_into(message, size, &mut sealed)?;
        self.seal_in_place(nonce, &mut sealed);
        Ok(sealed)
    }

    /// Opens a box.
    ///
    /// # Errors
    /// [`CryptoError::Decrypt`] when the tag does not match.
    pub fn open(&self, nonce: &[u8; 24], sealed: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let mut sealed = sealed.to_vec();
        self.open_in_place(nonce, &mut sealed)?;
        sealed.drain(..BOX_OVERHEAD_BYTES);
        Ok(sealed)
    }

    /// Opens a box where it stands and gives the message in it. On failure nothing is changed.
    ///
    /// # Errors
    /// [`CryptoError::Decrypt`] when the tag does not match.
    pub fn open_in_place<'b>(
        &self,
        nonce: &[u8; 24],
        sealed: &'b mut [u8],
    ) -> Result<&'b mut [u8], CryptoError> {
        let (tag, text) = sealed.split_first_chunk_mut::<BOX_OVERHEAD_BYTES>().ok_or(CryptoError::Decrypt)?;
        let (keystream, mac_key) = self.start(nonce);
        let expected = wide_poly1305::authenticate(&mac_key, text);
        if !bool::from(expected.ct_eq(tag)) {
            return Err(CryptoError::Decrypt);
        }
        keystream.apply(text);
        Ok(text)
    }

    /// Opens a box and takes the padding off.
    ///
    /// # Errors
    /// [`CryptoError::Decrypt`] or [`CryptoError::Padding`].
    pub fn open_padded(&self, nonce: &[u8; 24], sealed: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let mut padded = self.open(nonce, sealed)?;
        let length = padding::unpad(&padded)?.len();
        padded.copy_within(2..2 + length, 0);
        padded.truncate(length);
        Ok(padded)
    }

    /// Seals the bytes after the first 16 of `buffer` and writes the tag there. Does nothing to a shorter buffer.
    pub fn seal_in_place(&self, nonce: &[u8; 24], buffer: &mut [u8]) {
        let Some((tag, text)) = buffer.split_first_chunk_mut::<BOX_OVERHEAD_BYTES>() else { return };
        let (keystream, mac_key) = self.start(nonce);
        keystream.apply(text);
        *tag = wide_poly1305::authenticate(&mac_key, text);
    }

    /// The keystream after its first 32 bytes, and those bytes: the MAC key.
    fn start(&self, nonce: &[u8; 24]) -> (Keystream, Zeroizing<[u8; 32]>) {
        let (head, tail) = nonce.split_at(16);
        let mut short_nonce = [0; 8];
        short_nonce.copy_from_slice(tail);
        let head = head.try_into().expect("24 bytes have 16 at their start");
        let key: Zeroizing<[u8; 32]> = Zeroizing::new(hsalsa::<U10>(&self.0.into(), &head).into());
        let mut cipher = Salsa20::new(&(*key).into(), &short_nonce.into());
        let mut mac_key = Zeroizing::new([0; MAC_KEY_BYTES]);
        cipher.apply_keystream(mac_key.as_mut());
        (Keystream { cipher, key, nonce: short_nonce }, mac_key)
    }
}

/// The keystream of one box, from its second half block on.
struct Keystream {
    cipher: Salsa20,
    key: Zeroizing<[u8; 32]>,
    nonce: [u8; 8],
}

impl Keystream {
    fn apply(mut self, text: &mut [u8]) {
        let (head, tail) = text.split_at_mut(text.len().min(MAC_KEY_BYTES));
        self.cipher.apply_keystream(head);
        let is_wide =
            tail.len() >= wide_salsa20::BYTES_MIN && wide_salsa20::apply(&self.key, &self.nonce, 1, tail);
        if !is_wide {
            self.cipher.apply_keystream(tail);
        }
    }
}

impl From<[u8; 32]> for BoxKey {
    fn from(mut secret: [u8; 32]) -> Self {
        let key = Self::new(&secret);
        secret.zeroize();
        key
    }
}

/// A nonce from bytes of any length: cut, or filled with zero bytes (smp.md §2.2).
#[must_use]
pub fn nonce_from(bytes: &[u8]) -> [u8; 24] {
    let mut nonce = [0; 24];
    for (to, from) in nonce.iter_mut().zip(bytes) {
        *to = *from;
    }
    nonce
}

/// The bytes of a nonce in reverse order: the nonce of an answer through a proxy.
#[must_use]
pub fn reverse_nonce(mut nonce: [u8; 24]) -> [u8; 24] {
    nonce.reverse();
    nonce
}
