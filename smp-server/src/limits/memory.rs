//! How much memory connections take, and what happens when it is too much: nothing new is taken in until there is room.
//!
//! What is counted is what peers can make grow: connections, subscriptions, and blocks on their way in and out.
//! Blocks that leave free memory, and a peer that takes none is cut ([`crate::server::Server`] does it), so there is
//! room again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// An idle connection with its TLS state, measured; rounded up.
pub(super) const CONNECTION_BYTES: usize = 16 * 1024;
/// What a handshake needs beyond that: a certificate chain, a block, keys.
pub(super) const HANDSHAKE_BYTES: usize = 32 * 1024;
/// A subscription with its entries in both directions.
const SUBSCRIPTION_BYTES: usize = 256;
/// A notification that waits.
const NOTIFICATION_BYTES: usize = 100;

/// Counted memory.
#[derive(Debug)]
pub struct Memory {
    most: usize,
    /// By charges.
    charged: AtomicUsize,
    /// By what is counted from time to time.
    standing: AtomicUsize,
    freed: Notify,
}

/// Memory in use, until it is dropped.
#[derive(Debug)]
pub struct Charge {
    memory: Arc<Memory>,
    bytes: usize,
    holder: Arc<AtomicUsize>,
}

impl Memory {
    /// At most so many bytes; 0 for three quarters of what the machine, or this program's group on it, has.
    pub(super) fn new(mebibytes: u32) -> Self {
        let most = match u64::from(mebibytes).saturating_mul(1 << 20) {
            0 => machine_bytes().map_or(u64::MAX, |bytes| bytes / 4 * 3),
            bytes => bytes,
        };
        Self {
            most: usize::try_from(most).unwrap_or(usize::MAX),
            charged: AtomicUsize::new(0),
            standing: AtomicUsize::new(0),
            freed: Notify::new(),
        }
    }

    /// Counts `bytes`, also on the account of `holder`.
    #[must_use]
    pub fn charge(self: &Arc<Self>, bytes: usize, holder: &Arc<AtomicUsize>) -> Charge {
        self.charged.fetch_add(bytes, Ordering::Relaxed);
        holder.fetch_add(bytes, Ordering::Relaxed);
        Charge { memory: self.clone(), bytes, holder: holder.clone() }
    }

    /// How much is in use.
    #[must_use]
    pub fn used(&self) -> usize {
        self.charged.load(Ordering::Relaxed).saturating_add(self.standing.load(Ordering::Relaxed))
    }

    /// How much may be in use.
    #[must_use]
    pub fn most(&self) -> usize {
        self.most
    }

    /// Whether nothing new is to be taken in.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.used() >= self.most
    }

    /// Waits until there is room.
    pub(crate) async fn room(&self) {
        while self.is_full() {
            let freed = self.freed.notified();
            // What was freed before this began to wait must not be missed.
            if !self.is_full() {
                return;
            }
            freed.await;
        }
    }

    /// Counts what stands in the server's tables.
    pub(crate) fn count_standing(&self, subscriptions: usize, notifications: usize) {
        let bytes = subscriptions
            .saturating_mul(SUBSCRIPTION_BYTES)
            .saturating_add(notifications.saturating_mul(NOTIFICATION_BYTES));
        self.standing.store(bytes, Ordering::Relaxed);
        if !self.is_full() {
            self.freed.notify_waiters();
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.holder.fetch_sub(self.bytes, Ordering::Relaxed);
        let was_full = self.memory.is_full();
        self.memory.charged.fetch_sub(self.bytes, Ordering::Relaxed);
        if was_full && !self.memory.is_full() {
            self.memory.freed.notify_waiters();
        }
    }
}

/// The memory of the machine, or less when this program's group is given less; nothing where the system does not tell.
fn machine_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    let machine = kibibytes.checked_mul(1024)?;
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let group = group.and_then(|text| text.trim().parse().ok()).unwrap_or(u64::MAX);
    Some(machine.min(group))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_for_room_gets_it_when_charges_are_dropped() {
        let memory = Arc::new(Memory::new(1));
        let holder = Arc::default();
        let charges = [memory.charge(1 << 19, &holder), memory.charge(1 << 19, &holder)];
        assert!(memory.is_full());
        assert_eq!((memory.used(), holder.load(Ordering::Relaxed)), (1 << 20, 1 << 20));
        let waiting = tokio::spawn({
            let memory = memory.clone();
            async move { memory.room().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(charges);
        waiting.await.unwrap();
        assert_eq!((memory.used(), holder.load(Ordering::Relaxed)), (0, 0));
        memory.count_standing(1 << 20, 0);
        assert!(memory.is_full());
    }

    #[test]
    fn the_machine_tells_its_memory() {
        if std::path::Path::new("/proc/meminfo").exists() {
            assert!(machine_bytes().unwrap() > 1 << 20);
            assert!(Memory::new(0).most() > 1 << 19);
        }
    }
}
