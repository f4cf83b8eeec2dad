//! What a ratchet message holds once it is decrypted (agent.md §4.2).
//!
//! ```text
//! info       = "I" tail(info)                        initiator's confirmation
//! info reply = "D" list1 queue-info  tail(info)      joiner's confirmation
//! ratchet    = "R" tail(info)
//! message    = "M" number(8) short(hash of the message before) body
//! body       = "H" / "M" tail / "V" receipts / "QC" … / "QA" … / "QK" … / "QU" … / "QT" … / "E" number(8)
//! ```

use crate::encoding::{
    Decode, DecodeError, Encode, Reader, put_bool, put_large, put_list, put_maybe, put_short,
};
use crate::smp::key::AuthPublicKey;
use crate::smp::queue_uri::{QueueInfo, QueueLocation, QueueUri};

/// The plaintext of a ratchet message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentMessage {
    /// The initiator's words.
    Info(Vec<u8>),
    /// The joiner's words, and where to answer.
    InfoReply {
        /// At least one; only the first is used. We always name its mode: free bytes follow.
        queues: Vec<QueueInfo>,
        /// The joiner's words.
        info: Vec<u8>,
    },
    /// Accounts for an [`Envelope`](super::envelope::Envelope) with a ratchet key; its bytes are hashed, not sent.
    RatchetInfo(Vec<u8>),
    /// A numbered message.
    Numbered {
        /// The sender's number, by 1 higher than that of the message before.
        number: i64,
        /// SHA-256 of the message before; of another length it matches none.
        previous_hash: Vec<u8>,
        /// What it says.
        body: MessageBody,
    },
}

/// What a numbered message says. Lists have at least one item, and only the first one counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageBody {
    /// "The queue works": only in the slow handshake.
    Hello,
    /// For the application.
    Application(Vec<u8>),
    /// The peer's application has these messages.
    Receipts(Vec<MessageReceipt>),
    /// The queue was full and has room again.
    QuotaResumed(QueueLocation),
    /// Rotation: a new queue, and which one it replaces.
    QueueAdd(Vec<(QueueUri, Option<QueueLocation>)>),
    /// Rotation: the new queue with the *sender's* key in it, and the sender's authorisation key.
    QueueKey(Vec<(QueueInfo, AuthPublicKey)>),
    /// Rotation: use the queue; whether as the primary one.
    QueueUse(Vec<(QueueLocation, bool)>),
    /// Rotation: sent to the new queue.
    QueueTest(Vec<QueueLocation>),
    /// After re-synchronisation: the last number received under the old ratchet.
    RatchetReady(i64),
}

/// Says that a message has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageReceipt {
    /// Its sender's number.
    pub number: i64,
    /// SHA-256 of its plaintext, as the receiver saw it.
    pub hash: Vec<u8>,
    /// For later use; written empty.
    pub info: Vec<u8>,
}

impl Encode for AgentMessage {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Info(info) => {
                out.push(b'I');
                out.extend_from_slice(info);
            }
            Self::InfoReply { queues, info } => {
                out.push(b'D');
                put_list(out, queues, |out, queue| queue.encode(out));
                out.extend_from_slice(info);
            }
            Self::RatchetInfo(info) => {
                out.push(b'R');
                out.extend_from_slice(info);
            }
            Self::Numbered { number, previous_hash, body } => {
                out.push(b'M');
                out.extend_from_slice(&number.to_be_bytes());
                put_short(out, previous_hash);
                body.encode(out);
            }
        }
    }
}

impl Decode for AgentMessage {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u8()? {
            b'I' => Ok(Self::Info(reader.tail().to_vec())),
            b'D' => Ok(Self::InfoReply {
                queues: reader.non_empty_list(QueueInfo::decode)?,
                info: reader.tail().to_vec(),
            }),
            b'R' => Ok(Self::RatchetInfo(reader.tail().to_vec())),
            b'M' => Ok(Self::Numbered {
                number: reader.i64()?,
                previous_hash: reader.short()?.to_vec(),
                body: MessageBody::decode(reader)?,
            }),
            _ => Err(DecodeError::Invalid("agent message")),
        }
    }
}

impl Encode for MessageBody {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Hello => out.push(b'H'),
            Self::Application(body) => {
                out.push(b'M');
                out.extend_from_slice(body);
            }
            Self::Receipts(receipts) => {
                out.push(b'V');
                put_list(out, receipts, |out, receipt| receipt.encode(out));
            }
            Self::QuotaResumed(queue) => {
                out.extend_from_slice(b"QC");
                queue.encode(out);
            }
            Self::QueueAdd(queues) => {
                out.extend_from_slice(b"QA");
                put_list(out, queues, |out, (queue, replaced)| {
                    queue.encode(out);
                    put_maybe(out, replaced.as_ref(), |out, replaced| replaced.encode(out));
                });
            }
            Self::QueueKey(queues) => {
                out.extend_from_slice(b"QK");
                put_list(out, queues, |out, (queue, sender_key)| {
                    queue.encode(out);
                    sender_key.encode(out);
                });
            }
            Self::QueueUse(queues) => {
                out.extend_from_slice(b"QU");
                put_list(out, queues, |out, (queue, primary)| {
                    queue.encode(out);
                    put_bool(out, *primary);
                });
            }
            Self::QueueTest(queues) => {
                out.extend_from_slice(b"QT");
                put_list(out, queues, |out, queue| queue.encode(out));
            }
            Self::RatchetReady(number) => {
                out.push(b'E');
                out.extend_from_slice(&number.to_be_bytes());
            }
        }
    }
}

impl Decode for MessageBody {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u8()? {
            b'H' => Ok(Self::Hello),
            b'M' => Ok(Self::Application(reader.tail().to_vec())),
            b'V' => reader.non_empty_list(MessageReceipt::decode).map(Self::Receipts),
            b'Q' => Self::decode_queue_message(reader),
            b'E' => reader.i64().map(Self::RatchetReady),
            _ => Err(DecodeError::Invalid("agent message body")),
        }
    }
}

impl MessageBody {
    fn decode_queue_message(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u8()? {
            b'C' => QueueLocation::decode(reader).map(Self::QuotaResumed),
            b'A' => reader
                .non_empty_list(|reader| {
                    Ok((QueueUri::decode(reader)?, reader.maybe(QueueLocation::decode)?))
                })
                .map(Self::QueueAdd),
            b'K' => reader
                .non_empty_list(|reader| Ok((QueueInfo::decode(reader)?, AuthPublicKey::decode(reader)?)))
                .map(Self::QueueKey),
            b'U' => reader
                .non_empty_list(|reader| Ok((QueueLocation::decode(reader)?, reader.bool()?)))
                .map(Self::QueueUse),
            b'T' => reader.non_empty_list(QueueLocation::decode).map(Self::QueueTest),
            _ => Err(DecodeError::Invalid("agent message body")),
        }
    }
}

impl Encode for MessageReceipt {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.number.to_be_bytes());
        put_short(out, &self.hash);
        put_large(out, &self.info);
    }
}

impl Decode for MessageReceipt {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { number: reader.i64()?, hash: reader.short()?.to_vec(), info: reader.large()?.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_kinds_and_empty_lists_are_refused() {
        let numbered = |body: &[u8]| [b"M\0\0\0\0\0\0\0\x02\0", body].concat();
        for body in [&b""[..], b"X", b"Q", b"QX", b"V\0", b"QA\0", b"QK\0", b"QU\0", b"QT\0", b"QC\0", b"E\0"]
        {
            assert!(AgentMessage::from_bytes(&numbered(body)).is_err(), "{body:?}");
        }
        assert!(AgentMessage::from_bytes(b"D\0info").is_err());
        assert!(AgentMessage::from_bytes(b"X").is_err());
        assert!(AgentMessage::from_bytes(b"").is_err());
    }

    #[test]
    fn bytes_after_a_message_are_refused() {
        for body in [&b"H"[..], b"E\0\0\0\0\0\0\0\x05"] {
            let message = [b"M\0\0\0\0\0\0\0\x02\0", body].concat();
            assert!(AgentMessage::from_bytes(&message).is_ok());
            let longer = [&message[..], b"x"].concat();
            assert_eq!(AgentMessage::from_bytes(&longer), Err(DecodeError::LeftOver));
        }
    }

    /// A zero-length hash is read; it is a bad hash, not a malformed message (agent.md §4.3).
    #[test]
    fn a_previous_hash_may_be_absent() {
        let message = AgentMessage::from_bytes(b"M\0\0\0\0\0\0\0\x02\0Mbody").unwrap();
        let body = MessageBody::Application(b"body".to_vec());
        assert_eq!(message, AgentMessage::Numbered { number: 2, previous_hash: vec![], body });
    }
}
