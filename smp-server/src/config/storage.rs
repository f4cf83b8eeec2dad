//! Where queues and messages are kept.

use serde::Deserialize;

use super::section::{none_is_instant, none_is_zero, quoted, section};
use super::value::{FilePath, Period, Switch};
use crate::error::CommandError;

section! {
    /// Where queues and messages are kept.
    Storage / StorageLayer in "Storage" {
        /// `embedded`: in the directory, durable. `postgres`: in a PostgreSQL server, which several servers of one address may share. `memory`: gone when the server stops, for tests.
        engine ("store", "SMP_SERVER_STORE"): Engine = Engine::Embedded,
        /// File with the connection string of PostgreSQL, relative to the directory, like `host=/run/postgresql dbname=smp`. The variable SMP_SERVER_POSTGRES gives the string itself and wins.
        postgres_connection_file ("postgres-connection-file", "SMP_SERVER_POSTGRES_CONNECTION_FILE"): FilePath = "postgres".into(),
        /// How long other servers on the same PostgreSQL wait for a sign of this one before they forget it.
        node_lease ("node-lease", "SMP_SERVER_NODE_LEASE"): Period = Period::seconds(15),
        /// How long to wait for PostgreSQL to answer a connection or for other servers on it to finish a commit.
        postgres_patience ("postgres-patience", "SMP_SERVER_POSTGRES_PATIENCE"): Period = Period::seconds(10),
        /// Changes that share one write to disk.
        commit_steps ("commit-steps", "SMP_SERVER_COMMIT_STEPS"): u32 = 256,
        /// Changes that wait to be written; then connections wait.
        waiting_steps ("waiting-steps", "SMP_SERVER_WAITING_STEPS"): u32 = 4096,
        /// Whether notifications that wait are kept over a stop, in the directory. A server that is killed forgets them.
        save_notifications ("save-notifications", "SMP_SERVER_SAVE_NOTIFICATIONS"): Switch = Switch(true),
        /// Threads that read stored queues.
        readers ("store-readers", "SMP_SERVER_STORE_READERS"): u32 = 2,
        /// Size of a file of the message log, in MiB. Room for it is reserved at once.
        segment_mib ("segment-mib", "SMP_SERVER_SEGMENT_MIB"): u32 = 64,
        /// Files of the message log that are kept open for reading.
        open_segments ("open-segments", "SMP_SERVER_OPEN_SEGMENTS"): u32 = 128,
        /// Records of queues that are kept in memory, about 500 bytes each; 0 for none.
        cached_records ("cached-records", "SMP_SERVER_CACHED_RECORDS"): u32 = 65_536,
    }
}

/// What keeps queues and messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// Files in the server's directory.
    Embedded,
    /// A PostgreSQL server.
    Postgres,
    /// Nothing but memory.
    Memory,
}

quoted! {
    Engine: |value| match value {
        Self::Embedded => "embedded".to_owned(),
        Self::Postgres => "postgres".to_owned(),
        Self::Memory => "memory".to_owned(),
    },
}

impl Storage {
    pub(super) fn check(&self) -> Result<(), CommandError> {
        none_is_zero(&[
            ("commit_steps", self.commit_steps),
            ("waiting_steps", self.waiting_steps),
            ("readers", self.readers),
            ("segment_mib", self.segment_mib),
            ("open_segments", self.open_segments),
        ])?;
        none_is_instant(&[("postgres_patience", self.postgres_patience), ("node_lease", self.node_lease)])
    }
}
