//! The program's arguments, and the order of things.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::Parser;
use protocol::net::tls::ClientTls;
use protocol::smp::address::ServerAddressWithAuth;
use protocol::smp::host::Host;
use protocol::version::VersionRange;

use crate::cases::all;
use crate::observer::Observer;
use crate::peer;
use crate::place::Place;
use crate::report::{self, Summary};
use crate::spawn::{Home, Wanted};
use crate::suite::{Plan, name};
use crate::trial::Servers;

/// A ready command for --spawn: our own server.
pub const TEMPLATE: &str = include_str!("../templates/smp-server.sh");

/// Checks whether a queue server behaves as SMP servers do, at versions 15 to 18.
///
/// One line per case: `ok`, `FAILED: expected …, got …` or `skipped: needs …`. What the cases make at the server they
/// delete at the end. Exit code: 0 when nothing failed, 1 when a case failed, 2 for wrong arguments, 3 when the server
/// cannot be reached.
#[derive(Debug, Parser)]
#[command(name = "smp-conformance", version)]
struct Arguments {
    /// The server under test; with --spawn alone, one that the command starts.
    #[arg(value_name = "smp://FINGERPRINT[:PASSWORD]@HOST[:PORT]")]
    address: Option<ServerAddressWithAuth>,
    /// Shell command that starts a server as wanted, for cases that need settings, restarts or several servers.
    ///
    /// It is run by `sh -c` with variables: CONFORMANCE_DIRECTORY (for its state; the same over restarts) and
    /// CONFORMANCE_PORT (of 127.0.0.1, to listen on); CONFORMANCE_QUOTA (messages per queue); in milliseconds
    /// CONFORMANCE_MESSAGE_TTL, _EXPIRY_INTERVAL, _EVENT_INTERVAL (END, DELD), _NOTIFICATION_INTERVAL, _INACTIVE_TTL (0
    /// for never), _PROXY_TIMEOUT; `on` or `off` CONFORMANCE_EXPIRE_ON_SEND, _EXPIRE_ON_START, _NEW_QUEUES; CONFORMANCE_PASSWORD (empty
    /// for none). It prints a line with the server's address on stdout and listens, until SIGINT. It exits with 77 when
    /// its server cannot be as wanted: then cases are skipped. --template shows such a command.
    #[arg(long, value_name = "COMMAND")]
    spawn: Option<String>,
    /// Shell command that does what a server's operator can, for the cases about blocked queues.
    ///
    /// It has the variables of --spawn, and: CONFORMANCE_ACTION (`block` or `unblock`), CONFORMANCE_QUEUE (its sender id,
    /// base64url), CONFORMANCE_REASON (`spam` or `content`), CONFORMANCE_NOTICE (seconds, `forever`, or empty for none).
    #[arg(long, value_name = "COMMAND")]
    operate: Option<String>,
    /// Only cases whose name holds this, such as `queues/` or `@18`.
    #[arg(long, value_name = "PATTERN")]
    only: Option<String>,
    /// Only these versions, such as `18` or `16-17`.
    #[arg(long, value_name = "RANGE", default_value = "15-18")]
    versions: VersionRange,
    /// Cases that run at a time.
    #[arg(long, value_name = "COUNT", default_value_t = 4)]
    jobs: usize,
    /// Lists the cases and where the specification has them, and runs none.
    #[arg(long)]
    list: bool,
    /// One JSON object per line instead of text.
    #[arg(long)]
    json: bool,
    /// Also writes the results as JUnit's XML.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Prints a shell script for --spawn that starts smp-server.
    #[arg(long)]
    template: bool,
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(3)
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if arguments.template {
        say(TEMPLATE.trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    let versions = arguments.versions.min()..=arguments.versions.max();
    let plan = Plan { only: arguments.only.clone(), versions, jobs: arguments.jobs };
    let cases = plan.select(&all());
    if arguments.list {
        for (case, version) in &cases {
            let name = name(case, *version);
            say(&if arguments.json {
                serde_json::json!({ "name": name, "section": case.section }).to_string()
            } else {
                format!("{name} ({})", case.section)
            });
        }
        return Ok(ExitCode::SUCCESS);
    }
    if cases.is_empty() {
        eprintln!("error: no case is named so: --list shows all names");
        return Ok(ExitCode::from(2));
    }
    tokio::runtime::Runtime::new()?.block_on(async {
        let command = arguments.spawn.as_deref().map(Arc::from);
        let (place, password, _own) = match (&arguments.address, &command) {
            (Some(address), _) => {
                let password = address.password.as_ref().map(|password| password.as_bytes().to_vec());
                (resolve(address).await?, password, None)
            }
            (None, Some(command)) => {
                let home = Home::new(command).await?;
                let server = home.start(&Wanted::default()).await?;
                (server.place, None, Some((server, home)))
            }
            (None, None) => {
                bail!("name a server (smp://…), or a command that starts one (--spawn); see --help")
            }
        };
        let greeted = peer::greet(&place, ClientTls::default(), &Arc::new(Observer::default())).await;
        let offered = greeted.context("Unable to use the server")?.versions;
        let operator = arguments.operate.as_deref().map(Arc::from);
        let servers = Arc::new(Servers::new(place, password, command).operated_by(operator));
        let tell = |result: &crate::suite::Result| {
            say(&if arguments.json { report::object(result).to_string() } else { report::line(result) });
        };
        let results = plan.run(&servers, offered, cases, tell).await;
        let summary = Summary::of(&results);
        say(&if arguments.json { summary.object().to_string() } else { summary.to_string() });
        if let Some(path) = &arguments.junit {
            std::fs::write(path, report::junit(&results))
                .with_context(|| format!("Unable to write {}", path.display()))?;
        }
        Ok(if summary.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

/// Where the server of an address is: at its first host that is no onion.
async fn resolve(address: &ServerAddressWithAuth) -> anyhow::Result<Place> {
    let server = &address.server;
    let key_hash = server.key_hash().sha256().context("The address has no fingerprint of 32 bytes")?;
    let port = server.port_or_default();
    for host in server.hosts() {
        if matches!(host, Host::Onion(_)) {
            continue;
        }
        let found = tokio::net::lookup_host((host.to_string(), port)).await;
        let mut found = found.with_context(|| format!("Unable to find {host}"))?;
        if let Some(address) = found.next() {
            return Ok(Place { address, key_hash });
        }
    }
    bail!("the address has no host that can be reached from here")
}

/// A line on stdout; that nobody reads it any more is no failure.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_are_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn names_are_unique_and_speak() {
        let mut seen = std::collections::BTreeSet::new();
        for (case, version) in Plan::default().select(&all()) {
            let name = name(&case, version);
            assert!(case.section.starts_with('§'), "{name}");
            assert!(
                name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-/@".contains(c)),
                "{name}"
            );
            assert!(seen.insert(name.clone()), "{name} twice");
        }
    }
}
