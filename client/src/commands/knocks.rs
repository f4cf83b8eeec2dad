//! `conclave knocks`

use clap::Args;

use crate::commands::IntoRequest;
use crate::error::CommandError;
use crate::request::Request;

/// Show who waits to be let into a group.
///
/// Moderators, admins and owners see them, in groups whose owner has joiners reviewed (`conclave group profile --review
/// on`). The first decision of any of them counts.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  conclave knocks news
  conclave accept news bob
  conclave reject news eve --reason 'we do not know you'")]
pub(crate) struct KnocksArgs {
    /// The group, as `conclave group list` names it.
    #[arg(value_name = "GROUP")]
    group: String,
}

impl IntoRequest for KnocksArgs {
    fn request(self) -> Result<Request, CommandError> {
        Ok(Request::Knocks { group: self.group })
    }
}
