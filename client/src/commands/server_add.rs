//! `conclave server add`

use clap::Args;

use crate::commands::IntoRequest;
use crate::error::CommandError;
use crate::request::Request;

/// Keep a queue server for your queues.
///
/// The address holds the hash of the server's certificate: whoever answers with another one is refused.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  conclave server add smp://KEYHASH@server.example:5223

Try it first with `conclave server test ADDRESS`.")]
pub(crate) struct ServerAddArgs {
    /// The address that `smp-server init` printed.
    #[arg(value_name = "ADDRESS")]
    address: String,
}

impl IntoRequest for ServerAddArgs {
    fn request(self) -> Result<Request, CommandError> {
        Ok(Request::ServerAdd { address: self.address })
    }
}
