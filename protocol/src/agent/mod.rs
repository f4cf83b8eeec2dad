//! LAYER 2: two-way connections made out of one-way queues (agent.md).

pub mod address_draft;
pub mod connection_request;
pub mod envelope;
pub mod error;
pub mod event;
pub mod invitation;
pub mod link_data;
pub mod memory;
pub mod message;
pub mod owner_auth;
pub mod queue_layer;
pub mod request;
pub mod signed_link_data;
pub mod store;
pub mod store_contract;

use std::collections::BTreeSet;

use rand_core::CryptoRng;

use self::connection_request::ConnectionRequest;
use self::error::AgentError;
use self::event::Event;
use self::invitation::Invitation;
use self::request::{Next, OwnQueue, RequestOutcome, ServerMessage, Work};
use self::store::{AgentStore, BodyId, ConnectionId, JobId};
use crate::smp::address::{ServerAddress, ServerAddressWithAuth};
use crate::smp::ids::RecipientId;
use crate::timestamp::Timestamp;

/// The agent, for the time of one transaction of the application.
///
/// Everything it decides becomes records and jobs in `store` and events for the application; nothing is sent
/// and nothing is acknowledged before the application has committed.
pub struct Agent<'a, S: AgentStore> {
    store: &'a mut S,
    rng: &'a mut dyn CryptoRng,
    now: Timestamp,
    touched: BTreeSet<ConnectionId>,
    events: Vec<(ConnectionId, Event)>,
}

/// What a call gives.
pub type Outcome<T, S> = Result<T, AgentError<<S as AgentStore>::Error>>;

/// The bytes of an application's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body<'b> {
    /// For this connection alone.
    Inline(&'b [u8]),
    /// Stored once for many connections.
    Shared(BodyId),
}

impl<'a, S: AgentStore> Agent<'a, S> {
    /// The agent within the transaction that `store` is in.
    pub fn new(store: &'a mut S, rng: &'a mut dyn CryptoRng, now: Timestamp) -> Self {
        Self { store, rng, now, touched: BTreeSet::new(), events: Vec::new() }
    }

    /// Asks for a connection at a contact address (as initiator, agent.md §4.8). Our queue will be on
    /// `reply_server`. `Event::Confirmation` follows when the other side accepts.
    ///
    /// # Errors
    /// [`AgentError::Link`] when it is no contact address that can be used, [`AgentError::TooLarge`].
    pub fn request(
        &mut self,
        to: &ConnectionRequest,
        reply_server: &ServerAddressWithAuth,
        info: &[u8],
    ) -> Outcome<ConnectionId, S> {
        todo!()
    }

    /// Accepts a request (as joiner, agent.md §4.6). Our queue will be on `reply_server`. `Event::Info` and
    /// `Event::Connected` follow when the other side allows it.
    ///
    /// # Errors
    /// [`AgentError::Link`] when the requester's versions cannot be met, [`AgentError::TooLarge`].
    pub fn accept(
        &mut self,
        invitation: &Invitation,
        reply_server: &ServerAddressWithAuth,
        info: &[u8],
    ) -> Outcome<ConnectionId, S> {
        todo!()
    }

    /// Lets the peer in, after `Event::Confirmation`. `Event::Connected` follows.
    ///
    /// # Errors
    /// [`AgentError::NotAllowedNow`] without a confirmation, [`AgentError::TooLarge`].
    pub fn allow(&mut self, id: ConnectionId, info: &[u8]) -> Outcome<(), S> {
        todo!()
    }

    /// Queues a message; gives its number. It is encrypted for good here, sent after the commit, in order, and
    /// reported by `Event::Sent` or `Event::SendFailed`.
    ///
    /// # Errors
    /// [`AgentError::NotAllowedNow`] before the connection is there, [`AgentError::OutOfSync`],
    /// [`AgentError::TooLarge`].
    pub fn send(&mut self, id: ConnectionId, body: Body<'_>, notify: bool) -> Outcome<i64, S> {
        todo!()
    }

    /// Tells the peer that the application has its message: number and hash of `Event::Message`.
    ///
    /// # Errors
    /// As [`Agent::send`]. A connection that cannot send yet sends no receipt, now or later.
    pub fn send_receipt(&mut self, id: ConnectionId, number: i64, hash: &[u8; 32]) -> Outcome<(), S> {
        todo!()
    }

    /// Starts to re-synchronise the ratchets (agent.md §6.4): after `Event::RatchetSync` says that it is needed,
    /// and for every connection of a backup that was brought back.
    ///
    /// # Errors
    /// [`AgentError::NotAllowedNow`] before the connection is there.
    pub fn resync(&mut self, id: ConnectionId) -> Outcome<(), S> {
        todo!()
    }

    /// Deletes the connection and its queue, at once or when what waits has been sent. `Event::Deleted` follows.
    /// Deleting again does nothing.
    ///
    /// # Errors
    /// [`AgentError::Store`].
    pub fn delete(&mut self, id: ConnectionId, after_pending_sends: bool) -> Outcome<(), S> {
        todo!()
    }

    /// Takes a message of a queue. Acknowledge it (`OwnQueue::acknowledge`) after the commit, whatever it was;
    /// nothing when the queue is not ours any more.
    ///
    /// # Errors
    /// [`AgentError::Store`], [`AgentError::Record`]; never because of what the message holds.
    pub fn receive(
        &mut self,
        server: &ServerAddress,
        queue: &RecipientId,
        message: ServerMessage<'_>,
    ) -> Outcome<Option<OwnQueue>, S> {
        todo!()
    }

    /// The queue is gone from its server (`DELD`, or `AUTH` for `SUB`). `Event::Failed` follows.
    ///
    /// # Errors
    /// [`AgentError::Store`], [`AgentError::Record`].
    pub fn queue_gone(&mut self, server: &ServerAddress, queue: &RecipientId) -> Outcome<(), S> {
        todo!()
    }

    /// The connection's own queue, for subscribing; nothing while it is not created.
    ///
    /// # Errors
    /// [`AgentError::Store`], [`AgentError::Record`].
    pub fn own_queue(&mut self, id: ConnectionId) -> Outcome<Option<OwnQueue>, S> {
        todo!()
    }

    /// What this connection wants of the network. The same request, with the same keys and the same ratchet
    /// bytes, until `job_done` reports its outcome.
    ///
    /// # Errors
    /// [`AgentError::Store`], [`AgentError::Record`].
    pub fn job(&mut self, id: ConnectionId) -> Outcome<Work, S> {
        todo!()
    }

    /// Reports what became of a request. An outcome of a job that is gone is ignored.
    ///
    /// # Errors
    /// [`AgentError::Store`], [`AgentError::Record`].
    pub fn job_done(&mut self, id: ConnectionId, job: JobId, outcome: RequestOutcome) -> Outcome<Next, S> {
        todo!()
    }

    /// The network is back: the connection's first request need not wait for its time any more.
    ///
    /// # Errors
    /// [`AgentError::Store`], [`AgentError::Record`].
    pub fn wake(&mut self, id: ConnectionId) -> Outcome<(), S> {
        todo!()
    }

    /// What happened since the last call, in order.
    pub fn take_events(&mut self) -> Vec<(ConnectionId, Event)> {
        std::mem::take(&mut self.events)
    }

    /// Connections that may want something of the network since the last call: ask each for its `job` after the
    /// commit.
    pub fn take_touched(&mut self) -> BTreeSet<ConnectionId> {
        std::mem::take(&mut self.touched)
    }
}
