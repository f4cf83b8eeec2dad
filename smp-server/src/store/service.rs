//! What is stored of a service, and how its queues are paged through (smp.md §13).

use protocol::smp::error::BlockingInfo;
use protocol::smp::ids::{NotifierId, RecipientId, ServiceId};
use protocol::transport::hello::ServiceRole;

use super::{DhSecret, QueueNumber};

/// A service that has presented itself before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceRecord {
    /// Its name in this server, for good.
    pub id: ServiceId,
    /// What it serves, for good.
    pub role: ServiceRole,
}

/// A service that presents itself for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewService {
    /// Its name from now on.
    pub id: ServiceId,
    /// SHA-256 of its identity certificate.
    pub fingerprint: [u8; 32],
    /// What it serves.
    pub role: ServiceRole,
    /// When it came, Unix seconds.
    pub created_at: i64,
}

impl NewService {
    /// What is known of it from now on.
    #[must_use]
    pub fn record(&self) -> ServiceRecord {
        ServiceRecord { id: self.id, role: self.role }
    }
}

/// A queue of a service: as much as the delivery of its messages needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceQueue {
    /// Its number in the store.
    pub number: QueueNumber,
    /// Its name for the recipient.
    pub recipient_id: RecipientId,
    /// Encrypts its messages to the recipient.
    pub dh_secret: DhSecret,
    /// Why the operator blocked it, if it is blocked: then what waits in it is not delivered.
    pub blocking: Option<BlockingInfo>,
}

/// Some of the queues of a service in which messages wait, or that are blocked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BacklogPage {
    /// The queues, in the order of their numbers.
    pub queues: Vec<ServiceQueue>,
    /// The last queue that was looked at, after which the next page begins; nothing when all were looked at.
    pub next: Option<QueueNumber>,
}

/// Which of a queue's two streams belongs to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Its messages.
    Messages,
    /// Its notifications, for as long as this is its notifier.
    Notifications(NotifierId),
}
