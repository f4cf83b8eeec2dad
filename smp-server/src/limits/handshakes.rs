//! Connections without a session yet. There is room for so many; when it is used up, the oldest gives way, so that
//! whoever opens connections and says nothing keeps nobody out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Handshakes in progress.
#[derive(Debug)]
pub(super) struct Handshakes {
    most: usize,
    slots: Mutex<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    last: u64,
    /// In the order in which they began.
    taken: BTreeMap<u64, Arc<Notify>>,
}

/// A place among the handshakes in progress; dropping it leaves.
#[derive(Debug)]
pub struct Slot {
    all: Arc<Handshakes>,
    number: u64,
    given_way: Arc<Notify>,
}

impl Handshakes {
    /// Room for `most`; 0 for no limit.
    pub(super) fn new(most: u32) -> Self {
        let most = if most == 0 { usize::MAX } else { usize::try_from(most).unwrap_or(usize::MAX) };
        Self { most, slots: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place. Whether another had to give way for it.
    pub(super) fn begin(self: &Arc<Self>) -> (Slot, bool) {
        let mut slots = self.lock();
        let oldest = if slots.taken.len() >= self.most { slots.taken.pop_first() } else { None };
        if let Some((_, oldest)) = &oldest {
            oldest.notify_one();
        }
        slots.last = slots.last.wrapping_add(1);
        let slot = Slot { all: self.clone(), number: slots.last, given_way: Arc::default() };
        slots.taken.insert(slot.number, slot.given_way.clone());
        (slot, oldest.is_some())
    }
}

impl Slot {
    /// Waits until this handshake is to give way to a newer one.
    pub(crate) async fn gives_way(&self) {
        self.given_way.notified().await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.all.lock().taken.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_gives_way_and_whoever_is_done_makes_room() {
        let all = Arc::new(Handshakes::new(2));
        let ((first, _), (second, displaced)) = (all.begin(), all.begin());
        assert!(!displaced);
        let (third, displaced) = all.begin();
        assert!(displaced);
        first.gives_way().await;
        drop((first, third));
        let (_fourth, displaced) = all.begin();
        assert!(!displaced, "the third left");
        let (_fifth, displaced) = all.begin();
        assert!(displaced);
        second.gives_way().await;
        assert_eq!(all.lock().taken.len(), 2);
    }
}
