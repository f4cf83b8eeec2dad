//! Rows of the database as records, and back.

use protocol::smp::ids::{MessageId, NotifierId, RecipientId, SenderId, ServiceId};
use protocol::timestamp::Timestamp;
use rusqlite::Row;

use crate::store::columns::{key_from, keys_from, mode_from, status_from};
use crate::store::{DhSecret, Notifier, QueueNumber, QueueRecord, Result, StoredMessage};

/// The columns that [`queue_from`] reads.
pub(super) const QUEUE_COLUMNS: &str =
    "number, recipient_id, sender_id, recipient_keys, dh_secret, sender_key, mode, status, used_on, blocking,
     notifier_id, notifier_key, notifier_secret,
     (SELECT service_id FROM services WHERE services.number = recipient_service),
     (SELECT service_id FROM services WHERE services.number = notifier_service)";

/// Whether a sender secured a queue whose link can then be used no more; and the queue's status.
pub(super) const LINK_IS_USED: &str =
    "SELECT sender_key IS NOT NULL AND (mode IS NULL OR mode <> 'C'), status, blocking
     FROM queues WHERE number = ?1";

/// Reads [`QUEUE_COLUMNS`].
pub(super) fn queue_from(row: &Row<'_>) -> Result<QueueRecord> {
    let sender_key: Option<Vec<u8>> = row.get(5)?;
    let mode: Option<String> = row.get(6)?;
    Ok(QueueRecord {
        number: QueueNumber(row.get(0)?),
        recipient_id: RecipientId(row.get(1)?),
        sender_id: SenderId(row.get(2)?),
        recipient_keys: keys_from(&row.get::<_, Vec<u8>>(3)?)?,
        dh_secret: DhSecret(row.get(4)?),
        sender_key: sender_key.map(|key| key_from(&key, "sender key")).transpose()?,
        mode: mode_from(mode.as_deref())?,
        notifier: notifier_from(row)?,
        status: status_from(&row.get::<_, String>(7)?, row.get::<_, Option<String>>(9)?.as_deref())?,
        used_on: row.get(8)?,
        recipient_service: row.get::<_, Option<_>>(13)?.map(ServiceId),
        notifier_service: row.get::<_, Option<_>>(14)?.map(ServiceId),
    })
}

fn notifier_from(row: &Row<'_>) -> Result<Option<Notifier>> {
    let Some(id) = row.get::<_, Option<_>>(10)? else { return Ok(None) };
    let key: Vec<u8> = row.get(11)?;
    let key = key_from(&key, "notifier key")?;
    Ok(Some(Notifier { id: NotifierId(id), key, dh_secret: DhSecret(row.get(12)?) }))
}

/// Reads a message of a database that has messages: id, time, flag and body.
pub(super) fn message_from(row: &Row<'_>) -> Result<StoredMessage> {
    Ok(StoredMessage {
        id: MessageId(row.get(0)?),
        received_at: Timestamp(row.get(1)?),
        notify: row.get(2)?,
        body: row.get(3)?,
    })
}
