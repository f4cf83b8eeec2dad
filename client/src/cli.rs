//! The command line: global options and the tree of commands.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::commands::{self, GroupCommand, RelayCommand, ServerCommand};

/// Private groups over queue servers and relays that you can replace.
///
/// A group has an owner, members, and relays: programs that pass messages on and can be exchanged at any time. The
/// owner signs the list of relays, the members check it. Servers and relays never hold the keys of the group.
#[derive(Debug, Parser)]
#[command(
    name = "conclave",
    version,
    max_term_width = 100,
    after_help = "\
First steps:
  conclave init --name Alice
  conclave server add smp://KEY@server.example
  conclave relay add r1 'https://server.example/r#…'
  conclave group create news        makes a group and prints its link
  conclave listen                   follows what is posted

Joining another's group:
  conclave join 'https://server.example/c#…'
  conclave listen"
)]
pub(crate) struct Cli {
    /// What applies to every command.
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
pub(crate) struct GlobalArgs {
    /// Directory that holds everything; else the place that XDG names.
    #[arg(long, global = true, env = "CONCLAVE_HOME", value_name = "DIR")]
    pub(crate) home: Option<PathBuf>,
    /// Print one JSON object per line instead of text.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Open the home with this key file instead of a passphrase.
    #[arg(long, global = true, env = "CONCLAVE_KEY_FILE", value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// Read the passphrase from this file; else CONCLAVE_PASSPHRASE, else it is asked for.
    #[arg(long, global = true, env = "CONCLAVE_PASSPHRASE_FILE", value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Log to stderr: `info`, `debug`, or a filter such as `protocol::net=debug`.
    #[arg(long, global = true, env = "CONCLAVE_LOG", value_name = "FILTER")]
    pub(crate) log: Option<String>,
}

/// All commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Init(commands::init::InitArgs),
    /// Keep, show, test and forget queue servers.
    #[command(subcommand)]
    Server(ServerCommand),
    Network(commands::network::NetworkArgs),
    /// Keep, show, test and forget relays.
    #[command(subcommand)]
    Relay(RelayCommand),
    /// Make and look after groups.
    #[command(subcommand)]
    Group(GroupCommand),
    Join(commands::join::JoinArgs),
    Send(commands::send::SendArgs),
    Listen(commands::listen::ListenArgs),
    History(commands::history::HistoryArgs),
    Read(commands::read::ReadArgs),
    Members(commands::members::MembersArgs),
    Knocks(commands::knocks::KnocksArgs),
    Accept(commands::accept::AcceptArgs),
    Reject(commands::reject::RejectArgs),
    Evidence(commands::evidence::EvidenceArgs),
    Role(commands::role::RoleArgs),
    Remove(commands::remove::RemoveArgs),
    Block(commands::block::BlockArgs),
    Unblock(commands::unblock::UnblockArgs),
    Leave(commands::leave::LeaveArgs),
    Edit(commands::edit::EditArgs),
    Delete(commands::delete::DeleteArgs),
    React(commands::react::ReactArgs),
    Reply(commands::reply::ReplyArgs),
    Flush(commands::flush::FlushArgs),
    Export(commands::export::ExportArgs),
    Import(commands::import::ImportArgs),
    Doctor(commands::doctor::DoctorArgs),
}

/// How long a command that needs others may take.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct TimeoutArgs {
    /// How long to wait for servers and relays, like 30s or 5m; what is not done then goes on later.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_time)]
    timeout: u64,
}

impl TimeoutArgs {
    /// The same in milliseconds.
    pub(crate) fn ms(self) -> u64 {
        self.timeout
    }
}

/// Longest time to wait; who wants to wait for longer listens.
const TIME_MS_MAX: u64 = 86_400_000;

/// A length of time in milliseconds; a number alone counts seconds.
fn parse_time(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit_ms = match unit {
        "ms" => Some(1),
        "s" | "" => Some(1000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let time = number.parse::<u64>().ok().zip(unit_ms).and_then(|(number, unit)| number.checked_mul(unit));
    time.filter(|ms| *ms <= TIME_MS_MAX)
        .ok_or_else(|| "write a number with its unit, such as 500ms, 30s, 5m or 1h, up to 24h".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn times_have_units() {
        for (text, ms) in
            [("500ms", 500), ("30s", 30_000), ("30", 30_000), ("5m", 300_000), ("24h", 86_400_000)]
        {
            assert_eq!(parse_time(text), Ok(ms), "{text}");
        }
        for text in ["", "s", "-1s", "1.5s", "1w", "25h", "99999999999999999999s"] {
            assert!(parse_time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_tree_is_consistent_and_every_command_explains_itself() {
        Cli::command().debug_assert();
        fn check(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{} says nothing", command.get_name());
            if command.get_subcommands().next().is_none() {
                let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                let shows = after.contains("Example") && after.contains(command.get_name());
                assert!(shows, "{} has no example", command.get_name());
            }
            for argument in command.get_arguments().filter(|a| !a.is_hide_set()) {
                assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
            }
            command.get_subcommands().filter(|c| c.get_name() != "help").for_each(check);
        }
        check(&Cli::command());
    }

    /// Ids are base64url: one in 64 begins with a hyphen.
    #[test]
    fn an_id_may_begin_with_a_hyphen() {
        for line in [
            &["conclave", "role", "news", "-5OEIHUqmGwzeXga", "member"][..],
            &["conclave", "remove", "news", "-hVEIHUqmGwzeXga", "--messages"],
            &["conclave", "block", "news", "--EIHUqmGwzeXga5"],
            &["conclave", "accept", "news", "-5OEIHUqmGwzeXga"],
            &["conclave", "reject", "news", "-5OEIHUqmGwzeXga", "--reason", "no"],
            &["conclave", "edit", "news", "-5OEIHUqmGwzeXga", "text"],
            &["conclave", "delete", "news", "-5OEIHUqmGwzeXga", "--timeout", "5"],
        ] {
            let parsed = Cli::try_parse_from(line);
            assert!(
                parsed.is_ok(),
                "{line:?}: {}",
                parsed.map(|_| String::new()).unwrap_or_else(|e| e.to_string())
            );
        }
    }
}
