//! `conclave group relay add`

use std::path::PathBuf;

use clap::Args;

use crate::cli::TimeoutArgs;
use crate::commands::IntoRequest;
use crate::error::CommandError;
use crate::request::Request;
use crate::secrets::code_in;

/// Invite one more relay to a group you own.
///
/// The relay reads the group link, checks it and makes a link of its own; then it is listed and members find it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  conclave group relay add news r3
  conclave group relay add news 'https://server.example/r#…'")]
pub(crate) struct GroupRelayAddArgs {
    /// The group, as `conclave group list` names it.
    #[arg(value_name = "GROUP")]
    group: String,
    /// Name of a kept relay, or a relay's link.
    #[arg(value_name = "RELAY")]
    relay: String,
    /// A file with an invitation code of the relay's operator, for this group alone.
    #[arg(long, value_name = "FILE")]
    code_file: Option<PathBuf>,
    #[command(flatten)]
    timeout: TimeoutArgs,
}

impl IntoRequest for GroupRelayAddArgs {
    fn request(self) -> Result<Request, CommandError> {
        Ok(Request::GroupRelayAdd {
            group: self.group,
            relay: self.relay,
            code: code_in(self.code_file.as_deref())?,
            timeout_ms: self.timeout.ms(),
        })
    }
}
