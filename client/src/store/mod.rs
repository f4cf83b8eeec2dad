//! The client's state: one SQLite file whose secrets are sealed.
//!
//! ```text
//! connections   what protocol::agent keeps                 (agent.rs)
//! groups ─┬─ group_relays   one per relay, with its connections
//!         ├─ members        keys, names, roles
//!         ├─ messages       with reactions
//!         ├─ copies         who brought what, compared
//!         ├─ outbox         own events on their way, with deliveries per relay
//!         ├─ author_chains  which of an author's numbered statements came, by which relay
//!         └─ evidence       what relays did wrong
//! ```
//!
//! The engine opens a transaction per batch of inputs; nothing here commits by itself.

mod agent;
pub(crate) mod author_chain;
pub(crate) mod bulk;
pub(crate) mod copy;
pub(crate) mod evidence;
pub(crate) mod group;
pub(crate) mod kept;
pub(crate) mod member;
pub(crate) mod message;
pub(crate) mod outbox;
pub(crate) mod owner_archive;
pub(crate) mod relay;
mod unproven;

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use protocol::encoding::DecodeError;
use protocol::net::engine::{Fatal, Transactional};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Params, Row};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::seal::{SealBroken, Sealer};
use protocol::net::rng::system_rng;

/// Numbered, forward-only; `PRAGMA user_version` counts those that ran.
const MIGRATIONS: [&str; 9] = [
    include_str!("../../migrations/0001_connections.sql"),
    include_str!("../../migrations/0002_groups.sql"),
    include_str!("../../migrations/0003_author_chains.sql"),
    include_str!("../../migrations/0004_history.sql"),
    include_str!("../../migrations/0005_said.sql"),
    include_str!("../../migrations/0006_bulk.sql"),
    include_str!("../../migrations/0007_order.sql"),
    include_str!("../../migrations/0008_aside.sql"),
    include_str!("../../migrations/0009_unproven.sql"),
];

/// Statements kept compiled; more than this crate has.
const CACHED_STATEMENTS: usize = 128;

/// What can go wrong in the store. Nothing that a peer sends causes it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database failed.
    #[error("the database failed")]
    Sqlite(#[from] rusqlite::Error),
    /// A row that must be there is not, or belongs to another.
    #[error("the database misses a row that it must have")]
    Missing,
    /// A stored value cannot be read.
    #[error("a stored value cannot be read: {0}")]
    Damaged(#[from] DecodeError),
    /// A stored record cannot be read.
    #[error("a stored record cannot be read")]
    DamagedRecord(#[from] serde_json::Error),
    /// A sealed value does not open.
    #[error(transparent)]
    Seal(#[from] SealBroken),
    /// The file was written by a later version.
    #[error("the database was written by a later version of conclave: run that version")]
    Newer,
}

/// The client's state.
#[derive(Debug)]
pub struct Store {
    database: Connection,
    sealer: Sealer,
}

impl Store {
    /// Opens the file, makes it if need be, and brings it up to date.
    ///
    /// # Errors
    /// [`StoreError::Newer`] when a later version of this program wrote it, and what SQLite says.
    pub(crate) fn open(path: &Path, sealer: Sealer) -> anyhow::Result<Self> {
        // SQLite's other files follow the mode of this one.
        let mut options = std::fs::OpenOptions::new();
        options
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path)
            .with_context(|| format!("Unable to open the store {}", path.display()))?;
        let open = || Self::prepare(Connection::open(path)?, sealer);
        open().map_err(|error| {
            anyhow::Error::from(error).context(format!("Unable to open the store {}", path.display()))
        })
    }

    /// A store that is gone with its handle, and the same sealing key each time.
    #[cfg(test)]
    pub(crate) fn in_memory() -> Self {
        let secret = crate::seal::Secret::KeyFile(zeroize::Zeroizing::new([7; 32]));
        let (sealer, _) = Sealer::create(&secret, &mut system_rng()).unwrap();
        Self::prepare(Connection::open_in_memory().unwrap(), sealer).unwrap()
    }

    /// On an open database, which is brought up to date.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub(crate) fn prepare(mut database: Connection, sealer: Sealer) -> Result<Self, StoreError> {
        database.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
             PRAGMA busy_timeout = 5000; PRAGMA secure_delete = ON;",
        )?;
        database.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
        // Else a kept statement with a limit, or on a table with a partial index, is compiled anew for each value.
        database.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        migrate(&mut database)?;
        Ok(Self { database, sealer })
    }

    /// Begins a transaction; everything until [`Store::commit`] is one step.
    ///
    /// # Errors
    /// What SQLite says; so for all methods here.
    pub(crate) fn begin(&mut self) -> Result<(), StoreError> {
        Ok(self.database.execute_batch("BEGIN IMMEDIATE")?)
    }

    /// Makes the step durable.
    pub(crate) fn commit(&mut self) -> Result<(), StoreError> {
        Ok(self.database.execute_batch("COMMIT")?)
    }

    /// Forgets the step.
    pub(crate) fn rollback(&mut self) -> Result<(), StoreError> {
        Ok(self.database.execute_batch("ROLLBACK")?)
    }

    /// Does `step` within the open transaction, all of it or nothing.
    pub(crate) fn attempt<T, E: From<StoreError>>(
        &mut self,
        step: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        let say = |store: &mut Self, sql| store.database.execute_batch(sql).map_err(StoreError::from);
        say(self, "SAVEPOINT attempt")?;
        let result = step(self);
        if result.is_err() {
            say(self, "ROLLBACK TO attempt")?;
        }
        say(self, "RELEASE attempt")?;
        result
    }

    /// Does `step` in a transaction of its own.
    pub(crate) fn transaction<T, E: From<StoreError>>(
        &mut self,
        step: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        self.begin()?;
        match step(self) {
            Ok(value) => {
                self.commit()?;
                Ok(value)
            }
            Err(error) => {
                self.rollback()?;
                Err(error)
            }
        }
    }

    /// Writes a consistent copy of what is committed into a new file, marked as a copy; it is as sealed as the original.
    pub(crate) fn copy_to_as_backup(&self, path: &Path) -> Result<(), StoreError> {
        // A connection of its own, because this one may be in a transaction.
        let original = self.database.path().ok_or(StoreError::Missing)?;
        let reader = Connection::open_with_flags(original, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        reader.execute("VACUUM INTO ?1", [path.to_string_lossy()])?;
        let copy = Connection::open(path)?;
        copy.execute(kept::SET_SETTING, self.restored_mark()?)?;
        Ok(())
    }

    /// The directory that the database lies in.
    pub(crate) fn home_directory(&self) -> Result<PathBuf, StoreError> {
        let file = self.database.path().map(Path::new);
        file.and_then(Path::parent).map(Path::to_owned).ok_or(StoreError::Missing)
    }

    /// What SQLite finds wrong with the file, and whether each sealed value opens.
    pub(crate) fn check(&mut self) -> Result<Vec<String>, StoreError> {
        let mut problems: Vec<String> = self
            .all("PRAGMA integrity_check(10)", [], |row| row.get(0))?
            .into_iter()
            .filter(|line: &String| line != "ok")
            .collect();
        for group in self.groups()? {
            if let Err(error) = self.relays(group.id).and_then(|_| self.members(group.id).map(drop)) {
                problems.push(format!("{}: {error}", group.record.alias));
            }
        }
        Ok(problems)
    }

    fn seal(&self, column: &'static str, plain: &[u8]) -> Vec<u8> {
        self.sealer.seal(column, plain, &mut system_rng())
    }

    fn seal_record<T: Serialize>(&self, column: &'static str, record: &T) -> Result<Vec<u8>, StoreError> {
        let plain = zeroize::Zeroizing::new(serde_json::to_vec(record)?);
        Ok(self.seal(column, &plain))
    }

    fn open_record<T: DeserializeOwned>(&self, column: &'static str, sealed: &[u8]) -> Result<T, StoreError> {
        Ok(serde_json::from_slice(&self.sealer.open(column, sealed)?)?)
    }

    /// Runs a statement and counts the rows it changed.
    fn run(&mut self, sql: &str, params: impl Params) -> Result<usize, StoreError> {
        Ok(self.database.prepare_cached(sql)?.execute(params)?)
    }

    /// Runs an insertion and gives the row's number.
    fn insert(&mut self, sql: &str, params: impl Params) -> Result<i64, StoreError> {
        self.change_one(sql, params)?;
        Ok(self.database.last_insert_rowid())
    }

    /// Runs a statement that must change one row.
    fn change_one(&mut self, sql: &str, params: impl Params) -> Result<(), StoreError> {
        if self.run(sql, params)? == 1 { Ok(()) } else { Err(StoreError::Missing) }
    }

    /// The first row, if any.
    fn one<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        Ok(self.database.prepare_cached(sql)?.query_row(params, read).optional()?)
    }

    /// All rows.
    fn all<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let mut statement = self.database.prepare_cached(sql)?;
        let rows = statement.query_map(params, read)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// One number.
    fn count(&self, sql: &str, params: impl Params) -> Result<u64, StoreError> {
        let count: Option<i64> = self.one(sql, params, |row| row.get(0))?;
        Ok(count.map_or(0, unsigned))
    }
}

/// The engine works in one transaction per batch of inputs.
impl Transactional for Store {
    fn begin(&mut self) -> Result<(), Fatal> {
        Ok(Store::begin(self)?)
    }

    fn commit(&mut self) -> Result<(), Fatal> {
        Ok(Store::commit(self)?)
    }

    fn rollback(&mut self) -> Result<(), Fatal> {
        Ok(Store::rollback(self)?)
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
        transaction.pragma_update(None, "user_version", number)?;
        transaction.commit()?;
    }
    Ok(())
}

/// A count of `SQLite`, which has no unsigned numbers.
fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer() -> Sealer {
        let secret = crate::seal::Secret::KeyFile(zeroize::Zeroizing::new([7; 32]));
        Sealer::create(&secret, &mut system_rng()).unwrap().0
    }

    #[test]
    fn a_file_of_a_later_version_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("conclave.db");
        Store::open(&path, sealer()).unwrap().database.pragma_update(None, "user_version", 1000).unwrap();
        let error = Store::open(&path, sealer()).unwrap_err();
        assert!(format!("{error:#}").contains("later version"));
    }

    #[test]
    fn a_home_of_an_earlier_version_keeps_what_it_has() {
        let database = Connection::open_in_memory().unwrap();
        for migration in &MIGRATIONS[..2] {
            database.execute_batch(migration).unwrap();
        }
        database.pragma_update(None, "user_version", 2).unwrap();
        let mut store = Store { database, sealer: sealer() };
        let mut group = serde_json::to_value(group::tests::a_group("news")).unwrap();
        group.as_object_mut().unwrap().remove("joined_at_ms");
        let sealed = store.seal_record("groups.sealed", &group).unwrap();
        let id = store.insert("INSERT INTO groups (sealed) VALUES (?1)", [sealed]).unwrap();
        migrate(&mut store.database).unwrap();
        let id = group::GroupId(id);
        let group = store.group(id).unwrap();
        assert_eq!((group.alias.as_str(), group.joined_at_ms), ("news", None));
        assert!(store.author_chains(id).unwrap().is_empty());
        assert!(store.newest_messages(id, 9).unwrap().is_empty());
    }

    #[test]
    fn a_step_that_fails_leaves_nothing_behind() {
        let mut store = Store::in_memory();
        let failed: Result<(), StoreError> = store.transaction(|store| {
            store.set_own_name("Alice")?;
            Err(StoreError::Missing)
        });
        assert!(failed.is_err());
        assert_eq!(store.own_name().unwrap(), None);
    }

    #[test]
    fn no_secret_stands_in_the_file_in_clear() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("conclave.db");
        let mut store = Store::open(&path, sealer()).unwrap();
        use protocol::agent::store::AgentStore as _;
        store.insert_connection(b"a ratchet's secret").unwrap();
        store.set_own_name("Alice Secretname").unwrap();
        store.put_body(b"a body's secret").unwrap();
        let copy = place.path().join("copy.db");
        store.copy_to_as_backup(&copy).unwrap();
        assert!(!store.is_restored().unwrap());
        let bytes = std::fs::read(&copy).unwrap();
        let holds = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
        assert!(holds(b"seen_hashes"), "the schema is there");
        for secret in [&b"secret"[..], b"Secretname"] {
            assert!(!holds(secret));
        }
    }
}
