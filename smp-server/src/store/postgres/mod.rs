//! Queues in PostgreSQL, for those who outgrow one machine.
//!
//! ```text
//! BEGIN · lock the queues ──▶ all messages ──▶ all acknowledgements ──▶ other step ──▶ … ──▶ COMMIT
//! ```
//!
//! A group of steps is one transaction: each arrow is one round trip, however many messages it stands for. It begins
//! with the locks of its queues in one order, so that groups of several writers and several processes never wait for
//! each other in a circle, and each queue's messages are numbered in the order of their commits; groups about different
//! queues do not wait at all. A step that fails fails its whole group. A connection that is lost is made anew with the
//! next group; a commit that was not answered is reported as such ([`FailureKind::InDoubt`]), never as done.

mod failure;
#[cfg(test)]
mod loss;
mod migrations;
mod news;
mod nodes;
mod reader;
mod rows;
mod services;
mod session;

use std::collections::BTreeSet;
use std::time::Duration;

use postgres::Row;
use protocol::encoding::Encode as _;
use protocol::smp::blocking::BlockingInfo;
use protocol::smp::command::LinkData;
use protocol::smp::ids::{LinkId, MessageId, NotifierId, ServiceId};
use protocol::smp::key::AuthPublicKey;
use protocol::timestamp::Timestamp;

use super::columns::{blocking_from, keys_blob, status_from};
use super::{
    Acknowledgement, AppendRules, Appended, Created, Deleted, ExpiryCursor, ExpiryPage, Failure, FailureKind,
    Head, LinkSet, NewMessage, NewQueue, NewService, NodeEar, NodeVoice, Notifier, NotifierSet, QueueNumber,
    QueueReader, QueueStatus, QueueStore, Result, Secured, Sent, ServiceRecord, StoreError, StoredMessage,
    Stream, WholeQueue,
};
use news::kind;
use nodes::{NodeNumber, PostgresEar, PostgresVoice};
use reader::PostgresReader;
use rows::{QueueColumns, column, head_from, notifier_id_from};
use session::{Access, Parameters, Refused, Session};

/// A store in a database. Connects when it is first used, on the thread that uses it.
#[derive(Debug)]
pub struct PostgresStore {
    session: Session,
    group: Group,
    node: NodeNumber,
    /// Whether it is the only one yet.
    is_first: bool,
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
        let (config, tls) = daemon::postgres::read(connection)?;
        let access = Access { config, tls, patience, durable: true };
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
            is_first: true,
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
        self.insert_all(std::slice::from_ref(whole)).pop().unwrap_or(Err(StoreError::Damaged("answer")))
    }

    fn insert_all(&mut self, all: &[WholeQueue]) -> Vec<Result<Created>> {
        let columns = QueueColumns::of(all);
        let rows = self.step(
            "SELECT create_queue(recipient_id, sender_id, recipient_keys, dh_secret, sender_key, mode, status,
                                 blocking, notifier_id, notifier_key, notifier_secret, used_on, recipient_service,
                                 notifier_service, link_id, fixed_data, user_data) AS number
             FROM unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::bytea[], $5::bytea[], $6::text[], $7::text[],
                         $8::text[], $9::bytea[], $10::bytea[], $11::bytea[], $12::bigint[], $13::bytea[],
                         $14::bytea[], $15::bytea[], $16::bytea[], $17::bytea[])
                  WITH ORDINALITY AS new (
                      recipient_id, sender_id, recipient_keys, dh_secret, sender_key, mode, status, blocking,
                      notifier_id, notifier_key, notifier_secret, used_on, recipient_service, notifier_service,
                      link_id, fixed_data, user_data, turn)
             ORDER BY turn",
            &columns.parameters(),
        );
        each(all.len(), rows, |row| {
            let number: Option<i64> = column(row, "number")?;
            Ok(number.map_or(Created::IdTaken, |number| Created::Stored(QueueNumber(number))))
        })
    }

    /// Acknowledges in queues of which each is named once.
    fn acknowledge_in(&mut self, some: &[Acknowledgement]) -> Vec<Result<Option<StoredMessage>>> {
        let queues: Vec<i64> = some.iter().map(|one| one.head.queue.0).collect();
        let ids: Vec<Option<&[u8]>> =
            some.iter().map(|one| one.message_id.as_ref().map(|id| id.as_bytes().as_slice())).collect();
        let (kinds, topics) = subscriptions(some.iter().map(|one| &one.head));
        let rows = self.step(
            "SELECT * FROM acknowledge_messages($1, $2, $3, $4, $5)",
            &[&queues, &ids, &kinds, &topics, &self.node.get()],
        );
        in_turn(some.len(), rows, head_from)
    }

    fn set_blocking(&mut self, queue: QueueNumber, blocking: Option<BlockingInfo>) -> Result<QueueStatus> {
        let row = self.step_on(
            "SELECT status, blocking FROM set_blocking($1, $2)",
            &[&queue.0, &blocking.map(|info| info.to_string())],
        )?;
        status_from(column(&row, "status")?, column(&row, "blocking")?)
    }
}

impl QueueStore for PostgresStore {
    fn open_reader(&self) -> Result<Box<dyn QueueReader>> {
        Ok(Box::new(PostgresReader::new(self.session.access().clone(), self.node.clone())))
    }

    fn join_nodes(&self, lease: Duration) -> Option<(Box<dyn NodeEar>, Box<dyn NodeVoice>)> {
        let (access, number) = (self.session.access(), &self.node);
        let ear = PostgresEar::new(access.clone(), number.clone(), lease);
        let voice = PostgresVoice::new(access.clone(), number.clone());
        Some((Box::new(ear), Box::new(voice)))
    }

    fn second_writer(&self) -> Option<Box<dyn QueueStore>> {
        let session = Session::new(self.session.access().clone());
        let second = Self { session, group: Group::Sound, node: self.node.clone(), is_first: false };
        self.is_first.then(|| -> Box<dyn QueueStore> { Box::new(second) })
    }

    fn begin(&mut self) -> Result<()> {
        self.begin_on(&[])
    }

    fn begin_on(&mut self, queues: &[QueueNumber]) -> Result<()> {
        let queues: BTreeSet<i64> = queues.iter().map(|queue| queue.0).collect();
        let mut begin = "BEGIN".to_owned();
        if !queues.is_empty() {
            let queues: Vec<String> = queues.iter().map(i64::to_string).collect();
            begin.push_str(&format!("; SELECT lock_queues('{{{}}}')", queues.join(",")));
        }
        self.group = Group::Sound;
        self.session.connect()?;
        let mut begun = self.session.with(|client| client.batch_execute(&begin));
        if let Err(Refused::Lost(_)) = begun {
            // The connection was lost while nothing was to be done: nothing is lost with it.
            self.session.connect()?;
            begun = self.session.with(|client| client.batch_execute(&begin));
        }
        // Without the locks there is no group: the server forgets that it was begun.
        Ok(begun.inspect_err(|_| self.session.give_up())?)
    }

    fn commit(&mut self) -> Result<()> {
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

    fn create_queues(&mut self, new: &[NewQueue]) -> Vec<Result<Created>> {
        let all: Vec<WholeQueue> = new.iter().map(NewQueue::whole).collect();
        self.insert_all(&all)
    }

    fn append_message(
        &mut self,
        queue: QueueNumber,
        message: &NewMessage<'_>,
        rules: AppendRules,
    ) -> Result<Appended> {
        let NewMessage { id, received_at, notify, body } = *message;
        let sent = Sent { queue, id, received_at, notify, body: body.to_vec().into(), rules };
        self.append_messages(&[sent]).pop().unwrap_or(Err(StoreError::NoQueue))
    }

    fn append_messages(&mut self, sent: &[Sent]) -> Vec<Result<Appended>> {
        let queues: Vec<i64> = sent.iter().map(|one| one.queue.0).collect();
        let ids: Vec<&[u8]> = sent.iter().map(|one| one.id.as_bytes().as_slice()).collect();
        let received: Vec<i64> = sent.iter().map(|one| one.received_at.0).collect();
        let notify: Vec<bool> = sent.iter().map(|one| one.notify).collect();
        let bodies: Vec<&[u8]> = sent.iter().map(|one| &*one.body).collect();
        let quotas: Vec<i64> = sent.iter().map(|one| i64::from(one.rules.quota)).collect();
        let expired: Vec<Option<i64>> =
            sent.iter().map(|one| one.rules.expire_before.map(|moment| moment.0)).collect();
        let rows = self.step(
            "SELECT turn, outcome, reason FROM append_messages($1, $2, $3, $4, $5, $6, $7)",
            &[&queues, &ids, &received, &notify, &bodies, &quotas, &expired],
        );
        in_turn(sent.len(), rows, |row| {
            Ok(match column(row, "outcome")? {
                "stored" => Appended::Stored,
                "marked" => Appended::Full { marked: true },
                "full" => Appended::Full { marked: false },
                "suspended" => Appended::Suspended,
                _ => Appended::Blocked(blocking_from(column(row, "reason")?)?),
            })
        })
    }

    fn acknowledge(
        &mut self,
        queue: QueueNumber,
        message_id: Option<MessageId>,
    ) -> Result<Option<StoredMessage>> {
        let one = Acknowledgement { message_id, head: Head { queue, subscription: None } };
        self.acknowledge_in(&[one]).pop().unwrap_or(Err(StoreError::NoQueue))
    }

    fn acknowledge_messages(
        &mut self,
        acknowledged: &[Acknowledgement],
    ) -> Vec<Result<Option<StoredMessage>>> {
        let mut named = BTreeSet::new();
        if acknowledged.iter().all(|one| named.insert(one.head.queue)) {
            return self.acknowledge_in(acknowledged);
        }
        // Two connections acknowledge in one queue: one after the other.
        acknowledged
            .iter()
            .map(|one| self.acknowledge_in(&[*one]).pop().unwrap_or(Err(StoreError::NoQueue)))
            .collect()
    }

    fn suspend_queue(&mut self, queue: QueueNumber) -> Result<()> {
        let sql = "UPDATE queues SET status = 'off' WHERE number = $1 RETURNING number";
        self.step_on(sql, &[&queue.0]).map(drop)
    }

    fn delete_queue(&mut self, queue: QueueNumber) -> Result<Deleted> {
        let row = self.step_on("SELECT notifier_id, messages FROM delete_queue($1)", &[&queue.0])?;
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
            "INSERT INTO messages (queue, message_id, received_at, notify, body, place)
             SELECT number, $2, $3, $4, $5, 1 + coalesce(
                 (SELECT place FROM messages WHERE queue = $1 ORDER BY messages.number DESC LIMIT 1), 0)
             FROM queues WHERE number = $1 RETURNING queue",
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
                 SELECT expire_heads(ARRAY(SELECT DISTINCT queue FROM looked_at), $1) AS deleted)
             SELECT received_at, number, (SELECT deleted FROM emptied) AS deleted,
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

/// Under which kinds and ids of subscriptions heads are read; nothing where by none.
fn subscriptions<'h>(
    heads: impl Iterator<Item = &'h Head>,
) -> (Vec<Option<&'static str>>, Vec<Option<&'h [u8]>>) {
    heads.map(|head| head.subscription.as_ref().map(|topic| (kind(topic), topic.entity_id())).unzip()).unzip()
}

/// The answers of steps that were one statement with a row for each.
fn each<T>(count: usize, rows: Result<Vec<Row>>, read: impl Fn(&Row) -> Result<T>) -> Vec<Result<T>> {
    match rows {
        Ok(rows) => rows.iter().map(read).collect(),
        Err(error) => failed(count, error),
    }
}

/// The same with a row for those whose queue there is; it says in its column `turn` which one it is, from 1.
fn in_turn<T>(count: usize, rows: Result<Vec<Row>>, read: impl Fn(&Row) -> Result<T>) -> Vec<Result<T>> {
    let rows = match rows {
        Ok(rows) => rows,
        Err(error) => return failed(count, error),
    };
    let mut answers: Vec<Result<T>> = (0..count).map(|_| Err(StoreError::NoQueue)).collect();
    for row in &rows {
        let turn = column::<i64>(row, "turn").ok().and_then(|turn| usize::try_from(turn).ok());
        if let Some(answer) = turn.and_then(|turn| answers.get_mut(turn.checked_sub(1)?)) {
            *answer = read(row);
        }
    }
    answers
}

/// The first has the error, and the others what it did to their group.
fn failed<T>(count: usize, error: StoreError) -> Vec<Result<T>> {
    let reason = error.to_string();
    let others = (1..count).map(|_| Err(StoreError::Commit(reason.clone())));
    std::iter::once(Err(error)).chain(others).collect()
}
