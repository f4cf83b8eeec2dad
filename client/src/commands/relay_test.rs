//! `conclave relay test`

use clap::Args;

use super::IntoRequest;
use crate::cli::TimeoutArgs;
use crate::error::CommandError;
use crate::request::Request;

/// Have a relay prove that it answers and holds the key of its address.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  conclave relay test r1
  conclave relay test 'https://server.example/r#…'")]
pub(crate) struct RelayTestArgs {
    /// Name of a kept relay, or a relay's link.
    #[arg(value_name = "RELAY")]
    relay: String,
    #[command(flatten)]
    timeout: TimeoutArgs,
}

impl IntoRequest for RelayTestArgs {
    fn request(self) -> Result<Request, CommandError> {
        Ok(Request::RelayTest { relay: self.relay, timeout_ms: self.timeout.ms() })
    }
}
