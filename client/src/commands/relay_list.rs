//! `conclave relay list`

use clap::Args;

use crate::commands::IntoRequest;
use crate::error::CommandError;
use crate::request::Request;

/// Show the relays that are kept.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  conclave relay list")]
pub(crate) struct RelayListArgs {}

impl IntoRequest for RelayListArgs {
    fn request(self) -> Result<Request, CommandError> {
        Ok(Request::RelayList)
    }
}
