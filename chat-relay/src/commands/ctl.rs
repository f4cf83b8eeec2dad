//! `chat-relay ctl`: looks at or changes a running relay.

use std::io::ErrorKind;
use std::time::Duration;

use anyhow::{Context as _, bail};
use protocol::net::clock;
use protocol::sanitize::line;
use protocol::timestamp::Timestamp;
use serde_json::Value;

use crate::cli::{CtlArgs, GlobalArgs};
use crate::control::CONTROL_SOCKET;
use crate::directory::Directory;
use crate::operation::Quota;
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
    let text = shown(&answer, clock::now());
    if text.is_empty() { Ok(()) } else { output::print(false, text.trim_end(), &answer) }
}

/// An answer for people: a line per field, and tables for lists. What peers chose to call themselves is made harmless.
fn shown(answer: &Value, now: Timestamp) -> String {
    let mut out = String::new();
    for (name, value) in answer.as_object().into_iter().flatten() {
        match value {
            Value::Array(rows) if rows.is_empty() => out.push_str(&format!("no {}\n", plain_name(name))),
            Value::Array(rows) => out.push_str(&table(rows, now)),
            Value::Object(fields) if fields.is_empty() => {
                out.push_str(&format!("{}: none\n", plain_name(name)));
            }
            Value::Object(fields) => {
                let fields: Vec<String> = fields
                    .iter()
                    .map(|(name, value)| format!("{} {}", plain_name(name), plain(name, value, now)))
                    .collect();
                out.push_str(&format!("{}: {}\n", plain_name(name), fields.join(", ")));
            }
            other => out.push_str(&format!("{}: {}\n", plain_name(name), plain(name, other, now))),
        }
    }
    out
}

/// Rows in columns that are as wide as what stands in them.
fn table(rows: &[Value], now: Timestamp) -> String {
    let Some(Value::Object(first)) = rows.first() else { return String::new() };
    let mut names: Vec<&String> = first.keys().collect();
    // What a row is called comes first.
    names.sort_by_key(|name| match name.as_str() {
        "number" => 0,
        "name" | "account" | "server" | "kind" | "key" => 1,
        _ => 2,
    });
    let mut lines = vec![names.iter().map(|name| plain_name(name)).collect::<Vec<_>>()];
    for row in rows {
        let cell = |name: &&String| plain(name, row.get(name.as_str()).unwrap_or(&Value::Null), now);
        lines.push(names.iter().map(cell).collect());
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

/// A length of time, and a moment, are told by their values.
const LENGTH: &str = "_seconds";
const MOMENT: &str = "_ms";

fn plain_name(name: &str) -> String {
    let bare = name.strip_suffix(LENGTH).or_else(|| name.strip_suffix(MOMENT));
    bare.unwrap_or(name).replace('_', " ")
}

/// A value as people read it.
fn plain(name: &str, value: &Value, now: Timestamp) -> String {
    if let Some(number) = value.as_i64() {
        if name.ends_with(LENGTH) {
            return length(number);
        }
        if name.ends_with(MOMENT) {
            let seconds = number.saturating_sub(now.0) / 1000;
            return if seconds < 0 {
                format!("{} ago", length(-seconds))
            } else {
                format!("in {}", length(seconds))
            };
        }
        if number == 0 && Quota::ALL.iter().any(|quota| quota.word() == name) {
            return "no bound".to_owned();
        }
    }
    match value {
        Value::String(text) => line(text).into_owned(),
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        other => other.to_string(),
    }
}

/// So many whole days, hours, minutes or seconds.
fn length(seconds: i64) -> String {
    let units = [("d", 86_400), ("h", 3600), ("m", 60)];
    let unit = units.into_iter().find(|(_, length)| seconds >= *length);
    let (name, length) = unit.unwrap_or(("s", 1));
    format!("{}{name}", seconds / length)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    #[test]
    fn lists_are_tables_and_names_of_peers_are_harmless() {
        let answer = json!({ "groups": [
            { "name": "tea\u{1b}[2J", "number": 1, "paused": true },
            { "name": null, "number": 22, "paused": false },
        ] });
        let lines: Vec<String> = shown(&answer, NOW).lines().map(str::to_owned).collect();
        assert_eq!(
            lines,
            ["number  name            paused", "1       tea<U+001B>[2J  yes", "22      -               no"]
        );
        for (answer, text) in [
            (json!({ "codes": [] }), "no codes\n"),
            (json!({ "given_up": { "no_queue": 2 } }), "given up: no queue 2\n"),
            (json!({ "given_up": {} }), "given up: none\n"),
        ] {
            assert_eq!(shown(&answer, NOW), text);
        }
    }

    #[test]
    fn times_and_bounds_are_told_in_words() {
        let codes = json!({ "codes": [
            { "number": 1, "expires_ms": 1_000_000 + 3 * 86_400_000_i64 },
            { "number": 2, "expires_ms": 1_000_000 - 120_000 },
            { "number": 3, "expires_ms": null },
        ] });
        let lines: Vec<String> = shown(&codes, NOW).lines().map(str::to_owned).collect();
        assert_eq!(lines, ["number  expires", "1       in 3d", "2       2m ago", "3       -"]);
        assert_eq!(shown(&json!({ "in_state_for_seconds": 7300 }), NOW), "in state for: 2h\n");
        let quotas = json!({ "owner_groups": 0, "total_groups": 9 });
        assert_eq!(shown(&quotas, NOW), "owner groups: no bound\ntotal groups: 9\n");
        assert_eq!(shown(&json!({ "joins": 0 }), NOW), "joins: 0\n");
    }
}
