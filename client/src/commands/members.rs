//! `conclave members`

use clap::Args;

use crate::commands::IntoRequest;
use crate::error::CommandError;
use crate::request::Request;

/// Show the members of a group that are known here.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  conclave members news")]
pub(crate) struct MembersArgs {
    /// The group, as `conclave group list` names it.
    #[arg(value_name = "GROUP")]
    group: String,
}

impl IntoRequest for MembersArgs {
    fn request(self) -> Result<Request, CommandError> {
        Ok(Request::Members { group: self.group })
    }
}
