//! One file per command.

mod init;

use crate::cli::{Cli, Command};

/// Runs the command that was asked for.
///
/// # Errors
/// What went wrong and what to do next; see [`crate::error::CommandError`] for exit codes.
pub fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Init(config) => init::run(&cli.global, config),
    }
}
