//! One file per command.

mod address;
mod backup;
mod check;
mod check_config;
mod ctl;
mod example_config;
mod init;
mod restore;
mod start;
mod to_postgres;

use anyhow::Context as _;
use protocol::agent::address_draft::AddressDraft;
use protocol::encoding::Decode as _;
use protocol::net::network;
use protocol::smp::short_link::ShortLink;

use crate::cli::{Cli, Command};
use crate::config::Limits;
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
        Command::CheckConfig(config) => check_config::run(&cli.global, *config),
        Command::ExampleConfig(config) => example_config::run(*config),
        Command::Backup(args) => backup::run(&cli.global, &args),
        Command::Restore(args) => restore::run(&cli.global, &args),
        Command::Check => check::run(&cli.global),
        Command::ToPostgres => to_postgres::run(&cli.global),
        Command::Ctl(args) => ctl::run(&cli.global, &args),
    }
}

/// How patient the relay is with servers.
fn network_limits(limits: &Limits) -> network::Limits {
    network::Limits {
        connect: limits.connect_timeout.to_std(),
        answer: limits.answer_timeout.to_std(),
        silence: limits.silence_timeout.to_std(),
    }
}

/// The link of the relay's address.
fn address_link(store: &mut impl RelayStore) -> anyhow::Result<ShortLink> {
    let address =
        store.relay_address()?.context("The database holds no address: initialise the relay again")?;
    let draft = AddressDraft::from_bytes(&address.draft).context("The stored address cannot be read")?;
    Ok(draft.short_link())
}
