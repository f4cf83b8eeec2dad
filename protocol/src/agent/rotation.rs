//! The peer moves its queue, and we follow (agent.md §6.5, the side that sends).
//!
//! ```text
//! peer: QADD new queue ──▶ we: keys for it, QKEY ──▶ peer: KEY, QUSE ──▶ we: QTEST into the new queue
//!                                                                        server took it: the old one is forgotten
//! ```
//!
//! From `QUSE` on all that still waits goes into the new queue, in order and before the test: the peer deletes the
//! old one as soon as anything arrives in the new one.

use crate::smp::key::AuthPublicKey;
use crate::smp::queue_uri::{QueueAddress, QueueInfo, QueueLocation, QueueUri};

use super::error::AgentError;
use super::event::{Event, Refusal};
use super::job::Purpose;
use super::message::MessageBody;
use super::queue::SendQueue;
use super::record::{Connection, Replacement};
use super::store::{AgentStore, ConnectionId};
use super::{Agent, Outcome};

impl<S: AgentStore> Agent<'_, S> {
    /// `QADD`: a new queue in place of a known one. Only the first of the list counts, as everywhere.
    pub(super) fn queue_added(
        &mut self,
        id: ConnectionId,
        connection: &mut Connection,
        queues: &[(QueueUri, Option<QueueLocation>)],
    ) -> Outcome<(), S> {
        let Some((uri, Some(replaced))) = queues.first() else {
            self.ignore(id, Refusal::Queue);
            return Ok(());
        };
        if !connection.sync.may_send() {
            self.ignore(id, Refusal::Prohibited);
            return Ok(());
        }
        let is_known = |location: &QueueLocation| {
            connection.send.as_ref().is_some_and(|queue| is_same(&queue.location, location))
        };
        if !is_known(replaced) || is_known(&uri.address.location()) {
            self.ignore(id, Refusal::Queue);
            return Ok(());
        }
        let Some(info) = uri.agree() else {
            self.ignore(id, Refusal::Version);
            return Ok(());
        };
        let queue = SendQueue::new(&info, self.rng);
        let ours = QueueInfo {
            version: info.version,
            address: QueueAddress { dh_key: queue.dh_public, ..info.address },
        };
        let sender_key = AuthPublicKey::Ed25519(queue.key.public_key());
        let body = MessageBody::QueueKey(vec![(ours, sender_key)]);
        match self.queue_service_message(id, connection, Purpose::QueueKey, body) {
            // A server with so many hosts that our answer would not fit: nobody means that.
            Err(AgentError::TooLarge { .. }) => self.ignore(id, Refusal::Queue),
            result => {
                result?;
                connection.replacement = Some(Replacement { queue, is_secured: false });
            }
        }
        Ok(())
    }

    /// `QUSE`: the new queue takes our messages.
    pub(super) fn queue_used(
        &mut self,
        id: ConnectionId,
        connection: &mut Connection,
        queues: &[(QueueLocation, bool)],
    ) -> Outcome<(), S> {
        if !connection.sync.may_send() {
            self.ignore(id, Refusal::Prohibited);
            return Ok(());
        }
        let location = queues.first().map(|(location, _)| location);
        let replacement = connection.replacement.as_mut();
        let named = replacement.filter(|queue| location.is_some_and(|it| is_same(&queue.queue.location, it)));
        let Some(replacement) = named else {
            self.ignore(id, Refusal::Queue);
            return Ok(());
        };
        if std::mem::replace(&mut replacement.is_secured, true) {
            return Ok(());
        }
        let body = MessageBody::QueueTest(vec![replacement.queue.location.clone()]);
        self.queue_service_message(id, connection, Purpose::QueueTest, body)
    }

    /// The server took our test.
    pub(super) fn rotation_finished(&mut self, id: ConnectionId, connection: &mut Connection) {
        if let Some(replacement) = connection.replacement.take_if(|queue| queue.is_secured) {
            connection.send = Some(replacement.queue);
            self.tell(id, Event::Switched);
        }
    }
}

/// The same queue: the key hash of its server does not count.
pub(super) fn is_same(one: &QueueLocation, other: &QueueLocation) -> bool {
    one.sender_id == other.sender_id && one.server.is_same_place(&other.server)
}
