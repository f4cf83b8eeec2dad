//! The directory of a log: its files, and what it means when the system refuses.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};

use super::record::{SEGMENT_HEADER_BYTES, SegmentHeader, SegmentNumber};
use crate::store::{Failure, FailureKind, Result, StoreError};

/// The least that is reserved for a segment when the disk has no room for a whole one.
const LEAST_BYTES: u32 = 1 << 20;

/// The files of one log.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    directory: PathBuf,
    #[cfg(test)]
    pub(super) faults: std::sync::Arc<faults::Faults>,
}

impl Disk {
    pub(super) fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            #[cfg(test)]
            faults: std::sync::Arc::default(),
        }
    }

    pub(super) fn segment_path(&self, number: SegmentNumber) -> PathBuf {
        self.directory.join(format!("{:010}.log", number.0))
    }

    pub(super) fn index_path(&self, number: SegmentNumber) -> PathBuf {
        self.directory.join(format!("{:010}.index", number.0))
    }

    /// The segments that are there, in their order.
    pub(super) fn segments(&self) -> Result<Vec<SegmentNumber>> {
        let refused = |error| failed("cannot be read", &self.directory, &error);
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(&self.directory).map_err(refused)? {
            let name = entry.map_err(refused)?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".log"));
            numbers.extend(number.and_then(|number| number.parse().ok()).map(SegmentNumber));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Removes what an interrupted [`Self::create`] or [`Self::write_index`] left.
    pub(super) fn remove_unfinished(&self) -> Result<()> {
        let refused = |error| failed("cannot be cleared", &self.directory, &error);
        for entry in std::fs::read_dir(&self.directory).map_err(refused)? {
            let path = entry.map_err(refused)?.path();
            if path.extension().is_some_and(|extension| extension == "new") {
                std::fs::remove_file(&path).map_err(refused)?;
            }
        }
        Ok(())
    }

    /// Makes a segment with its header and room for `wanted` bytes, or for as many as there are, but no fewer than
    /// `needed`. It appears under its name only when it is whole.
    pub(super) fn create(&self, header: SegmentHeader, wanted: u32, needed: u32) -> Result<(File, u32)> {
        let path = self.segment_path(header.number);
        let unfinished = path.with_extension("new");
        let create = || -> io::Result<(File, u32)> {
            #[cfg(test)]
            self.faults.meet(faults::Operation::Create)?;
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&unfinished)?;
            let bytes = reserve(&file, wanted.max(needed), needed.max(LEAST_BYTES.min(wanted)))?;
            file.write_all_at(&header.to_bytes(), 0)?;
            to_disk(&file)?;
            std::fs::rename(&unfinished, &path)?;
            Ok((file, bytes))
        };
        let made = create().map_err(|error| {
            // What is left of it takes room and is removed at the next start at the latest.
            let _ = std::fs::remove_file(&unfinished);
            failed("cannot be made", &path, &error)
        })?;
        self.sync_directory()?;
        Ok(made)
    }

    /// Writes at a place of a segment; does not wait for the disk.
    pub(super) fn write(&self, number: SegmentNumber, file: &File, bytes: &[u8], at: u32) -> Result<()> {
        let write = || {
            #[cfg(test)]
            self.faults.meet(faults::Operation::Write)?;
            file.write_all_at(bytes, u64::from(at))
        };
        write().map_err(|error| failed("cannot be written", &self.segment_path(number), &error))
    }

    /// Waits until what was written is on the disk. After a failure nobody knows what is.
    pub(super) fn sync(&self, number: SegmentNumber, file: &File) -> Result<()> {
        let sync = || {
            #[cfg(test)]
            self.faults.meet(faults::Operation::Sync)?;
            to_disk(file)
        };
        sync().map_err(|error| {
            let path = self.segment_path(number);
            Failure::new(
                FailureKind::UnknownDisk,
                format!("{} could not be brought to the disk: {error}", path.display()),
            )
            .into()
        })
    }

    /// Writes the index of a segment, whole or not at all.
    pub(super) fn write_index(&self, number: SegmentNumber, bytes: &[u8]) -> io::Result<()> {
        let path = self.index_path(number);
        let unfinished = path.with_extension("index.new");
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all_at(bytes, 0)?;
        to_disk(&file)?;
        std::fs::rename(&unfinished, &path)?;
        to_disk(&File::open(&self.directory)?)
    }

    /// Removes segments with their indexes. When this returns they do not come back.
    pub(super) fn remove(&self, segments: &[SegmentNumber]) -> Result<()> {
        for number in segments {
            for path in [self.index_path(*number), self.segment_path(*number)] {
                match std::fs::remove_file(&path) {
                    Err(error) if error.kind() != ErrorKind::NotFound => {
                        return Err(failed("cannot be removed", &path, &error));
                    }
                    _ => {}
                }
            }
        }
        self.sync_directory()
    }

    fn sync_directory(&self) -> Result<()> {
        let sync = || to_disk(&File::open(&self.directory)?);
        sync().map_err(|error| {
            Failure::new(
                FailureKind::UnknownDisk,
                format!("{} could not be brought to the disk: {error}", self.directory.display()),
            )
            .into()
        })
    }
}

/// Waits for the disk: `fdatasync`, which also waits for what is needed to find the data again. Unit tests do not wait:
/// what the system has they find again.
fn to_disk(file: &File) -> io::Result<()> {
    if cfg!(test) { Ok(()) } else { file.sync_data() }
}

/// Reserves `wanted` bytes, or half as many and so on, but no fewer than `least`; a file system that cannot reserve
/// lets the file grow.
fn reserve(file: &File, wanted: u32, least: u32) -> io::Result<u32> {
    let mut bytes = wanted;
    loop {
        match fallocate(file, FallocateFlags::empty(), 0, u64::from(bytes)).map_err(io::Error::from) {
            Ok(()) => return Ok(bytes),
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                file.set_len(u64::from(bytes))?;
                return Ok(bytes);
            }
            Err(error) if is_full(&error) && bytes > least => {
                // What was reserved before the failure.
                file.set_len(0)?;
                bytes = (bytes / 2).max(least);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Opens a segment for reading and checks its header.
pub(super) fn open_segment(path: &Path, number: SegmentNumber) -> Result<(File, SegmentHeader)> {
    let mut options = OpenOptions::new();
    let file = options.read(true).open(path).map_err(|error| failed("cannot be opened", path, &error))?;
    let mut bytes = [0; SEGMENT_HEADER_BYTES];
    match file.read_exact_at(&mut bytes, 0) {
        Err(error) if error.kind() != ErrorKind::UnexpectedEof => {
            return Err(failed("cannot be read", path, &error));
        }
        _ => {}
    }
    match SegmentHeader::parse(&bytes) {
        Some(header) if header.number == number => Ok((file, header)),
        _ => Err(damaged(path, 0)),
    }
}

/// A damaged place in a file of the log.
pub(super) fn damaged(path: &Path, at: u64) -> StoreError {
    Failure::new(
        FailureKind::Damaged,
        format!(
            "{} is damaged at byte {at}: run `smp-server check` to see what is lost, and restore a backup with \
             `smp-server restore`",
            path.display()
        ),
    )
    .into()
}

/// What a refusal of the system means.
pub(super) fn failed(what: &str, path: &Path, error: &io::Error) -> StoreError {
    let kind = if is_full(error) { FailureKind::Full } else { FailureKind::UnknownDisk };
    Failure::new(kind, format!("{} {what}: {error}", path.display())).into()
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}

#[cfg(test)]
pub(super) mod faults {
    //! Failures of a disk on demand.

    use std::io::{Error, ErrorKind, Result};
    use std::sync::{Mutex, PoisonError};

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(in crate::store) enum Operation {
        Create,
        Write,
        Sync,
    }

    #[derive(Debug, Default)]
    pub(in crate::store) struct Faults {
        next: Mutex<Option<(Operation, ErrorKind)>>,
    }

    impl Faults {
        /// Every such operation fails so, until told otherwise.
        pub(in crate::store) fn set(&self, fault: Option<(Operation, ErrorKind)>) {
            *self.next.lock().unwrap_or_else(PoisonError::into_inner) = fault;
        }

        pub(in crate::store) fn meet(&self, operation: Operation) -> Result<()> {
            match *self.next.lock().unwrap_or_else(PoisonError::into_inner) {
                Some((failing, kind)) if failing == operation => Err(Error::from(kind)),
                _ => Ok(()),
            }
        }
    }
}
