//! The reference server's queues as its records leave them, in a file that is thrown away: so memory does not grow with
//! their number, and the target sees each queue once, as it is at the end.

use std::path::Path;

use anyhow::Context as _;
use protocol::encoding::Encode as _;
use protocol::smp::command::LinkData;
use protocol::smp::ids::{LinkId, NotifierId, RecipientId, SenderId, ServiceId};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::flaw::{Damages, Flaw};
use super::store_log::{Change, Record, status};
use crate::store::columns::{key_from, keys_blob, keys_from, mode_from, mode_text, role_from, role_text};
use crate::store::{
    DhSecret, NewService, Notifier, QueueNumber, QueueRecord, QueueStatus, StoreError, Totals, WholeQueue,
};

/// Memory for the pages that are in use, in KiB.
const CACHE_KIB: i64 = 64 * 1024;
/// What becomes of a queue in a record of its own, beside the states of [`QueueStatus`].
const DELETED: &str = "deleted";
/// A queue that is left out because it is damaged.
const LEFT_OUT: &str = "left out";

const SCHEMA: &str = "
    CREATE TABLE services (
        service_id BLOB NOT NULL PRIMARY KEY, fingerprint BLOB NOT NULL UNIQUE, role TEXT NOT NULL,
        created_at INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE queues (
        id INTEGER PRIMARY KEY, place INTEGER NOT NULL, recipient_id BLOB NOT NULL UNIQUE, status TEXT NOT NULL,
        sender_id BLOB NOT NULL, recipient_keys BLOB NOT NULL, dh_secret BLOB NOT NULL, sender_key BLOB, mode TEXT,
        used_on INTEGER NOT NULL, link_id BLOB, fixed_data BLOB, user_data BLOB, notifier_id BLOB, notifier_key BLOB,
        notifier_secret BLOB, recipient_service BLOB, notifier_service BLOB, number INTEGER
    ) STRICT;";

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Applied {
    /// It counts.
    Done,
    /// Its queue was deleted before: it changes nothing.
    Late,
}

/// Where messages of a queue go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Home {
    /// Into this queue of the target; in a check, where there is no target, without a number.
    Queue(Option<QueueNumber>),
    /// Nowhere: the queue was deleted, or is left out.
    Gone,
    /// No record made it.
    Unknown,
}

/// The queues and services read so far.
pub(super) struct Staging {
    file: Connection,
}

impl Staging {
    /// Begins in a file that is not there yet; without one, in a temporary file that the system removes.
    pub(super) fn begin(path: Option<&Path>) -> anyhow::Result<Self> {
        let file = match path {
            Some(path) => Connection::open(path)
                .with_context(|| format!("Unable to make a working file at {}", path.display()))?,
            // For SQLite an empty name is a temporary file.
            None => Connection::open("").context("Unable to make a temporary file: set TMPDIR")?,
        };
        file.set_prepared_statement_cache_capacity(64);
        // It is never read again after a crash.
        file.pragma_update(None, "journal_mode", "OFF")?;
        file.pragma_update(None, "synchronous", "OFF")?;
        file.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        file.pragma_update(None, "cache_size", -CACHE_KIB)?;
        file.execute_batch(SCHEMA)?;
        file.execute_batch("BEGIN")?;
        Ok(Self { file })
    }

    /// Adds a record. `place` is its line, or its row.
    pub(super) fn apply(&mut self, place: u64, record: &Record) -> anyhow::Result<Result<Applied, Flaw>> {
        match record {
            Record::Service(service) => self.add_service(service),
            Record::Create(queue) => self.create(place, queue),
            Record::Queue(recipient_id, change) => self.change(*recipient_id, change),
        }
    }

    fn add_service(&mut self, service: &NewService) -> anyhow::Result<Result<Applied, Flaw>> {
        let sql = "INSERT INTO services (service_id, fingerprint, role, created_at) VALUES (?1, ?2, ?3, ?4)
                   ON CONFLICT DO NOTHING";
        let added = self.file.prepare_cached(sql)?.execute(params![
            service.id.as_bytes(),
            service.fingerprint,
            role_text(service.role),
            service.created_at
        ])?;
        Ok(if added == 1 { Ok(Applied::Done) } else { Err(Flaw::Taken("service id or certificate")) })
    }

    fn create(&mut self, place: u64, queue: &WholeQueue) -> anyhow::Result<Result<Applied, Flaw>> {
        let record = &queue.record;
        let (link_id, data) = queue.link.as_ref().map(|(id, data)| (id.as_bytes(), data)).unzip();
        let notifier = record.notifier.as_ref();
        let sql = "INSERT INTO queues (place, recipient_id, status, sender_id, recipient_keys, dh_secret, sender_key,
                                       mode, used_on, link_id, fixed_data, user_data, notifier_id, notifier_key,
                                       notifier_secret, recipient_service, notifier_service)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)
                   ON CONFLICT DO NOTHING";
        let added = self.file.prepare_cached(sql)?.execute(params![
            i64::try_from(place).unwrap_or(i64::MAX),
            record.recipient_id.as_bytes(),
            status_text(record.status),
            record.sender_id.as_bytes(),
            keys_blob(&record.recipient_keys),
            record.dh_secret.0,
            record.sender_key.as_ref().map(|key| key.to_bytes()),
            mode_text(record.mode),
            record.used_on,
            link_id,
            data.map(|data| &data.fixed),
            data.map(|data| &data.user),
            notifier.map(|notifier| notifier.id.as_bytes()),
            notifier.map(|notifier| notifier.key.to_bytes()),
            notifier.map(|notifier| notifier.dh_secret.0),
            record.recipient_service.as_ref().map(|service| service.as_bytes()),
            record.notifier_service.as_ref().map(|service| service.as_bytes()),
        ])?;
        Ok(if added == 1 { Ok(Applied::Done) } else { Err(Flaw::Taken("recipient id")) })
    }

    fn change(
        &mut self,
        recipient_id: RecipientId,
        change: &Change,
    ) -> anyhow::Result<Result<Applied, Flaw>> {
        let id = recipient_id.as_bytes();
        // What is there must allow it, else there is a flaw of this name.
        let (changed, contradiction) = match change {
            Change::Link(link_id, LinkData { fixed, user }) => (
                self.update(
                    "link_id = ?2, fixed_data = ?3, user_data = ?4",
                    "(link_id IS NULL OR (link_id = ?2 AND fixed_data = ?3))",
                    params![id, link_id.as_bytes(), fixed, user],
                )?,
                "link",
            ),
            Change::DeleteLink => {
                (self.update("link_id = NULL, fixed_data = NULL, user_data = NULL", "TRUE", params![id])?, "")
            }
            Change::Secure(key) => (
                self.update(
                    "sender_key = ?2",
                    "(sender_key IS NULL OR sender_key = ?2)",
                    params![id, key.to_bytes()],
                )?,
                "sender key",
            ),
            Change::Keys(keys) => {
                (self.update("recipient_keys = ?2", "TRUE", params![id, keys_blob(keys)])?, "")
            }
            Change::Notifier(new) => (
                self.update(
                    "notifier_id = ?2, notifier_key = ?3, notifier_secret = ?4, notifier_service = ?5",
                    "TRUE",
                    params![
                        id,
                        new.notifier.id.as_bytes(),
                        new.notifier.key.to_bytes(),
                        new.notifier.dh_secret.0,
                        new.service.as_ref().map(|service| service.as_bytes())
                    ],
                )?,
                "",
            ),
            Change::DeleteNotifier => (
                self.update(
                    "notifier_id = NULL, notifier_key = NULL, notifier_secret = NULL, notifier_service = NULL",
                    "TRUE",
                    params![id],
                )?,
                "",
            ),
            Change::Status(status) => {
                (self.update("status = ?2", "TRUE", params![id, status_text(*status)])?, "")
            }
            Change::Delete => (
                self.update(
                    "status = 'deleted', link_id = NULL, fixed_data = NULL, user_data = NULL, notifier_id = NULL",
                    "TRUE",
                    params![id],
                )?,
                "",
            ),
            Change::UsedOn(day) => (self.update("used_on = ?2", "TRUE", params![id, day])?, ""),
            Change::RecipientService(service) => {
                let service = service.as_ref().map(|service| service.as_bytes());
                (self.update("recipient_service = ?2", "TRUE", params![id, service])?, "")
            }
            Change::NotifierService(service) => {
                let service = service.as_ref().map(|service| service.as_bytes());
                (
                    self.update("notifier_service = ?2", "notifier_id IS NOT NULL", params![id, service])?,
                    "notifier",
                )
            }
        };
        if changed {
            return Ok(Ok(Applied::Done));
        }
        Ok(match self.status(recipient_id)?.as_deref() {
            None => Err(Flaw::NoQueue),
            Some(DELETED) => Ok(Applied::Late),
            Some(_) => Err(Flaw::Contradiction(contradiction)),
        })
    }

    /// Changes a queue that is not deleted and of which the condition holds. Whether there is one.
    fn update(&self, set: &str, condition: &str, values: &[&dyn rusqlite::ToSql]) -> anyhow::Result<bool> {
        let sql = format!(
            "UPDATE queues SET {set} WHERE recipient_id = ?1 AND status <> '{DELETED}' AND {condition}"
        );
        Ok(self.file.prepare_cached(&sql)?.execute(values)? > 0)
    }

    fn status(&self, recipient_id: RecipientId) -> anyhow::Result<Option<String>> {
        let mut statement = self.file.prepare_cached("SELECT status FROM queues WHERE recipient_id = ?1")?;
        Ok(statement.query_row([recipient_id.as_bytes()], |row| row.get(0)).optional()?)
    }

    /// After the last record: leaves out queues with an id that an earlier one has, and services that are not there.
    /// `place` names a line or row.
    pub(super) fn settle(
        &mut self,
        damages: &mut Damages,
        place: &dyn Fn(u64) -> String,
    ) -> anyhow::Result<()> {
        for (column, what) in
            [("sender_id", "sender id"), ("link_id", "link id"), ("notifier_id", "notifier id")]
        {
            let taken = format!(
                "SELECT {column} FROM queues WHERE status <> '{DELETED}' AND {column} IS NOT NULL
                 GROUP BY {column} HAVING count(*) > 1"
            );
            let taken: Vec<Vec<u8>> =
                self.file.prepare(&taken)?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
            for value in taken {
                let others = format!(
                    "SELECT id, place FROM queues WHERE status <> '{DELETED}' AND {column} = ?1 ORDER BY id LIMIT -1 OFFSET 1"
                );
                let others: Vec<(i64, i64)> = self
                    .file
                    .prepare(&others)?
                    .query_map([value], |row| Ok((row.get(0)?, row.get(1)?)))?
                    .collect::<Result<_, _>>()?;
                for (id, line) in others {
                    damages.note(place(line.unsigned_abs()), Flaw::Taken(what))?;
                    let sql = format!("UPDATE queues SET status = '{LEFT_OUT}' WHERE id = ?1");
                    self.file.execute(&sql, [id])?;
                }
            }
        }
        for column in ["recipient_service", "notifier_service"] {
            let unknown = format!(
                "SELECT id, place FROM queues WHERE status NOT IN ('{DELETED}', '{LEFT_OUT}')
                 AND {column} IS NOT NULL AND {column} NOT IN (SELECT service_id FROM services)"
            );
            let unknown: Vec<(i64, i64)> = self
                .file
                .prepare(&unknown)?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<Result<_, _>>()?;
            for (id, line) in unknown {
                damages.note(place(line.unsigned_abs()), Flaw::NoService)?;
                self.file.execute(&format!("UPDATE queues SET {column} = NULL WHERE id = ?1"), [id])?;
            }
        }
        Ok(())
    }

    /// All services.
    pub(super) fn services(&self) -> anyhow::Result<Vec<NewService>> {
        let mut statement =
            self.file.prepare("SELECT service_id, fingerprint, role, created_at FROM services")?;
        let mut rows = statement.query([])?;
        let mut services = Vec::new();
        while let Some(row) = rows.next()? {
            let role: String = row.get(2)?;
            services.push(NewService {
                id: ServiceId(row.get(0)?),
                fingerprint: row.get(1)?,
                role: role_from(&role)?,
                created_at: row.get(3)?,
            });
        }
        Ok(services)
    }

    /// Up to `limit` queues behind a row, with their rows.
    pub(super) fn queues_after(&self, after: i64, limit: u32) -> anyhow::Result<Vec<(i64, WholeQueue)>> {
        let mut statement = self.file.prepare_cached(&format!(
            "SELECT id, recipient_id, status, sender_id, recipient_keys, dh_secret, sender_key, mode, used_on, link_id,
                    fixed_data, user_data, notifier_id, notifier_key, notifier_secret, recipient_service,
                    notifier_service
             FROM queues WHERE id > ?1 AND status NOT IN ('{DELETED}', '{LEFT_OUT}') ORDER BY id LIMIT ?2"
        ))?;
        let mut rows = statement.query(params![after, limit])?;
        let mut queues = Vec::new();
        while let Some(row) = rows.next()? {
            queues.push((row.get(0)?, queue(row)?));
        }
        Ok(queues)
    }

    /// How many services and queues are to be taken over.
    pub(super) fn totals(&self) -> anyhow::Result<Totals> {
        let sql = format!("SELECT count(*) FROM queues WHERE status NOT IN ('{DELETED}', '{LEFT_OUT}')");
        let queues: i64 = self.file.query_row(&sql, [], |row| row.get(0))?;
        let services: i64 = self.file.query_row("SELECT count(*) FROM services", [], |row| row.get(0))?;
        let (services, queues) = (services.unsigned_abs(), queues.unsigned_abs());
        Ok(Totals { services, queues, ..Totals::default() })
    }

    /// Notes where a queue was stored.
    pub(super) fn stored(&self, row: i64, number: QueueNumber) -> anyhow::Result<()> {
        self.file
            .prepare_cached("UPDATE queues SET number = ?2 WHERE id = ?1")?
            .execute(params![row, number.0])?;
        Ok(())
    }

    /// Where messages of a queue go.
    pub(super) fn home(&self, recipient_id: RecipientId) -> anyhow::Result<Home> {
        let mut statement =
            self.file.prepare_cached("SELECT status, number FROM queues WHERE recipient_id = ?1")?;
        let found: Option<(String, Option<i64>)> = statement
            .query_row([recipient_id.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        Ok(match found {
            None => Home::Unknown,
            Some((status, _)) if status == DELETED || status == LEFT_OUT => Home::Gone,
            Some((_, number)) => Home::Queue(number.map(QueueNumber)),
        })
    }
}

fn queue(row: &Row<'_>) -> anyhow::Result<WholeQueue> {
    let (status_text, keys): (String, Vec<u8>) = (row.get(2)?, row.get(4)?);
    let key = |column| -> anyhow::Result<_> {
        let key: Option<Vec<u8>> = row.get(column)?;
        Ok(key.map(|key| key_from(&key, "key")).transpose()?)
    };
    let mode: Option<String> = row.get(7)?;
    let link: Option<[u8; 24]> = row.get(9)?;
    let link = link.map(|id| -> anyhow::Result<_> {
        let (fixed, user): (Vec<u8>, Vec<u8>) = (row.get(10)?, row.get(11)?);
        Ok((LinkId(id), LinkData { fixed: fixed.into(), user: user.into() }))
    });
    let notifier: Option<[u8; 24]> = row.get(12)?;
    let notifier = notifier.map(|id| -> anyhow::Result<_> {
        let key = key(13)?.ok_or(StoreError::Damaged("notifier"))?;
        Ok(Notifier { id: NotifierId(id), key, dh_secret: DhSecret(row.get(14)?) })
    });
    let service = |column| -> anyhow::Result<_> {
        let id: Option<[u8; 24]> = row.get(column)?;
        Ok(id.map(ServiceId))
    };
    let record = QueueRecord {
        number: QueueNumber(0),
        recipient_id: RecipientId(row.get(1)?),
        sender_id: SenderId(row.get(3)?),
        recipient_keys: keys_from(&keys)?,
        dh_secret: DhSecret(row.get(5)?),
        sender_key: key(6)?,
        mode: mode_from(mode.as_deref())?,
        notifier: notifier.transpose()?,
        status: status(&status_text)?,
        used_on: row.get(8)?,
        recipient_service: service(15)?,
        notifier_service: service(16)?,
    };
    Ok(WholeQueue { record, link: link.transpose()? })
}

/// The present states of a queue, as the reference server writes them: one of these, not two.
fn status_text(status: QueueStatus) -> String {
    match status {
        QueueStatus::Active => "active".to_owned(),
        QueueStatus::Off => "off".to_owned(),
        QueueStatus::Blocked { info, .. } => format!("blocked,{info}"),
    }
}
