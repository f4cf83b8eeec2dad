//! `conclave block`

use clap::Args;

use crate::cli::TimeoutArgs;
use crate::commands::IntoRequest;
use crate::error::CommandError;
use crate::request::Request;

/// Stop a member's posts for everybody.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  conclave block news bob")]
pub(crate) struct BlockArgs {
    /// The group, as `conclave group list` names it.
    #[arg(value_name = "GROUP")]
    group: String,
    /// The member's id or name, as `conclave members` shows it.
    #[arg(value_name = "MEMBER", allow_hyphen_values = true)]
    member: String,
    #[command(flatten)]
    timeout: TimeoutArgs,
}

impl IntoRequest for BlockArgs {
    fn request(self) -> Result<Request, CommandError> {
        Ok(Request::Restrict {
            group: self.group,
            member: self.member,
            blocked: true,
            timeout_ms: self.timeout.ms(),
        })
    }
}
