//! Between the agent and the network: what to ask of a server, and what became of it.

use crate::crypto::sign::Ed25519PrivateKey;
use crate::smp::address::ServerAddress;
use crate::smp::command::Command;
use crate::smp::ids::{CorrelationId, MessageId, RecipientId};
use crate::smp::key::AuthPrivateKey;
use crate::smp::response::BrokerMessage;
use crate::timestamp::Timestamp;

use super::store::JobId;

/// A command for a server, ready to be authorised and sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Where to send it.
    pub server: ServerAddress,
    /// The correlation id to use, where it matters: the queue of an address is named after it.
    pub correlation_id: Option<CorrelationId>,
    /// The queue or link; empty for `NEW`.
    pub entity: Vec<u8>,
    /// What authorises it; nothing for commands that go unauthorised.
    pub key: Option<AuthPrivateKey>,
    /// What is asked.
    pub command: Command<'static>,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestOutcome {
    /// The server answered, if only with an error.
    Answer(BrokerMessage<'static>),
    /// No answer: the network failed or took too long. The server may have done what was asked.
    Temporary,
    /// The server cannot be used: unknown host, another identity, no common version.
    HostUnusable,
}

/// What a connection wants of the network now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Nothing.
    Idle,
    /// A request that failed before, not to be repeated sooner.
    NotBefore(Timestamp),
    /// A request for this server, which has no room for it.
    NoRoom(ServerAddress),
    /// This request. One at a time for each connection: report it by `job_done` before asking again.
    Run(JobId, Box<Request>),
}

/// What follows a finished request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It is done, one way or the other: ask for the connection's next work.
    Done,
    /// Ask for the connection's work at that time.
    RetryAt(Timestamp),
}

/// A message as a server pushes it, or answers an `ACK` with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerMessage<'a> {
    /// The server's id of it.
    pub id: MessageId,
    /// What the server encrypted.
    pub body: &'a [u8],
}

/// A queue of ours, with what it takes to subscribe to it and to acknowledge its messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnQueue {
    /// The queue's server.
    pub server: ServerAddress,
    /// The queue.
    pub recipient_id: RecipientId,
    /// What authorises its commands.
    pub key: Ed25519PrivateKey,
}

impl OwnQueue {
    /// The request to subscribe to it.
    #[must_use]
    pub fn subscribe(&self) -> Request {
        self.request(Command::Sub)
    }

    /// The request to acknowledge a message of it. After the commit of what the message changed, not before.
    #[must_use]
    pub fn acknowledge(&self, message: MessageId) -> Request {
        self.request(Command::Ack { message_id: message.0.to_vec().into() })
    }

    pub(super) fn request(&self, command: Command<'static>) -> Request {
        Request {
            server: self.server.clone(),
            correlation_id: None,
            entity: self.recipient_id.0.to_vec(),
            key: Some(AuthPrivateKey::Ed25519(self.key.clone())),
            command,
        }
    }
}
