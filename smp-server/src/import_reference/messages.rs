//! Where messages go that were read, wherever they came from: into the queues of the target, in their order.

use anyhow::Context as _;
use protocol::smp::ids::RecipientId;

use super::Progress;
use super::flaw::{Damages, Flaw};
use super::staging::{Home, Staging};
use crate::store::{QueueStore, StoredMessage};

/// Messages that are stored by one commit: some 4 MB.
const MESSAGES_PER_COMMIT: u32 = 256;

/// Takes messages, the head of a queue first. Without a store it only counts them.
pub(super) struct Messages<'a> {
    pub(super) staging: &'a Staging,
    pub(super) damages: &'a mut Damages,
    pub(super) progress: &'a mut Progress,
    store: Option<&'a mut (dyn QueueStore + 'static)>,
    last: Option<(RecipientId, Home)>,
    uncommitted: u32,
}

impl<'a> Messages<'a> {
    /// Into the store, whose queues are there already.
    pub(super) fn into(
        store: Option<&'a mut (dyn QueueStore + 'static)>,
        staging: &'a Staging,
        damages: &'a mut Damages,
        progress: &'a mut Progress,
    ) -> anyhow::Result<Self> {
        let mut messages = Self { staging, damages, progress, store, last: None, uncommitted: 0 };
        if let Some(store) = &mut messages.store {
            store.begin()?;
        }
        Ok(messages)
    }

    /// Where messages of this queue go. Those of one queue come together, so this is looked up once for them.
    pub(super) fn home(&mut self, recipient_id: RecipientId) -> anyhow::Result<Home> {
        match self.last {
            Some((last, home)) if last == recipient_id => Ok(home),
            _ => {
                let home = self.staging.home(recipient_id)?;
                self.last = Some((recipient_id, home));
                Ok(home)
            }
        }
    }

    /// Stores a message at the end of its queue. `place` says where it was read.
    pub(super) fn put(
        &mut self,
        recipient_id: RecipientId,
        message: &StoredMessage,
        place: impl FnOnce() -> String,
    ) -> anyhow::Result<()> {
        let number = match self.home(recipient_id)? {
            Home::Queue(number) => number,
            Home::Gone => {
                self.late();
                return Ok(());
            }
            Home::Unknown => return self.damages.note(place(), Flaw::NoQueue),
        };
        if let Some(store) = &mut self.store {
            let number = number.context("A queue was not stored")?;
            store.restore_message(number, message)?;
            self.uncommitted = self.uncommitted.saturating_add(1);
            if self.uncommitted == MESSAGES_PER_COMMIT {
                store.commit()?;
                store.begin()?;
                self.uncommitted = 0;
            }
        }
        let totals = &mut self.progress.totals;
        totals.messages = totals.messages.saturating_add(1);
        self.progress.tell();
        Ok(())
    }

    /// Counts what belongs to a queue that was deleted.
    pub(super) fn late(&mut self) {
        self.progress.late = self.progress.late.saturating_add(1);
    }

    /// Makes the last of them durable.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        if let Some(store) = self.store {
            store.commit()?;
        }
        Ok(())
    }
}
