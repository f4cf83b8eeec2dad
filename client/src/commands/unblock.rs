//! `conclave unblock`

use clap::Args;

use crate::cli::TimeoutArgs;
use crate::commands::IntoRequest;
use crate::error::CommandError;
use crate::request::Request;

/// Allow a blocked member's posts again.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  conclave unblock news bob")]
pub(crate) struct UnblockArgs {
    /// The group, as `conclave group list` names it.
    #[arg(value_name = "GROUP")]
    group: String,
    /// The member's id or name, as `conclave members` shows it.
    #[arg(value_name = "MEMBER", allow_hyphen_values = true)]
    member: String,
    #[command(flatten)]
    timeout: TimeoutArgs,
}

impl IntoRequest for UnblockArgs {
    fn request(self) -> Result<Request, CommandError> {
        Ok(Request::Restrict {
            group: self.group,
            member: self.member,
            blocked: false,
            timeout_ms: self.timeout.ms(),
        })
    }
}
