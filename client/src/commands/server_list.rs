//! `conclave server list`

use clap::Args;

use crate::commands::IntoRequest;
use crate::error::CommandError;
use crate::request::Request;

/// Show the servers that are kept for new queues.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  conclave server list")]
pub(crate) struct ServerListArgs {}

impl IntoRequest for ServerListArgs {
    fn request(self) -> Result<Request, CommandError> {
        Ok(Request::ServerList)
    }
}
