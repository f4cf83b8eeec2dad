//! Services in the database, and which queues are theirs.

use postgres::Row;
use protocol::smp::ids::ServiceId;
use protocol::transport::hello::ServiceRole;

use super::PostgresStore;
use super::rows::{column, fixed, optional, service_queue_from};
use super::session::Session;
use crate::store::columns::{role_from, role_text};
use crate::store::{
    BacklogPage, NewService, QueueNumber, Result, ServiceQueue, ServiceRecord, StoreError, Stream,
};

/// A service by its fingerprint.
pub(super) fn service(session: &mut Session, fingerprint: &[u8; 32]) -> Result<Option<ServiceRecord>> {
    let rows = session
        .read("SELECT service_id, role FROM services WHERE fingerprint = $1", &[&fingerprint.as_slice()])?;
    rows.first().map(record_from).transpose()
}

fn record_from(row: &Row) -> Result<ServiceRecord> {
    Ok(ServiceRecord { id: ServiceId(fixed(row, "service_id")?), role: role_from(column(row, "role")?)? })
}

pub(super) fn services_after(session: &mut Session, after: &[u8; 32], limit: u32) -> Result<Vec<NewService>> {
    let rows = session.read(
        "SELECT * FROM services WHERE fingerprint > $1 ORDER BY fingerprint LIMIT $2",
        &[&after.as_slice(), &i64::from(limit)],
    )?;
    rows.iter()
        .map(|row| {
            let ServiceRecord { id, role } = record_from(row)?;
            let (fingerprint, created_at) = (fixed(row, "fingerprint")?, column(row, "created_at")?);
            Ok(NewService { id, fingerprint, role, created_at })
        })
        .collect()
}

/// How many queues a service has, by an index of those alone.
pub(super) fn service_queue_count(session: &mut Session, service: ServiceRecord) -> Result<u64> {
    let sql = match service.role {
        ServiceRole::Notifier => "SELECT count(*) AS queues FROM queues WHERE notifier_service = $1",
        ServiceRole::Messaging | ServiceRole::Proxy => {
            "SELECT count(*) AS queues FROM queues WHERE recipient_service = $1"
        }
    };
    let rows = session.read(sql, &[&service.id.as_bytes().as_slice()])?;
    let count: i64 = rows.first().map_or(Ok(0), |row| column(row, "queues"))?;
    Ok(count.unsigned_abs())
}

pub(super) fn service_backlog(
    session: &mut Session,
    service: ServiceId,
    after: QueueNumber,
    limit: u32,
) -> Result<BacklogPage> {
    let rows = session.read(
        "SELECT number, recipient_id, dh_secret, blocking,
                EXISTS (SELECT 1 FROM messages WHERE queue = queues.number) AS waiting
         FROM queues WHERE recipient_service = $1 AND number > $2 ORDER BY number LIMIT $3",
        &[&service.as_bytes().as_slice(), &after.0, &i64::from(limit)],
    )?;
    let mut queues: Vec<ServiceQueue> = Vec::new();
    for row in &rows {
        let queue = service_queue_from(row)?;
        if queue.blocking.is_some() || column(row, "waiting")? {
            queues.push(queue);
        }
    }
    let is_last = u32::try_from(rows.len()).is_ok_and(|count| count < limit);
    let last = rows.last().filter(|_| !is_last);
    Ok(BacklogPage { queues, next: last.map(|row| column(row, "number").map(QueueNumber)).transpose()? })
}

pub(super) fn add(store: &mut PostgresStore, new: &NewService) -> Result<ServiceRecord> {
    let rows = store.step(
        "WITH made AS (
             INSERT INTO services (service_id, fingerprint, role, created_at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (fingerprint) DO NOTHING)
         SELECT service_id, role FROM services WHERE fingerprint = $2",
        &[&new.id.as_bytes().as_slice(), &new.fingerprint.as_slice(), &role_text(new.role), &new.created_at],
    )?;
    // A statement does not see what it inserts: no row is the new service.
    rows.first().map_or_else(|| Ok(new.record()), record_from)
}

/// Gives a stream of a queue to a service or to none; says which had it.
pub(super) fn associate(
    store: &mut PostgresStore,
    queue: QueueNumber,
    stream: Stream,
    service: Option<ServiceId>,
) -> Result<Option<ServiceId>> {
    let service = service.as_ref().map(|id| id.as_bytes().as_slice());
    let rows = match stream {
        Stream::Messages => store.step(
            "WITH written AS (UPDATE queues SET recipient_service = $2 WHERE number = $1)
             SELECT recipient_service AS former FROM queues WHERE number = $1",
            &[&queue.0, &service],
        ),
        Stream::Notifications(notifier) => store.step(
            "WITH written AS (UPDATE queues SET notifier_service = $2 WHERE number = $1 AND notifier_id = $3)
             SELECT notifier_service AS former FROM queues WHERE number = $1 AND notifier_id = $3",
            &[&queue.0, &service, &notifier.as_bytes().as_slice()],
        ),
    }?;
    let row = rows.first().ok_or(StoreError::NoQueue)?;
    Ok(optional(row, "former")?.map(ServiceId))
}
