//! `conclave edit`

use clap::Args;

use crate::cli::TimeoutArgs;
use crate::commands::IntoRequest;
use crate::error::CommandError;
use crate::request::Request;

/// Change the text of a message you sent.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  conclave edit news Xk3vQ1pd 'Ten past nine, not ten'")]
pub(crate) struct EditArgs {
    /// The group, as `conclave group list` names it.
    #[arg(value_name = "GROUP")]
    group: String,
    /// The message's id, or its first characters.
    #[arg(value_name = "MESSAGE", allow_hyphen_values = true)]
    message: String,
    /// The new text.
    #[arg(value_name = "TEXT")]
    text: String,
    #[command(flatten)]
    timeout: TimeoutArgs,
}

impl IntoRequest for EditArgs {
    fn request(self) -> Result<Request, CommandError> {
        Ok(Request::Edit {
            group: self.group,
            message: self.message,
            text: self.text,
            timeout_ms: self.timeout.ms(),
        })
    }
}
