//! Messages that the reference server keeps in a directory for each queue.
//!
//! ```text
//! messages/ab/cd/ef/gh/‹the other 24 characters of the recipient id›/
//!     queue_state.‹recipient id›.log    the last line counts: write=‹journal›,‹messages›,‹messages›,‹bytes›,‹bytes›
//!                                       read=‹journal›,‹read›,‹messages›,‹bytes read›,‹bytes› canWrite=T|F size=‹n›
//!     messages.‹journal›.log            a message per line; what waits is in the journal that is read, from ‹bytes read›
//!                                       on, and in the one that is written, if that is another
//! ```
//!
//! A state file is written anew by way of `….bak`, which counts as long as it is there. A last line that is cut off
//! gives way to the one before it, as it does in the reference server.

use std::fs::{self, File};
use std::io::{BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use protocol::smp::ids::RecipientId;

use super::flaw::Flaw;
use super::lines::Lines;
use super::message::message;
use super::messages::Messages;
use super::staging::Home;
use super::words::{Words, id};
use super::{at, open};

/// Directories above that of a queue.
const LEVELS: u32 = 4;
/// As much of the end of a state file as the reference server reads; a line is far below.
const STATE_TAIL_BYTES: u64 = 512;

/// One side of a queue: a journal, and how far it is written or read.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Side {
    journal: String,
    messages_done: u64,
    messages: u64,
    bytes_done: u64,
    bytes: u64,
}

/// What a queue's state file says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    write: Side,
    read: Side,
    size: u64,
}

/// Reads all queues.
pub(super) fn read(directory: &Path, messages: &mut Messages<'_>) -> anyhow::Result<()> {
    level(directory, "", LEVELS, messages)
}

fn level(path: &Path, name: &str, left: u32, messages: &mut Messages<'_>) -> anyhow::Result<()> {
    for entry in fs::read_dir(path).with_context(|| format!("Unable to read {}", path.display()))? {
        let entry = entry.with_context(|| format!("Unable to read {}", path.display()))?;
        let Ok(part) = entry.file_name().into_string() else { continue };
        if !entry.file_type()?.is_dir() {
            continue;
        }
        let name = format!("{name}{part}");
        if left > 0 {
            level(&entry.path(), &name, left.saturating_sub(1), messages)?;
        } else if let Ok(recipient_id) = id::<RecipientId>(&name, "recipient id") {
            queue(&entry.path(), &name, recipient_id, messages)?;
        }
    }
    Ok(())
}

fn queue(
    directory: &Path,
    name: &str,
    recipient_id: RecipientId,
    messages: &mut Messages<'_>,
) -> anyhow::Result<()> {
    if !matches!(messages.home(recipient_id)?, Home::Queue(_)) {
        // Left over from a queue that is deleted.
        messages.late();
        return Ok(());
    }
    let path = directory.join(format!("queue_state.{name}.log"));
    let unfinished = directory.join(format!("queue_state.{name}.log.bak"));
    let path = if unfinished.exists() { unfinished } else { path };
    if !path.exists() {
        return Ok(());
    }
    let state = match state_of(&path)? {
        Ok(Some(state)) => state,
        Ok(None) => return Ok(()),
        Err(flaw) => return messages.damages.note(path.display().to_string(), flaw),
    };
    if state.size == 0 {
        return Ok(());
    }
    let mut found = journal(directory, &state.read, state.read.bytes_done, recipient_id, messages)?;
    if state.write.journal != state.read.journal {
        let more = journal(directory, &state.write, 0, recipient_id, messages)?;
        found = found.zip(more).map(|(found, more)| found.saturating_add(more));
    }
    if found.is_some_and(|found| found != state.size) {
        let flaw = Flaw::Journal("the journals do not hold as many messages as it says");
        messages.damages.note(path.display().to_string(), flaw)?;
    }
    Ok(())
}

/// The last state of a queue; nothing when it has none, which is that of an empty queue.
fn state_of(path: &Path) -> anyhow::Result<Result<Option<State>, Flaw>> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(STATE_TAIL_BYTES)))?;
        let mut tail = Vec::new();
        file.take(STATE_TAIL_BYTES).read_to_end(&mut tail)?;
        Ok(tail)
    };
    let tail = read().with_context(|| format!("Unable to read {}", path.display()))?;
    if tail.is_empty() {
        return Ok(Ok(None));
    }
    let Ok(text) = String::from_utf8(tail) else { return Ok(Err(Flaw::NotText)) };
    // What stands behind the last end of a line was being written.
    let Some((whole, _)) = text.rsplit_once('\n') else { return Ok(Err(Flaw::CutOff)) };
    Ok(state(whole.rsplit('\n').next().unwrap_or_default()).map(Some))
}

fn state(line: &str) -> Result<State, Flaw> {
    let mut words = Words::new(line);
    let write = side(words.named("write=")?)?;
    let read = side(words.named("read=")?)?;
    if !matches!(words.named("canWrite=")?, "T" | "F") {
        return Err(Flaw::Value("canWrite="));
    }
    let size = number(words.named("size=")?)?;
    words.end()?;
    let is_same = write.journal == read.journal;
    let behind = if is_same { 0 } else { write.messages };
    let is_sound = read.messages_done <= read.messages
        && read.bytes_done <= read.bytes
        && (write.messages_done, write.bytes_done) == (write.messages, write.bytes)
        && (!is_same || (read.messages, read.bytes) == (write.messages, write.bytes))
        && read.messages.checked_sub(read.messages_done).and_then(|left| left.checked_add(behind))
            == Some(size);
    if is_sound { Ok(State { write, read, size }) } else { Err(Flaw::Value("state")) }
}

fn side(text: &str) -> Result<Side, Flaw> {
    let mut values = text.split(',');
    let mut next = || values.next().ok_or(Flaw::Value("state"));
    let journal = next()?;
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'=');
    if journal.is_empty() || !journal.bytes().all(is_name) {
        return Err(Flaw::Value("journal"));
    }
    let side = Side {
        journal: journal.to_owned(),
        messages_done: number(next()?)?,
        messages: number(next()?)?,
        bytes_done: number(next()?)?,
        bytes: number(next()?)?,
    };
    if values.next().is_some() { Err(Flaw::Surplus) } else { Ok(side) }
}

fn number(text: &str) -> Result<u64, Flaw> {
    text.parse().map_err(|_| Flaw::Value("state"))
}

/// Reads the messages of a journal from a byte to where its side ends. How many lines there are; nothing when some are
/// missing, which is noted.
fn journal(
    directory: &Path,
    side: &Side,
    from: u64,
    recipient_id: RecipientId,
    messages: &mut Messages<'_>,
) -> anyhow::Result<Option<u64>> {
    let length = side.bytes.saturating_sub(from);
    if length == 0 {
        return Ok(Some(0));
    }
    let path: PathBuf = directory.join(format!("messages.{}.log", side.journal));
    if !path.exists() {
        messages.damages.note(path.display().to_string(), Flaw::Journal("the journal is missing"))?;
        return Ok(None);
    }
    let mut file = open(&path)?;
    let context = || format!("Unable to read {}", path.display());
    let is_short = file.metadata().with_context(context)?.len() < side.bytes;
    if is_short {
        let flaw = Flaw::Journal("the journal is shorter than its queue's state says");
        messages.damages.note(path.display().to_string(), flaw)?;
    }
    file.seek(SeekFrom::Start(from)).with_context(context)?;
    let mut lines = Lines::new(BufReader::new(file.take(length)));
    let mut count = 0_u64;
    // Lines are counted from where the queue is read.
    while let Some((number, line)) = lines.next().with_context(context)? {
        count = count.saturating_add(1);
        let place = || format!("{} after byte {from}", at(&path, number));
        match line.and_then(|line| message(Words::new(line))) {
            Ok(message) => messages.put(recipient_id, &message, place)?,
            Err(flaw) => messages.damages.note(place(), flaw)?,
        }
    }
    Ok((!is_short).then_some(count))
}
