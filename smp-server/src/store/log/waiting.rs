//! Where the messages are that wait: in memory, a small entry for each.
//!
//! Readers see what is committed. The changes of a group that is not committed yet stand beside it, as what it
//! removes from the head of a queue and what it adds at the end.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use protocol::smp::ids::MessageId;
use protocol::timestamp::Timestamp;

use super::disk::{Disk, failed};
use super::record::{BODY_BYTES_MAX, Kind, RECORD_HEADER_BYTES, Record, SegmentNumber};
use crate::store::{PromptReader, QueueNumber, Result, StoreError, StoredMessage};

/// A record's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: SegmentNumber,
    pub(super) offset: u32,
}

/// A message that waits, without its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) number: u64,
    pub(super) received_at: Timestamp,
    pub(super) id: MessageId,
    pub(super) place: Place,
    pub(super) length: u32,
    pub(super) notify: bool,
    pub(super) is_marker: bool,
}

impl Waiting {
    pub(super) fn of(record: &Record, place: Place) -> Self {
        Self {
            number: record.number,
            received_at: record.received_at,
            id: record.id,
            place,
            length: record.length,
            notify: record.notify,
            is_marker: record.kind == Kind::Marker,
        }
    }

    pub(super) fn record(&self, queue: QueueNumber) -> Record {
        Record {
            kind: if self.is_marker { Kind::Marker } else { Kind::Message },
            notify: self.notify,
            target: SegmentNumber::SAME,
            length: self.length,
            queue,
            number: self.number,
            received_at: self.received_at,
            id: self.id,
        }
    }

    /// Room for its record.
    fn room(&self) -> Vec<u8> {
        let length = self.length.min(BODY_BYTES_MAX) as usize;
        vec![0; RECORD_HEADER_BYTES.saturating_add(length)]
    }

    /// Whether this is its record, whole.
    fn is_in(&self, bytes: &[u8], queue: QueueNumber) -> bool {
        matches!(Record::parse(bytes), Some((record, _, [])) if record == self.record(queue))
    }

    pub(super) fn with_body(&self, body: Vec<u8>) -> StoredMessage {
        StoredMessage {
            id: self.id,
            received_at: self.received_at,
            notify: self.notify,
            body: (!self.is_marker).then_some(body),
        }
    }
}

/// The messages of each queue that has some, in their order.
pub(super) type Queues = BTreeMap<QueueNumber, VecDeque<Waiting>>;

/// What the writer and the readers of a log share.
#[derive(Debug)]
pub(super) struct Shared {
    queues: RwLock<Queues>,
    pub(super) files: OpenFiles,
}

impl Shared {
    pub(super) fn new(queues: Queues, files: OpenFiles) -> Arc<Self> {
        Arc::new(Self { queues: RwLock::new(queues), files })
    }

    pub(super) fn queues(&self) -> RwLockReadGuard<'_, Queues> {
        self.queues.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn queues_mut(&self) -> RwLockWriteGuard<'_, Queues> {
        self.queues.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a record with its body, and that it is the one that was looked for.
    ///
    /// # Errors
    /// When the disk does not give it, or not as it was written.
    pub(super) fn read(&self, queue: QueueNumber, waiting: &Waiting) -> Result<Vec<u8>> {
        let file = self.files.open(waiting.place.segment)?;
        let mut bytes = waiting.room();
        let read = file.read_exact_at(&mut bytes, u64::from(waiting.place.offset));
        let is_right = match read {
            Ok(()) => waiting.is_in(&bytes, queue),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => false,
            Err(error) => return Err(self.files.unreadable(waiting.place.segment, &error)),
        };
        if !is_right {
            let Place { segment, offset } = waiting.place;
            tracing::error!(segment = segment.0, offset, "a message is damaged and is not delivered");
            return Err(StoreError::Damaged("message"));
        }
        bytes.drain(..RECORD_HEADER_BYTES);
        Ok(bytes)
    }

    /// As [`Self::read`], if the system has all of it in memory; nothing in every other case.
    fn read_promptly(&self, queue: QueueNumber, waiting: &Waiting) -> Option<Vec<u8>> {
        let file = self.files.opened(waiting.place.segment)?;
        let mut bytes = waiting.room();
        let is_whole = read_at_once(&file, &mut bytes, waiting.place.offset);
        (is_whole && waiting.is_in(&bytes, queue)).then(|| {
            bytes.drain(..RECORD_HEADER_BYTES);
            bytes
        })
    }
}

/// Fills the room from the file without waiting for the disk; says whether it did.
#[cfg(target_os = "linux")]
fn read_at_once(file: &File, room: &mut [u8], offset: u32) -> bool {
    use rustix::io::{ReadWriteFlags, preadv2};

    let wanted = room.len();
    let mut room = [std::io::IoSliceMut::new(room)];
    preadv2(file, &mut room, u64::from(offset), ReadWriteFlags::NOWAIT) == Ok(wanted)
}

/// Other systems do not say what they have in memory.
#[cfg(not(target_os = "linux"))]
fn read_at_once(_: &File, _: &mut [u8], _: u32) -> bool {
    false
}

/// Segments that are open for reading: a bounded number.
#[derive(Debug)]
pub(super) struct OpenFiles {
    disk: Disk,
    files_max: usize,
    open: Mutex<BTreeMap<SegmentNumber, Arc<File>>>,
}

impl OpenFiles {
    pub(super) fn new(disk: Disk, files_max: usize) -> Self {
        Self { disk, files_max, open: Mutex::default() }
    }

    fn open(&self, number: SegmentNumber) -> Result<Arc<File>> {
        let mut open = self.lock();
        if let Some(file) = open.get(&number) {
            return Ok(file.clone());
        }
        let path = self.disk.segment_path(number);
        let file = Arc::new(File::open(&path).map_err(|error| failed("cannot be opened", &path, &error))?);
        if open.len() >= self.files_max {
            // Old segments are read the least.
            open.pop_first();
        }
        open.insert(number, file.clone());
        Ok(file)
    }

    /// A segment that is open already: to open one may wait for the disk.
    fn opened(&self, number: SegmentNumber) -> Option<Arc<File>> {
        self.lock().get(&number).cloned()
    }

    /// Forgets a segment that is removed.
    pub(super) fn forget(&self, number: SegmentNumber) {
        self.lock().remove(&number);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SegmentNumber, Arc<File>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unreadable(&self, number: SegmentNumber, error: &std::io::Error) -> StoreError {
        failed("cannot be read", &self.disk.segment_path(number), error)
    }
}

/// Reads messages that are committed.
#[derive(Debug, Clone)]
pub(crate) struct LogReader {
    pub(super) shared: Arc<Shared>,
}

impl LogReader {
    /// The message at the head of the queue.
    pub(crate) fn first_message(&self, queue: QueueNumber) -> Result<Option<StoredMessage>> {
        let mut head = self.head(queue);
        while let Some(waiting) = head {
            if waiting.is_marker {
                return Ok(Some(waiting.with_body(Vec::new())));
            }
            match self.shared.read(queue, &waiting) {
                Ok(body) => return Ok(Some(waiting.with_body(body))),
                Err(error) => {
                    // It may have moved, and its old segment be gone.
                    head = self.head(queue);
                    if head == Some(waiting) {
                        return Err(error);
                    }
                }
            }
        }
        Ok(None)
    }

    /// How many messages wait.
    pub(crate) fn message_count(&self, queue: QueueNumber) -> u32 {
        let count = self.shared.queues().get(&queue).map_or(0, VecDeque::len);
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// All messages of a queue, the head first.
    pub(crate) fn messages(&self, queue: QueueNumber) -> Result<Vec<StoredMessage>> {
        let all = self.shared.queues().get(&queue).cloned().unwrap_or_default();
        let read = |waiting: Waiting| match waiting.is_marker {
            true => Ok(waiting.with_body(Vec::new())),
            false => Ok(waiting.with_body(self.shared.read(queue, &waiting)?)),
        };
        all.into_iter().map(read).collect()
    }

    /// How many messages wait in all queues.
    pub(crate) fn total(&self) -> u64 {
        self.shared.queues().values().map(|waiting| waiting.len() as u64).sum()
    }

    fn head(&self, queue: QueueNumber) -> Option<Waiting> {
        self.shared.queues().get(&queue).and_then(VecDeque::front).copied()
    }
}

impl PromptReader for LogReader {
    fn first_message(&self, queue: QueueNumber) -> Option<Option<StoredMessage>> {
        let Some(waiting) = self.head(queue) else { return Some(None) };
        let body = if waiting.is_marker { Vec::new() } else { self.shared.read_promptly(queue, &waiting)? };
        Some(Some(waiting.with_body(body)))
    }
}

/// What a group changes in one queue.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// Leaves from the head; counts what was added too.
    pub(super) removed: usize,
    /// Comes to the end. The places are relative to the group.
    pub(super) added: Vec<Waiting>,
}

/// A queue as a group sees it.
pub(super) struct View<'a> {
    committed: Option<&'a VecDeque<Waiting>>,
    change: Option<&'a Change>,
}

impl<'a> View<'a> {
    pub(super) fn new(committed: Option<&'a VecDeque<Waiting>>, change: Option<&'a Change>) -> Self {
        Self { committed, change }
    }

    fn committed_count(&self) -> usize {
        self.committed.map_or(0, VecDeque::len)
    }

    fn total(&self) -> usize {
        self.committed_count().saturating_add(self.change.map_or(0, |change| change.added.len()))
    }

    fn removed(&self) -> usize {
        self.change.map_or(0, |change| change.removed)
    }

    pub(super) fn count(&self) -> usize {
        self.total().saturating_sub(self.removed())
    }

    /// The message at a position from the head, and whether it is committed.
    pub(super) fn at(&self, position: usize) -> Option<(Waiting, bool)> {
        let position = position.saturating_add(self.removed());
        match position.checked_sub(self.committed_count()) {
            None => self.committed.and_then(|queue| queue.get(position)).map(|waiting| (*waiting, true)),
            Some(position) => {
                self.change.and_then(|change| change.added.get(position)).map(|waiting| (*waiting, false))
            }
        }
    }

    pub(super) fn last(&self) -> Option<(Waiting, bool)> {
        self.count().checked_sub(1).and_then(|position| self.at(position))
    }

    /// Whether a committed message with this number is there and stays.
    pub(super) fn holds(&self, number: u64) -> Option<Waiting> {
        let committed = self.committed?;
        let position = committed.binary_search_by_key(&number, |waiting| waiting.number).ok()?;
        (position >= self.removed()).then(|| committed.get(position).copied()).flatten()
    }
}
