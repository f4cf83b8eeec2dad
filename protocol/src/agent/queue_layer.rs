//! The end-to-end layer of each queue: all that its server sees of a sender (smp.md §11.3, agent.md §2.2–§2.3).
//!
//! ```text
//! sent body      = client version(2) maybe short(SPKI X25519 sender's key) nonce(24)
//!                  box(sender's and recipient's keys, nonce, pad(client message))
//! client message = "_" envelope  /  "K" short(SPKI sender's authorisation key) envelope
//! ```
//!
//! The first message brings the sender's key and is padded to 15,904 bytes, any other to 16,000; so a server can
//! tell first messages from later ones, but not a confirmation from a request, or a word from a picture.

use rand_core::CryptoRng;
use thiserror::Error;

use crate::crypto::dh::X25519PublicKey;
use crate::crypto::random_bytes;
use crate::crypto::secretbox::BoxKey;
use crate::encoding::{Decode, DecodeError, Encode, Reader, put_maybe};
use crate::smp::key::AuthPublicKey;

/// To what a first message is padded, in bytes.
const FIRST_PADDED_BYTES: usize = 15_904;
/// To what any other message is padded, in bytes.
const LATER_PADDED_BYTES: usize = 16_000;
/// Length of the sent body of a first message.
pub const FIRST_BODY_BYTES: usize = 15_992;
/// Length of the sent body of any other message.
pub const LATER_BODY_BYTES: usize = 16_043;

/// What stands before the agent's envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrivateHeader {
    /// Nothing.
    Empty,
    /// The recipient must secure the queue with this key, because the sender could not.
    SenderKey(AuthPublicKey),
}

impl Encode for PrivateHeader {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Empty => out.push(b'_'),
            Self::SenderKey(key) => {
                out.push(b'K');
                key.encode(out);
            }
        }
    }
}

impl Decode for PrivateHeader {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u8()? {
            b'_' => Ok(Self::Empty),
            b'K' => AuthPublicKey::decode(reader).map(Self::SenderKey),
            _ => Err(DecodeError::Invalid("private header")),
        }
    }
}

/// What is sealed for a queue's recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientMessage {
    /// What stands before the envelope.
    pub header: PrivateHeader,
    /// An encoded [`Envelope`](super::envelope::Envelope).
    pub envelope: Vec<u8>,
}

impl Encode for ClientMessage {
    fn encode(&self, out: &mut Vec<u8>) {
        self.header.encode(out);
        out.extend_from_slice(&self.envelope);
    }
}

impl Decode for ClientMessage {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { header: PrivateHeader::decode(reader)?, envelope: reader.tail().to_vec() })
    }
}

/// Why a sent body does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OpenBodyError {
    /// It is sealed with other keys, or was changed.
    #[error("the queue's box does not open")]
    Box,
    /// What is inside is no client message.
    #[error("no client message inside the queue's box")]
    Malformed(#[from] DecodeError),
}

/// Why a message cannot be sealed: it is longer than every message of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a message of {bytes} bytes does not fit a queue's box; at most {bytes_max} do")]
pub struct BodyTooLarge {
    /// What the client message takes.
    pub bytes: usize,
    /// What fits.
    pub bytes_max: usize,
}

/// A sent body before it is opened: its public header tells with which key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SentBody<'a> {
    /// The client version that the sender uses for this queue.
    pub client_version: u16,
    /// The sender's key for the box: in first messages.
    pub sender_key: Option<X25519PublicKey>,
    nonce: [u8; 24],
    sealed: &'a [u8],
}

impl<'a> SentBody<'a> {
    /// Reads the public header. The length of the body is not checked: only ours are sure to be padded.
    ///
    /// # Errors
    /// When it is no sent body.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        Ok(Self {
            client_version: reader.u16()?,
            sender_key: reader.maybe(X25519PublicKey::decode)?,
            nonce: reader.array()?,
            sealed: reader.tail(),
        })
    }

    /// Opens the box.
    ///
    /// # Errors
    /// [`OpenBodyError`].
    pub fn open(&self, key: &BoxKey) -> Result<ClientMessage, OpenBodyError> {
        let message = key.open_padded(&self.nonce, self.sealed).map_err(|_| OpenBodyError::Box)?;
        Ok(ClientMessage::from_bytes(&message)?)
    }
}

impl Encode for SentBody<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.client_version.to_be_bytes());
        put_maybe(out, self.sender_key, |out, key| key.encode(out));
        out.extend_from_slice(&self.nonce);
        out.extend_from_slice(self.sealed);
    }
}

/// Seals a message for a queue, padded by its kind: with `sender_key` it is a first one. Draws a new nonce for
/// every attempt to send.
///
/// # Errors
/// [`BodyTooLarge`].
pub fn seal(
    client_version: u16,
    sender_key: Option<&X25519PublicKey>,
    key: &BoxKey,
    message: &ClientMessage,
    rng: &mut dyn CryptoRng,
) -> Result<Vec<u8>, BodyTooLarge> {
    let padded_bytes = if sender_key.is_some() { FIRST_PADDED_BYTES } else { LATER_PADDED_BYTES };
    let nonce: [u8; 24] = random_bytes(rng);
    let message = message.to_bytes();
    let sealed = key
        .seal_padded(&nonce, &message, padded_bytes)
        .map_err(|_| BodyTooLarge { bytes: message.len(), bytes_max: padded_bytes - 2 })?;
    let sender_key = sender_key.copied();
    Ok(SentBody { client_version, sender_key, nonce, sealed: &sealed }.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::dh::X25519PrivateKey;
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    fn message(length: usize) -> ClientMessage {
        ClientMessage { header: PrivateHeader::Empty, envelope: vec![7; length] }
    }

    #[test]
    fn every_body_of_a_kind_has_one_length() {
        let mut rng = StdRng::seed_from_u64(1);
        let (sender, recipient) =
            (X25519PrivateKey::generate(&mut rng), X25519PrivateKey::generate(&mut rng));
        let key = sender.box_key(&recipient.public_key());
        let public = sender.public_key();
        for (sender_key, body_bytes, longest) in
            [(Some(&public), FIRST_BODY_BYTES, 15_901), (None, LATER_BODY_BYTES, 15_997)]
        {
            for length in [0, 1, longest] {
                let body = seal(4, sender_key, &key, &message(length), &mut rng).unwrap();
                assert_eq!(body.len(), body_bytes);
                let sent = SentBody::parse(&body).unwrap();
                assert_eq!((sent.client_version, sent.sender_key.as_ref()), (4, sender_key));
                let key = recipient.box_key(&public);
                assert_eq!(sent.open(&key), Ok(message(length)));
            }
            let too_large = seal(4, sender_key, &key, &message(longest + 1), &mut rng);
            assert_eq!(too_large, Err(BodyTooLarge { bytes: longest + 2, bytes_max: longest + 1 }));
        }
    }

    #[test]
    fn a_body_that_is_changed_or_not_a_message_is_told_apart() {
        let mut rng = StdRng::seed_from_u64(1);
        let key = BoxKey::new(&[1; 32]);
        let mut body = seal(4, None, &key, &message(3), &mut rng).unwrap();
        *body.last_mut().unwrap() ^= 1;
        assert_eq!(SentBody::parse(&body).unwrap().open(&key), Err(OpenBodyError::Box));

        let nonce = [0; 24];
        for inner in [&b""[..], b"X", b"K", b"K\x01x"] {
            let sealed = key.seal_padded(&nonce, inner, 100).unwrap();
            let body = [&[0, 4, b'0'][..], &nonce, &sealed].concat();
            let opened = SentBody::parse(&body).unwrap().open(&key);
            assert!(matches!(opened, Err(OpenBodyError::Malformed(_))), "{inner:?}");
        }
        for cut in [&[][..], &[0], b"\0\x04", b"\0\x04X", b"\0\x041", b"\0\x040short"] {
            assert!(SentBody::parse(cut).is_err());
        }
    }

    /// The length of the padding is the sender's choice (agent.md §2.2).
    #[test]
    fn bodies_of_other_lengths_are_opened() {
        let (key, nonce) = (BoxKey::new(&[1; 32]), [0; 24]);
        let sealed = key.seal_padded(&nonce, b"_hello", 100).unwrap();
        let body = [&[0, 3, b'0'][..], &nonce, &sealed].concat();
        let opened = SentBody::parse(&body).unwrap().open(&key).unwrap();
        assert_eq!(opened.envelope, b"hello");
    }
}
