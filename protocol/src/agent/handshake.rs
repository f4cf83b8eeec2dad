//! How a connection comes about (agent.md §4.6–§4.8).
//!
//! ```text
//! requester = initiator                        address's owner = joiner
//! NEW, request ─────────────────────────────▶  Event::Request, accept
//!                                              SKEY, NEW
//! Event::Confirmation, allow  ◀──────────────  confirmation with own queue
//! SKEY, confirmation ────────────────────────▶ Event::Info, Event::Connected
//! Event::Connected
//! ```
//!
//! All keys are drawn and stored before the first request that uses them is sent, so that an attempt after a
//! crash is the same attempt.

use crate::crypto::ratchet::parameters::RatchetParameters;
use crate::crypto::ratchet::{AgreementKeys, RATCHET_VERSIONS, Ratchet};
use crate::encoding::Encode as _;
use crate::smp::address::ServerAddressWithAuth;
use crate::smp::ids::SenderId;
use crate::smp::queue_uri::QueueInfo;

use super::connection::{Effect, Phase, Step};
use super::connection_request::{AGENT_VERSIONS, ConnectionRequest, RequestData};
use super::envelope::{Envelope, EnvelopeContent};
use super::error::AgentError;
use super::event::Event;
use super::invitation::Invitation;
use super::job::{Purpose, Task};
use super::message::{AgentMessage, MessageBody};
use super::outgoing::{CONFIRMATION_PADDED_BYTES, LENGTH_BYTES};
use super::queue::{ReceiveQueue, SendQueue};
use super::record::{Connection, Opening};
use super::store::{AgentStore, ConnectionId};
use super::{Agent, Outcome};

/// Bytes of a first message inside its queue's box: the envelope with the byte in front of it.
const FIRST_MESSAGE_BYTES_MAX: usize = 15_904 - LENGTH_BYTES;
/// Bytes of a confirmation inside the ratchet.
const CONFIRMATION_BYTES_MAX: usize = CONFIRMATION_PADDED_BYTES as usize - LENGTH_BYTES;
/// Stands for a sender id that no server has named yet, where only its length matters.
const UNKNOWN_SENDER_ID: SenderId = SenderId([0; 24]);

impl<S: AgentStore> Agent<'_, S> {
    pub(super) fn start_request(
        &mut self,
        to: &ConnectionRequest,
        reply_server: &ServerAddressWithAuth,
        info: &[u8],
    ) -> Outcome<ConnectionId, S> {
        let ConnectionRequest::Contact(data) = to else { return Err(AgentError::Link) };
        let agent_version = AGENT_VERSIONS.agree(data.versions()).ok_or(AgentError::Link)?;
        let queue = data.queue().agree().ok_or(AgentError::Link)?;
        let receive = ReceiveQueue::new(reply_server.clone(), self.rng);
        let keys = AgreementKeys::generate(self.rng);
        let message = request_envelope(&receive, UNKNOWN_SENDER_ID, &keys, agent_version, info)
            .ok_or(AgentError::Link)?;
        fits(1 + message.to_bytes().len(), FIRST_MESSAGE_BYTES_MAX, info)?;
        let mut connection = Connection::new(Phase::Creating, agent_version, receive);
        connection.keys = Some(keys);
        let to = Box::new(SendQueue::new(&queue, self.rng));
        connection.opening = Opening::Request { to, agent_version, info: info.to_vec() };
        let id = self.insert(&connection)?;
        self.push(id, Task::CreateQueue { user_data: None })?;
        Ok(id)
    }

    pub(super) fn start_accept(
        &mut self,
        invitation: &Invitation,
        reply_server: &ServerAddressWithAuth,
        info: &[u8],
    ) -> Outcome<ConnectionId, S> {
        let Ok(ConnectionRequest::Invitation { data, offer }) = invitation.link.parse() else {
            return Err(AgentError::Link);
        };
        let agent_version = AGENT_VERSIONS.agree(data.versions()).ok_or(AgentError::Link)?;
        let queue = data.queue().agree().ok_or(AgentError::Link)?;
        let ratchet_version = RATCHET_VERSIONS.agree(offer.versions).ok_or(AgentError::Link)?;
        // A KEM that the requester offers goes unanswered.
        let peer = RatchetParameters {
            version: ratchet_version,
            first: offer.first,
            second: offer.second,
            kem: None,
        };
        let keys = AgreementKeys::generate(self.rng);
        let ratchet = Ratchet::new_joiner(&keys, &peer, self.rng).map_err(|_| AgentError::Link)?;
        let receive = ReceiveQueue::new(reply_server.clone(), self.rng);
        let reply = reply_message(receive.info(UNKNOWN_SENDER_ID, queue.version), info);
        fits(reply.to_bytes().len(), CONFIRMATION_BYTES_MAX, info)?;
        let send = SendQueue::new(&queue, self.rng);
        let secures = send.is_securable();
        let mut connection = Connection::new(Phase::Joining, agent_version, receive);
        connection.send = Some(send);
        connection.keys = Some(keys);
        connection.ratchet = Some(ratchet);
        connection.opening = Opening::Join { ratchet_version, info: info.to_vec() };
        let id = self.insert(&connection)?;
        if secures {
            self.push(id, Task::SecurePeerQueue)?;
        }
        self.push(id, Task::CreateQueue { user_data: None })?;
        Ok(id)
    }

    pub(super) fn allow_peer(
        &mut self,
        id: ConnectionId,
        connection: &mut Connection,
        info: &[u8],
    ) -> Outcome<(), S> {
        fits(AgentMessage::Info(info.to_vec()).to_bytes().len(), CONFIRMATION_BYTES_MAX, info)?;
        let secures = connection.send.as_ref().is_some_and(SendQueue::is_securable);
        if connection.phase != Phase::Confirmed {
            return Err(AgentError::NotAllowedNow(id));
        }
        if let Opening::Key(key) = std::mem::replace(&mut connection.opening, Opening::Nothing) {
            self.push(id, Task::SecureOwnQueue { key })?;
        }
        if secures {
            self.push(id, Task::SecurePeerQueue)?;
        }
        self.step(id, connection, Step::Allowed { secures }, info.to_vec())
    }

    /// Takes a step and does what it makes necessary. `info` is our own for a confirmation to send, the peer's for
    /// one that came.
    ///
    /// A step that does not fit is ignored: the server's answer came too late to matter.
    pub(super) fn step(
        &mut self,
        id: ConnectionId,
        connection: &mut Connection,
        step: Step,
        info: Vec<u8>,
    ) -> Outcome<(), S> {
        let Ok((phase, effects)) = connection.phase.apply(step) else { return Ok(()) };
        connection.phase = phase;
        for effect in effects {
            match effect {
                Effect::Invite => self.push(id, Task::Invite)?,
                Effect::Confirm => self.confirm(id, connection, &info)?,
                Effect::SecureOwnQueue => {
                    if let Opening::Key(key) = std::mem::replace(&mut connection.opening, Opening::Nothing) {
                        self.push(id, Task::SecureOwnQueue { key })?;
                    }
                }
                Effect::Hello => {
                    self.queue_service_message(id, connection, Purpose::Hello, MessageBody::Hello)?;
                }
                Effect::DeleteQueue => self.push(id, Task::DeleteQueue)?,
                Effect::TellAddress => self.tell(id, Event::AddressCreated),
                Effect::TellConfirmation => self.tell(id, Event::Confirmation { info: info.clone() }),
                Effect::TellInfo => self.tell(id, Event::Info { info: info.clone() }),
                Effect::TellConnected => self.tell(id, Event::Connected),
                Effect::TellFailure(reason) => self.tell(id, Event::Failed { reason }),
            }
        }
        Ok(())
    }

    /// Queues our confirmation: a joiner's with its keys and its queue, an initiator's with its words alone.
    fn confirm(&mut self, id: ConnectionId, connection: &mut Connection, info: &[u8]) -> Outcome<(), S> {
        match std::mem::replace(&mut connection.opening, Opening::Nothing) {
            Opening::Join { ratchet_version, info } => {
                let keys = connection.keys.take().ok_or(AgentError::NotAllowedNow(id))?;
                let created = connection.receive.created.as_ref().ok_or(AgentError::NotAllowedNow(id))?;
                let peer = connection.send.as_ref().ok_or(AgentError::NotAllowedNow(id))?;
                let queue = connection.receive.info(created.sender_id, peer.client_version);
                let message = reply_message(queue, &info);
                self.queue_confirmation(id, connection, Some(keys.parameters(ratchet_version)), &message)
            }
            _ => self.queue_confirmation(id, connection, None, &AgentMessage::Info(info.to_vec())),
        }
    }
}

/// The request that goes to a contact address: our one-time link and our words.
pub(super) fn request_envelope(
    receive: &ReceiveQueue,
    sender_id: SenderId,
    keys: &AgreementKeys,
    agent_version: u16,
    info: &[u8],
) -> Option<Envelope> {
    let data = RequestData::new(receive.uri(sender_id), None).ok()?;
    let link = ConnectionRequest::Invitation { data, offer: keys.offer(RATCHET_VERSIONS) };
    let content = EnvelopeContent::Invitation { link: link.to_string(), info: info.to_vec() };
    Some(Envelope { agent_version, content })
}

fn reply_message(queue: QueueInfo, info: &[u8]) -> AgentMessage {
    AgentMessage::InfoReply { queues: vec![queue], info: info.to_vec() }
}

/// Whether a message of `bytes`, which holds `info`, fits.
fn fits<E: std::error::Error>(bytes: usize, bytes_max: usize, info: &[u8]) -> Result<(), AgentError<E>> {
    if bytes <= bytes_max {
        return Ok(());
    }
    let around = bytes.saturating_sub(info.len());
    Err(AgentError::TooLarge { bytes: info.len(), bytes_max: bytes_max.saturating_sub(around) })
}
