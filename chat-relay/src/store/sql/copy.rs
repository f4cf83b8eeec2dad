//! A copy of the whole store beside a running relay, and what a copy must pass before anybody relies on it.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, params};
use serde::Serialize;

use super::SqlStore;
use crate::store::operation::OperationStore as _;
use crate::store::records::GroupId;
use crate::store::workers::WorkerStore as _;
use crate::store::{RelayStore as _, StoreError};

/// The row by which a copy knows that it is one.
const COPY_MARK: &str = "copied";
/// Groups read at a time.
const PAGE: u32 = 1000;

/// What a sound store holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Groups.
    pub groups: u64,
    /// Members that are in.
    pub members: u64,
    /// Messages that are kept.
    pub messages: u64,
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} groups, {} members, {} messages", self.groups, self.members, self.messages)
    }
}

impl SqlStore {
    /// Writes what is committed at this moment into a new file, marked as a copy, to the disk.
    ///
    /// # Errors
    /// What SQLite or the disk says.
    pub fn copy(original: &Path, into: &Path) -> Result<(), StoreError> {
        // Made ahead of SQLite, for the owner alone.
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(into)?;
        let reader = Connection::open_with_flags(original, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        reader.execute("VACUUM INTO ?1", [into.to_string_lossy()])?;
        let copy = Connection::open(into)?;
        copy.execute("INSERT OR REPLACE INTO operator_settings VALUES (?1, 'yes')", params![COPY_MARK])?;
        copy.close().map_err(|(_, error)| error)?;
        Ok(File::open(into)?.sync_all()?)
    }

    /// Whether this store is a copy whose ratchets may be older than their peers know them.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn is_copy(&mut self) -> Result<bool, StoreError> {
        Ok(self.operator_settings()?.iter().any(|(name, _)| name == COPY_MARK))
    }

    /// Says that every ratchet is being agreed on anew. The relay becomes another service of its servers: their numbers of
    /// queues say nothing about those that this store knows.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn forget_that_it_is_a_copy(&mut self) -> Result<(), StoreError> {
        self.forget_services()?;
        self.set_operator_setting(COPY_MARK, None)
    }

    /// Reads everything and counts it; changes nothing but the form of an older version.
    ///
    /// # Errors
    /// What SQLite says, and [`StoreError::Damaged`] with what is wrong.
    pub fn verify(&mut self) -> Result<Verified, StoreError> {
        // PostgreSQL looks after its pages and references by itself.
        if !self.is_shared() {
            self.verify_file()?;
        }
        self.relay_address()?;
        let mut last = GroupId(0);
        loop {
            // Reads each group's life, identity and draft as the relay would.
            let page = self.group_overviews(last, PAGE)?;
            let Some(end) = page.last() else { break };
            last = end.group.id;
        }
        let totals = self.totals()?;
        Ok(Verified {
            groups: totals.groups.iter().map(|(_, count)| count).sum(),
            members: totals.members,
            messages: totals.messages,
        })
    }

    fn verify_file(&mut self) -> Result<(), StoreError> {
        let mut problems: Vec<String> =
            self.all("PRAGMA integrity_check(10)", params![], |row| row.get(0))?;
        problems.retain(|problem| problem != "ok");
        problems.extend(self.all("PRAGMA foreign_key_check", params![], |row| {
            Ok(format!("a row of {} names one that is not there", row.get::<_, String>(0)?))
        })?);
        problems.truncate(10);
        if problems.is_empty() { Ok(()) } else { Err(StoreError::Damaged(problems.join("; "))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_knows_that_it_is_one_and_is_verified() {
        let home = tempfile::tempdir().unwrap();
        let (path, copy) = (home.path().join("relay.sqlite"), home.path().join("copy.sqlite"));
        let mut original = SqlStore::open(&path).unwrap();
        original.services().unwrap();
        SqlStore::copy(&path, &copy).unwrap();
        assert!(!original.is_copy().unwrap());
        let mut store = SqlStore::open(&copy).unwrap();
        assert!(store.is_copy().unwrap());
        let known = original.services().unwrap().seed;
        assert_eq!(store.services().unwrap().seed, known);
        assert_eq!(store.verify().unwrap(), Verified::default());
        store.forget_that_it_is_a_copy().unwrap();
        assert!(!store.is_copy().unwrap());
        assert_ne!(store.services().unwrap().seed, known, "servers are to take all queues over");
        assert!(SqlStore::copy(&path, &copy).is_err(), "nothing is overwritten");
    }

    #[test]
    fn what_names_a_missing_row_is_damaged() {
        let mut store = SqlStore::in_memory().unwrap();
        for sql in ["PRAGMA foreign_keys = OFF", "INSERT INTO paused_groups VALUES (7)"] {
            store.run(sql, params![]).unwrap();
        }
        assert!(matches!(store.verify(), Err(StoreError::Damaged(what)) if what.contains("paused_groups")));
    }
}
