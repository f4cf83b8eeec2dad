//! How segments end: those without messages that wait are removed; when much room is taken by what is gone, the
//! messages of the sparsest are copied to the end of the log, a little with each commit.
//!
//! ```text
//! chosen ──verify──▶ verified ──copy──▶ copied ──committed──▶ removed
//!               └──damaged: kept
//! ```
//!
//! A copied message is in two segments until the old one is removed. Until then no later segment is removed: its
//! removals might be all that keeps the old copy from coming back. A start that finds a message twice goes on with
//! the segment of the older copy.

use super::disk::{damaged, open_segment};
use super::record::{BODY_BYTES_MAX, Kind, Record, SegmentNumber};
use super::segment::{read_index, scan};
use super::waiting::{Place, Waiting};
use super::{MessageLog, Usage};
use crate::store::{Result, StoreError};

/// What part of a segment is copied or verified with one commit: of 64 MiB a few milliseconds' worth.
const PARTS: u64 = 64;
/// Records that are looked at with one commit.
const RECORDS_PER_COMMIT: usize = 8192;
/// Segments whose worth of room may be wasted before anything is copied.
const WASTED_SEGMENTS_MIN: u64 = 4;

/// A segment that is being emptied.
#[derive(Debug)]
pub(super) struct Retirement {
    segment: SegmentNumber,
    records: Vec<(u32, Record)>,
    progress: Progress,
}

/// How far a retirement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// Everything before this record can be read.
    Verified(usize),
    /// Everything before this record is elsewhere too.
    Copied(usize),
}

impl MessageLog {
    /// Goes on with a segment that a copy was found of.
    pub(super) fn resume_retirement(&mut self, segment: SegmentNumber) -> Result<()> {
        self.retirement = Some(self.retirement_of(segment, Progress::Copied(0))?);
        Ok(())
    }

    fn retirement_of(&self, segment: SegmentNumber, progress: Progress) -> Result<Retirement> {
        let path = self.disk.segment_path(segment);
        let (file, header) = open_segment(&path, segment)?;
        let read = match read_index(&self.disk, header, &file) {
            Some(read) => read,
            None => scan(&path, header, &file)?,
        };
        Ok(Retirement { segment, records: read.records, progress })
    }

    /// The segment to empty, if too much room is wasted.
    fn sparsest(&self) -> Option<SegmentNumber> {
        let sealed = || {
            let is_sealed = |number: &SegmentNumber| *number != self.active.header.number;
            self.segments.iter().filter(move |(number, usage)| is_sealed(number) && !usage.is_kept)
        };
        let used: u64 = sealed().map(|(_, usage)| u64::from(usage.used)).sum();
        let live: u64 = sealed().map(|(_, usage)| usage.live_bytes).sum();
        let wasted_max = live.max(u64::from(self.segment_bytes).saturating_mul(WASTED_SEGMENTS_MIN));
        if used.saturating_sub(live) <= wasted_max {
            return None;
        }
        let wasted = |usage: &Usage| u64::from(usage.used).saturating_sub(usage.live_bytes);
        // The emptiest; of equals the oldest, whose removals need no copy.
        sealed()
            .max_by_key(|(number, usage)| (wasted(usage), std::cmp::Reverse(**number)))
            .map(|(number, _)| *number)
    }

    /// Stages a part of the segment that is being emptied. Gives how far it is when the group is committed.
    pub(super) fn retire_some(&mut self) -> Result<Option<Progress>> {
        if self.retirement.is_none() && self.room_changed && !self.keeps_all {
            self.room_changed = false;
            if let Some(segment) = self.sparsest() {
                match self.retirement_of(segment, Progress::Verified(0)) {
                    Ok(retirement) => self.retirement = Some(retirement),
                    Err(error) => self.keep(segment, &error),
                }
            }
        }
        let Some(retirement) = self.retirement.take() else { return Ok(None) };
        let progress = match retirement.progress {
            Progress::Verified(from) => match self.verify(&retirement, from) {
                Ok(to) if to == retirement.records.len() => Progress::Copied(0),
                Ok(to) => Progress::Verified(to),
                Err(error) => {
                    self.keep(retirement.segment, &error);
                    return Ok(None);
                }
            },
            Progress::Copied(from) => {
                let bytes = self.bytes_per_commit().saturating_add(u64::from(BODY_BYTES_MAX));
                if self.make_room(u32::try_from(bytes).unwrap_or(u32::MAX)).is_err() {
                    // It waits for room.
                    self.retirement = Some(retirement);
                    return Ok(None);
                }
                Progress::Copied(self.copy(&retirement, from)?)
            }
        };
        self.retirement = Some(retirement);
        Ok(Some(progress))
    }

    fn verify(&self, retirement: &Retirement, from: usize) -> Result<usize> {
        let mut bytes = 0_u64;
        for (position, (offset, record)) in retirement.records.iter().enumerate().skip(from) {
            if bytes >= self.bytes_per_commit() || position >= from.saturating_add(RECORDS_PER_COMMIT) {
                return Ok(position);
            }
            if let Some(waiting) = self.lives(retirement.segment, *offset, record) {
                bytes = bytes.saturating_add(u64::from(record.bytes()));
                self.shared.read(record.queue, &waiting)?;
            }
        }
        Ok(retirement.records.len())
    }

    fn copy(&mut self, retirement: &Retirement, from: usize) -> Result<usize> {
        let mut bytes = 0_u64;
        for (position, (offset, record)) in retirement.records.iter().enumerate().skip(from) {
            if bytes >= self.bytes_per_commit() || position >= from.saturating_add(RECORDS_PER_COMMIT) {
                return Ok(position);
            }
            if record.kind == Kind::Removal {
                if record.target != retirement.segment && self.segments.contains_key(&record.target) {
                    self.group.put(*record, &[]);
                    bytes = bytes.saturating_add(u64::from(record.bytes()));
                }
            } else if let Some(waiting) = self.lives(retirement.segment, *offset, record) {
                // It was read before: something happens to this disk, and half a copy must not be built on.
                let body = self.shared.read(record.queue, &waiting).map_err(|_| {
                    damaged(&self.disk.segment_path(retirement.segment), u64::from(waiting.place.offset))
                })?;
                let offset = self.group.put(*record, &body);
                self.group.copies.push((record.queue, record.number, offset));
                bytes = bytes.saturating_add(u64::from(record.bytes()));
            }
        }
        Ok(retirement.records.len())
    }

    fn bytes_per_commit(&self) -> u64 {
        u64::from(self.segment_bytes) / PARTS
    }

    /// The message of a record, if it waits and is not removed by the group.
    fn lives(&self, segment: SegmentNumber, offset: u32, record: &Record) -> Option<Waiting> {
        let waiting = self.view(record.queue, |view| view.holds(record.number))?;
        (waiting.place == Place { segment, offset }).then_some(waiting)
    }

    /// The group with the staged part was committed.
    pub(super) fn retired_to(&mut self, progress: Progress) {
        let Some(retirement) = &mut self.retirement else { return };
        retirement.progress = progress;
        if progress == Progress::Copied(retirement.records.len()) {
            let segment = retirement.segment;
            self.retirement = None;
            self.remove_segments(&[segment]);
            (self.dead_changed, self.room_changed) = (true, true);
        }
    }

    /// Removes segments that nothing needs any more.
    pub(super) fn remove_dead(&mut self) {
        while std::mem::take(&mut self.dead_changed) && !self.keeps_all {
            let emptied = self.retirement.as_ref().map(|retirement| retirement.segment);
            let needs_nothing = |number: &SegmentNumber, usage: &Usage| {
                let may_go = emptied.is_none_or(|emptied| *number < emptied);
                may_go
                    && !usage.is_kept
                    && usage.targets.iter().all(|target| !self.segments.contains_key(target))
            };
            let removable: Vec<SegmentNumber> = self
                .dead
                .iter()
                .filter(|number| self.segments.get(number).is_some_and(|usage| needs_nothing(number, usage)))
                .copied()
                .collect();
            if !removable.is_empty() {
                self.remove_segments(&removable);
                // What these held back may go too.
                self.dead_changed = true;
            }
        }
    }

    fn remove_segments(&mut self, segments: &[SegmentNumber]) {
        for number in segments {
            self.shared.files.forget(*number);
        }
        match self.disk.remove(segments) {
            Ok(()) => {
                for number in segments {
                    self.segments.remove(number);
                    self.dead.remove(number);
                }
            }
            Err(error) => {
                tracing::error!(%error, "segments of the log stay until the next start");
                self.keeps_all = true;
            }
        }
    }

    /// Keeps a segment that cannot be read.
    fn keep(&mut self, segment: SegmentNumber, error: &StoreError) {
        tracing::error!(%error, segment = segment.0, "a segment stays although little of it is needed");
        if let Some(usage) = self.segments.get_mut(&segment) {
            usage.is_kept = true;
        }
    }
}
