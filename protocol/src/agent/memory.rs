//! A store in memory: for tests and simulations, and the plainest statement of what a store does.
//!
//! A transaction is a clone: keep one before a step, and put it back to roll the step away.

use std::collections::{BTreeMap, BTreeSet};

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
    jobs_by_connection: BTreeSet<(ConnectionId, JobId)>,
    bodies: BTreeMap<BodyId, Body>,
    hashes: BTreeMap<(ConnectionId, [u8; 32]), Timestamp>,
}

#[derive(Debug, Clone)]
struct Job {
    connection: ConnectionId,
    bytes: Vec<u8>,
    body: Option<BodyId>,
}

#[derive(Debug, Clone)]
struct Body {
    bytes: Vec<u8>,
    /// How many jobs name it.
    jobs: usize,
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

    fn jobs_of(&self, id: ConnectionId) -> impl Iterator<Item = JobId> {
        let range = (id, JobId(i64::MIN))..=(id, JobId(i64::MAX));
        self.jobs_by_connection.range(range).map(|(_, job)| *job)
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
        self.hashes.retain(|(connection, _), _| *connection != id);
        for job in self.jobs_of(id).collect::<Vec<_>>() {
            self.delete_job(job)?;
        }
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
        if let Some(body_id) = body {
            let body = self.bodies.get_mut(&body_id).ok_or(MemoryStoreError::NoBody(body_id))?;
            body.jobs += 1;
        }
        let job_id = JobId(self.next_id());
        self.jobs.insert(job_id, Job { connection: id, bytes: job.to_vec(), body });
        self.jobs_by_connection.insert((id, job_id));
        Ok(job_id)
    }

    fn first_job(&mut self, id: ConnectionId) -> Result<Option<(JobId, Vec<u8>)>, MemoryStoreError> {
        let Some(first) = self.jobs_of(id).next() else { return Ok(None) };
        Ok(self.jobs.get(&first).map(|job| (first, job.bytes.clone())))
    }

    fn update_job(&mut self, job: JobId, bytes: &[u8]) -> Result<(), MemoryStoreError> {
        let stored = self.jobs.get_mut(&job).ok_or(MemoryStoreError::NoJob(job))?;
        stored.bytes = bytes.to_vec();
        Ok(())
    }

    fn delete_job(&mut self, job: JobId) -> Result<(), MemoryStoreError> {
        let Some(deleted) = self.jobs.remove(&job) else { return Ok(()) };
        self.jobs_by_connection.remove(&(deleted.connection, job));
        if let Some(body_id) = deleted.body
            && let Some(body) = self.bodies.get_mut(&body_id)
        {
            body.jobs -= 1;
            if body.jobs == 0 {
                self.bodies.remove(&body_id);
            }
        }
        Ok(())
    }

    fn connections_with_jobs(&mut self) -> Result<Vec<ConnectionId>, MemoryStoreError> {
        let mut connections: Vec<_> = self.jobs_by_connection.iter().map(|(id, _)| *id).collect();
        connections.dedup();
        Ok(connections)
    }

    fn put_body(&mut self, body: &[u8]) -> Result<BodyId, MemoryStoreError> {
        let id = BodyId(self.next_id());
        self.bodies.insert(id, Body { bytes: body.to_vec(), jobs: 0 });
        Ok(id)
    }

    fn body(&mut self, id: BodyId) -> Result<Option<Vec<u8>>, MemoryStoreError> {
        Ok(self.bodies.get(&id).map(|body| body.bytes.clone()))
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
