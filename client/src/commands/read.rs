//! `conclave read`

use clap::Args;

use crate::commands::IntoRequest;
use crate::error::CommandError;
use crate::request::Request;

/// Count messages as read, and show how many are not.
///
/// `conclave listen` counts what it shows as read by itself; this is for whoever reads by `conclave history`. A message
/// counts once, by however many relays it came; own and deleted ones do not count.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  conclave read news
  conclave read news 4fGkQ2hz      up to this message")]
pub(crate) struct ReadArgs {
    /// The group, as `conclave group list` names it.
    #[arg(value_name = "GROUP")]
    group: String,
    /// The last message that was read, by its id or the beginning of it; all when absent.
    #[arg(value_name = "MESSAGE", allow_hyphen_values = true)]
    message: Option<String>,
}

impl IntoRequest for ReadArgs {
    fn request(self) -> Result<Request, CommandError> {
        Ok(Request::Read { group: self.group, message: self.message })
    }
}
