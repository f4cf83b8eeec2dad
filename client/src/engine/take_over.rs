//! Going on as the owner of a group from an archive of its keys: the link says which relays to connect to, and they
//! know the owner by its key.

use super::step::{Done, Step};
use crate::event::Event;
use crate::rows;
use crate::store::group::{GroupId, GroupStatus, Restore};
use crate::store::owner_archive::OwnerArchive;
use crate::store::relay::Relay;

impl Step<'_, '_> {
    /// Takes over a group. The counter of the link is learned from the link before anything is written.
    pub(super) fn take_over(&mut self, archive: &OwnerArchive) -> Done<GroupId> {
        let (id, _) = self.store.take_over_group(archive)?;
        let now = self.now();
        self.store.change_group(id, |group| {
            group.restore = Restore::default();
            // What was said before is not known here, nor missed.
            group.joined_at_ms = Some(now.0);
            if group.status == GroupStatus::Creating {
                group.status = GroupStatus::Active;
            }
        })?;
        self.forget_write(id)?;
        for (name, link) in &archive.relays {
            self.store.add_relay(id, &Relay::listed(name.clone(), link.clone()))?;
        }
        let group = self.store.group(id)?;
        self.tell(Event::Group(rows::group_row(self.store, id, &group)?));
        self.restore(id)?;
        self.connect_all(id)?;
        Ok(id)
    }
}
