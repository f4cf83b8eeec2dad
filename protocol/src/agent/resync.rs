//! Ratchets that lost each other start anew (agent.md §6.4).
//!
//! ```text
//! Ok ──message does not decrypt──▶ Allowed / Required ──resync──▶ Started ──peer's keys──▶ Agreed
//! Ok, Allowed, Required ──peer's keys──▶ Agreed            any message decrypts: Ok (but not from Started)
//! Agreed ──other keys──▶ Required, in doubt ──resync──▶ Agreed, in doubt ──other keys again──▶ Agreed
//! ```
//!
//! Both sides send new keys outside the ratchet; whose hash is greater becomes the joiner of the new ratchet, and
//! says so inside it. Either side may start, both may at once.
//!
//! Keys that come after an agreement either answer ours, when both started and crossed, or start over, when the peer
//! lost what was agreed. Nothing in them tells which. The protocol lets the first of them go unanswered: so they are
//! taken for an answer, without sending keys, which would cross again. If that was wrong the peer tries once more,
//! and that is answered.
//!
//! A side whose state is older than it thinks (a backup that was brought back) must start before it sends anything:
//! its ratchet would use keys again that it has used before. Its connection is then in `Started`, which refuses to
//! send. An answer may be lost with the state that it was meant for: an application that finds a connection in
//! `Started` or `Agreed` for long starts again.

use crate::crypto::hash::sha256;
use crate::crypto::ratchet::parameters::RatchetParameters;
use crate::crypto::ratchet::{AgreementKeys, RATCHET_VERSIONS, Ratchet, RatchetError};
use crate::encoding::Encode as _;

use super::error::AgentError;
use super::event::{Event, Refusal, SyncState};
use super::job::{Purpose, Task};
use super::message::{AgentMessage, MessageBody};
use super::record::Connection;
use super::store::{AgentStore, ConnectionId};
use super::{Agent, Outcome};

/// The first agent version that knows new keys.
const RESYNC_VERSION: u16 = 3;

impl<S: AgentStore> Agent<'_, S> {
    /// Goes on with what is under way, or starts.
    pub(super) fn start_resync(&mut self, id: ConnectionId, connection: &mut Connection) -> Outcome<(), S> {
        if connection.is_up() && connection.sync == SyncState::Required && connection.is_agreement_in_doubt {
            self.set_sync(id, connection, SyncState::Agreed);
            let is_joiner = connection.ratchet.as_ref().is_some_and(Ratchet::can_send);
            return if is_joiner { self.queue_ready(id, connection) } else { Ok(()) };
        }
        self.start_over(id, connection)
    }

    /// Starts, whatever was under way.
    pub(super) fn start_over(&mut self, id: ConnectionId, connection: &mut Connection) -> Outcome<(), S> {
        if !connection.is_up() || connection.agent_version < RESYNC_VERSION {
            return Err(AgentError::NotAllowedNow(id));
        }
        let keys = AgreementKeys::generate(self.rng);
        self.queue_ratchet_key(id, connection, keys.parameters(RATCHET_VERSIONS.max()))?;
        connection.keys = Some(keys);
        connection.is_agreement_in_doubt = false;
        self.set_sync(id, connection, SyncState::Started);
        Ok(())
    }

    /// The peer sent new keys.
    pub(super) fn ratchet_key_received(
        &mut self,
        id: ConnectionId,
        connection: &mut Connection,
        peer: &RatchetParameters,
    ) -> Outcome<(), S> {
        if !connection.is_up() {
            self.ignore(id, Refusal::Prohibited);
            return Ok(());
        }
        let peer_hash = peer.hash();
        if self.knows(id, &peer_hash)? {
            return Ok(());
        }
        let is_crossing = connection.sync == SyncState::Agreed && !connection.is_agreement_in_doubt;
        let sent = match connection.sync {
            SyncState::Started => connection.keys.clone(),
            SyncState::Agreed if is_crossing => connection.keys.clone(),
            _ => None,
        };
        let must_answer = sent.is_none();
        let own = sent.unwrap_or_else(|| AgreementKeys::generate(self.rng));
        let parameters = own.parameters(peer.version);
        // Neither side offers a KEM here that the other could have accepted: what stands there goes unanswered.
        let peer_keys = RatchetParameters { kem: None, ..peer.clone() };
        let ratchet = if parameters.hash() <= peer_hash {
            Ratchet::new_initiator(&own, &peer_keys)
        } else {
            Ratchet::new_joiner(&own, &peer_keys, self.rng)
        };
        let Ok(ratchet) = ratchet else {
            self.ignore(id, Refusal::Version);
            return Ok(());
        };
        self.store.remember_hash(id, &peer_hash, self.now).map_err(AgentError::Store)?;
        if must_answer {
            self.queue_ratchet_key(id, connection, parameters)?;
        }
        let is_joiner = ratchet.can_send();
        connection.keys = Some(own);
        connection.ratchet = Some(ratchet);
        connection.is_agreement_in_doubt = is_crossing;
        if is_crossing {
            self.set_sync(id, connection, SyncState::Required);
            self.ignore(id, Refusal::Ratchet);
            return Ok(());
        }
        self.set_sync(id, connection, SyncState::Agreed);
        if is_joiner { self.queue_ready(id, connection) } else { Ok(()) }
    }

    /// As joiner: says inside the new ratchet that it is there.
    fn queue_ready(&mut self, id: ConnectionId, connection: &mut Connection) -> Outcome<(), S> {
        self.answer_ready(id, connection, connection.received.number)
    }

    /// Says which message of the peer was the last one before.
    pub(super) fn answer_ready(
        &mut self,
        id: ConnectionId,
        connection: &mut Connection,
        last_number: i64,
    ) -> Outcome<(), S> {
        self.queue_service_message(id, connection, Purpose::Ready, MessageBody::RatchetReady(last_number))
    }

    /// A message decrypted: the ratchets are in step, whatever was said before.
    pub(super) fn decrypted(&mut self, id: ConnectionId, connection: &mut Connection) {
        if !matches!(connection.sync, SyncState::Ok | SyncState::Started) {
            connection.keys = None;
            connection.is_agreement_in_doubt = false;
            self.set_sync(id, connection, SyncState::Ok);
        }
    }

    /// A message did not decrypt.
    pub(super) fn not_decrypted(
        &mut self,
        id: ConnectionId,
        connection: &mut Connection,
        error: RatchetError,
    ) {
        let needed = match error {
            RatchetError::Body | RatchetError::Earlier { .. } => SyncState::Allowed,
            RatchetError::Duplicate | RatchetError::Malformed(_) => return,
            _ => SyncState::Required,
        };
        let state = match connection.sync {
            SyncState::Ok => needed,
            SyncState::Allowed | SyncState::Required => needed.max(connection.sync),
            SyncState::Started | SyncState::Agreed => return,
        };
        if state != connection.sync || state == SyncState::Required {
            self.set_sync(id, connection, state);
        }
    }

    fn set_sync(&mut self, id: ConnectionId, connection: &mut Connection, state: SyncState) {
        connection.sync = state;
        self.tell(id, Event::RatchetSync(state));
    }

    /// Queues our keys. They take a number, as everything that is sent.
    fn queue_ratchet_key(
        &mut self,
        id: ConnectionId,
        connection: &mut Connection,
        parameters: RatchetParameters,
    ) -> Outcome<(), S> {
        connection.sent.advance(sha256(&AgentMessage::RatchetInfo(Vec::new()).to_bytes()));
        self.push(id, Task::RatchetKey { parameters })
    }
}
