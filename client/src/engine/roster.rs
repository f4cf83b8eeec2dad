//! The roster: the owner signs who has which role, members take it piece by piece and all at once.

use std::cell::RefCell;
use std::collections::BTreeMap;

use protocol::group::chunk::Chunk;
use protocol::group::constants::ROSTER_ENTRIES_MAX;
use protocol::group::event::group::{Roster as RosterHeader, RosterRequest};
use protocol::group::event::{Event as Said, Message};
use protocol::group::identity::{MemberId, MemberRole};
use protocol::group::msg_id::SharedMessageId;
use protocol::group::permissions::{self, Actor, NotPermitted};
use protocol::group::roster::{Roster, RosterEntry, key_conflicts};
use protocol::group::roster_transfer::{
    CompleteRoster, DeltaStep, RosterTransfer, TransferStep, VerifiedHeader, delta_step,
};
use protocol::group::signed;

use super::step::{Done, Step, Stop, default_role};
use crate::error::CommandError;
use crate::event::EvidenceKind;
use crate::exit_code::ExitCode;
use crate::store::group::{self, Group, GroupId};
use crate::store::member::{Member, MemberStatus};
use crate::store::relay::RelayRow;
use crate::store::{Store, StoreError};

impl Step<'_, '_> {
    /// Whether an author may say this, by the group's rules.
    pub(super) fn judge(
        &self,
        id: GroupId,
        group: &Group,
        author: &MemberId,
        actor: Actor,
        event: &Said,
    ) -> Done<Result<(), NotPermitted>> {
        let failure = RefCell::new(None);
        let role_of = |member: &MemberId| {
            role_of(self.store, (id, group), member).map_err(|error| *failure.borrow_mut() = Some(error)).ok()
        };
        let judged = permissions::judge(event, author, actor, &group.profile.preferences(), role_of);
        match failure.into_inner() {
            Some(error) => Err(error.into()),
            None => Ok(judged),
        }
    }

    /// The version of the roster in force; the owner makes the first, empty one.
    pub(super) fn current_roster(&mut self, id: GroupId) -> Done<i64> {
        let group = self.store.group(id)?;
        match group.roster.version {
            Some(version) => Ok(version),
            None => self.publish_roster(id, &group, 0),
        }
    }

    /// Signs the roster that follows from the members' roles, as the next version, and sends it to all relays.
    pub(super) fn next_roster(&mut self, id: GroupId) -> Done<i64> {
        let version = self.current_roster(id)?.saturating_add(1);
        let group = self.store.group(id)?;
        self.publish_roster(id, &group, version)?;
        for relay in self.store.relays(id)? {
            if relay.record.connected && relay.record.has_roster {
                self.send_roster_to(&relay)?;
            }
        }
        Ok(version)
    }

    fn publish_roster(&mut self, id: GroupId, group: &Group, version: i64) -> Done<i64> {
        let mut roster = Roster::default();
        let mut members = self.store.members(id)?;
        members.sort_by_key(|(_, member)| std::cmp::Reverse(member.role));
        for (member_id, member) in members {
            // Whoever has no more than the joiners' role keeps it without being listed.
            if roster.len() >= ROSTER_ENTRIES_MAX && member.role <= default_role(group) {
                break;
            }
            let (MemberStatus::Active, true) = (member.status, member.role.is_roster_role()) else {
                continue;
            };
            let Some(key) = member.key else { continue };
            roster.put(member_id, RosterEntry { key, role: member.role }).map_err(|problem| {
                CommandError::new(
                    ExitCode::NotAllowed,
                    format_args!("The roster cannot hold this: {problem}"),
                )
                .hint("Make somebody an observer first.")
            })?;
        }
        let message_id = SharedMessageId::for_roster(self.context.rng());
        let json = Message::new(Some(message_id.clone()), Said::Roster(roster.header(version))).to_json();
        let header = signed::sign(&group.key.key(), &group.public_id, &group.member_id, &json);
        let blob = roster.to_blob();
        let record = group::Roster { version: Some(version), message_id: Some(message_id), header, blob };
        self.store.change_group(id, |group| group.roster = record)?;
        Ok(version)
    }

    /// A verified header of an owner: its list comes next.
    pub(super) fn roster_header(
        &mut self,
        relay: &mut RelayRow,
        group: &Group,
        message_id: SharedMessageId,
        header: RosterHeader,
        verbatim: &[u8],
    ) -> Done<()> {
        let verified = VerifiedHeader { message_id, header, verbatim: verbatim.to_vec() };
        let (transfer, step) =
            std::mem::take(&mut relay.record.transfer).header(verified, group.roster.version);
        relay.record.transfer = transfer;
        self.store.save_relay(relay)?;
        self.transfer_step(relay, step)
    }

    /// A piece of the list.
    pub(super) fn roster_chunk(&mut self, relay: &mut RelayRow, chunk: &Chunk<'_>) -> Done<()> {
        if relay.record.transfer == RosterTransfer::Idle {
            return Ok(());
        }
        let (transfer, step) = std::mem::take(&mut relay.record.transfer).chunk(chunk);
        relay.record.transfer = transfer;
        self.store.save_relay(relay)?;
        self.transfer_step(relay, step)
    }

    /// A change of one role with the version that it makes. Says whether the change is to be made.
    pub(super) fn roster_delta(&mut self, relay: &RelayRow, carried: Option<i64>) -> Done<bool> {
        let group = self.store.group(relay.group)?;
        if group.owner.is_some() {
            // With a version it is our own change, by way of a relay; without one an admin's or moderator's.
            return Ok(carried.is_none());
        }
        let version = match delta_step(carried, group.roster.version) {
            DeltaStep::Unversioned | DeltaStep::Current => return Ok(true),
            DeltaStep::Stale => return Ok(false),
            DeltaStep::Next(version) => version,
            DeltaStep::Gap { version, held } => {
                if let Some(connection) = relay.connection {
                    self.say_to(connection, Said::RosterRequest(RosterRequest { version: Some(held) }))?;
                }
                version
            }
        };
        self.store.change_group(relay.group, |group| group.roster.version = Some(version))?;
        Ok(true)
    }

    /// Whether the roster that we hold in full lists a member.
    pub(super) fn roster_lists(&self, id: GroupId, member: &MemberId) -> Done<bool> {
        let blob = self.store.group(id)?.roster.blob;
        Ok(Roster::parse(&blob).is_ok_and(|roster| roster.entry(member).is_some()))
    }

    fn transfer_step(&mut self, relay: &RelayRow, step: TransferStep) -> Done<()> {
        match step {
            TransferStep::Ignored | TransferStep::Progress | TransferStep::Cancelled => Ok(()),
            TransferStep::Failed { version, error } => {
                let detail = format!("version {version} of the roster cannot be taken: {error}");
                self.accuse(relay, EvidenceKind::Malformed, None, &detail, &[])
            }
            TransferStep::Complete(complete) => self.take_roster(relay, complete),
        }
    }

    fn take_roster(&mut self, relay: &RelayRow, complete: CompleteRoster) -> Done<()> {
        let id = relay.group;
        let group = self.store.group(id)?;
        if group.roster.version.is_some_and(|held| held > complete.version) {
            return Ok(());
        }
        let members: BTreeMap<MemberId, Member> = self.store.members(id)?.into_iter().collect();
        let pinned = |member_id: &MemberId| members.get(member_id).and_then(|member| member.key);
        for member_id in key_conflicts(&complete.roster, pinned) {
            let detail = format!("the roster has another key for {member_id}; the first one stays");
            self.warn(Some(id), detail)?;
        }
        for (member_id, entry) in complete.roster.entries() {
            let mut member = members.get(member_id).cloned().unwrap_or_else(|| Member::with_role(entry.role));
            if member.role == MemberRole::Owner {
                continue;
            }
            member.role = entry.role;
            if member.status == MemberStatus::Removed {
                // Back by the owner's word.
                member.status = MemberStatus::Active;
            }
            member.key = Some(member.key.unwrap_or(entry.key));
            self.store.save_member(id, member_id, &member)?;
        }
        let fallback = default_role(&group);
        for (member_id, mut member) in members {
            if member.role.is_roster_role() && complete.roster.entry(&member_id).is_none() {
                member.role = fallback;
                self.store.save_member(id, &member_id, &member)?;
            }
        }
        let own = self.store.member(id, &group.member_id)?.map(|me| me.role);
        self.store.change_group(id, |group| {
            group.roster = group::Roster {
                version: Some(complete.version),
                message_id: Some(complete.message_id),
                header: complete.header,
                blob: complete.blob,
            };
            group.role = own.unwrap_or(group.role);
        })?;
        for (member_id, _) in complete.roster.entries() {
            self.author_introduced(id, member_id)?;
        }
        protocol::crash_point!("client.roster.taken");
        Ok(())
    }
}

/// A role that a person may give.
pub(super) fn parse_role(word: &str) -> Done<MemberRole> {
    match MemberRole::from_word(word) {
        role @ (MemberRole::Observer | MemberRole::Member | MemberRole::Moderator | MemberRole::Admin) => {
            Ok(role)
        }
        _ => Err(Stop::refuse(ExitCode::Usage, format_args!("\"{word}\" is no role that can be given"))),
    }
}

/// The role of a member or relay. Whoever we have not met is one of those who joined, and what is said of it counts: it may
/// be connected to other relays only, or be met later, by the word of a slower one.
fn role_of(
    store: &Store,
    (id, group): (GroupId, &Group),
    member_id: &MemberId,
) -> Result<MemberRole, StoreError> {
    if let Some(member) = store.member(id, member_id)? {
        return Ok(member.role);
    }
    let relays = store.relays(id)?;
    let is_relay = relays.iter().any(|relay| relay.record.member_id.as_ref() == Some(member_id));
    Ok(if is_relay { MemberRole::Relay } else { default_role(group) })
}

#[cfg(test)]
mod tests {
    use protocol::group::event::members::{MemberRestrict, Restriction, Restrictions};

    use super::*;
    use crate::store::group::tests::a_group;

    #[test]
    fn whoever_is_not_met_yet_can_be_blocked() {
        let mut store = Store::in_memory();
        let group = a_group("news");
        let id = store.add_group(&group).unwrap();
        let [moderator, stranger] = [[1; 12], [2; 12]].map(|id| MemberId::new(id).unwrap());
        let member_restrictions = Restrictions { restriction: Restriction::Blocked };
        let block = Said::MemberRestrict(MemberRestrict {
            member_id: stranger,
            member_restrictions,
            member_key: None,
        });
        let preferences = group.profile.preferences();
        let judged = |role| {
            let role_of = |member: &MemberId| role_of(&store, (id, &group), member).ok();
            permissions::judge(&block, &moderator, Actor { role, blocked: false }, &preferences, role_of)
        };
        assert_eq!(judged(MemberRole::Moderator), Ok(()));
        assert_eq!(judged(MemberRole::Member), Err(NotPermitted::NeedsRole(MemberRole::Moderator)));
    }
}
