//! `conclave leave`

use clap::Args;

use crate::cli::TimeoutArgs;
use crate::commands::IntoRequest;
use crate::error::CommandError;
use crate::request::Request;

/// Leave a group.
///
/// What was received stays readable. The owner cannot leave; see `conclave group delete`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  conclave leave news")]
pub(crate) struct LeaveArgs {
    /// The group, as `conclave group list` names it.
    #[arg(value_name = "GROUP")]
    group: String,
    #[command(flatten)]
    timeout: TimeoutArgs,
}

impl IntoRequest for LeaveArgs {
    fn request(self) -> Result<Request, CommandError> {
        Ok(Request::Leave { group: self.group, timeout_ms: self.timeout.ms() })
    }
}
