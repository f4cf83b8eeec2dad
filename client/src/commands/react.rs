//! `conclave react`

use clap::Args;

use crate::cli::TimeoutArgs;
use crate::commands::IntoRequest;
use crate::error::CommandError;
use crate::request::Request;

/// Put a reaction on a message.
///
/// Reactions travel unsigned: a relay could make them up.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  conclave react news Xk3vQ1pd 👍
  conclave react news Xk3vQ1pd 👍 --undo")]
pub(crate) struct ReactArgs {
    /// The group, as `conclave group list` names it.
    #[arg(value_name = "GROUP")]
    group: String,
    /// The message's id, or its first characters.
    #[arg(value_name = "MESSAGE", allow_hyphen_values = true)]
    message: String,
    /// One of 👍 👎 😀 😂 😢 ❤️ 🚀 ✅.
    #[arg(value_name = "EMOJI", value_parser = ["👍", "👎", "😀", "😂", "😢", "❤️", "🚀", "✅"])]
    emoji: String,
    /// Take the reaction back.
    #[arg(long)]
    undo: bool,
    #[command(flatten)]
    timeout: TimeoutArgs,
}

impl IntoRequest for ReactArgs {
    fn request(self) -> Result<Request, CommandError> {
        Ok(Request::React {
            group: self.group,
            message: self.message,
            emoji: self.emoji,
            add: !self.undo,
            timeout_ms: self.timeout.ms(),
        })
    }
}
