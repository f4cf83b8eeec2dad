//! The command line: the doc comments here are the manual.

use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{Args, CommandFactory as _, Parser, Subcommand};

use crate::config::{ConfigArgs, Tuning};
use crate::control::Request;

/// A chat relay: it forwards the messages of groups whose owners chose it, without being able to change or forge
/// what they signed.
#[derive(Debug, Parser)]
#[command(
    name = "chat-relay",
    version,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = "\
Examples:
  chat-relay init --directory ./relay --display-name 'my relay' \\
      --server smp://KEYHASH@smp.example.org
  chat-relay start --directory ./relay
  chat-relay address --directory ./relay      what owners of groups are given"
)]
pub struct Cli {
    /// Options that every command takes.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
pub struct GlobalArgs {
    /// Directory of this relay: configuration, database and keys [default: chat-relay in the user's data directory]
    #[arg(long, short, global = true, env = "CHAT_RELAY_DIRECTORY", value_name = "DIR")]
    pub directory: Option<PathBuf>,
    /// Print JSON, one object per line
    #[arg(long, global = true)]
    pub json: bool,
    /// What is logged to stderr, like `info` or `chat_relay=debug,protocol=info`
    #[arg(long, global = true, env = "CHAT_RELAY_LOG", default_value = "info", value_name = "FILTER")]
    pub log: String,
    /// Log as JSON, one object per line
    #[arg(long, global = true, env = "CHAT_RELAY_LOG_JSON", value_parser = BoolishValueParser::new())]
    pub log_json: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a relay: its keys, its address and its configuration
    Init(Box<ConfigArgs>),
    /// Run the relay until it is told to stop (SIGTERM or SIGINT)
    Start(Box<ConfigArgs>),
    /// Print the address that owners add, as text and as a QR code
    Address(AddressArgs),
    /// Check the settings, and what they name, without starting
    CheckConfig(Box<ConfigArgs>),
    /// Print every setting with its default, as a commented file
    ExampleConfig(Box<ConfigArgs>),
    /// Copy all that is stored, also while the relay runs
    ///
    /// The copy is a directory that `restore` makes a relay of. It holds the relay's keys.
    Backup(BackupArgs),
    /// Make a relay's directory from a backup
    ///
    /// The backup is verified first. At its first start the restored relay agrees on new keys with every owner and member, since
    /// the keys of the backup may have been used. What came after the backup is lost: members removed since are back.
    Restore(RestoreArgs),
    /// Read all that is stored and say whether it is sound; the relay must be stopped
    Check,
    /// Move all that is stored from the relay's file to PostgreSQL; the relay must be stopped
    ///
    /// The connection string stands where `init --store postgres` wants it, and the database holds no relay yet. The address, the groups
    /// and all connections stay as they are. The settings name PostgreSQL from then on, and the file is put aside.
    ToPostgres,
    /// Look at or change a running relay, through the socket in its directory
    ///
    /// Whoever may open the socket, the owner of the relay's process, may do everything here.
    Ctl(CtlArgs),
}

/// Options of `backup`.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// Directory to make; it must not exist
    #[arg(value_name = "DIR")]
    pub into: PathBuf,
}

/// Options of `restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// Directory that `backup` made
    #[arg(value_name = "BACKUP")]
    pub from: PathBuf,
}

/// Options of `ctl`.
#[derive(Debug, Args)]
pub struct CtlArgs {
    /// What to do.
    #[command(subcommand)]
    pub request: Request,
}

/// Options of `address`.
#[derive(Debug, Args)]
pub struct AddressArgs {
    /// Print the QR code even when the output is not a terminal
    #[arg(long, conflicts_with = "no_qr")]
    pub qr: bool,
    /// Print the text alone
    #[arg(long)]
    pub no_qr: bool,
}

/// The command line with the defaults of the settings in its manual.
#[must_use]
pub fn command() -> clap::Command {
    ["init", "start", "check-config", "example-config"]
        .into_iter()
        .fold(Cli::command(), |command, name| command.mut_subcommand(name, Tuning::teach_defaults))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_sound_and_says_its_defaults() {
        let mut command = super::command();
        command.clone().debug_assert();
        let start = command.find_subcommand_mut("start").expect("a command");
        let help = start.render_long_help().to_string();
        for part in ["[default: 15m]", "CHAT_RELAY_WATCH_INTERVAL", "[default: 100]"] {
            assert!(help.contains(part), "{part} in {help}");
        }
    }
}
