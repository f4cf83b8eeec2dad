//! Somebody asks at our relay link to be let in (channels.md §13): check, answer, and introduce both sides.
//!
//! ```text
//! x.member ─▶ known id? ── no ──▶ new member with the joiner's role ─┐
//!                 └─ yes ─▶ signed by the pinned key, naming us? ────┼─▶ x.grp.link.inv ─▶ connected ─▶ introductions,
//!                                         └─ no ─▶ x.grp.link.reject ┘                                  roster, history
//! ```

use protocol::agent::invitation::Invitation;
use protocol::agent::store::ConnectionId;
use protocol::crypto::sign::Ed25519PublicKey;
use protocol::group::constants::CHAT_VERSIONS;
use protocol::group::event::Event;
use protocol::group::event::joining::{
    GroupLinkInvitation, GroupLinkRejection, Join, LinkInvitation, LinkMember, LinkReject,
};
use protocol::group::event::members::{MemberInfo, MemberIntro, MemberNew, Restriction, Restrictions};
use protocol::group::event::owner_relay::MemberIdRole;
use protocol::group::identity::{MemberId, MemberKey, MemberRole};
use protocol::group::profile::Profile;
use protocol::group::signed::{SignatureState, Statement};
use protocol::net::engine::Fatal;
use protocol::version::VersionRange;
use thiserror::Error;

use crate::config::JoinerRole;
use crate::delivery::task::forwarded;
use crate::roster;
use crate::steps::Step;
use crate::store::RelayStore;
use crate::store::records::{
    GroupId, LinkState, Member, MemberNumber, MemberStatus, NewMember, Purpose, ServedGroup,
};
use crate::turn::Turn;

/// Who are shown to joiners, and told of them.
const LEADING_ROLES: [MemberRole; 3] = [MemberRole::Owner, MemberRole::Admin, MemberRole::Moderator];

/// Why somebody is not let in; the joiner reads these words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotAdmitted {
    /// Not now.
    #[error("this relay does not take new members of the group now: try another relay")]
    NotServed,
    /// No room.
    #[error("the group has as many members as this relay can serve")]
    Full,
    /// The profile.
    #[error("the profile cannot be shown to others")]
    Profile,
    /// The request names another relay.
    #[error("the request was made for another relay")]
    AnotherRelay,
    /// The member id is somebody's, and the request does not prove to be theirs.
    #[error("the member id is in use, and the request is not signed by its key")]
    NotTheirs,
    /// The signature is not by the key in the request.
    #[error("the request is not signed by the key that it brings")]
    BadSignature,
    /// The member was removed.
    #[error("the member was removed from the group")]
    Removed,
}

/// What a request proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// The signature, as that of the key in the request.
    pub by_new_key: SignatureState,
    /// The signature, as that of the key that is pinned for this member id.
    pub by_pinned_key: SignatureState,
    /// Which relay it names, compared with us; none when it names no relay.
    pub names_us: Option<bool>,
}

/// The rule of §13.6. `known` is the record of the member id, if there is one.
///
/// # Errors
/// [`NotAdmitted`] with the reason.
pub fn admit(known: Option<(&Member, bool)>, proof: Proof) -> Result<(), NotAdmitted> {
    if proof.names_us == Some(false) {
        return Err(NotAdmitted::AnotherRelay);
    }
    match known {
        Some((_, true)) => Err(NotAdmitted::NotTheirs),
        Some((member, false)) if member.status == MemberStatus::Removed => Err(NotAdmitted::Removed),
        Some(_) if proof.by_pinned_key == SignatureState::Verified && proof.names_us == Some(true) => Ok(()),
        Some(_) => Err(NotAdmitted::NotTheirs),
        // Older clients do not sign; who signs must do it right.
        None if proof.by_new_key == SignatureState::Bad => Err(NotAdmitted::BadSignature),
        None => Ok(()),
    }
}

/// Somebody asks at the relay link of a group.
///
/// # Errors
/// When the store fails; so for every function here.
pub fn requested<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
    invitation: &Invitation,
    statement: &Statement<'_>,
    versions: Option<VersionRange>,
    join: Join,
) -> Result<(), Fatal> {
    match examine(turn, group, statement, &join)? {
        Ok(known) => let_in(turn, group, invitation, versions, join, known),
        Err(reason) => refuse(turn, group, invitation, reason),
    }
}

fn examine<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
    statement: &Statement<'_>,
    join: &Join,
) -> Result<Result<Option<Member>, NotAdmitted>, Fatal> {
    let Some(identity) = group.identity.as_ref().filter(|_| group.life.status.serves()) else {
        return Ok(Err(NotAdmitted::NotServed));
    };
    if join.profile.check().is_err() {
        return Ok(Err(NotAdmitted::Profile));
    }
    let known = turn.store.member_by_id(group.id, &join.new_member_id)?;
    if known.is_none() && turn.store.count_members(group.id)? >= turn.limits.members_max {
        return Ok(Err(NotAdmitted::Full));
    }
    let check = |key: Option<Ed25519PublicKey>| {
        statement.check(&identity.public_group_id, &join.new_member_id, key.map(MemberKey).as_ref())
    };
    let proof = Proof {
        by_new_key: check(Some(join.new_member_key.0)),
        by_pinned_key: check(known.as_ref().and_then(|known| known.key)),
        names_us: join.via_relay.as_ref().map(|relay| *relay == group.key.relay),
    };
    let is_us = join.new_member_id == group.key.relay;
    Ok(admit(known.as_ref().map(|known| (known, is_us)), proof).map(|()| known))
}

fn let_in<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
    invitation: &Invitation,
    versions: Option<VersionRange>,
    join: Join,
    known: Option<Member>,
) -> Result<(), Fatal> {
    let now = turn.now();
    let mut member = match known {
        Some(member) => member,
        None => {
            let new = NewMember {
                id: join.new_member_id,
                role: joiner_role(turn.identity.joiner_role),
                status: MemberStatus::Accepted,
                profile: None,
                key: Some(join.new_member_key.0),
            };
            turn.store.insert_member(group.id, &new, now)?
        }
    };
    member.profile = Some(join.profile);
    let info = link_invitation(turn, group, &member)?;
    let until = now.plus_ms(turn.limits.joining_ttl.ms());
    let purpose = Purpose::Member(group.id, member.number);
    if let Some(connection) = turn.accept(invitation, info, purpose, Some(until))? {
        if let Some(old) = member.connection.replace(connection) {
            turn.close(old, false)?;
        }
        member.status = MemberStatus::Accepted;
        member.since = now;
        member.link = LinkState::Open;
        member.chat_version = versions.map_or(member.chat_version, |range| range.max());
    }
    turn.store.update_member(&member)?;
    turn.reached(Step::JoinerAdmitted);
    tracing::info!(group = group.id.0, role = member.role.word(), "a member is let in");
    Ok(())
}

fn joiner_role(setting: JoinerRole) -> MemberRole {
    match setting {
        JoinerRole::Observer => MemberRole::Observer,
        JoinerRole::Member => MemberRole::Member,
    }
}

fn link_invitation<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
    member: &Member,
) -> Result<Event, Fatal> {
    let identity = group.identity.as_ref().ok_or("a served group has an identity")?;
    Ok(Event::LinkInvitation(Box::new(LinkInvitation {
        group_link_invitation: GroupLinkInvitation {
            from_member: MemberIdRole { member_id: group.key.relay.clone(), member_role: MemberRole::Relay },
            from_member_name: turn.identity.profile.display_name.clone(),
            invited_member: MemberIdRole { member_id: member.id.clone(), member_role: member.role },
            group_profile: identity.profile.clone(),
            accepted: None,
            business: None,
            group_size: Some(i64::from(turn.store.count_members(group.id)?)),
        },
    })))
}

fn refuse<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
    invitation: &Invitation,
    reason: NotAdmitted,
) -> Result<(), Fatal> {
    let group_name = group.identity.as_ref().map(|identity| identity.profile.display_name.clone());
    let rejection = GroupLinkRejection {
        group_name: group_name.unwrap_or_default(),
        rejection_reason: reason.to_string().into(),
    };
    let until = turn.now().plus_ms(turn.limits.refusal_ttl.ms());
    let event = Event::LinkReject(LinkReject { group_link_rejection: rejection });
    turn.accept(invitation, event, Purpose::Answer, Some(until))?;
    tracing::info!(group = group.id.0, %reason, "a joiner is refused");
    Ok(())
}

/// The connection of a member stands: introductions both ways, the roster, and recent history.
///
/// # Errors
/// When the store fails.
pub fn connected<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    connection: ConnectionId,
    group: &ServedGroup,
    number: MemberNumber,
) -> Result<(), Fatal> {
    let Some(mut member) = turn.store.member(number)? else { return Ok(()) };
    if member.connection != Some(connection) || member.status != MemberStatus::Accepted {
        return Ok(());
    }
    turn.store.set_purpose(connection, Purpose::Member(group.id, number), None)?;
    member.status = MemberStatus::Connected;
    member.since = turn.now();
    turn.store.update_member(&member)?;
    let leaders = turn.store.members_with_roles(group.id, &LEADING_ROLES)?;
    if member.role == MemberRole::Owner {
        tracing::info!(group = group.id.0, "an owner is connected");
    } else {
        tell_of(turn, &member, &leaders)?;
        welcome(turn, connection, group, &mut member, &leaders)?;
        tracing::info!(group = group.id.0, "a member is connected");
    }
    turn.reached(Step::JoinerIntroduced);
    Ok(())
}

/// Tells owners, admins and moderators of a new member.
fn tell_of<S: RelayStore>(turn: &mut Turn<'_, '_, S>, member: &Member, leaders: &[Member]) -> Result<(), Fatal> {
    let element = turn.compose(member_new(member));
    for leader in leaders {
        let is_reached = leader.number != member.number && leader.status == MemberStatus::Connected;
        if let Some(connection) = leader.connection.filter(|_| is_reached) {
            if turn.send(connection, protocol::agent::Body::Inline(&element))? {
                turn.store.introduce(member.number, leader.number)?;
            }
        }
    }
    Ok(())
}

/// What a new member gets: our profile, the owners, the roster, admins and moderators, history.
fn welcome<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    connection: ConnectionId,
    group: &ServedGroup,
    member: &mut Member,
    leaders: &[Member],
) -> Result<(), Fatal> {
    let profile = turn.identity.profile.clone();
    let mut elements = vec![turn.compose(Event::LinkMember(Box::new(LinkMember { profile })))];
    let (owners, others): (Vec<_>, Vec<_>) = leaders
        .iter()
        .filter(|leader| leader.number != member.number && !is_gone(leader.status))
        .partition(|leader| leader.role == MemberRole::Owner);
    for owner in owners {
        elements.push(turn.compose(member_intro(owner)));
        turn.store.introduce(owner.number, member.number)?;
    }
    elements.extend(roster::elements_for(turn, group.id, member)?);
    for other in others {
        elements.push(turn.compose(member_intro(other)));
        turn.store.introduce(other.number, member.number)?;
    }
    elements.extend(history(turn, group, member.number)?);
    turn.store.update_member(member)?;
    turn.send_elements(connection, &elements)
}

/// Recent messages as forward elements, each author's profile ahead of the first that a stranger wrote.
///
/// # Errors
/// When the store fails.
pub fn history<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
    recipient: MemberNumber,
) -> Result<Vec<Vec<u8>>, Fatal> {
    let gives = group.identity.as_ref().is_some_and(|identity| identity.profile.preferences().gives_history());
    if !gives || turn.limits.history_items == 0 {
        return Ok(Vec::new());
    }
    let limit = turn.limits.history_items;
    let (mut elements, mut met) = (Vec::new(), std::collections::BTreeSet::new());
    for message in turn.store.history(group.id, limit)? {
        let number = message.message.author;
        let Some(author) = turn.store.member(number)? else { continue };
        if number == recipient {
            continue;
        }
        if author.role < MemberRole::Owner && !message.message.as_channel && met.insert(number) {
            elements.push(turn.compose(member_new(&author)));
            turn.store.introduce(number, recipient)?;
        }
        elements.push(forwarded(&author, &message)?);
    }
    Ok(elements)
}

/// What was passed over while a member's queue was full: the roster first, then recent history. The member drops what
/// it has already.
///
/// # Errors
/// When the store fails.
pub fn catch_up<S: RelayStore>(turn: &mut Turn<'_, '_, S>, id: GroupId, number: MemberNumber) -> Result<(), Fatal> {
    let (Some(group), Some(mut member)) = (turn.store.group(id)?, turn.store.member(number)?) else {
        return Ok(());
    };
    let Some(connection) = member.connection.filter(|_| member.passed_over) else { return Ok(()) };
    let mut elements = roster::elements_for(turn, id, &mut member)?;
    elements.extend(history(turn, &group, number)?);
    member.passed_over = false;
    turn.store.update_member(&member)?;
    turn.send_elements(connection, &elements)
}

fn is_gone(status: MemberStatus) -> bool {
    matches!(status, MemberStatus::Left | MemberStatus::Removed)
}

/// A member, for those who have not met it.
#[must_use]
pub fn member_new(member: &Member) -> Event {
    Event::MemberNew(Box::new(MemberNew { member_info: member_info(member), scope: None }))
}

fn member_intro(member: &Member) -> Event {
    let restrictions = member.blocked.then_some(Restrictions { restriction: Restriction::Blocked });
    Event::MemberIntro(Box::new(MemberIntro {
        member_info: member_info(member),
        member_restrictions: restrictions,
    }))
}

fn member_info(member: &Member) -> MemberInfo {
    let named = || Profile::named(member.id.stand_in_name());
    let versions = VersionRange::new(CHAT_VERSIONS.min(), member.chat_version.max(CHAT_VERSIONS.min()));
    MemberInfo {
        member_id: MemberId::clone(&member.id),
        member_role: member.role,
        v: versions.map(|range| range.to_string()),
        profile: member.profile.clone().unwrap_or_else(named),
        member_key: member.key.map(MemberKey),
    }
}

#[cfg(test)]
mod tests {
    use protocol::timestamp::Timestamp;

    use super::*;

    const SIGNED: Proof = Proof {
        by_new_key: SignatureState::Verified,
        by_pinned_key: SignatureState::Verified,
        names_us: Some(true),
    };

    fn member(status: MemberStatus) -> Member {
        Member {
            number: MemberNumber(1),
            group: GroupId(1),
            id: MemberId::new([1; 12]).unwrap(),
            role: MemberRole::Moderator,
            status,
            profile: None,
            key: None,
            blocked: false,
            chat_version: 19,
            connection: None,
            link: LinkState::Open,
            passed_over: false,
            roster_served: -1,
            since: Timestamp(0),
        }
    }

    #[test]
    fn strangers_are_let_in_signed_or_not() {
        assert_eq!(admit(None, SIGNED), Ok(()));
        let unsigned = Proof { by_new_key: SignatureState::Absent, names_us: None, ..SIGNED };
        assert_eq!(admit(None, unsigned), Ok(()));
        let forged = Proof { by_new_key: SignatureState::Bad, ..SIGNED };
        assert_eq!(admit(None, forged), Err(NotAdmitted::BadSignature));
    }

    #[test]
    fn a_known_id_must_prove_itself_to_this_relay() {
        let known = member(MemberStatus::Known);
        let admitted = |proof| admit(Some((&known, false)), proof);
        assert_eq!(admitted(SIGNED), Ok(()));
        for by_pinned_key in [SignatureState::Absent, SignatureState::Bad, SignatureState::KeyUnknown] {
            assert_eq!(admitted(Proof { by_pinned_key, ..SIGNED }), Err(NotAdmitted::NotTheirs));
        }
        assert_eq!(admitted(Proof { names_us: None, ..SIGNED }), Err(NotAdmitted::NotTheirs));
        assert_eq!(admitted(Proof { names_us: Some(false), ..SIGNED }), Err(NotAdmitted::AnotherRelay));
    }

    #[test]
    fn nobody_takes_our_own_place_or_comes_back_after_removal() {
        let known = member(MemberStatus::Known);
        assert_eq!(admit(Some((&known, true)), SIGNED), Err(NotAdmitted::NotTheirs));
        let removed = member(MemberStatus::Removed);
        assert_eq!(admit(Some((&removed, false)), SIGNED), Err(NotAdmitted::Removed));
    }

    #[test]
    fn a_request_for_another_relay_is_no_request_to_us() {
        let replayed = Proof { names_us: Some(false), ..SIGNED };
        assert_eq!(admit(None, replayed), Err(NotAdmitted::AnotherRelay));
    }
}
