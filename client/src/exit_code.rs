//! What the shell is told: one number for each way a command can end.

use serde::{Deserialize, Serialize};

/// How a command ended. Scripts may rely on these numbers; new ones are only ever added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub(crate) enum ExitCode {
    /// All that was asked is done.
    Success = 0,
    /// A failure of this machine or of ours: disk, permissions, a bug.
    Failure = 1,
    /// The command line cannot be understood (the number clap uses too).
    Usage = 2,
    /// There is no home here yet, or it cannot be read.
    NoHome = 3,
    /// Another process holds the home.
    HomeBusy = 4,
    /// The passphrase or key file does not open the home or the archive.
    WrongSecret = 5,
    /// No such group, member, message, server or relay.
    NotFound = 6,
    /// It is there already, or was done before.
    AlreadyThere = 7,
    /// The link is malformed, of another kind, or does not match what it leads to.
    WrongLink = 8,
    /// The server's certificate is not the one its address names.
    ServerIdentity = 9,
    /// The server speaks no version that we speak.
    VersionGap = 10,
    /// No server could be reached; nothing was lost, the work waits.
    Unreachable = 11,
    /// The group was deleted by its owner, or its link is gone.
    GroupDeleted = 12,
    /// The group has no relay that is active now.
    NoActiveRelay = 13,
    /// The relays refused to let us in.
    JoinRefused = 14,
    /// The message is too old for this, or no longer there.
    MessageExpired = 15,
    /// The role in this group does not allow it.
    NotAllowed = 16,
    /// The time given ran out; what was begun goes on with the next command.
    StillWaiting = 17,
    /// A relay refused to serve the group, or broke its rules.
    RelayRefused = 18,
    /// `doctor` or a test found something wrong.
    CheckFailed = 19,
    /// It would take the last relay out of the group.
    LastRelay = 20,
    /// The group asks something of those who join, and there was no right answer.
    AnswerNeeded = 21,
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}
