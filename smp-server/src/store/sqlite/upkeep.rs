//! A database with its log, verified or copied: for `check` and `backup`.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::{BUSY_TIMEOUT, keep_private, log_directory, log_of, migrations, whole};
use crate::store::log::{self, LogId};
use crate::store::{Failure, FailureKind, QueueNumber, Result, StoreError};

/// Queues with damaged messages that are named.
const QUEUES_TOLD_MAX: usize = 100;
/// Queues that are read together.
const QUEUES_PER_PAGE: u32 = 1024;

/// What a verified store holds, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Its queues.
    pub queues: u64,
    /// Messages that wait.
    pub messages: u64,
    /// Files of the message log.
    pub segments: u64,
    /// What is damaged, in words for the operator; nothing when all is sound.
    pub problems: Vec<String>,
    /// What is remarkable and harmless.
    pub remarks: Vec<String>,
}

/// Verifies every page of the database, every record of its log, and that they fit each other. Changes nothing; no
/// server may use them meanwhile.
///
/// # Errors
/// When they cannot be read at all.
pub fn verify(path: &Path) -> Result<Verified> {
    let connection = open(path)?;
    let (mut problems, mut remarks) = (Vec::new(), Vec::new());
    let place = path.display();
    let damage = first_damage(&connection).unwrap_or_else(|error| Some(error.to_string()));
    problems.extend(damage.map(|damage| format!("{place} is damaged: {damage}")));
    if !problems.is_empty() {
        // Nothing that it says can be believed, also about its log.
        return Ok(Verified { queues: 0, messages: 0, segments: 0, problems, remarks });
    }
    migrations::expect_known(&connection)?;
    if migrations::is_older(&connection)? {
        remarks.push(format!("{place} is of an older version: the next start brings it to the present form"));
    }
    let queues = match count_queues(&connection) {
        Ok(queues) => queues,
        Err(error) => {
            problems.push(format!("{place}: {error}"));
            0
        }
    };
    let mut verified = Verified { queues, messages: 0, segments: 0, problems, remarks };
    if log_of::has_messages_table(&connection)? {
        verified.messages = whole::count(&connection, "messages")?;
        return Ok(verified);
    }
    let log = log_id(&connection, path)?;
    let survey = log::verify(&log_directory(path), log)?;
    (verified.messages, verified.segments) = (survey.messages, survey.segments);
    verified.problems.extend(survey.problems);
    for (queue, count) in survey.damaged.iter().take(QUEUES_TOLD_MAX) {
        verified.problems.extend(standing_still(&connection, *queue, *count));
    }
    if let Some(more) = survey.damaged.len().checked_sub(QUEUES_TOLD_MAX).filter(|more| *more > 0) {
        verified.problems.push(format!(
            "{more} more queues have damaged messages: `smp-server ctl damaged` tells of them, and `smp-server ctl \
             drop-damaged --all` lets them go on"
        ));
    }
    if survey.is_torn {
        verified
            .remarks
            .push("The last write was cut short; it had not been confirmed to anybody".to_owned());
    }
    let orphans = without_queue(&connection, survey.queues.iter())?.len();
    if orphans > 0 {
        verified.problems.push(format!("Messages wait in {orphans} queues that {place} does not have"));
    }
    Ok(verified)
}

/// Copies the database and its log into a directory, also while a server uses them: all that was confirmed before.
///
/// The log first: what is copied of it has its queues in the database, unless they were deleted meanwhile.
///
/// # Errors
/// When something cannot be read or written, or is damaged.
pub fn back_up(path: &Path, copy: &Path) -> Result<()> {
    let connection = open(path)?;
    if log_of::has_messages_table(&connection)? {
        let reason = "the database is of an older version: start the server once, then make the backup";
        return Err(Failure::new(FailureKind::Transient, reason).into());
    }
    let log = log_id(&connection, path)?;
    let messages = log_directory(copy);
    std::fs::DirBuilder::new().mode(0o700).create(&messages).map_err(|error| {
        StoreError::from(Failure::new(
            FailureKind::Transient,
            format!("{} cannot be made: {error}", messages.display()),
        ))
    })?;
    log::copy(&log_directory(path), &messages)?;
    keep_private(copy);
    connection.execute("VACUUM INTO ?1", [copy.to_string_lossy()])?;
    // Queues that were deleted between the two: their messages go at the first start.
    let copied = Connection::open(copy)?;
    let survey = log::verify(&messages, log)?;
    if let Some(problem) = survey.problems.into_iter().next() {
        return Err(Failure::new(FailureKind::Damaged, problem).into());
    }
    copied.execute_batch("BEGIN")?;
    for queue in without_queue(&copied, survey.queues.iter())? {
        copied.execute("INSERT INTO deleted_queues (number) VALUES (?1)", [queue.0])?;
    }
    copied.execute_batch("COMMIT")?;
    Ok(())
}

fn open(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

fn log_id(connection: &Connection, path: &Path) -> Result<LogId> {
    log_of::noted(connection)?.ok_or_else(|| log::not_ours(&log_directory(path)))
}

/// What SQLite finds wrong first.
fn first_damage(connection: &Connection) -> Result<Option<String>> {
    let found: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if found != "ok" {
        return Ok(Some(found));
    }
    let is_broken = connection.prepare("PRAGMA foreign_key_check")?.exists([])?;
    Ok(is_broken.then(|| "rows belong to queues that are not there".to_owned()))
}

/// Reads every queue.
fn count_queues(connection: &Connection) -> Result<u64> {
    if migrations::is_older(connection)? {
        return whole::count(connection, "queues");
    }
    let (mut count, mut after) = (0_u64, QueueNumber(0));
    loop {
        let page = whole::queues_after(connection, after, QUEUES_PER_PAGE)?;
        let Some(last) = page.last() else { return Ok(count) };
        (count, after) = (count.saturating_add(page.len() as u64), last.record.number);
    }
}

/// What is to be done for a queue with damaged messages; nothing when the queue cannot be read, which is told elsewhere.
fn standing_still(connection: &Connection, queue: QueueNumber, count: u64) -> Option<String> {
    let page = whole::queues_after(connection, QueueNumber(queue.0.saturating_sub(1)), 1).ok()?;
    page.first().filter(|found| found.record.number == queue).map(|found| {
        let id = found.record.sender_id;
        format!(
            "{count} messages of the queue {id} are damaged, and what is behind them is not delivered: start the server \
             and let it go on without them with `smp-server ctl drop-damaged {id}`"
        )
    })
}

/// Those of the queues that are neither in the database nor among those that it just deleted.
fn without_queue<'a>(
    connection: &Connection,
    queues: impl Iterator<Item = &'a QueueNumber>,
) -> Result<Vec<QueueNumber>> {
    let mut statement = connection.prepare(
        "SELECT 1 WHERE EXISTS (SELECT 1 FROM queues WHERE number = ?1)
                     OR EXISTS (SELECT 1 FROM deleted_queues WHERE number = ?1)",
    )?;
    let mut orphans = Vec::new();
    for queue in queues {
        if !statement.exists([queue.0])? {
            orphans.push(*queue);
        }
    }
    Ok(orphans)
}
