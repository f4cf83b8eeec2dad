//! The agent's tables, see `migrations/0001_connections.sql`: records, jobs and bodies are sealed.

use protocol::agent::store::{AgentStore, BodyId, ConnectionId, JobId};
use protocol::encoding::{Decode as _, Encode as _};
use protocol::smp::address::ServerAddress;
use protocol::smp::ids::RecipientId;
use protocol::timestamp::Timestamp;
use rusqlite::params;

use super::{Store, StoreError};

/// The places that sealed bytes are bound to.
const RECORD: &str = "connections.sealed";
const JOB: &str = "jobs.sealed";
const BODY: &str = "bodies.sealed";

impl AgentStore for Store {
    type Error = StoreError;

    fn insert_connection(&mut self, record: &[u8]) -> Result<ConnectionId, StoreError> {
        let sealed = self.seal(RECORD, record);
        self.insert("INSERT INTO connections (sealed) VALUES (?1)", params![sealed]).map(ConnectionId)
    }

    fn connection(&mut self, id: ConnectionId) -> Result<Option<Vec<u8>>, StoreError> {
        let sql = "SELECT sealed FROM connections WHERE connection_id = ?1";
        let sealed: Option<Vec<u8>> = self.one(sql, params![id.0], |row| row.get(0))?;
        self.open_some(RECORD, sealed)
    }

    fn update_connection(&mut self, id: ConnectionId, record: &[u8]) -> Result<(), StoreError> {
        let sealed = self.seal(RECORD, record);
        self.change_one("UPDATE connections SET sealed = ?2 WHERE connection_id = ?1", params![id.0, sealed])
    }

    fn delete_connection(&mut self, id: ConnectionId) -> Result<(), StoreError> {
        let bodies: Vec<i64> = self.all(
            "SELECT DISTINCT body_id FROM jobs WHERE connection_id = ?1 AND body_id IS NOT NULL",
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
             ON CONFLICT DO UPDATE SET connection_id = excluded.connection_id
             WHERE connection_id = excluded.connection_id",
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
        self.one(
            "SELECT connection_id FROM connection_queues WHERE recipient_id = ?1 AND server = ?2",
            params![queue.as_bytes(), server.to_bytes()],
            |row| row.get(0).map(ConnectionId),
        )
    }

    fn queues_after(
        &mut self,
        after: Option<(ConnectionId, RecipientId)>,
        limit: usize,
    ) -> Result<Vec<(ConnectionId, ServerAddress, RecipientId)>, StoreError> {
        let (connection, queue) =
            after.map_or((0, Vec::new()), |(connection, queue)| (connection.0, queue.as_bytes().to_vec()));
        let rows: Vec<(i64, Vec<u8>, Vec<u8>)> = self.all(
            "SELECT connection_id, server, recipient_id FROM connection_queues
             WHERE (connection_id, recipient_id) > (?1, ?2) ORDER BY connection_id, recipient_id LIMIT ?3",
            params![connection, queue, i64::try_from(limit).unwrap_or(i64::MAX)],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )?;
        let read = |(connection, server, queue): (i64, Vec<u8>, Vec<u8>)| {
            let server = ServerAddress::from_bytes(&server)?;
            Ok((ConnectionId(connection), server, RecipientId::try_from(queue.as_slice())?))
        };
        rows.into_iter().map(read).collect()
    }

    fn push_job(&mut self, id: ConnectionId, job: &[u8], body: Option<BodyId>) -> Result<JobId, StoreError> {
        let sealed = self.seal(JOB, job);
        self.insert(
            "INSERT INTO jobs (connection_id, body_id, sealed) VALUES (?1, ?2, ?3)",
            params![id.0, body.map(|body| body.0), sealed],
        )
        .map(JobId)
    }

    fn first_job(&mut self, id: ConnectionId) -> Result<Option<(JobId, Vec<u8>)>, StoreError> {
        let sql = "SELECT job_id, sealed FROM jobs WHERE connection_id = ?1 ORDER BY job_id LIMIT 1";
        let job: Option<(i64, Vec<u8>)> =
            self.one(sql, params![id.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let Some((job, sealed)) = job else { return Ok(None) };
        Ok(Some((JobId(job), self.sealer.open(JOB, &sealed)?.to_vec())))
    }

    fn update_job(&mut self, job: JobId, bytes: &[u8]) -> Result<(), StoreError> {
        let sealed = self.seal(JOB, bytes);
        self.change_one("UPDATE jobs SET sealed = ?2 WHERE job_id = ?1", params![job.0, sealed])
    }

    fn delete_job(&mut self, job: JobId) -> Result<(), StoreError> {
        let sql = "DELETE FROM jobs WHERE job_id = ?1 RETURNING body_id";
        let body: Option<Option<i64>> = self.one(sql, params![job.0], |row| row.get(0))?;
        body.flatten().map_or(Ok(()), |body| self.drop_body_without_jobs(body))
    }

    fn connections_with_jobs(&mut self) -> Result<Vec<ConnectionId>, StoreError> {
        self.all("SELECT DISTINCT connection_id FROM jobs ORDER BY connection_id", params![], |row| {
            row.get(0).map(ConnectionId)
        })
    }

    fn put_body(&mut self, body: &[u8]) -> Result<BodyId, StoreError> {
        let sealed = self.seal(BODY, body);
        self.insert("INSERT INTO bodies (sealed) VALUES (?1)", params![sealed]).map(BodyId)
    }

    fn body(&mut self, id: BodyId) -> Result<Option<Vec<u8>>, StoreError> {
        let sealed: Option<Vec<u8>> =
            self.one("SELECT sealed FROM bodies WHERE body_id = ?1", params![id.0], |row| row.get(0))?;
        self.open_some(BODY, sealed)
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

impl Store {
    fn open_some(
        &self,
        column: &'static str,
        sealed: Option<Vec<u8>>,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(sealed.map(|sealed| self.sealer.open(column, &sealed)).transpose()?.map(|plain| plain.to_vec()))
    }

    /// Deletes a body that no job names.
    pub(crate) fn drop_unused_body(&mut self, body: BodyId) -> Result<(), StoreError> {
        self.drop_body_without_jobs(body.0)
    }

    fn drop_body_without_jobs(&mut self, body: i64) -> Result<(), StoreError> {
        self.run(
            "DELETE FROM bodies WHERE body_id = ?1
             AND NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.body_id = ?1)",
            params![body],
        )?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_contract_of_stores() {
        let mut store = Store::in_memory();
        protocol::agent::store_contract::check(&mut store);
    }
}
