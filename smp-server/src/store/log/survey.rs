//! A log looked at from outside: verified from its first byte to its last, or copied while a server writes it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::disk::{Disk, failed, open_segment};
use super::record::{GROUP_HEADER_BYTES, LogId, Record, SegmentNumber};
use super::recovery::{Found, not_ours};
use super::segment::{Segment, read_index, scan};
use super::waiting::Waiting;
use crate::store::{QueueNumber, Result};

/// A group may be written while the segment is read: then it is read again, so many times.
const READINGS_MAX: usize = 5;
/// Segments at the end of a log that may still be written: the active one, and the one after it.
const OPEN_SEGMENTS: usize = 2;

/// What a log holds and what is wrong with it.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// Its files.
    pub(crate) segments: u64,
    /// Messages that wait.
    pub(crate) messages: u64,
    /// The queues that they wait in.
    pub(crate) queues: BTreeSet<QueueNumber>,
    /// Queues, and how many of the messages that wait in them are damaged.
    pub(crate) damaged: BTreeMap<QueueNumber, u64>,
    /// What is damaged.
    pub(crate) problems: Vec<String>,
    /// Something that was not committed stands at the end.
    pub(crate) is_torn: bool,
}

/// Reads every record of a log that nobody writes.
///
/// # Errors
/// When the directory cannot be read. What is damaged in it is told in the survey.
pub(crate) fn verify(directory: &Path, log: LogId) -> Result<Survey> {
    let disk = Disk::new(directory);
    let (mut survey, mut found, mut broken) = (Survey::default(), Found::default(), BTreeMap::new());
    let numbers = disk.segments()?;
    if numbers.is_empty() {
        return Err(not_ours(directory));
    }
    for number in &numbers {
        survey.segments = survey.segments.saturating_add(1);
        match verify_segment(&disk, *number, log, &mut survey.problems, &mut broken) {
            Ok(segment) => {
                survey.is_torn |= segment.is_torn && numbers.last() == Some(number);
                found.add(&segment);
            }
            Err(error) => survey.problems.push(error.to_string()),
        }
    }
    let (queues, _) = found.settle();
    for (queue, waiting) in &queues {
        let is_broken = |one: &&Waiting| broken.get(&(*queue, one.number)) == Some(&one.place.segment);
        let count = waiting.iter().filter(is_broken).count();
        if count > 0 {
            survey.damaged.insert(*queue, count as u64);
        }
    }
    survey.messages = queues.values().map(|waiting| waiting.len() as u64).sum();
    survey.queues = queues.into_keys().collect();
    Ok(survey)
}

fn verify_segment(
    disk: &Disk,
    number: SegmentNumber,
    log: LogId,
    problems: &mut Vec<String>,
    broken: &mut BTreeMap<(QueueNumber, u64), SegmentNumber>,
) -> Result<Segment> {
    let path = disk.segment_path(number);
    let (file, header) = open_segment(&path, number)?;
    if header.log != log {
        return Err(not_ours(&path));
    }
    let index = disk.index_path(number).exists().then(|| read_index(disk, header, &file));
    match (scan(&path, header, &file), index) {
        (Ok(segment), None) => Ok(segment),
        (Ok(segment), Some(Some(index)))
            if index.records == segment.records && index.used == segment.used =>
        {
            Ok(segment)
        }
        (Ok(segment), Some(_)) => {
            // The server would read the segment instead, or trust the index: the records are sound.
            let index = disk.index_path(number);
            problems.push(format!("{} does not fit its segment: remove this file", index.display()));
            Ok(segment)
        }
        (Err(error), Some(Some(index))) => {
            let records = broken_records(&file, &index);
            problems.push(format!("{error} ({} messages cannot be read)", records.len()));
            broken.extend(records.iter().map(|record| ((record.queue, record.number), number)));
            Ok(index)
        }
        (Err(error), _) => Err(error),
    }
}

/// The records that an index names and that are not what they were.
fn broken_records(file: &File, index: &Segment) -> Vec<Record> {
    let mut bytes = Vec::new();
    let mut is_broken = |offset: u32, record: &Record| {
        bytes.resize(record.bytes() as usize, 0);
        let read = file.read_exact_at(&mut bytes, u64::from(offset));
        read.is_err() || !matches!(Record::parse(&bytes), Some((found, _, [])) if found == *record)
    };
    let records = index.records.iter().filter(|(offset, record)| is_broken(*offset, record));
    records.map(|(_, record)| *record).collect()
}

/// Copies a log, also one that a server writes: all that was committed before this began. Segments that change no more
/// become further names of the same files where the file system allows that.
///
/// # Errors
/// When the log is damaged where it must be read, or something cannot be read or written.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    let source = Disk::new(from);
    let mut linked = BTreeSet::new();
    // A segment may end while others are copied, and what was needed of it be in a later one: then once more.
    loop {
        let numbers = source.segments()?;
        let sealed = numbers.len().saturating_sub(OPEN_SEGMENTS);
        for number in numbers.iter().take(sealed).copied() {
            // One that is gone by now is not in the next list either.
            if !linked.contains(&number) && link(&source, to, number)? {
                linked.insert(number);
            }
        }
        let again = source.segments()?;
        // All that there was at the time of the list is there still: with it the log is as it was, or is later.
        if numbers.iter().all(|number| again.contains(number)) {
            let gone: Vec<_> = linked.iter().filter(|number| !numbers.contains(number)).copied().collect();
            Disk::new(to).remove(&gone)?;
            for number in numbers.iter().skip(sealed) {
                copy_open(&source, &Disk::new(to), *number)?;
            }
            return Ok(());
        }
    }
}

/// Gives a sealed segment and its index another name, or copies them. Whether they were still there.
fn link(source: &Disk, to: &Path, number: SegmentNumber) -> Result<bool> {
    let target = Disk::new(to);
    let pairs = [
        (source.segment_path(number), target.segment_path(number)),
        (source.index_path(number), target.index_path(number)),
    ];
    for (position, (from, to)) in pairs.iter().enumerate() {
        let copied = std::fs::hard_link(from, to).or_else(|_| copy_file(from, to));
        match copied {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && position == 0 => return Ok(false),
            // An index can be missing.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("cannot be copied", from, &error)),
            Ok(()) => {}
        }
    }
    Ok(true)
}

fn copy_file(from: &Path, to: &Path) -> std::io::Result<()> {
    let mut source = File::open(from)?;
    let mut target = File::options().write(true).create_new(true).mode(0o600).open(to)?;
    std::io::copy(&mut source, &mut target)?;
    target.sync_all()
}

/// Copies what is committed of a segment that may be written meanwhile.
fn copy_open(source: &Disk, target: &Disk, number: SegmentNumber) -> Result<()> {
    let path = source.segment_path(number);
    let (file, header) = open_segment(&path, number)?;
    let mut reading = scan(&path, header, &file);
    for _ in 1..READINGS_MAX {
        if reading.is_ok() {
            break;
        }
        reading = scan(&path, header, &file);
    }
    let segment = reading?;
    let mut bytes = vec![0; segment.used as usize];
    file.read_exact_at(&mut bytes, 0).map_err(|error| failed("cannot be read", &path, &error))?;
    let to = target.segment_path(number);
    let write = || -> std::io::Result<()> {
        let file = File::options().write(true).create_new(true).mode(0o600).open(&to)?;
        file.write_all_at(&bytes, 0)?;
        // Room for a confirmation, which a start writes first.
        file.set_len(u64::from(segment.used).saturating_add(GROUP_HEADER_BYTES as u64))?;
        file.sync_all()
    };
    write().map_err(|error| failed("cannot be written", &to, &error))
}
