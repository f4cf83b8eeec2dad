//! One of two databases, behind the few calls that the statements need.
//!
//! Values are in the words of `rusqlite`, which knows the fewest: numbers, texts, bytes, nothing. What PostgreSQL takes
//! and gives is translated to them in `postgres.rs`.

use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::types::FromSql;
use rusqlite::{Connection, OptionalExtension as _, ToSql};

use super::migrations;
use super::postgres::{self, Access, Postgres};
use crate::store::StoreError;

/// Statements kept compiled; more than this crate has.
const CACHED_STATEMENTS: usize = 192;

/// Where the statements run.
#[derive(Debug)]
pub(super) enum Database {
    /// One file in WAL mode, synchronised at each commit.
    Sqlite(Connection),
    /// A connection with a server.
    Postgres(Box<Postgres>),
}

/// A row that a statement gave.
pub(super) enum Row<'a> {
    Sqlite(&'a rusqlite::Row<'a>),
    Postgres(&'a postgres::Row),
}

/// How columns are named: by their places.
pub(super) trait Column {
    /// From 0.
    fn place(self) -> usize;
}

impl Column for usize {
    fn place(self) -> usize {
        self
    }
}

impl Row<'_> {
    /// The value of a column.
    pub(super) fn get<C: Column, T: FromSql>(&self, column: C) -> rusqlite::Result<T> {
        match self {
            Self::Sqlite(row) => row.get(column.place()),
            Self::Postgres(row) => postgres::value(row, column.place()),
        }
    }
}

impl Database {
    pub(super) fn open_file(path: &Path) -> Result<Self, StoreError> {
        Self::prepare(Connection::open(path)?)
    }

    pub(super) fn open_memory() -> Result<Self, StoreError> {
        Self::prepare(Connection::open_in_memory()?)
    }

    pub(super) fn prepare(mut database: Connection) -> Result<Self, StoreError> {
        database.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
             PRAGMA busy_timeout = 5000; PRAGMA secure_delete = ON;",
        )?;
        // Without it a kept statement on a table with a partial index is compiled anew whenever a value is bound: the
        // planner had looked whether one of them is what the index asks for. No query of ours depends on that.
        database.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        database.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
        migrations::apply(&mut database)?;
        Ok(Self::Sqlite(database))
    }

    pub(super) fn connect(access: &Access) -> Result<Self, StoreError> {
        Ok(Self::Postgres(Box::new(Postgres::connect(access)?)))
    }

    pub(super) fn execute(&mut self, sql: &str, params: &[&dyn ToSql]) -> Result<usize, StoreError> {
        match self {
            Self::Sqlite(database) => Ok(database.prepare_cached(sql)?.execute(params)?),
            Self::Postgres(database) => database.execute(sql, params),
        }
    }

    pub(super) fn first<T>(
        &mut self,
        sql: &str,
        params: &[&dyn ToSql],
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        match self {
            Self::Sqlite(database) => {
                let mut statement = database.prepare_cached(sql)?;
                Ok(statement.query_row(params, |row| read(&Row::Sqlite(row))).optional()?)
            }
            Self::Postgres(database) => {
                let rows = database.query(sql, params)?;
                Ok(rows.first().map(|row| read(&Row::Postgres(row))).transpose()?)
            }
        }
    }

    pub(super) fn all<T>(
        &mut self,
        sql: &str,
        params: &[&dyn ToSql],
        mut read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        match self {
            Self::Sqlite(database) => {
                let mut statement = database.prepare_cached(sql)?;
                let rows = statement.query_map(params, |row| read(&Row::Sqlite(row)))?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            }
            Self::Postgres(database) => {
                let rows = database.query(sql, params)?;
                Ok(rows.iter().map(|row| read(&Row::Postgres(row))).collect::<rusqlite::Result<_>>()?)
            }
        }
    }

    pub(super) fn begin(&mut self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(database) => Ok(database.execute_batch("BEGIN IMMEDIATE")?),
            Self::Postgres(database) => database.begin(),
        }
    }

    pub(super) fn commit(&mut self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(database) => Ok(database.execute_batch("COMMIT")?),
            Self::Postgres(database) => database.commit(),
        }
    }

    pub(super) fn rollback(&mut self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(database) => Ok(database.execute_batch("ROLLBACK")?),
            Self::Postgres(database) => database.batch("ROLLBACK"),
        }
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;

    /// These tables have partial indexes.
    #[test]
    fn a_kept_statement_is_compiled_once() {
        let Database::Sqlite(database) = Database::open_memory().unwrap() else { panic!("it is SQLite") };
        for sql in [
            "SELECT job FROM agent_jobs WHERE connection_id = ?1 ORDER BY job_id LIMIT 1",
            "SELECT profile FROM members WHERE member_number = ?1",
            "UPDATE members SET passed_over = 1 WHERE member_number = ?1",
        ] {
            for id in 0..3 {
                database.prepare_cached(sql).unwrap().query([id]).unwrap().next().unwrap();
            }
            let statement = database.prepare_cached(sql).unwrap();
            assert_eq!(statement.get_status(StatementStatus::Run), 3, "{sql}");
            assert_eq!(statement.get_status(StatementStatus::RePrepare), 0, "{sql}");
        }
    }
}
