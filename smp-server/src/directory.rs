//! The server's directory: what is where, and the lock that keeps a second server out.

use std::fs::{File, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use protocol::smp::password::BasicAuth;
use zeroize::Zeroizing;

use crate::config::{Access, Storage};
use crate::error::CommandError;
use crate::identity::CA_CERTIFICATE_FILE;

/// The password for creating queues, when `init` draws one.
pub const CREATE_PASSWORD_FILE: &str = "create_password";
/// The database of queues.
pub const DATABASE_FILE: &str = "smp-server.db";
/// The log of messages, beside the database.
pub const MESSAGES_DIRECTORY: &str = "messages";
/// There while `import-reference` has not come to its end.
const UNFINISHED_IMPORT_FILE: &str = "import.unfinished";
/// Held while a server runs.
pub const LOCK_FILE: &str = "lock";
/// The variable that gives the password itself.
const CREATE_PASSWORD_VARIABLE: &str = "SMP_SERVER_CREATE_PASSWORD";
/// The variable that gives the connection string of PostgreSQL.
const POSTGRES_VARIABLE: &str = "SMP_SERVER_POSTGRES";

/// A directory of keys, settings and data.
#[derive(Debug, Clone)]
pub struct Directory {
    path: PathBuf,
}

impl Directory {
    /// The directory at `path`.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path that starts here when it is relative.
    #[must_use]
    pub fn join(&self, path: &Path) -> PathBuf {
        self.path.join(path)
    }

    /// The settings file.
    #[must_use]
    pub fn settings_file(&self) -> PathBuf {
        self.path.join("smp-server.toml")
    }

    /// The database of queues; their messages are in a directory beside it.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.path.join(DATABASE_FILE)
    }

    /// The database, which must be there.
    ///
    /// # Errors
    /// When no server is here, or none that keeps its queues here.
    pub fn stored(&self) -> Result<PathBuf, CommandError> {
        let database = self.database();
        match (database.exists(), self.settings_file().exists()) {
            (true, _) => Ok(database),
            (false, true) => Err(CommandError::NothingStored(self.path.clone())),
            (false, false) => Err(CommandError::NotInitialised(self.path.clone())),
        }
    }

    /// Notifications that waited when the server stopped.
    #[must_use]
    pub fn saved_notifications(&self) -> PathBuf {
        self.path.join("notifications.saved")
    }

    /// Refuses a directory in which a server was already made.
    ///
    /// # Errors
    /// When there are settings or an identity.
    pub fn refuse_used(&self, settings_file: &Path) -> anyhow::Result<()> {
        for path in [settings_file, &self.path.join(CA_CERTIFICATE_FILE), &self.database()] {
            if path.exists() {
                return Err(CommandError::AlreadyInitialised(path.to_owned()).into());
            }
        }
        Ok(())
    }

    /// Makes the database's file if it is not there yet, for the owner alone; SQLite's other files follow its mode.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn prepare_database(&self) -> anyhow::Result<PathBuf> {
        let path = self.database();
        let mut options = File::options();
        options.create(true).truncate(false).write(true).mode(0o600).open(&path).with_context(|| {
            format!("Unable to make {}: give this user the right to write there", path.display())
        })?;
        Ok(path)
    }

    /// The mark of an import that has not come to its end.
    #[must_use]
    pub fn unfinished_import(&self) -> PathBuf {
        self.path.join(UNFINISHED_IMPORT_FILE)
    }

    /// Keeps other servers out of the directory for as long as the lock lives.
    ///
    /// # Errors
    /// When another server holds it, or what is in it is not complete.
    pub fn lock(&self) -> anyhow::Result<DirectoryLock> {
        self.refuse_unfinished()?;
        self.lock_for_import()
    }

    /// Refuses what an interrupted import left.
    ///
    /// # Errors
    /// [`CommandError::Unfinished`].
    pub fn refuse_unfinished(&self) -> anyhow::Result<()> {
        if self.unfinished_import().exists() {
            return Err(CommandError::Unfinished(self.path.clone()).into());
        }
        Ok(())
    }

    /// The same for an import, which may go on where one was interrupted.
    ///
    /// # Errors
    /// When another server holds it.
    pub fn lock_for_import(&self) -> anyhow::Result<DirectoryLock> {
        let path = self.path.join(LOCK_FILE);
        let mut options = File::options();
        let file = options
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("Unable to open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(DirectoryLock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(CommandError::Locked(self.path.clone()).into()),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("Unable to lock {}", path.display()))
            }
        }
    }

    /// As [`Self::lock`], without making anything in a directory that is not there.
    ///
    /// # Errors
    /// When there is no server here, or one runs.
    pub fn lock_existing(&self) -> anyhow::Result<DirectoryLock> {
        if !self.path.exists() {
            return Err(CommandError::NotInitialised(self.path.clone()).into());
        }
        self.lock()
    }

    /// The password that clients need for creating queues, if there is one.
    ///
    /// # Errors
    /// When its file cannot be read or holds what no address can.
    pub fn create_password(&self, access: &Access) -> anyhow::Result<Option<BasicAuth>> {
        let text = match std::env::var(CREATE_PASSWORD_VARIABLE) {
            Ok(text) => text,
            Err(_) if access.create_password_file.as_os_str().is_empty() => return Ok(None),
            Err(_) => {
                let path = self.join(&access.create_password_file);
                std::fs::read_to_string(&path).with_context(|| {
                    format!("Unable to read the password for creating queues at {}", path.display())
                })?
            }
        };
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            return Ok(None);
        }
        let password = BasicAuth::new(text.as_bytes())
            .context("The password for creating queues may hold no spaces and none of `@`, `:` and `/`")?;
        Ok(Some(password))
    }
}

impl Directory {
    /// How PostgreSQL is reached.
    ///
    /// # Errors
    /// When its file cannot be read; says where to write it.
    pub fn postgres_connection(&self, storage: &Storage) -> anyhow::Result<Zeroizing<String>> {
        if let Ok(text) = std::env::var(POSTGRES_VARIABLE) {
            return Ok(text.into());
        }
        let path = self.join(&storage.postgres_connection_file);
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!(
                "Unable to read the connection string of PostgreSQL at {}: write it there, for this user alone, or \
                 give it by {POSTGRES_VARIABLE}",
                path.display()
            )
        })?;
        Ok(Zeroizing::new(text.trim().to_owned()))
    }
}

/// Holds a directory; the system releases it when the process ends, however it ends.
#[derive(Debug)]
pub struct DirectoryLock {
    _file: File,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_server_is_kept_out() {
        let place = tempfile::tempdir().unwrap();
        let directory = Directory::new(place.path());
        let held = directory.lock().unwrap();
        let error = directory.lock().unwrap_err();
        assert!(error.to_string().contains("Another smp-server"), "{error}");
        drop(held);
        directory.lock().unwrap();
    }

    #[test]
    fn a_password_comes_from_its_file() {
        let place = tempfile::tempdir().unwrap();
        let directory = Directory::new(place.path());
        let access = |file: &str| Access { create_password_file: file.into(), ..Access::default() };
        assert!(directory.create_password(&access("")).unwrap().is_none());
        std::fs::write(place.path().join("pass"), "secret\n").unwrap();
        let password = directory.create_password(&access("pass")).unwrap().unwrap();
        assert_eq!(password.as_bytes(), b"secret");
        std::fs::write(place.path().join("pass"), "a b").unwrap();
        assert!(directory.create_password(&access("pass")).is_err());
        assert!(directory.create_password(&access("absent")).is_err());
    }
}
