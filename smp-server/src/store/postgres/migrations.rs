//! Brings the database to the present form: numbered scripts, forward only, one process at a time.

use postgres::Client;

use crate::store::{Result, StoreError};

/// The scripts in order; a released one never changes.
const SCRIPTS: [&str; 2] = [
    include_str!("../../../migrations/postgres/0001_queues.sql"),
    include_str!("../../../migrations/postgres/0002_nodes.sql"),
];

/// Applies the scripts that the database has not seen, all in one transaction. Other processes wait meanwhile.
pub(super) fn apply(client: &mut Client) -> Result<()> {
    let mut transaction = client.transaction()?;
    transaction.batch_execute(
        "SELECT pg_advisory_xact_lock(hashtext(current_schema()), 1);
         CREATE TABLE IF NOT EXISTS form (number integer NOT NULL)",
    )?;
    let row = transaction.query_one("SELECT coalesce(max(number), 0) FROM form", &[])?;
    let seen: i32 = row.get(0);
    let unseen = usize::try_from(seen).ok().and_then(|seen| SCRIPTS.get(seen..)).ok_or(StoreError::Newer)?;
    for (number, script) in (seen.saturating_add(1)..).zip(unseen) {
        transaction.batch_execute(script)?;
        transaction.execute("INSERT INTO form VALUES ($1)", &[&number])?;
    }
    Ok(transaction.commit()?)
}
