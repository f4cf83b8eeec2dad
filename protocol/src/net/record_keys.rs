//! Keys of TLS records that take no more room than keys.
//!
//! What the library makes of a key takes 650 bytes, two of them for each connection, and most connections of a server
//! are idle most of the time. It is little more than a copy, so it is made anew for each record.

use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, MessageDecrypter, MessageEncrypter, NONCE_LEN,
    OutboundOpaqueMessage, OutboundPlainMessage, Tls13AeadAlgorithm, UnsupportedOperationError,
};
use rustls::{ConnectionTrafficSecrets, Error};
use zeroize::ZeroizeOnDrop;

const KEY_BYTES: usize = 32;
/// What ChaCha20-Poly1305 adds to a record: its inner type and the tag.
const OVERHEAD_BYTES: usize = 1 + 16;

/// The library's ChaCha20-Poly1305, its keys at rest between records.
pub(super) struct AtRest(pub(super) &'static dyn Tls13AeadAlgorithm);

impl Tls13AeadAlgorithm for AtRest {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        match Direction::new(self.0, &key, &iv) {
            Some(direction) => Box::new(direction),
            None => self.0.encrypter(key, iv),
        }
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        match Direction::new(self.0, &key, &iv) {
            Some(direction) => Box::new(direction),
            None => self.0.decrypter(key, iv),
        }
    }

    fn key_len(&self) -> usize {
        self.0.key_len()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: Iv,
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.0.extract_keys(key, iv)
    }

    fn fips(&self) -> bool {
        self.0.fips()
    }
}

/// One direction of a connection.
#[derive(ZeroizeOnDrop)]
struct Direction {
    #[zeroize(skip)]
    library: &'static dyn Tls13AeadAlgorithm,
    key: [u8; KEY_BYTES],
    iv: [u8; NONCE_LEN],
}

impl Direction {
    /// Nothing when the key is one of another cipher.
    fn new(library: &'static dyn Tls13AeadAlgorithm, key: &AeadKey, iv: &Iv) -> Option<Self> {
        let (key, iv) = (key.as_ref().try_into().ok()?, iv.as_ref().try_into().ok()?);
        Some(Self { library, key, iv })
    }
}

impl MessageEncrypter for Direction {
    fn encrypt(
        &mut self,
        record: OutboundPlainMessage<'_>,
        number: u64,
    ) -> Result<OutboundOpaqueMessage, Error> {
        self.library.encrypter(self.key.into(), self.iv.into()).encrypt(record, number)
    }

    fn encrypted_payload_len(&self, length: usize) -> usize {
        length.saturating_add(OVERHEAD_BYTES)
    }
}

impl MessageDecrypter for Direction {
    fn decrypt<'a>(
        &mut self,
        record: InboundOpaqueMessage<'a>,
        number: u64,
    ) -> Result<InboundPlainMessage<'a>, Error> {
        self.library.decrypter(self.key.into(), self.iv.into()).decrypt(record, number)
    }
}
