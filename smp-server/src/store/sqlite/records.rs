//! The changes of a queue's record in the file, each within the step that asks for it.

use protocol::encoding::Encode as _;
use protocol::smp::blocking::BlockingInfo;
use protocol::smp::command::LinkData;
use protocol::smp::ids::{LinkId, NotifierId};
use protocol::smp::key::AuthPublicKey;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::rows::LINK_IS_USED;
use crate::store::columns::{keys_blob, mode_text, status_from};
use crate::store::{
    Created, LinkSet, NewQueue, Notifier, NotifierSet, QueueNumber, QueueStatus, Result, Secured, StoreError,
};

pub(super) fn create_queue(connection: &Connection, queue: &NewQueue) -> Result<Created> {
    connection
        .prepare_cached(
            "INSERT INTO queues (recipient_id, sender_id, recipient_keys, dh_secret, mode, used_on,
                                 notifier_id, notifier_key, notifier_secret, recipient_service)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9,
                     (SELECT number FROM services WHERE service_id = ?10))",
        )?
        .execute(params![
            queue.recipient_id.as_bytes(),
            queue.sender_id.as_bytes(),
            keys_blob(&[queue.recipient_key]),
            queue.dh_secret.0,
            mode_text(queue.mode),
            queue.used_on,
            queue.notifier.as_ref().map(|notifier| notifier.id.as_bytes()),
            queue.notifier.as_ref().map(|notifier| notifier.key.to_bytes()),
            queue.notifier.as_ref().map(|notifier| notifier.dh_secret.0),
            queue.recipient_service.as_ref().map(|service| service.as_bytes()),
        ])?;
    let number = QueueNumber(connection.last_insert_rowid());
    if let Some((link_id, data)) = &queue.link {
        insert_link(connection, number, *link_id, data)?;
    }
    Ok(Created::Stored(number))
}

pub(super) fn secure_queue(
    connection: &Connection,
    queue: QueueNumber,
    sender_key: &AuthPublicKey,
) -> Result<Secured> {
    let stored: Option<Vec<u8>> = connection
        .prepare_cached("SELECT sender_key FROM queues WHERE number = ?1")?
        .query_row([queue.0], |row| row.get(0))
        .optional()?
        .ok_or(StoreError::NoQueue)?;
    let key = sender_key.to_bytes();
    match stored {
        Some(stored) if stored == key => Ok(Secured::WithThisKey),
        Some(_) => Ok(Secured::WithAnother),
        None => {
            connection
                .prepare_cached("UPDATE queues SET sender_key = ?2 WHERE number = ?1")?
                .execute(params![queue.0, key])?;
            Ok(Secured::WithThisKey)
        }
    }
}

pub(super) fn set_link_data(
    connection: &Connection,
    queue: QueueNumber,
    link_id: LinkId,
    data: &LinkData<'_>,
) -> Result<LinkSet> {
    let used: bool = connection
        .prepare_cached(LINK_IS_USED)?
        .query_row([queue.0], |row| row.get(0))
        .optional()?
        .ok_or(StoreError::NoQueue)?;
    let stored: Option<(Vec<u8>, Vec<u8>)> = connection
        .prepare_cached("SELECT link_id, fixed_data FROM links WHERE queue = ?1")?
        .query_row([queue.0], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    match stored {
        _ if used => return Ok(LinkSet::Refused),
        Some((id, fixed)) if id != link_id.as_bytes() || fixed != *data.fixed => {
            return Ok(LinkSet::Refused);
        }
        Some(_) => {
            connection
                .prepare_cached("UPDATE links SET user_data = ?2 WHERE queue = ?1")?
                .execute(params![queue.0, data.user])?;
        }
        None => insert_link(connection, queue, link_id, data)?,
    }
    Ok(LinkSet::Stored)
}

pub(super) fn set_notifier(
    connection: &Connection,
    queue: QueueNumber,
    notifier: &Notifier,
) -> Result<NotifierSet> {
    let replaced = notifier_id(connection, queue)?;
    connection
        .prepare_cached(
            "UPDATE queues SET notifier_id = ?2, notifier_key = ?3, notifier_secret = ?4,
             notifier_service = NULL WHERE number = ?1",
        )?
        .execute(params![queue.0, notifier.id.as_bytes(), notifier.key.to_bytes(), notifier.dh_secret.0])?;
    Ok(NotifierSet::Stored { replaced })
}

pub(super) fn delete_notifier(connection: &Connection, queue: QueueNumber) -> Result<Option<NotifierId>> {
    let deleted = notifier_id(connection, queue)?;
    connection
        .prepare_cached(
            "UPDATE queues SET notifier_id = NULL, notifier_key = NULL, notifier_secret = NULL,
             notifier_service = NULL WHERE number = ?1",
        )?
        .execute([queue.0])?;
    Ok(deleted)
}

pub(super) fn insert_link(
    connection: &Connection,
    queue: QueueNumber,
    link_id: LinkId,
    data: &LinkData<'_>,
) -> Result<()> {
    connection
        .prepare_cached("INSERT INTO links (queue, link_id, fixed_data, user_data) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![queue.0, link_id.as_bytes(), data.fixed, data.user])?;
    Ok(())
}

pub(super) fn notifier_id(connection: &Connection, queue: QueueNumber) -> Result<Option<NotifierId>> {
    let stored: Option<Option<[u8; 24]>> = connection
        .prepare_cached("SELECT notifier_id FROM queues WHERE number = ?1")?
        .query_row([queue.0], |row| row.get(0))
        .optional()?;
    Ok(stored.ok_or(StoreError::NoQueue)?.map(NotifierId))
}

/// Sets why a queue is blocked, and says what its status was.
pub(super) fn set_blocking(
    connection: &Connection,
    queue: QueueNumber,
    blocking: Option<BlockingInfo>,
) -> Result<QueueStatus> {
    let (status, former): (String, Option<String>) = connection
        .prepare_cached("SELECT status, blocking FROM queues WHERE number = ?1")?
        .query_row([queue.0], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?
        .ok_or(StoreError::NoQueue)?;
    connection
        .prepare_cached("UPDATE queues SET blocking = ?2 WHERE number = ?1")?
        .execute(params![queue.0, blocking.map(|info| info.to_string())])?;
    status_from(&status, former.as_deref())
}

pub(super) fn exists(connection: &Connection, queue: QueueNumber) -> Result<()> {
    let found = connection.prepare_cached("SELECT 1 FROM queues WHERE number = ?1")?.exists([queue.0])?;
    there(usize::from(found))
}

pub(super) fn there(changed: usize) -> Result<()> {
    if changed == 0 { Err(StoreError::NoQueue) } else { Ok(()) }
}
