//! Rows of the database as records, and back.

use protocol::encoding::{Decode as _, DecodeError, Encode as _, Reader, put_list};
use protocol::smp::blocking::BlockingInfo;
use protocol::smp::ids::{MessageId, NotifierId, RecipientId, SenderId, ServiceId};
use protocol::smp::key::AuthPublicKey;
use protocol::smp::queue_uri::QueueMode;
use protocol::timestamp::Timestamp;
use rusqlite::Row;

use crate::store::{
    DhSecret, Notifier, QueueNumber, QueueRecord, QueueStatus, Result, StoreError, StoredMessage,
};

/// The columns that [`queue_from`] reads.
pub(super) const QUEUE_COLUMNS: &str =
    "number, recipient_id, sender_id, recipient_keys, dh_secret, sender_key, mode, status, used_on, blocking,
     notifier_id, notifier_key, notifier_secret,
     (SELECT service_id FROM services WHERE services.number = recipient_service),
     (SELECT service_id FROM services WHERE services.number = notifier_service)";

/// The head of a queue, for [`message_from`].
pub(super) const FIRST_MESSAGE: &str =
    "SELECT message_id, received_at, notify, body FROM messages WHERE queue = ?1 ORDER BY number LIMIT 1";

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
        sender_key: sender_key
            .map(|key| AuthPublicKey::from_bytes(&key))
            .transpose()
            .map_err(|_| StoreError::Damaged("sender key"))?,
        mode: match mode.as_deref() {
            None => None,
            Some("M") => Some(QueueMode::Messaging),
            Some("C") => Some(QueueMode::Contact),
            Some(_) => return Err(StoreError::Damaged("queue mode")),
        },
        notifier: notifier_from(row)?,
        status: status_from(&row.get::<_, String>(7)?, row.get(9)?)?,
        used_on: row.get(8)?,
        recipient_service: row.get::<_, Option<_>>(13)?.map(ServiceId),
        notifier_service: row.get::<_, Option<_>>(14)?.map(ServiceId),
    })
}

fn notifier_from(row: &Row<'_>) -> Result<Option<Notifier>> {
    let Some(id) = row.get::<_, Option<_>>(10)? else { return Ok(None) };
    let key: Vec<u8> = row.get(11)?;
    let key = AuthPublicKey::from_bytes(&key).map_err(|_| StoreError::Damaged("notifier key"))?;
    Ok(Some(Notifier { id: NotifierId(id), key, dh_secret: DhSecret(row.get(12)?) }))
}

/// Reads the columns of [`FIRST_MESSAGE`].
pub(super) fn message_from(row: &Row<'_>) -> Result<StoredMessage> {
    Ok(StoredMessage {
        id: MessageId(row.get(0)?),
        received_at: Timestamp(row.get(1)?),
        notify: row.get(2)?,
        body: row.get(3)?,
    })
}

pub(super) fn status_from(text: &str, blocking: Option<String>) -> Result<QueueStatus> {
    let suspended = match text {
        "active" => false,
        "off" => true,
        _ => return Err(StoreError::Damaged("queue status")),
    };
    let blocking = blocking.map(|text| text.parse::<BlockingInfo>()).transpose();
    let blocking = blocking.map_err(|_| StoreError::Damaged("reason to block a queue"))?;
    Ok(QueueStatus::from_parts(suspended, blocking))
}

pub(super) fn mode_text(mode: Option<QueueMode>) -> Option<&'static str> {
    mode.map(|mode| match mode {
        QueueMode::Messaging => "M",
        QueueMode::Contact => "C",
    })
}

/// Keys as `RKEY` has them on the wire: at most 255.
pub(super) fn keys_blob(keys: &[AuthPublicKey]) -> Vec<u8> {
    let mut out = Vec::new();
    put_list(&mut out, keys, |out, key| key.encode(out));
    out
}

fn keys_from(blob: &[u8]) -> Result<Vec<AuthPublicKey>> {
    let read = || -> std::result::Result<_, DecodeError> {
        let mut reader = Reader::new(blob);
        let keys = reader.non_empty_list(AuthPublicKey::decode)?;
        reader.end()?;
        Ok(keys)
    };
    read().map_err(|_| StoreError::Damaged("recipient key"))
}
