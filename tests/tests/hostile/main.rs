//! What dishonest relays, servers, peers and strangers can do, and what they cannot. Real programs throughout: none
//! of them misbehaves by itself, so databases are changed behind their backs, see `e2e::tampering`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::expect_used)]

mod author_chains;
mod bytes;
mod links;
mod lying_relay;
mod servers;
mod stripping_relay;
mod unseemly;

use e2e::process::Process;
use e2e::world::{Person, event, text};
use serde_json::Value;

/// Waits until this person is told what a relay or server did.
fn evidence(listening: &mut Process, against: &str) -> anyhow::Result<Value> {
    listening.wait_for(&format!("evidence against {against}"), |line| {
        event(line, "evidence").filter(|told| told.get("relay").and_then(Value::as_str) == Some(against))
    })
}

/// How many proofs are kept, as `doctor` says.
fn kept_evidence(person: &Person) -> anyhow::Result<u64> {
    let answer = person.run(&["doctor"])?;
    for check in answer.of_type("check") {
        let detail = text(check, "detail")?;
        if let Some((before, _)) = detail.split_once(" pieces of evidence") {
            let number = before.rsplit(' ').next().unwrap_or_default();
            return Ok(number.parse()?);
        }
    }
    Ok(0)
}

/// The relays that brought a message.
fn brought_by(message: &Value) -> Vec<&str> {
    message["relays"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}
