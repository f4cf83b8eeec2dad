//! Finding the way back: the group link is read again, relays that it lists now are connected to, those that it does
//! not list any more are dropped. By command, at each start, when a relay goes, and with growing pauses while none is
//! connected.

use protocol::agent::signed_link_data::OpenedLink;
use protocol::group::opened::{OpenedGroupLink, is_same_link};
use protocol::net::network::ReadLinkError;
use protocol::smp::short_link::ShortLink;

use super::join::check_group_link;
use super::step::{Done, Step, Stop};
use super::tag::Tag;
use crate::error::CommandError;
use crate::event::{Event, EvidenceKind};
use crate::exit_code::ExitCode;
use crate::rows;
use crate::store::StoreError;
use crate::store::evidence::Evidence;
use crate::store::group::{Group, GroupId};
use crate::store::relay::{Joining, Side};

/// First pause before the group link is read again.
const RESTORE_MS_MIN: i64 = 1_000;
/// Longest pause while no relay is connected.
const RESTORE_MS_MAX: i64 = 300_000;
/// Pause while relays are connected: changes are announced, so this only catches what was missed or held back.
const RESTORE_IDLE_MS: i64 = protocol::group::constants::LINK_CHECK_MS;

impl Step<'_, '_> {
    /// Reads the group link now.
    pub(super) fn restore(&mut self, id: GroupId) -> Done<()> {
        let group = self.store.group(id)?;
        if group.status.is_over() {
            let text = format!("The group is {}: there is nothing to restore", group.status.word());
            return Err(Stop::refuse(ExitCode::GroupDeleted, text));
        }
        let link: ShortLink = group.link.parse().map_err(StoreError::from)?;
        self.read_link(&Tag::Group { group: id.0 }, link);
        let due = self.now().plus_ms(pause(group.restore.tries)).0;
        self.store.change_group(id, |group| {
            group.restore.due_at_ms = Some(due);
            group.restore.tries = group.restore.tries.saturating_add(1);
        })?;
        Ok(())
    }

    /// Reads the group link very soon: a relay is gone.
    pub(super) fn restore_soon(&mut self, id: GroupId) -> Done<()> {
        let now = self.now();
        let connected = self.store.relays(id)?.iter().any(|relay| relay.record.connected);
        self.store.change_group(id, |group| {
            if !group.status.is_over() && group.owner.is_none() {
                // While others are there, no failures have been counted that would call for a pause.
                let wait = if connected { 0 } else { pause(group.restore.tries) };
                let due = now.plus_ms(wait).0;
                group.restore.due_at_ms = Some(group.restore.due_at_ms.map_or(due, |set| set.min(due)));
            }
        })?;
        Ok(())
    }

    /// A relay is connected: the pauses begin anew when it is lost.
    pub(super) fn settle_restore(&mut self, id: GroupId) -> Done<()> {
        let due = self.now().plus_ms(RESTORE_IDLE_MS).0;
        self.store.change_group(id, |group| {
            group.restore.tries = 0;
            group.restore.due_at_ms = Some(due);
        })?;
        Ok(())
    }

    /// Groups whose link is due to be read.
    pub(super) fn restore_due(&mut self) -> Done<()> {
        let now = self.now().0;
        for group in self.store.groups()? {
            let due = group.record.restore.due_at_ms.is_some_and(|due| due <= now);
            if due && !group.record.status.is_over() {
                self.restore(group.id)?;
            }
        }
        Ok(())
    }

    /// The group link was read again.
    ///
    /// # Errors
    /// What is wrong with it, for the command that waits.
    pub(super) fn group_link_read(
        &mut self,
        id: GroupId,
        result: Result<OpenedLink, ReadLinkError>,
    ) -> Done<()> {
        let group = self.store.group(id)?;
        if group.status.is_over() {
            return Ok(());
        }
        // A server could say so of a link that exists: nothing is thrown away for it.
        let unknown = matches!(result, Err(ReadLinkError::NotFound));
        if unknown != group.restore.unknown && (unknown || result.is_ok()) {
            self.store.change_group(id, |group| group.restore.unknown = unknown)?;
            if unknown {
                self.warn(Some(id), "the server does not know the group link any more")?;
            }
        }
        let link: ShortLink = group.link.parse().map_err(StoreError::from)?;
        let OpenedGroupLink { group: public_id, data, owners, relays, .. } = check_group_link(&link, result)?;
        if public_id != group.public_id {
            return Err(Stop::refuse(ExitCode::WrongLink, "The group link names another group now"));
        }
        if let Err(rolled_back) = data.compare_version(group.link_counter) {
            self.rolled_back(id, &group, &link, &rolled_back.to_string())?;
            return Err(CommandError::new(ExitCode::WrongLink, rolled_back)
                .hint("The server keeps back what the owner wrote; relays that you know stay in use.")
                .into());
        }
        let changed = group.profile != data.group_profile;
        let group = self.store.change_group(id, |group| {
            group.link_counter = group.link_counter.max(data.link_data_version);
            if group.owner.is_none() {
                group.profile = data.group_profile;
            }
        })?;
        if changed && group.owner.is_none() {
            self.tell(Event::GroupProfile(rows::profile_row(&group)));
        }
        self.take_owners(id, &owners)?;
        self.follow_list(id, &group, &relays)?;
        protocol::crash_point!("client.restore.followed");
        let relays = self.store.relays(id)?;
        if relays.iter().any(|relay| relay.record.connected) {
            self.settle_restore(id)?;
        }
        if relays.iter().all(|relay| relay.record.is_over()) {
            return Err(Stop::refuse(
                ExitCode::NoActiveRelay,
                "The group link lists no relay that can be used now",
            ));
        }
        Ok(())
    }

    /// Connects to relays that are listed and not here; drops those that are here and not listed.
    fn follow_list(&mut self, id: GroupId, group: &Group, listed: &[ShortLink]) -> Done<()> {
        let relays = self.store.relays(id)?;
        let key_of = |text: &Option<String>| text.as_deref().and_then(|text| text.parse::<ShortLink>().ok());
        for link in listed {
            let known = relays
                .iter()
                .find(|relay| key_of(&relay.record.link).is_some_and(|known| is_same_link(&known, link)));
            match known {
                None => {
                    let row = self.add_listed(id, link)?;
                    if let Some(relay) = self.store.relay(row)? {
                        self.connect(&relay)?;
                    }
                }
                Some(relay) => {
                    if let Side::Member { step: Joining::Gone, .. } = relay.record.side {
                        // It is back, or it was never gone for good.
                        let mut relay = relay.clone();
                        relay.record.side = Side::Member { step: Joining::Listed, tries: 0 };
                        relay.record.ended_at_ms = None;
                        self.save_relay(&relay)?;
                        self.connect(&relay)?;
                    }
                }
            }
        }
        if group.owner.is_some() {
            return Ok(());
        }
        for relay in relays {
            let is_listed = key_of(&relay.record.link)
                .is_some_and(|known| listed.iter().any(|link| is_same_link(link, &known)));
            if !is_listed && !relay.record.is_over() {
                self.gone(relay, Joining::Gone, "the group link does not list it any more".into())?;
            }
        }
        Ok(())
    }

    /// The server showed older data than was seen before.
    fn rolled_back(&mut self, id: GroupId, group: &Group, link: &ShortLink, detail: &str) -> Done<()> {
        let server = link.server().first_host().to_string();
        let evidence = Evidence {
            kind: EvidenceKind::RolledBackLink,
            relay: server,
            message_id: None,
            detail: detail.to_owned(),
            bytes: Vec::new(),
        };
        self.hold_against(id, group.alias.clone(), evidence)
    }
}

fn pause(tries: u32) -> i64 {
    // Half as long again each time: 1 s, 1.5 s, 2.25 s …
    let grown = (0..tries.min(32)).fold(RESTORE_MS_MIN, |pause, _| pause.saturating_mul(3) / 2);
    grown.min(RESTORE_MS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound() {
        let pauses: Vec<i64> = (0..20).map(pause).collect();
        assert!(pauses.is_sorted());
        assert_eq!((pauses[0], pauses[1], pauses[19]), (RESTORE_MS_MIN, 1_500, RESTORE_MS_MAX));
    }
}
