//! Somebody asks at our relay link to be let in (channels.md §13): check, answer, and introduce both sides.
//!
//! ```text
//! x.member ─▶ known id? ── no ──▶ new member with the joiner's role ─┐
//!                 └─ yes ─▶ signed by the pinned key, naming us? ────┼─▶ x.grp.link.inv ─▶ connected ─▶ introductions,
//!                                         └─ no ─▶ x.grp.relay.notice┘                                  roster, history
//! ```
//!
//! What a new member is told is in [`welcome`](crate::welcome).

use protocol::agent::invitation::Invitation;
use protocol::group::entrance::{NotShown, Otherwise};
use protocol::group::event::joining::{
    Acceptance, GroupLinkInvitation, GroupLinkRejection, LinkInvitation, LinkReject,
};
use protocol::group::event::owner_relay::{Capabilities, MemberIdRole, RelayNotice};
use protocol::group::event::{Event, Message};
use protocol::group::history_peer;
use protocol::group::identity::{MemberId, MemberKey, MemberRole};
use protocol::group::joining::{JoinProblem, Joiner, Pinned, check_join};
use protocol::group::knocking::{KnockEffect, KnockEvent};
use protocol::group::profile::GroupProfile;
use protocol::group::signed::Statement;
use protocol::net::engine::Fatal;
use thiserror::Error;

use crate::history::give::{self};
use crate::metrics::{Count, Refused};
use crate::notices::Concern;
use crate::operation::Quota;
use crate::rulings::{Bar, Standing};
use crate::steps::Step;
use crate::store::RelayStore;
use crate::store::records::{LinkState, Member, MemberStatus, NewMember, Purpose, ServedGroup};
use crate::turn::Turn;
use crate::{bulk, notices, rulings};

/// Bytes of an answer to a joiner in JSON: what the information of a connection holds, less room for a reply queue on a
/// server of several hosts (channels.md §22).
const ANSWER_BYTES_MAX: usize = 14_400;

/// After how many seconds somebody asks again who found no room.
const FULL_S: u32 = 3600;
/// The same where the group is not served now.
const NOT_SERVED_S: u32 = 300;

/// Why somebody is not let in; the joiner reads these words.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotAdmitted {
    /// Not now.
    #[error("this relay does not take new members of the group now: try another relay")]
    NotServed,
    /// No room.
    #[error("the group has as many members as this relay can serve: try another relay")]
    Full,
    /// The request.
    #[error(transparent)]
    Request(#[from] JoinProblem),
    /// The member was removed.
    #[error("the member was removed from the group")]
    Removed,
    /// A moderator's decision.
    #[error("a moderator of the group did not let you in: {0}")]
    Rejected(String),
    /// What the group asks of joiners.
    #[error(transparent)]
    Entrance(#[from] NotShown),
    /// No room for more who wait.
    #[error("as many wait for the group's moderators as this relay keeps: ask again later")]
    KnocksFull,
    /// The owner's quota.
    #[error("the groups of this owner have as many members as this relay allows: try another relay")]
    OwnerQuota,
    /// The relay's own quota.
    #[error("this relay serves as many members as it is set to: try another relay")]
    RelayFull,
}

impl NotAdmitted {
    /// The stable word for programs.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::NotServed => "not_served",
            Self::Full => "full",
            Self::Request(_) => "request",
            Self::Removed => "removed",
            Self::Rejected(_) => "rejected",
            Self::Entrance(_) => "entrance",
            Self::KnocksFull => "knocks_full",
            Self::OwnerQuota => "owner_quota",
            Self::RelayFull => "relay_full",
        }
    }

    /// Whether the group does not want the joiner, whichever relay is asked.
    const fn is_of_the_group(&self) -> bool {
        match self {
            Self::Removed | Self::Rejected(_) | Self::Entrance(_) => true,
            Self::NotServed
            | Self::Full
            | Self::Request(_)
            | Self::KnocksFull
            | Self::OwnerQuota
            | Self::RelayFull => false,
        }
    }

    /// After how many seconds it may be otherwise.
    const fn ask_again_after(&self) -> Option<u32> {
        match self {
            Self::NotServed => Some(NOT_SERVED_S),
            Self::Full | Self::KnocksFull | Self::OwnerQuota | Self::RelayFull => Some(FULL_S),
            Self::Request(_) | Self::Removed | Self::Rejected(_) | Self::Entrance(_) => None,
        }
    }
}

/// Somebody who may be let in.
struct Asking {
    joiner: Joiner,
    /// What is known under its member id.
    known: Option<Member>,
    /// What was decided about its key, if it shows that here for the first time under this id.
    standing: Standing,
}

/// Somebody asks at the relay link of a group.
///
/// # Errors
/// When the store fails; so for every function here.
pub fn requested<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
    invitation: &Invitation,
    info: &[u8],
) -> Result<(), Fatal> {
    if bulk::is_request(info) {
        return bulk::requested(turn, group, invitation, info);
    }
    if history_peer::is_request(info) {
        return give::peer_requested(turn, group, invitation, info);
    }
    match examine(turn, group, info)? {
        Ok(asking) => match how_far(turn, group, &asking.joiner, asking.known.as_ref())? {
            Ok(how_far) => let_in(turn, group, invitation, info, asking, how_far),
            Err(reason) => refuse(turn, group, invitation, claimed_id(info), reason),
        },
        Err(reason) => refuse(turn, group, invitation, claimed_id(info), reason),
    }
}

/// Who a request says it is from.
fn claimed_id(info: &[u8]) -> Option<MemberId> {
    match Statement::parse(info).ok()?.message().ok()?.event {
        Event::Join(join) => Some(join.new_member_id),
        _ => None,
    }
}

/// How far somebody comes who may come: strangers and those who left show what the group asks for, and wait for a
/// moderator where the owner says so, but for those to whom the owner gave a role.
fn how_far<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
    joiner: &Joiner,
    known: Option<&Member>,
) -> Result<Result<Acceptance, NotAdmitted>, Fatal> {
    if let Some(known) = known
        && let Some(status) = known.status.knock()
    {
        let answers = status.apply(KnockEvent::Asked).map(|(_, effects)| effects).unwrap_or_default();
        return Ok(match answers.first() {
            Some(KnockEffect::AnswerPending) => Ok(Acceptance::PendingReview),
            Some(KnockEffect::AnswerAdmitted) => Ok(Acceptance::Accepted),
            _ => Err(NotAdmitted::Rejected(known.reason.clone().unwrap_or_default())),
        });
    }
    let is_new = known.is_none_or(|known| known.status == MemberStatus::Left);
    if !is_new || joiner.role > turn.joiner_role(group) {
        return Ok(Ok(Acceptance::Accepted));
    }
    let Some(identity) = &group.identity else { return Ok(Err(NotAdmitted::NotServed)) };
    let mut waits = identity.profile.reviews_joiners();
    if let Some(entrance) = identity.profile.entrance() {
        let (shown, key) = (joiner.join.entrance.as_ref(), &joiner.join.new_member_key);
        match entrance.judge(shown, &identity.public_group_id, key, turn.now()) {
            Ok(()) => {}
            Err(missing) if missing.is_absence() && entrance.otherwise != Otherwise::Refuse => waits = true,
            Err(reason) => return Ok(Err(reason.into())),
        }
    }
    Ok(match waits {
        true if turn.store.count_knocks(group.id)? >= turn.limits.knocks_max => Err(NotAdmitted::KnocksFull),
        true => Ok(Acceptance::PendingReview),
        false => Ok(Acceptance::Accepted),
    })
}

fn examine<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
    info: &[u8],
) -> Result<Result<Asking, NotAdmitted>, Fatal> {
    let Some(identity) = group.identity.as_ref().filter(|_| group.life.status.lets_in()) else {
        return Ok(Err(NotAdmitted::NotServed));
    };
    let (mut known, mut failed) = (None, None);
    let joiner_role = turn.joiner_role(group);
    let checked = check_join(info, &identity.public_group_id, &group.key.relay, joiner_role, |id| {
        match turn.store.member_by_id(group.id, id) {
            Ok(found) => known = found,
            Err(error) => failed = Some(error),
        }
        // Of whom nothing but an owner's word is known, the first to come under its id brings the key.
        let met = known.as_ref().filter(|known| known.key.is_some());
        met.map(|known| Pinned { key: known.key.map(MemberKey), role: known.role })
    });
    if let Some(error) = failed {
        return Err(error.into());
    }
    let joiner = match checked {
        Ok(joiner) => joiner,
        Err(problem) => return Ok(Err(problem.into())),
    };
    if known.as_ref().is_some_and(|known| known.status == MemberStatus::Removed) {
        return Ok(Err(NotAdmitted::Removed));
    }
    if known.is_none() && turn.store.count_members(group.id)? >= turn.limits.members_max {
        return Ok(Err(NotAdmitted::Full));
    }
    // Whoever is known by its key has proven that it is its own: what was said about others who only named it is not for it.
    let standing = match known.as_ref().and_then(|known| known.key) {
        Some(_) => Standing::default(),
        None => rulings::about_key(turn, group, &joiner.join.new_member_key)?,
    };
    let reason = match standing.bar {
        Some(Bar::Removed) => Some(NotAdmitted::Removed),
        Some(Bar::Rejected) => Some(NotAdmitted::Rejected("the same key was refused before".to_owned())),
        None if known.is_none() => no_room(turn, group)?,
        None => None,
    };
    Ok(reason.map_or(Ok(Asking { joiner, known, standing }), Err))
}

/// What the operator's quotas say against a stranger.
fn no_room<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
) -> Result<Option<NotAdmitted>, Fatal> {
    let rules = &turn.operation.rules;
    let (owners, total) = (rules.quota(Quota::OwnerMembers), rules.quota(Quota::TotalMembers));
    if let Some(max) = total
        && turn.store.members_of_account(None)? >= max
    {
        return Ok(Some(NotAdmitted::RelayFull));
    }
    if let Some(max) = owners
        && let Some(account) = turn.store.account(group.id)?
        && turn.store.members_of_account(Some(&account))? >= max
    {
        return Ok(Some(NotAdmitted::OwnerQuota));
    }
    Ok(None)
}

fn let_in<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
    invitation: &Invitation,
    info: &[u8],
    asking: Asking,
    how_far: Acceptance,
) -> Result<(), Fatal> {
    let now = turn.now();
    let status = match how_far {
        Acceptance::PendingReview => MemberStatus::Asking,
        _ => MemberStatus::Accepted,
    };
    let Asking { joiner: Joiner { join, role, .. }, known, standing } = asking;
    let mut member = match known {
        Some(member) => member,
        None => {
            let new = NewMember {
                id: join.new_member_id,
                role,
                status,
                profile: None,
                key: Some(join.new_member_key.0),
            };
            turn.store.insert_member(group.id, &new, now)?
        }
    };
    standing.hold_for(&mut member);
    member.key = member.key.or(Some(join.new_member_key.0));
    member.profile = Some(join.profile);
    let answer = link_invitation(turn, group, &member, how_far)?;
    let until = now.plus_ms(turn.limits.joining_ttl.ms());
    let purpose = Purpose::Member(group.id, member.number);
    if let Some(connection) = turn.accept(invitation, answer, purpose, Some(until))? {
        bulk::replace_first(turn, &mut member, connection)?;
        // Nobody waits any more for what a member that comes again had not got.
        turn.deliver(group.id);
        member.status = status;
        member.since = now;
        member.link = LinkState::Open;
        let versions = Statement::parse(info).ok().and_then(|said| said.message().ok()?.versions);
        member.chat_version = versions.map_or(member.chat_version, |range| range.max());
    }
    turn.store.update_member(&member)?;
    turn.operation.metrics.one(match how_far {
        Acceptance::PendingReview => Count::Knocks,
        _ => Count::Joins,
    });
    turn.reached(Step::JoinerAdmitted);
    tracing::info!(
        group = group.id.0,
        role = member.role.word(),
        how_far = how_far.word(),
        "a joiner is answered"
    );
    Ok(())
}

fn link_invitation<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
    member: &Member,
    how_far: Acceptance,
) -> Result<Event, Fatal> {
    let identity = group.identity.as_ref().ok_or("a served group has an identity")?;
    let group_size = Some(i64::from(turn.store.count_members(group.id)?));
    let relay = MemberIdRole { member_id: group.key.relay.clone(), member_role: MemberRole::Relay };
    Ok(with_group_profile(&identity.profile, |group_profile| {
        Event::LinkInvitation(Box::new(LinkInvitation {
            group_link_invitation: GroupLinkInvitation {
                from_member: relay.clone(),
                from_member_name: turn.identity.profile.display_name.clone(),
                invited_member: MemberIdRole { member_id: member.id.clone(), member_role: member.role },
                group_profile,
                accepted: (how_far != Acceptance::Accepted).then_some(how_far),
                business: None,
                group_size,
            },
            relay_cap: Some(Capabilities::of_our_relays()),
        }))
    }))
}

fn refuse<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
    invitation: &Invitation,
    joiner: Option<MemberId>,
    reason: NotAdmitted,
) -> Result<(), Fatal> {
    turn.operation.metrics.refused(Refused::Join, reason.word());
    tracing::info!(group = group.id.0, %reason, "a joiner is refused");
    // The network's apps take a rejection for the group's, and do not join by its other relays any more.
    if reason.is_of_the_group() {
        reject(turn, group, invitation, joiner, &reason.to_string())?;
    } else {
        let answer = RelayNotice {
            notice: reason.word().to_owned(),
            text: reason.to_string(),
            count: 1,
            member_id: None,
            ask_again_after: reason.ask_again_after(),
        };
        answer_refused(turn, invitation, Event::RelayNotice(answer))?;
    }
    match Concern::of_joiner(&reason) {
        Some(concern) => notices::tell_owners(turn, group.id, concern, None),
        None => Ok(()),
    }
}

/// Answers a request at a relay link with a refusal, in words for people.
///
/// # Errors
/// When the store fails.
pub fn reject<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
    invitation: &Invitation,
    joiner: Option<MemberId>,
    reason: &str,
) -> Result<(), Fatal> {
    let relay = MemberIdRole { member_id: group.key.relay.clone(), member_role: MemberRole::Relay };
    let joiner = joiner.map(|member_id| MemberIdRole { member_id, member_role: turn.joiner_role(group) });
    let rejection = |group_profile: Option<GroupProfile>| {
        let group_name = group_profile.as_ref().map(|profile| profile.display_name.clone());
        Event::LinkReject(Box::new(LinkReject {
            group_link_rejection: GroupLinkRejection {
                from_member: Some(relay.clone()),
                invited_member: joiner.clone(),
                group_profile,
                ..GroupLinkRejection::new(group_name.unwrap_or_default(), reason)
            },
            member_id: None,
            member_key: None,
            decided_by: None,
        }))
    };
    let event = match &group.identity {
        Some(identity) => with_group_profile(&identity.profile, |profile| rejection(Some(profile))),
        None => rejection(None),
    };
    answer_refused(turn, invitation, event)
}

fn answer_refused<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    invitation: &Invitation,
    answer: Event,
) -> Result<(), Fatal> {
    let until = turn.now().plus_ms(turn.limits.refusal_ttl.ms());
    turn.accept(invitation, answer, Purpose::Answer, Some(until))?;
    Ok(())
}

/// An answer with the group's profile: whole if it fits, since the network's apps show what they are told here until they
/// read the link again; else without the long text, and at last without the picture.
fn with_group_profile(profile: &GroupProfile, answer: impl Fn(GroupProfile) -> Event) -> Event {
    let fits = |event: &Event| Message::new(None, event.clone()).to_json().len() <= ANSWER_BYTES_MAX;
    let whole = answer(profile.clone());
    if fits(&whole) {
        return whole;
    }
    let shorter = GroupProfile { description: None, ..profile.clone() };
    let without_text = answer(shorter.clone());
    if fits(&without_text) {
        return without_text;
    }
    answer(GroupProfile { image: None, ..shorter })
}

#[cfg(test)]
mod tests {
    use protocol::group::event::group::GroupInfo;

    use super::*;

    #[test]
    fn a_groups_profile_goes_whole_to_joiners_if_it_fits() {
        let answered = |text: usize, picture: usize| {
            let json = format!(
                r#"{{"displayName":"Tea","fullName":"","description":"{}","image":"data:image/jpg;base64,{}"}}"#,
                "x".repeat(text),
                "A".repeat(picture)
            );
            let profile: GroupProfile = serde_json::from_str(&json).unwrap();
            let answer = with_group_profile(&profile, |group_profile| {
                Event::GroupInfo(Box::new(GroupInfo { group_profile }))
            });
            let Event::GroupInfo(info) = answer else { panic!("the event that was asked for") };
            (info.group_profile.description.is_some(), info.group_profile.image.is_some())
        };
        assert_eq!(answered(1_500, 12_500), (true, true), "as large as the network's apps make them");
        assert_eq!(answered(2_500, 12_500), (false, true));
        assert_eq!(answered(10, 14_400), (false, false));
    }
}
