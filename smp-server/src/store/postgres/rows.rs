//! Rows of the database as records.

use postgres::Row;
use postgres::types::{FromSql, ToSql};
use protocol::encoding::Encode as _;
use protocol::smp::command::LinkData;
use protocol::smp::ids::{LinkId, MessageId, NotifierId, RecipientId, SenderId, ServiceId};
use protocol::timestamp::Timestamp;

use crate::store::columns::{
    blocking_from, key_from, keys_blob, keys_from, mode_from, mode_text, status_from, status_text,
};
use crate::store::{
    Claim, DhSecret, Notifier, QueueNumber, QueueRecord, Result, ServiceQueue, StoreError, StoredMessage,
    WholeQueue,
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

/// Reads the head of a queue; nothing when its columns are empty.
pub(super) fn head_from(row: &Row) -> Result<Option<StoredMessage>> {
    match column(row, "elsewhere")? {
        Some(claim) => Err(StoreError::Elsewhere(Claim(claim))),
        None => message_from(row),
    }
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
        blocking: column::<Option<&str>>(row, "blocking")?.map(blocking_from).transpose()?,
    })
}

/// The id of a notifier.
pub(super) fn notifier_id_from(row: &Row) -> Result<Option<NotifierId>> {
    Ok(optional(row, "notifier_id")?.map(NotifierId))
}

/// Queues as arrays of their columns, in the order of `create_queue`.
#[derive(Default)]
pub(super) struct QueueColumns<'q> {
    recipient_ids: Vec<&'q [u8]>,
    sender_ids: Vec<&'q [u8]>,
    recipient_keys: Vec<Vec<u8>>,
    dh_secrets: Vec<&'q [u8]>,
    sender_keys: Vec<Option<Vec<u8>>>,
    modes: Vec<Option<&'static str>>,
    statuses: Vec<&'static str>,
    blockings: Vec<Option<String>>,
    notifier_ids: Vec<Option<&'q [u8]>>,
    notifier_keys: Vec<Option<Vec<u8>>>,
    notifier_secrets: Vec<Option<&'q [u8]>>,
    used_on: Vec<i64>,
    recipient_services: Vec<Option<&'q [u8]>>,
    notifier_services: Vec<Option<&'q [u8]>>,
    link_ids: Vec<Option<&'q [u8]>>,
    fixed_data: Vec<Option<&'q [u8]>>,
    user_data: Vec<Option<&'q [u8]>>,
}

impl<'q> QueueColumns<'q> {
    pub(super) fn of(queues: &'q [WholeQueue]) -> Self {
        let mut all = Self::default();
        for queue in queues {
            all.add(queue);
        }
        all
    }

    fn add(&mut self, WholeQueue { record, link }: &'q WholeQueue) {
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
        } = record;
        let (notifier, link) = (notifier.as_ref(), link.as_ref());
        self.recipient_ids.push(recipient_id.as_bytes());
        self.sender_ids.push(sender_id.as_bytes());
        self.recipient_keys.push(keys_blob(recipient_keys));
        self.dh_secrets.push(&dh_secret.0);
        self.sender_keys.push(sender_key.as_ref().map(|key| key.to_bytes()));
        self.modes.push(mode_text(*mode));
        self.statuses.push(status_text(*status));
        self.blockings.push(status.blocking().map(|info| info.to_string()));
        self.notifier_ids.push(notifier.map(|notifier| notifier.id.as_bytes().as_slice()));
        self.notifier_keys.push(notifier.map(|notifier| notifier.key.to_bytes()));
        self.notifier_secrets.push(notifier.map(|notifier| notifier.dh_secret.0.as_slice()));
        self.used_on.push(*used_on);
        self.recipient_services.push(recipient_service.as_ref().map(|id| id.as_bytes().as_slice()));
        self.notifier_services.push(notifier_service.as_ref().map(|id| id.as_bytes().as_slice()));
        self.link_ids.push(link.map(|(id, _)| id.as_bytes().as_slice()));
        self.fixed_data.push(link.map(|(_, data)| &*data.fixed));
        self.user_data.push(link.map(|(_, data)| &*data.user));
    }

    pub(super) fn parameters(&self) -> [&(dyn ToSql + Sync); 17] {
        [
            &self.recipient_ids,
            &self.sender_ids,
            &self.recipient_keys,
            &self.dh_secrets,
            &self.sender_keys,
            &self.modes,
            &self.statuses,
            &self.blockings,
            &self.notifier_ids,
            &self.notifier_keys,
            &self.notifier_secrets,
            &self.used_on,
            &self.recipient_services,
            &self.notifier_services,
            &self.link_ids,
            &self.fixed_data,
            &self.user_data,
        ]
    }
}
