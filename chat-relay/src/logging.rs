//! Logs go to stderr: levels, counts and states, never ids, names, links, keys or content.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::cli::GlobalArgs;
use crate::error::CommandError;

/// Starts logging for this process.
///
/// # Errors
/// When the filter cannot be read.
pub fn start(args: &GlobalArgs) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&args.log).map_err(|_| CommandError::Setting {
        name: "log",
        reason: format!("cannot be {:?}: write it like `info` or `chat_relay=debug`", args.log),
    })?;
    // No colours where they are not wanted: https://no-color.org
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && !plain);
    if args.log_json {
        logs.json().init()
    } else {
        logs.init()
    }
    Ok(())
}
