//! What a server does to a message and tells of it (smp.md §11.1, §11.2).
//!
//! ```text
//! message in MSG = box(recipient's and server's keys, nonce = message id, pad(plain, 16106))
//! plain          = time(8) bool(notify) " " body / "QUOTA " time(8)
//! meta in NMSG   = box(recipient's and server's notifier keys, nonce, pad(short(message id) time(8), 128))
//! ```
//!
//! All messages of all queues have one size, so that who sees them inside the server's TLS learns nothing by it.

use crate::crypto::CryptoError;
use crate::crypto::secretbox::BoxKey;
use crate::encoding::{Decode, DecodeError, Encode, Reader, put_bool};
use crate::smp::ids::MessageId;
use crate::smp::words::{after_space, word};
use crate::timestamp::Timestamp;

/// The size of the encrypted body of every `MSG`.
pub const MESSAGE_BODY_BYTES: usize = MESSAGE_PADDED_BYTES + 16;
/// The size of the encrypted metadata of every `NMSG`.
pub const NOTIFICATION_METADATA_BYTES: usize = METADATA_PADDED_BYTES + 16;

const MESSAGE_PADDED_BYTES: usize = 16_106;
const METADATA_PADDED_BYTES: usize = 128;
const QUOTA: &[u8] = b"QUOTA ";

/// What stands in a queue, as its recipient reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReceivedMessage {
    /// What a sender sent.
    Message {
        /// When the server received it, to the second.
        received_at: Timestamp,
        /// Whether the sender asked to tell the notifier.
        notify: bool,
        /// What was sent.
        body: Vec<u8>,
    },
    /// The queue was full: some sender was refused. It may go on when this is acknowledged.
    Quota {
        /// When the first sender was refused, to the second.
        refused_at: Timestamp,
    },
}

impl ReceivedMessage {
    /// Opens the body of a `MSG`.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`] when it does not decrypt or is no message.
    pub fn open(key: &BoxKey, id: &MessageId, sealed: &[u8]) -> Result<Self, DecodeError> {
        let mut plain =
            key.open_padded(id.as_bytes(), sealed).map_err(|_| DecodeError::Invalid("message"))?;
        if let Some(time) = plain.strip_prefix(QUOTA) {
            let mut reader = Reader::new(time);
            let refused_at = Timestamp::from_seconds(reader.i64()?);
            reader.end()?;
            return Ok(Self::Quota { refused_at });
        }
        let mut reader = Reader::new(&plain);
        let received_at = Timestamp::from_seconds(reader.i64()?);
        let notify = reader.bool()?;
        // Flags that we do not know yet stand before the space.
        word(&mut reader);
        let body_bytes = after_space(&mut reader)?.rest().len();
        plain.drain(..plain.len().saturating_sub(body_bytes));
        Ok(Self::Message { received_at, notify, body: plain })
    }
}

/// The encrypted body of a message.
///
/// # Errors
/// [`CryptoError::TooLarge`] when the body is longer than [`super::SENT_BODY_BYTES_MAX`] allows.
pub fn seal_message(
    key: &BoxKey,
    id: &MessageId,
    received_at: Timestamp,
    notify: bool,
    body: &[u8],
) -> Result<Vec<u8>, CryptoError> {
    let mut plain = Vec::with_capacity(body.len().saturating_add(10));
    plain.extend_from_slice(&received_at.seconds().to_be_bytes());
    put_bool(&mut plain, notify);
    plain.push(b' ');
    plain.extend_from_slice(body);
    key.seal_padded(id.as_bytes(), &plain, MESSAGE_PADDED_BYTES)
}

/// The encrypted marker of a full queue.
///
/// # Errors
/// None in practice: the marker is short.
pub fn seal_quota(key: &BoxKey, id: &MessageId, refused_at: Timestamp) -> Result<Vec<u8>, CryptoError> {
    let plain = [QUOTA, &refused_at.seconds().to_be_bytes()].concat();
    key.seal_padded(id.as_bytes(), &plain, MESSAGE_PADDED_BYTES)
}

/// Which message a notification is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotificationMetadata {
    /// The message's id.
    pub message_id: MessageId,
    /// When the server received it, to the second.
    pub received_at: Timestamp,
}

impl NotificationMetadata {
    /// The encrypted metadata of a `NMSG`.
    ///
    /// # Errors
    /// None in practice: metadata are short.
    pub fn seal(&self, key: &BoxKey, nonce: &[u8; 24]) -> Result<Vec<u8>, CryptoError> {
        let mut plain = self.message_id.to_bytes();
        plain.extend_from_slice(&self.received_at.seconds().to_be_bytes());
        key.seal_padded(nonce, &plain, METADATA_PADDED_BYTES)
    }

    /// Opens the metadata of a `NMSG`; bytes that later servers may add are ignored.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`] when they do not decrypt or are none.
    pub fn open(key: &BoxKey, nonce: &[u8; 24], sealed: &[u8]) -> Result<Self, DecodeError> {
        let plain = key.open_padded(nonce, sealed).map_err(|_| DecodeError::Invalid("notification"))?;
        let mut reader = Reader::new(&plain);
        let message_id = MessageId::decode(&mut reader)?;
        Ok(Self { message_id, received_at: Timestamp::from_seconds(reader.i64()?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smp::SENT_BODY_BYTES_MAX;

    const ID: MessageId = MessageId([7; 24]);

    fn key() -> BoxKey {
        BoxKey::new(&[1; 32])
    }

    fn open(plain: &[u8]) -> Result<ReceivedMessage, DecodeError> {
        let sealed = key().seal_padded(ID.as_bytes(), plain, MESSAGE_PADDED_BYTES).unwrap();
        ReceivedMessage::open(&key(), &ID, &sealed)
    }

    /// smp.md §23, trap 11.
    #[test]
    fn messages_of_all_lengths_have_one_size() {
        for length in [0, 1, SENT_BODY_BYTES_MAX] {
            let sealed = seal_message(&key(), &ID, Timestamp::default(), true, &vec![5; length]).unwrap();
            assert_eq!(sealed.len(), MESSAGE_BODY_BYTES);
        }
        assert_eq!(seal_quota(&key(), &ID, Timestamp::default()).unwrap().len(), MESSAGE_BODY_BYTES);
    }

    #[test]
    fn flags_of_later_servers_are_ignored() {
        let plain = [&1_641_032_645_i64.to_be_bytes()[..], b"Tx9 a b"].concat();
        let received_at = Timestamp::from_seconds(1_641_032_645);
        let expected = ReceivedMessage::Message { received_at, notify: true, body: b"a b".to_vec() };
        assert_eq!(open(&plain), Ok(expected));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let time = 0_i64.to_be_bytes();
        for plain in [
            vec![],
            time.to_vec(),
            [&time[..], b"T"].concat(),
            [&time[..], b"X body"].concat(),
            [QUOTA, &time[..7]].concat(),
            [QUOTA, &time[..], b"x"].concat(),
        ] {
            assert!(open(&plain).is_err(), "{plain:02x?}");
        }
    }
}
