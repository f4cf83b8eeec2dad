//! Joining: the group link is read and checked, then each relay that it lists is asked to let us in.
//!
//! ```text
//! group link ──checked──▶ group, owners, relays listed
//! each relay:  its link ──▶ id, key, name ──▶ x.member, signed, naming this relay ──▶ let in ──▶ connected
//! ```

use protocol::agent::event::Failure;
use protocol::agent::signed_link_data::OpenedLink;
use protocol::agent::store::ConnectionId;
use protocol::crypto::sign::Ed25519PrivateKey;
use protocol::group::entrance::Shown;
use protocol::group::event::joining::{Acceptance, Info, Join, LinkInvitation};
use protocol::group::event::owner_relay::Capabilities;
use protocol::group::event::{Event as Said, Message};
use protocol::group::identity::{MemberId, MemberKey, MemberRole};
use protocol::group::opened::{OpenedGroupLink, OpenedLinkProblem, OpenedRelayLink, Owner, is_same_link};
use protocol::group::signed::{self, Statement};
use protocol::net::error::{CallError, ConnectError};
use protocol::net::network::ReadLinkError;
use protocol::smp::short_link::{LinkType, ShortLink};

use super::create::free_name;
use super::step::{Done, Step, Stop, default_role};
use super::tag::Tag;
use crate::error::CommandError;
use crate::event::{Event, EvidenceKind};
use crate::exit_code::ExitCode;
use crate::query;
use crate::store::group::{Entering, Group, GroupId, GroupRow, GroupStatus, Restore, Roster, Seed};
use crate::store::member::{Member, MemberStatus};
use crate::store::owner_archive::free_alias;
use crate::store::relay::{Joining, Relay, RelayId, RelayRow, Side};

/// A request that is not answered is made again after this; the relay's queue holds the first one all the while.
const ASK_AGAIN_MS: i64 = 600_000;
/// First pause before a relay's link is read again.
const LINK_RETRY_MS_MIN: i64 = 2_000;
/// Longest pause before a relay's link is read again.
const LINK_RETRY_MS_MAX: i64 = 300_000;
/// Shortest pause before a relay is asked again that lets nobody in for now, whatever it says.
const PUT_OFF_MS_MIN: i64 = 60_000;
/// Longest pause before that.
const PUT_OFF_MS_MAX: i64 = 86_400_000;

/// What came of a wish to join.
#[derive(Debug)]
pub(super) enum Wish {
    /// The link is being read.
    Reading,
    /// The group is here and waits for its relays.
    Waiting(GroupId),
}

impl Step<'_, '_> {
    /// Begins to join, or goes on with it.
    pub(super) fn join(&mut self, request: u64, text: &str) -> Done<Wish> {
        let link = query::parse_link(text, LinkType::Channel)?;
        let groups = self.store.groups()?;
        match member_of(&groups, &link) {
            Some(group) if group.record.status == GroupStatus::Joining => {
                let id = group.id;
                self.connect_all(id)?;
                Ok(Wish::Waiting(id))
            }
            Some(group) => Err(CommandError::new(
                ExitCode::AlreadyThere,
                format_args!("You are in this group already: \"{}\"", group.record.alias),
            )
            .into()),
            None => {
                // Before anything is stored: relays answer to a queue of ours.
                self.own_server()?;
                self.read_link(&Tag::Join { request, link: link.to_string() }, link);
                Ok(Wish::Reading)
            }
        }
    }

    /// The group link was read for the first time: everything in it is checked before anything is stored.
    pub(super) fn join_link_read(
        &mut self,
        text: &str,
        result: Result<OpenedLink, ReadLinkError>,
    ) -> Done<GroupId> {
        let link = query::parse_link(text, LinkType::Channel)?;
        let opened = check_group_link(&link, result)?;
        if opened.relays.is_empty() {
            return Err(Stop::refuse(ExitCode::NoActiveRelay, "No relay of this group is active now"));
        }
        let groups = self.store.groups()?;
        // Another command may have read the same link meanwhile: nobody is in a group twice.
        if let Some(known) = member_of(&groups, &link) {
            return Ok(known.id);
        }
        let key = Ed25519PrivateKey::generate(self.context.rng());
        let member_id = MemberId::generate(self.context.rng());
        let mut group = Group {
            alias: free_alias(&groups, &opened.data.group_profile.display_name),
            public_id: opened.group,
            link: link.to_string(),
            profile: opened.data.group_profile,
            status: GroupStatus::Joining,
            member_id: member_id.clone(),
            key: Seed::of(&key),
            role: MemberRole::Observer,
            root_key: MemberKey(opened.root_key),
            owner: None,
            link_counter: opened.data.link_data_version,
            roster: Roster::default(),
            restore: Restore::default(),
            joined_at_ms: None,
            entrance: Entering::Free,
        };
        group.role = default_role(&group);
        if group.profile.entrance().is_some() {
            group.entrance = Entering::Asked;
        }
        let id = self.store.add_group(&group)?;
        let mut me = Member::with_role(group.role);
        me.key = Some(MemberKey(key.public_key()));
        me.profile = Some(self.own_profile()?);
        self.store.save_member(id, &member_id, &me)?;
        self.take_owners(id, &opened.owners)?;
        for relay in &opened.relays {
            self.add_listed(id, relay)?;
        }
        protocol::crash_point!("client.join.stored");
        self.connect_all(id)?;
        Ok(id)
    }

    /// What the group asks for was answered: its relays are asked now.
    pub(super) fn enter(&mut self, id: GroupId, shown: Shown) -> Done<()> {
        let mut is_asked = false;
        self.store.change_group(id, |group| {
            is_asked = group.entrance == Entering::Asked;
            if is_asked {
                group.entrance = Entering::Shows(shown);
            }
        })?;
        if !is_asked {
            return Err(Stop::refuse(ExitCode::AlreadyThere, "This group asks nothing of you any more"));
        }
        self.connect_all(id)
    }

    /// Owners stand in the group link: ids and keys that nobody else can give.
    pub(super) fn take_owners(&mut self, id: GroupId, owners: &[Owner]) -> Done<()> {
        for owner in owners {
            let known = self.store.member(id, &owner.member_id)?;
            let mut member = known.unwrap_or_else(|| Member::with_role(MemberRole::Owner));
            member.role = MemberRole::Owner;
            member.key = Some(owner.key);
            member.status = MemberStatus::Active;
            self.store.save_member(id, &owner.member_id, &member)?;
        }
        Ok(())
    }

    /// A relay stands in the group link and is not here yet.
    pub(super) fn add_listed(&mut self, id: GroupId, link: &ShortLink) -> Done<RelayId> {
        let present = self.store.relays(id)?;
        let host = link.server().first_host().to_string();
        let name = free_name(&host, |name| present.iter().any(|relay| relay.record.name == name));
        Ok(self.store.add_relay(id, &Relay::listed(name, link.to_string()))?)
    }

    /// Goes on with every relay of a group that we do not know to be over.
    pub(super) fn connect_all(&mut self, id: GroupId) -> Done<()> {
        for relay in self.store.relays(id)? {
            if let Side::Member { step: Joining::Listed | Joining::PutOff, .. } = relay.record.side {
                self.joining_due(relay)?;
            }
        }
        Ok(())
    }

    /// Reads a relay's link, to ask it to let us in.
    pub(super) fn connect(&mut self, relay: &RelayRow) -> Done<()> {
        let mut relay = relay.clone();
        if self.store.group(relay.group)?.entrance == Entering::Asked {
            relay.due_at_ms = None;
            return Ok(self.store.save_relay(&relay)?);
        }
        match relay.record.link.as_deref().map(str::parse::<ShortLink>) {
            Some(Ok(link)) => self.read_link(&Tag::Relay { relay: relay.id.0 }, link),
            _ => return self.gone(relay, Joining::Refused, "its link cannot be read".into()),
        }
        let now = self.now();
        if let Side::Member { tries, .. } = &mut relay.record.side {
            *tries = tries.saturating_add(1);
            relay.due_at_ms = Some(now.plus_ms(pause(*tries)).0);
        }
        Ok(self.store.save_relay(&relay)?)
    }

    /// A relay's link was read: our signed request goes out.
    pub(super) fn relay_link_read(
        &mut self,
        id: RelayId,
        result: Result<OpenedLink, ReadLinkError>,
    ) -> Done<()> {
        let Some(mut relay) = self.store.relay(id)? else { return Ok(()) };
        if !matches!(relay.record.side, Side::Member { step: Joining::Listed, .. }) {
            return Ok(());
        }
        let group = self.store.group(relay.group)?;
        let read = result.map_err(|error| (is_for_now(&error), describe(&error)));
        let checked = read.and_then(|opened| match OpenedRelayLink::read(&opened) {
            Ok(checked) => Ok((opened.request, checked)),
            Err(problem) => Err((false, problem.to_string())),
        });
        let (request, OpenedRelayLink { member_id, key, profile }) = match checked {
            Ok(checked) => checked,
            Err((true, reason)) => {
                relay.record.reason = Some(reason);
                return self.save_relay(&relay);
            }
            Err((false, reason)) => return self.gone(relay, Joining::Gone, reason),
        };
        let present = self.store.relays(relay.group)?;
        let taken = |name: &str| present.iter().any(|other| other.id != id && other.record.name == name);
        relay.record.name = free_name(&profile.display_name, taken);
        let join = Join {
            profile: self.own_profile()?,
            new_member_id: group.member_id.clone(),
            new_member_key: MemberKey(group.key.key().public_key()),
            via_relay: Some(member_id.clone()),
            entrance: match &group.entrance {
                Entering::Shows(shown) => Some(shown.clone()),
                Entering::Free | Entering::Asked => None,
            },
        };
        relay.record.member_id = Some(member_id);
        relay.record.key = Some(key);
        let json = Message::new(None, Said::Join(Box::new(join))).to_json();
        let info = signed::sign(&group.key.key(), &group.public_id, &group.member_id, &json);
        let connection = match self.request(&request, &info)? {
            Ok(connection) => connection,
            Err(reason) => return self.gone(relay, Joining::Gone, reason),
        };
        self.store.add_relay_connection(id, connection)?;
        relay.connection = Some(connection);
        relay.record.reason = None;
        relay.record.side = Side::Member { step: Joining::Asked, tries: 0 };
        relay.due_at_ms = Some(self.now().plus_ms(ASK_AGAIN_MS).0);
        self.save_relay(&relay)?;
        protocol::crash_point!("client.join.asked");
        Ok(())
    }

    /// The relay has answered our request.
    pub(super) fn request_answered(
        &mut self,
        mut relay: RelayRow,
        connection: ConnectionId,
        info: &[u8],
    ) -> Done<()> {
        let is_first_answer =
            matches!(relay.record.side, Side::Member { step: Joining::Listed | Joining::Asked, .. });
        let is_older = !is_first_answer && relay.connection.is_some_and(|used| connection < used);
        let is_another = !is_first_answer && relay.connection != Some(connection);
        let group = self.store.group(relay.group)?;
        let message = Statement::parse(info).ok().and_then(|statement| statement.message().ok());
        let versions = message.as_ref().and_then(|message| message.versions);
        match message.map(|message| message.event) {
            Some(Said::LinkInvitation(invitation)) if is_of(&invitation, &group) && !is_older => {
                relay.connection = Some(connection);
                if is_another {
                    // A relay that answers again has us at this connection alone.
                    relay.record.connected = false;
                    self.first_gone(relay.id)?;
                }
                let all = self.store.relay_connections(relay.id)?;
                for earlier in all.into_iter().filter(|other| *other < connection) {
                    self.end_connection(earlier, false)?;
                }
                relay.record.has_roster = versions
                    .is_some_and(|range| range.max() >= protocol::group::constants::ROSTER_CHAT_VERSION);
                let can = invitation.relay_cap.as_ref();
                relay.record.takes_two = can.is_some_and(Capabilities::takes_two_connections);
                relay.record.gives_history = can.and_then(|can| can.history).unwrap_or(false);
                let step = match invitation.group_link_invitation.accepted {
                    Some(Acceptance::PendingReview | Acceptance::PendingApproval) => Joining::Knocking,
                    Some(Acceptance::Accepted | Acceptance::Unknown) | None => Joining::Admitted,
                };
                relay.record.side = Side::Member { step, tries: 0 };
                relay.record.put_off = 0;
                relay.due_at_ms = Some(self.now().plus_ms(ASK_AGAIN_MS).0);
                self.save_relay(&relay)?;
                let info = Said::Info(Box::new(Info { profile: self.own_profile()? }));
                let info = Message::new(None, info).to_json();
                // Refused only when it was allowed before.
                let _ = self.ask_agent(|agent| agent.allow(connection, &info))?;
                protocol::crash_point!("client.join.admitted");
                Ok(())
            }
            // It has answered another request before, and that answer stands.
            _ if is_another => self.end_connection(connection, false),
            Some(Said::LinkReject(reject)) => {
                let reason = reject.group_link_rejection.explained();
                self.gone(relay, Joining::Refused, reason)
            }
            Some(Said::RelayNotice(notice)) => match notice.ask_again_after {
                Some(seconds) => self.put_off(relay, seconds, notice.explained()),
                None => self.gone(relay, Joining::Refused, notice.explained()),
            },
            _ => {
                self.accuse(
                    &relay,
                    EvidenceKind::Malformed,
                    None,
                    "it let us into another group, or none",
                    info,
                )?;
                self.gone(relay, Joining::Refused, "its answer is about another group".into())
            }
        }
    }

    /// The connection to a relay that we joined through stands.
    pub(super) fn joined_connected(&mut self, mut relay: RelayRow, connection: ConnectionId) -> Done<()> {
        if relay.connection != Some(connection) {
            return Ok(());
        }
        if matches!(relay.record.side, Side::Member { step: Joining::Knocking, .. }) {
            relay.record.side = Side::Member { step: Joining::Waiting, tries: 0 };
            relay.record.reason = Some("a moderator of the group is to let you in".into());
            relay.due_at_ms = None;
            self.save_relay(&relay)?;
            protocol::crash_point!("client.join.waiting");
            return Ok(());
        }
        self.joined(relay)
    }

    /// A moderator has accepted us.
    pub(super) fn let_in(&mut self, mut relay: RelayRow) -> Done<()> {
        match relay.record.side {
            Side::Member { step: Joining::Waiting, .. } => {
                relay.record.reason = None;
                self.joined(relay)
            }
            // The connection stands in a moment.
            Side::Member { step: Joining::Knocking, .. } => {
                relay.record.side = Side::Member { step: Joining::Admitted, tries: 0 };
                self.save_relay(&relay)
            }
            Side::Member { .. } | Side::Owner(_) => Ok(()),
        }
    }

    /// A relay takes back that we may come in.
    pub(super) fn turned_away(&mut self, relay: RelayRow, reason: String) -> Done<()> {
        match relay.record.side {
            Side::Member { step: Joining::Waiting | Joining::Knocking, .. } => {
                self.gone(relay, Joining::Refused, reason)
            }
            // Members go by a signed removal only.
            Side::Member { .. } | Side::Owner(_) => Ok(()),
        }
    }

    fn joined(&mut self, mut relay: RelayRow) -> Done<()> {
        relay.record.connected = true;
        relay.record.side = Side::Member { step: Joining::Active, tries: 0 };
        relay.due_at_ms = None;
        self.save_relay(&relay)?;
        let mut first = false;
        let now = self.now();
        let group = self.store.change_group(relay.group, |group| {
            first = group.status == GroupStatus::Joining;
            if first {
                group.status = GroupStatus::Active;
                group.joined_at_ms = Some(now.0);
            }
        })?;
        if first {
            self.tell(Event::Joined { group: group.alias.clone(), relay: relay.record.name.clone() });
        }
        protocol::crash_point!("client.join.connected");
        if group.owner.is_some() {
            self.recall_as_owner(relay.clone())?;
        }
        self.want_second(&relay)?;
        self.settle_restore(relay.group)?;
        self.flush_outbox(relay.group)
    }

    /// A connection or request to a relay that we join or joined through cannot be used any more.
    pub(super) fn joined_failed(
        &mut self,
        relay: RelayRow,
        connection: ConnectionId,
        reason: Failure,
    ) -> Done<()> {
        if relay.connection != Some(connection) {
            return self.end_connection(connection, false);
        }
        self.gone(relay, Joining::Gone, reason.to_string())
    }

    /// A relay lets nobody in for now: it is asked again later, each time after a longer pause, or when somebody joins again.
    fn put_off(&mut self, mut relay: RelayRow, seconds: u32, reason: String) -> Done<()> {
        let pause = put_off_pause(seconds, relay.record.put_off);
        relay.record.put_off = relay.record.put_off.saturating_add(1);
        relay.record.side = Side::Member { step: Joining::PutOff, tries: 0 };
        relay.record.reason = Some(reason);
        relay.due_at_ms = Some(self.now().plus_ms(pause).0);
        self.part_with(relay.clone(), false)?;
        match self.store.relay(relay.id)? {
            Some(relay) => self.tell_relay(&relay),
            None => Ok(()),
        }
    }

    /// A relay is of no use any more: others are looked for.
    pub(super) fn gone(&mut self, mut relay: RelayRow, step: Joining, reason: String) -> Done<()> {
        relay.record.side = Side::Member { step, tries: 0 };
        relay.record.reason = Some(reason);
        relay.record.ended_at_ms.get_or_insert(self.now().0);
        relay.due_at_ms = None;
        self.part_with(relay.clone(), false)?;
        let Some(relay) = self.store.relay(relay.id)? else { return Ok(()) };
        self.tell_relay(&relay)?;
        let relays = self.store.relays(relay.group)?;
        let refused =
            |relay: &RelayRow| matches!(relay.record.side, Side::Member { step: Joining::Refused, .. });
        let group = self.store.group(relay.group)?;
        if group.status == GroupStatus::Joining && relays.iter().all(refused) {
            let group = self.store.change_group(relay.group, |group| group.status = GroupStatus::Refused)?;
            self.tell(Event::GroupEnded { group: group.alias, status: group.status.word().into() });
            return Ok(());
        }
        self.restore_soon(relay.group)
    }

    /// A relay that we wait for is due.
    pub(super) fn joining_due(&mut self, mut relay: RelayRow) -> Done<()> {
        let Side::Member { step, .. } = &relay.record.side else { return Ok(()) };
        match step {
            Joining::Listed => self.connect(&relay),
            Joining::PutOff => {
                relay.record.side = Side::Member { step: Joining::Listed, tries: 0 };
                self.connect(&relay)
            }
            Joining::Asked | Joining::Admitted | Joining::Knocking => {
                // Asked again: the same id and key, so the relay sees that it is us. A stock relay takes an id once, with
                // the first request that it comes to read: that one stays until a later one is answered.
                let kept = usize::from(matches!(step, Joining::Asked));
                self.first_gone(relay.id)?;
                for connection in self.store.relay_connections(relay.id)?.into_iter().skip(kept) {
                    self.end_connection(connection, false)?;
                }
                relay.connection = None;
                relay.record.side = Side::Member { step: Joining::Listed, tries: 0 };
                self.store.save_relay(&relay)?;
                self.connect(&relay)
            }
            Joining::Waiting | Joining::Active | Joining::Gone | Joining::Refused => {
                relay.due_at_ms = None;
                Ok(self.store.save_relay(&relay)?)
            }
        }
    }
}

/// A group link that was read, with the checks that go beyond its signatures.
pub(super) fn check_group_link(
    link: &ShortLink,
    result: Result<OpenedLink, ReadLinkError>,
) -> Done<OpenedGroupLink> {
    let opened = result.map_err(|error| link_error(&error))?;
    let refused = |problem: OpenedLinkProblem| {
        Stop::refuse(ExitCode::WrongLink, format_args!("The link is refused: {problem}"))
    };
    let opened = OpenedGroupLink::read(link, &opened).map_err(refused)?;
    // Without an owner nothing that is said in the group could be verified.
    if opened.owners.is_empty() { Err(refused(OpenedLinkProblem::NoOwners)) } else { Ok(opened) }
}

/// The group that this link leads to, if we are in it or on the way.
fn member_of<'a>(groups: &'a [GroupRow], link: &ShortLink) -> Option<&'a GroupRow> {
    groups.iter().find(|group| leads_to(&group.record, link) && !group.record.status.is_over())
}

fn leads_to(group: &Group, link: &ShortLink) -> bool {
    group.link.parse().is_ok_and(|known| is_same_link(&known, link))
}

fn is_of(invitation: &LinkInvitation, group: &Group) -> bool {
    let public = invitation.group_link_invitation.group_profile.public_group.as_ref();
    let to_us = invitation.group_link_invitation.invited_member.member_id == group.member_id;
    to_us && public.is_some_and(|public| public.public_group_id == group.public_id)
}

/// Milliseconds until a relay is asked again that has put us off so many times before.
fn put_off_pause(seconds: u32, before: u32) -> i64 {
    let first = i64::from(seconds).saturating_mul(1000).max(PUT_OFF_MS_MIN);
    first.saturating_mul(1 << before.min(16)).min(PUT_OFF_MS_MAX)
}

fn pause(tries: u32) -> i64 {
    LINK_RETRY_MS_MIN.saturating_mul(1 << tries.min(16)).min(LINK_RETRY_MS_MAX)
}

/// Whether trying later may help.
pub(super) fn is_for_now(error: &ReadLinkError) -> bool {
    matches!(error, ReadLinkError::Call(error) if error.is_temporary())
}

/// Why a link could not be read, in words.
pub(super) fn describe(error: &ReadLinkError) -> String {
    super::step::chain(error)
}

/// Why a group link could not be read, as the end of a command.
pub(super) fn link_error(error: &ReadLinkError) -> Stop {
    let kind = match error {
        ReadLinkError::NotFound => {
            let text =
                "The server does not know this link: the group was deleted, or the link is not complete";
            return Stop::refuse(ExitCode::GroupDeleted, text);
        }
        ReadLinkError::Call(error) => call_error_kind(error),
        _ => ExitCode::WrongLink,
    };
    Stop::refuse(kind, format_args!("The link cannot be read: {}", super::step::chain(error)))
}

/// What kind of failure a server's silence or refusal is.
pub(crate) fn call_error_kind(error: &CallError) -> ExitCode {
    match error {
        CallError::Connect(ConnectError::UnknownIdentity | ConnectError::Certificates(_)) => {
            ExitCode::ServerIdentity
        }
        CallError::Connect(ConnectError::Version { .. }) => ExitCode::VersionGap,
        CallError::Connect(ConnectError::NoFingerprint) => ExitCode::WrongLink,
        error if error.is_temporary() => ExitCode::Unreachable,
        _ => ExitCode::WrongLink,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_without_room_is_asked_ever_later() {
        let (minute, hour, day) = (60_000, 3_600_000, 86_400_000);
        for (seconds, before, expected) in [
            (0, 0, minute),
            (300, 0, 5 * minute),
            (3600, 0, hour),
            (3600, 1, 2 * hour),
            (3600, 4, 16 * hour),
            (3600, 5, day),
            (u32::MAX, u32::MAX, day),
        ] {
            assert_eq!(put_off_pause(seconds, before), expected, "{seconds} s, {before} times before");
        }
    }
}
