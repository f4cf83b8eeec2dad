//! `conclave delete`

use clap::Args;

use crate::cli::TimeoutArgs;
use crate::commands::IntoRequest;
use crate::error::CommandError;
use crate::request::Request;

/// Delete a message for everybody.
///
/// Your own within 24 hours; with the role moderator or above, another's at any time.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  conclave delete news Xk3vQ1pd")]
pub(crate) struct DeleteArgs {
    /// The group, as `conclave group list` names it.
    #[arg(value_name = "GROUP")]
    group: String,
    /// The message's id, or its first characters.
    #[arg(value_name = "MESSAGE", allow_hyphen_values = true)]
    message: String,
    #[command(flatten)]
    timeout: TimeoutArgs,
}

impl IntoRequest for DeleteArgs {
    fn request(self) -> Result<Request, CommandError> {
        Ok(Request::Delete { group: self.group, message: self.message, timeout_ms: self.timeout.ms() })
    }
}
