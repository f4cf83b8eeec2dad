//! `conclave evidence`

use clap::Args;

use crate::commands::IntoRequest;
use crate::error::CommandError;
use crate::request::Request;

/// Show what is kept against relays of a group.
///
/// Copies that differ, signatures that do not fit, posts without a signature, rolled back links: each with the relay's
/// name. With --json the bytes are shown as they came, so that others can check them.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  conclave evidence news")]
pub(crate) struct EvidenceArgs {
    /// The group, as `conclave group list` names it.
    #[arg(value_name = "GROUP")]
    group: String,
}

impl IntoRequest for EvidenceArgs {
    fn request(self) -> Result<Request, CommandError> {
        Ok(Request::Evidence { group: self.group })
    }
}
