//! `conclave server remove`

use clap::Args;

use crate::commands::IntoRequest;
use crate::error::CommandError;
use crate::request::Request;

/// Use a server for new queues no longer.
///
/// Queues that exist stay where they are and go on working.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  conclave server remove smp://KEYHASH@server.example:5223")]
pub(crate) struct ServerRemoveArgs {
    /// The address, as `conclave server list` shows it.
    #[arg(value_name = "ADDRESS")]
    address: String,
}

impl IntoRequest for ServerRemoveArgs {
    fn request(self) -> Result<Request, CommandError> {
        Ok(Request::ServerRemove { address: self.address })
    }
}
