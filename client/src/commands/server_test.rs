//! `conclave server test`

use clap::Args;

use crate::commands::server_add::server_address;
use crate::error::CommandError;
use crate::network::NetworkChoice;
use crate::probe;
use crate::session::Session;

/// Connect to a server and see whether it is the one its address names.
///
/// By the way out of this machine that `conclave network` says; directly, when there is no home yet.
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
        let address = server_address(self.address)?;
        let choice = if session.home().exists() { session.network()? } else { NetworkChoice::default() };
        session.show(&probe::server(&address, &choice)?);
        Ok(())
    }
}
