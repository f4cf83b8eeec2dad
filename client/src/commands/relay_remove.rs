//! `conclave relay remove`

use clap::Args;

use crate::commands::IntoRequest;
use crate::error::CommandError;
use crate::request::Request;

/// Forget a relay.
///
/// Groups that it serves keep it; see `conclave group relay remove` for that.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  conclave relay remove r1")]
pub(crate) struct RelayRemoveArgs {
    /// The name it is kept under.
    #[arg(value_name = "NAME")]
    name: String,
}

impl IntoRequest for RelayRemoveArgs {
    fn request(self) -> Result<Request, CommandError> {
        Ok(Request::RelayRemove { name: self.name })
    }
}
