//! A store in memory: for tests and simulations, and the plainest statement of what a store does.
//!
//! A transaction is a clone: keep one before a step, and put it back to roll the step away.

use std::collections::BTreeMap;

use thiserror::Error;

use super::store::{AgentStore, BodyId, ConnectionId, JobId};
use crate::smp::address::ServerAddress;
use crate::smp::ids::RecipientId;
use crate::timestamp::Timestamp;

/// A misuse of the store; none of these can be caused by a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MemoryStoreError {
    /// The connection is not there.
    #[error("there is no connection {}", .0.0)]
    NoConnection(ConnectionId),
    /// The job is not there.
    #[error("there is no job {}", .0.0)]
    NoJob(JobId),
    /// The body is not there.
    #[error("there is no body {}", .0.0)]
    NoBody(BodyId),
    /// The queue belongs to another connection.
    #[error("the queue belongs to connection {}", .0.0)]
    QueueTaken(ConnectionId),
}

/// All state of an agent, in ordered maps.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    last_id: i64,
    connections: BTreeMap<ConnectionId, Vec<u8>>,
    queues: BTreeMap<(RecipientId, ServerAddress), ConnectionId>,
    jobs: BTreeMap<JobId, Job>,
    bodies: BTreeMap<BodyId, Vec<u8>>,
    hashes: BTreeMap<(ConnectionId, [u8; 32]), Timestamp>,
}

#[derive(Debug, Clone)]
struct Job {
    connection: ConnectionId,
    bytes: Vec<u8>,
    body: Option<BodyId>,
}

impl MemoryStore {
    /// How many bodies are kept: tests of a broadcast look here for leaks.
    #[must_use]
    pub fn body_count(&self) -> usize {
        self.bodies.len()
    }

    /// How many jobs wait, of all connections.
    #[must_use]
    pub fn job_count(&self) -> usize {
        self.jobs.len()
    }

    /// One counter for all kinds of ids, so that a mixed-up kind shows as "not there".
    fn next_id(&mut self) -> i64 {
        self.last_id += 1;
        self.last_id
    }

    fn require(&self, id: ConnectionId) -> Result<(), MemoryStoreError> {
        if self.connections.contains_key(&id) { Ok(()) } else { Err(MemoryStoreError::NoConnection(id)) }
    }

    fn drop_bodies_without_jobs(&mut self) {
        let jobs = &self.jobs;
        self.bodies.retain(|body, _| jobs.values().any(|job| job.body == Some(*body)));
    }
}

impl AgentStore for MemoryStore {
    type Error = MemoryStoreError;

    fn insert_connection(&mut self, record: &[u8]) -> Result<ConnectionId, MemoryStoreError> {
        let id = ConnectionId(self.next_id());
        self.connections.insert(id, record.to_vec());
        Ok(id)
    }

    fn connection(&mut self, id: ConnectionId) -> Result<Option<Vec<u8>>, MemoryStoreError> {
        Ok(self.connections.get(&id).cloned())
    }

    fn update_connection(&mut self, id: ConnectionId, record: &[u8]) -> Result<(), MemoryStoreError> {
        let stored = self.connections.get_mut(&id).ok_or(MemoryStoreError::NoConnection(id))?;
        *stored = record.to_vec();
        Ok(())
    }

    fn delete_connection(&mut self, id: ConnectionId) -> Result<(), MemoryStoreError> {
        self.connections.remove(&id);
        self.queues.retain(|_, connection| *connection != id);
        self.jobs.retain(|_, job| job.connection != id);
        self.hashes.retain(|(connection, _), _| *connection != id);
        self.drop_bodies_without_jobs();
        Ok(())
    }

    fn add_queue(
        &mut self,
        id: ConnectionId,
        server: &ServerAddress,
        queue: &RecipientId,
    ) -> Result<(), MemoryStoreError> {
        self.require(id)?;
        let owner = *self.queues.entry((*queue, server.clone())).or_insert(id);
        if owner == id { Ok(()) } else { Err(MemoryStoreError::QueueTaken(owner)) }
    }

    fn remove_queue(&mut self, server: &ServerAddress, queue: &RecipientId) -> Result<(), MemoryStoreError> {
        self.queues.remove(&(*queue, server.clone()));
        Ok(())
    }

    fn connection_of_queue(
        &mut self,
        server: &ServerAddress,
        queue: &RecipientId,
    ) -> Result<Option<ConnectionId>, MemoryStoreError> {
        Ok(self.queues.get(&(*queue, server.clone())).copied())
    }

    fn queues_after(
        &mut self,
        after: Option<(ConnectionId, RecipientId)>,
        limit: usize,
    ) -> Result<Vec<(ConnectionId, ServerAddress, RecipientId)>, MemoryStoreError> {
        let mut queues: Vec<_> = self
            .queues
            .iter()
            .map(|((queue, server), connection)| (*connection, server.clone(), *queue))
            .filter(|(connection, _, queue)| after.is_none_or(|after| (*connection, *queue) > after))
            .collect();
        queues.sort_by_key(|(connection, _, queue)| (*connection, *queue));
        queues.truncate(limit);
        Ok(queues)
    }

    fn push_job(
        &mut self,
        id: ConnectionId,
        job: &[u8],
        body: Option<BodyId>,
    ) -> Result<JobId, MemoryStoreError> {
        self.require(id)?;
        if let Some(body) = body.filter(|body| !self.bodies.contains_key(body)) {
            return Err(MemoryStoreError::NoBody(body));
        }
        let job_id = JobId(self.next_id());
        self.jobs.insert(job_id, Job { connection: id, bytes: job.to_vec(), body });
        Ok(job_id)
    }

    fn first_job(&mut self, id: ConnectionId) -> Result<Option<(JobId, Vec<u8>)>, MemoryStoreError> {
        let first = self.jobs.iter().find(|(_, job)| job.connection == id);
        Ok(first.map(|(job_id, job)| (*job_id, job.bytes.clone())))
    }

    fn update_job(&mut self, job: JobId, bytes: &[u8]) -> Result<(), MemoryStoreError> {
        let stored = self.jobs.get_mut(&job).ok_or(MemoryStoreError::NoJob(job))?;
        stored.bytes = bytes.to_vec();
        Ok(())
    }

    fn delete_job(&mut self, job: JobId) -> Result<(), MemoryStoreError> {
        if self.jobs.remove(&job).is_some_and(|job| job.body.is_some()) {
            self.drop_bodies_without_jobs();
        }
        Ok(())
    }

    fn connections_with_jobs(&mut self) -> Result<Vec<ConnectionId>, MemoryStoreError> {
        let mut connections: Vec<_> = self.jobs.values().map(|job| job.connection).collect();
        connections.sort_unstable();
        connections.dedup();
        Ok(connections)
    }

    fn put_body(&mut self, body: &[u8]) -> Result<BodyId, MemoryStoreError> {
        let id = BodyId(self.next_id());
        self.bodies.insert(id, body.to_vec());
        Ok(id)
    }

    fn body(&mut self, id: BodyId) -> Result<Option<Vec<u8>>, MemoryStoreError> {
        Ok(self.bodies.get(&id).cloned())
    }

    fn remember_hash(
        &mut self,
        id: ConnectionId,
        hash: &[u8; 32],
        now: Timestamp,
    ) -> Result<(), MemoryStoreError> {
        self.require(id)?;
        self.hashes.entry((id, *hash)).or_insert(now);
        Ok(())
    }

    fn knows_hash(&mut self, id: ConnectionId, hash: &[u8; 32]) -> Result<bool, MemoryStoreError> {
        Ok(self.hashes.contains_key(&(id, *hash)))
    }

    fn forget_before(&mut self, moment: Timestamp) -> Result<(), MemoryStoreError> {
        self.hashes.retain(|_, seen| *seen >= moment);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_contract_of_stores() {
        super::super::store_contract::check(&mut MemoryStore::default());
    }
}
