//! `conclave reject`

use clap::Args;

use crate::cli::TimeoutArgs;
use crate::commands::IntoRequest;
use crate::error::CommandError;
use crate::request::Request;

/// Do not let somebody in who knocks.
///
/// Relays remember it by the joiner's key: asking again gets the same answer, until a moderator accepts.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  conclave reject news eve
  conclave reject news eve --reason 'write to the owner first'")]
pub(crate) struct RejectArgs {
    /// The group, as `conclave group list` names it.
    #[arg(value_name = "GROUP")]
    group: String,
    /// The joiner's id or name, as `conclave knocks` shows it.
    #[arg(value_name = "JOINER", allow_hyphen_values = true)]
    member: String,
    /// Why: the joiner and the other moderators read it.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    #[command(flatten)]
    timeout: TimeoutArgs,
}

impl IntoRequest for RejectArgs {
    fn request(self) -> Result<Request, CommandError> {
        Ok(Request::Reject {
            group: self.group,
            member: self.member,
            reason: self.reason,
            timeout_ms: self.timeout.ms(),
        })
    }
}
