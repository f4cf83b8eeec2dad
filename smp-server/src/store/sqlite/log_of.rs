//! The log of a database: found again, made, or filled from a database that holds messages itself.
//!
//! ```text
//! messages in the file ─▶ log drawn an id, noted in the file ─▶ messages.new filled ─▶ renamed ─▶ table dropped
//! ```
//!
//! A start that is interrupted anywhere begins anew, up to the renaming; after it the table is dropped only.

use std::fs::File;
use std::path::Path;

use protocol::crypto::random_bytes;
use protocol::net::rng::system_rng;
use rusqlite::{Connection, OptionalExtension as _};

use super::rows::message_from;
use crate::store::log::{LogId, LogSettings, MessageLog, not_ours};
use crate::store::{Failure, FailureKind, NewMessage, QueueNumber, Result, StoreError};

/// Messages that are committed to the new log together.
const MESSAGES_PER_COMMIT: usize = 256;

/// Opens the log in `directory` that belongs to the database.
pub(super) fn open(
    connection: &mut Connection,
    directory: &Path,
    settings: LogSettings,
) -> Result<MessageLog> {
    let noted = noted(connection)?;
    let mut log = if has_messages_table(connection)? {
        let log = match noted {
            // Interrupted after the renaming: the log is complete.
            Some(id) if directory.exists() => MessageLog::open(directory, id, settings)?,
            _ if directory.exists() => return Err(not_ours(directory)),
            _ => fill(connection, directory, settings)?,
        };
        connection.execute_batch("DROP TABLE messages")?;
        // Gives the room back; without it the file stays large, and is used again.
        if let Err(error) = connection.execute_batch("VACUUM") {
            tracing::warn!(%error, "the database could not be made smaller");
        }
        log
    } else {
        let id = noted.ok_or_else(|| not_ours(directory))?;
        MessageLog::open(directory, id, settings)?
    };
    finish_deletions(connection, &mut log)?;
    Ok(log)
}

/// Removes the messages of queues that were deleted just before a crash.
fn finish_deletions(connection: &Connection, log: &mut MessageLog) -> Result<()> {
    let mut statement = connection.prepare("SELECT number FROM deleted_queues")?;
    let deleted: Vec<i64> = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    log.begin();
    for queue in &deleted {
        log.remove_all(QueueNumber(*queue));
    }
    log.commit()?;
    connection.execute_batch("DELETE FROM deleted_queues")?;
    Ok(())
}

/// Makes a log with the messages of the file.
fn fill(connection: &Connection, directory: &Path, settings: LogSettings) -> Result<MessageLog> {
    let id = LogId(random_bytes(&mut system_rng()));
    let unfinished = directory.with_extension("new");
    if unfinished.exists() {
        std::fs::remove_dir_all(&unfinished).map_err(|error| refused(&unfinished, &error))?;
    }
    connection.execute_batch("BEGIN IMMEDIATE; DELETE FROM message_log")?;
    connection.execute("INSERT INTO message_log (id) VALUES (?1)", [id.0])?;
    connection.execute_batch("COMMIT")?;
    let mut log = MessageLog::create(&unfinished, id, settings)?;
    copy(connection, &mut log)?;
    drop(log);
    std::fs::rename(&unfinished, directory).map_err(|error| refused(directory, &error))?;
    let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent).and_then(|parent| parent.sync_all()).map_err(|error| refused(parent, &error))?;
    MessageLog::open(directory, id, settings)
}

fn copy(connection: &Connection, log: &mut MessageLog) -> Result<()> {
    let mut statement = connection
        .prepare("SELECT message_id, received_at, notify, body, queue FROM messages ORDER BY number")?;
    let mut rows = statement.query([])?;
    let (mut copied, mut waiting) = (0_u64, 0);
    log.begin();
    while let Some(row) = rows.next()? {
        let message = message_from(row)?;
        let body = message.body.as_deref();
        let new = NewMessage {
            id: message.id,
            received_at: message.received_at,
            notify: message.notify,
            body: body.unwrap_or_default(),
        };
        log.append(QueueNumber(row.get(4)?), &new, body.is_none())?;
        (copied, waiting) = (copied.saturating_add(1), waiting + 1);
        if waiting == MESSAGES_PER_COMMIT {
            log.commit()?;
            log.begin();
            waiting = 0;
        }
    }
    log.commit()?;
    if copied > 0 {
        tracing::info!(messages = copied, "messages were moved out of the database into a log");
    }
    Ok(())
}

pub(super) fn noted(connection: &Connection) -> Result<Option<LogId>> {
    let id = connection.query_row("SELECT id FROM message_log", [], |row| row.get(0)).optional()?;
    Ok(id.map(LogId))
}

pub(super) fn has_messages_table(connection: &Connection) -> Result<bool> {
    let sql = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'messages'";
    Ok(connection.prepare(sql)?.exists([])?)
}

fn refused(path: &Path, error: &std::io::Error) -> StoreError {
    Failure::new(FailureKind::Transient, format!("{} cannot be changed: {error}", path.display())).into()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::store::{QueueReader, QueueStore as _, SqliteStore};

    const SETTINGS: LogSettings = LogSettings { segment_bytes: 8192, open_files: 2 };
    const MESSAGES: i64 = 600;

    /// A database as it was when it held the messages.
    fn old_database(directory: &Path) -> PathBuf {
        let path = directory.join("queues.db");
        let connection = Connection::open(&path).unwrap();
        let scripts = [
            include_str!("../../../migrations/sqlite/0001_queues.sql"),
            include_str!("../../../migrations/sqlite/0002_notifiers.sql"),
            include_str!("../../../migrations/sqlite/0003_services.sql"),
        ];
        connection.execute_batch(&scripts.concat()).unwrap();
        connection.pragma_update(None, "user_version", 3).unwrap();
        connection
            .execute_batch(
                "INSERT INTO queues (recipient_id, sender_id, recipient_keys, dh_secret, used_on)
                 VALUES (zeroblob(24), zeroblob(24), x'00', zeroblob(32), 0), (randomblob(24), randomblob(24), x'00',
                 zeroblob(32), 0)",
            )
            .unwrap();
        for number in 0..MESSAGES {
            let body = (number < MESSAGES - 1).then(|| vec![7_u8; 100]);
            connection
                .execute(
                    "INSERT INTO messages (queue, message_id, received_at, notify, body) VALUES (?1, ?2, ?3, ?4, ?5)",
                    rusqlite::params![1 + number % 2, id_of(number), number, number % 3 == 0, body],
                )
                .unwrap();
        }
        path
    }

    fn id_of(number: i64) -> [u8; 24] {
        let mut id = [0; 24];
        id[..8].copy_from_slice(&number.to_be_bytes());
        id
    }

    fn assert_has_all(path: &Path) {
        let store = SqliteStore::open(path, &crate::config::Storage::default()).unwrap();
        let mut reader: Box<dyn QueueReader> = store.open_reader().unwrap();
        for queue in [1, 2] {
            let messages = reader.messages(QueueNumber(queue)).unwrap();
            let numbers: Vec<i64> = (0..MESSAGES).filter(|number| 1 + number % 2 == queue).collect();
            assert_eq!(messages.len(), numbers.len());
            for (message, number) in messages.iter().zip(numbers) {
                assert_eq!((message.id.0, message.received_at.0), (id_of(number), number));
                assert_eq!(message.notify, number % 3 == 0);
                assert_eq!(message.body, (number < MESSAGES - 1).then(|| vec![7_u8; 100]));
            }
        }
    }

    #[test]
    fn messages_move_out_of_the_file_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = old_database(directory.path());
        for _ in 0..2 {
            assert_has_all(&path);
        }
        let connection = Connection::open(&path).unwrap();
        assert!(!has_messages_table(&connection).unwrap());
    }

    #[test]
    fn a_move_that_was_interrupted_is_done_again() {
        // Half a log was written.
        let directory = tempfile::tempdir().unwrap();
        let path = old_database(directory.path());
        let mut connection = Connection::open(&path).unwrap();
        super::super::migrations::apply(&mut connection).unwrap();
        let mut half =
            MessageLog::create(&directory.path().join("messages.new"), LogId([1; 8]), SETTINGS).unwrap();
        half.begin();
        let message = NewMessage {
            id: protocol::smp::ids::MessageId([1; 24]),
            received_at: protocol::timestamp::Timestamp(0),
            notify: false,
            body: b"half",
        };
        half.append(QueueNumber(1), &message, false).unwrap();
        half.commit().unwrap();
        drop(half);
        drop(connection);
        assert_has_all(&path);
        // The log is there, and the messages are still in the file.
        let directory = tempfile::tempdir().unwrap();
        let path = old_database(directory.path());
        let mut connection = Connection::open(&path).unwrap();
        super::super::migrations::apply(&mut connection).unwrap();
        drop(fill(&connection, &directory.path().join("messages"), SETTINGS).unwrap());
        drop(connection);
        assert_has_all(&path);
    }

    #[test]
    fn a_database_and_a_log_of_two_servers_are_refused() {
        let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let settings = crate::config::Storage::default();
        for directory in [&ours, &theirs] {
            drop(SqliteStore::open(&directory.path().join("queues.db"), &settings).unwrap());
        }
        let log = ours.path().join("messages");
        std::fs::rename(&log, ours.path().join("away")).unwrap();
        let open = || SqliteStore::open(&ours.path().join("queues.db"), &settings);
        assert!(open().is_err(), "the log is missing");
        std::fs::rename(theirs.path().join("messages"), &log).unwrap();
        let refused = open().unwrap_err().to_string();
        assert!(refused.contains("restored together"), "{refused}");
        // An older database beside a newer log.
        let older = tempfile::tempdir().unwrap();
        let path = old_database(older.path());
        std::fs::rename(&log, older.path().join("messages")).unwrap();
        assert!(SqliteStore::open(&path, &settings).is_err());
    }

    #[test]
    fn messages_of_a_queue_that_was_deleted_before_a_crash_go_at_the_start() {
        let directory = tempfile::tempdir().unwrap();
        let path = old_database(directory.path());
        assert_has_all(&path);
        let connection = Connection::open(&path).unwrap();
        let sql = "DELETE FROM queues WHERE number = 1; INSERT INTO deleted_queues (number) VALUES (1)";
        connection.execute_batch(sql).unwrap();
        drop(connection);
        let store = SqliteStore::open(&path, &crate::config::Storage::default()).unwrap();
        let mut reader = store.open_reader().unwrap();
        assert_eq!(reader.message_count(QueueNumber(1)).unwrap(), 0);
        assert_eq!(reader.message_count(QueueNumber(2)).unwrap(), 300);
    }
}
