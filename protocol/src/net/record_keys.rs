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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256;
    use rustls::crypto::cipher::OutboundChunks;
    use rustls::{ContentType, ProtocolVersion};

    use super::*;

    /// Type, version and length ahead of a record's sealed bytes.
    const HEADER_BYTES: usize = 5;

    fn library() -> &'static dyn Tls13AeadAlgorithm {
        TLS13_CHACHA20_POLY1305_SHA256.tls13().expect("a suite of TLS 1.3").aead_alg
    }

    /// The record as it goes over the wire.
    fn seal(by: &dyn Tls13AeadAlgorithm, key: [u8; 32], iv: [u8; 12], number: u64, text: &[u8]) -> Vec<u8> {
        let mut encrypter = by.encrypter(key.into(), iv.into());
        let record = OutboundPlainMessage {
            typ: ContentType::ApplicationData,
            version: ProtocolVersion::TLSv1_3,
            payload: OutboundChunks::Single(text),
        };
        let length = encrypter.encrypted_payload_len(text.len());
        let sealed = encrypter.encrypt(record, number).expect("it is short enough").encode();
        assert_eq!(sealed.len(), HEADER_BYTES + length);
        sealed
    }

    fn open(
        by: &dyn Tls13AeadAlgorithm,
        key: [u8; 32],
        iv: [u8; 12],
        number: u64,
        record: &[u8],
    ) -> Option<Vec<u8>> {
        let mut sealed = record.get(HEADER_BYTES..)?.to_vec();
        let record =
            InboundOpaqueMessage::new(ContentType::ApplicationData, ProtocolVersion::TLSv1_2, &mut sealed);
        let opened = by.decrypter(key.into(), iv.into()).decrypt(record, number).ok()?;
        assert_eq!(opened.typ, ContentType::ApplicationData);
        Some(opened.payload.to_vec())
    }

    proptest! {
        #[test]
        fn records_are_the_librarys(
            key: [u8; 32],
            iv: [u8; 12],
            number: u64,
            text in prop::collection::vec(any::<u8>(), 0..2000),
        ) {
            let ours = AtRest(library());
            let sealed = seal(&ours, key, iv, number, &text);
            prop_assert_eq!(&sealed, &seal(library(), key, iv, number, &text));
            prop_assert_eq!(open(&ours, key, iv, number, &sealed), Some(text.clone()));
            prop_assert_eq!(open(library(), key, iv, number, &sealed), Some(text));
        }

        #[test]
        fn what_is_altered_or_out_of_turn_is_refused(
            key: [u8; 32],
            iv: [u8; 12],
            number in 0..u64::MAX,
            text in prop::collection::vec(any::<u8>(), 1..200),
            at: prop::sample::Index,
            bit in 0_u8..8,
        ) {
            let ours = AtRest(library());
            let mut sealed = seal(&ours, key, iv, number, &text);
            prop_assert_eq!(open(&ours, key, iv, number + 1, &sealed), None);
            let place = HEADER_BYTES + at.index(sealed.len() - HEADER_BYTES);
            sealed[place] ^= 1 << bit;
            prop_assert_eq!(open(&ours, key, iv, number, &sealed), None);
        }
    }

    #[test]
    fn records_of_a_connection_have_one_key_and_numbers_of_their_own() {
        let ours = AtRest(library());
        let mut encrypter = ours.encrypter([7; 32].into(), [9; 12].into());
        let mut sealed = |number| {
            let payload = OutboundChunks::Single(b"again");
            let (typ, version) = (ContentType::ApplicationData, ProtocolVersion::TLSv1_3);
            encrypter.encrypt(OutboundPlainMessage { typ, version, payload }, number).unwrap().encode()
        };
        let records = [sealed(0), sealed(1)];
        assert_ne!(records[0], records[1]);
        for (number, record) in (0..).zip(&records) {
            assert_eq!(open(&ours, [7; 32], [9; 12], number, record).as_deref(), Some(b"again".as_slice()));
        }
    }
}
