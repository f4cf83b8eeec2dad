//! Relays as their owner sees them: what [`protocol::group::relay_status`] decides is done here.

use protocol::agent::Body;
use protocol::agent::event::Failure;
use protocol::agent::signed_link_data::OpenedLink;
use protocol::agent::store::ConnectionId;
use protocol::group::constants::ROSTER_CHAT_VERSION;
use protocol::group::constants::{OWNER_RETRY_MS_MAX, OWNER_RETRY_MS_MIN, OWNER_STEP_MS_MAX};
use protocol::group::event::content::Acknowledge;
use protocol::group::event::members::MemberDelete;
use protocol::group::event::owner_relay::{
    Capabilities, MemberIdRole, RelayInvitation, RelayInvite, RelayNew, RelayNotice, RosterAck,
};
use protocol::group::event::{Event as Said, Message};
use protocol::group::identity::{LinkText, MemberRole};
use protocol::group::opened::{OpenedRelayAddress, OpenedRelayLink};
use protocol::group::relay_end::Ended;
use protocol::group::relay_status::{OwnerPace, RelayEffect, RelayEvent, RelayStatus};
use protocol::group::signed::Statement;
use protocol::net::network::ReadLinkError;
use protocol::smp::short_link::{LinkType, ShortLink};

use super::join::{describe, is_for_now};
use super::step::{Done, Step, Stop};
use super::tag::Tag;
use crate::error::CommandError;
use crate::event::{Event, EvidenceKind};
use crate::exit_code::ExitCode;
use crate::query;
use crate::rows;
use crate::store::StoreError;
use crate::store::group::{Group, GroupId, GroupStatus};
use crate::store::relay::{Farewell, Joining, Notice, RelayId, RelayRow, Side};

impl Step<'_, '_> {
    /// Lets something happen to a relay that we invited, and does what follows.
    pub(super) fn relay_event(&mut self, id: RelayId, event: RelayEvent) -> Done<()> {
        let now = self.now();
        let Some(mut relay) = self.store.relay(id)? else { return Ok(()) };
        let Side::Owner(life) = relay.record.side else { return Ok(()) };
        let (next, effects) = match life.apply(event, now, &PACE) {
            Ok(next) => next,
            Err(out_of_place) => {
                tracing::debug!(%out_of_place, relay = id.0, "ignored");
                return Ok(());
            }
        };
        relay.record.side = Side::Owner(next);
        if next.status.has_ended() {
            relay.record.ended_at_ms.get_or_insert(now.0);
        } else {
            relay.record.ended_at_ms = None;
        }
        relay.due_at_ms = next.deadline(&PACE).map(|moment| moment.0);
        let changed = life.status.word() != next.status.word();
        self.store.save_relay(&relay)?;
        if changed {
            self.tell_relay(&relay)?;
        }
        crash_after(next.status);
        effects.into_iter().try_for_each(|effect| self.relay_effect(id, effect))
    }

    /// Invites a relay: reads its address first.
    pub(super) fn invite(&mut self, relay: &RelayRow) -> Done<()> {
        let Some(address) = relay.record.address.as_deref() else { return Ok(()) };
        match query::parse_link(address, LinkType::Relay) {
            Ok(link) => self.read_link(&Tag::Address { relay: relay.id.0 }, link),
            Err(_) => self.relay_event(relay.id, RelayEvent::AddressUnusable)?,
        }
        Ok(())
    }

    /// Goes on with a relay after a start: links that were being read are read again.
    pub(super) fn invite_again(&mut self, relay: &RelayRow) -> Done<()> {
        let Side::Owner(life) = relay.record.side else { return Ok(()) };
        let link_created = self.store.group(relay.group)?.owner.is_some_and(|owner| owner.link_created);
        match life.status {
            RelayStatus::New if link_created => self.invite(relay),
            RelayStatus::ReadingLink => self.relay_effect(relay.id, RelayEffect::ReadRelayLink),
            RelayStatus::Active if relay.connection.is_none() => self.connect_again(relay.clone()),
            _ => Ok(()),
        }
    }

    /// The relay's address was read: the invitation goes out.
    pub(super) fn address_read(
        &mut self,
        id: RelayId,
        result: Result<OpenedLink, ReadLinkError>,
    ) -> Done<()> {
        let Some(mut relay) = self.store.relay(id)? else { return Ok(()) };
        let Side::Owner(life) = relay.record.side else { return Ok(()) };
        let is_lost = life.status == RelayStatus::Active && relay.connection.is_none();
        if !is_lost && !matches!(life.status, RelayStatus::New | RelayStatus::Invited) {
            return Ok(());
        }
        let opened = match result {
            Ok(opened) if OpenedRelayAddress::read(&opened).is_ok() => opened,
            Ok(_) => return self.relay_event(id, RelayEvent::AddressUnusable),
            Err(error) => {
                relay.record.reason = Some(describe(&error));
                self.save_relay(&relay)?;
                // What may pass is tried again when the relay is due.
                return if is_for_now(&error) {
                    Ok(())
                } else {
                    self.relay_event(id, RelayEvent::AddressUnusable)
                };
            }
        };
        let group = self.store.group(relay.group)?;
        let (Some(relay_member_id), Ok(group_link)) =
            (relay.record.member_id.clone(), LinkText::new(group.link))
        else {
            return Err(StoreError::Missing.into());
        };
        let invitation = RelayInvitation {
            from_member: MemberIdRole { member_id: group.member_id, member_role: MemberRole::Owner },
            from_member_profile: self.own_profile()?,
            relay_member_id,
            group_link,
            invitation_code: relay.record.code.clone(),
            history: Some(true),
        };
        let invite = Said::RelayInvite(Box::new(RelayInvite { group_relay_invitation: invitation }));
        let info = Message::new(None, invite).to_json();
        match self.request(&opened.request, &info)? {
            Ok(connection) => self.store.add_relay_connection(id, connection)?,
            Err(reason) => {
                relay.record.reason = Some(reason);
                self.store.save_relay(&relay)?;
                return self.relay_event(id, RelayEvent::AddressUnusable);
            }
        }
        relay.record.reason = None;
        self.store.save_relay(&relay)?;
        self.relay_event(id, RelayEvent::InvitationSent)
    }

    /// The relay has answered our invitation.
    pub(super) fn invitation_answered(
        &mut self,
        mut relay: RelayRow,
        connection: ConnectionId,
        info: &[u8],
    ) -> Done<()> {
        let message = Statement::parse(info).ok().and_then(|statement| statement.message().ok());
        let versions = message.as_ref().and_then(|message| message.versions);
        let is_lost = relay.record.is_active() && relay.connection.is_none();
        match message.map(|message| message.event) {
            Some(Said::RelayReject(reject)) if is_lost => {
                relay.record.reason = Some(reject.explained());
                self.store.save_relay(&relay)?;
                self.end_connection(connection, true)?;
                self.relay_event(relay.id, RelayEvent::ConnectionGone)
            }
            Some(Said::RelayAccept(accept)) => {
                let link = accept.relay_link.as_str().to_owned();
                let same_link = relay.record.link.as_ref().is_none_or(|known| *known == link);
                if relay.connection.is_none() {
                    relay.connection = Some(connection);
                    relay.record.link = Some(link);
                    relay.record.gives_history =
                        accept.relay_cap.as_ref().and_then(|can| can.history).unwrap_or(false);
                    relay.record.has_roster =
                        versions.is_some_and(|range| range.max() >= ROSTER_CHAT_VERSION);
                    relay.record.takes_two =
                        accept.relay_cap.as_ref().is_some_and(Capabilities::takes_two_connections);
                    self.store.save_relay(&relay)?;
                    self.drop_other_requests(&relay, connection)?;
                } else if relay.connection != Some(connection) {
                    // A second answer to a repeated invitation.
                    self.end_connection(connection, false)?;
                }
                self.relay_event(relay.id, RelayEvent::Accept { same_link })?;
                if is_lost { self.relay_effect(relay.id, RelayEffect::AllowConnection) } else { Ok(()) }
            }
            Some(Said::RelayReject(reject)) => {
                relay.record.reason = Some(reject.explained());
                relay.connection = Some(connection);
                self.store.save_relay(&relay)?;
                self.drop_other_requests(&relay, connection)?;
                self.relay_event(relay.id, RelayEvent::Reject)
            }
            _ => {
                self.accuse(
                    &relay,
                    EvidenceKind::Malformed,
                    None,
                    "its answer to the invitation is not one",
                    info,
                )?;
                self.end_connection(connection, false)
            }
        }
    }

    /// The link that the relay offers was read.
    pub(super) fn offered_read(
        &mut self,
        id: RelayId,
        result: Result<OpenedLink, ReadLinkError>,
    ) -> Done<()> {
        let Some(mut relay) = self.store.relay(id)? else { return Ok(()) };
        let (Side::Owner(life), Some(assigned)) = (&relay.record.side, relay.record.member_id.clone()) else {
            return Ok(());
        };
        if life.status != RelayStatus::ReadingLink {
            return Ok(());
        }
        match result.map(|opened| OpenedRelayLink::read(&opened)) {
            Ok(Ok(opened)) if opened.member_id == assigned => {
                // The root key of this link is the relay's member key from now on.
                relay.record.key = Some(opened.key);
                relay.record.reason = None;
                self.store.save_relay(&relay)?;
                self.relay_event(id, RelayEvent::LinkMatches)
            }
            Ok(_) => self.relay_event(id, RelayEvent::LinkDiffers),
            Err(error) => {
                relay.record.reason = Some(describe(&error));
                self.save_relay(&relay)?;
                if is_for_now(&error) { Ok(()) } else { self.relay_event(id, RelayEvent::LinkUnreadable) }
            }
        }
    }

    /// The connection to a relay that we invited stands.
    pub(super) fn invited_connected(&mut self, mut relay: RelayRow) -> Done<()> {
        relay.record.connected = true;
        if relay.record.is_active() {
            // It was lost, and hears from us what only we can say.
            relay.due_at_ms = None;
            self.save_relay(&relay)?;
            self.send_rulings_to(&relay)?;
            self.send_roster_to(&relay)?;
            self.want_second(&relay)?;
            return self.flush_outbox(relay.group);
        }
        self.store.save_relay(&relay)?;
        let roster = if relay.record.has_roster { Some(self.current_roster(relay.group)?) } else { None };
        self.relay_event(relay.id, RelayEvent::Connected { roster })?;
        self.want_second(&relay)
    }

    /// A connection or request to a relay that we invited cannot be used any more. If only a queue of it is gone, a relay that
    /// serves the group is invited once more: it knows us and the group, and gives the same link.
    pub(super) fn invited_failed(
        &mut self,
        mut relay: RelayRow,
        connection: ConnectionId,
        reason: Failure,
    ) -> Done<()> {
        self.end_connection(connection, false)?;
        self.store.drop_relay_connection(connection)?;
        let in_use = relay.connection.is_none_or(|used| used == connection);
        if !in_use || (relay.connection.is_none() && !self.store.relay_connections(relay.id)?.is_empty()) {
            return Ok(());
        }
        if let Some(second) = self.first_gone(relay.id)? {
            self.end_connection(second, false)?;
        }
        relay.connection = None;
        relay.record.connected = false;
        relay.record.unheard = None;
        relay.record.reason = Some(reason.to_string());
        self.save_relay(&relay)?;
        match reason {
            Failure::QueueGone if relay.record.is_active() => self.connect_again(relay),
            _ => self.relay_event(relay.id, RelayEvent::ConnectionGone),
        }
    }

    /// A relay that serves the group and is not connected is invited once more, again and again until it answers.
    pub(super) fn connect_again(&mut self, mut relay: RelayRow) -> Done<()> {
        relay.due_at_ms = Some(self.now().plus_ms(OWNER_RETRY_MS_MIN).0);
        self.store.save_relay(&relay)?;
        self.invite(&relay)
    }

    /// A relay holds a roster of ours, or could not take it.
    pub(super) fn roster_acknowledged(&mut self, mut relay: RelayRow, ack: RosterAck) -> Done<()> {
        if let Some(error) = &ack.error {
            relay.record.reason = Some(error.chars().take(REASON_CHARACTERS_MAX).collect());
            self.store.save_relay(&relay)?;
        }
        self.relay_event(relay.id, RelayEvent::RosterAck { version: ack.version, ok: ack.error.is_none() })
    }

    /// A relay tells us what it refuses.
    pub(super) fn notice_came(
        &mut self,
        mut relay: RelayRow,
        group: &Group,
        notice: &RelayNotice,
    ) -> Done<()> {
        let text = notice.explained();
        let word: String = notice.notice.chars().take(NOTICE_WORD_CHARACTERS_MAX).collect();
        let at = self.now().0;
        relay.record.notice = Some(Notice { word: word.clone(), text: text.clone(), at });
        self.store.save_relay(&relay)?;
        let about = notice.member_id.as_ref();
        let about =
            about.map(|id| rows::author_name(self.store, relay.group, group, Some(id))).transpose()?;
        self.tell(Event::RelayNotice {
            group: group.alias.clone(),
            relay: relay.record.name,
            notice: word,
            text,
            count: notice.count,
            about,
        });
        Ok(())
    }

    /// The owner takes a relay out. What is told to whom waits until the group link is written without it.
    /// Without `force` the last relay stays.
    pub(super) fn remove_relay(
        &mut self,
        id: GroupId,
        name: &str,
        notice: bool,
        force: bool,
    ) -> Done<RelayId> {
        let (group, now) = (self.store.group(id)?, self.now());
        if group.owner.is_none() {
            return Err(Stop::refuse(ExitCode::NotAllowed, "Only the owner takes relays out of a group"));
        }
        let mut named = self.store.relays(id)?;
        let publishable = named.iter().filter(|relay| relay.record.is_publishable()).count();
        named.retain(|relay| relay.record.name == name);
        let present = named.iter().position(|relay| !relay.record.is_over());
        let Some(mut relay) = present.map(|place| named.swap_remove(place)) else {
            // Asked again after an interruption: what is still to be done goes on by itself.
            let over = named.pop().ok_or_else(|| CommandError::not_found("relay", name, "group relays"))?;
            return Ok(over.id);
        };
        if relay.record.is_publishable() {
            if publishable == 1 && !force {
                return Err(last_relay(&group.alias, name));
            }
            relay.record.farewell = Some(if notice { Farewell::Notice } else { Farewell::Silence });
            self.store.save_relay(&relay)?;
        }
        protocol::crash_point!("client.relay.removing");
        match &mut relay.record.side {
            Side::Owner(_) => self.relay_event(relay.id, RelayEvent::Remove)?,
            Side::Member { step, .. } => {
                *step = Joining::Gone;
                relay.record.reason = Some(Ended::Removed.to_string());
                relay.record.ended_at_ms = Some(now.0);
                self.save_relay(&relay)?;
                self.write_link(id)?;
            }
        }
        Ok(relay.id)
    }

    /// The group link is written without a relay that was taken out: now it and the members may hear of it.
    pub(super) fn say_farewell(&mut self, mut relay: RelayRow) -> Done<()> {
        let Some(farewell) = relay.record.farewell.take() else { return Ok(()) };
        self.store.save_relay(&relay)?;
        if farewell == Farewell::Notice {
            self.send_removal(&relay)?;
        }
        protocol::crash_point!("client.relay.removed");
        self.part_with(relay, farewell == Farewell::Notice)
    }

    /// Ends all connections to a relay.
    pub(super) fn part_with(&mut self, mut relay: RelayRow, after_pending_sends: bool) -> Done<()> {
        relay.connection = None;
        relay.record.connected = false;
        relay.record.unheard = None;
        self.store.save_relay(&relay)?;
        self.first_gone(relay.id)?;
        for connection in self.store.relay_connections(relay.id)? {
            self.end_connection(connection, after_pending_sends)?;
        }
        self.end_asides(relay.id)?;
        self.history_lost(relay.clone())?;
        // What it did not get may go by others.
        self.flush_outbox(relay.group)
    }

    fn relay_effect(&mut self, id: RelayId, effect: RelayEffect) -> Done<()> {
        let Some(mut relay) = self.store.relay(id)? else { return Ok(()) };
        match effect {
            RelayEffect::SendInvitation => self.invite(&relay),
            RelayEffect::ReadRelayLink => match relay.record.link.as_deref().map(str::parse::<ShortLink>) {
                Some(Ok(link)) => {
                    self.read_link(&Tag::Offered { relay: id.0 }, link);
                    Ok(())
                }
                _ => self.relay_event(id, RelayEvent::LinkUnreadable),
            },
            RelayEffect::AllowConnection | RelayEffect::AllowToFinish => {
                let Some(connection) = relay.connection else { return Ok(()) };
                let info = Message::new(None, Said::Acknowledge(Acknowledge {})).to_json();
                // Refused only when it was allowed before.
                let _ = self.ask_agent(|agent| agent.allow(connection, &info))?;
                Ok(())
            }
            RelayEffect::SendRoster => {
                self.send_rulings_to(&relay)?;
                self.send_roster_to(&relay)
            }
            RelayEffect::WriteGroupLink => self.write_link(relay.group),
            RelayEffect::ClearCreating => {
                self.store.change_group(relay.group, |group| {
                    if group.status == GroupStatus::Creating {
                        group.status = GroupStatus::Active;
                    }
                })?;
                self.flush_outbox(relay.group)
            }
            RelayEffect::AnnounceRelay => self.announce(&relay),
            RelayEffect::SendRemoval if relay.record.farewell.is_some() => Ok(()),
            RelayEffect::SendRemoval => self.send_removal(&relay),
            RelayEffect::DeleteConnection if relay.record.farewell.is_some() => Ok(()),
            RelayEffect::DeleteConnection => self.part_with(relay, true),
            RelayEffect::Show(ended) => {
                let own_words = relay.record.reason.take().filter(|_| ended != Ended::Removed);
                relay.record.reason = Some(own_words.unwrap_or_else(|| ended.to_string()));
                self.save_relay(&relay)
            }
            RelayEffect::ShowChangedLink => {
                let detail = "it offered another link than before, which was not taken";
                self.accuse(&relay, EvidenceKind::NotAllowed, None, detail, &[])
            }
        }
    }

    /// Members hear of a new relay by the others.
    fn announce(&mut self, relay: &RelayRow) -> Done<()> {
        let group = self.store.group(relay.group)?;
        let Some(Ok(relay_link)) = relay.record.link.clone().map(LinkText::new) else { return Ok(()) };
        let others = self.store.relays(relay.group)?;
        let heard = others
            .iter()
            .any(|other| other.id != relay.id && other.record.connected && other.record.is_active());
        if heard && self.store.count_members(relay.group)? > 1 {
            let event = Said::RelayNew(RelayNew { relay_link });
            self.send_unchecked(relay.group, &group, event, |other| {
                other.id != relay.id && other.record.is_active()
            })?;
        }
        Ok(())
    }

    fn send_removal(&mut self, relay: &RelayRow) -> Done<()> {
        let group = self.store.group(relay.group)?;
        let Some(member_id) = relay.record.member_id.clone() else { return Ok(()) };
        let event = Said::MemberDelete(MemberDelete {
            member_id,
            messages: false,
            member_key: None,
            roster_version: None,
        });
        self.send_unchecked(relay.group, &group, event, |_| true).map(drop)
    }

    fn drop_other_requests(&mut self, relay: &RelayRow, kept: ConnectionId) -> Done<()> {
        for connection in self.store.relay_connections(relay.id)? {
            if connection != kept {
                self.end_connection(connection, false)?;
            }
        }
        Ok(())
    }

    /// Sends the current roster to a relay: the signed header, then the list in pieces.
    pub(super) fn send_roster_to(&mut self, relay: &RelayRow) -> Done<()> {
        let version = self.current_roster(relay.group)?;
        let Some(connection) = relay.connection else { return Ok(()) };
        let roster = self.store.group(relay.group)?.roster;
        let Some(message_id) = &roster.message_id else { return Ok(()) };
        let pieces = protocol::group::roster::chunks(message_id, &roster.blob);
        // Ahead of the changes that follow it, on whichever connection they go.
        let second = self.store.bulk(relay.id)?.in_use();
        for connection in std::iter::once(connection).chain(second) {
            for container in std::iter::once(&roster.header).chain(&pieces) {
                self.send_to(connection, Body::Inline(container), false)?;
            }
        }
        protocol::crash_point!("client.roster.sent");
        self.relay_event(relay.id, RelayEvent::RosterSent { version })
    }

    /// A stranger wrote to the group link, which is not for that.
    pub(super) fn stranger_at_link(&mut self, id: GroupId) -> Done<()> {
        let group = self.store.group(id)?.alias;
        let text = "somebody wrote to the group link itself and was ignored; people join through relays";
        self.tell(Event::Warning { group: Some(group), text: text.into() });
        Ok(())
    }
}

/// Nobody takes the last relay out by accident.
fn last_relay(group: &str, relay: &str) -> Stop {
    let text = format!(
        "\"{relay}\" is the last relay of \"{group}\": without it nobody hears the group, and nobody can join"
    );
    Stop::refuse(ExitCode::LastRelay, text)
}

/// How patient we are with relays: as the protocol's constants say.
pub(super) const PACE: OwnerPace = OwnerPace {
    retry_ms_min: OWNER_RETRY_MS_MIN,
    retry_ms_max: OWNER_RETRY_MS_MAX,
    step_ms_max: OWNER_STEP_MS_MAX,
};

/// Longest word of a notice that is kept.
const NOTICE_WORD_CHARACTERS_MAX: usize = 64;
/// Longest reason of a relay that is kept.
const REASON_CHARACTERS_MAX: usize = 512;

fn crash_after(status: RelayStatus) {
    match status {
        RelayStatus::Invited => protocol::crash_point!("client.relay.invited"),
        RelayStatus::ReadingLink => protocol::crash_point!("client.relay.accepted"),
        RelayStatus::Connecting => protocol::crash_point!("client.relay.verified"),
        RelayStatus::AwaitingAck { .. } => protocol::crash_point!("client.relay.connected"),
        RelayStatus::AcknowledgedRoster => protocol::crash_point!("client.relay.acknowledged"),
        RelayStatus::Active => protocol::crash_point!("client.relay.active"),
        RelayStatus::New | RelayStatus::Listing | RelayStatus::Inactive(_) | RelayStatus::Rejected(_) => {}
    }
}
