//! LAYER 2: two-way connections made out of one-way queues (agent.md).
//!
//! ```text
//! application ── request accept allow send resync delete ──▶ ┌───────┐ ──▶ records, jobs   (AgentStore)
//!             ◀───────────────── events ──────────────────── │ Agent │
//! network     ── receive, job_done ────────────────────────▶ └───────┘ ──▶ Work::Run(request)
//!
//! connection   the life cycle           handshake  how it starts       delivery  jobs become requests
//! record       what is stored of it     receive    what comes in       outcome   what answers mean
//! outgoing     what is said, encrypted  resync, rotation, quota, receipts, address
//! ```
//!
//! The application opens a transaction, calls the agent, applies its events to its own rows, and commits. Then, and
//! not before, it acknowledges messages and runs the requests. After a crash everything that was not committed
//! happens again: the server repeats the message, and the job is the same request as before.

mod address;
pub mod address_draft;
mod connection;
pub mod connection_request;
mod delivery;
pub mod envelope;
pub mod error;
pub mod event;
mod handshake;
mod integrity;
pub mod invitation;
mod job;
pub mod link_data;
pub mod memory;
pub mod message;
mod outcome;
mod outgoing;
pub mod owner_auth;
mod queue;
pub mod queue_layer;
mod quota;
mod receipts;
mod receive;
mod record;
pub mod request;
mod resync;
mod retry;
mod rotation;
pub mod seeding;
pub mod signed_link_data;
pub mod store;
pub mod store_contract;
pub mod waiting;

use std::collections::BTreeMap;

use rand_core::CryptoRng;

use self::address_draft::AddressDraft;
use self::connection::{Phase, Step};
use self::connection_request::ConnectionRequest;
use self::error::AgentError;
use self::event::{Event, Failure, Refusal};
use self::invitation::Invitation;
use self::job::{Job, Task};
use self::link_data::UserLinkData;
pub use self::outgoing::BODY_BYTES_MAX;
use self::record::Connection;
use self::request::{Next, OwnQueue, Request, RequestOutcome, ServerMessage, Work};
use self::store::{AgentStore, BodyId, ConnectionId, JobId};
use crate::encoding::{Decode as _, Encode as _};
use crate::smp::address::{ServerAddress, ServerAddressWithAuth};
use crate::smp::command::Command;
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
    touched: BTreeMap<ConnectionId, Lane>,
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

/// What goes first. Bodies that many connections share are bulk; everything else is control, and few bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Handshakes, what is said to one peer alone, deletions.
    Control,
    /// What is said to many.
    Bulk,
}

impl<'a, S: AgentStore> Agent<'a, S> {
    /// The agent within the transaction that `store` is in.
    pub fn new(store: &'a mut S, rng: &'a mut dyn CryptoRng, now: Timestamp) -> Self {
        Self { store, rng, now, touched: BTreeMap::new(), events: Vec::new() }
    }

    /// Creates a contact address with its link data. `Event::AddressCreated` follows.
    ///
    /// # Errors
    /// [`AgentError::LinkData`] when the data do not fit or readers would refuse them.
    pub fn create_address(&mut self, draft: AddressDraft, data: &UserLinkData) -> Outcome<ConnectionId, S> {
        self.start_address(draft, data)
    }

    /// Creates the queue of a contact address once more, under the same link: after [`Failure::QueueGone`], as when its
    /// server has lost it. `Event::AddressCreated` follows, or another failure.
    ///
    /// # Errors
    /// [`AgentError::LinkData`]; [`AgentError::NotAllowedNow`] when it is no address, or has not failed.
    pub fn create_address_again(&mut self, id: ConnectionId, data: &UserLinkData) -> Outcome<(), S> {
        self.restart_address(id, data)
    }

    /// Replaces the link data of a contact address. `Event::LinkDataSet` follows.
    ///
    /// # Errors
    /// [`AgentError::LinkData`]; [`AgentError::NotAllowedNow`] when it is no address.
    pub fn set_link_data(&mut self, id: ConnectionId, data: &UserLinkData) -> Outcome<(), S> {
        self.queue_link_data(id, data)
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
        self.start_request(to, reply_server, info)
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
        self.start_accept(invitation, reply_server, info)
    }

    /// Lets the peer in, after `Event::Confirmation`. `Event::Connected` follows.
    ///
    /// # Errors
    /// [`AgentError::NotAllowedNow`] without a confirmation, [`AgentError::TooLarge`].
    pub fn allow(&mut self, id: ConnectionId, info: &[u8]) -> Outcome<(), S> {
        let mut connection = self.load(id)?;
        self.allow_peer(id, &mut connection, info)?;
        self.save(id, &connection)
    }

    /// Queues a message; gives its number. It is encrypted for good here, sent after the commit, in order, and
    /// reported by `Event::Sent` or `Event::SendFailed`.
    ///
    /// # Errors
    /// [`AgentError::NotAllowedNow`] before the connection is there, [`AgentError::OutOfSync`],
    /// [`AgentError::TooLarge`].
    pub fn send(&mut self, id: ConnectionId, body: Body<'_>, notify: bool) -> Outcome<i64, S> {
        let mut connection = self.load_for_writing(id)?;
        let number = self.queue_application_message(id, &mut connection, body, notify)?;
        self.save(id, &connection)?;
        Ok(number)
    }

    /// Wants `Event::Receipts` for what is sent from now on. Costs two remembered hashes for each message.
    ///
    /// # Errors
    /// [`AgentError::Store`], [`AgentError::Record`], [`AgentError::NoConnection`].
    pub fn expect_receipts(&mut self, id: ConnectionId) -> Outcome<(), S> {
        let mut connection = self.load(id)?;
        connection.expects_receipts = true;
        self.save(id, &connection)
    }

    /// Tells the peer that the application has its message: number and hash of `Event::Message`.
    ///
    /// # Errors
    /// As [`Agent::send`]. A connection that cannot send yet sends no receipt, now or later.
    pub fn send_receipt(&mut self, id: ConnectionId, number: i64, hash: &[u8; 32]) -> Outcome<(), S> {
        let mut connection = self.load_for_writing(id)?;
        self.queue_receipt(id, &mut connection, number, hash)?;
        self.save(id, &connection)
    }

    /// Starts to re-synchronise the ratchets (agent.md §6.4), after `Event::RatchetSync` says that it is needed.
    ///
    /// # Errors
    /// [`AgentError::NotAllowedNow`] before the connection is there.
    pub fn resync(&mut self, id: ConnectionId) -> Outcome<(), S> {
        let mut connection = self.load(id)?;
        self.start_resync(id, &mut connection)?;
        self.save(id, &connection)
    }

    /// The connection's state comes from a backup and may be older than the peer knows it. Call this before anything
    /// else on the connection: until new keys are agreed on, nothing is encrypted, since the old ones may have been
    /// used already.
    ///
    /// # Errors
    /// [`AgentError::NotAllowedNow`] when it was not established yet: then there are no such keys.
    pub fn restored(&mut self, id: ConnectionId) -> Outcome<(), S> {
        let mut connection = self.load(id)?;
        self.start_over(id, &mut connection)?;
        self.save(id, &connection)
    }

    /// Deletes the connection and its queue, at once or when what waits has been sent. `Event::Deleted` follows.
    /// Deleting again does nothing.
    ///
    /// # Errors
    /// [`AgentError::Store`].
    pub fn delete(&mut self, id: ConnectionId, after_pending_sends: bool) -> Outcome<(), S> {
        let Some(mut connection) = self.load_if_there(id)? else { return Ok(()) };
        connection.discards_jobs |= !after_pending_sends;
        self.step(id, &mut connection, Step::Deleted, Vec::new())?;
        self.save(id, &connection)?;
        self.touch(id, Lane::Control);
        Ok(())
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
        self.take_message(server, queue, message)
    }

    /// The queue is gone from its server (`DELD`, or `AUTH` for `SUB`). `Event::QueueGone` follows on a connection that
    /// stands, else `Event::Failed`.
    ///
    /// # Errors
    /// [`AgentError::Store`], [`AgentError::Record`].
    pub fn queue_gone(&mut self, server: &ServerAddress, queue: &RecipientId) -> Outcome<(), S> {
        let Some(id) = self.store.connection_of_queue(server, queue).map_err(AgentError::Store)? else {
            return Ok(());
        };
        let mut connection = self.load(id)?;
        if connection.phase == Phase::Connected {
            self.tell(id, Event::QueueGone);
            return Ok(());
        }
        self.store.remove_queue(server, queue).map_err(AgentError::Store)?;
        self.step(id, &mut connection, Step::Broken(Failure::QueueGone), Vec::new())?;
        self.save(id, &connection)
    }

    /// The connection's own queue, for subscribing; nothing while it is not created.
    ///
    /// # Errors
    /// [`AgentError::Store`], [`AgentError::Record`].
    pub fn own_queue(&mut self, id: ConnectionId) -> Outcome<Option<OwnQueue>, S> {
        Ok(self.load_if_there(id)?.and_then(|connection| connection.receive.own_queue()))
    }

    /// What this connection wants of the network. The same request, with the same keys and the same ratchet
    /// bytes, until `job_done` reports its outcome. Say by `job_started` that it will be sent.
    ///
    /// # Errors
    /// [`AgentError::Store`], [`AgentError::Record`].
    pub fn job(&mut self, id: ConnectionId) -> Outcome<Work, S> {
        self.next_work(id, |_| true)
    }

    /// The same, but a request for a server without room is not made: that is most of the work.
    ///
    /// # Errors
    /// As [`Agent::job`].
    pub fn job_within(
        &mut self,
        id: ConnectionId,
        has_room: impl Fn(&ServerAddress) -> bool,
    ) -> Outcome<Work, S> {
        self.next_work(id, has_room)
    }

    /// The request that `job` gave leaves after the commit. A request that is not sent for now is not reported: so
    /// a refusal is told from the answer to a repetition.
    ///
    /// # Errors
    /// [`AgentError::Store`], [`AgentError::Record`].
    pub fn job_started(&mut self, id: ConnectionId, job: JobId, request: &Request) -> Outcome<(), S> {
        if matches!(request.command, Command::New(_)) { self.count_attempt(id, job) } else { Ok(()) }
    }

    /// Reports what became of a request. An outcome of a job that is gone is ignored.
    ///
    /// # Errors
    /// [`AgentError::Store`], [`AgentError::Record`].
    pub fn job_done(&mut self, id: ConnectionId, job: JobId, outcome: RequestOutcome) -> Outcome<Next, S> {
        self.finish_job(id, job, outcome)
    }

    /// The network is back: the connection's first request need not wait for its time any more.
    ///
    /// # Errors
    /// [`AgentError::Store`], [`AgentError::Record`].
    pub fn wake(&mut self, id: ConnectionId) -> Outcome<(), S> {
        self.hurry(id)
    }

    /// What happened since the last call, in order.
    pub fn take_events(&mut self) -> Vec<(ConnectionId, Event)> {
        std::mem::take(&mut self.events)
    }

    /// Connections that may want something of the network since the last call, and how urgently: ask each for its `job`
    /// after the commit.
    pub fn take_touched(&mut self) -> BTreeMap<ConnectionId, Lane> {
        std::mem::take(&mut self.touched)
    }

    fn load(&mut self, id: ConnectionId) -> Outcome<Connection, S> {
        self.load_if_there(id)?.ok_or(AgentError::NoConnection(id))
    }

    fn load_if_there(&mut self, id: ConnectionId) -> Outcome<Option<Connection>, S> {
        let Some(record) = self.store.connection(id).map_err(AgentError::Store)? else { return Ok(None) };
        Connection::from_bytes(&record).map(Some).map_err(AgentError::Record)
    }

    fn load_for_writing(&mut self, id: ConnectionId) -> Outcome<Connection, S> {
        let connection = self.load(id)?;
        if !connection.sync.may_send() {
            return Err(AgentError::OutOfSync(connection.sync));
        }
        if !connection.can_write() {
            return Err(AgentError::NotAllowedNow(id));
        }
        Ok(connection)
    }

    fn insert(&mut self, connection: &Connection) -> Outcome<ConnectionId, S> {
        self.store.insert_connection(&connection.to_bytes()).map_err(AgentError::Store)
    }

    fn save(&mut self, id: ConnectionId, connection: &Connection) -> Outcome<(), S> {
        self.store.update_connection(id, &connection.to_bytes()).map_err(AgentError::Store)
    }

    fn push(&mut self, id: ConnectionId, task: Task) -> Outcome<(), S> {
        let job = Job::new(task, self.now);
        self.store.push_job(id, &job.to_bytes(), job.shared_body()).map_err(AgentError::Store)?;
        self.touch(id, job.lane());
        Ok(())
    }

    fn touch(&mut self, id: ConnectionId, lane: Lane) {
        let touched = self.touched.entry(id).or_insert(lane);
        *touched = lane.min(*touched);
    }

    fn knows(&mut self, id: ConnectionId, hash: &[u8; 32]) -> Outcome<bool, S> {
        self.store.knows_hash(id, hash).map_err(AgentError::Store)
    }

    fn tell(&mut self, id: ConnectionId, event: Event) {
        self.events.push((id, event));
    }

    fn ignore(&mut self, id: ConnectionId, refusal: Refusal) {
        self.tell(id, Event::Ignored(refusal));
    }
}

#[cfg(test)]
mod tests;
