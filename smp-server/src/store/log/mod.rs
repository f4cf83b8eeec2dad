//! Messages in a log of our own: preallocated segments, one write and one `fdatasync` for each group of changes.
//!
//! ```text
//! append, remove ─▶ group ──commit──▶ active segment ──full──▶ sealed ──nothing lives in it──▶ removed
//!                                          ▲                     │ sparse: what lives is copied
//!                                          └─────────────────────┘
//! ```
//!
//! Memory has a small entry for each message that waits ([`waiting`]); bodies are read when they are delivered, and
//! only if their checksum is right. A removal is a record too: "all of this queue up to this number is gone". It
//! names the segment that it removes from, and is kept for as long as that segment is there, else what it removed
//! would come back at the next start. Because numbers rise within a queue and are never used again, records may be
//! read in any order and more than once.
//!
//! At a start the indexes of sealed segments are read and the last segment wholly ([`recovery`]).

mod damage;
mod disk;
mod record;
mod recovery;
mod retirement;
mod segment;
mod survey;
#[cfg(test)]
mod tests;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use protocol::smp::ids::MessageId;
use protocol::timestamp::Timestamp;

use disk::Disk;
use record::{GROUP_HEADER_BYTES, Kind, RECORD_HEADER_BYTES, Record, SegmentHeader};
use retirement::Retirement;
use segment::Active;
use waiting::{Change, Place, Shared, View, Waiting};

pub(crate) use record::{LogId, SegmentNumber};
pub(crate) use recovery::not_ours;
pub(crate) use survey::{copy, verify};
pub(crate) use waiting::LogReader;

use super::{NewMessage, QueueNumber, Result, StoreError, StoredMessage};
use crate::config::Storage;

/// The part of a segment that is left to removals.
const RESERVED_PART: u32 = 64;

/// The bounds of a log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogSettings {
    /// The length of a segment.
    pub(crate) segment_bytes: u32,
    /// Segments that are open for reading at a time.
    pub(crate) open_files: usize,
}

impl From<&Storage> for LogSettings {
    fn from(settings: &Storage) -> Self {
        Self {
            segment_bytes: settings.segment_mib.saturating_mul(1 << 20),
            open_files: usize::try_from(settings.open_segments).unwrap_or(usize::MAX),
        }
    }
}

/// A message log, open for writing.
#[derive(Debug)]
pub(crate) struct MessageLog {
    disk: Disk,
    log: LogId,
    segment_bytes: u32,
    shared: Arc<Shared>,
    active: Active,
    /// The segment after the active one, once that is nearly full.
    next: Option<Active>,
    segments: BTreeMap<SegmentNumber, Usage>,
    /// Segments without a message that waits; looked at again when `dead_changed`.
    dead: BTreeSet<SegmentNumber>,
    dead_changed: bool,
    next_number: u64,
    group: Group,
    retirement: Option<Retirement>,
    /// Whether room may be wasted since it was looked at.
    room_changed: bool,
    /// Whether the system refused to remove a segment: then none is removed until the next start.
    keeps_all: bool,
}

/// What a segment holds.
#[derive(Debug, Clone, Default)]
pub(super) struct Usage {
    /// Its length.
    used: u32,
    /// Messages in it that wait.
    live: u32,
    /// Their length.
    live_bytes: u64,
    /// Other segments that its removals remove from.
    targets: BTreeSet<SegmentNumber>,
    /// Whether it is damaged and stays.
    is_kept: bool,
}

impl Usage {
    fn add(&mut self, waiting: &Waiting) {
        self.live = self.live.saturating_add(1);
        self.live_bytes = self.live_bytes.saturating_add(u64::from(waiting.length));
    }

    fn subtract(&mut self, waiting: &Waiting) {
        self.live = self.live.saturating_sub(1);
        self.live_bytes = self.live_bytes.saturating_sub(u64::from(waiting.length));
    }
}

/// What is to be committed together.
#[derive(Debug)]
struct Group {
    /// The bytes to write, with room for the group's header before them.
    bytes: Vec<u8>,
    /// Its records with their places, relative to the first.
    records: Vec<(u32, Record)>,
    changes: BTreeMap<QueueNumber, Change>,
    /// Copies of messages that wait: queue, number and place.
    copies: Vec<(QueueNumber, u64, u32)>,
}

impl Default for Group {
    fn default() -> Self {
        Self {
            bytes: vec![0; GROUP_HEADER_BYTES],
            records: Vec::new(),
            changes: BTreeMap::new(),
            copies: Vec::new(),
        }
    }
}

impl Group {
    /// Adds a record; gives its place.
    fn put(&mut self, record: Record, body: &[u8]) -> u32 {
        let offset = self.length();
        record.put(body, &mut self.bytes);
        self.records.push((offset, record));
        offset
    }

    /// Of its records.
    fn length(&self) -> u32 {
        u32::try_from(self.bytes.len().saturating_sub(GROUP_HEADER_BYTES)).unwrap_or(u32::MAX)
    }

    /// Empties it, and keeps the memory that a usual group needs.
    fn clear(&mut self) {
        const KEPT_BYTES: usize = 8 << 20;
        self.bytes.truncate(GROUP_HEADER_BYTES);
        self.bytes.shrink_to(KEPT_BYTES);
        self.records.clear();
        self.changes.clear();
        self.copies.clear();
    }
}

impl MessageLog {
    /// Makes a log in a directory that has none.
    ///
    /// # Errors
    /// When the directory cannot be made or written.
    pub(crate) fn create(directory: &Path, log: LogId, settings: LogSettings) -> Result<Self> {
        recovery::create(directory, log, settings)
    }

    /// Opens the log in a directory.
    ///
    /// # Errors
    /// When there is none, it is another one, it is damaged, or cannot be written.
    pub(crate) fn open(directory: &Path, log: LogId, settings: LogSettings) -> Result<Self> {
        recovery::open(directory, log, settings)
    }

    /// A view of what is committed.
    pub(crate) fn reader(&self) -> LogReader {
        LogReader { shared: self.shared.clone() }
    }

    /// Begins a group; what an earlier one left uncommitted is forgotten.
    pub(crate) fn begin(&mut self) {
        self.group.clear();
    }

    /// How many messages wait.
    pub(crate) fn message_count(&self, queue: QueueNumber) -> u32 {
        self.view(queue, |view| u32::try_from(view.count()).unwrap_or(u32::MAX))
    }

    /// Whether the last that waits is the marker of a full queue.
    pub(crate) fn ends_with_marker(&self, queue: QueueNumber) -> bool {
        self.view(queue, |view| view.last().is_some_and(|(last, _)| last.is_marker))
    }

    /// The id of the message at the head.
    pub(crate) fn head_id(&self, queue: QueueNumber) -> Option<MessageId> {
        self.view(queue, |view| view.at(0).map(|(head, _)| head.id))
    }

    /// The message at a position from the head, with its body.
    ///
    /// # Errors
    /// When it cannot be read or is damaged.
    pub(crate) fn message_at(&self, queue: QueueNumber, position: usize) -> Result<Option<StoredMessage>> {
        let Some((waiting, is_committed)) = self.view(queue, |view| view.at(position)) else {
            return Ok(None);
        };
        if waiting.is_marker {
            return Ok(Some(waiting.with_body(Vec::new())));
        }
        let body = if is_committed {
            self.shared.read(queue, &waiting)?
        } else {
            let start = GROUP_HEADER_BYTES.saturating_add(waiting.place.offset as usize);
            let record = self.group.bytes.get(start..).and_then(Record::parse);
            record.map(|(_, body, _)| body.to_vec()).ok_or(StoreError::Damaged("message"))?
        };
        Ok(Some(waiting.with_body(body)))
    }

    /// Puts a message at the end of a queue; without a body it is the marker of a full one.
    ///
    /// # Errors
    /// When the disk has no room for it. Other changes of the group are not affected.
    pub(crate) fn append(
        &mut self,
        queue: QueueNumber,
        message: &NewMessage<'_>,
        is_marker: bool,
    ) -> Result<()> {
        let body = if is_marker { &[] } else { message.body };
        self.make_room(u32::try_from(RECORD_HEADER_BYTES.saturating_add(body.len())).unwrap_or(u32::MAX))?;
        let record = Record {
            kind: if is_marker { Kind::Marker } else { Kind::Message },
            notify: message.notify && !is_marker,
            target: SegmentNumber::SAME,
            length: u32::try_from(body.len()).unwrap_or(u32::MAX),
            queue,
            number: self.next_number,
            received_at: message.received_at,
            id: message.id,
        };
        self.next_number = self.next_number.saturating_add(1);
        let offset = self.group.put(record, body);
        let place = Place { segment: SegmentNumber::SAME, offset };
        self.group.changes.entry(queue).or_default().added.push(Waiting::of(&record, place));
        Ok(())
    }

    /// Removes the messages at the head of a queue, so many of them.
    pub(crate) fn remove(&mut self, queue: QueueNumber, count: usize) {
        let (last, targets) = self.view(queue, |view| {
            let removed = (0..count).map_while(|position| view.at(position));
            let mut targets = BTreeSet::new();
            let mut last = None;
            for (waiting, _) in removed {
                targets.insert(waiting.place.segment);
                last = Some(waiting);
            }
            (last, targets)
        });
        let Some(last) = last else { return };
        for target in targets {
            let removal = Record {
                kind: Kind::Removal,
                notify: false,
                target,
                length: 0,
                queue,
                number: last.number,
                received_at: Timestamp(0),
                id: MessageId([0; 24]),
            };
            self.group.put(removal, &[]);
        }
        let change = self.group.changes.entry(queue).or_default();
        change.removed = change.removed.saturating_add(count);
    }

    /// Removes all messages of a queue.
    pub(crate) fn remove_all(&mut self, queue: QueueNumber) {
        self.remove(queue, self.view(queue, |view| view.count()));
    }

    /// Removes messages received before a moment from the head of a queue, up to the first that stays. Gives how many
    /// these are.
    pub(crate) fn expire(&mut self, queue: QueueNumber, before: Timestamp) -> u64 {
        let expired = self.view(queue, |view| {
            let is_expired = |waiting: &Waiting| !waiting.is_marker && waiting.received_at < before;
            (0..view.count())
                .take_while(|position| view.at(*position).is_some_and(|(waiting, _)| is_expired(&waiting)))
                .count()
        });
        self.remove(queue, expired);
        expired as u64
    }

    /// The queues behind this one that have messages, so many of them.
    pub(crate) fn queues_behind(&self, queue: QueueNumber, count: usize) -> Vec<QueueNumber> {
        let behind = (Bound::Excluded(queue), Bound::Unbounded);
        self.shared.queues().range(behind).take(count).map(|(number, _)| *number).collect()
    }

    /// Makes the group durable.
    ///
    /// # Errors
    /// When the disk refuses: then none of it is stored. After some failures nothing may be written any more, see
    /// [`Failure::forbids_writing`](crate::store::Failure::forbids_writing).
    pub(crate) fn commit(&mut self) -> Result<()> {
        let committed = self.retire_some().and_then(|retired| {
            if self.group.length() > 0 {
                let first = self.write()?;
                self.apply(first);
            }
            Ok(retired)
        });
        self.group.clear();
        if let Some(retired) = committed? {
            self.retired_to(retired);
        }
        self.remove_dead();
        Ok(())
    }

    /// Sees to it that the group has room on the disk when it grows by so much. A part of each segment is left to
    /// removals, which free room: they must not fail because there is none.
    fn make_room(&mut self, bytes: u32) -> Result<()> {
        let needed =
            self.group.length().saturating_add(bytes).saturating_add(self.segment_bytes / RESERVED_PART);
        let has_room = |segment: &Active| segment.has_room(needed);
        if has_room(&self.active) || self.next.as_ref().is_some_and(has_room) {
            return Ok(());
        }
        if let Some(small) = self.next.take() {
            self.disk.remove(&[small.header.number])?;
        }
        self.next = Some(self.create_next(needed)?);
        Ok(())
    }

    fn create_next(&self, needed: u32) -> Result<Active> {
        let number = SegmentNumber(self.active.header.number.0.saturating_add(1));
        let header = SegmentHeader { log: self.log, nonce: recovery::nonce(), number };
        Active::create(&self.disk, header, self.segment_bytes, needed)
    }

    /// Writes the group to the active segment, or to the next when it is full.
    fn write(&mut self) -> Result<u32> {
        let length = self.group.length();
        if !self.active.has_room(length) || self.next.as_ref().is_some_and(|next| next.has_room(length)) {
            let next = match self.next.take() {
                Some(next) => next,
                None => self.create_next(length)?,
            };
            self.go_on_with(next)?;
        }
        self.active.commit(&self.disk, &mut self.group.bytes, &self.group.records)
    }

    fn go_on_with(&mut self, next: Active) -> Result<()> {
        self.segments.insert(next.header.number, Usage { used: next.used(), ..Usage::default() });
        let full = std::mem::replace(&mut self.active, next);
        let number = full.header.number;
        full.seal(&self.disk)?;
        self.room_changed = true;
        if self.segments.get(&number).is_some_and(|usage| usage.live == 0) {
            self.dead.insert(number);
            self.dead_changed = true;
        }
        Ok(())
    }

    /// Shows readers what was committed with its first record at `first`.
    fn apply(&mut self, first: u32) {
        let segment = self.active.header.number;
        let absolute = |offset: u32| Place { segment, offset: first.saturating_add(offset) };
        let mut emptied = Vec::new();
        let mut queues = self.shared.queues_mut();
        for (queue, number, offset) in self.group.copies.drain(..) {
            let waiting = queues.get_mut(&queue).and_then(|waiting| {
                let position = waiting.binary_search_by_key(&number, |one| one.number).ok()?;
                waiting.get_mut(position)
            });
            if let Some(waiting) = waiting {
                let from = std::mem::replace(&mut waiting.place, absolute(offset)).segment;
                self.segments.entry(segment).or_default().add(waiting);
                emptied.extend(leave(&mut self.segments, from, waiting));
            }
        }
        for (queue, change) in std::mem::take(&mut self.group.changes) {
            let waiting = queues.entry(queue).or_default();
            // Most queues have one message or none: no more room than that.
            if waiting.is_empty() {
                waiting.reserve_exact(change.added.len());
            }
            for mut added in change.added {
                added.place = absolute(added.place.offset);
                self.segments.entry(segment).or_default().add(&added);
                waiting.push_back(added);
            }
            for removed in waiting.drain(..change.removed.min(waiting.len())) {
                emptied.extend(leave(&mut self.segments, removed.place.segment, &removed));
            }
            if waiting.is_empty() {
                queues.remove(&queue);
            } else if waiting.capacity() > waiting.len().saturating_mul(4) {
                waiting.shrink_to(waiting.len().saturating_mul(2));
            }
        }
        drop(queues);
        let usage = self.segments.entry(segment).or_default();
        usage.used = self.active.used();
        let removals = self.group.records.iter().filter(|(_, record)| record.kind == Kind::Removal);
        let others =
            removals.map(|(_, record)| record.target).filter(|target| *target != SegmentNumber::SAME);
        usage.targets.extend(others.filter(|target| *target != segment));
        // The active segment lives however little is in it.
        emptied.retain(|number| *number != segment);
        self.dead_changed |= !emptied.is_empty();
        self.dead.extend(emptied);
    }

    /// Looks at a queue as the group sees it.
    fn view<T>(&self, queue: QueueNumber, look: impl FnOnce(&View<'_>) -> T) -> T {
        let queues = self.shared.queues();
        look(&View::new(queues.get(&queue), self.group.changes.get(&queue)))
    }
}

/// A message left a segment; gives it when it was the last one.
fn leave(
    segments: &mut BTreeMap<SegmentNumber, Usage>,
    from: SegmentNumber,
    waiting: &Waiting,
) -> Option<SegmentNumber> {
    let usage = segments.get_mut(&from)?;
    usage.subtract(waiting);
    (usage.live == 0).then_some(from)
}

impl Drop for MessageLog {
    fn drop(&mut self) {
        // The last confirmation; nothing depends on it.
        let _ = self.active.sync(&self.disk);
    }
}
