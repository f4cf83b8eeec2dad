//! Where a relay keeps its state: a file, or a schema of a PostgreSQL server.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use chat_relay::store::sql::{Access, SqlStore};
use clap::ValueEnum;
use daemon::scratch::Scratch;

/// As in a relay's settings: how long PostgreSQL may be silent, and how long others wait for a sign of a worker.
const PATIENCE: Duration = Duration::from_secs(10);
const LEASE: Duration = Duration::from_secs(15);

/// A kind of store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Engine {
    /// A file
    Sqlite,
    /// A schema of the PostgreSQL server that TEST_POSTGRES_URL names
    Postgres,
}

/// A relay's database; gone with the value where it is a schema.
pub(crate) enum Database {
    File(PathBuf),
    Schema(Scratch),
}

impl Database {
    pub(crate) fn make(engine: Engine, file: PathBuf) -> anyhow::Result<Self> {
        match engine {
            Engine::Sqlite => Ok(Self::File(file)),
            Engine::Postgres => Scratch::make()
                .map(Self::Schema)
                .context("Set TEST_POSTGRES_URL, as `.ci/postgres start` prints it"),
        }
    }

    pub(crate) fn open(&self) -> anyhow::Result<SqlStore> {
        match self {
            Self::File(path) => Ok(SqlStore::open(path)?),
            Self::Schema(schema) => Ok(SqlStore::connect(&Access::new(&schema.connection(), PATIENCE)?)?),
        }
    }

    /// The store becomes the relay's: in PostgreSQL it is one of several workers, the only one here.
    pub(crate) fn join(&self, store: &mut SqlStore) -> anyhow::Result<Option<i64>> {
        match self {
            Self::File(_) => Ok(None),
            Self::Schema(_) => Ok(Some(store.join("bench", LEASE)?)),
        }
    }

    /// Waits until all groups are the worker's.
    pub(crate) fn taken(&self) {
        if let Self::Schema(schema) = self {
            schema.until("SELECT NOT EXISTS (SELECT 1 FROM served_groups WHERE worker_id IS NULL)");
        }
    }

    /// Bytes that hold something. In PostgreSQL those of all tables and indices, with what it has not cleaned up yet.
    pub(crate) fn stored_bytes(&self) -> anyhow::Result<f64> {
        match self {
            Self::File(path) => {
                let database = rusqlite::Connection::open(path)?;
                let read = |name: &str| database.pragma_query_value(None, name, |row| row.get::<_, u32>(0));
                let pages = read("page_count")?.saturating_sub(read("freelist_count")?);
                Ok(f64::from(pages) * f64::from(read("page_size")?))
            }
            Self::Schema(schema) => {
                let sizes = "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::float8 FROM pg_class
                             WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace";
                Ok(schema.client().query_one(sizes, &[])?.try_get(0)?)
            }
        }
    }
}
