//! What a command reports when it fails: what happened, what to do next, and the exit code.

use std::path::PathBuf;

use daemon::exit_code::ExitCode;
use thiserror::Error;

/// A failure that a person can act on. Everything else is an [`anyhow::Error`] with context.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CommandError {
    /// `start` or `address` before `init`.
    #[error("No relay in {0}: run `chat-relay init --directory {0}` first")]
    NotInitialised(PathBuf),
    /// `init` twice.
    #[error("There is a relay in {0} already: use it with `chat-relay start`, or choose another directory")]
    AlreadyInitialised(PathBuf),
    /// Two processes on one directory.
    #[error("Another chat-relay process uses {0}: stop it first")]
    Locked(PathBuf),
    /// A directory that others can read.
    #[error("{0} can be read by others and holds private keys: run `chmod 700 {0}`")]
    Exposed(PathBuf),
    /// No directory named, and no home to derive one from.
    #[error("No directory given: use --directory or CHAT_RELAY_DIRECTORY")]
    NoDirectory,
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
            Some(Self::NotInitialised(_) | Self::Exposed(_)) => ExitCode::NoDirectory,
            Some(Self::AlreadyInitialised(_)) => ExitCode::AlreadyThere,
            Some(Self::Locked(_)) => ExitCode::DirectoryBusy,
            Some(Self::NoDirectory | Self::Setting { .. }) => ExitCode::Usage,
            None if error.is::<toml::de::Error>() => ExitCode::Usage,
            None => ExitCode::Failure,
        }
    }
}
