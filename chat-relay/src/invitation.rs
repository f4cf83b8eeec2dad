//! An owner asks us to serve a group (channels.md §12): read its link, validate all of it, make a relay link, answer.
//!
//! ```text
//! x.grp.relay.inv ─▶ stored ─▶ group link read ─▶ valid, admitted ─▶ relay link made ─▶ x.grp.relay.acpt
//!        └─ not admitted              └─ not valid, or out of reach for too long ─▶ x.grp.relay.reject, with the reason
//! ```
//!
//! Nothing authenticates an invitation: whoever knows a group's link can send one in the owner's name. So a group is
//! known by its link *and* the ids that the invitation gives; the same again gets the same answer; and a second
//! connection in the owner's name, once the group link lists us, is a claimant: only what the owner signed counts
//! there.

use protocol::agent::address_draft::{AddressDraft, AddressPlan};
use protocol::agent::event::Failure;
use protocol::agent::invitation::Invitation;
use protocol::agent::store::ConnectionId;
use protocol::crypto::hash::sha256;
use protocol::encoding::Encode as _;
use protocol::group::catch_up::CatchUp;
use protocol::group::event::Event;
use protocol::group::event::owner_relay::{Capabilities, RelayAccept, RelayInvitation, RelayTest};
use protocol::group::identity::{LinkText, MemberRole};
use protocol::group::opened::OpenedGroupLink;
use protocol::group::relay_test;
use protocol::group::served_end::Refusal;
use protocol::group::served_group::{ServedEvent, ServedStatus};
use protocol::net::engine::Fatal;
use protocol::smp::known_servers::known_servers;
use protocol::smp::short_link::{LinkType, ShortLink};

use crate::access::{self, Account, Candidate, Shown};
use crate::config::Limits;
use crate::metrics::{Count, Refused};
use crate::operation::Quota;
use crate::steps::Step;
use crate::store::RelayStore;
use crate::store::operation::{CodeId, IssuedCode};
use crate::store::records::{
    GroupId, GroupKey, LinkState, MemberStatus, NewMember, Purpose, ServedGroup, WaitingInvitation,
};
use crate::turn::{Turn, stored};
use crate::{address, bulk, lifecycle};

/// Connections in an owner's name, beside the owner's own, that a group has at most.
const CLAIMANTS_MAX: usize = 4;
/// Longest link of a group that is taken, bytes: it stands in an index with two ids, whose entries PostgreSQL bounds at
/// 2704 bytes. A link with one host has some 130.
pub(crate) const GROUP_LINK_BYTES_MAX: usize = 2048;

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
    let key = match read_offer(&offer) {
        Ok(key) => key,
        Err(problem) => return refuse(turn, invitation, Refusal::InvalidGroup, Some(&problem)),
    };
    let code = match door(turn, &key, offer.invitation_code.as_deref())? {
        Ok(code) => code,
        Err(refusal) => return refuse(turn, invitation, refusal, None),
    };
    let now = turn.now();
    let groups_max = turn.operation.rules.quota(Quota::TotalGroups);
    let groups_max = groups_max.map_or(u32::MAX, |max| u32::try_from(max).unwrap_or(u32::MAX));
    let limits = Limits { groups_max, ..*turn.limits };
    let Some((mut group, is_new)) = turn.store.group_for_invitation(&key, now, &limits)? else {
        return refuse(turn, invitation, Refusal::Full, None);
    };
    if offer.history == Some(true) && is_new {
        group.fill = Some(CatchUp::Unasked);
        turn.store.update_group(&group)?;
    }
    if let Some(code) = code.filter(|_| !group.life.status.serves()) {
        turn.store.set_account(group.id, &Account::Code(code).to_string())?;
    }
    if matches!(group.life.status, ServedStatus::Inactive(_) | ServedStatus::Leaving) {
        // Members are being told that it is over. The owner asks again, and finds a new beginning: whoever is rejected
        // was refused at the door.
        tracing::info!(group = group.id.0, "an invitation to a group that is ending is left unanswered");
        return Ok(());
    }
    turn.store.add_invitation(group.id, &invitation.to_bytes(), &offer.from_member_profile)?;
    turn.reached(Step::InvitationStored);
    tracing::info!(group = group.id.0, is_new, "an owner invites this relay");
    if is_new {
        return lifecycle::begin(turn, group);
    }
    if !turn.store.holds(group.id) {
        // The worker that has it looks for what was stored for it.
        return Ok(());
    }
    lifecycle::advance(turn, group.id, ServedEvent::Invited { same_member: true })
}

/// Asks the operator's rules about an invitation; gives the code by which it comes. A group that is served already
/// needs no code again.
fn door<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    key: &GroupKey,
    code: Option<&str>,
) -> Result<Result<Option<CodeId>, Refusal>, Fatal> {
    let shown = match code {
        None => Shown::Nothing,
        Some(code) => {
            let code = turn.store.code(&sha256(code.as_bytes()))?;
            shown(turn, key, code)?
        }
    };
    let is_rejected = turn.store.is_rejected(&key.group_link, None)?;
    let known = turn.store.groups_by_link(&key.group_link)?;
    let is_served = known.iter().any(|group| group.key == *key && group.life.status.serves());
    let now = turn.now();
    Ok(match access::at_the_door(turn.operation.rules.access, is_rejected, &shown, now) {
        Err(_) if is_served => Ok(None),
        judged => judged,
    })
}

fn shown<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    key: &GroupKey,
    code: Option<IssuedCode>,
) -> Result<Shown, Fatal> {
    let Some(code) = code else { return Ok(Shown::Unknown) };
    let used_for_this = turn.store.is_code_used_for(code.id, &key.group_link)?;
    Ok(Shown::Issued { code, used_for_this })
}

/// Asks the operator's rules about a group whose link is right; it counts for its account from then on. A refusal may
/// come with words for the owner.
///
/// # Errors
/// When the store fails.
pub fn judge<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
    valid: &OpenedGroupLink,
) -> Result<Result<(), (Refusal, Option<String>)>, Fatal> {
    let inviter = valid.owners.iter().find(|owner| owner.member_id == group.key.owner);
    let owner_key = inviter.ok_or("a valid group link names the owner who invites")?.key.0;
    let account = match turn.store.account(group.id)? {
        Some(account) => account.parse()?,
        None => Account::Owner(owner_key),
    };
    let shown = match account {
        Account::Owner(_) => Shown::Nothing,
        Account::Code(id) => {
            let code = turn.store.code_by_id(id)?;
            shown(turn, &group.key, code)?
        }
    };
    let text = account.to_string();
    let candidate = Candidate {
        is_rejected: turn.store.is_rejected(&group.key.group_link, Some(&valid.group))?,
        account,
        shown,
        is_listed: turn.store.is_owner_allowed(&owner_key)?,
        groups: turn.store.groups_of_account(&text, group.id)?,
        groups_max: turn.operation.rules.quota(Quota::OwnerGroups).unwrap_or(0),
    };
    let now = turn.now();
    if let Err(refusal) = access::at_the_link(turn.operation.rules.access, &candidate, now) {
        let words = (refusal == Refusal::OwnerNotListed).then(|| access::key_text(&owner_key));
        return Ok(Err((refusal, words)));
    }
    turn.store.set_account(group.id, &text)?;
    if let Account::Code(id) = account {
        turn.store.use_code(id, &group.key.group_link)?;
        turn.reached(Step::CodeUsed);
    }
    turn.operation.metrics.one(Count::GroupsTaken);
    Ok(Ok(()))
}

/// Checks what an invitation says by itself.
fn read_offer(offer: &RelayInvitation) -> Result<GroupKey, String> {
    if offer.from_member.member_role != MemberRole::Owner {
        return Err("only an owner can invite a relay".to_owned());
    }
    if let Err(problem) = offer.from_member_profile.check() {
        return Err(format!("the owner's profile cannot be used: {problem}"));
    }
    if offer.from_member.member_id == offer.relay_member_id {
        return Err("the relay and the owner have the same member id".to_owned());
    }
    // Apps shorten links on well-known servers; the full one names the group.
    let link = offer.group_link.to_short_link().map(|link| link.completed(known_servers()));
    let link = match link {
        Some(link @ ShortLink::Contact { .. }) if !link.is_shortened() => LinkText::from(&link),
        _ => return Err("it must be a full link with the address of its server".to_owned()),
    };
    if link.as_str().len() > GROUP_LINK_BYTES_MAX {
        return Err("it is too long: name fewer hosts in it".to_owned());
    }
    Ok(GroupKey {
        group_link: link,
        owner: offer.from_member.member_id.clone(),
        relay: offer.relay_member_id.clone(),
    })
}

/// Proves that we hold the key of our address.
fn tested<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    invitation: &Invitation,
    test: RelayTest,
) -> Result<(), Fatal> {
    let Some(address) = turn.store.relay_address()? else { return Ok(()) };
    let draft: AddressDraft = stored(&address.draft)?;
    // The same key signs our address: nothing but a challenge is ever signed for a stranger.
    let Some(answer) = relay_test::answer(&test, draft.root_key()) else {
        tracing::debug!("a test without a usable challenge is ignored");
        return Ok(());
    };
    let until = turn.now().plus_ms(turn.limits.refusal_ttl.ms());
    turn.accept(invitation, Event::RelayTest(answer), Purpose::Answer, Some(until))?;
    Ok(())
}

/// Stores what a valid group link says: the group's identity and its owners.
///
/// # Errors
/// When the store fails.
pub fn remember<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    mut group: ServedGroup,
    valid: OpenedGroupLink,
) -> Result<(), Fatal> {
    let now = turn.now();
    for owner in &valid.owners {
        if turn.store.member_by_id(group.id, &owner.member_id)?.is_some() {
            continue;
        }
        let owner = NewMember {
            id: owner.member_id.clone(),
            role: MemberRole::Owner,
            status: MemberStatus::Known,
            profile: None,
            key: Some(owner.key.0),
        };
        turn.store.insert_member(group.id, &owner, now)?;
    }
    group.identity = Some(valid.into());
    Ok(turn.store.update_group(&group)?)
}

/// Prepares our relay link for a group and asks for it to be created, once. Its key is our member key.
///
/// # Errors
/// When the store fails.
pub fn make_link<S: RelayStore>(turn: &mut Turn<'_, '_, S>, mut group: ServedGroup) -> Result<(), Fatal> {
    if group.draft.is_some() {
        return Ok(());
    }
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

/// Our relay link cannot be made. A lost answer means a new link at once, anything else another try later. That of a
/// served group is created again if its server has lost it.
///
/// # Errors
/// When the store fails.
pub fn link_failed<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    connection: ConnectionId,
    id: GroupId,
    reason: Failure,
) -> Result<(), Fatal> {
    let Some(mut group) = turn.store.group(id)? else { return Ok(()) };
    if reason == Failure::QueueGone && group.life.status.serves() {
        tracing::warn!(group = id.0, "the relay link is gone from its server: it is created again");
        return address::create_again(turn, connection);
    }
    if group.life.status != ServedStatus::CreatingLink {
        tracing::error!(group = id.0, %reason, "the relay link of a served group failed: joiners cannot reach it");
        return Ok(());
    }
    tracing::warn!(group = id.0, %reason, "a relay link could not be made");
    turn.close(connection, false)?;
    group.draft = None;
    turn.store.update_group(&group)?;
    if reason == Failure::AnswerLost { make_link(turn, group) } else { Ok(()) }
}

/// Answers every open invitation of a group with our relay link.
///
/// # Errors
/// When the store fails.
pub fn answer_all<S: RelayStore>(turn: &mut Turn<'_, '_, S>, group: &ServedGroup) -> Result<(), Fatal> {
    for waiting in turn.store.invitations_of(group.id)? {
        answer(turn, group, &waiting)?;
    }
    Ok(())
}

/// Answers an invitation for a group whose relay link is there.
fn answer<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
    waiting: &WaitingInvitation,
) -> Result<(), Fatal> {
    turn.store.delete_invitation(waiting.id)?;
    let draft: AddressDraft = stored(group.draft.as_deref().unwrap_or_default())?;
    let Some(mut owner) = turn.store.member_by_id(group.id, &group.key.owner)? else { return Ok(()) };
    let accept = RelayAccept {
        relay_link: LinkText::from(&draft.short_link()),
        relay_cap: Some(Capabilities::of_our_relays()),
    };
    let invitation: Invitation = stored(&waiting.invitation)?;
    let is_claim =
        group.life.status.was_listed() && owner.connection.is_some() && owner.link != LinkState::Broken;
    let purpose = if is_claim {
        Purpose::Claimant(group.id, owner.number)
    } else {
        Purpose::Member(group.id, owner.number)
    };
    if is_claim {
        make_room_for_claimant(turn, group.id)?;
    }
    let until = turn.now().plus_ms(turn.limits.joining_ttl.ms());
    let Some(connection) = turn.accept(&invitation, Event::RelayAccept(accept), purpose, Some(until))? else {
        return Ok(());
    };
    if !is_claim {
        bulk::replace_first(turn, &mut owner, connection)?;
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

/// Closes the oldest claimants of a group when there are many: anybody can make one.
fn make_room_for_claimant<S: RelayStore>(turn: &mut Turn<'_, '_, S>, group: GroupId) -> Result<(), Fatal> {
    let mut connections = turn.store.connections_of_group(group)?;
    connections.retain(|(_, purpose)| matches!(purpose, Purpose::Claimant(..)));
    let surplus = (connections.len() + 1).saturating_sub(CLAIMANTS_MAX);
    for (connection, _) in connections.into_iter().take(surplus) {
        turn.close(connection, false)?;
    }
    Ok(())
}

/// Answers every open invitation of a group with a reason.
///
/// # Errors
/// When the store fails.
pub fn decline_all<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: GroupId,
    refusal: Refusal,
    problem: Option<&dyn std::fmt::Display>,
) -> Result<(), Fatal> {
    for waiting in turn.store.invitations_of(group)? {
        turn.store.delete_invitation(waiting.id)?;
        let invitation: Invitation = stored(&waiting.invitation)?;
        refuse(turn, &invitation, refusal, problem)?;
    }
    Ok(())
}

/// Refuses an invitation, with the reason for the owner to read.
fn refuse<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    invitation: &Invitation,
    refusal: Refusal,
    problem: Option<&dyn std::fmt::Display>,
) -> Result<(), Fatal> {
    let until = turn.now().plus_ms(turn.limits.refusal_ttl.ms());
    let reject = Event::RelayReject(refusal.to_reject(problem));
    turn.accept(invitation, reject, Purpose::Answer, Some(until))?;
    turn.reached(Step::InvitationRefused);
    turn.operation.metrics.refused(Refused::Invitation, refusal.word());
    tracing::info!(reason = refusal.word(), "an invitation is refused");
    Ok(())
}

#[cfg(test)]
mod tests {
    use protocol::group::event::owner_relay::MemberIdRole;
    use protocol::group::identity::MemberId;
    use protocol::group::profile::Profile;

    use super::*;

    fn offer_of(link: impl Into<String>) -> RelayInvitation {
        RelayInvitation {
            from_member: MemberIdRole {
                member_id: MemberId::new([1; 12]).unwrap(),
                member_role: MemberRole::Owner,
            },
            from_member_profile: Profile::named("Olga"),
            relay_member_id: MemberId::new([2; 12]).unwrap(),
            group_link: LinkText::new(link).unwrap(),
            invitation_code: None,
            history: None,
        }
    }

    #[test]
    fn a_link_that_an_app_has_shortened_names_the_group_like_the_full_one() {
        let key = "A".repeat(43);
        let short = read_offer(&offer_of(format!("https://smp8.simplex.im/c#{key}"))).unwrap();
        let long = short.group_link.as_str().to_owned();
        assert!(long.contains("&c=0YuTwO05YJWS8rkjn9eLJDjQhFKvIYd8d4xG8X1blIU"), "{long}");
        assert_eq!(read_offer(&offer_of(long)).unwrap(), short);
        let unknown = read_offer(&offer_of(format!("https://smp.example.org/c#{key}")));
        assert!(unknown.unwrap_err().contains("full link"));
    }

    #[test]
    fn a_link_that_no_index_has_room_for_is_refused_in_words() {
        let offer = |hosts: usize| {
            let hosts: Vec<String> = (0..hosts).map(|number| format!("smp{number:03}.example.org")).collect();
            let key = "A".repeat(43);
            offer_of(format!("simplex:/g#{key}?h={}&c={key}", hosts.join(",")))
        };
        read_offer(&offer(1)).unwrap();
        read_offer(&offer(90)).unwrap();
        assert!(read_offer(&offer(150)).unwrap_err().contains("too long"));
    }
}
