//! Reads, those that come in great number by few statements, on a connection of the reader's own.

use std::collections::HashMap;

use protocol::smp::command::LinkData;
use protocol::smp::ids::{LinkId, NotifierId, RecipientId, SenderId, ServiceId};

use super::nodes::NodeNumber;
use super::rows::{column, fixed, head_from, link_data_from, message_from, queue_from, whole_from};
use super::services;
use super::session::{Access, Session};
use super::{each, failed, subscriptions};
use crate::store::{
    BacklogPage, Head, NewService, QueueName, QueueNumber, QueueReader, QueueRecord, Result, ServiceRecord,
    StoreCounts, StoreError, StoredMessage, WholeQueue,
};

/// Reads of different connections that share their statements.
const READS_PER_VISIT: usize = 32;

/// A view of what is committed.
#[derive(Debug)]
pub(super) struct PostgresReader {
    session: Session,
    node: NodeNumber,
}

impl PostgresReader {
    pub(super) fn new(access: Access, node: NodeNumber) -> Self {
        Self { session: Session::new(access), node }
    }

    /// Adds the queues under names of one kind.
    fn find(&mut self, kind: NameKind, names: &[QueueName], found: &mut Found) -> Result<()> {
        let ids: Vec<&[u8]> = names.iter().filter_map(|name| kind.id_of(name)).collect();
        if ids.is_empty() {
            return Ok(());
        }
        for row in self.session.read(kind.sql(), &[&ids])? {
            let record = queue_from(&row);
            let name = kind.name(fixed(&row, kind.column())?);
            found.insert(name, record.ok());
        }
        Ok(())
    }
}

/// Queues by the names that were asked for; nothing where the record is damaged.
type Found = HashMap<QueueName, Option<QueueRecord>>;

/// By which of its ids a queue is looked for.
#[derive(Clone, Copy)]
enum NameKind {
    Recipient,
    Sender,
    Notifier,
    Link,
}

impl NameKind {
    const ALL: [Self; 4] = [Self::Recipient, Self::Sender, Self::Notifier, Self::Link];

    fn id_of(self, name: &QueueName) -> Option<&[u8]> {
        match (self, name) {
            (Self::Recipient, QueueName::Recipient(id)) => Some(id.as_bytes()),
            (Self::Sender, QueueName::Sender(id)) => Some(id.as_bytes()),
            (Self::Notifier, QueueName::Notifier(id)) => Some(id.as_bytes()),
            (Self::Link, QueueName::Link(id)) => Some(id.as_bytes()),
            (Self::Recipient | Self::Sender | Self::Notifier | Self::Link, _) => None,
        }
    }

    fn name(self, id: [u8; 24]) -> QueueName {
        match self {
            Self::Recipient => QueueName::Recipient(RecipientId(id)),
            Self::Sender => QueueName::Sender(SenderId(id)),
            Self::Notifier => QueueName::Notifier(NotifierId(id)),
            Self::Link => QueueName::Link(LinkId(id)),
        }
    }

    fn column(self) -> &'static str {
        match self {
            Self::Recipient => "recipient_id",
            Self::Sender => "sender_id",
            Self::Notifier => "notifier_id",
            Self::Link => "link_id",
        }
    }

    fn sql(self) -> &'static str {
        match self {
            Self::Recipient => "SELECT * FROM queues WHERE recipient_id = ANY ($1)",
            Self::Sender => "SELECT * FROM queues WHERE sender_id = ANY ($1)",
            Self::Notifier => "SELECT * FROM queues WHERE notifier_id = ANY ($1)",
            Self::Link => {
                "SELECT queues.*, link_id FROM links JOIN queues ON queues.number = links.queue
                 WHERE link_id = ANY ($1)"
            }
        }
    }
}

impl QueueReader for PostgresReader {
    fn reads_per_visit(&self) -> usize {
        READS_PER_VISIT
    }

    fn queue(&mut self, name: &QueueName) -> Result<Option<QueueRecord>> {
        self.queues(std::slice::from_ref(name)).pop().unwrap_or(Ok(None))
    }

    fn queues(&mut self, names: &[QueueName]) -> Vec<Result<Option<QueueRecord>>> {
        let mut found = Found::new();
        let looked = NameKind::ALL.into_iter().try_for_each(|kind| self.find(kind, names, &mut found));
        if let Err(error) = looked {
            return failed(names.len(), error);
        }
        let record = |name| match found.get(name) {
            None => Ok(None),
            Some(Some(record)) => Ok(Some(record.clone())),
            Some(None) => Err(StoreError::Damaged("queue")),
        };
        names.iter().map(record).collect()
    }

    fn heads(&mut self, heads: &[Head]) -> Vec<Result<Option<StoredMessage>>> {
        let queues: Vec<i64> = heads.iter().map(|head| head.queue.0).collect();
        let (kinds, ids) = subscriptions(heads.iter());
        let rows = self.session.read(
            "SELECT given.rival AS elsewhere, message_id, received_at, notify, body
             FROM unnest($1::bigint[], rival_claims($2, $3, $4)) WITH ORDINALITY AS given (queue, rival, turn)
             LEFT JOIN LATERAL (SELECT message_id, received_at, notify, body FROM messages
                                WHERE queue = given.queue AND given.rival IS NULL
                                ORDER BY number LIMIT 1) head ON true
             ORDER BY given.turn",
            &[&queues, &kinds, &ids, &self.node.get()],
        );
        each(heads.len(), rows, head_from)
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
