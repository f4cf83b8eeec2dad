//! Queues in PostgreSQL, for those who outgrow one machine.
//!
//! ```text
//! BEGIN · lock ──▶ step ──▶ step ──▶ … ──▶ COMMIT        one round trip each
//! ```
//!
//! A group of steps is one transaction under a lock that all processes on the database share: two of them never wait
//! for each other in a circle, and messages are numbered in the order of their commits. A step that fails fails its
//! whole group. A connection that is lost is made anew with the next group; a commit that was not answered is
//! reported as such ([`FailureKind::InDoubt`]), never as done.

mod failure;
#[cfg(test)]
mod loss;
mod migrations;
mod nodes;
mod reader;
mod rows;
#[cfg(test)]
pub(crate) mod scratch;
mod services;
mod session;

use std::time::Duration;

use postgres::{Config, Row};
use protocol::encoding::Encode as _;
use protocol::smp::blocking::BlockingInfo;
use protocol::smp::command::LinkData;
use protocol::smp::ids::{LinkId, MessageId, NotifierId, ServiceId};
use protocol::smp::key::AuthPublicKey;
use protocol::timestamp::Timestamp;

use super::columns::{blocking_from, keys_blob, mode_text, status_from, status_text};
use super::{
    AppendRules, Appended, Claim, Created, Deleted, ExpiryCursor, ExpiryPage, Failure, FailureKind, LinkSet,
    NewMessage, NewQueue, NewService, NodeLink, Notifier, NotifierSet, QueueNumber, QueueReader, QueueRecord,
    QueueStatus, QueueStore, Result, Secured, ServiceRecord, StoreError, StoredMessage, Stream, WholeQueue,
};
use nodes::{NodeNumber, PostgresNodes};
use reader::PostgresReader;
use rows::{column, message_from, notifier_id_from};
use session::{Access, Parameters, Refused, Session};

/// Opens a group: the lock is held until its end.
const BEGIN: &str = "BEGIN; SELECT pg_advisory_xact_lock(hashtext(current_schema()), 2)";

/// A store in a database. Connects when it is first used, on the thread that uses it.
#[derive(Debug)]
pub struct PostgresStore {
    session: Session,
    group: Group,
    node: NodeNumber,
    /// Subscriptions that the group claims, all by one claim.
    claimed: Vec<i64>,
    claim: Option<Claim>,
}

/// What became of the group of steps so far.
#[derive(Debug)]
enum Group {
    Sound,
    /// A step failed for this reason: the server takes no more steps and nothing is stored.
    Failed(String),
}

impl PostgresStore {
    /// Brings the database to the present form. `connection` is a connection string of libpq's form; `patience`
    /// bounds connecting and waiting for other processes. Must be called outside of an asynchronous runtime.
    ///
    /// # Errors
    /// When it cannot be understood or used, or was written by a newer server.
    pub fn open(connection: &str, patience: Duration) -> Result<Self> {
        let config: Config = connection.parse().map_err(|_| {
            Failure::new(FailureKind::Transient, "the connection string cannot be understood")
        })?;
        let access = Access { config, patience };
        let mut client = access.connect()?;
        migrations::apply(&mut client)?;
        let fsync: String = client.query_one("SHOW fsync", &[])?.get(0);
        if fsync != "on" {
            tracing::warn!(
                "PostgreSQL runs with fsync = off: a power failure can lose what was answered with OK"
            );
        }
        Ok(Self {
            session: Session::new(access),
            group: Group::Sound,
            node: NodeNumber::default(),
            claimed: Vec::new(),
            claim: None,
        })
    }

    /// Runs one step within the open group.
    fn step(&mut self, sql: &'static str, parameters: Parameters<'_>) -> Result<Vec<Row>> {
        if let Group::Failed(reason) = &self.group {
            return Err(StoreError::Commit(reason.clone()));
        }
        self.session.query(sql, parameters).map_err(|refused| {
            let error = StoreError::from(refused);
            self.group = Group::Failed(error.to_string());
            error
        })
    }

    /// Runs a step that concerns one queue, which it has a row for.
    fn step_on(&mut self, sql: &'static str, parameters: Parameters<'_>) -> Result<Row> {
        self.step(sql, parameters)?.into_iter().next().ok_or(StoreError::NoQueue)
    }

    fn insert(&mut self, whole: &WholeQueue) -> Result<Created> {
        // Every field by name: one that is added must be stored.
        let QueueRecord {
            number: _,
            recipient_id,
            sender_id,
            recipient_keys,
            dh_secret,
            sender_key,
            mode,
            notifier,
            status,
            used_on,
            recipient_service,
            notifier_service,
        } = &whole.record;
        let notifier = notifier.as_ref();
        let link = whole.link.as_ref();
        let rows = self.step(
            "SELECT create_queue($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
             AS number",
            &[
                &recipient_id.as_bytes().as_slice(),
                &sender_id.as_bytes().as_slice(),
                &keys_blob(recipient_keys),
                &dh_secret.0.as_slice(),
                &sender_key.as_ref().map(|key| key.to_bytes()),
                &mode_text(*mode),
                &status_text(*status),
                &status.blocking().map(|info| info.to_string()),
                &notifier.map(|notifier| notifier.id.as_bytes().as_slice()),
                &notifier.map(|notifier| notifier.key.to_bytes()),
                &notifier.map(|notifier| notifier.dh_secret.0.as_slice()),
                used_on,
                &recipient_service.as_ref().map(|id| id.as_bytes().as_slice()),
                &notifier_service.as_ref().map(|id| id.as_bytes().as_slice()),
                &link.map(|(id, _)| id.as_bytes().as_slice()),
                &link.map(|(_, data)| &*data.fixed),
                &link.map(|(_, data)| &*data.user),
            ],
        )?;
        let number: Option<i64> = rows.first().map_or(Ok(None), |row| column(row, "number"))?;
        Ok(number.map_or(Created::IdTaken, |number| Created::Stored(QueueNumber(number))))
    }

    fn set_blocking(&mut self, queue: QueueNumber, blocking: Option<BlockingInfo>) -> Result<QueueStatus> {
        let row = self.step_on(
            "SELECT status, blocking FROM set_blocking($1, $2, $3)",
            &[&queue.0, &blocking.map(|info| info.to_string()), &self.node.get()],
        )?;
        status_from(column(&row, "status")?, column(&row, "blocking")?)
    }
}

impl QueueStore for PostgresStore {
    fn open_reader(&self) -> Result<Box<dyn QueueReader>> {
        Ok(Box::new(PostgresReader::new(self.session.access().clone())))
    }

    fn node_link(&self, lease: Duration) -> Option<Box<dyn NodeLink>> {
        let access = self.session.access().clone();
        Some(Box::new(PostgresNodes::new(access, self.node.clone(), lease)))
    }

    fn claim_subscription(&mut self, queue: QueueNumber) -> Result<Option<Claim>> {
        if self.node.get().is_none() {
            return Ok(None);
        }
        if self.claim.is_none() {
            let rows = self.step("SELECT nextval('claims') AS claim", &[])?;
            self.claim = rows.first().map(|row| column(row, "claim").map(Claim)).transpose()?;
        }
        self.claimed.push(queue.0);
        Ok(self.claim)
    }

    fn begin(&mut self) -> Result<()> {
        self.group = Group::Sound;
        self.claimed.clear();
        self.claim = None;
        self.session.connect()?;
        let mut begun = self.session.with(|client| client.batch_execute(BEGIN));
        if let Err(Refused::Lost(_)) = begun {
            // The connection was lost while nothing was to be done: nothing is lost with it.
            self.session.connect()?;
            begun = self.session.with(|client| client.batch_execute(BEGIN));
        }
        // Without the lock there is no group: the server forgets that it was begun.
        Ok(begun.inspect_err(|_| self.session.give_up())?)
    }

    fn commit(&mut self) -> Result<()> {
        if let (Some(Claim(claim)), Some(node)) = (self.claim.take(), self.node.get()) {
            let claimed = std::mem::take(&mut self.claimed);
            // Should it fail, so does the group, as told below.
            let _ = self.step("SELECT claim_subscribers($1, $2, $3)", &[&claimed, &node, &claim]);
        }
        if let Group::Failed(reason) = std::mem::replace(&mut self.group, Group::Sound) {
            if self.session.with(|client| client.batch_execute("ROLLBACK")).is_err() {
                self.session.give_up();
            }
            return Err(Failure::new(FailureKind::Transient, reason).into());
        }
        match self.session.with(|client| client.batch_execute("COMMIT")) {
            Ok(()) => Ok(()),
            // It was lost before, and the group with it.
            Err(Refused::NotConnected) => Err(Refused::NotConnected.into()),
            Err(Refused::Lost(error) | Refused::Said(error)) => {
                self.session.give_up();
                Err(failure::of_commit(&error))
            }
        }
    }

    fn create_queue(&mut self, new: &NewQueue) -> Result<Created> {
        self.insert(&new.whole())
    }

    fn secure_queue(&mut self, queue: QueueNumber, sender_key: &AuthPublicKey) -> Result<Secured> {
        let key = sender_key.to_bytes();
        let row = self.step_on(
            "UPDATE queues SET sender_key = coalesce(sender_key, $2) WHERE number = $1
             RETURNING sender_key = $2 AS is_this_key",
            &[&queue.0, &key],
        )?;
        Ok(if column(&row, "is_this_key")? { Secured::WithThisKey } else { Secured::WithAnother })
    }

    fn replace_recipient_keys(&mut self, queue: QueueNumber, keys: &[AuthPublicKey]) -> Result<()> {
        let sql = "UPDATE queues SET recipient_keys = $2 WHERE number = $1 RETURNING number";
        self.step_on(sql, &[&queue.0, &keys_blob(keys)]).map(drop)
    }

    fn set_link_data(&mut self, queue: QueueNumber, link_id: LinkId, data: &LinkData<'_>) -> Result<LinkSet> {
        let row = self.step_on(
            "SELECT set_link_data($1, $2, $3, $4) AS stored",
            &[&queue.0, &link_id.as_bytes().as_slice(), &&*data.fixed, &&*data.user],
        )?;
        let stored: Option<bool> = column(&row, "stored")?;
        Ok(if stored.ok_or(StoreError::NoQueue)? { LinkSet::Stored } else { LinkSet::Refused })
    }

    fn delete_link_data(&mut self, queue: QueueNumber) -> Result<()> {
        self.step_on(
            "WITH gone AS (DELETE FROM links WHERE queue = $1)
             SELECT number FROM queues WHERE number = $1",
            &[&queue.0],
        )
        .map(drop)
    }

    fn append_message(
        &mut self,
        queue: QueueNumber,
        message: &NewMessage<'_>,
        rules: AppendRules,
    ) -> Result<Appended> {
        let row = self.step_on(
            "SELECT outcome, reason FROM append_message($1, $2, $3, $4, $5, $6, $7, $8)",
            &[
                &queue.0,
                &message.id.as_bytes().as_slice(),
                &message.received_at.0,
                &message.notify,
                &message.body,
                &i64::from(rules.quota),
                &rules.expire_before.map(|moment| moment.0),
                &self.node.get(),
            ],
        )?;
        Ok(match column(&row, "outcome")? {
            "stored" => Appended::Stored,
            "marked" => Appended::Full { marked: true },
            "full" => Appended::Full { marked: false },
            "suspended" => Appended::Suspended,
            _ => Appended::Blocked(blocking_from(column(&row, "reason")?)?),
        })
    }

    fn acknowledge(
        &mut self,
        queue: QueueNumber,
        message_id: Option<MessageId>,
    ) -> Result<Option<StoredMessage>> {
        let row = self.step_on(
            "WITH head AS (SELECT number, message_id FROM messages WHERE queue = $1 ORDER BY number LIMIT 1),
             gone AS (DELETE FROM messages USING head
                      WHERE messages.queue = $1 AND messages.number = head.number AND head.message_id = $2
                      RETURNING messages.number)
             SELECT next.* FROM queues LEFT JOIN LATERAL (
                 SELECT message_id, received_at, notify, body FROM messages
                 WHERE queue = $1 AND number > coalesce((SELECT number FROM gone), 0) ORDER BY number LIMIT 1
             ) next ON true
             WHERE queues.number = $1",
            &[&queue.0, &message_id.as_ref().map(|id| id.as_bytes().as_slice())],
        )?;
        message_from(&row)
    }

    fn suspend_queue(&mut self, queue: QueueNumber) -> Result<()> {
        let sql = "UPDATE queues SET status = 'off' WHERE number = $1 RETURNING number";
        self.step_on(sql, &[&queue.0]).map(drop)
    }

    fn delete_queue(&mut self, queue: QueueNumber) -> Result<Deleted> {
        let row = self.step_on(
            "SELECT notifier_id, messages FROM delete_queue($1, $2)",
            &[&queue.0, &self.node.get()],
        )?;
        let messages: i64 = column(&row, "messages")?;
        Ok(Deleted {
            notifier: notifier_id_from(&row)?,
            messages: u32::try_from(messages).unwrap_or(u32::MAX),
        })
    }

    fn set_notifier(&mut self, queue: QueueNumber, notifier: &Notifier) -> Result<NotifierSet> {
        let row = self.step_on(
            "WITH former AS (
                 SELECT number, notifier_id,
                        EXISTS (SELECT 1 FROM queues WHERE notifier_id = $2 AND number <> $1) AS taken
                 FROM queues WHERE number = $1),
             written AS (
                 UPDATE queues SET notifier_id = $2, notifier_key = $3, notifier_secret = $4,
                                   notifier_service = NULL
                 FROM former WHERE queues.number = former.number AND NOT taken)
             SELECT notifier_id, taken FROM former",
            &[
                &queue.0,
                &notifier.id.as_bytes().as_slice(),
                &notifier.key.to_bytes(),
                &notifier.dh_secret.0.as_slice(),
            ],
        )?;
        if column(&row, "taken")? {
            return Ok(NotifierSet::IdTaken);
        }
        Ok(NotifierSet::Stored { replaced: notifier_id_from(&row)? })
    }

    fn delete_notifier(&mut self, queue: QueueNumber) -> Result<Option<NotifierId>> {
        let row = self.step_on(
            "WITH written AS (
                 UPDATE queues SET notifier_id = NULL, notifier_key = NULL, notifier_secret = NULL,
                                   notifier_service = NULL
                 WHERE number = $1)
             SELECT notifier_id FROM queues WHERE number = $1",
            &[&queue.0],
        )?;
        notifier_id_from(&row)
    }

    fn block_queue(&mut self, queue: QueueNumber, info: BlockingInfo) -> Result<QueueStatus> {
        self.set_blocking(queue, Some(info))
    }

    fn unblock_queue(&mut self, queue: QueueNumber) -> Result<QueueStatus> {
        self.set_blocking(queue, None)
    }

    fn add_service(&mut self, new: &NewService) -> Result<ServiceRecord> {
        services::add(self, new)
    }

    fn associate(
        &mut self,
        queue: QueueNumber,
        stream: Stream,
        service: Option<ServiceId>,
    ) -> Result<Option<ServiceId>> {
        services::associate(self, queue, stream, service)
    }

    fn mark_used(&mut self, queues: &[QueueNumber], day: i64) -> Result<()> {
        let numbers: Vec<i64> = queues.iter().map(|queue| queue.0).collect();
        let sql = "UPDATE queues SET used_on = $2 WHERE number = ANY ($1) AND used_on <> $2";
        self.step(sql, &[&numbers, &day]).map(drop)
    }

    fn restore_queue(&mut self, queue: &WholeQueue) -> Result<Created> {
        self.insert(queue)
    }

    fn restore_message(&mut self, queue: QueueNumber, message: &StoredMessage) -> Result<()> {
        self.step_on(
            "INSERT INTO messages (queue, message_id, received_at, notify, body)
             SELECT number, $2, $3, $4, $5 FROM queues WHERE number = $1 RETURNING queue",
            &[
                &queue.0,
                &message.id.as_bytes().as_slice(),
                &message.received_at.0,
                &message.notify,
                &message.body,
            ],
        )
        .map(drop)
    }

    fn expire_messages(&mut self, before: Timestamp, cursor: ExpiryCursor, limit: u32) -> Result<ExpiryPage> {
        let rows = self.step(
            "WITH looked_at AS (
                 SELECT received_at, number, queue FROM messages
                 WHERE body IS NOT NULL AND received_at < $1 AND (received_at, number) > ($2, $3)
                 ORDER BY received_at, number LIMIT $4),
             emptied AS MATERIALIZED (
                 SELECT expire_head(queue, $1) AS deleted FROM (SELECT DISTINCT queue FROM looked_at) queues)
             SELECT received_at, number,
                    (SELECT coalesce(sum(deleted), 0)::bigint FROM emptied) AS deleted,
                    (SELECT count(*) FROM looked_at) AS looked_at
             FROM looked_at ORDER BY received_at DESC, number DESC LIMIT 1",
            &[&before.0, &cursor.received_at, &cursor.number, &i64::from(limit)],
        )?;
        let Some(row) = rows.first() else { return Ok(ExpiryPage { deleted: 0, next: None }) };
        let (deleted, looked_at): (i64, i64) = (column(row, "deleted")?, column(row, "looked_at")?);
        let next = ExpiryCursor { received_at: column(row, "received_at")?, number: column(row, "number")? };
        Ok(ExpiryPage {
            deleted: deleted.unsigned_abs(),
            next: (looked_at >= i64::from(limit)).then_some(next),
        })
    }
}
