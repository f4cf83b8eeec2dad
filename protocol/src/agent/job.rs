//! Requests that wait for the network: one list per connection, worked off strictly in order.
//!
//! A job holds what makes every attempt the same request: after a crash nobody can know whether the server has
//! done it. A message's job holds its key and header, not its ciphertext, and names its body or a shared one.

use crate::crypto::ratchet::MessageKey;
use crate::crypto::ratchet::parameters::RatchetParameters;
use crate::encoding::{Decode, DecodeError, Encode, Reader, put_bool, put_large, put_maybe};
use crate::smp::key::AuthPublicKey;
use crate::timestamp::Timestamp;

use super::Lane;
use super::retry::Retry;
use super::store::BodyId;

/// One request, and how often it was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) created: Timestamp,
    /// Attempts so far, counted for the creation of queues only: from the first one on the server may have done it.
    pub(super) attempts: u8,
    pub(super) retry: Retry,
    pub(super) task: Task,
}

/// What is asked of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Task {
    /// `NEW` for the own queue; for an address with the sealed user part of its link data.
    CreateQueue { user_data: Option<Vec<u8>> },
    /// `LSET` with the sealed user part.
    SetLinkData { user_data: Vec<u8> },
    /// `SKEY` on the peer's queue.
    SecurePeerQueue,
    /// `KEY` on the own queue.
    SecureOwnQueue { key: AuthPublicKey },
    /// `SEND` of the request to a contact address.
    Invite,
    /// `SEND` of our confirmation.
    Confirm { parameters: Option<RatchetParameters>, key: MessageKey, plain: Vec<u8> },
    /// `SEND` of an agent message.
    Message(OutgoingMessage),
    /// `SEND` of new keys, outside the ratchet.
    RatchetKey { parameters: RatchetParameters },
    /// `DEL` for the own queue; the last job of a connection.
    DeleteQueue,
}

/// An agent message with everything but its ciphertext.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OutgoingMessage {
    pub(super) purpose: Purpose,
    pub(super) number: i64,
    pub(super) key: MessageKey,
    /// The beginning of the plain text.
    pub(super) head: Vec<u8>,
    /// The rest of it.
    pub(super) body: OutgoingBody,
}

/// Where the rest of a message's plain text is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OutgoingBody {
    Inline(Vec<u8>),
    Shared(BodyId),
}

/// What a message is for: decides what follows when the server takes or refuses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Application { notify: bool },
    Hello,
    Receipt,
    QuotaContinue,
    QueueKey,
    QueueTest,
    Ready,
}

impl Purpose {
    /// Whether the server tells the peer's notifier (agent.md §4.2).
    pub(super) fn notifies(self) -> bool {
        match self {
            Self::Application { notify } => notify,
            Self::Hello | Self::Ready => true,
            Self::Receipt | Self::QuotaContinue | Self::QueueKey | Self::QueueTest => false,
        }
    }
}

impl Job {
    pub(super) fn new(task: Task, now: Timestamp) -> Self {
        Self { created: now, attempts: 0, retry: Retry::default(), task }
    }

    /// The body that it needs kept.
    pub(super) fn shared_body(&self) -> Option<BodyId> {
        match &self.task {
            Task::Message(OutgoingMessage { body: OutgoingBody::Shared(id), .. }) => Some(*id),
            _ => None,
        }
    }

    /// Whether it carries a message of the application: sending it changes nothing of the connection.
    pub(super) fn is_application_message(&self) -> bool {
        matches!(&self.task, Task::Message(OutgoingMessage { purpose: Purpose::Application { .. }, .. }))
    }

    /// How urgent it is.
    pub(super) fn lane(&self) -> Lane {
        if self.shared_body().is_some() { Lane::Bulk } else { Lane::Control }
    }
}

impl Encode for Job {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.created.0.to_be_bytes());
        out.push(self.attempts);
        self.retry.encode(out);
        self.task.encode(out);
    }
}

impl Decode for Job {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            created: Timestamp(reader.i64()?),
            attempts: reader.u8()?,
            retry: Decode::decode(reader)?,
            task: Decode::decode(reader)?,
        })
    }
}

impl Encode for Task {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::CreateQueue { user_data } => {
                out.push(b'N');
                put_maybe(out, user_data.as_ref(), |out, data| put_large(out, data));
            }
            Self::SetLinkData { user_data } => {
                out.push(b'L');
                put_large(out, user_data);
            }
            Self::SecurePeerQueue => out.push(b'S'),
            Self::SecureOwnQueue { key } => {
                out.push(b'K');
                key.encode(out);
            }
            Self::Invite => out.push(b'I'),
            Self::Confirm { parameters, key, plain } => {
                out.push(b'C');
                put_maybe(out, parameters.as_ref(), |out, parameters| parameters.encode(out));
                key.encode(out);
                put_large(out, plain);
            }
            Self::Message(message) => {
                out.push(b'M');
                message.encode(out);
            }
            Self::RatchetKey { parameters } => {
                out.push(b'R');
                parameters.encode(out);
            }
            Self::DeleteQueue => out.push(b'D'),
        }
    }
}

impl Decode for Task {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match reader.u8()? {
            b'N' => Self::CreateQueue { user_data: reader.maybe(|reader| Ok(reader.large()?.to_vec()))? },
            b'L' => Self::SetLinkData { user_data: reader.large()?.to_vec() },
            b'S' => Self::SecurePeerQueue,
            b'K' => Self::SecureOwnQueue { key: Decode::decode(reader)? },
            b'I' => Self::Invite,
            b'C' => Self::Confirm {
                parameters: reader.maybe(RatchetParameters::decode)?,
                key: Decode::decode(reader)?,
                plain: reader.large()?.to_vec(),
            },
            b'M' => Self::Message(Decode::decode(reader)?),
            b'R' => Self::RatchetKey { parameters: Decode::decode(reader)? },
            b'D' => Self::DeleteQueue,
            _ => return Err(DecodeError::Invalid("job")),
        })
    }
}

impl Encode for OutgoingMessage {
    fn encode(&self, out: &mut Vec<u8>) {
        match self.purpose {
            Purpose::Application { notify } => {
                out.push(b'A');
                put_bool(out, notify);
            }
            Purpose::Hello => out.push(b'H'),
            Purpose::Receipt => out.push(b'V'),
            Purpose::QuotaContinue => out.push(b'C'),
            Purpose::QueueKey => out.push(b'K'),
            Purpose::QueueTest => out.push(b'T'),
            Purpose::Ready => out.push(b'E'),
        }
        out.extend_from_slice(&self.number.to_be_bytes());
        self.key.encode(out);
        put_large(out, &self.head);
        match &self.body {
            OutgoingBody::Inline(body) => {
                out.push(b'I');
                put_large(out, body);
            }
            OutgoingBody::Shared(id) => {
                out.push(b'S');
                out.extend_from_slice(&id.0.to_be_bytes());
            }
        }
    }
}

impl Decode for OutgoingMessage {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            purpose: match reader.u8()? {
                b'A' => Purpose::Application { notify: reader.bool()? },
                b'H' => Purpose::Hello,
                b'V' => Purpose::Receipt,
                b'C' => Purpose::QuotaContinue,
                b'K' => Purpose::QueueKey,
                b'T' => Purpose::QueueTest,
                b'E' => Purpose::Ready,
                _ => return Err(DecodeError::Invalid("purpose of a message")),
            },
            number: reader.i64()?,
            key: Decode::decode(reader)?,
            head: reader.large()?.to_vec(),
            body: match reader.u8()? {
                b'I' => OutgoingBody::Inline(reader.large()?.to_vec()),
                b'S' => OutgoingBody::Shared(BodyId(reader.i64()?)),
                _ => return Err(DecodeError::Invalid("body of a message")),
            },
        })
    }
}
