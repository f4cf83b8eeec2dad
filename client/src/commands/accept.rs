//! `conclave accept`

use clap::Args;

use crate::cli::TimeoutArgs;
use crate::commands::IntoRequest;
use crate::error::CommandError;
use crate::request::Request;

/// Let somebody in who knocks, also somebody who was rejected before.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  conclave accept news bob")]
pub(crate) struct AcceptArgs {
    /// The group, as `conclave group list` names it.
    #[arg(value_name = "GROUP")]
    group: String,
    /// The joiner's id or name, as `conclave knocks` shows it.
    #[arg(value_name = "JOINER", allow_hyphen_values = true)]
    member: String,
    #[command(flatten)]
    timeout: TimeoutArgs,
}

impl IntoRequest for AcceptArgs {
    fn request(self) -> Result<Request, CommandError> {
        Ok(Request::Accept { group: self.group, member: self.member, timeout_ms: self.timeout.ms() })
    }
}
