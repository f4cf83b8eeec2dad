//! `conclave relay add`

use clap::Args;

use crate::commands::IntoRequest;
use crate::error::CommandError;
use crate::request::Request;

/// Keep a relay for the groups you will make.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  conclave relay add r1 'https://server.example/r#…'

Try it first with `conclave relay test LINK`.")]
pub(crate) struct RelayAddArgs {
    /// A short name of your choice.
    #[arg(value_name = "NAME")]
    name: String,
    /// The link that `chat-relay address` prints.
    #[arg(value_name = "LINK")]
    link: String,
    /// The invitation code that the relay's operator gave you, where it takes groups by code. Given again for a kept
    /// relay, it takes the place of the former one.
    #[arg(long, value_name = "CODE", allow_hyphen_values = true)]
    code: Option<String>,
}

impl IntoRequest for RelayAddArgs {
    fn request(self) -> Result<Request, CommandError> {
        Ok(Request::RelayAdd { name: self.name, link: self.link, code: self.code })
    }
}
