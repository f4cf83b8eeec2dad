//! The one directory that holds a relay: its configuration, its database and the lock of the running process.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::error::CommandError;

/// Permission bits that let anybody but the owner in.
const OTHERS: u32 = 0o077;

/// A relay's directory. Private keys live in its database, so nobody else may read it.
#[derive(Debug, Clone)]
pub struct Directory {
    path: PathBuf,
}

/// Held while a process uses the directory for writing; freed when dropped, or by the system when the process dies.
#[derive(Debug)]
pub struct DirectoryLock {
    _file: File,
}

impl Directory {
    /// Names a directory without touching it.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// The directory given, or the one in the user's data home.
    ///
    /// # Errors
    /// [`CommandError::NoDirectory`] when none is given and there is no home.
    pub fn choose(given: Option<&Path>) -> Result<Self, CommandError> {
        if let Some(path) = given {
            return Ok(Self::at(path));
        }
        let absolute =
            |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let data =
            absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/share")));
        data.map(|data| Self { path: data.join("chat-relay") }).ok_or(CommandError::NoDirectory)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.path.join("relay.toml")
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.path.join("relay.sqlite")
    }

    /// Makes the database's file if it is not there yet, for the owner alone; SQLite's other files follow its mode.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn prepare_database(&self) -> anyhow::Result<PathBuf> {
        let path = self.database();
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("Unable to make {}", path.display()))?;
        Ok(path)
    }

    /// Makes the directory for a new relay.
    ///
    /// # Errors
    /// When it holds a relay already or cannot be made.
    pub fn create(&self) -> anyhow::Result<()> {
        if self.config().exists() {
            return Err(CommandError::AlreadyInitialised(self.path.clone()).into());
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.path).with_context(|| {
            format!("Unable to create {}; name another directory with --directory", self.path.display())
        })?;
        self.check_private()
    }

    /// Checks that a relay is here and that nobody else can read it.
    ///
    /// # Errors
    /// [`CommandError::NotInitialised`], [`CommandError::Exposed`], or what the system says.
    pub fn open(&self) -> anyhow::Result<()> {
        if !self.config().exists() {
            return Err(CommandError::NotInitialised(self.path.clone()).into());
        }
        self.check_private()
    }

    /// Checks that the database's file is here.
    ///
    /// # Errors
    /// [`CommandError::NotInitialised`].
    pub fn has_database(&self) -> anyhow::Result<()> {
        match self.database().exists() {
            true => Ok(()),
            false => Err(CommandError::NotInitialised(self.path.clone()).into()),
        }
    }

    /// Takes the directory for this process.
    ///
    /// # Errors
    /// [`CommandError::Locked`] when another process has it.
    pub fn lock(&self) -> anyhow::Result<DirectoryLock> {
        let path = self.path.join("lock");
        let file = OpenOptions::new()
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

    /// Writes a file that must not be there yet, readable by its owner alone.
    ///
    /// # Errors
    /// What the system says, and when the file exists.
    pub fn write_new(path: &Path, content: &[u8]) -> anyhow::Result<()> {
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?;
            io::Write::write_all(&mut file, content)?;
            file.sync_all()
        };
        write().with_context(|| format!("Unable to write {}", path.display()))
    }

    fn check_private(&self) -> anyhow::Result<()> {
        let metadata = fs::metadata(&self.path)
            .with_context(|| format!("Unable to read directory {}", self.path.display()))?;
        if metadata.permissions().mode() & OTHERS != 0 {
            return Err(CommandError::Exposed(self.path.clone()).into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(error: &anyhow::Error) -> &CommandError {
        error.downcast_ref().expect("a failure that a person can act on")
    }

    #[test]
    fn one_process_holds_a_directory() {
        let home = tempfile::tempdir().unwrap();
        let directory = Directory::at(&home.path().join("relay"));
        directory.create().unwrap();
        let held = directory.lock().unwrap();
        assert!(matches!(kind(&directory.lock().unwrap_err()), CommandError::Locked(_)));
        drop(held);
        directory.lock().unwrap();
    }

    #[test]
    fn a_directory_that_others_can_read_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("relay");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let error = Directory::at(&path).create().unwrap_err();
        assert!(matches!(kind(&error), CommandError::Exposed(_)));
    }

    #[test]
    fn an_empty_directory_is_not_a_relay() {
        let home = tempfile::tempdir().unwrap();
        let error = Directory::at(home.path()).open().unwrap_err();
        assert!(matches!(kind(&error), CommandError::NotInitialised(_)));
    }
}
