//! What a connection is told of its own subscriptions, collected until a timer lets it go out (smp.md §10.1).

use std::sync::{Arc, Mutex, PoisonError};

use protocol::smp::error::{BlockingInfo, ErrorType};
use protocol::smp::response::BrokerMessage;

use crate::peer::Peer;
pub use crate::store::Topic;

/// News about a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// Another connection has the subscription now.
    Moved,
    /// The queue or its notifier was deleted.
    Deleted,
    /// Another connection has all queues of the service now; so many were this one's.
    ServiceMoved(i64),
    /// The operator blocked the queue.
    Blocked(BlockingInfo),
}

impl News {
    /// As clients are told.
    #[must_use]
    pub fn event(self) -> BrokerMessage<'static> {
        match self {
            Self::Moved => BrokerMessage::End,
            Self::Deleted => BrokerMessage::Deld,
            Self::ServiceMoved(queues) => BrokerMessage::Ends(queues),
            Self::Blocked(info) => BrokerMessage::Err(ErrorType::Blocked(info)),
        }
    }
}

/// Connections for which something waits until the timer.
#[derive(Debug, Default)]
pub(crate) struct Waiting(Mutex<Vec<Arc<Peer>>>);

impl Waiting {
    /// Adds one.
    pub(crate) fn add(&self, peer: &Arc<Peer>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(peer.clone());
    }

    /// Takes all: the timer has come.
    pub(crate) fn take(&self) -> Vec<Arc<Peer>> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
