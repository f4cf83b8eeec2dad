//! `smp-server completions` and `smp-server manual`, from the same command line.

use std::io::Write as _;

use clap::Args;
use clap_complete::Shell;

/// Print completions for a shell.
#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

pub(super) fn run(args: &CompletionsArgs) -> anyhow::Result<()> {
    let mut printed = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "smp-server", &mut printed);
    write(&printed)
}

/// Prints the manual page, roff.
pub(super) fn manual() -> anyhow::Result<()> {
    let mut printed = Vec::new();
    clap_mangen::Man::new(super::command()).render(&mut printed)?;
    write(&printed)
}

fn write(printed: &[u8]) -> anyhow::Result<()> {
    match std::io::stdout().write_all(printed) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
