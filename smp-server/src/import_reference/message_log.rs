//! The file of messages that the reference server writes when it stops: `v3 ‹recipient id› ‹message›`, those of a queue
//! together and in their order.

use std::io::BufReader;
use std::path::Path;

use anyhow::Context as _;
use protocol::smp::ids::RecipientId;

use super::flaw::Flaw;
use super::lines::Lines;
use super::message::message;
use super::messages::Messages;
use super::words::Words;
use super::{at, open};
use crate::store::StoredMessage;

/// Reads the whole file.
pub(super) fn read(path: &Path, messages: &mut Messages<'_>) -> anyhow::Result<()> {
    let mut lines = Lines::new(BufReader::new(open(path)?));
    while let Some((number, line)) =
        lines.next().with_context(|| format!("Unable to read {}", path.display()))?
    {
        let place = || at(path, number);
        match line.and_then(record) {
            Ok((recipient_id, message)) => messages.put(recipient_id, &message, place)?,
            Err(flaw) => messages.damages.note(place(), flaw)?,
        }
    }
    Ok(())
}

fn record(line: &str) -> Result<(RecipientId, StoredMessage), Flaw> {
    let mut words = Words::new(line);
    // Earlier versions wrote other forms, which the reference server does not read any more.
    if words.word("kind")? != "v3" {
        return Err(Flaw::UnknownKind);
    }
    Ok((words.id("recipient id")?, message(words)?))
}
