//! What a command reports when it fails: what happened, what to do next, and the exit code.

use std::path::PathBuf;

use thiserror::Error;

use daemon::exit_code::ExitCode;

/// A failure that a person can act on. Everything else is an [`anyhow::Error`] with context.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CommandError {
    /// `start` or `address` before `init`.
    #[error("No server in {0}: run `smp-server init --directory {0}` first")]
    NotInitialised(PathBuf),
    /// `backup` or `check` where no queues are.
    #[error(
        "No queues are in {0}: a server that was never started has none; one that uses PostgreSQL has them there, to be \
         backed up and checked by its own tools, such as pg_dump"
    )]
    NothingStored(PathBuf),
    /// `init` twice.
    #[error("{0} exists, so a server lives here: start it, or choose another place with --directory")]
    AlreadyInitialised(PathBuf),
    /// Two processes on one directory.
    #[error("Another smp-server uses {0}: stop it first, or choose another place with --directory")]
    Locked(PathBuf),
    /// `check` or `restore` found damage.
    #[error(
        "{directory} is damaged in {count} places: put it aside and restore a backup with `smp-server restore`; \
         without one, keep what is there and ask for help before you change anything. Damaged messages alone can be \
         dropped with `smp-server ctl drop-damaged`"
    )]
    Damaged {
        /// Where.
        directory: PathBuf,
        /// How much is wrong.
        count: usize,
    },
    /// `import-reference` found damage.
    #[error(
        "{count} records are damaged, the first at {first}; `--check` tells of them, and `--leave-out-damaged FILE` \
         takes over the rest and lists in the file what it leaves out"
    )]
    DamagedReference {
        /// How many were found so far.
        count: u64,
        /// Place and flaw of the first.
        first: String,
    },
    /// `import-reference` did not come to its end.
    #[error("The import into {0} was interrupted: run `smp-server import-reference` again, it begins anew")]
    Unfinished(PathBuf),
    /// A setting that cannot be used.
    #[error("`{name}` {reason}")]
    Setting {
        /// As written in the file.
        name: &'static str,
        /// What is wrong and what would be right.
        reason: String,
    },
}

impl CommandError {
    /// The code with which the process ends when `error` stopped it.
    #[must_use]
    pub fn exit_code(error: &anyhow::Error) -> ExitCode {
        match error.downcast_ref() {
            Some(Self::NotInitialised(_) | Self::NothingStored(_)) => ExitCode::NoDirectory,
            Some(Self::AlreadyInitialised(_)) => ExitCode::AlreadyThere,
            Some(Self::Locked(_)) => ExitCode::DirectoryBusy,
            Some(Self::Damaged { .. } | Self::DamagedReference { .. }) => ExitCode::Damaged,
            Some(Self::Unfinished(_)) => ExitCode::NoDirectory,
            Some(Self::Setting { .. }) => ExitCode::Usage,
            None if error.is::<toml::de::Error>() => ExitCode::Usage,
            None => ExitCode::Failure,
        }
    }
}
