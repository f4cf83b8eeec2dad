//! Full queues (agent.md §6.6): who reads a queue empty tells its writer to go on.

use super::error::AgentError;
use super::event::{Event, Refusal};
use super::job::Purpose;
use super::message::MessageBody;
use super::record::Connection;
use super::rotation::is_same;
use super::store::{AgentStore, ConnectionId};
use super::{Agent, Outcome};
use crate::encoding::Encode as _;
use crate::smp::queue_uri::QueueLocation;

impl<S: AgentStore> Agent<'_, S> {
    /// Our own queue was full, and has been read up to where the peer was refused.
    pub(super) fn own_queue_drained(
        &mut self,
        id: ConnectionId,
        connection: &mut Connection,
    ) -> Outcome<(), S> {
        match connection.receive.location() {
            Some(location) if connection.can_write() && connection.sync.may_send() => {
                let body = MessageBody::QuotaResumed(location);
                self.queue_service_message(id, connection, Purpose::QuotaContinue, body)
            }
            _ => Ok(()),
        }
    }

    /// The peer has read its queue empty: go on at once.
    pub(super) fn peer_queue_drained(
        &mut self,
        id: ConnectionId,
        connection: &mut Connection,
        location: &QueueLocation,
    ) -> Outcome<(), S> {
        let queues = [connection.send.as_ref(), connection.replacement.as_ref().map(|it| &it.queue)];
        if !queues.iter().flatten().any(|queue| is_same(&queue.location, location)) {
            self.ignore(id, Refusal::Queue);
            return Ok(());
        }
        self.quota_resumed(id, connection);
        self.hurry(id)
    }

    pub(super) fn quota_resumed(&mut self, id: ConnectionId, connection: &mut Connection) {
        if std::mem::replace(&mut connection.is_quota_exceeded, false) {
            self.tell(id, Event::QuotaResumed);
        }
    }

    /// Lets the first job come at once.
    pub(super) fn hurry(&mut self, id: ConnectionId) -> Outcome<(), S> {
        if let Some((job_id, mut job)) = self.first_job(id)? {
            job.retry.wake();
            self.store.update_job(job_id, &job.to_bytes()).map_err(AgentError::Store)?;
            self.touch(id, job.lane());
        }
        Ok(())
    }
}
