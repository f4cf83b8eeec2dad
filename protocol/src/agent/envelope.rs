//! What travels in a queue, inside its end-to-end box (agent.md §4.1).
//!
//! ```text
//! confirmation = version(2) "C" maybe parameters  tail(ratchet message)
//! message      = version(2) "M" tail(ratchet message)
//! invitation   = version(2) "I" large(long link) tail(info)
//! ratchet key  = version(2) "R" parameters tail(info)
//! ```
//!
//! The last two are protected by the queue's box only, not by a ratchet.

use crate::crypto::ratchet::parameters::RatchetParameters;
use crate::encoding::{Decode, DecodeError, Encode, Reader, put_large, put_maybe};

/// An envelope, and the agent version it was written with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// In confirmations the agreed version, in invitations the one agreed with the link, otherwise the sender's
    /// highest. A receiver may learn of a higher one by it.
    pub agent_version: u16,
    /// What it carries.
    pub content: EnvelopeContent,
}

/// What an envelope carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvelopeContent {
    /// The first message in a queue.
    Confirmation {
        /// From the joiner: to start the ratchet with.
        parameters: Option<RatchetParameters>,
        /// An encrypted [`AgentMessage`](super::message::AgentMessage) with connection info.
        ratchet_message: Vec<u8>,
    },
    /// A later message.
    Message {
        /// An encrypted [`AgentMessage`](super::message::AgentMessage).
        ratchet_message: Vec<u8>,
    },
    /// A request at a contact address.
    Invitation {
        /// The requester's long one-time link, at most 65,535 bytes; verbatim, because the application keeps it.
        link: String,
        /// The requester's words.
        info: Vec<u8>,
    },
    /// New keys, to get ratchets back into step.
    RatchetKey {
        /// To start the new ratchet with.
        parameters: RatchetParameters,
        /// Written as one byte `R`; not read.
        info: Vec<u8>,
    },
}

impl Encode for Envelope {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.agent_version.to_be_bytes());
        match &self.content {
            EnvelopeContent::Confirmation { parameters, ratchet_message } => {
                out.push(b'C');
                put_maybe(out, parameters.as_ref(), |out, parameters| parameters.encode(out));
                out.extend_from_slice(ratchet_message);
            }
            EnvelopeContent::Message { ratchet_message } => {
                out.push(b'M');
                out.extend_from_slice(ratchet_message);
            }
            EnvelopeContent::Invitation { link, info } => {
                out.push(b'I');
                put_large(out, link.as_bytes());
                out.extend_from_slice(info);
            }
            EnvelopeContent::RatchetKey { parameters, info } => {
                out.push(b'R');
                parameters.encode(out);
                out.extend_from_slice(info);
            }
        }
    }
}

impl Decode for Envelope {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let agent_version = reader.u16()?;
        let content = match reader.u8()? {
            b'C' => EnvelopeContent::Confirmation {
                parameters: reader.maybe(RatchetParameters::decode)?,
                ratchet_message: reader.tail().to_vec(),
            },
            b'M' => EnvelopeContent::Message { ratchet_message: reader.tail().to_vec() },
            b'I' => {
                let link = std::str::from_utf8(reader.large()?)
                    .map_err(|_| DecodeError::Invalid("invitation's link"))?;
                EnvelopeContent::Invitation { link: link.to_owned(), info: reader.tail().to_vec() }
            }
            b'R' => EnvelopeContent::RatchetKey {
                parameters: RatchetParameters::decode(reader)?,
                info: reader.tail().to_vec(),
            },
            _ => return Err(DecodeError::Invalid("agent envelope")),
        };
        Ok(Self { agent_version, content })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_kinds_and_cut_parameters_are_refused() {
        for bytes in [&b""[..], &[0, 7], b"\0\x07X", b"\0\x07C", b"\0\x07C1", b"\0\x07R", b"\0\x07I\0\x05abc"]
        {
            assert!(Envelope::from_bytes(bytes).is_err(), "{bytes:?}");
        }
        assert_eq!(
            Envelope::from_bytes(b"\0\x07I\0\x01\xff"),
            Err(DecodeError::Invalid("invitation's link"))
        );
    }

    /// A higher version than ours is no reason to refuse an envelope; what it means is decided above.
    #[test]
    fn any_version_is_read() {
        for agent_version in [1, 8, u16::MAX] {
            let content = EnvelopeContent::Message { ratchet_message: vec![1] };
            let envelope = Envelope { agent_version, content };
            assert_eq!(Envelope::from_bytes(&envelope.to_bytes()), Ok(envelope));
        }
    }
}
