//! Parses the command line, runs one command, and turns its end into an exit code.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use chat_relay::cli::Cli;
use chat_relay::error::CommandError;
use chat_relay::{commands, exit_code, logging};
use clap::Parser as _;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = logging::start(&cli.global).and_then(|()| commands::run(cli));
    let code = match result {
        Ok(()) => exit_code::ExitCode::Success,
        Err(error) => {
            eprintln!("Error: {error:#}");
            error.downcast_ref().map_or(exit_code::ExitCode::Failure, CommandError::exit_code)
        }
    };
    code.into()
}
