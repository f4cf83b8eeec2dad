//! Reads: one statement each, on a connection of the reader's own.

use protocol::smp::command::LinkData;
use protocol::smp::ids::ServiceId;

use super::rows::{column, link_data_from, message_from, queue_from, whole_from};
use super::services;
use super::session::{Access, Session};
use crate::store::{
    BacklogPage, NewService, QueueName, QueueNumber, QueueReader, QueueRecord, Result, ServiceRecord,
    StoreCounts, StoredMessage, WholeQueue,
};

/// A view of what is committed.
#[derive(Debug)]
pub(super) struct PostgresReader {
    session: Session,
}

impl PostgresReader {
    pub(super) fn new(access: Access) -> Self {
        Self { session: Session::new(access) }
    }
}

impl QueueReader for PostgresReader {
    fn queue(&mut self, name: &QueueName) -> Result<Option<QueueRecord>> {
        let (sql, id) = match name {
            QueueName::Recipient(id) => ("SELECT * FROM queues WHERE recipient_id = $1", id.as_bytes()),
            QueueName::Sender(id) => ("SELECT * FROM queues WHERE sender_id = $1", id.as_bytes()),
            QueueName::Notifier(id) => ("SELECT * FROM queues WHERE notifier_id = $1", id.as_bytes()),
            QueueName::Link(id) => (
                "SELECT queues.* FROM links JOIN queues ON queues.number = links.queue WHERE link_id = $1",
                id.as_bytes(),
            ),
        };
        let rows = self.session.read(sql, &[&id.as_slice()])?;
        rows.first().map(queue_from).transpose()
    }

    fn link_data(&mut self, queue: QueueNumber) -> Result<Option<LinkData<'static>>> {
        let rows =
            self.session.read("SELECT fixed_data, user_data FROM links WHERE queue = $1", &[&queue.0])?;
        rows.first().map(link_data_from).transpose()
    }

    fn first_message(&mut self, queue: QueueNumber) -> Result<Option<StoredMessage>> {
        let rows = self.session.read(
            "SELECT message_id, received_at, notify, body FROM messages
             WHERE queue = $1 ORDER BY number LIMIT 1",
            &[&queue.0],
        )?;
        Ok(rows.first().map(message_from).transpose()?.flatten())
    }

    fn message_count(&mut self, queue: QueueNumber) -> Result<u32> {
        let rows =
            self.session.read("SELECT count(*) AS messages FROM messages WHERE queue = $1", &[&queue.0])?;
        let count: i64 = rows.first().map_or(Ok(0), |row| column(row, "messages"))?;
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }

    fn queues_after(&mut self, after: QueueNumber, limit: u32) -> Result<Vec<WholeQueue>> {
        let rows = self.session.read(
            "SELECT queues.*, link_id, fixed_data, user_data
             FROM queues LEFT JOIN links ON links.queue = queues.number
             WHERE number > $1 ORDER BY number LIMIT $2",
            &[&after.0, &i64::from(limit)],
        )?;
        rows.iter().map(whole_from).collect()
    }

    fn messages(&mut self, queue: QueueNumber) -> Result<Vec<StoredMessage>> {
        let rows = self.session.read(
            "SELECT message_id, received_at, notify, body FROM messages WHERE queue = $1 ORDER BY number",
            &[&queue.0],
        )?;
        rows.iter().filter_map(|row| message_from(row).transpose()).collect()
    }

    fn counts(&mut self) -> Result<StoreCounts> {
        let rows = self.session.read(
            "SELECT (SELECT count(*) FROM queues) AS queues, (SELECT count(*) FROM messages) AS messages",
            &[],
        )?;
        let Some(row) = rows.first() else { return Ok(StoreCounts::default()) };
        let (queues, messages): (i64, i64) = (column(row, "queues")?, column(row, "messages")?);
        Ok(StoreCounts { queues: queues.unsigned_abs(), messages: messages.unsigned_abs() })
    }

    fn service(&mut self, fingerprint: &[u8; 32]) -> Result<Option<ServiceRecord>> {
        services::service(&mut self.session, fingerprint)
    }

    fn services_after(&mut self, after: &[u8; 32], limit: u32) -> Result<Vec<NewService>> {
        services::services_after(&mut self.session, after, limit)
    }

    fn service_queue_count(&mut self, service: ServiceRecord) -> Result<u64> {
        services::service_queue_count(&mut self.session, service)
    }

    fn service_backlog(&mut self, service: ServiceId, after: QueueNumber, limit: u32) -> Result<BacklogPage> {
        services::service_backlog(&mut self.session, service, after, limit)
    }
}
