//! What comes out of our queues (agent.md §2.1, §2.4, §6.2).
//!
//! ```text
//! server's box ──▶ envelope ──▶ queue's box ──▶ confirmation   first message of a queue: brings its sender's key
//!                                          ├──▶ request        same, at a contact address
//!                                          ├──▶ message        under the queue's secret: through the ratchet
//!                                          └──▶ ratchet key    same: around the ratchet
//! ```
//!
//! Whatever comes is acknowledged after the commit, since the server would repeat it for ever; what cannot be
//! taken changes nothing and is reported as [`Event::Ignored`].

use crate::crash_point;
use crate::crypto::dh::X25519PublicKey;
use crate::crypto::hash::sha256;
use crate::crypto::ratchet::parameters::RatchetParameters;
use crate::crypto::ratchet::{Ratchet, RatchetError};
use crate::encoding::Decode as _;
use crate::smp::address::ServerAddress;
use crate::smp::ids::RecipientId;
use crate::smp::key::AuthPublicKey;
use crate::smp::message::ReceivedMessage;
use crate::smp::queue_uri::CLIENT_VERSIONS;
use crate::timestamp::Timestamp;

use super::connection::{Phase, Step};
use super::connection_request::AGENT_VERSIONS;
use super::envelope::{Envelope, EnvelopeContent};
use super::error::AgentError;
use super::event::{Event, Refusal};
use super::integrity;
use super::message::{AgentMessage, MessageBody};
use super::queue::{PeerSecret, QueueSecret, SendQueue};
use super::queue_layer::{ClientMessage, OpenBodyError, PrivateHeader, SentBody};
use super::record::{Connection, Opening, Position};
use super::request::{OwnQueue, ServerMessage};
use super::store::{AgentStore, ConnectionId};
use super::{Agent, Outcome};

/// What a first message brings beside its content.
struct FirstMessage {
    peer: PeerSecret,
    sender_key: Option<AuthPublicKey>,
    agent_version: u16,
}

impl<S: AgentStore> Agent<'_, S> {
    pub(super) fn take_message(
        &mut self,
        server: &ServerAddress,
        queue: &RecipientId,
        message: ServerMessage<'_>,
    ) -> Outcome<Option<OwnQueue>, S> {
        let Some(id) = self.store.connection_of_queue(server, queue).map_err(AgentError::Store)? else {
            return Ok(None);
        };
        let mut connection = self.load(id)?;
        let own_queue = connection.receive.own_queue();
        if connection.receive.last_message != Some(message.id) {
            connection.receive.last_message = Some(message.id);
            if !matches!(connection.phase, Phase::Deleting | Phase::Failed) {
                self.open_server_box(id, &mut connection, message)?;
            }
            self.save(id, &connection)?;
        }
        Ok(own_queue)
    }

    fn open_server_box(
        &mut self,
        id: ConnectionId,
        connection: &mut Connection,
        message: ServerMessage<'_>,
    ) -> Outcome<(), S> {
        let Some(created) = &connection.receive.created else { return Ok(()) };
        match ReceivedMessage::open(&created.secret.box_key(), &message.id, message.body) {
            Ok(ReceivedMessage::Message { received_at, body, .. }) => {
                self.open_queue_box(id, connection, received_at, &body)
            }
            Ok(ReceivedMessage::Quota { .. }) => self.own_queue_drained(id, connection),
            Err(_) => {
                self.ignore(id, Refusal::Box);
                Ok(())
            }
        }
    }

    fn open_queue_box(
        &mut self,
        id: ConnectionId,
        connection: &mut Connection,
        server_time: Timestamp,
        body: &[u8],
    ) -> Outcome<(), S> {
        let Ok(sealed) = SentBody::parse(body) else {
            self.ignore(id, Refusal::Malformed);
            return Ok(());
        };
        let agreed = connection.receive.peer.as_ref().map_or(0, |peer| peer.client_version);
        if !CLIENT_VERSIONS.contains(sealed.client_version) && sealed.client_version > agreed {
            self.ignore(id, Refusal::Version);
            return Ok(());
        }
        match (&connection.receive.peer, sealed.sender_key) {
            (None, Some(key)) => self.open_first_message(id, connection, &sealed, &key),
            (Some(peer), None) => match sealed.open(&peer.secret.box_key()) {
                Ok(message) => self.open_envelope(id, connection, server_time, &message),
                Err(error) => {
                    self.ignore(id, refusal_of_body(error));
                    Ok(())
                }
            },
            // A confirmation again, whose sender did not learn that it had arrived.
            (Some(_), Some(_)) => Ok(()),
            (None, None) => {
                self.ignore(id, Refusal::Prohibited);
                Ok(())
            }
        }
    }

    fn open_first_message(
        &mut self,
        id: ConnectionId,
        connection: &mut Connection,
        sealed: &SentBody<'_>,
        key: &X25519PublicKey,
    ) -> Outcome<(), S> {
        let secret = QueueSecret::new(&connection.receive.dh_key, key);
        let message = match sealed.open(&secret.box_key()) {
            Ok(message) => message,
            Err(error) => {
                self.ignore(id, refusal_of_body(error));
                return Ok(());
            }
        };
        let Ok(Envelope { agent_version, content }) = Envelope::from_bytes(&message.envelope) else {
            self.ignore(id, Refusal::Malformed);
            return Ok(());
        };
        let sender_key = match message.header {
            PrivateHeader::SenderKey(key) => Some(key),
            PrivateHeader::Empty => None,
        };
        let result = match content {
            EnvelopeContent::Confirmation { parameters, ratchet_message } => {
                let client_version = sealed.client_version.min(CLIENT_VERSIONS.max());
                let peer = PeerSecret { secret, client_version };
                let first = FirstMessage { peer, sender_key, agent_version };
                self.confirmation_received(id, connection, first, parameters, &ratchet_message)?
            }
            EnvelopeContent::Invitation { link, info }
                if connection.phase == Phase::Address && sender_key.is_none() =>
            {
                self.request_received(id, agent_version, link, info)?;
                Ok(())
            }
            _ => Err(Refusal::Prohibited),
        };
        if let Err(refusal) = result {
            self.ignore(id, refusal);
        }
        Ok(())
    }

    /// A confirmation that is refused changes nothing, so that a good one may follow.
    fn confirmation_received(
        &mut self,
        id: ConnectionId,
        connection: &mut Connection,
        first: FirstMessage,
        parameters: Option<RatchetParameters>,
        ratchet_message: &[u8],
    ) -> Outcome<Result<(), Refusal>, S> {
        let FirstMessage { peer, sender_key, agent_version } = first;
        if !AGENT_VERSIONS.contains(agent_version) && agent_version > connection.agent_version {
            return Ok(Err(Refusal::Version));
        }
        let mut ratchet = match (connection.phase, &connection.keys, &connection.ratchet, &parameters) {
            (Phase::Inviting | Phase::Invited, Some(keys), None, Some(parameters)) => {
                match Ratchet::new_initiator(keys, parameters) {
                    Ok(ratchet) => ratchet,
                    Err(RatchetError::Parameters) => return Ok(Err(Refusal::Version)),
                    Err(_) => return Ok(Err(Refusal::Ratchet)),
                }
            }
            (Phase::Confirming | Phase::Joined, _, Some(ratchet), None) => ratchet.clone(),
            _ => return Ok(Err(Refusal::Prohibited)),
        };
        let Ok(plain) = ratchet.decrypt(ratchet_message, self.rng) else { return Ok(Err(Refusal::Ratchet)) };
        let is_from_joiner = parameters.is_some();
        let (info, reply) = match AgentMessage::from_bytes(&plain) {
            Ok(AgentMessage::InfoReply { queues, info }) if is_from_joiner => {
                (info, queues.into_iter().next())
            }
            Ok(AgentMessage::Info(info)) if !is_from_joiner => (info, None),
            Ok(_) => return Ok(Err(Refusal::Prohibited)),
            Err(_) => return Ok(Err(Refusal::Malformed)),
        };
        if let Some(mut queue) = reply {
            if !CLIENT_VERSIONS.contains(queue.version) && queue.version > peer.client_version {
                return Ok(Err(Refusal::Version));
            }
            queue.version = queue.version.min(CLIENT_VERSIONS.max());
            connection.send = Some(SendQueue::new(&queue, self.rng));
            connection.agent_version = agent_version.min(AGENT_VERSIONS.max());
        }
        // Nobody waits for what a repeated confirmation skipped.
        ratchet.forget_skipped_keys();
        connection.ratchet = Some(ratchet);
        connection.keys = None;
        connection.receive.peer = Some(peer);
        connection.received = Position::first(&plain);
        connection.opening = sender_key.map_or(Opening::Nothing, Opening::Key);
        crash_point!("agent.confirmation.received");
        let with_key = sender_key.is_some();
        self.step(id, connection, Step::ConfirmationReceived { with_key }, info)?;
        Ok(Ok(()))
    }

    fn open_envelope(
        &mut self,
        id: ConnectionId,
        connection: &mut Connection,
        server_time: Timestamp,
        message: &ClientMessage,
    ) -> Outcome<(), S> {
        if message.header != PrivateHeader::Empty {
            self.ignore(id, Refusal::Prohibited);
            return Ok(());
        }
        let Ok(Envelope { agent_version, content }) = Envelope::from_bytes(&message.envelope) else {
            self.ignore(id, Refusal::Malformed);
            return Ok(());
        };
        match content {
            EnvelopeContent::Message { ratchet_message } => {
                self.raise_version(connection, agent_version);
                self.open_ratchet_message(id, connection, server_time, &ratchet_message)
            }
            EnvelopeContent::RatchetKey { parameters, .. } => {
                self.raise_version(connection, agent_version);
                self.ratchet_key_received(id, connection, &parameters)
            }
            EnvelopeContent::Confirmation { .. } | EnvelopeContent::Invitation { .. } => {
                self.ignore(id, Refusal::Prohibited);
                Ok(())
            }
        }
    }

    /// What the peer writes with shows what it speaks: the agreed version may rise, and never falls.
    fn raise_version(&self, connection: &mut Connection, agent_version: u16) {
        let version = agent_version.min(AGENT_VERSIONS.max());
        connection.agent_version = connection.agent_version.max(version);
    }

    fn open_ratchet_message(
        &mut self,
        id: ConnectionId,
        connection: &mut Connection,
        server_time: Timestamp,
        sealed: &[u8],
    ) -> Outcome<(), S> {
        let Some(ratchet) = connection.ratchet.as_mut() else {
            self.ignore(id, Refusal::Prohibited);
            return Ok(());
        };
        let could_send = ratchet.can_send();
        let name = sha256(sealed);
        let plain = match ratchet.decrypt(sealed, self.rng) {
            Ok(plain) => plain,
            Err(error) => {
                // A copy of what was taken before is no sign of trouble.
                if !self.knows(id, &name)? {
                    self.not_decrypted(id, connection, error);
                    self.ignore(id, refusal_of(error));
                }
                return Ok(());
            }
        };
        self.store.remember_hash(id, &name, self.now).map_err(AgentError::Store)?;
        let Ok(message) = AgentMessage::from_bytes(&plain) else {
            self.ignore(id, Refusal::Malformed);
            return Ok(());
        };
        let AgentMessage::Numbered { number, previous_hash, body } = message else {
            self.ignore(id, Refusal::Prohibited);
            return Ok(());
        };
        self.decrypted(id, connection);
        let before = connection.received;
        let integrity = integrity::check(&before, number, &previous_hash);
        let hash = sha256(&plain);
        connection.received = Position { number, hash: Some(hash) };
        match body {
            MessageBody::Application(body) => {
                crash_point!("agent.message.received");
                self.tell(id, Event::Message { number, hash, server_time, integrity, body });
                Ok(())
            }
            MessageBody::Hello => match connection.phase.apply(Step::HelloReceived) {
                Ok(_) => self.step(id, connection, Step::HelloReceived, Vec::new()),
                Err(_) => {
                    self.ignore(id, Refusal::Prohibited);
                    Ok(())
                }
            },
            MessageBody::Receipts(receipts) => self.receipts_received(id, &receipts),
            MessageBody::QuotaResumed(location) => self.peer_queue_drained(id, connection, &location),
            MessageBody::QueueAdd(queues) => self.queue_added(id, connection, &queues),
            MessageBody::QueueUse(queues) => self.queue_used(id, connection, &queues),
            MessageBody::RatchetReady(_) if !could_send => self.answer_ready(id, connection, before.number),
            MessageBody::RatchetReady(_) => Ok(()),
            // These answer a rotation that we would have started: we never do.
            MessageBody::QueueKey(_) | MessageBody::QueueTest(_) => {
                self.ignore(id, Refusal::Queue);
                Ok(())
            }
        }
    }
}

fn refusal_of(error: RatchetError) -> Refusal {
    match error {
        RatchetError::Malformed(_) => Refusal::Malformed,
        RatchetError::Duplicate => Refusal::Duplicate,
        _ => Refusal::Ratchet,
    }
}

fn refusal_of_body(error: OpenBodyError) -> Refusal {
    match error {
        OpenBodyError::Malformed(_) => Refusal::Malformed,
        _ => Refusal::Box,
    }
}
