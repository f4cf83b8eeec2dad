//! Where the relay keeps its state.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::directory::Directory;
use crate::duration::Duration;
use crate::error::CommandError;
use crate::store::sql::{Access, SqlStore};

/// The variable that holds the connection string itself.
const CONNECTION_VARIABLE: &str = "CHAT_RELAY_POSTGRES";
/// The file that holds the connection string when no other is named.
const CONNECTION_FILE: &str = "postgres";
/// How long other workers wait for a sign of one when nothing is said, seconds.
const LEASE_SECONDS: i64 = 15;
/// How long PostgreSQL may be silent when nothing is said, seconds.
const PATIENCE_SECONDS: i64 = 10;

/// What keeps the relay's state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// A file in the directory.
    #[default]
    Sqlite,
    /// A PostgreSQL server, which several workers may share.
    Postgres,
}

/// The section `[store]` of `relay.toml`, and the same as flags and environment variables.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// What keeps the relay's state: `sqlite` a file in the directory, `postgres` a PostgreSQL server, which several
    /// workers may share [default: sqlite]
    #[arg(long = "store", env = "CHAT_RELAY_STORE", value_name = "ENGINE", help_heading = "Store")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<Engine>,
    /// File with the connection string of PostgreSQL, relative to the directory, like `host=/run/postgresql
    /// dbname=relay`; the variable CHAT_RELAY_POSTGRES gives the string itself and wins [default: postgres]
    #[arg(long, env = "CHAT_RELAY_POSTGRES_CONNECTION_FILE", value_name = "FILE", help_heading = "Store")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postgres_connection_file: Option<PathBuf>,
    /// How long PostgreSQL may take to answer a connection, and a worker within a transaction [default: 10s]
    #[arg(long, env = "CHAT_RELAY_POSTGRES_PATIENCE", value_name = "TIME", help_heading = "Store")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postgres_patience: Option<Duration>,
    /// How long other workers wait for a sign of this one before they take over its groups [default: 15s]
    #[arg(long, env = "CHAT_RELAY_WORKER_LEASE", value_name = "TIME", help_heading = "Store")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker_lease: Option<Duration>,
}

impl StoreConfig {
    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// These values where given, else those of `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            engine: self.engine.or(other.engine),
            postgres_connection_file: self.postgres_connection_file.or(other.postgres_connection_file),
            postgres_patience: self.postgres_patience.or(other.postgres_patience),
            worker_lease: self.worker_lease.or(other.worker_lease),
        }
    }

    /// Checks that the values fit together.
    ///
    /// # Errors
    /// [`CommandError::Setting`].
    pub fn check(&self) -> Result<(), CommandError> {
        let lease = self.lease();
        if lease.is_zero() || self.patience().is_zero() || self.patience() > lease {
            let reason = "must be above zero, and no shorter than `postgres_patience`".to_owned();
            return Err(CommandError::Setting { name: "worker_lease", reason });
        }
        Ok(())
    }

    fn patience(&self) -> std::time::Duration {
        self.postgres_patience.unwrap_or(Duration::from_seconds(PATIENCE_SECONDS)).to_std()
    }

    /// How long other workers wait for a sign of this one.
    #[must_use]
    pub fn lease(&self) -> std::time::Duration {
        self.worker_lease.unwrap_or(Duration::from_seconds(LEASE_SECONDS)).to_std()
    }

    /// The way to PostgreSQL, if that is where the state is.
    ///
    /// # Errors
    /// When the connection string cannot be read or used.
    pub fn access(&self, directory: &Directory) -> anyhow::Result<Option<Access>> {
        if self.engine.unwrap_or_default() == Engine::Sqlite {
            return Ok(None);
        }
        let connection = match std::env::var(CONNECTION_VARIABLE) {
            Ok(connection) => connection,
            Err(_) => {
                let file = self.postgres_connection_file.as_deref().unwrap_or(Path::new(CONNECTION_FILE));
                let path = directory.path().join(file);
                std::fs::read_to_string(&path).with_context(|| {
                    format!(
                        "Unable to read the connection string of PostgreSQL at {}: write it there, for this user alone, \
                         or give it by {CONNECTION_VARIABLE}",
                        path.display()
                    )
                })?
            }
        };
        let access = Access::new(connection.trim(), self.patience());
        access.map(Some).context("Unable to use the connection string of PostgreSQL: correct it")
    }

    /// Opens the state of a relay that was initialised.
    ///
    /// # Errors
    /// When it is not there or cannot be used.
    pub fn open(&self, directory: &Directory) -> anyhow::Result<SqlStore> {
        match self.access(directory)? {
            Some(access) => connect(&access),
            None => {
                directory.has_database()?;
                SqlStore::open(&directory.database())
                    .with_context(|| format!("Unable to open {}", directory.database().display()))
            }
        }
    }
}

/// Opens the state in PostgreSQL.
///
/// # Errors
/// When it cannot be used.
pub fn connect(access: &Access) -> anyhow::Result<SqlStore> {
    SqlStore::connect(access).context(
        "Unable to use PostgreSQL: check the connection string, that the server runs, and that the user may create \
         tables in its schema",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_outlasts_the_patience_with_the_database() {
        let with = |lease: &str, patience: &str| StoreConfig {
            worker_lease: lease.parse().ok(),
            postgres_patience: patience.parse().ok(),
            ..StoreConfig::default()
        };
        StoreConfig::default().check().unwrap();
        with("3s", "3s").check().unwrap();
        for (lease, patience) in [("2s", "3s"), ("0s", "0s"), ("5s", "0s")] {
            assert!(with(lease, patience).check().is_err(), "{lease} {patience}");
        }
    }

    #[test]
    fn a_connection_string_that_is_missing_is_named() {
        let home = tempfile::tempdir().unwrap();
        let config = StoreConfig { engine: Some(Engine::Postgres), ..StoreConfig::default() };
        let error = config.access(&Directory::at(home.path())).unwrap_err().to_string();
        assert!(error.contains("postgres:") && error.contains(CONNECTION_VARIABLE), "{error}");
        std::fs::write(home.path().join("postgres"), "host=a password=hunter2 port=hunter2").unwrap();
        let error = format!("{:#}", config.access(&Directory::at(home.path())).unwrap_err());
        assert!(error.contains("correct it") && !error.contains("hunter2"), "{error}");
    }
}
