//! `conclave group delete`

use clap::Args;

use crate::cli::TimeoutArgs;
use crate::commands::IntoRequest;
use crate::error::CommandError;
use crate::request::Request;

/// End a group you own, for everybody.
///
/// Members get a signed notice, the relays stop, and the group link leads nowhere. This cannot be taken back.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  conclave group delete news")]
pub(crate) struct GroupDeleteArgs {
    /// The group, as `conclave group list` names it.
    #[arg(value_name = "GROUP")]
    group: String,
    #[command(flatten)]
    timeout: TimeoutArgs,
}

impl IntoRequest for GroupDeleteArgs {
    fn request(self) -> Result<Request, CommandError> {
        Ok(Request::GroupDelete { group: self.group, timeout_ms: self.timeout.ms() })
    }
}
