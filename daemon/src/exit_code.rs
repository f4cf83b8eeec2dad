//! How the process ends, as its caller sees it. The numbers mean the same in all programs of this workspace.

/// Exit codes of the daemons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// All went well, also when a reader closed its end of our output.
    Success = 0,
    /// Something failed that no other code names.
    Failure = 1,
    /// The command line or a setting is wrong (clap uses the same number).
    Usage = 2,
    /// There is nothing in the directory, or others can read it.
    NoDirectory = 3,
    /// Another process holds the directory.
    DirectoryBusy = 4,
    /// The directory is in use already.
    AlreadyThere = 7,
    /// What is stored is damaged.
    Damaged = 20,
}

impl ExitCode {
    /// Its name in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Usage => "usage",
            Self::NoDirectory => "no_directory",
            Self::DirectoryBusy => "directory_busy",
            Self::AlreadyThere => "already_there",
            Self::Damaged => "damaged",
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}
