//! Joiners who wait for a moderator: shown, accepted or rejected, and what became of it.
//!
//! ```text
//! relay ──x.grp.mem.new, scoped to the joiner──▶ Knocking ──our decision, to all relays──▶ relay tells: in, or not
//! ```
//!
//! A relay that was away when we decided, or came later, shows the knock again: it gets the same answer by itself, and so
//! for those who are in without a decision of ours.

use protocol::group::event::Event as Said;
use protocol::group::event::joining::{Acceptance, GroupLinkRejection, LinkAccept, LinkReject};
use protocol::group::event::members::MemberInfo;
use protocol::group::identity::{MemberId, MemberRole};
use protocol::group::msg_id::SharedMessageId;

use super::apply::MEMBERS_MAX;
use super::step::{Done, Step, Stop, default_role};
use crate::error::CommandError;
use crate::event::{Event, EvidenceKind};
use crate::exit_code::ExitCode;
use crate::query;
use crate::rows;
use crate::store::group::{Group, GroupId};
use crate::store::member::{Decision, Member, MemberStatus};
use crate::store::relay::RelayRow;

impl Step<'_, '_> {
    /// A relay shows somebody who waits for a moderator.
    pub(super) fn knocked(&mut self, relay: &RelayRow, group: &Group, info: MemberInfo) -> Done<()> {
        let id = relay.group;
        if group.role < MemberRole::Moderator
            || info.member_id == group.member_id
            || info.profile.check().is_err()
        {
            return Ok(());
        }
        let known = self.store.member(id, &info.member_id)?;
        if known.is_none() && self.store.count_members(id)? >= MEMBERS_MAX {
            return Ok(());
        }
        let mut member = known.unwrap_or_else(|| Member {
            status: MemberStatus::Left,
            key: info.member_key,
            ..Member::with_role(default_role(group))
        });
        if member.key.is_some() && member.key != info.member_key {
            let detail = format!("{} knocks with another key; the first one stays", info.member_id);
            return self.accuse(relay, EvidenceKind::NotAllowed, None, &detail, &[]);
        }
        let is_in = member.status == MemberStatus::Active && member.key.is_some();
        let settled = member.decision.clone().or(is_in.then_some(Decision::Accepted));
        match (settled, member.status, relay.connection) {
            // Whoever is in comes in by further relays too, as when the owner replaces one.
            (Some(decision), _, Some(connection)) => {
                let said = decided(group, &info.member_id, &member, &decision);
                return self.say_to(connection, said);
            }
            (_, MemberStatus::Active | MemberStatus::Removed, _) => return Ok(()),
            (_, MemberStatus::Left | MemberStatus::Rejected | MemberStatus::Knocking, _) => {}
        }
        let is_news = member.status != MemberStatus::Knocking;
        member.status = MemberStatus::Knocking;
        member.key = info.member_key;
        member.profile = Some(info.profile);
        self.store.save_member(id, &info.member_id, &member)?;
        if is_news {
            self.tell(Event::Knock {
                group: group.alias.clone(),
                member_id: info.member_id.to_string(),
                name: member.name(&info.member_id),
                relay: relay.record.name.clone(),
            });
        }
        Ok(())
    }

    /// A moderator's word about somebody who knocks goes to all relays.
    pub(super) fn decide(&mut self, id: GroupId, name: &str, decision: Decision) -> Done<SharedMessageId> {
        let group = self.store.group(id)?;
        let (member_id, mut member) = query::find_knock(self.store, id, name)?;
        let said = decided(&group, &member_id, &member, &decision);
        let shared_id = self.send_event(id, &group, said)?;
        member.decision = Some(decision);
        self.store.save_member(id, &member_id, &member)?;
        Ok(shared_id)
    }

    /// A relay says that somebody was accepted: we, or somebody who knocked.
    pub(super) fn acceptance_came(&mut self, relay: RelayRow, group: &Group, accept: LinkAccept) -> Done<()> {
        if accept.acceptance != Acceptance::Accepted {
            return Ok(());
        }
        if accept.member_id == group.member_id {
            return self.let_in(relay);
        }
        let outcome = (MemberStatus::Active, "accepted");
        self.knock_ended(&relay, group, &accept.member_id, outcome, accept.decided_by.as_ref(), None)
    }

    /// A relay says that somebody is not let in: we, or somebody who knocked.
    pub(super) fn rejection_came(&mut self, relay: RelayRow, group: &Group, reject: &LinkReject) -> Done<()> {
        let reason = reject.group_link_rejection.explained();
        match &reject.member_id {
            Some(about) if *about != group.member_id => {
                let by = reject.decided_by.as_ref();
                let outcome = match by {
                    Some(_) => (MemberStatus::Rejected, "rejected"),
                    None => (MemberStatus::Left, "gone"),
                };
                self.knock_ended(&relay, group, about, outcome, by, Some(reason))
            }
            _ => self.turned_away(relay, reason),
        }
    }

    fn knock_ended(
        &mut self,
        relay: &RelayRow,
        group: &Group,
        about: &MemberId,
        (status, outcome): (MemberStatus, &str),
        by: Option<&MemberId>,
        reason: Option<String>,
    ) -> Done<()> {
        let id = relay.group;
        let Some(mut member) = self.store.member(id, about)? else { return Ok(()) };
        if !matches!(member.status, MemberStatus::Knocking | MemberStatus::Rejected)
            || member.status == status
        {
            return Ok(());
        }
        member.status = status;
        self.store.save_member(id, about, &member)?;
        let by = by.map(|by| rows::author_name(self.store, id, group, Some(by))).transpose()?;
        self.tell(Event::KnockEnded {
            group: group.alias.clone(),
            member_id: about.to_string(),
            name: member.name(about),
            outcome: outcome.into(),
            by,
            reason,
            relay: relay.record.name.clone(),
        });
        if status == MemberStatus::Active {
            self.tell(Event::Member(rows::member_row(group, about, &member)));
        }
        self.member_count_changed(id, group)
    }
}

/// What a moderator says about somebody who knocks.
fn decided(group: &Group, member_id: &MemberId, member: &Member, decision: &Decision) -> Said {
    match decision {
        Decision::Accepted => Said::LinkAccept(LinkAccept {
            acceptance: Acceptance::Accepted,
            role: default_role(group),
            member_id: member_id.clone(),
            member_key: member.key,
            decided_by: None,
        }),
        Decision::Rejected { reason } => Said::LinkReject(Box::new(LinkReject {
            group_link_rejection: GroupLinkRejection::new(&group.profile.display_name, reason),
            member_id: Some(member_id.clone()),
            member_key: member.key,
            decided_by: None,
        })),
    }
}

/// The reason that a person gives, as it goes to the joiner.
pub(super) fn checked_reason(reason: &str) -> Done<String> {
    let reason = reason.trim();
    if reason.len() > protocol::group::constants::REASON_BYTES_MAX || reason.chars().any(char::is_control) {
        let text = "A reason is one line of at most 512 bytes";
        return Err(Stop::Refused(CommandError::new(ExitCode::Usage, text)));
    }
    Ok(if reason.is_empty() { "a moderator did not let you in".to_owned() } else { reason.to_owned() })
}
