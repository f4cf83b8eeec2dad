//! Opens a log after a restart, however the server ended.
//!
//! ```text
//! indexes of sealed segments ─┐
//! last segment, read wholly ──┴─▶ messages, less what removals remove ─▶ memory
//! ```
//!
//! Bodies of sealed segments are not read: a start takes as long as their indexes. A write that was cut short is left
//! behind and the log goes on in a new segment; anything else that does not read well is damage, and the server does
//! not start.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use protocol::crypto::random_bytes;
use protocol::net::rng::system_rng;

use super::disk::{Disk, failed, open_segment};
use super::record::{Kind, LogId, Record, SegmentHeader, SegmentNumber};
use super::segment::{Active, Segment, index_again, read_index, scan};
use super::waiting::{OpenFiles, Place, Queues, Shared, Waiting};
use super::{Group, LogSettings, MessageLog, Usage};
use crate::store::{Failure, FailureKind, QueueNumber, Result};

/// Of a new segment.
pub(super) fn nonce() -> [u8; 8] {
    random_bytes(&mut system_rng())
}

pub(super) fn create(directory: &Path, log: LogId, settings: LogSettings) -> Result<MessageLog> {
    let mut builder = std::fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(directory);
    made.map_err(|error| failed("cannot be made", directory, &error))?;
    start(Disk::new(directory), log, settings, Found::default())
}

pub(super) fn open(directory: &Path, log: LogId, settings: LogSettings) -> Result<MessageLog> {
    let disk = Disk::new(directory);
    disk.remove_unfinished()?;
    let found = read(&disk, log)?;
    if found.segments.is_empty() {
        return Err(not_ours(directory));
    }
    start(disk, log, settings, found)
}

/// What the segments say together.
#[derive(Debug, Default)]
pub(super) struct Found {
    segments: BTreeMap<SegmentNumber, Usage>,
    /// Every message with its queue; some are gone, and some are there twice.
    messages: Vec<(QueueNumber, Waiting)>,
    /// Up to which number the messages of a queue are gone.
    removed: BTreeMap<QueueNumber, u64>,
    number_max: u64,
    /// The last segment.
    last: Option<Segment>,
}

impl Found {
    pub(super) fn add(&mut self, segment: &Segment) {
        let number = segment.header.number;
        let mut targets = BTreeSet::new();
        for (offset, record) in &segment.records {
            self.number_max = self.number_max.max(record.number);
            if record.kind == Kind::Removal {
                self.note_removal(record);
                targets.insert(record.target);
            } else {
                let place = Place { segment: number, offset: *offset };
                self.messages.push((record.queue, Waiting::of(record, place)));
            }
        }
        targets.retain(|target| *target != SegmentNumber::SAME && *target != number);
        self.segments.insert(number, Usage { used: segment.used, targets, ..Usage::default() });
    }

    fn note_removal(&mut self, record: &Record) {
        let removed = self.removed.entry(record.queue).or_default();
        *removed = record.number.max(*removed);
    }

    /// The messages that wait, and the segment that was being emptied.
    pub(super) fn settle(&mut self) -> (Queues, Option<SegmentNumber>) {
        let mut messages = std::mem::take(&mut self.messages);
        // Of a message that was copied the newest copy comes first.
        messages.sort_unstable_by_key(|(queue, waiting)| {
            (*queue, waiting.number, std::cmp::Reverse(waiting.place.segment))
        });
        let mut emptied = None;
        messages.dedup_by(|(queue, older), (kept_queue, kept)| {
            let is_same = queue == kept_queue && older.number == kept.number;
            if is_same {
                emptied = Some(older.place.segment);
            }
            is_same
        });
        let removed = std::mem::take(&mut self.removed);
        messages
            .retain(|(queue, waiting)| removed.get(queue).is_none_or(|removed| waiting.number > *removed));
        for (_, waiting) in &messages {
            self.segments.entry(waiting.place.segment).or_default().add(waiting);
        }
        let queues = messages.chunk_by(|(left, _), (right, _)| left == right).filter_map(|of_queue| {
            let (queue, _) = of_queue.first()?;
            Some((*queue, of_queue.iter().map(|(_, waiting)| *waiting).collect::<VecDeque<_>>()))
        });
        (queues.collect(), emptied)
    }
}

/// Reads the segments of this log.
fn read(disk: &Disk, log: LogId) -> Result<Found> {
    let mut found = Found::default();
    let numbers = disk.segments()?;
    for number in &numbers {
        let path = disk.segment_path(*number);
        let (file, header) = open_segment(&path, *number)?;
        if header.log != log {
            return Err(not_ours(&path));
        }
        if numbers.last() == Some(number) {
            let segment = scan(&path, header, &file)?;
            found.add(&segment);
            found.last = Some(segment);
        } else if let Some(segment) = read_index(disk, header, &file) {
            found.add(&segment);
        } else {
            let segment = scan(&path, header, &file)?;
            // A killed process leaves groups that are with the system only: an index must not name what may vanish.
            disk.sync(*number, &file)?;
            index_again(disk, &segment);
            found.add(&segment);
        }
    }
    Ok(found)
}

fn start(disk: Disk, log: LogId, settings: LogSettings, mut found: Found) -> Result<MessageLog> {
    let LogSettings { segment_bytes, open_files } = settings;
    let active = match found.last.take() {
        Some(last) if !last.is_torn => {
            let mut active = Active::resume(&disk, &last)?;
            // A killed process leaves groups that are with the system only.
            active.sync(&disk)?;
            active.confirm(&disk);
            active
        }
        last => {
            if let Some(last) = &last {
                tracing::warn!(
                    segment = last.header.number.0,
                    at = last.used,
                    "a write was cut short when the server ended; nothing of it had been confirmed to anybody"
                );
                Active::resume(&disk, last)?.seal(&disk)?;
            }
            let number = SegmentNumber(last.map_or(0, |last| last.header.number.0).saturating_add(1));
            let header = SegmentHeader { log, nonce: nonce(), number };
            Active::create(&disk, header, segment_bytes, 0)?
        }
    };
    let (queues, emptied) = found.settle();
    let mut segments = found.segments;
    segments.entry(active.header.number).or_default().used = active.used();
    let is_dead =
        |(number, usage): &(&SegmentNumber, &Usage)| usage.live == 0 && **number != active.header.number;
    let dead = segments.iter().filter(is_dead).map(|(number, _)| *number).collect();
    let mut opened = MessageLog {
        shared: Shared::new(queues, OpenFiles::new(disk.clone(), open_files)),
        disk,
        log,
        segment_bytes,
        active,
        next: None,
        segments,
        dead,
        dead_changed: true,
        next_number: found.number_max.saturating_add(1),
        group: Group::default(),
        retirement: None,
        room_changed: true,
        keeps_all: false,
    };
    match emptied {
        Some(segment) => opened.resume_retirement(segment)?,
        None => opened.remove_dead(),
    }
    Ok(opened)
}

/// The database and the log are not of one server.
pub(crate) fn not_ours(path: &Path) -> crate::store::StoreError {
    Failure::new(
        FailureKind::Damaged,
        format!(
            "{} does not belong to this database: the database and the messages must be restored together, from \
             one backup",
            path.display()
        ),
    )
    .into()
}
