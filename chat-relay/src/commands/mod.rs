//! One file per command.

mod address;
mod ctl;
mod init;
mod start;

use anyhow::Context as _;
use protocol::agent::address_draft::AddressDraft;
use protocol::encoding::Decode as _;
use protocol::smp::short_link::ShortLink;

use crate::cli::{Cli, Command};
use crate::store::RelayStore;

/// Runs the command that was asked for.
///
/// # Errors
/// What went wrong and what to do next; see [`crate::error::CommandError`] for exit codes.
pub fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Init(config) => init::run(&cli.global, *config),
        Command::Start(config) => start::run(&cli.global, *config),
        Command::Address(args) => address::run(&cli.global, &args),
        Command::Ctl(args) => ctl::run(&cli.global, &args),
    }
}

/// The link of the relay's address.
fn address_link(store: &mut impl RelayStore) -> anyhow::Result<ShortLink> {
    let address =
        store.relay_address()?.context("The database holds no address: initialise the relay again")?;
    let draft = AddressDraft::from_bytes(&address.draft).context("The stored address cannot be read")?;
    Ok(draft.short_link())
}
