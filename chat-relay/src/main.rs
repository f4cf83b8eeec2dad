//! Parses the command line, runs one command, and turns its end into an exit code.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use chat_relay::cli::Cli;
use chat_relay::error::CommandError;
use chat_relay::{commands, logging, output};
use clap::FromArgMatches as _;
use daemon::exit_code;

fn main() -> ExitCode {
    let matches = chat_relay::cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let json = cli.global.json;
    let result = logging::start(&cli.global).and_then(|()| commands::run(cli));
    let code = match result {
        Ok(()) => exit_code::ExitCode::Success,
        Err(error) => {
            let code = CommandError::exit_code(&error);
            let message = format!("{error:#}");
            if json {
                // The exit code says the rest when stdout is closed.
                let _ = output::error(code, &message);
            }
            eprintln!("error: {message}");
            code
        }
    };
    code.into()
}
