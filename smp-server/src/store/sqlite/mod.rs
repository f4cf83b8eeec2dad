//! Queues in one SQLite file and their messages in a log beside it: the default.
//!
//! Write-ahead log with `synchronous = FULL`: a commit returns when its log is on disk. Readers have connections of
//! their own and see the last commit. Each step is a savepoint within the group that `begin` opens, so that a step
//! that fails leaves nothing behind.

mod failure;
mod log_of;
mod migrations;
mod reader;
mod records;
mod rows;
mod services;
mod states;
mod upkeep;
mod whole;

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use protocol::smp::blocking::BlockingInfo;
use protocol::smp::command::LinkData;
use protocol::smp::ids::{LinkId, MessageId, NotifierId, ServiceId};
use protocol::smp::key::AuthPublicKey;
use protocol::timestamp::Timestamp;
use rusqlite::{Connection, Savepoint, params};

use super::columns::keys_blob;
use super::{
    AppendRules, Appended, Created, Deleted, ExpiryCursor, ExpiryPage, FailureKind, LinkSet, NewMessage,
    NewQueue, NewService, Notifier, NotifierSet, PromptReader, QueueNumber, QueueReader, QueueStatus,
    QueueStore, Result, Secured, ServiceRecord, StoreError, StoredMessage, Stream, WholeQueue,
};
use crate::config::Storage;
use crate::directory::MESSAGES_DIRECTORY;
use crate::store::log::MessageLog;
pub use upkeep::{Verified, back_up, verify};

use reader::SqliteReader;
use records::{exists, notifier_id, set_blocking, there};
use states::{State, States};

/// How long a connection waits for another one, which only happens while the log is folded into the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Pages of the log before it is folded into the file: 16 MiB keeps the pauses rare and short.
const CHECKPOINT_PAGES: u32 = 4096;
/// Prepared statements that a connection keeps.
const STATEMENTS_MAX: usize = 64;

/// Queues in a file, messages in a log beside it.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    connection: Connection,
    log: MessageLog,
    states: States,
    /// Whether the open group changes the file.
    changes_file: bool,
    /// Deleted queues whose messages leave the log with this group.
    emptying: Vec<QueueNumber>,
    /// Those whose messages left it with earlier ones.
    emptied: Vec<QueueNumber>,
}

impl SqliteStore {
    /// Opens the file and the log beside it, makes them if they are not there, and brings them to the present form.
    ///
    /// # Errors
    /// When it is no such file, was written by a newer server, is damaged, or cannot be written.
    pub fn open(path: &Path, settings: &Storage) -> Result<Self> {
        keep_private(path);
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        migrations::apply(&mut connection)?;
        let log = log_of::open(&mut connection, &log_directory(path), settings.into())?;
        let states = States::watching(&mut connection)?;
        Ok(Self {
            path: path.to_owned(),
            connection,
            log,
            states,
            changes_file: false,
            emptying: Vec::new(),
            emptied: Vec::new(),
        })
    }

    /// Runs one step that changes the file within the open group: wholly, or not at all.
    fn step<T>(&mut self, run: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        if !self.changes_file {
            self.connection.execute_batch("BEGIN IMMEDIATE")?;
            self.changes_file = true;
            self.forget_emptied()?;
        } else if self.connection.is_autocommit() {
            // An earlier step met a full or failing disk and SQLite rolled the whole group back.
            return Err(StoreError::Commit("the group was rolled back".to_owned()));
        }
        let savepoint: Savepoint<'_> = self.connection.savepoint()?;
        let result = run(&savepoint)?;
        savepoint.commit()?;
        Ok(result)
    }

    /// The messages of these deleted queues are out of the log for good.
    fn forget_emptied(&mut self) -> Result<()> {
        let mut statement = self.connection.prepare_cached("DELETE FROM deleted_queues WHERE number = ?1")?;
        for queue in self.emptied.drain(..) {
            statement.execute([queue.0])?;
        }
        Ok(())
    }

    /// Commits the changes of the file.
    fn commit_file(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.changes_file) {
            return Ok(());
        }
        self.connection.execute_batch("COMMIT").map_err(|error| {
            self.roll_back();
            error.into()
        })
    }

    /// Undoes what a commit that failed may have left open.
    fn roll_back(&mut self) {
        self.changes_file = false;
        self.states.forget_all();
        if !self.connection.is_autocommit() {
            // Should this fail too, the next step does.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
    }

    /// How a queue takes messages.
    fn state(&mut self, queue: QueueNumber) -> Result<State> {
        self.states.get(queue, &self.connection)
    }
}

/// Where the messages of a database are.
fn log_directory(path: &Path) -> PathBuf {
    path.with_file_name(MESSAGES_DIRECTORY)
}

impl QueueStore for SqliteStore {
    fn is_ours_alone(&self) -> bool {
        true
    }

    fn open_reader(&self) -> Result<Box<dyn QueueReader>> {
        Ok(Box::new(SqliteReader::open(&self.path, self.log.reader())?))
    }

    fn prompt_reader(&self) -> Option<Arc<dyn PromptReader>> {
        Some(Arc::new(self.log.reader()))
    }

    fn begin(&mut self) -> Result<()> {
        if self.changes_file {
            self.roll_back();
        }
        self.emptying.clear();
        self.log.begin();
        Ok(())
    }

    /// The file first: a message is never in the log before its queue is in the file. A crash between the two leaves
    /// queue records changed without the messages that were to come or go with them; nobody was told of either:
    /// - a queue that is deleted leaves messages that nobody can ask for; `deleted_queues` names it until they are
    ///   gone from the log too;
    /// - link data that are deleted with the first message of a secured queue belong to an invitation that is used.
    fn commit(&mut self) -> Result<()> {
        self.commit_file()?;
        let committed = self.log.commit();
        match &committed {
            Ok(()) => self.emptied.append(&mut self.emptying),
            Err(_) => self.emptying.clear(),
        }
        committed
    }

    fn create_queue(&mut self, queue: &NewQueue) -> Result<Created> {
        let stored = self.step(|connection| records::create_queue(connection, queue));
        match stored {
            Err(StoreError::Database(failure)) if failure.kind() == FailureKind::Taken => {
                Ok(Created::IdTaken)
            }
            result => result,
        }
    }

    fn secure_queue(&mut self, queue: QueueNumber, sender_key: &AuthPublicKey) -> Result<Secured> {
        self.step(|connection| records::secure_queue(connection, queue, sender_key))
    }

    fn replace_recipient_keys(&mut self, queue: QueueNumber, keys: &[AuthPublicKey]) -> Result<()> {
        self.step(|connection| {
            let changed = connection
                .prepare_cached("UPDATE queues SET recipient_keys = ?2 WHERE number = ?1")?
                .execute(params![queue.0, keys_blob(keys)])?;
            there(changed)
        })
    }

    fn set_link_data(&mut self, queue: QueueNumber, link_id: LinkId, data: &LinkData<'_>) -> Result<LinkSet> {
        let set = self.step(|connection| records::set_link_data(connection, queue, link_id, data));
        match set {
            Err(StoreError::Database(failure)) if failure.kind() == FailureKind::Taken => {
                Ok(LinkSet::Refused)
            }
            result => result,
        }
    }

    fn delete_link_data(&mut self, queue: QueueNumber) -> Result<()> {
        self.step(|connection| {
            exists(connection, queue)?;
            connection.prepare_cached("DELETE FROM links WHERE queue = ?1")?.execute([queue.0])?;
            Ok(())
        })
    }

    fn append_message(
        &mut self,
        queue: QueueNumber,
        message: &NewMessage<'_>,
        rules: AppendRules,
    ) -> Result<Appended> {
        let state = self.state(queue)?;
        match state.status {
            QueueStatus::Active => {}
            QueueStatus::Off => return Ok(Appended::Suspended),
            QueueStatus::Blocked { info, .. } => return Ok(Appended::Blocked(info)),
        }
        if state.drops_link {
            self.step(|connection| {
                connection.prepare_cached("DELETE FROM links WHERE queue = ?1")?.execute([queue.0])?;
                Ok(())
            })?;
        }
        if let Some(before) = rules.expire_before {
            self.log.expire(queue, before);
        }
        if self.log.ends_with_marker(queue) {
            return Ok(Appended::Full { marked: false });
        }
        let fits = self.log.message_count(queue) < rules.quota;
        self.log.append(queue, message, !fits)?;
        Ok(if fits { Appended::Stored } else { Appended::Full { marked: true } })
    }

    fn acknowledge(
        &mut self,
        queue: QueueNumber,
        message_id: Option<MessageId>,
    ) -> Result<Option<StoredMessage>> {
        self.state(queue)?;
        let is_head = message_id.is_some() && self.log.head_id(queue) == message_id;
        // Read first: when the next one is damaged, nothing changes.
        let next = self.log.message_at(queue, usize::from(is_head))?;
        if is_head {
            self.log.remove(queue, 1);
        }
        Ok(next)
    }

    fn drop_damaged(&mut self, queue: QueueNumber) -> Result<u32> {
        self.state(queue)?;
        self.log.drop_damaged(queue)
    }

    fn suspend_queue(&mut self, queue: QueueNumber) -> Result<()> {
        self.step(|connection| {
            let changed = connection
                .prepare_cached("UPDATE queues SET status = 'off' WHERE number = ?1")?
                .execute([queue.0])?;
            there(changed)
        })
    }

    fn delete_queue(&mut self, queue: QueueNumber) -> Result<Deleted> {
        let messages = self.log.message_count(queue);
        let deleted = self.step(|connection| {
            let deleted = Deleted { notifier: notifier_id(connection, queue)?, messages };
            connection.prepare_cached("DELETE FROM queues WHERE number = ?1")?.execute([queue.0])?;
            if messages > 0 {
                connection
                    .prepare_cached("INSERT INTO deleted_queues (number) VALUES (?1)")?
                    .execute([queue.0])?;
            }
            Ok(deleted)
        })?;
        if messages > 0 {
            self.log.remove_all(queue);
            self.emptying.push(queue);
        }
        Ok(deleted)
    }

    fn set_notifier(&mut self, queue: QueueNumber, notifier: &Notifier) -> Result<NotifierSet> {
        let set = self.step(|connection| records::set_notifier(connection, queue, notifier));
        match set {
            Err(StoreError::Database(failure)) if failure.kind() == FailureKind::Taken => {
                Ok(NotifierSet::IdTaken)
            }
            result => result,
        }
    }

    fn delete_notifier(&mut self, queue: QueueNumber) -> Result<Option<NotifierId>> {
        self.step(|connection| records::delete_notifier(connection, queue))
    }

    fn block_queue(&mut self, queue: QueueNumber, info: BlockingInfo) -> Result<QueueStatus> {
        self.step(|connection| set_blocking(connection, queue, Some(info)))
    }

    fn unblock_queue(&mut self, queue: QueueNumber) -> Result<QueueStatus> {
        self.step(|connection| set_blocking(connection, queue, None))
    }

    fn add_service(&mut self, new: &NewService) -> Result<ServiceRecord> {
        self.step(|connection| services::add_service(connection, new))
    }

    fn associate(
        &mut self,
        queue: QueueNumber,
        stream: Stream,
        service: Option<ServiceId>,
    ) -> Result<Option<ServiceId>> {
        self.step(|connection| services::associate(connection, queue, stream, service))
    }

    fn mark_used(&mut self, queues: &[QueueNumber], day: i64) -> Result<()> {
        self.step(|connection| {
            let mut statement =
                connection.prepare_cached("UPDATE queues SET used_on = ?2 WHERE number = ?1")?;
            for queue in queues {
                statement.execute([queue.0, day])?;
            }
            Ok(())
        })
    }

    fn restore_queue(&mut self, queue: &WholeQueue) -> Result<Created> {
        let stored = self.step(|connection| whole::restore_queue(connection, queue).map(Created::Stored));
        match stored {
            Err(StoreError::Database(failure)) if failure.kind() == FailureKind::Taken => {
                Ok(Created::IdTaken)
            }
            result => result,
        }
    }

    fn restore_message(&mut self, queue: QueueNumber, message: &StoredMessage) -> Result<()> {
        self.state(queue)?;
        let (id, received_at, notify) = (message.id, message.received_at, message.notify);
        let body = message.body.as_deref().unwrap_or_default();
        self.log.append(queue, &NewMessage { id, received_at, notify, body }, message.body.is_none())
    }

    fn expire_messages(&mut self, before: Timestamp, cursor: ExpiryCursor, limit: u32) -> Result<ExpiryPage> {
        let queues = self.log.queues_behind(QueueNumber(cursor.number), limit as usize);
        let next = queues.last().filter(|_| queues.len() == limit as usize);
        let next = next.map(|last| ExpiryCursor { received_at: 0, number: last.0 });
        let deleted = queues.into_iter().map(|queue| self.log.expire(queue, before)).sum();
        Ok(ExpiryPage { deleted, next })
    }
}

/// Makes the file, if it is not there, so that its owner alone may read it; SQLite gives its logs the same mode.
/// Should that fail, so does opening it, which says why.
fn keep_private(path: &Path) {
    let _ = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
}
