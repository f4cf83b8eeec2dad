//! What we say to the peer, made ready when it is queued (agent.md §4.2–§4.4, §5.8).
//!
//! One transaction counts the message, advances the ratchet and stores the job. The body's encryption waits for
//! the delivery, with the same result at each attempt.

use crate::crypto::hash::sha256;
use crate::crypto::ratchet::MessageKey;
use crate::crypto::ratchet::parameters::RatchetParameters;
use crate::encoding::Encode as _;

use super::error::AgentError;
use super::job::{OutgoingBody, OutgoingMessage, Purpose, Task};
use super::message::{AgentMessage, MessageBody};
use super::record::Connection;
use super::store::{AgentStore, ConnectionId};
use super::{Agent, Body, Outcome};

/// Bytes that a confirmation's plain text is padded to, without a KEM.
pub(super) const CONFIRMATION_PADDED_BYTES: u16 = 14_832;
/// Bytes that a message's plain text is padded to, without a KEM.
const MESSAGE_PADDED_BYTES: u16 = 15_840;
/// Bytes of an agent message around the application's: tag, number, hash with its length, tag.
const APPLICATION_OVERHEAD_BYTES: usize = 43;
/// The length in front of what is padded.
pub(super) const LENGTH_BYTES: usize = 2;

/// The most bytes of an application's message.
pub const BODY_BYTES_MAX: usize = MESSAGE_PADDED_BYTES as usize - LENGTH_BYTES - APPLICATION_OVERHEAD_BYTES;

impl<S: AgentStore> Agent<'_, S> {
    /// Queues an application's message.
    pub(super) fn queue_application_message(
        &mut self,
        id: ConnectionId,
        connection: &mut Connection,
        body: Body<'_>,
        notify: bool,
    ) -> Outcome<i64, S> {
        let head = next_message(connection, MessageBody::Application(Vec::new()));
        let (bytes, body) = match body {
            Body::Inline(bytes) => (bytes.to_vec(), OutgoingBody::Inline(bytes.to_vec())),
            Body::Shared(shared) => {
                let bytes = self.store.body(shared).map_err(AgentError::Store)?;
                (bytes.ok_or(AgentError::NoBody)?, OutgoingBody::Shared(shared))
            }
        };
        if bytes.len() > BODY_BYTES_MAX {
            return Err(AgentError::TooLarge { bytes: bytes.len(), bytes_max: BODY_BYTES_MAX });
        }
        let plain = [&head[..], &bytes].concat();
        let key = self.key_for(id, connection, plain.len(), MESSAGE_PADDED_BYTES)?;
        let hash = sha256(&plain);
        let number = connection.sent.advance(hash);
        if connection.expects_receipts {
            self.remember_sent(id, number, &hash)?;
        }
        let purpose = Purpose::Application { notify };
        self.push(id, Task::Message(OutgoingMessage { purpose, number, key, head, body }))?;
        Ok(number)
    }

    /// Queues a message of the agent itself.
    pub(super) fn queue_service_message(
        &mut self,
        id: ConnectionId,
        connection: &mut Connection,
        purpose: Purpose,
        body: MessageBody,
    ) -> Outcome<(), S> {
        let head = next_message(connection, body);
        let key = self.key_for(id, connection, head.len(), MESSAGE_PADDED_BYTES)?;
        let number = connection.sent.advance(sha256(&head));
        let body = OutgoingBody::Inline(Vec::new());
        self.push(id, Task::Message(OutgoingMessage { purpose, number, key, head, body }))
    }

    /// Queues our confirmation.
    pub(super) fn queue_confirmation(
        &mut self,
        id: ConnectionId,
        connection: &mut Connection,
        parameters: Option<RatchetParameters>,
        message: &AgentMessage,
    ) -> Outcome<(), S> {
        let plain = message.to_bytes();
        let key = self.key_for(id, connection, plain.len(), CONFIRMATION_PADDED_BYTES)?;
        connection.sent.advance(sha256(&plain));
        self.push(id, Task::Confirm { parameters, key, plain })
    }

    fn key_for(
        &self,
        id: ConnectionId,
        connection: &mut Connection,
        bytes: usize,
        padded_bytes: u16,
    ) -> Outcome<MessageKey, S> {
        let bytes_max = usize::from(padded_bytes).saturating_sub(LENGTH_BYTES);
        if bytes > bytes_max {
            return Err(AgentError::TooLarge { bytes, bytes_max });
        }
        let ratchet = connection.ratchet.as_mut().ok_or(AgentError::NotAllowedNow(id))?;
        ratchet.encrypt_header(bytes, padded_bytes).map_err(|_| AgentError::NotAllowedNow(id))
    }
}

/// The connection's next numbered message.
fn next_message(connection: &Connection, body: MessageBody) -> Vec<u8> {
    let number = connection.sent.number.saturating_add(1);
    let previous_hash = connection.sent.hash.map(|hash| hash.to_vec()).unwrap_or_default();
    AgentMessage::Numbered { number, previous_hash, body }.to_bytes()
}
