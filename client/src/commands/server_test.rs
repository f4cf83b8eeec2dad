//! `conclave server test`

use clap::Args;

use crate::commands::server_add::server_address;
use crate::error::CommandError;
use crate::probe;
use crate::session::Session;

/// Connect to a server and see whether it is the one its address names.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  conclave server test smp://KEYHASH@server.example:5223")]
pub(crate) struct ServerTestArgs {
    /// The address; `-` reads it from stdin.
    #[arg(value_name = "ADDRESS")]
    address: String,
}

impl ServerTestArgs {
    /// Connects.
    ///
    /// # Errors
    /// When it cannot be reached, shows another identity, or speaks no common version.
    pub(crate) fn run(self, session: &Session) -> Result<(), CommandError> {
        session.show(&probe::server(&server_address(self.address)?)?);
        Ok(())
    }
}
