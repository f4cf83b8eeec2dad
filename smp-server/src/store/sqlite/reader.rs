//! What can be seen of a store: what is committed, through a connection of its own.

use std::path::Path;

use protocol::smp::command::LinkData;
use protocol::smp::ids::ServiceId;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use super::rows::{QUEUE_COLUMNS, queue_from};
use super::{BUSY_TIMEOUT, STATEMENTS_MAX, services, whole};
use crate::store::log::LogReader;
use crate::store::{
    BacklogPage, DamagedPage, NewService, QueueName, QueueNumber, QueueReader, QueueRecord, Result,
    ServiceRecord, StoreCounts, StoredMessage, WholeQueue,
};

/// A view of what is committed, through a connection that cannot write.
#[derive(Debug)]
pub(super) struct SqliteReader {
    connection: Connection,
    log: LogReader,
}

impl SqliteReader {
    /// Reads the file, and what the log shows.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub(super) fn open(path: &Path, log: LogReader) -> Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        Ok(Self { connection, log })
    }
}

impl QueueReader for SqliteReader {
    fn queue(&mut self, name: &QueueName) -> Result<Option<QueueRecord>> {
        let (condition, id) = match name {
            QueueName::Recipient(id) => ("recipient_id = ?1", id.as_bytes()),
            QueueName::Sender(id) => ("sender_id = ?1", id.as_bytes()),
            QueueName::Notifier(id) => ("notifier_id = ?1", id.as_bytes()),
            QueueName::Link(id) => ("number = (SELECT queue FROM links WHERE link_id = ?1)", id.as_bytes()),
        };
        let mut statement = self
            .connection
            .prepare_cached(&format!("SELECT {QUEUE_COLUMNS} FROM queues WHERE {condition}"))?;
        let mut rows = statement.query([id.as_slice()])?;
        rows.next()?.map(queue_from).transpose()
    }

    fn link_data(&mut self, queue: QueueNumber) -> Result<Option<LinkData<'static>>> {
        let mut statement =
            self.connection.prepare_cached("SELECT fixed_data, user_data FROM links WHERE queue = ?1")?;
        let data = statement.query_row([queue.0], |row| {
            let (fixed, user): (Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?);
            Ok(LinkData { fixed: fixed.into(), user: user.into() })
        });
        Ok(data.optional()?)
    }

    fn first_message(&mut self, queue: QueueNumber) -> Result<Option<StoredMessage>> {
        self.log.first_message(queue)
    }

    fn message_count(&mut self, queue: QueueNumber) -> Result<u32> {
        Ok(self.log.message_count(queue))
    }

    fn queues_after(&mut self, after: QueueNumber, limit: u32) -> Result<Vec<WholeQueue>> {
        whole::queues_after(&self.connection, after, limit)
    }

    fn messages(&mut self, queue: QueueNumber) -> Result<Vec<StoredMessage>> {
        self.log.messages(queue)
    }

    fn damaged_messages(&mut self, queue: QueueNumber) -> Result<u32> {
        self.log.damaged_messages(queue)
    }

    fn damaged_queues(&mut self, after: QueueNumber, limit: u32) -> Result<DamagedPage> {
        self.log.damaged_queues(after, limit as usize)
    }

    fn counts(&mut self) -> Result<StoreCounts> {
        Ok(StoreCounts { queues: whole::count(&self.connection, "queues")?, messages: self.log.total() })
    }

    fn service(&mut self, fingerprint: &[u8; 32]) -> Result<Option<ServiceRecord>> {
        services::service(&self.connection, fingerprint)
    }

    fn services_after(&mut self, after: &[u8; 32], limit: u32) -> Result<Vec<NewService>> {
        services::services_after(&self.connection, after, limit)
    }

    fn service_queue_count(&mut self, service: ServiceRecord) -> Result<u64> {
        services::service_queue_count(&self.connection, service)
    }

    fn service_backlog(&mut self, service: ServiceId, after: QueueNumber, limit: u32) -> Result<BacklogPage> {
        let has_messages = |queue| self.log.message_count(queue) > 0;
        services::service_backlog(&self.connection, service, after, limit, has_messages)
    }
}
