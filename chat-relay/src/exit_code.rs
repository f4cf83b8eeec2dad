//! How the process ends, as its caller sees it.

/// Exit codes of `chat-relay`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// All went well, also when a reader closed its end of our output.
    Success = 0,
    /// Something failed that no other code names.
    Failure = 1,
    /// The command line or a setting is wrong (clap uses the same number).
    Usage = 2,
    /// Another process holds the directory.
    Locked = 3,
    /// The directory is not initialised, or is initialised already.
    Directory = 4,
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}
