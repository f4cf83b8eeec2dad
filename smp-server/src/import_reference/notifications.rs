//! Notifications that the reference server saved when it stopped: `v1 ‹notifier id› ‹message id› ‹seconds› ‹nonce›
//! ‹encrypted metadata›`. The last two are made anew from the queue's secret when they are delivered.

use std::io::{BufReader, Write};
use std::path::Path;

use anyhow::Context as _;
use protocol::smp::ids::NotifierId;
use protocol::timestamp::Timestamp;

use super::flaw::{Damages, Flaw};
use super::lines::Lines;
use super::words::{Words, bytes, seconds};
use super::{at, open};
use crate::notifications::Notification;
use crate::saved_notifications;

/// Reads the file, and writes what our server takes up when it starts. How many there are.
pub(super) fn convert(path: &Path, out: &mut dyn Write, damages: &mut Damages) -> anyhow::Result<u64> {
    let mut lines = Lines::new(BufReader::new(open(path)?));
    let mut count = 0_u64;
    while let Some((number, line)) =
        lines.next().with_context(|| format!("Unable to read {}", path.display()))?
    {
        match line.and_then(record) {
            Ok((id, notification)) => {
                writeln!(out, "{}", saved_notifications::line(id, notification))
                    .context("Unable to write notifications")?;
                count = count.saturating_add(1);
            }
            Err(flaw) => damages.note(at(path, number), flaw)?,
        }
    }
    out.flush().context("Unable to write notifications")?;
    Ok(count)
}

fn record(line: &str) -> Result<(NotifierId, Notification), Flaw> {
    let mut words = Words::new(line);
    if words.word("kind")? != "v1" {
        return Err(Flaw::UnknownKind);
    }
    let id = words.id("notifier id")?;
    let message_id = words.id("message id")?;
    let received_at = Timestamp::from_seconds(seconds(words.word("time")?)?);
    for what in ["nonce", "metadata"] {
        bytes(words.word(what)?, what)?;
    }
    words.end()?;
    Ok((id, Notification { message_id, received_at }))
}
