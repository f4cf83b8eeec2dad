//! `conclave join`

use clap::Args;

use crate::cli::TimeoutArgs;
use crate::commands::IntoRequest;
use crate::error::CommandError;
use crate::request::Request;

/// Join a group by its link.
///
/// The link leads to data that the owner signed: the group's profile and its relays. All of it is checked before
/// anything is sent.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  conclave join 'https://server.example/c#…'

Whoever joins for the first time cannot tell whether the server shows the newest data; later readings can.")]
pub(crate) struct JoinArgs {
    /// The link that the owner gave you.
    #[arg(value_name = "LINK")]
    link: String,
    #[command(flatten)]
    timeout: TimeoutArgs,
}

impl IntoRequest for JoinArgs {
    fn request(self) -> Result<Request, CommandError> {
        Ok(Request::Join { link: self.link, timeout_ms: self.timeout.ms() })
    }
}
