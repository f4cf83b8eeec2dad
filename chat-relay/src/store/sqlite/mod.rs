//! The embedded store: one SQLite file in WAL mode, synchronised at each commit.

mod agent;
mod copy;
mod deliveries;
mod groups;
mod history;
mod members;
mod messages;
mod operation;
mod positions;
mod relay;

use std::path::Path;

use protocol::net::engine::{Fatal, Transactional};
use protocol::timestamp::Timestamp;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Params, Row};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use copy::Verified;

use super::StoreError;

/// Numbered, forward-only; `PRAGMA user_version` counts those that ran.
const MIGRATIONS: [&str; 8] = [
    include_str!("../../../migrations/sqlite/0001_connections.sql"),
    include_str!("../../../migrations/sqlite/0002_groups.sql"),
    include_str!("../../../migrations/sqlite/0003_messages.sql"),
    include_str!("../../../migrations/sqlite/0004_forgetting.sql"),
    include_str!("../../../migrations/sqlite/0005_operation.sql"),
    include_str!("../../../migrations/sqlite/0006_positions.sql"),
    include_str!("../../../migrations/sqlite/0007_history.sql"),
    include_str!("../../../migrations/sqlite/0008_counts.sql"),
];

/// The migration after which what waits to be forwarded needs its heads.
const POSITIONS: u32 = 6;

/// Statements kept compiled; more than this crate has.
const CACHED_STATEMENTS: usize = 128;

/// The relay's state in one SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    database: Connection,
    kept: deliveries::KeptBodies,
}

impl SqliteStore {
    /// Opens the file, makes it if need be, and brings it up to date.
    ///
    /// # Errors
    /// [`StoreError::Newer`] when a later version of this program wrote it, and what SQLite says.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::prepare(Connection::open(path)?)
    }

    /// A store that is gone with its handle, for tests.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn in_memory() -> Result<Self, StoreError> {
        Self::prepare(Connection::open_in_memory()?)
    }

    fn prepare(mut database: Connection) -> Result<Self, StoreError> {
        database.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
             PRAGMA busy_timeout = 5000; PRAGMA secure_delete = ON;",
        )?;
        database.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
        migrate(&mut database)?;
        Ok(Self { database, kept: deliveries::KeptBodies::default() })
    }

    /// Runs a statement and counts the rows it changed.
    fn run(&mut self, sql: &str, params: impl Params) -> Result<usize, StoreError> {
        Ok(self.database.prepare_cached(sql)?.execute(params)?)
    }

    /// Runs a statement that must change one row.
    fn change_one(&mut self, sql: &str, params: impl Params) -> Result<(), StoreError> {
        if self.run(sql, params)? == 1 { Ok(()) } else { Err(StoreError::Missing) }
    }

    /// The first row, if any.
    fn one<T>(
        &mut self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        Ok(self.database.prepare_cached(sql)?.query_row(params, read).optional()?)
    }

    /// A count.
    fn count(&mut self, sql: &str, params: impl Params) -> Result<u32, StoreError> {
        Ok(self.one(sql, params, |row| row.get(0))?.unwrap_or(0))
    }

    /// A moment, when there is one.
    fn moment(&mut self, sql: &str, params: impl Params) -> Result<Option<Timestamp>, StoreError> {
        let found: Option<Option<i64>> = self.one(sql, params, |row| row.get(0))?;
        Ok(found.flatten().map(Timestamp))
    }

    /// All rows.
    fn all<T>(
        &mut self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let mut statement = self.database.prepare_cached(sql)?;
        let rows = statement.query_map(params, read)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}

/// A value that was checked when it was stored; what fails now was damaged on disk.
fn stored<T, E>(value: Result<T, E>) -> rusqlite::Result<T>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    value.map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Blob, error.into()))
}

/// A stored word of an enum.
fn word<T>(value: Option<T>) -> rusqlite::Result<T> {
    stored(value.ok_or("a word that this version does not know"))
}

/// A stored JSON text.
fn json<T: DeserializeOwned>(text: &str) -> rusqlite::Result<T> {
    stored(serde_json::from_str(text))
}

/// JSON text to be stored.
fn to_json(value: &impl Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

impl Transactional for SqliteStore {
    fn begin(&mut self) -> Result<(), Fatal> {
        Ok(self.database.execute_batch("BEGIN IMMEDIATE")?)
    }

    fn commit(&mut self) -> Result<(), Fatal> {
        Ok(self.database.execute_batch("COMMIT")?)
    }

    fn rollback(&mut self) -> Result<(), Fatal> {
        self.kept.clear();
        Ok(self.database.execute_batch("ROLLBACK")?)
    }
}

fn migrate(database: &mut Connection) -> Result<(), StoreError> {
    let done: u32 = database.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let numbered = || (1..).zip(MIGRATIONS);
    if numbered().all(|(number, _)| number < done) {
        return Err(StoreError::Newer);
    }
    for (number, migration) in numbered().filter(|(number, _)| *number > done) {
        let transaction = database.transaction()?;
        transaction.execute_batch(migration)?;
        if number == POSITIONS {
            deliveries::add_missing_heads(&transaction)?;
        }
        transaction.pragma_update(None, "user_version", number)?;
        transaction.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_outlives_the_handle() {
        use protocol::agent::store::AgentStore as _;
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("relay.sqlite");
        let id = SqliteStore::open(&path).unwrap().insert_connection(b"record").unwrap();
        assert_eq!(SqliteStore::open(&path).unwrap().connection(id).unwrap(), Some(b"record".to_vec()));
    }

    #[test]
    fn a_file_of_a_later_version_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("relay.sqlite");
        SqliteStore::open(&path).unwrap().database.pragma_update(None, "user_version", 1000).unwrap();
        assert!(matches!(SqliteStore::open(&path), Err(StoreError::Newer)));
    }

    /// A file in which one body was half handed out and one message was waiting.
    const OLD: &str = r#"
        INSERT INTO served_groups (group_id, group_link, owner_member_id, relay_member_id, life)
            VALUES (1, 'simplex:/c#1', x'01', x'02', x'00');
        INSERT INTO connections (connection_id, record) VALUES (1, x''), (2, x''), (3, x''), (4, x'');
        INSERT INTO members (member_number, group_id, member_id, role, status, profile, connection_id, link, since_ms)
            VALUES (1, 1, x'010101010101010101010101', 'owner', 'connected', '{"displayName":"Olga","fullName":""}', 1, 'open', 0),
                   (2, 1, x'020202020202020202020202', 'observer', 'connected', NULL, 2, 'open', 0),
                   (3, 1, x'030303030303030303030303', 'observer', 'connected', NULL, 3, 'open', 0),
                   (4, 1, x'040404040404040404040404', 'observer', 'connected', NULL, 4, 'broken', 0);
        INSERT INTO messages (message_number, group_id, message_id, author, broker_ms, received_ms, kind, as_channel,
            verified, element) VALUES (7, 1, x'07', 1, 5000, 5000, 'post', 0, 1, CAST('{}' AS BLOB));
        INSERT INTO delivery_jobs (group_id, author, ending, cursor, body) VALUES (1, 1, 'nothing', 2, x'3d');
        INSERT INTO delivery_tasks (group_id, message_number, ending) VALUES (1, 7, 'group');
    "#;

    #[test]
    fn what_an_earlier_version_was_handing_out_goes_on_where_it_was() {
        use crate::store::RelayStore as _;
        use crate::store::operation::OperationStore as _;
        use crate::store::records::{DeliveryId, GroupId, MemberNumber, Piece, Stage};
        use protocol::agent::store::AgentStore as _;
        let database = Connection::open_in_memory().unwrap();
        for migration in &MIGRATIONS[..5] {
            database.execute_batch(migration).unwrap();
        }
        database.execute_batch(OLD).unwrap();
        database.pragma_update(None, "user_version", 5).unwrap();
        let mut store = SqliteStore::prepare(database).unwrap();

        let group = GroupId(1);
        let all = store.members_of_account(None).unwrap();
        assert_eq!((store.count_members(group).unwrap(), all), (4, 4));
        let waiting = store.deliveries(group, DeliveryId(0), 9).unwrap();
        let [body, message] = &waiting[..] else { panic!("{waiting:?}") };
        assert!(body.is_alone && !message.is_alone);
        let stands = |store: &mut SqliteStore, number| {
            let reader = store.reader(group, MemberNumber(number)).unwrap();
            reader.map(|reader| (reader.position, reader.stage))
        };
        let before = DeliveryId(body.id.0 - 1);
        assert_eq!(stands(&mut store, 2), Some((body.id, Stage::Free)), "it has the first");
        assert_eq!(stands(&mut store, 3), Some((before, Stage::Free)));
        assert_eq!(stands(&mut store, 4), None, "it cannot be reached");
        let stream = store.stream(group).unwrap().unwrap();
        assert_eq!((stream.head, stream.cursor), (message.id, Some(MemberNumber(0))));
        assert_eq!(stream.ends_at, Some(message.id));
        let made = store.body_of(group, &[Piece::Content(message.id)]).unwrap();
        let made = store.body(made).unwrap().unwrap();
        assert!(made.starts_with(b"=\x01") && made.ends_with(b"{}"), "{made:?}");
        assert!(made.windows(4).any(|part| part == b"Olga"));
    }
}
