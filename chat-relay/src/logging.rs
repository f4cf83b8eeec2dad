//! Logs go to stderr: levels, counts and states, never ids, names, links, keys or content.

use std::io::IsTerminal as _;

use anyhow::Context as _;
use tracing_subscriber::EnvFilter;

use crate::cli::GlobalArgs;

/// Starts logging for this process.
///
/// # Errors
/// When the filter cannot be read.
pub fn start(args: &GlobalArgs) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&args.log)
        .with_context(|| format!("Unable to use log filter {:?}: write it like `info`", args.log))?;
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    if args.log_json {
        logs.json().init()
    } else {
        logs.init()
    }
    Ok(())
}
