//! The command line, a file per command. The doc comments here are the manual.

mod address;
mod ask;
mod backup;
mod cert;
mod check;
mod check_config;
mod completions;
mod ctl;
mod engine;
mod example_config;
mod export;
mod import;
mod import_reference;
mod init;
mod restore;
mod start;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::builder::BoolishValueParser;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use daemon::exit_code::ExitCode;
use protocol::smp::address::{DEFAULT_PORT, KeyHash, ServerAddress, ServerAddressWithAuth};
use protocol::smp::password::BasicAuth;

use crate::config::{Settings, SettingsLayer};
use crate::directory::Directory;
use crate::error::CommandError;
use crate::identity::Identity;

/// A queue server for private messaging (SMP).
#[derive(Debug, Parser)]
#[command(
    name = "smp-server",
    version,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = "\
Examples:
  smp-server init --directory ./server --host smp.example.org
  smp-server start --directory ./server
  smp-server address --directory ./server      what clients and relays are given"
)]
pub struct Cli {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make keys, certificates and a settings file, and print the server's address.
    Init(init::InitArgs),
    /// Serve until SIGINT or SIGTERM.
    Start(start::StartArgs),
    /// Print the server's address.
    Address(address::AddressArgs),
    Check(check::CheckArgs),
    Backup(backup::BackupArgs),
    Restore(restore::RestoreArgs),
    Export(export::ExportArgs),
    Import(import::ImportArgs),
    ImportReference(import_reference::ImportReferenceArgs),
    /// Check the settings, and what they name, without starting.
    CheckConfig(check_config::CheckConfigArgs),
    /// Print every setting with its default, as a commented file.
    ExampleConfig(example_config::ExampleConfigArgs),
    /// Issue a new certificate and key; the server's identity and address stay.
    Cert(cert::CertArgs),
    /// Look at or change a running server.
    Ctl(ctl::CtlArgs),
    /// Print completions for a shell.
    Completions(completions::CompletionsArgs),
    /// Print the manual page.
    Manual,
}

/// Where everything is.
#[derive(Debug, Clone, Args)]
struct Place {
    /// Directory of keys, certificates, settings and data.
    #[arg(
        long,
        short,
        env = "SMP_SERVER_DIRECTORY",
        default_value = "/var/lib/smp-server",
        value_name = "DIR",
        global = true
    )]
    directory: PathBuf,
    /// Settings file, when it is not smp-server.toml in the directory.
    #[arg(long, env = "SMP_SERVER_CONFIG", value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Print one JSON object per line instead of text.
    #[arg(long, global = true)]
    json: bool,
    /// What is logged to stderr, like `info` or `smp_server=debug`.
    #[arg(long, global = true, env = "SMP_SERVER_LOG", default_value = "info", value_name = "FILTER")]
    log: String,
    /// Log as JSON, one object per line.
    #[arg(long, global = true, env = "SMP_SERVER_LOG_JSON", value_parser = BoolishValueParser::new())]
    log_json: bool,
}

impl Place {
    fn directory(&self) -> Directory {
        Directory::new(&self.directory)
    }

    /// The settings: flags and environment over the file.
    fn settings(&self, upper: SettingsLayer) -> anyhow::Result<Settings> {
        let default = self.directory().settings_file();
        let file = SettingsLayer::read(self.config.as_deref().unwrap_or(&default))?;
        upper.over(file).settle()
    }
}

/// Runs the command that the arguments name.
#[must_use]
pub fn run() -> std::process::ExitCode {
    let matches = command().get_matches();
    let Cli { place, command } = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let result = match command {
        Command::Init(args) => init::run(&place, args),
        Command::Start(args) => start::run(&place, args),
        Command::Address(args) => address::run(&place, args),
        Command::Check(args) => check::run(&place, args),
        Command::Backup(args) => backup::run(&place, &args),
        Command::Restore(args) => restore::run(&place, &args),
        Command::Export(args) => export::run(&place, args),
        Command::Import(args) => import::run(&place, args),
        Command::ImportReference(args) => import_reference::run(&place, args),
        Command::CheckConfig(args) => check_config::run(&place, args),
        Command::ExampleConfig(args) => example_config::run(&args),
        Command::Cert(args) => cert::run(&place, args),
        Command::Ctl(args) => ctl::run(&place, &args),
        Command::Completions(args) => completions::run(&args),
        Command::Manual => completions::manual(),
    };
    match result {
        Ok(()) => ExitCode::Success.into(),
        Err(error) => {
            let code = CommandError::exit_code(&error);
            let message = format!("{error:#}");
            if place.json {
                let line = serde_json::json!({
                    "type": "error", "kind": code.name(), "code": code as u8, "message": message,
                });
                // The exit code says the rest when stdout is closed.
                let _ = say(line);
            }
            eprintln!("error: {message}");
            code.into()
        }
    }
}

/// The command line with the defaults of the settings in its manual.
fn command() -> clap::Command {
    [
        "init",
        "start",
        "address",
        "check-config",
        "example-config",
        "cert",
        "export",
        "import",
        "import-reference",
    ]
    .into_iter()
    .fold(Cli::command(), |command, name| command.mut_subcommand(name, SettingsLayer::teach_defaults))
}

/// Prints a line of data. A reader that has gone away has read enough.
fn say(line: impl std::fmt::Display) -> anyhow::Result<()> {
    match writeln!(std::io::stdout(), "{line}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// The identity that the settings name.
fn identity(settings: &Settings, directory: &Directory) -> anyhow::Result<Identity> {
    let at = |path: &Path| directory.join(path);
    directory.refuse_unfinished()?;
    if !directory.settings_file().exists() && !at(&settings.identity.certificate_chain).exists() {
        return Err(CommandError::NotInitialised(directory.path().to_owned()).into());
    }
    Identity::read(&at(&settings.identity.certificate_chain), &at(&settings.identity.private_key))
}

/// The address under which clients find the server; port 0 is replaced by the one that was taken.
fn server_address(
    settings: &Settings,
    key_hash: [u8; 32],
    port: u16,
    password: Option<BasicAuth>,
) -> anyhow::Result<ServerAddressWithAuth> {
    let port = (port != DEFAULT_PORT).then_some(port);
    let key_hash = KeyHash::try_from(key_hash.as_slice())?;
    Ok(ServerAddressWithAuth {
        server: ServerAddress::new(settings.listen.hosts.0.clone(), port, key_hash)?,
        password,
    })
}

/// The first port of the settings, which stands in the address.
fn first_port(settings: &Settings) -> u16 {
    settings.listen.ports.0.first().copied().unwrap_or(DEFAULT_PORT)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_sound_and_says_its_defaults() {
        let mut command = super::command();
        command.clone().debug_assert();
        let start = command.find_subcommand_mut("start").expect("a command");
        let help = start.render_long_help().to_string();
        for part in ["[default: 21d]", "SMP_SERVER_EVENT_INTERVAL", "[default: 128]", "[default: on]"] {
            assert!(help.contains(part), "{part} in {help}");
        }
    }
}
