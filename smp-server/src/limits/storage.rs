//! Whether there is room on disk for more: senders are told to wait before the disk is full.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// The room in the directory of the store.
#[derive(Debug, Default)]
pub struct StorageRoom {
    directory: OnceLock<PathBuf>,
    is_used_up: AtomicBool,
}

/// How much may be stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct StorageBounds {
    /// Bytes of all files in the directory; 0 for no limit.
    pub(super) stored_max: u64,
    /// Bytes of the file system that stay free.
    pub(super) free_min: u64,
}

impl StorageRoom {
    /// Looks at this directory from now on.
    pub fn watch(&self, directory: &Path) {
        // Set once, when the server starts.
        let _ = self.directory.set(directory.to_owned());
    }

    /// Whether nothing more is to be stored.
    #[must_use]
    pub fn is_used_up(&self) -> bool {
        self.is_used_up.load(Ordering::Relaxed)
    }

    /// Looks once. Where the system does not tell, there is room.
    pub(super) fn look(&self, bounds: StorageBounds) {
        let Some(directory) = self.directory.get() else { return };
        let used_up = (bounds.stored_max > 0 && stored_bytes(directory) >= bounds.stored_max)
            || free_bytes(directory).is_some_and(|free| free < bounds.free_min);
        if self.is_used_up.swap(used_up, Ordering::Relaxed) != used_up {
            if used_up {
                tracing::warn!(
                    "there is no room for more messages: senders wait; make room, or raise stored_mib"
                );
            } else {
                tracing::info!("there is room for messages again");
            }
        }
    }
}

fn free_bytes(directory: &Path) -> Option<u64> {
    let system = rustix::fs::statvfs(directory).ok()?;
    system.f_bavail.checked_mul(system.f_frsize)
}

/// The room that the files of a directory take, and those of its directories. What vanishes meanwhile counts for nothing.
fn stored_bytes(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    /// Of the unit in which the system counts.
    const BLOCK_BYTES: u64 = 512;
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => stored_bytes(&entry.path()),
        Ok(metadata) => metadata.blocks().saturating_mul(BLOCK_BYTES),
        Err(_) => 0,
    });
    sizes.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_used_up_by_files_or_by_others_and_comes_back() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("inner")).unwrap();
        std::fs::write(directory.path().join("inner/file"), vec![7; 100_000]).unwrap();
        let room = StorageRoom::default();
        let look = |stored_max, free_min| {
            room.look(StorageBounds { stored_max, free_min });
            room.is_used_up()
        };
        assert!(!look(1, u64::MAX), "nothing is looked at yet");
        room.watch(directory.path());
        assert!(!look(0, 0));
        assert!(look(100_000, 0));
        assert!(!look(1 << 30, 0));
        assert!(look(0, u64::MAX));
        assert!(!look(0, 0));
    }
}
