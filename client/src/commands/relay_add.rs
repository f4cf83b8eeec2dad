//! `conclave relay add`

use std::path::PathBuf;

use clap::Args;

use crate::commands::IntoRequest;
use crate::error::CommandError;
use crate::request::Request;
use crate::secrets::code_in;

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
    /// A file with the invitation code that the relay's operator gave you, where it takes groups by code. Given again for a kept
    /// relay, it takes the place of the former one.
    #[arg(long, value_name = "FILE")]
    code_file: Option<PathBuf>,
}

impl IntoRequest for RelayAddArgs {
    fn request(self) -> Result<Request, CommandError> {
        Ok(Request::RelayAdd { name: self.name, link: self.link, code: code_in(self.code_file.as_deref())? })
    }
}
