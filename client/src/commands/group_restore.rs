//! `conclave group restore`

use clap::Args;

use crate::cli::TimeoutArgs;
use crate::commands::IntoRequest;
use crate::error::CommandError;
use crate::request::Request;

/// Read the group link again and connect to the relays it lists.
///
/// This happens by itself from time to time; the command does it now.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  conclave group restore news --timeout 1m")]
pub(crate) struct GroupRestoreArgs {
    /// The group, as `conclave group list` names it.
    #[arg(value_name = "GROUP")]
    group: String,
    #[command(flatten)]
    timeout: TimeoutArgs,
}

impl IntoRequest for GroupRestoreArgs {
    fn request(self) -> Result<Request, CommandError> {
        Ok(Request::GroupRestore { group: self.group, timeout_ms: self.timeout.ms() })
    }
}
