//! `conclave server add`

use std::io::Read as _;

use anyhow::Context as _;
use clap::Args;

use crate::commands::IntoRequest;
use crate::error::CommandError;
use crate::exit_code::ExitCode;
use crate::query;
use crate::request::Request;

/// Keep a queue server for your queues.
///
/// The address holds the hash of the server's certificate: whoever answers with another one is refused.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  conclave server add smp://KEYHASH@server.example:5223
  conclave server add - < address.txt      with a password in it

Try it first with `conclave server test ADDRESS`.")]
pub(crate) struct ServerAddArgs {
    /// The address that `smp-server init` printed; `-` reads it from stdin, as one with a password must be.
    #[arg(value_name = "ADDRESS")]
    address: String,
}

impl IntoRequest for ServerAddArgs {
    fn request(self) -> Result<Request, CommandError> {
        Ok(Request::ServerAdd { address: server_address(self.address)? })
    }
}

/// Longest address that is read from stdin, bytes.
const ADDRESS_BYTES_MAX: u64 = 4096;

/// An address as given, or from stdin. One with a password must come by stdin: every process sees arguments.
///
/// # Errors
/// As said, and when stdin cannot be read.
pub(super) fn server_address(given: String) -> Result<String, CommandError> {
    if given == "-" {
        let mut text = String::new();
        std::io::stdin()
            .take(ADDRESS_BYTES_MAX)
            .read_to_string(&mut text)
            .context("Unable to read an address from stdin")?;
        return Ok(text.trim().to_owned());
    }
    if query::parse_server(&given)?.password.is_some() {
        return Err(CommandError::new(
            ExitCode::Usage,
            "This address holds a password, and every process sees the arguments of others",
        )
        .hint("Put it into a file and give that as stdin: `conclave server add - < FILE`."));
    }
    Ok(given)
}
