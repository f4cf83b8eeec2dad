//! Services in the database, and which queues are theirs.

use protocol::smp::ids::{RecipientId, ServiceId};
use protocol::transport::hello::ServiceRole;
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::store::columns::{blocking_from, role_from, role_text};
use crate::store::{
    BacklogPage, DhSecret, NewService, QueueNumber, Result, ServiceQueue, ServiceRecord, StoreError, Stream,
};

/// A service by its fingerprint.
pub(super) fn service(connection: &Connection, fingerprint: &[u8; 32]) -> Result<Option<ServiceRecord>> {
    let found: Option<([u8; 24], String)> = connection
        .prepare_cached("SELECT service_id, role FROM services WHERE fingerprint = ?1")?
        .query_row([fingerprint], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    found.map(|(id, role)| Ok(ServiceRecord { id: ServiceId(id), role: role_from(&role)? })).transpose()
}

pub(super) fn services_after(
    connection: &Connection,
    after: &[u8; 32],
    limit: u32,
) -> Result<Vec<NewService>> {
    let mut statement = connection.prepare_cached(
        "SELECT service_id, fingerprint, role, created_at FROM services WHERE fingerprint > ?1
         ORDER BY fingerprint LIMIT ?2",
    )?;
    let mut rows = statement.query(params![after, limit])?;
    let mut services = Vec::new();
    while let Some(row) = rows.next()? {
        services.push(NewService {
            id: ServiceId(row.get(0)?),
            fingerprint: row.get(1)?,
            role: role_from(&row.get::<_, String>(2)?)?,
            created_at: row.get(3)?,
        });
    }
    Ok(services)
}

pub(super) fn add_service(connection: &Connection, new: &NewService) -> Result<ServiceRecord> {
    if let Some(known) = service(connection, &new.fingerprint)? {
        return Ok(known);
    }
    let role = role_text(new.role);
    connection
        .prepare_cached(
            "INSERT INTO services (service_id, fingerprint, role, created_at) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![new.id.as_bytes(), new.fingerprint, role, new.created_at])?;
    Ok(new.record())
}

/// How many queues a service has, by an index of those alone.
pub(super) fn service_queue_count(connection: &Connection, service: ServiceRecord) -> Result<u64> {
    let sql = match service.role {
        ServiceRole::Notifier => {
            "SELECT count(*) FROM queues
             WHERE notifier_service = (SELECT number FROM services WHERE service_id = ?1)"
        }
        ServiceRole::Messaging | ServiceRole::Proxy => {
            "SELECT count(*) FROM queues
             WHERE recipient_service = (SELECT number FROM services WHERE service_id = ?1)"
        }
    };
    let count: i64 = connection.prepare_cached(sql)?.query_row([service.id.as_bytes()], |row| row.get(0))?;
    Ok(u64::try_from(count).unwrap_or_default())
}

pub(super) fn service_backlog(
    connection: &Connection,
    service: ServiceId,
    after: QueueNumber,
    limit: u32,
    has_messages: impl Fn(QueueNumber) -> bool,
) -> Result<BacklogPage> {
    let mut statement = connection.prepare_cached(
        "SELECT number, recipient_id, dh_secret, blocking FROM queues INDEXED BY queues_of_service
         WHERE recipient_service = (SELECT number FROM services WHERE service_id = ?1) AND number > ?2
         ORDER BY number LIMIT ?3",
    )?;
    let mut page = BacklogPage { queues: Vec::new(), next: None };
    let mut looked_at = 0;
    let mut rows = statement.query(params![service.as_bytes(), after.0, limit])?;
    while let Some(row) = rows.next()? {
        looked_at += 1;
        let number = QueueNumber(row.get(0)?);
        page.next = Some(number);
        let blocking = row.get::<_, Option<String>>(3)?.as_deref().map(blocking_from).transpose()?;
        if blocking.is_some() || has_messages(number) {
            let (recipient_id, dh_secret) = (RecipientId(row.get(1)?), DhSecret(row.get(2)?));
            page.queues.push(ServiceQueue { number, recipient_id, dh_secret, blocking });
        }
    }
    if looked_at < limit {
        page.next = None;
    }
    Ok(page)
}

/// Gives a stream of a queue to a service or to none; says which had it.
pub(super) fn associate(
    connection: &Connection,
    queue: QueueNumber,
    stream: Stream,
    service: Option<ServiceId>,
) -> Result<Option<ServiceId>> {
    let (column, notifier) = match stream {
        Stream::Messages => ("recipient_service", None),
        Stream::Notifications(notifier) => ("notifier_service", Some(notifier)),
    };
    let former: Option<[u8; 24]> = connection
        .prepare_cached(&format!(
            "SELECT (SELECT service_id FROM services WHERE services.number = {column}) FROM queues
             WHERE number = ?1 AND (?2 IS NULL OR notifier_id = ?2)"
        ))?
        .query_row(params![queue.0, notifier.as_ref().map(|id| id.as_bytes())], |row| row.get(0))
        .optional()?
        .ok_or(StoreError::NoQueue)?;
    let former = former.map(ServiceId);
    if former != service {
        connection
            .prepare_cached(&format!(
                "UPDATE queues SET {column} = (SELECT number FROM services WHERE service_id = ?2) WHERE number = ?1"
            ))?
            .execute(params![queue.0, service.as_ref().map(|id| id.as_bytes())])?;
    }
    Ok(former)
}
