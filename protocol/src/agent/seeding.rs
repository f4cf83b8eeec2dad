//! Connections that stand already, for benchmarks: a hundred thousand handshakes would take longer than what is
//! measured. Nothing is saved where it counts: records, ratchets and queues are those of a handshake, but for one key
//! agreement that all connections share.

use rand_core::CryptoRng;

use super::connection::Phase;
use super::connection_request::AGENT_VERSIONS;
use super::error::AgentError;
use super::queue::{PeerSecret, QueueSecret, ReceiveQueue, SendQueue};
use super::record::{Connection, Position};
use super::request::{OwnQueue, Request};
use super::store::{AgentStore, ConnectionId};
use crate::crypto::ratchet::{AgreementKeys, RATCHET_VERSIONS, Ratchet};
use crate::crypto::sign::Ed25519PrivateKey;
use crate::encoding::Encode as _;
use crate::smp::address::ServerAddressWithAuth;
use crate::smp::command::{Command, NewQueue, QueueRequest};
use crate::smp::key::{AuthPrivateKey, AuthPublicKey};
use crate::smp::response::QueueIds;

/// Version of the queue layer between seeded ends.
const CLIENT_VERSION: u16 = 4;

/// One key agreement, of which every seeded connection begins with a copy.
#[derive(Debug, Clone)]
pub struct Agreement {
    writer: Ratchet,
    reader: Ratchet,
}

/// One end's queue.
#[derive(Debug, Clone)]
pub struct SeedQueue(ReceiveQueue);

/// One end of a connection, to be [stored](SeededEnd::insert).
#[derive(Debug, Clone)]
pub struct SeededEnd(Connection);

impl Agreement {
    /// Agrees with itself; nothing when the library's versions do not meet, which they do.
    #[must_use]
    pub fn new(rng: &mut dyn CryptoRng) -> Option<Self> {
        let (own, peer) = (AgreementKeys::generate(rng), AgreementKeys::generate(rng));
        let version = RATCHET_VERSIONS.max();
        let writer = Ratchet::new_joiner(&own, &peer.parameters(version), rng).ok()?;
        let reader = Ratchet::new_initiator(&peer, &own.parameters(version)).ok()?;
        Some(Self { writer, reader })
    }

    /// Both ends between two created queues: the first writes at once, the second when it has heard of the first. The
    /// requests secure the queues for the ends that write to them.
    #[must_use]
    pub fn connect(
        &self,
        writer: &SeedQueue,
        reader: &SeedQueue,
        rng: &mut dyn CryptoRng,
    ) -> Option<(SeededEnd, SeededEnd)> {
        let (to_reader, to_writer) = (reader.written(rng)?, writer.written(rng)?);
        let end = |own: &SeedQueue, to: &SendQueue, from: &SendQueue, ratchet: &Ratchet| {
            let mut receive = own.0.clone();
            let secret = QueueSecret::new(&receive.dh_key, &from.dh_public);
            receive.peer = Some(PeerSecret { secret, client_version: CLIENT_VERSION });
            let mut connection = Connection::new(Phase::Connected, AGENT_VERSIONS.max(), receive);
            connection.send = Some(to.clone());
            connection.ratchet = Some(ratchet.clone());
            connection.sent = Position::first(b"confirmation");
            connection.received = Position::first(b"confirmation");
            SeededEnd(connection)
        };
        Some((
            end(writer, &to_reader, &to_writer, &self.writer),
            end(reader, &to_writer, &to_reader, &self.reader),
        ))
    }
}

impl SeedQueue {
    /// Keys for a queue.
    #[must_use]
    pub fn new(server: ServerAddressWithAuth, rng: &mut dyn CryptoRng) -> Self {
        Self(ReceiveQueue::new(server, rng))
    }

    /// `NEW`, without a subscription.
    #[must_use]
    pub fn create(&self) -> Request {
        Request {
            server: self.0.server.server.clone(),
            correlation_id: None,
            entity: Vec::new(),
            key: Some(AuthPrivateKey::Ed25519(self.0.key.clone())),
            command: Command::New(Box::new(NewQueue {
                recipient_key: AuthPublicKey::Ed25519(self.0.key.public_key()),
                dh_key: self.0.server_dh_key.public_key(),
                password: self.0.server.password.clone(),
                subscribe: false,
                request: Some(QueueRequest::Messaging(None)),
                notifier: None,
            })),
        }
    }

    /// The server's answer to [`Self::create`].
    pub fn created(&mut self, ids: &QueueIds) {
        self.0.set_created(ids);
    }

    /// The queue as its reader subscribes to it, once it is created.
    #[must_use]
    pub fn own_queue(&self) -> Option<OwnQueue> {
        self.0.own_queue()
    }

    fn written(&self, rng: &mut dyn CryptoRng) -> Option<SendQueue> {
        let sender_id = self.0.created.as_ref()?.sender_id;
        Some(SendQueue::new(&self.0.info(sender_id, CLIENT_VERSION), rng))
    }
}

impl SeededEnd {
    /// `SKEY` on the queue that this end writes to.
    #[must_use]
    pub fn secure(&self) -> Option<Request> {
        let queue = self.0.send.as_ref()?;
        Some(Request {
            server: queue.location.server.clone(),
            correlation_id: None,
            entity: queue.location.sender_id.0.to_vec(),
            key: Some(AuthPrivateKey::Ed25519(Ed25519PrivateKey::clone(&queue.key))),
            command: Command::Skey { sender_key: AuthPublicKey::Ed25519(queue.key.public_key()) },
        })
    }

    /// Stores this end; with its queue if it is to be subscribed.
    ///
    /// # Errors
    /// When the store fails.
    pub fn insert<S: AgentStore>(
        &self,
        store: &mut S,
        is_subscribed: bool,
    ) -> Result<ConnectionId, AgentError<S::Error>> {
        let id = store.insert_connection(&self.0.to_bytes()).map_err(AgentError::Store)?;
        if let Some(queue) = self.0.receive.own_queue().filter(|_| is_subscribed) {
            store.add_queue(id, &queue.server, &queue.recipient_id).map_err(AgentError::Store)?;
        }
        Ok(id)
    }
}
