//! Whole queues, out of this store and into it: for `export` and `import`.

use protocol::encoding::Encode as _;
use protocol::smp::ids::LinkId;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::records::insert_link;
use super::rows::{QUEUE_COLUMNS, queue_from};
use crate::store::columns::{keys_blob, mode_text, status_text};
use crate::store::{QueueNumber, QueueRecord, Result, WholeQueue};

pub(super) fn queues_after(
    connection: &Connection,
    after: QueueNumber,
    limit: u32,
) -> Result<Vec<WholeQueue>> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {QUEUE_COLUMNS} FROM queues WHERE number > ?1 ORDER BY number LIMIT ?2"
    ))?;
    let mut rows = statement.query(params![after.0, limit])?;
    let mut queues = Vec::new();
    while let Some(row) = rows.next()? {
        let record = queue_from(row)?;
        let link = link(connection, record.number)?;
        queues.push(WholeQueue { record, link });
    }
    Ok(queues)
}

fn link(
    connection: &Connection,
    queue: QueueNumber,
) -> Result<Option<(LinkId, protocol::smp::command::LinkData<'static>)>> {
    let mut statement =
        connection.prepare_cached("SELECT link_id, fixed_data, user_data FROM links WHERE queue = ?1")?;
    let link = statement.query_row([queue.0], |row| {
        let (fixed, user): (Vec<u8>, Vec<u8>) = (row.get(1)?, row.get(2)?);
        let data = protocol::smp::command::LinkData { fixed: fixed.into(), user: user.into() };
        Ok((LinkId(row.get(0)?), data))
    });
    Ok(link.optional()?)
}

/// How many rows a table has.
pub(super) fn count(connection: &Connection, table: &str) -> Result<u64> {
    let count: i64 = connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

pub(super) fn restore_queue(connection: &Connection, queue: &WholeQueue) -> Result<QueueNumber> {
    // Every field by name: one that is added must be taken along.
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
    } = &queue.record;
    connection
        .prepare_cached(
            "INSERT INTO queues
             (recipient_id, sender_id, recipient_keys, dh_secret, sender_key, mode, status, used_on, blocking,
              notifier_id, notifier_key, notifier_secret, recipient_service, notifier_service)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12,
                     (SELECT number FROM services WHERE service_id = ?13),
                     (SELECT number FROM services WHERE service_id = ?14))",
        )?
        .execute(params![
            recipient_id.as_bytes(),
            sender_id.as_bytes(),
            keys_blob(recipient_keys),
            dh_secret.0,
            sender_key.as_ref().map(|key| key.to_bytes()),
            mode_text(*mode),
            status_text(*status),
            used_on,
            status.blocking().map(|info| info.to_string()),
            notifier.as_ref().map(|notifier| notifier.id.as_bytes()),
            notifier.as_ref().map(|notifier| notifier.key.to_bytes()),
            notifier.as_ref().map(|notifier| notifier.dh_secret.0),
            recipient_service.as_ref().map(|service| service.as_bytes()),
            notifier_service.as_ref().map(|service| service.as_bytes()),
        ])?;
    let number = QueueNumber(connection.last_insert_rowid());
    if let Some((link_id, data)) = &queue.link {
        insert_link(connection, number, *link_id, data)?;
    }
    Ok(number)
}
