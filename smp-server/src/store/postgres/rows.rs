//! Rows of the database as records.

use postgres::Row;
use postgres::types::FromSql;
use protocol::smp::command::LinkData;
use protocol::smp::ids::{LinkId, MessageId, NotifierId, RecipientId, SenderId, ServiceId};
use protocol::timestamp::Timestamp;

use crate::store::columns::{key_from, keys_from, mode_from, status_from};
use crate::store::{
    DhSecret, Notifier, QueueNumber, QueueRecord, Result, ServiceQueue, StoreError, StoredMessage, WholeQueue,
};

/// Reads one column.
pub(super) fn column<'r, T: FromSql<'r>>(row: &'r Row, name: &'static str) -> Result<T> {
    Ok(row.try_get(name)?)
}

/// Reads a column of bytes whose number is known.
pub(super) fn fixed<const N: usize>(row: &Row, name: &'static str) -> Result<[u8; N]> {
    column::<&[u8]>(row, name)?.try_into().map_err(|_| StoreError::Damaged("id or secret"))
}

pub(super) fn optional<const N: usize>(row: &Row, name: &'static str) -> Result<Option<[u8; N]>> {
    let bytes = column::<Option<&[u8]>>(row, name)?.map(TryInto::try_into).transpose();
    bytes.map_err(|_| StoreError::Damaged("id or secret"))
}

/// Reads a row of `queues`.
pub(super) fn queue_from(row: &Row) -> Result<QueueRecord> {
    let sender_key: Option<&[u8]> = column(row, "sender_key")?;
    Ok(QueueRecord {
        number: QueueNumber(column(row, "number")?),
        recipient_id: RecipientId(fixed(row, "recipient_id")?),
        sender_id: SenderId(fixed(row, "sender_id")?),
        recipient_keys: keys_from(column(row, "recipient_keys")?)?,
        dh_secret: DhSecret(fixed(row, "dh_secret")?),
        sender_key: sender_key.map(|key| key_from(key, "sender key")).transpose()?,
        mode: mode_from(column(row, "mode")?)?,
        notifier: match optional(row, "notifier_id")? {
            None => None,
            Some(id) => Some(Notifier {
                id: NotifierId(id),
                key: key_from(column(row, "notifier_key")?, "notifier key")?,
                dh_secret: DhSecret(fixed(row, "notifier_secret")?),
            }),
        },
        status: status_from(column(row, "status")?, column(row, "blocking")?)?,
        used_on: column(row, "used_on")?,
        recipient_service: optional(row, "recipient_service")?.map(ServiceId),
        notifier_service: optional(row, "notifier_service")?.map(ServiceId),
    })
}

/// Reads a row of `queues` joined with `links`.
pub(super) fn whole_from(row: &Row) -> Result<WholeQueue> {
    let link = match optional(row, "link_id")? {
        None => None,
        Some(id) => Some((LinkId(id), link_data_from(row)?)),
    };
    Ok(WholeQueue { record: queue_from(row)?, link })
}

/// Reads the data of a row of `links`.
pub(super) fn link_data_from(row: &Row) -> Result<LinkData<'static>> {
    let (fixed, user): (Vec<u8>, Vec<u8>) = (column(row, "fixed_data")?, column(row, "user_data")?);
    Ok(LinkData { fixed: fixed.into(), user: user.into() })
}

/// Reads a row of `messages`; nothing when its columns are empty.
pub(super) fn message_from(row: &Row) -> Result<Option<StoredMessage>> {
    let Some(id) = optional(row, "message_id")? else { return Ok(None) };
    Ok(Some(StoredMessage {
        id: MessageId(id),
        received_at: Timestamp(column(row, "received_at")?),
        notify: column(row, "notify")?,
        body: column(row, "body")?,
    }))
}

/// Reads what the delivery of a service's queue needs.
pub(super) fn service_queue_from(row: &Row) -> Result<ServiceQueue> {
    Ok(ServiceQueue {
        number: QueueNumber(column(row, "number")?),
        recipient_id: RecipientId(fixed(row, "recipient_id")?),
        dh_secret: DhSecret(fixed(row, "dh_secret")?),
    })
}

/// The id of a notifier.
pub(super) fn notifier_id_from(row: &Row) -> Result<Option<NotifierId>> {
    Ok(optional(row, "notifier_id")?.map(NotifierId))
}
