//! `chat-relay ctl`: looks at or changes a running relay.

use std::io::ErrorKind;
use std::time::Duration;

use anyhow::{Context as _, bail};
use protocol::sanitize::line;
use serde_json::Value;

use crate::cli::{CtlArgs, GlobalArgs};
use crate::control::CONTROL_SOCKET;
use crate::directory::Directory;
use crate::output;

/// How long a relay may think about an answer.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn run(global: &GlobalArgs, args: &CtlArgs) -> anyhow::Result<()> {
    let directory = Directory::choose(global.directory.as_deref())?;
    let path = directory.path().join(CONTROL_SOCKET);
    let request = serde_json::to_string(&args.request)?;
    let answer = match daemon::control::ask(&path, &request, PATIENCE) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => bail!(
            "No relay runs in {}: start it with `chat-relay start`, or name another place with --directory",
            directory.path().display()
        ),
        answer => answer.with_context(|| {
            format!("Unable to ask the relay at {}: this takes the user that runs it", path.display())
        })?,
    };
    let answer: Value = serde_json::from_str(&answer).context("The relay's answer is not understood")?;
    if let Some(reason) = answer.get("error").and_then(Value::as_str) {
        bail!("The relay refused: {}", line(reason));
    }
    if global.json {
        return output::print(true, "", &answer);
    }
    let text = shown(&answer);
    if text.is_empty() { Ok(()) } else { output::print(false, text.trim_end(), &answer) }
}

/// An answer for people: a line per field, and tables for lists. What peers chose to call themselves is made harmless.
fn shown(answer: &Value) -> String {
    let mut out = String::new();
    for (name, value) in answer.as_object().into_iter().flatten() {
        match value {
            Value::Array(rows) if rows.is_empty() => out.push_str(&format!("no {}\n", plain_name(name))),
            Value::Array(rows) => out.push_str(&table(rows)),
            Value::Object(fields) => {
                let fields: Vec<String> = fields
                    .iter()
                    .map(|(name, value)| format!("{} {}", plain_name(name), plain(value)))
                    .collect();
                out.push_str(&format!("{}: {}\n", plain_name(name), fields.join(", ")));
            }
            other => out.push_str(&format!("{}: {}\n", plain_name(name), plain(other))),
        }
    }
    out
}

/// Rows in columns that are as wide as what stands in them.
fn table(rows: &[Value]) -> String {
    let Some(Value::Object(first)) = rows.first() else { return String::new() };
    let mut names: Vec<&String> = first.keys().collect();
    // What a row is called comes first.
    names.sort_by_key(|name| *name != "number");
    let mut lines = vec![names.iter().map(|name| plain_name(name)).collect::<Vec<_>>()];
    for row in rows {
        lines.push(names.iter().map(|name| plain(row.get(name.as_str()).unwrap_or(&Value::Null))).collect());
    }
    let widths: Vec<usize> = (0..names.len())
        .map(|column| {
            lines.iter().filter_map(|cells| cells.get(column)).map(|cell| cell.chars().count()).max()
        })
        .map(Option::unwrap_or_default)
        .collect();
    let mut out = String::new();
    for cells in lines {
        let padded: Vec<String> =
            cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        out.push_str(padded.join("  ").trim_end());
        out.push('\n');
    }
    out
}

fn plain_name(name: &str) -> String {
    name.replace('_', " ")
}

/// A value as people read it.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => line(text).into_owned(),
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_are_tables_and_names_of_peers_are_harmless() {
        let answer = json!({ "groups": [
            { "name": "tea\u{1b}[2J", "number": 1, "paused": true },
            { "name": null, "number": 22, "paused": false },
        ] });
        let lines: Vec<String> = shown(&answer).lines().map(str::to_owned).collect();
        assert_eq!(
            lines,
            ["number  name            paused", "1       tea<U+001B>[2J  yes", "22      -               no"]
        );
        assert_eq!(shown(&json!({ "codes": [] })), "no codes\n");
        assert_eq!(shown(&json!({ "given_up": { "no_queue": 2 } })), "given up: no queue 2\n");
    }
}
