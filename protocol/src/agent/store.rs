//! What connections need of the program's database.
//!
//! The agent works inside a transaction that the program opens and commits: it loads a connection's record,
//! changes it and stores it again, next to the program's own rows, and only after the commit are messages
//! acknowledged and requests sent. So no method here commits anything, and a store that rolls back leaves
//! nothing behind.
//!
//! ```text
//! connection 1 ─── n queues     (server, recipient id) → connection
//!            1 ─── n jobs       strict first-in first-out; a job may name one body
//!            1 ─── n hashes     of encrypted messages that were seen, with the moment
//! body       1 ─── n jobs       gone with the last job that names it
//! ```
//!
//! Every store is checked by the same [`store_contract`](super::store_contract).

use crate::smp::address::ServerAddress;
use crate::smp::ids::RecipientId;
use crate::timestamp::Timestamp;

/// Names a connection in its store. Later connections have higher numbers; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub i64);

/// Names a job in its store. Later jobs have higher numbers; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub i64);

/// Names a message body that several jobs share. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BodyId(pub i64);

/// A program's database as the agent sees it. Records, jobs and bodies are opaque bytes and hold secrets.
pub trait AgentStore {
    /// What can go wrong in the database. Nothing that a peer sends may cause it.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Adds a connection.
    ///
    /// # Errors
    /// When the database fails; so for every method here.
    fn insert_connection(&mut self, record: &[u8]) -> Result<ConnectionId, Self::Error>;

    /// The record of a connection; nothing when it was deleted.
    ///
    /// # Errors
    /// When the database fails.
    fn connection(&mut self, id: ConnectionId) -> Result<Option<Vec<u8>>, Self::Error>;

    /// Replaces the record of a connection.
    ///
    /// # Errors
    /// When there is no such connection, or the database fails.
    fn update_connection(&mut self, id: ConnectionId, record: &[u8]) -> Result<(), Self::Error>;

    /// Deletes a connection with its queues, jobs and remembered hashes, and bodies that no job names any more.
    /// Does nothing when there is none.
    ///
    /// # Errors
    /// When the database fails.
    fn delete_connection(&mut self, id: ConnectionId) -> Result<(), Self::Error>;

    /// Says that messages of this queue belong to the connection. Saying it again is allowed.
    ///
    /// # Errors
    /// When the connection is not there, the queue belongs to another one, or the database fails.
    fn add_queue(
        &mut self,
        id: ConnectionId,
        server: &ServerAddress,
        queue: &RecipientId,
    ) -> Result<(), Self::Error>;

    /// Forgets a queue. Does nothing when there is none.
    ///
    /// # Errors
    /// When the database fails.
    fn remove_queue(&mut self, server: &ServerAddress, queue: &RecipientId) -> Result<(), Self::Error>;

    /// Whose messages a queue brings.
    ///
    /// # Errors
    /// When the database fails.
    fn connection_of_queue(
        &mut self,
        server: &ServerAddress,
        queue: &RecipientId,
    ) -> Result<Option<ConnectionId>, Self::Error>;

    /// A page of all queues, by connection and recipient id, after the given one: for subscribing.
    ///
    /// # Errors
    /// When the database fails.
    fn queues_after(
        &mut self,
        after: Option<(ConnectionId, RecipientId)>,
        limit: usize,
    ) -> Result<Vec<(ConnectionId, ServerAddress, RecipientId)>, Self::Error>;

    /// Adds a job behind all others of its connection. It keeps `body` alive.
    ///
    /// # Errors
    /// When the connection or the body is not there, or the database fails.
    fn push_job(&mut self, id: ConnectionId, job: &[u8], body: Option<BodyId>) -> Result<JobId, Self::Error>;

    /// The oldest job of a connection.
    ///
    /// # Errors
    /// When the database fails.
    fn first_job(&mut self, id: ConnectionId) -> Result<Option<(JobId, Vec<u8>)>, Self::Error>;

    /// Replaces a job's bytes (its retry state); its place and its body stay.
    ///
    /// # Errors
    /// When there is no such job, or the database fails.
    fn update_job(&mut self, job: JobId, bytes: &[u8]) -> Result<(), Self::Error>;

    /// Deletes a job, and its body when no other job names it. Does nothing when there is none.
    ///
    /// # Errors
    /// When the database fails.
    fn delete_job(&mut self, job: JobId) -> Result<(), Self::Error>;

    /// The connections that have at least one job, in order.
    ///
    /// # Errors
    /// When the database fails.
    fn connections_with_jobs(&mut self) -> Result<Vec<ConnectionId>, Self::Error>;

    /// Stores a body that several jobs will name. The first of them is pushed in the same transaction.
    ///
    /// # Errors
    /// When the database fails.
    fn put_body(&mut self, body: &[u8]) -> Result<BodyId, Self::Error>;

    /// A stored body; nothing when its last job is gone.
    ///
    /// # Errors
    /// When the database fails.
    fn body(&mut self, id: BodyId) -> Result<Option<Vec<u8>>, Self::Error>;

    /// Remembers that an encrypted message was seen (agent.md §6.2). Again keeps the first moment.
    ///
    /// # Errors
    /// When the connection is not there, or the database fails.
    fn remember_hash(&mut self, id: ConnectionId, hash: &[u8; 32], now: Timestamp)
    -> Result<(), Self::Error>;

    /// Whether the connection has seen this hash.
    ///
    /// # Errors
    /// When the database fails.
    fn knows_hash(&mut self, id: ConnectionId, hash: &[u8; 32]) -> Result<bool, Self::Error>;

    /// Forgets all hashes remembered before `moment`.
    ///
    /// # Errors
    /// When the database fails.
    fn forget_before(&mut self, moment: Timestamp) -> Result<(), Self::Error>;
}
