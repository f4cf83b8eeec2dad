//! The store on a database: one SQLite file, or PostgreSQL. Each statement is written once, in the words that both know:
//!
//! ```text
//! ON CONFLICT (columns) DO UPDATE SET a = t.a + excluded.a    with the columns, and the table's name where it is read
//! INSERT … RETURNING id                                       instead of the last row's number
//! BIGINT for every number, 0 and 1 for yes and no             so a CASE where SQLite would take a comparison
//! ```

mod agent;
mod bulk;
mod copy;
mod database;
mod deliveries;
mod groups;
mod history;
mod members;
mod messages;
mod migrations;
mod moving;
mod operation;
mod positions;
mod postgres;
mod relay;
mod services;
mod workers;

use std::path::Path;

use protocol::net::engine::{Fatal, Transactional};
use protocol::timestamp::Timestamp;
use rusqlite::ToSql;
use rusqlite::types::Type;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use copy::Verified;
pub use postgres::Access;

use super::StoreError;
use database::{Database, Row};

/// The relay's state in a database.
#[derive(Debug)]
pub struct SqlStore {
    database: Database,
    kept: deliveries::KeptBodies,
    membership: Option<workers::Membership>,
}

impl SqlStore {
    /// Opens an SQLite file, makes it if need be, and brings it up to date.
    ///
    /// # Errors
    /// [`StoreError::Newer`] when a later version of this program wrote it, and what SQLite says.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self::on(Database::open_file(path)?))
    }

    /// A store that is gone with its handle, for tests.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn in_memory() -> Result<Self, StoreError> {
        Ok(Self::on(Database::open_memory()?))
    }

    /// Connects to PostgreSQL and brings the database up to date. Must be called outside of an asynchronous runtime.
    ///
    /// # Errors
    /// [`StoreError::Newer`] when a later version of this program wrote it, and what PostgreSQL says.
    pub fn connect(access: &Access) -> Result<Self, StoreError> {
        Ok(Self::on(Database::connect(access)?))
    }

    fn on(database: Database) -> Self {
        Self { database, kept: deliveries::KeptBodies::default(), membership: None }
    }

    /// Runs a statement and counts the rows it changed.
    fn run(&mut self, sql: &str, params: &[&dyn ToSql]) -> Result<usize, StoreError> {
        self.database.execute(sql, params)
    }

    /// Runs a statement that must change one row.
    fn change_one(&mut self, sql: &str, params: &[&dyn ToSql]) -> Result<(), StoreError> {
        if self.run(sql, params)? == 1 { Ok(()) } else { Err(StoreError::Missing) }
    }

    /// Runs a statement that adds one row and returns its number.
    fn insert(&mut self, sql: &str, params: &[&dyn ToSql]) -> Result<i64, StoreError> {
        self.one(sql, params, |row| row.get(0))?.ok_or(StoreError::Missing)
    }

    /// The first row, if any.
    fn one<T>(
        &mut self,
        sql: &str,
        params: &[&dyn ToSql],
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        self.database.first(sql, params, read)
    }

    /// A count.
    fn count(&mut self, sql: &str, params: &[&dyn ToSql]) -> Result<u32, StoreError> {
        Ok(self.one(sql, params, |row| row.get(0))?.unwrap_or(0))
    }

    /// A moment, when there is one.
    fn moment(&mut self, sql: &str, params: &[&dyn ToSql]) -> Result<Option<Timestamp>, StoreError> {
        let found: Option<Option<i64>> = self.one(sql, params, |row| row.get(0))?;
        Ok(found.flatten().map(Timestamp))
    }

    /// All rows.
    fn all<T>(
        &mut self,
        sql: &str,
        params: &[&dyn ToSql],
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        self.database.all(sql, params, read)
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

impl Transactional for SqlStore {
    fn begin(&mut self) -> Result<(), Fatal> {
        Ok(self.database.begin()?)
    }

    fn commit(&mut self) -> Result<(), Fatal> {
        Ok(self.database.commit()?)
    }

    fn rollback(&mut self) -> Result<(), Fatal> {
        self.kept.clear();
        Ok(self.database.rollback()?)
    }
}

#[cfg(test)]
mod tests {
    use daemon::scratch::Scratch;
    use protocol::agent::store::AgentStore as _;

    use super::*;

    fn in_scratch(scratch: &Scratch) -> SqlStore {
        let access = Access::new(&scratch.connection(), std::time::Duration::from_secs(10)).unwrap();
        let mut store = SqlStore::connect(&access).unwrap();
        store.join("test", std::time::Duration::from_secs(15)).unwrap();
        store
    }

    #[test]
    fn keeps_the_contracts_in_sqlite() {
        protocol::agent::store_contract::check(&mut SqlStore::in_memory().unwrap());
        crate::store::contract::check(|| SqlStore::in_memory().unwrap());
    }

    #[test]
    fn keeps_the_contracts_in_postgresql() {
        let Some(scratch) = Scratch::make() else { return };
        protocol::agent::store_contract::check(&mut in_scratch(&scratch));
        let mut parts = Vec::new();
        crate::store::contract::check(|| {
            parts.push(Scratch::make().unwrap());
            in_scratch(parts.last().unwrap())
        });
    }

    #[test]
    fn state_outlives_the_handle() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("relay.sqlite");
        let id = SqlStore::open(&path).unwrap().insert_connection(b"record").unwrap();
        assert_eq!(SqlStore::open(&path).unwrap().connection(id).unwrap(), Some(b"record".to_vec()));
    }
}
