//! Network, protocol and store together: what commands ask for is done here, and what happens is told.

use crate::error::CommandError;
use crate::event::Reply;
use crate::exit_code::ExitCode;
use crate::home::Home;
use crate::output::Output;
use crate::request::Request;
use crate::store::Store;

/// A name that can stand in lists.
///
/// # Errors
/// [`ExitCode::Usage`], saying what is wrong with it.
pub(crate) fn checked_name(name: &str) -> Result<String, CommandError> {
    let name = name.trim();
    protocol::group::profile::Profile::named(name)
        .check()
        .map_err(|problem| CommandError::new(ExitCode::Usage, format_args!("Unusable name: {problem}")))?;
    Ok(name.to_owned())
}

/// Does one request and ends.
///
/// # Errors
/// What the request ends with.
pub(crate) fn run_one(
    store: Store,
    request: Request,
    take: impl FnMut(Reply) -> Option<Result<(), CommandError>>,
) -> Result<(), CommandError> {
    drop((store, take));
    Err(CommandError::new(ExitCode::Unreachable, format_args!("{request:?} needs the network")))
}

/// Follows and serves other commands until interrupted.
///
/// # Errors
/// When the store fails.
pub(crate) fn run_listening(
    store: Store,
    home: &Home,
    request: Request,
    output: Output,
) -> Result<(), CommandError> {
    drop((store, home, output));
    Err(CommandError::new(ExitCode::Unreachable, format_args!("{request:?} needs the network")))
}
