//! Older messages, asked of relays page by page: see [`protocol::group::catch_up`].
//!
//! A new member asks one relay for all that it keeps. When something is missing, relays are asked one after the other, first
//! those who did not leave it out; when none has it, one is asked again, and to ask an owner.

use protocol::group::batch::Element;
use protocol::group::catch_up::{CatchUp, CatchUpEvent, Want};
use protocol::group::event::history::{HistoryPage, HistoryPosition};
use protocol::group::event::owner_relay::Capabilities;
use protocol::group::event::{Event as Said, Message};

use super::step::{Done, Step};
use crate::rows;
use crate::store::group::{Group, GroupId};
use crate::store::relay::RelayRow;

/// A message of an answer, as its header and its items tell.
#[derive(Debug)]
pub(super) struct Page {
    header: HistoryPage,
    /// Whether one of its items is held already.
    is_known: bool,
}

impl Step<'_, '_> {
    /// A relay has told what it can do: it has let us in, for the first time or anew.
    pub(super) fn relay_introduced(
        &mut self,
        mut relay: RelayRow,
        group: &Group,
        can: Option<Capabilities>,
        welcomed: Option<HistoryPosition>,
    ) -> Done<()> {
        relay.record.gives_history = can.as_ref().and_then(|can| can.history).unwrap_or(false);
        relay.record.takes_two = can.as_ref().is_some_and(Capabilities::takes_two_connections);
        self.store.save_relay(&relay)?;
        self.want_second(&relay)?;
        if !relay.record.gives_history || group.owner.is_some() {
            return Ok(());
        }
        let relays = self.store.relays(relay.group)?;
        let is_read = relays.iter().any(|other| other.record.catch_up != CatchUp::Unasked);
        let is_new = relay.record.catch_up == CatchUp::Unasked;
        match (is_read, is_new) {
            (false, _) => self.catch_up(relay, CatchUpEvent::Joined(welcomed)),
            (true, false) => self.returned(relay),
            (true, true) => self.search(relay.group),
        }
    }

    /// We go on as the owner on this device, and a relay has let us in: the first that gives history is asked for all.
    pub(super) fn recall_as_owner(&mut self, relay: RelayRow) -> Done<()> {
        let relays = self.store.relays(relay.group)?;
        let is_read = relays.iter().any(|other| other.record.catch_up != CatchUp::Unasked);
        if is_read || !relay.record.gives_history {
            return Ok(());
        }
        self.catch_up(relay, CatchUpEvent::Wanted(Want::Everything))
    }

    /// We are back at a relay, or it is back: what was said meanwhile may have gone to another copy of us.
    pub(super) fn returned(&mut self, relay: RelayRow) -> Done<()> {
        if !relay.record.gives_history || !relay.record.connected {
            return Ok(());
        }
        self.catch_up(relay, CatchUpEvent::Returned(Want::Missing))
    }

    /// Takes the header off a message of an answer, before its items are taken.
    pub(super) fn page_of(&self, id: GroupId, elements: &[Element<'_>]) -> Done<Option<Page>> {
        let Some(Element::Statement(first)) = elements.first() else { return Ok(None) };
        let Ok(Message { event: Said::HistoryPage(header), .. }) = first.message() else { return Ok(None) };
        let mut is_known = false;
        for element in elements {
            if let Element::Forward(forward) = element
                && let Ok(Message { message_id: Some(shared_id), .. }) = forward.statement.message()
            {
                is_known = is_known || self.store.has_copy(id, &shared_id)?;
            }
        }
        Ok(Some(Page { header, is_known }))
    }

    /// The items of a message of an answer were taken: the position moves in the same transaction.
    pub(super) fn page_taken(&mut self, relay: RelayRow, page: Page) -> Done<()> {
        let is_enough = relay.record.catch_up.reading() == Some(Want::Missing)
            && page.is_known
            && self.missing(relay.group)?.is_none();
        self.catch_up(relay, CatchUpEvent::Page { page: page.header, is_enough })?;
        protocol::crash_point!("client.history.page");
        Ok(())
    }

    /// A relay has passed over messages for which we did not come in time: it is asked for them.
    pub(super) fn passed_over(&mut self, relay: RelayRow, after: HistoryPosition) -> Done<()> {
        let name = &relay.record.name;
        let text = format!("relay {name} has passed over messages while you were away; they are asked for");
        self.warn(Some(relay.group), text)?;
        if relay.record.gives_history {
            self.catch_up(relay, CatchUpEvent::PassedOver(after))?;
        }
        protocol::crash_point!("client.history.gap");
        Ok(())
    }

    /// Something is missing: a relay is asked for it.
    pub(super) fn want_missing(&mut self, id: GroupId, skipped_by: &[String]) -> Done<()> {
        self.want(id, Want::Missing, skipped_by, true)
    }

    /// Readings whose answers are late, or whose pauses are over.
    pub(super) fn histories_due(&mut self) -> Done<()> {
        let now = self.now();
        for relay in self.store.histories_due(now.0)? {
            self.catch_up(relay, CatchUpEvent::Timeout)?;
        }
        Ok(())
    }

    /// The connection to a relay is gone: what was read there is read elsewhere.
    pub(super) fn history_lost(&mut self, relay: RelayRow) -> Done<()> {
        let (id, reading) = (relay.group, relay.record.catch_up.reading());
        self.catch_up(relay, CatchUpEvent::Lost)?;
        reading.map_or(Ok(()), |want| self.want(id, want, &[], false))
    }

    fn catch_up(&mut self, mut relay: RelayRow, event: CatchUpEvent) -> Done<()> {
        let was_reading = relay.record.catch_up.reading().is_some();
        let (state, get) = std::mem::take(&mut relay.record.catch_up).apply(event, self.now());
        let is_reading = state.reading().is_some();
        relay.record.catch_up = state;
        self.store.save_relay(&relay)?;
        if let (Some(get), Some(connection)) = (get, relay.connection) {
            self.say_to(connection, Said::HistoryGet(get))?;
            protocol::crash_point!("client.history.asked");
        }
        if was_reading && !is_reading { self.search(relay.group) } else { Ok(()) }
    }

    /// Goes on looking for what is still missing, where it was not looked for lately.
    fn search(&mut self, id: GroupId) -> Done<()> {
        match self.missing(id)? {
            Some(skipped_by) => self.want(id, Want::Missing, &skipped_by, false),
            None => Ok(()),
        }
    }

    /// Asks one relay; one that is being asked or was asked lately goes on, or is asked later.
    fn want(&mut self, id: GroupId, want: Want, skipped_by: &[String], is_news: bool) -> Done<()> {
        let mut relays = self.store.relays(id)?;
        relays.retain(|RelayRow { record, .. }| {
            record.gives_history
                && record.connected
                && !record.is_over()
                && (is_news || !record.catch_up.is_exhausted())
        });
        relays.sort_by_key(|RelayRow { record, .. }| {
            let is_reading = record.catch_up.reading().is_some();
            (!is_reading, !record.catch_up.is_ready(), skipped_by.contains(&record.name))
        });
        match relays.into_iter().next() {
            Some(relay) => self.catch_up(relay, CatchUpEvent::Wanted(want)),
            None => Ok(()),
        }
    }

    /// Whether anything is missing in a group, and which relays left the first of it out.
    fn missing(&self, id: GroupId) -> Done<Option<Vec<String>>> {
        let group = self.store.group(id)?;
        for chain in self.store.author_chains(id)? {
            if let Some(gap) = chain.chain.missing().first() {
                let row = rows::gap_row(self.store, id, &group, chain.id, &chain.author, *gap)?;
                return Ok(Some(row.skipped_by));
            }
        }
        Ok(None)
    }
}
