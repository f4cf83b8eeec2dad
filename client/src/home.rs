//! The directory that holds everything: store, sealed key, lock, control socket.
//!
//! ```text
//! HOME/key.toml       how the home is opened (never the key itself)
//!      conclave.db    the store, its secrets sealed
//!      lock           held by the one process that uses the home
//!      control.sock   where that process takes commands while it listens
//! ```

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use fs4::fs_std::FileExt;

use crate::error::CommandError;
use crate::exit_code::ExitCode;

/// How long a command waits for another that is about to end.
const LOCK_WAIT_MS: u64 = 10_000;
/// Pause between two looks at the lock; the operating system offers no wait with a limit.
const LOCK_RETRY_MS: u64 = 50;

/// A home that may be held by somebody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Home {
    directory: PathBuf,
}

/// The right to use the store of a home, until dropped.
#[derive(Debug)]
pub(crate) struct HomeLock {
    _file: File,
}

impl Home {
    /// The home at `directory`, else the place that XDG names for this user.
    ///
    /// # Errors
    /// When no directory is given and the user has no home directory.
    pub(crate) fn locate(directory: Option<PathBuf>) -> Result<Self, CommandError> {
        let directory = match directory {
            Some(directory) => directory,
            None => directories::ProjectDirs::from("", "", "conclave")
                .ok_or_else(|| {
                    CommandError::new(ExitCode::NoHome, "The user has no home directory")
                        .hint("Name a directory with --home or CONCLAVE_HOME.")
                })?
                .data_dir()
                .to_owned(),
        };
        let directory = std::path::absolute(&directory)
            .with_context(|| format!("Unable to use {} as home", directory.display()))?;
        Ok(Self { directory })
    }

    /// Where it is.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The file that says how the home is opened.
    pub(crate) fn key_file(&self) -> PathBuf {
        self.directory.join("key.toml")
    }

    /// The SQLite file.
    pub(crate) fn store_file(&self) -> PathBuf {
        self.directory.join("conclave.db")
    }

    /// The control socket.
    pub(crate) fn socket_file(&self) -> PathBuf {
        self.directory.join("control.sock")
    }

    /// Whether `init` or `import` has been here.
    pub(crate) fn exists(&self) -> bool {
        self.key_file().exists()
    }

    /// Makes the directory, for the owner alone.
    ///
    /// # Errors
    /// When a home is there already, or the directory cannot be made.
    pub(crate) fn create(&self) -> Result<(), CommandError> {
        if self.exists() {
            return Err(CommandError::new(
                ExitCode::AlreadyThere,
                format_args!("There is a home at {} already", self.directory.display()),
            )
            .hint("Use it, or name another directory with --home."));
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory).with_context(|| {
            format!("Unable to make {}; name another directory with --home", self.directory.display())
        })?;
        std::fs::set_permissions(&self.directory, std::fs::Permissions::from_mode(0o700))
            .with_context(|| format!("Unable to protect {}", self.directory.display()))?;
        Ok(())
    }

    /// Refuses a missing home and one that other users can read.
    ///
    /// # Errors
    /// As said.
    pub(crate) fn check(&self) -> Result<(), CommandError> {
        if !self.exists() {
            return Err(CommandError::new(
                ExitCode::NoHome,
                format_args!("There is no home at {}", self.directory.display()),
            ));
        }
        let mode = std::fs::metadata(&self.directory)
            .with_context(|| format!("Unable to look at {}", self.directory.display()))?
            .permissions()
            .mode();
        if mode & 0o077 != 0 {
            return Err(CommandError {
                kind: ExitCode::NoHome,
                message: format!("Other users can look into {}", self.directory.display()),
                hints: vec![format!("Close it with `chmod 700 {}`.", self.directory.display())],
            });
        }
        Ok(())
    }

    /// Takes the lock if nobody holds it.
    ///
    /// # Errors
    /// When the lock file cannot be used.
    pub(crate) fn try_lock(&self) -> Result<Option<HomeLock>, CommandError> {
        let path = self.directory.join("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("Unable to open {}", path.display()))?;
        let taken = FileExt::try_lock_exclusive(&file)
            .with_context(|| format!("Unable to lock {}", path.display()))?;
        Ok(taken.then_some(HomeLock { _file: file }))
    }

    /// Takes the lock, giving another short command time to end. `other_way` is asked at every look: if it finds
    /// another way to get the work done, waiting ends with that.
    ///
    /// # Errors
    /// [`ExitCode::HomeBusy`] when the other process does not end in time.
    pub(crate) fn lock_or<T>(
        &self,
        mut other_way: impl FnMut() -> Option<T>,
    ) -> Result<LockOr<T>, CommandError> {
        let deadline = Instant::now() + Duration::from_millis(LOCK_WAIT_MS);
        loop {
            if let Some(lock) = self.try_lock()? {
                return Ok(LockOr::Lock(lock));
            }
            if let Some(other) = other_way() {
                return Ok(LockOr::Other(other));
            }
            if Instant::now() >= deadline {
                return Err(CommandError::new(
                    ExitCode::HomeBusy,
                    format_args!("Another conclave process holds {}", self.directory.display()),
                ));
            }
            std::thread::sleep(Duration::from_millis(LOCK_RETRY_MS));
        }
    }
}

/// How a command gets to the home.
#[derive(Debug)]
pub(crate) enum LockOr<T> {
    /// By itself.
    Lock(HomeLock),
    /// Through another process.
    Other(T),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> (tempfile::TempDir, Home) {
        let place = tempfile::tempdir().unwrap();
        let home = Home::locate(Some(place.path().join("home"))).unwrap();
        (place, home)
    }

    #[test]
    fn a_home_is_closed_to_others_and_one_process_holds_it() {
        let (_place, home) = home();
        assert_eq!(home.check().unwrap_err().kind, ExitCode::NoHome);
        home.create().unwrap();
        std::fs::write(home.key_file(), "x").unwrap();
        home.check().unwrap();
        assert_eq!(home.create().unwrap_err().kind, ExitCode::AlreadyThere);

        let lock = home.try_lock().unwrap().unwrap();
        assert!(home.try_lock().unwrap().is_none());
        assert!(matches!(home.lock_or(|| Some(7)).unwrap(), LockOr::Other(7)));
        drop(lock);
        assert!(matches!(home.lock_or(|| None::<()>).unwrap(), LockOr::Lock(_)));
    }

    #[test]
    fn an_open_home_is_refused() {
        let (_place, home) = home();
        home.create().unwrap();
        std::fs::write(home.key_file(), "x").unwrap();
        std::fs::set_permissions(home.directory(), std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(home.check().unwrap_err().hints[0].contains("chmod 700"));
    }
}
