//! The store that the settings name, opened.

use anyhow::Context as _;

use crate::config::{Engine, Settings};
use crate::directory::Directory;
use crate::store::{MemoryStore, PostgresStore, QueueStore, SqliteStore};

/// Opens it. Must be called outside of an asynchronous runtime.
pub(super) fn open(settings: &Settings, directory: &Directory) -> anyhow::Result<Box<dyn QueueStore>> {
    Ok(match settings.storage.engine {
        Engine::Memory => Box::new(MemoryStore::new()),
        Engine::Embedded => {
            let path = directory.prepare_database()?;
            let store = SqliteStore::open(&path, &settings.storage);
            Box::new(store.with_context(|| {
                format!(
                    "Unable to open the database at {}; if it is damaged, restore the directory from a backup: \
                     `smp-server check` says what is damaged, `smp-server restore` brings a backup back",
                    path.display()
                )
            })?)
        }
        Engine::Postgres => Box::new(open_postgres(settings, directory)?),
    })
}

/// Opens the database that several servers share.
pub(super) fn open_postgres(settings: &Settings, directory: &Directory) -> anyhow::Result<PostgresStore> {
    let connection = directory.postgres_connection(&settings.storage)?;
    PostgresStore::open(&connection, settings.storage.postgres_patience.0).context(
        "Unable to use PostgreSQL: check the connection string, that the server runs, and that the user may create \
         tables",
    )
}
