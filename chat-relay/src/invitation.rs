//! An owner asks us to serve a group (channels.md §12): read its link, validate all of it, make a relay link, answer.
//!
//! ```text
//! x.grp.relay.inv ─▶ stored ─▶ group link read ─▶ valid ─▶ relay link made ─▶ x.grp.relay.acpt
//!                      ▲  └── out of reach: again later, 5 s … 600 s ──┐
//!                      └────────────────────────────────────────────────┤
//!                                      not valid, or too late ─▶ x.grp.relay.reject with the reason
//! ```
//!
//! Nothing authenticates an invitation: whoever knows a group's link can send one in the owner's name. So a group is
//! known by its link *and* the ids that the invitation gives; the same again gets the same answer; and a second
//! connection in the owner's name, once the group link lists us, is a claimant: only what the owner signed counts
//! there.

use protocol::agent::address_draft::{AddressDraft, AddressPlan};
use protocol::agent::invitation::Invitation;
use protocol::agent::store::ConnectionId;
use protocol::encoding::Encode as _;
use protocol::group::event::Event;
use protocol::group::event::owner_relay::{RelayAccept, RelayInvitation, RelayReject, RelayTest};
use protocol::group::identity::{LinkText, MemberRole};
use protocol::net::engine::Fatal;
use protocol::smp::short_link::{LinkType, ShortLink};
use protocol::timestamp::Timestamp;

use crate::config::Limits;
use crate::steps::Step;
use crate::store::RelayStore;
use crate::store::records::{
    GroupId, GroupKey, GroupStatus, InvitationId, LinkState, MemberStatus, NewMember, Purpose, ServedGroup,
    WaitingInvitation,
};
use crate::turn::{LinkRead, Turn, stored};
use crate::validation::ValidGroup;

/// Longest challenge that a test of the relay may hold, bytes.
const CHALLENGE_BYTES_MAX: usize = 255;

/// Somebody asks at our address.
///
/// # Errors
/// When the store fails; so for every function here.
pub fn requested<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    invitation: &Invitation,
    event: Event,
) -> Result<(), Fatal> {
    match event {
        Event::RelayInvite(invite) => invited(turn, invitation, invite.group_relay_invitation),
        Event::RelayTest(test) => tested(turn, invitation, test),
        other => {
            tracing::debug!(event = other.tag().name(), "a request that an address does not take is ignored");
            Ok(())
        }
    }
}

fn invited<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    invitation: &Invitation,
    offer: RelayInvitation,
) -> Result<(), Fatal> {
    if offer.from_member.member_role != MemberRole::Owner {
        return refuse(turn, invitation, "not_owner", &"only an owner can invite a relay");
    }
    if let Err(problem) = offer.from_member_profile.check() {
        return refuse(turn, invitation, "bad_profile", &format!("the owner's profile: {problem}"));
    }
    let link = match offer.group_link.as_str().parse::<ShortLink>() {
        Ok(link @ ShortLink::Contact { .. }) if !link.is_shortened() => link,
        _ => {
            let cause = "the group link cannot be used: it must be a full link with the address of its server";
            return refuse(turn, invitation, "bad_link", &cause);
        }
    };
    let key = GroupKey {
        group_link: LinkText::new(link.to_string())?,
        owner: offer.from_member.member_id,
        relay: offer.relay_member_id,
    };
    if key.owner == key.relay {
        return refuse(turn, invitation, "bad_member_id", &"the relay and the owner cannot have one member id");
    }
    let (now, groups_max) = (turn.now(), turn.limits.groups_max);
    let Some(group) = turn.store.group_for_invitation(&key, now, groups_max)? else {
        return refuse(turn, invitation, "full", &"this relay serves as many groups as it can");
    };
    if group.status == GroupStatus::Closing {
        return refuse(turn, invitation, "closing", &"this relay is leaving the group: invite it again later");
    }
    let id = turn.store.add_invitation(group.id, &invitation.to_bytes(), &offer.from_member_profile, now)?;
    turn.reached(Step::InvitationStored);
    tracing::info!(group = group.id.0, status = group.status.word(), "an owner invites this relay");
    if group.status == GroupStatus::Invited {
        turn.wake_at(now);
        return Ok(());
    }
    match turn.store.invitation(id)? {
        Some(waiting) => answer(turn, group, &waiting),
        None => Ok(()),
    }
}

/// Proves that we hold the key of our address.
fn tested<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    invitation: &Invitation,
    test: RelayTest,
) -> Result<(), Fatal> {
    let Some(address) = turn.store.relay_address()? else { return Ok(()) };
    if test.challenge.is_empty() || test.challenge.len() > CHALLENGE_BYTES_MAX {
        tracing::debug!("a test without a usable challenge is ignored");
        return Ok(());
    }
    let draft: AddressDraft = stored(&address.draft)?;
    let signature = draft.root_key().sign(&test.challenge).to_vec();
    let answer = Event::RelayTest(RelayTest { challenge: test.challenge, signature: Some(signature) });
    let until = turn.now().plus_ms(turn.limits.refusal_ttl.ms());
    turn.accept(invitation, answer, Purpose::Answer, Some(until))?;
    Ok(())
}

/// Starts reading group links for invitations that are due; gives those that were started.
///
/// # Errors
/// When the store fails.
pub fn read_due<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    is_being_read: impl Fn(LinkRead) -> bool,
    room: usize,
) -> Result<Vec<LinkRead>, Fatal> {
    let now = turn.now();
    // Those being read stay due until their answer comes: look past them.
    let at_once = usize::try_from(turn.limits.invitations_at_once).unwrap_or(usize::MAX);
    let due = turn.store.invitations_due(now, at_once)?;
    let mut started = Vec::new();
    for waiting in due {
        let read = LinkRead::Invitation(waiting.id);
        if started.len() >= room || is_being_read(read) {
            continue;
        }
        let Some(group) = turn.store.group(waiting.group)? else { continue };
        let link: ShortLink = group.key.group_link.as_str().parse()?;
        turn.read_link(read, &link);
        started.push(read);
    }
    if let Some(next) = turn.store.next_invitation(now)? {
        turn.wake_at(next);
    }
    Ok(started)
}

/// The group link could not be read for now: try again later, or give up.
///
/// # Errors
/// When the store fails.
pub fn unreachable<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    waiting: &WaitingInvitation,
    cause: &dyn std::fmt::Display,
) -> Result<(), Fatal> {
    let now = turn.now();
    match next_try(waiting.tries, waiting.first_at, now, turn.limits) {
        Some((tries, due)) => {
            turn.store.postpone_invitation(waiting.id, tries, due)?;
            turn.wake_at(due);
            Ok(())
        }
        None => {
            let cause = format!("the group link could not be read in time: {cause}");
            refuse_waiting(turn, waiting, "expired", &cause)
        }
    }
}

/// How many tries there were, and when the next one is; none when it is time to give up.
fn next_try(tries: u32, first_at: Timestamp, now: Timestamp, limits: &Limits) -> Option<(u32, Timestamp)> {
    let tries = tries.saturating_add(1);
    let is_old = now >= first_at.plus_ms(limits.invitation_age_min.ms());
    if tries >= limits.invitation_tries_min && is_old {
        return None;
    }
    let doublings = tries.saturating_sub(1).min(30);
    let pause = limits.invitation_retry_first.ms().saturating_mul(1_i64 << doublings);
    Some((tries, now.plus_ms(pause.min(limits.invitation_retry_max.ms()))))
}

/// The group link was read and is valid.
///
/// # Errors
/// When the store fails.
pub fn validated<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    waiting: &WaitingInvitation,
    mut group: ServedGroup,
    valid: ValidGroup,
) -> Result<(), Fatal> {
    if group.status != GroupStatus::Invited {
        return answer(turn, group, waiting);
    }
    // Until the relay link is made the invitation need not be looked at again.
    let now = turn.now();
    turn.store.postpone_invitation(
        waiting.id,
        waiting.tries,
        now.plus_ms(turn.limits.invitation_retry_max.ms()),
    )?;
    if group.draft.is_some() {
        return Ok(());
    }
    for (id, key) in &valid.owners {
        let profile = (*id == group.key.owner).then(|| waiting.profile.clone());
        let owner = NewMember {
            id: id.clone(),
            role: MemberRole::Owner,
            status: MemberStatus::Known,
            profile,
            key: Some(*key),
        };
        if turn.store.member_by_id(group.id, id)?.is_none() {
            turn.store.insert_member(group.id, &owner, now)?;
        }
    }
    group.identity = Some(valid.identity);
    make_link(turn, group)
}

/// Prepares our relay link for a group and asks for it to be created. Its key is our member key.
fn make_link<S: RelayStore>(turn: &mut Turn<'_, '_, S>, mut group: ServedGroup) -> Result<(), Fatal> {
    let root_key = turn.signing_key();
    let (now, public_key) = (turn.now(), root_key.public_key());
    match turn.store.member_by_id(group.id, &group.key.relay)? {
        Some(mut own) => {
            own.key = Some(public_key);
            turn.store.update_member(&own)?;
        }
        None => {
            let own = NewMember {
                id: group.key.relay.clone(),
                role: MemberRole::Relay,
                status: MemberStatus::Known,
                profile: Some(turn.identity.profile.clone()),
                key: Some(public_key),
            };
            turn.store.insert_member(group.id, &own, now)?;
        }
    }
    let plan = AddressPlan {
        server: turn.server().clone(),
        link_type: LinkType::Group,
        root_key,
        link_entity_id: Some(group.key.relay.as_bytes().to_vec()),
        client_data: None,
    };
    let draft = AddressDraft::new(plan, turn.context.rng())?;
    group.draft = Some(draft.to_bytes());
    turn.store.update_group(&group)?;
    let data = turn.identity.link_data();
    turn.create_address(draft, &data, Purpose::RelayLink(group.id))?;
    turn.reached(Step::GroupAccepted);
    tracing::info!(group = group.id.0, "the group is valid: its relay link is being made");
    Ok(())
}

/// Our relay link is there: the owner gets it.
///
/// # Errors
/// When the store fails.
pub fn link_created<S: RelayStore>(turn: &mut Turn<'_, '_, S>, id: GroupId) -> Result<(), Fatal> {
    let Some(mut group) = turn.store.group(id)? else { return Ok(()) };
    if group.status != GroupStatus::Invited {
        return Ok(());
    }
    let now = turn.now();
    group.status = GroupStatus::Accepted;
    group.since = now;
    let first_look = now.plus_ms(turn.limits.watch_confirm_after.ms().min(turn.limits.watch_interval.ms()));
    group.watch_at = Some(first_look);
    turn.wake_at(first_look);
    turn.store.update_group(&group)?;
    for waiting in turn.store.invitations_of(id)? {
        answer(turn, group.clone(), &waiting)?;
    }
    Ok(())
}

/// Our relay link cannot be made. A lost answer means a new link; anything else is the end of the invitation.
///
/// # Errors
/// When the store fails.
pub fn link_failed<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    connection: ConnectionId,
    id: GroupId,
    reason: protocol::agent::event::Failure,
) -> Result<(), Fatal> {
    let Some(group) = turn.store.group(id)? else { return Ok(()) };
    if group.status != GroupStatus::Invited {
        tracing::error!(group = id.0, %reason, "the relay link of a served group failed: joiners cannot reach it");
        return Ok(());
    }
    turn.close(connection, false)?;
    if reason == protocol::agent::event::Failure::AnswerLost {
        return make_link(turn, group);
    }
    tracing::error!(group = id.0, %reason, "a relay link could not be made");
    let cause = format!("the relay could not make its link: {reason}");
    for waiting in turn.store.invitations_of(id)? {
        refuse_waiting(turn, &waiting, "no_link", &cause)?;
    }
    Ok(())
}

/// Answers an invitation for a group whose relay link is there.
fn answer<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: ServedGroup,
    waiting: &WaitingInvitation,
) -> Result<(), Fatal> {
    turn.store.delete_invitation(waiting.id)?;
    let draft: AddressDraft = stored(group.draft.as_deref().unwrap_or_default())?;
    let Some(mut owner) = turn.store.member_by_id(group.id, &group.key.owner)? else { return Ok(()) };
    let accept = RelayAccept {
        relay_link: LinkText::new(draft.short_link().to_string())?,
        relay_cap: None,
    };
    let invitation: Invitation = stored(&waiting.invitation)?;
    let is_listed = matches!(group.status, GroupStatus::Active | GroupStatus::Inactive);
    let is_claim = is_listed && owner.connection.is_some() && owner.link != LinkState::Broken;
    let purpose = if is_claim {
        Purpose::Claimant(group.id, owner.number)
    } else {
        Purpose::Member(group.id, owner.number)
    };
    let until = turn.now().plus_ms(turn.limits.joining_ttl.ms());
    let Some(connection) = turn.accept(&invitation, Event::RelayAccept(accept), purpose, Some(until))? else {
        return Ok(());
    };
    if !is_claim {
        if let Some(old) = owner.connection.replace(connection) {
            turn.close(old, false)?;
        }
        owner.link = LinkState::Open;
        owner.status = MemberStatus::Accepted;
        owner.since = turn.now();
        owner.profile = Some(waiting.profile.clone());
        turn.store.update_member(&owner)?;
    }
    turn.reached(Step::OwnerAnswered);
    tracing::info!(group = group.id.0, is_claim, "the owner was answered with the relay link");
    Ok(())
}

/// Refuses an invitation that waited; the group is forgotten when nothing else waits for it.
///
/// # Errors
/// When the store fails.
pub fn refuse_waiting<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    waiting: &WaitingInvitation,
    word: &str,
    cause: &dyn std::fmt::Display,
) -> Result<(), Fatal> {
    let invitation: Invitation = stored(&waiting.invitation)?;
    turn.store.delete_invitation(waiting.id)?;
    let is_unserved = turn.store.group(waiting.group)?.is_some_and(|group| group.status == GroupStatus::Invited);
    if is_unserved && turn.store.invitations_of(waiting.group)?.is_empty() {
        for (connection, _) in turn.store.connections_of_group(waiting.group)? {
            turn.close(connection, false)?;
        }
        turn.store.delete_group(waiting.group)?;
    }
    refuse(turn, &invitation, word, cause)
}

/// Refuses an invitation: a word for programs and the cause for people.
fn refuse<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    invitation: &Invitation,
    word: &str,
    cause: &dyn std::fmt::Display,
) -> Result<(), Fatal> {
    let until = turn.now().plus_ms(turn.limits.refusal_ttl.ms());
    let reject = Event::RelayReject(RelayReject::new(word, cause));
    turn.accept(invitation, reject, Purpose::Answer, Some(until))?;
    turn.reached(Step::InvitationRefused);
    tracing::info!(reason = word, "an invitation was refused");
    Ok(())
}

/// The invitation that a read of a group link was for, with its group.
///
/// # Errors
/// When the store fails.
pub fn waiting<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    id: InvitationId,
) -> Result<Option<(WaitingInvitation, ServedGroup)>, Fatal> {
    let Some(waiting) = turn.store.invitation(id)? else { return Ok(None) };
    Ok(turn.store.group(waiting.group)?.map(|group| (waiting, group)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_slow_down_and_end() {
        let limits = Limits::default();
        let (mut now, mut tries, mut pauses) = (Timestamp(0), 0, Vec::new());
        while let Some((counted, due)) = next_try(tries, Timestamp(0), now, &limits) {
            pauses.push((due.0 - now.0) / 1000);
            (tries, now) = (counted, due);
        }
        assert_eq!(pauses[..9], [5, 10, 20, 40, 80, 160, 320, 600, 600]);
        assert!(tries >= 9 && now >= Timestamp(86_400_000), "at least ten tries and a day");
        let quick = Limits { invitation_age_min: "0s".parse().unwrap(), ..limits };
        assert!(next_try(8, Timestamp(0), Timestamp(0), &quick).is_some());
        assert!(next_try(9, Timestamp(0), Timestamp(0), &quick).is_none(), "the tenth was the last");
    }
}
