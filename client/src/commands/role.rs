//! `conclave role`

use clap::Args;

use crate::cli::TimeoutArgs;
use crate::commands::IntoRequest;
use crate::error::CommandError;
use crate::request::Request;

/// Give a member another role.
///
/// The owner signs a list of roles and keys, so that no relay can make somebody a moderator.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  conclave role news bob member")]
pub(crate) struct RoleArgs {
    /// The group, as `conclave group list` names it.
    #[arg(value_name = "GROUP")]
    group: String,
    /// The member's id or name, as `conclave members` shows it.
    #[arg(value_name = "MEMBER", allow_hyphen_values = true)]
    member: String,
    /// `observer` reads; `member` posts; `moderator` and `admin` look after others.
    #[arg(value_name = "ROLE", value_parser = ["observer", "member", "moderator", "admin"])]
    role: String,
    #[command(flatten)]
    timeout: TimeoutArgs,
}

impl IntoRequest for RoleArgs {
    fn request(self) -> Result<Request, CommandError> {
        Ok(Request::Role {
            group: self.group,
            member: self.member,
            role: self.role,
            timeout_ms: self.timeout.ms(),
        })
    }
}
