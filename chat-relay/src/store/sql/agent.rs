//! The agent's tables: see `migrations/sqlite/0001_connections.sql`.

use protocol::agent::store::{AgentStore, BodyId, ConnectionId, JobId};
use protocol::encoding::{Decode as _, Encode as _};
use protocol::smp::address::ServerAddress;
use protocol::smp::ids::RecipientId;
use protocol::timestamp::Timestamp;
use rusqlite::params;

use super::{SqlStore, stored};
use crate::store::StoreError;

impl AgentStore for SqlStore {
    type Error = StoreError;

    fn insert_connection(&mut self, record: &[u8]) -> Result<ConnectionId, StoreError> {
        let sql = "INSERT INTO connections (record) VALUES (?1) RETURNING connection_id";
        self.insert(sql, params![record]).map(ConnectionId)
    }

    fn connection(&mut self, id: ConnectionId) -> Result<Option<Vec<u8>>, StoreError> {
        self.one("SELECT record FROM connections WHERE connection_id = ?1", params![id.0], |row| row.get(0))
    }

    fn update_connection(&mut self, id: ConnectionId, record: &[u8]) -> Result<(), StoreError> {
        let sql = "UPDATE connections SET record = ?2 WHERE connection_id = ?1";
        self.change_one(sql, params![id.0, record])
    }

    fn delete_connection(&mut self, id: ConnectionId) -> Result<(), StoreError> {
        let bodies: Vec<i64> = self.all(
            "SELECT DISTINCT body_id FROM agent_jobs WHERE connection_id = ?1 AND body_id IS NOT NULL",
            params![id.0],
            |row| row.get(0),
        )?;
        self.run("DELETE FROM connections WHERE connection_id = ?1", params![id.0])?;
        bodies.into_iter().try_for_each(|body| self.drop_body_without_jobs(body))
    }

    fn add_queue(
        &mut self,
        id: ConnectionId,
        server: &ServerAddress,
        queue: &RecipientId,
    ) -> Result<(), StoreError> {
        // A conflict with the same connection changes nothing and counts as one; with another it counts as none.
        self.change_one(
            "INSERT INTO connection_queues (recipient_id, server, connection_id) VALUES (?1, ?2, ?3)
             ON CONFLICT (recipient_id, server) DO UPDATE SET connection_id = excluded.connection_id
             WHERE connection_queues.connection_id = excluded.connection_id",
            params![queue.as_bytes(), server.to_bytes(), id.0],
        )
    }

    fn remove_queue(&mut self, server: &ServerAddress, queue: &RecipientId) -> Result<(), StoreError> {
        self.run(
            "DELETE FROM connection_queues WHERE recipient_id = ?1 AND server = ?2",
            params![queue.as_bytes(), server.to_bytes()],
        )?;
        Ok(())
    }

    fn connection_of_queue(
        &mut self,
        server: &ServerAddress,
        queue: &RecipientId,
    ) -> Result<Option<ConnectionId>, StoreError> {
        let found = self.one(
            "SELECT connection_id FROM connection_queues WHERE recipient_id = ?1 AND server = ?2",
            params![queue.as_bytes(), server.to_bytes()],
            |row| row.get(0).map(ConnectionId),
        )?;
        match found {
            Some(connection) if self.is_elsewhere(connection)? => Ok(None),
            found => Ok(found),
        }
    }

    fn queues_after(
        &mut self,
        after: Option<(ConnectionId, RecipientId)>,
        limit: usize,
    ) -> Result<Vec<(ConnectionId, ServerAddress, RecipientId)>, StoreError> {
        let (connection, queue) =
            after.map_or((0, Vec::new()), |(connection, queue)| (connection.0, queue.as_bytes().to_vec()));
        self.all(
            "SELECT connection_id, server, recipient_id FROM connection_queues
             WHERE (connection_id, recipient_id) > (?1, ?2) ORDER BY connection_id, recipient_id LIMIT ?3",
            params![connection, queue, i64::try_from(limit).unwrap_or(i64::MAX)],
            |row| {
                let server = stored(ServerAddress::from_bytes(&row.get::<_, Vec<u8>>(1)?))?;
                Ok((ConnectionId(row.get(0)?), server, RecipientId(row.get(2)?)))
            },
        )
    }

    fn push_job(&mut self, id: ConnectionId, job: &[u8], body: Option<BodyId>) -> Result<JobId, StoreError> {
        let sql = "INSERT INTO agent_jobs (connection_id, body_id, job) VALUES (?1, ?2, ?3) RETURNING job_id";
        self.insert(sql, params![id.0, body.map(|body| body.0), job]).map(JobId)
    }

    fn first_job(&mut self, id: ConnectionId) -> Result<Option<(JobId, Vec<u8>)>, StoreError> {
        self.one(
            "SELECT job_id, job FROM agent_jobs WHERE connection_id = ?1 ORDER BY job_id LIMIT 1",
            params![id.0],
            |row| Ok((JobId(row.get(0)?), row.get(1)?)),
        )
    }

    fn update_job(&mut self, job: JobId, bytes: &[u8]) -> Result<(), StoreError> {
        self.change_one("UPDATE agent_jobs SET job = ?2 WHERE job_id = ?1", params![job.0, bytes])
    }

    fn delete_job(&mut self, job: JobId) -> Result<(), StoreError> {
        let sql = "DELETE FROM agent_jobs WHERE job_id = ?1 RETURNING body_id";
        let body: Option<Option<i64>> = self.one(sql, params![job.0], |row| row.get(0))?;
        body.flatten().map_or(Ok(()), |body| self.drop_body_without_jobs(body))
    }

    fn connections_with_jobs(&mut self) -> Result<Vec<ConnectionId>, StoreError> {
        self.all("SELECT DISTINCT connection_id FROM agent_jobs ORDER BY connection_id", params![], |row| {
            row.get(0).map(ConnectionId)
        })
    }

    fn put_body(&mut self, body: &[u8]) -> Result<BodyId, StoreError> {
        self.insert("INSERT INTO bodies (body) VALUES (?1) RETURNING body_id", params![body]).map(BodyId)
    }

    fn body(&mut self, id: BodyId) -> Result<Option<Vec<u8>>, StoreError> {
        self.read_body(id)
    }

    fn remember_hash(&mut self, id: ConnectionId, hash: &[u8; 32], now: Timestamp) -> Result<(), StoreError> {
        self.run(
            "INSERT INTO seen_hashes (connection_id, hash, seen_at_ms) VALUES (?1, ?2, ?3)
             ON CONFLICT DO NOTHING",
            params![id.0, hash, now.0],
        )?;
        Ok(())
    }

    fn knows_hash(&mut self, id: ConnectionId, hash: &[u8; 32]) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM seen_hashes WHERE connection_id = ?1 AND hash = ?2";
        Ok(self.one(sql, params![id.0, hash], |_| Ok(()))?.is_some())
    }

    fn forget_before(&mut self, moment: Timestamp) -> Result<(), StoreError> {
        self.run("DELETE FROM seen_hashes WHERE seen_at_ms < ?1", params![moment.0])?;
        Ok(())
    }
}

impl SqlStore {
    /// Of a group of another worker nothing is touched: it may be about to name such a body again.
    pub(super) fn drop_bodies_without_jobs(&mut self) -> Result<(), StoreError> {
        let worker = self.worker();
        let gone = self.run(
            "DELETE FROM bodies WHERE NOT EXISTS (SELECT 1 FROM agent_jobs j WHERE j.body_id = bodies.body_id)
             AND (recipe_of IS NULL OR recipe_of IN (SELECT group_id FROM served_groups WHERE worker_id = ?1))",
            params![worker],
        )?;
        if gone > 0 {
            self.kept.clear();
        }
        Ok(())
    }

    fn drop_body_without_jobs(&mut self, body: i64) -> Result<(), StoreError> {
        let gone = self.run(
            "DELETE FROM bodies WHERE body_id = ?1
             AND NOT EXISTS (SELECT 1 FROM agent_jobs WHERE agent_jobs.body_id = ?1)",
            params![body],
        )?;
        if gone > 0 {
            self.kept.forget(body);
        }
        Ok(())
    }
}
