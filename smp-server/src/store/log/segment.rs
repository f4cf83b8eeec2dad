//! One segment: written at its end, read anew after a restart.
//!
//! ```text
//! creating ─▶ active ──full──▶ sealed with an index ─▶ removed once nothing in it is needed
//! ```

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::disk::{Disk, damaged, failed};
use super::record::{
    GROUP_HEADER_BYTES, GroupHeader, RECORD_HEADER_BYTES, Record, SEGMENT_HEADER_BYTES, SegmentHeader, take,
};
use crate::store::{Result, StoreError};

/// What of a file is looked at in one reading when it is searched.
const SEARCHED_BYTES: usize = 1 << 20;
const INDEX_MAGIC: [u8; 8] = *b"smpindx\x01";
/// One record of an index: where it is, and its header.
const INDEX_ENTRY_BYTES: usize = 4 + RECORD_HEADER_BYTES;

/// The segment to which groups are written.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) header: SegmentHeader,
    file: File,
    capacity: u32,
    used: u32,
    sequence: u64,
    /// Its index as far as it is written: an entry for each record.
    entries: Vec<u8>,
}

impl Active {
    /// Makes a segment in which a group of `needed` bytes has room.
    pub(super) fn create(disk: &Disk, header: SegmentHeader, wanted: u32, needed: u32) -> Result<Self> {
        let least = needed.saturating_add(OVERHEAD_BYTES);
        let (file, capacity) = disk.create(header, wanted, least)?;
        let used = SEGMENT_HEADER_BYTES as u32;
        Ok(Self { header, file, capacity, used, sequence: 0, entries: Vec::new() })
    }

    /// Goes on with a segment that was read after a restart and ends well.
    pub(super) fn resume(disk: &Disk, segment: &Segment) -> Result<Self> {
        let path = disk.segment_path(segment.header.number);
        let mut options = File::options();
        let file = options
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|error| failed("cannot be opened for writing", &path, &error))?;
        let length = file.metadata().map_err(|error| failed("cannot be read", &path, &error))?.len();
        let mut entries = Vec::new();
        for (offset, record) in &segment.records {
            put_entry(&mut entries, *offset, record);
        }
        Ok(Self {
            header: segment.header,
            file,
            capacity: u32::try_from(length).unwrap_or(u32::MAX),
            used: segment.used,
            sequence: segment.sequence,
            entries,
        })
    }

    /// How much of it is written.
    pub(super) fn used(&self) -> u32 {
        self.used
    }

    /// Whether a group of so many bytes of records fits.
    pub(super) fn has_room(&self, bytes: u32) -> bool {
        let end = self.used.saturating_add(bytes).saturating_add(2 * GROUP_HEADER_BYTES as u32);
        end <= self.capacity
    }

    /// Writes a group and waits until it is on the disk. `group` begins with room for the header. Gives the place of
    /// the first record. When this fails, what was written counts for nothing.
    pub(super) fn commit(&mut self, disk: &Disk, group: &mut [u8], records: &[(u32, Record)]) -> Result<u32> {
        let (header, body) =
            group.split_at_mut_checked(GROUP_HEADER_BYTES).ok_or(StoreError::Damaged("group"))?;
        let length = u32::try_from(body.len()).map_err(|_| StoreError::Damaged("group"))?;
        let sequence = self.sequence.saturating_add(1);
        header.copy_from_slice(&GroupHeader { nonce: self.header.nonce, sequence, length }.to_bytes());
        disk.write(self.header.number, &self.file, group, self.used)?;
        disk.sync(self.header.number, &self.file)?;
        let first = self.used.saturating_add(GROUP_HEADER_BYTES as u32);
        (self.sequence, self.used) = (sequence, first.saturating_add(length));
        for (offset, record) in records {
            put_entry(&mut self.entries, first.saturating_add(*offset), record);
        }
        self.confirm(disk);
        Ok(first)
    }

    /// Notes that all groups so far are on the disk. It reaches the disk with the next group; when it does not, a
    /// damaged last group looks like one that was cut short.
    pub(super) fn confirm(&mut self, disk: &Disk) {
        let sequence = self.sequence.saturating_add(1);
        let header = GroupHeader { nonce: self.header.nonce, sequence, length: 0 }.to_bytes();
        if disk.write(self.header.number, &self.file, &header, self.used).is_ok() {
            self.sequence = sequence;
            self.used = self.used.saturating_add(GROUP_HEADER_BYTES as u32);
        }
    }

    /// Brings what was written to the disk.
    pub(super) fn sync(&self, disk: &Disk) -> Result<()> {
        disk.sync(self.header.number, &self.file)
    }

    /// Ends the segment: gives back the room that it does not need and writes its index. Without an index a segment
    /// is read wholly at the next start, so that a failure here costs time only.
    pub(super) fn seal(self, disk: &Disk) -> Result<()> {
        self.sync(disk)?;
        let index = index_bytes(&self.header, self.used, &self.entries);
        let sealed = self
            .file
            .set_len(u64::from(self.used))
            .and_then(|()| disk.write_index(self.header.number, &index));
        if let Err(error) = sealed {
            tracing::warn!(%error, segment = self.header.number.0, "a segment has no index");
        }
        Ok(())
    }
}

/// What a segment needs besides its records: its header, that of a group and that of a confirmation.
const OVERHEAD_BYTES: u32 = (SEGMENT_HEADER_BYTES + 2 * GROUP_HEADER_BYTES) as u32;

/// A segment as found after a restart.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) header: SegmentHeader,
    /// Each record with its place.
    pub(super) records: Vec<(u32, Record)>,
    /// Where what was committed ends.
    pub(super) used: u32,
    /// The last group's.
    pub(super) sequence: u64,
    /// Whether something that was not committed stands behind it.
    pub(super) is_torn: bool,
}

/// Reads a segment from its index, if it has a sound one.
pub(super) fn read_index(disk: &Disk, header: SegmentHeader, file: &File) -> Option<Segment> {
    let bytes = std::fs::read(disk.index_path(header.number)).ok()?;
    let segment = parse_index(header, &bytes);
    let is_whole =
        |segment: &Segment| file.metadata().is_ok_and(|metadata| metadata.len() >= u64::from(segment.used));
    if segment.as_ref().is_some_and(is_whole) {
        return segment;
    }
    tracing::warn!(segment = header.number.0, "an index does not fit its segment, which is read instead");
    None
}

fn parse_index(header: SegmentHeader, bytes: &[u8]) -> Option<Segment> {
    let (covered, crc) = bytes.split_last_chunk()?;
    if crc32fast::hash(covered) != u32::from_be_bytes(*crc) {
        return None;
    }
    let mut rest = covered;
    if take(&mut rest)? != INDEX_MAGIC || take(&mut rest)? != header.nonce {
        return None;
    }
    let used = u32::from_be_bytes(take(&mut rest)?);
    let mut records = Vec::with_capacity(rest.len() / INDEX_ENTRY_BYTES);
    while !rest.is_empty() {
        let mut entry: &[u8] = &take::<INDEX_ENTRY_BYTES>(&mut rest)?;
        let offset = u32::from_be_bytes(take(&mut entry)?);
        records.push((offset, Record::parse_header(entry)?));
    }
    Some(Segment { header, records, used, sequence: 0, is_torn: false })
}

/// An index: magic (8), nonce (8), used (4), per record its place (4) and header (64), and a checksum (4).
fn index_bytes(header: &SegmentHeader, used: u32, entries: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(entries.len().saturating_add(24));
    out.extend(INDEX_MAGIC);
    out.extend(header.nonce);
    out.extend(used.to_be_bytes());
    out.extend(entries);
    out.extend(crc32fast::hash(&out).to_be_bytes());
    out
}

/// Writes the index of a segment that was read wholly and is not written any more.
pub(super) fn index_again(disk: &Disk, segment: &Segment) {
    let mut entries = Vec::new();
    for (offset, record) in &segment.records {
        put_entry(&mut entries, *offset, record);
    }
    let index = index_bytes(&segment.header, segment.used, &entries);
    if let Err(error) = disk.write_index(segment.header.number, &index) {
        tracing::warn!(%error, segment = segment.header.number.0, "a segment has no index");
    }
}

fn put_entry(entries: &mut Vec<u8>, offset: u32, record: &Record) {
    entries.extend(offset.to_be_bytes());
    entries.extend(record.header());
}

/// Reads a whole segment. What stands behind the last whole group is a write that was cut short, unless a later group
/// or confirmation proves that it had been complete: then it is damage.
///
/// # Errors
/// When it is damaged or cannot be read.
pub(super) fn scan(path: &Path, header: SegmentHeader, file: &File) -> Result<Segment> {
    let unreadable = |error| failed("cannot be read", path, &error);
    let length = file.metadata().map_err(unreadable)?.len();
    let mut segment = Segment {
        header,
        records: Vec::new(),
        used: SEGMENT_HEADER_BYTES as u32,
        sequence: 0,
        is_torn: false,
    };
    let mut group = Vec::new();
    loop {
        let at = u64::from(segment.used);
        let left = length.saturating_sub(at);
        let mut head = [0; GROUP_HEADER_BYTES];
        if left >= head.len() as u64 {
            file.read_exact_at(&mut head, at).map_err(unreadable)?;
        }
        let next = segment.sequence.saturating_add(1);
        let body_at = at.saturating_add(head.len() as u64);
        let fits = |group: &GroupHeader| {
            group.nonce == header.nonce
                && group.sequence == next
                && body_at.saturating_add(u64::from(group.length)) <= length
        };
        if let Some(found) = GroupHeader::parse(&head).filter(fits) {
            group.resize(usize::try_from(found.length).unwrap_or(usize::MAX), 0);
            file.read_exact_at(&mut group, body_at).map_err(unreadable)?;
            let first = segment.used.saturating_add(GROUP_HEADER_BYTES as u32);
            if let Some(records) = records_of(&group, first) {
                segment.records.extend(records);
                segment.sequence = found.sequence;
                segment.used = first.saturating_add(found.length);
                continue;
            }
        }
        if follows(file, at, length, &header, next).map_err(unreadable)? {
            return Err(damaged(path, at));
        }
        segment.is_torn = head != [0; GROUP_HEADER_BYTES];
        return Ok(segment);
    }
}

/// The records of a group with their places, if all of them are whole.
fn records_of(group: &[u8], first: u32) -> Option<Vec<(u32, Record)>> {
    let (mut records, mut rest, mut at) = (Vec::new(), group, first);
    while !rest.is_empty() {
        let (record, _, after) = Record::parse(rest)?;
        records.push((at, record));
        at = at.saturating_add(record.bytes());
        rest = after;
    }
    Some(records)
}

/// Whether a group of this segment that is not older than `sequence` begins anywhere behind `at`.
fn follows(
    file: &File,
    at: u64,
    length: u64,
    header: &SegmentHeader,
    sequence: u64,
) -> std::io::Result<bool> {
    let zeros = vec![0; SEARCHED_BYTES];
    let mut bytes = Vec::new();
    // The place itself is known not to read well.
    let mut from = at.saturating_add(1);
    while from < length {
        let end = from.saturating_add(SEARCHED_BYTES as u64).min(length);
        bytes.resize(usize::try_from(end.saturating_sub(from)).unwrap_or(SEARCHED_BYTES), 0);
        file.read_exact_at(&mut bytes, from)?;
        let is_later = |window: &[u8]| {
            window.starts_with(&header.nonce)
                && GroupHeader::parse(window).is_some_and(|group| group.sequence > sequence)
        };
        if zeros.get(..bytes.len()) != Some(bytes.as_slice())
            && bytes.windows(GROUP_HEADER_BYTES).any(is_later)
        {
            return Ok(true);
        }
        if end == length {
            break;
        }
        // A header may lie across the border.
        from = end.saturating_sub(GROUP_HEADER_BYTES as u64);
    }
    Ok(false)
}
