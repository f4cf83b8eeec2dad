//! Brings the file to the present form: numbered scripts, forward only, counted by `PRAGMA user_version`.

use rusqlite::{Connection, TransactionBehavior};

use crate::store::{Result, StoreError};

/// The scripts in order; a released one never changes.
const SCRIPTS: [&str; 4] = [
    include_str!("../../../migrations/sqlite/0001_queues.sql"),
    include_str!("../../../migrations/sqlite/0002_notifiers.sql"),
    include_str!("../../../migrations/sqlite/0003_services.sql"),
    include_str!("../../../migrations/sqlite/0004_message_log.sql"),
];

/// Applies the scripts that the file has not seen, all in one transaction.
pub(super) fn apply(connection: &mut Connection) -> Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let seen: u32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let unseen = usize::try_from(seen).ok().and_then(|seen| SCRIPTS.get(seen..)).ok_or(StoreError::Newer)?;
    for (number, script) in (seen.saturating_add(1)..).zip(unseen) {
        transaction.execute_batch(script)?;
        transaction.pragma_update(None, "user_version", number)?;
    }
    Ok(transaction.commit()?)
}

/// Refuses a file of a newer server.
pub(super) fn expect_known(connection: &Connection) -> Result<()> {
    if seen(connection)? > SCRIPTS.len() { Err(StoreError::Newer) } else { Ok(()) }
}

/// Whether scripts are still to be applied.
pub(super) fn is_older(connection: &Connection) -> Result<bool> {
    Ok(seen(connection)? < SCRIPTS.len())
}

fn seen(connection: &Connection) -> Result<usize> {
    let seen: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok(usize::try_from(seen).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_apply_once() {
        let mut connection = Connection::open_in_memory().unwrap();
        apply(&mut connection).unwrap();
        apply(&mut connection).unwrap();
        let tables: i64 = connection
            .query_row(
                "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'queues'",
                [],
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(tables, 1);
    }

    #[test]
    fn a_file_of_a_newer_server_is_refused() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.pragma_update(None, "user_version", u32::MAX >> 1).unwrap();
        assert!(matches!(apply(&mut connection), Err(StoreError::Newer)));
    }
}
