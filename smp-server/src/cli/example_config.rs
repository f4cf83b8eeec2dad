//! `smp-server example-config`

use std::io::Write as _;

use clap::Args;

use crate::config::SettingsLayer;

/// Print every setting with its default, as a commented file.
///
/// Settings given as flags or SMP_SERVER_* variables are set in it.
#[derive(Debug, Args)]
pub(super) struct ExampleConfigArgs {
    #[command(flatten)]
    settings: SettingsLayer,
}

pub(super) fn run(args: &ExampleConfigArgs) -> anyhow::Result<()> {
    match std::io::stdout().write_all(args.settings.example().as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
