//! `conclave remove`

use clap::Args;

use crate::cli::TimeoutArgs;
use crate::commands::IntoRequest;
use crate::error::CommandError;
use crate::request::Request;

/// Remove a member from a group.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  conclave remove news bob
  conclave remove news bob --messages")]
pub(crate) struct RemoveArgs {
    /// The group, as `conclave group list` names it.
    #[arg(value_name = "GROUP")]
    group: String,
    /// The member's id or name, as `conclave members` shows it.
    #[arg(value_name = "MEMBER", allow_hyphen_values = true)]
    member: String,
    /// Delete the member's messages too.
    #[arg(long)]
    messages: bool,
    #[command(flatten)]
    timeout: TimeoutArgs,
}

impl IntoRequest for RemoveArgs {
    fn request(self) -> Result<Request, CommandError> {
        Ok(Request::Remove {
            group: self.group,
            member: self.member,
            messages: self.messages,
            timeout_ms: self.timeout.ms(),
        })
    }
}
