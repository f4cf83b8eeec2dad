//! `conclave flush`

use clap::Args;

use crate::cli::TimeoutArgs;
use crate::commands::IntoRequest;
use crate::error::CommandError;
use crate::request::Request;

/// Connect, finish what waits, receive what is there, and exit.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  conclave flush --timeout 1m      good for a timer: nothing needs to keep running")]
pub(crate) struct FlushArgs {
    #[command(flatten)]
    timeout: TimeoutArgs,
}

impl IntoRequest for FlushArgs {
    fn request(self) -> Result<Request, CommandError> {
        Ok(Request::Flush { timeout_ms: self.timeout.ms() })
    }
}
