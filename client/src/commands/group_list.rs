//! `conclave group list`

use clap::Args;

use crate::commands::IntoRequest;
use crate::error::CommandError;
use crate::request::Request;

/// Show the groups you own or have joined.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  conclave group list
  conclave --json group list")]
pub(crate) struct GroupListArgs {}

impl IntoRequest for GroupListArgs {
    fn request(self) -> Result<Request, CommandError> {
        Ok(Request::GroupList)
    }
}
