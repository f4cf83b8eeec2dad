//! Queues, services and messages that the reference server keeps in PostgreSQL: tables `services`, `msg_queues` and
//! `messages` of one schema. Read in one transaction that sees one moment and changes nothing.

use anyhow::{Context as _, ensure};
use postgres::config::Host;
use postgres::{Client, Config, IsolationLevel, NoTls, Portal, Row, Transaction};
use protocol::smp::command::LinkData;
use protocol::smp::ids::{LinkId, RecipientId};
use protocol::smp::key::AuthPublicKey;
use protocol::smp::queue_uri::QueueMode;
use protocol::timestamp::Timestamp;

use super::Progress;
use super::flaw::{Damages, Flaw};
use super::message::BODY_BYTES_MAX;
use super::messages::Messages;
use super::staging::Staging;
use super::store_log::{Record, role, status};
use super::words::From24;
use crate::store::columns::keys_from;
use crate::store::{
    DhSecret, NewService, Notifier, QueueNumber, QueueRecord, QueueStatus, StoredMessage, WholeQueue, day_of,
};

/// Rows that are held at a time.
const ROWS: i32 = 256;
/// Where PostgreSQL listens when its connection string names no host.
const SOCKET_DIRECTORY: &str = "/var/run/postgresql";
/// Tells our connection from those of a server.
const APPLICATION: &str = "smp-server import-reference";

/// A connection to the database.
pub(super) struct Database {
    client: Client,
    schema: String,
}

impl Database {
    /// Connects as the settings of the reference server say.
    pub(super) fn connect(connection: &str, schema: &str) -> anyhow::Result<Self> {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        ensure!(
            !schema.is_empty() && schema.bytes().all(is_name),
            "db_schema is no name of letters, digits and `_`: {schema}"
        );
        let mut config: Config =
            connection.parse().context("The connection string of the reference server is not understood")?;
        let has_host =
            config.get_hosts().iter().any(|host| !matches!(host, Host::Tcp(name) if name.is_empty()));
        if !has_host {
            config.host_path(SOCKET_DIRECTORY);
        }
        config.application_name(APPLICATION);
        let client = config.connect(NoTls).context(
            "Unable to connect to the database of the reference server: run this as its user, or give another \
             connection string by SMP_SERVER_REFERENCE_POSTGRES",
        )?;
        Ok(Self { client, schema: schema.to_owned() })
    }

    /// How many other sessions its user has there.
    pub(super) fn other_sessions(&mut self) -> anyhow::Result<i64> {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                   AND usename = current_user AND pid <> pg_backend_pid()";
        Ok(self.client.query_one(sql, &[])?.try_get(0)?)
    }

    /// Reads all services and queues.
    pub(super) fn read_queues(
        &mut self,
        staging: &mut Staging,
        damages: &mut Damages,
        progress: &mut Progress,
    ) -> anyhow::Result<()> {
        let schema = &self.schema;
        let services = format!(
            "SELECT service_id, service_role, service_cert_hash, created_at FROM {schema}.services ORDER BY service_id"
        );
        let queues = format!(
            "SELECT recipient_id, recipient_keys, rcv_dh_secret, sender_id, sender_key, notifier_id, notifier_key,
                    rcv_ntf_dh_secret, status, updated_at, queue_mode, link_id, fixed_data, user_data, rcv_service_id,
                    ntf_service_id
             FROM {schema}.msg_queues WHERE deleted_at IS NULL ORDER BY recipient_id"
        );
        let mut transaction = snapshot(&mut self.client)?;
        pages(&mut transaction, &services, |row_number, row| {
            match service(row)? {
                Ok(service) => {
                    if let Err(flaw) = staging.apply(row_number, &Record::Service(service))? {
                        damages.note(service_row(row_number), flaw)?;
                    }
                }
                Err(flaw) => damages.note(service_row(row_number), flaw)?,
            }
            Ok(())
        })?;
        pages(&mut transaction, &queues, |row_number, row| {
            let applied = match queue(row)? {
                Ok(queue) => staging.apply(row_number, &Record::Create(Box::new(queue)))?.map(|_| ()),
                Err(flaw) => Err(flaw),
            };
            if let Err(flaw) = applied {
                damages.note(queue_row(row_number), flaw)?;
            }
            progress.records = progress.records.saturating_add(1);
            progress.tell();
            Ok(())
        })
    }

    /// Reads all messages of queues that are not deleted.
    pub(super) fn read_messages(&mut self, messages: &mut Messages<'_>) -> anyhow::Result<()> {
        let schema = &self.schema;
        let sql = format!(
            "SELECT m.recipient_id, m.msg_id, m.msg_ts, m.msg_quota, m.msg_ntf_flag, m.msg_body, m.message_id
             FROM {schema}.messages m JOIN {schema}.msg_queues q USING (recipient_id) WHERE q.deleted_at IS NULL
             ORDER BY m.recipient_id, m.message_id"
        );
        let mut transaction = snapshot(&mut self.client)?;
        pages(&mut transaction, &sql, |_, row| {
            let number: i64 = row.try_get(6)?;
            let place = || format!("messages, message_id {number}");
            match message(row)? {
                Ok((recipient_id, message)) => messages.put(recipient_id, &message, place),
                Err(flaw) => messages.damages.note(place(), flaw),
            }
        })
    }
}

/// Names a row of queues, by their order.
pub(super) fn queue_row(row: u64) -> String {
    format!("msg_queues, row {row} by recipient_id")
}

fn service_row(row: u64) -> String {
    format!("services, row {row} by service_id")
}

fn snapshot(client: &mut Client) -> anyhow::Result<Transaction<'_>> {
    let begin = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
    begin.start().context("Unable to read the database of the reference server")
}

/// Goes through the rows of a query, some at a time.
fn pages(
    transaction: &mut Transaction<'_>,
    sql: &str,
    mut take: impl FnMut(u64, &Row) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let context = "The database has not the tables of the last version: start that version of the reference server once";
    let portal: Portal = transaction.bind(sql, &[]).context(context)?;
    let mut number = 0_u64;
    loop {
        let rows = transaction.query_portal(&portal, ROWS)?;
        if rows.is_empty() {
            return Ok(());
        }
        for row in &rows {
            number = number.saturating_add(1);
            take(number, row)?;
        }
    }
}

/// A value of this size.
fn fixed<const N: usize>(
    row: &Row,
    column: usize,
    what: &'static str,
) -> anyhow::Result<Result<[u8; N], Flaw>> {
    Ok(optional(row, column, what)?.and_then(|value| value.ok_or(Flaw::Value(what))))
}

/// A value of this size, if there is one.
fn optional<const N: usize>(
    row: &Row,
    column: usize,
    what: &'static str,
) -> anyhow::Result<Result<Option<[u8; N]>, Flaw>> {
    let bytes: Option<&[u8]> = row.try_get(column)?;
    Ok(bytes.map(|bytes| bytes.try_into().map_err(|_| Flaw::Value(what))).transpose())
}

fn optional_key(
    row: &Row,
    column: usize,
    what: &'static str,
) -> anyhow::Result<Result<Option<AuthPublicKey>, Flaw>> {
    let der: Option<&[u8]> = row.try_get(column)?;
    Ok(der.map(|der| AuthPublicKey::from_der(der).map_err(|_| Flaw::Value(what))).transpose())
}

/// Gives up a row with its flaw, and the whole reading when the database fails.
macro_rules! take {
    ($read:expr) => {
        match $read? {
            Ok(value) => value,
            Err(flaw) => return Ok(Err(flaw)),
        }
    };
}

fn service(row: &Row) -> anyhow::Result<Result<NewService, Flaw>> {
    let id = take!(fixed(row, 0, "service id"));
    let text: &str = row.try_get(1)?;
    let role = take!(anyhow::Ok(role(text)));
    let fingerprint = take!(fixed(row, 2, "certificate hash"));
    Ok(Ok(NewService { id: From24::from_24(id), fingerprint, role, created_at: row.try_get(3)? }))
}

fn queue(row: &Row) -> anyhow::Result<Result<WholeQueue, Flaw>> {
    let keys: &[u8] = row.try_get(1)?;
    let mode = match row.try_get(10)? {
        None => None,
        Some("M") => Some(QueueMode::Messaging),
        Some("C") => Some(QueueMode::Contact),
        Some(_) => return Ok(Err(Flaw::Value("queue mode"))),
    };
    let status_text: &str = row.try_get(8)?;
    let status: QueueStatus = take!(anyhow::Ok(status(status_text)));
    let notifier = match take!(optional(row, 5, "notifier id")) {
        None => None,
        Some(id) => {
            let Some(key) = take!(optional_key(row, 6, "notifier key")) else {
                return Ok(Err(Flaw::Value("notifier key")));
            };
            let dh_secret = DhSecret(take!(fixed(row, 7, "notifier secret")));
            Some(Notifier { id: From24::from_24(id), key, dh_secret })
        }
    };
    let link = match take!(optional(row, 11, "link id")) {
        None => None,
        Some(id) => {
            let (fixed, user): (Option<Vec<u8>>, Option<Vec<u8>>) = (row.try_get(12)?, row.try_get(13)?);
            let (Some(fixed), Some(user)) = (fixed, user) else { return Ok(Err(Flaw::Value("link data"))) };
            Some((LinkId(id), LinkData { fixed: fixed.into(), user: user.into() }))
        }
    };
    let used_on: Option<i64> = row.try_get(9)?;
    let record = QueueRecord {
        number: QueueNumber(0),
        recipient_id: RecipientId(take!(fixed(row, 0, "recipient id"))),
        sender_id: From24::from_24(take!(fixed(row, 3, "sender id"))),
        recipient_keys: take!(anyhow::Ok(keys_from(keys).map_err(|_| Flaw::Value("recipient keys")))),
        dh_secret: DhSecret(take!(fixed(row, 2, "secret"))),
        sender_key: take!(optional_key(row, 4, "sender key")),
        mode,
        status,
        used_on: used_on.map_or(0, |seconds| day_of(Timestamp::from_seconds(seconds))),
        recipient_service: take!(optional(row, 14, "service id")).map(From24::from_24),
        notifier_service: take!(optional(row, 15, "service id"))
            .filter(|_| notifier.is_some())
            .map(From24::from_24),
        notifier,
    };
    Ok(Ok(WholeQueue { record, link }))
}

fn message(row: &Row) -> anyhow::Result<Result<(RecipientId, StoredMessage), Flaw>> {
    let recipient_id = RecipientId(take!(fixed(row, 0, "recipient id")));
    let id = From24::from_24(take!(fixed(row, 1, "message id")));
    let (is_quota, notify): (bool, bool) = (row.try_get(3)?, row.try_get(4)?);
    let body: Vec<u8> = row.try_get(5)?;
    if body.len() > BODY_BYTES_MAX || (body.is_empty() && !is_quota) {
        return Ok(Err(Flaw::Value("body")));
    }
    let received_at = Timestamp::from_seconds(row.try_get(2)?);
    let body = (!is_quota).then_some(body);
    Ok(Ok((recipient_id, StoredMessage { id, received_at, notify: notify && !is_quota, body })))
}
