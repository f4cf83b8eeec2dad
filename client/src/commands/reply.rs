//! `conclave reply`

use clap::Args;

use crate::cli::TimeoutArgs;
use crate::commands::IntoRequest;
use crate::error::CommandError;
use crate::request::Request;

/// Answer a message.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  conclave reply news Xk3vQ1pd 'At nine, then'")]
pub(crate) struct ReplyArgs {
    /// The group, as `conclave group list` names it.
    #[arg(value_name = "GROUP")]
    group: String,
    /// The message's id, or its first characters.
    #[arg(value_name = "MESSAGE", allow_hyphen_values = true)]
    message: String,
    /// The answer.
    #[arg(value_name = "TEXT")]
    text: String,
    #[command(flatten)]
    timeout: TimeoutArgs,
}

impl IntoRequest for ReplyArgs {
    fn request(self) -> Result<Request, CommandError> {
        Ok(Request::Send {
            group: self.group,
            texts: vec![self.text],
            reply_to: Some(self.message),
            timeout_ms: self.timeout.ms(),
        })
    }
}
