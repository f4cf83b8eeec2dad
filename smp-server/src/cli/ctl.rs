//! `smp-server ctl`

use std::io::ErrorKind;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::Value;

use super::{Place, say};
use crate::control::{CONTROL_SOCKET, Request};

/// How long a server may think about an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// The same when it reads all that is stored.
const PATIENCE_TO_READ_ALL: Duration = Duration::from_secs(24 * 3600);

/// Look at or change a running server, through the socket in its directory.
///
/// Whoever may open the socket, the owner of the server's process, may do everything here.
#[derive(Debug, Args)]
pub(super) struct CtlArgs {
    #[command(subcommand)]
    request: Request,
}

pub(super) fn run(place: &Place, args: &CtlArgs) -> anyhow::Result<()> {
    let path = place.directory().join(CONTROL_SOCKET.as_ref());
    let request = serde_json::to_string(&args.request)?;
    let patience = match args.request {
        Request::Damaged | Request::DropDamaged { all: true, .. } => PATIENCE_TO_READ_ALL,
        _ => PATIENCE,
    };
    let answer = match daemon::control::ask(&path, &request, patience) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            bail!(
                "No server runs in {}: start it with `smp-server start`, or name another place with --directory",
                place.directory().path().display()
            )
        }
        answer => answer.with_context(|| {
            format!("Unable to ask the server at {}: this takes the user that runs it", path.display())
        })?,
    };
    let answer: Value = serde_json::from_str(&answer).context("The server's answer is not understood")?;
    if let Some(reason) = answer.get("error").and_then(Value::as_str) {
        bail!("The server refused: {reason}");
    }
    if place.json {
        return say(answer);
    }
    for (name, value) in answer.as_object().into_iter().flatten() {
        match value {
            Value::String(text) => say(format_args!("{name}: {text}"))?,
            Value::Object(fields) => {
                let fields: Vec<String> =
                    fields.iter().map(|(name, value)| format!("{name} {}", plain(value))).collect();
                say(format_args!("{name}: {}", fields.join(", ")))?;
            }
            other => say(format_args!("{name}: {}", plain(other)))?,
        }
    }
    Ok(())
}

/// A value as people read it.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "none".to_owned(),
        other => other.to_string(),
    }
}
