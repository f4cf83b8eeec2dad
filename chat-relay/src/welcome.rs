//! Whoever was let in has a connection now: introductions both ways, the roster, recent history; and the same again for whom
//! messages were passed over.

use protocol::agent::Body;
use protocol::agent::store::ConnectionId;
use protocol::group::bulk::serving::ServedBulk;
use protocol::group::constants::{CHAT_VERSIONS, HISTORY_FILE_AGE_MS_MAX};
use protocol::group::event::Event;
use protocol::group::event::history::{HistoryGap, HistoryPosition};
use protocol::group::event::joining::LinkMember;
use protocol::group::event::members::{MemberInfo, MemberIntro, MemberNew, Restriction, Restrictions};
use protocol::group::event::owner_relay::Capabilities;
use protocol::group::identity::{MemberId, MemberKey, MemberRole};
use protocol::group::profile::Profile;
use protocol::group::served_group::ServedEvent;
use protocol::net::engine::Fatal;
use protocol::version::VersionRange;

use crate::delivery::forwarding::forwarded;
use crate::history::give::kept;
use crate::history::order;
use crate::metrics::Count;
use crate::steps::Step;
use crate::store::RelayStore;
use crate::store::records::{
    GroupId, Member, MemberNumber, MemberStatus, MessageKind, Purpose, ServedGroup, StoredMessageId,
};
use crate::turn::Turn;
use crate::{knocking, lifecycle, roster, rulings};

/// Who are shown to joiners, and told of them.
pub(crate) const LEADING_ROLES: [MemberRole; 3] =
    [MemberRole::Owner, MemberRole::Admin, MemberRole::Moderator];

/// Bytes of a member's profile in JSON that fit a message with all else that is in it (channels.md §22).
const SHOWN_PROFILE_BYTES_MAX: usize = 12_800;

/// The connection of a member stands: introductions both ways, the roster, and recent history.
///
/// # Errors
/// When the store fails.
pub fn connected<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    connection: ConnectionId,
    group: GroupId,
    number: MemberNumber,
) -> Result<(), Fatal> {
    let Some(group) = turn.store.group(group)? else { return Ok(()) };
    let Some(mut member) = turn.store.member(number)? else { return Ok(()) };
    if member.connection != Some(connection) {
        return Ok(());
    }
    if member.status.knock().is_some() {
        return knocking::connected(turn, connection, &group, member);
    }
    if member.status != MemberStatus::Accepted {
        return Ok(());
    }
    turn.store.set_purpose(connection, Purpose::Member(group.id, number), None)?;
    member.status = MemberStatus::Connected;
    member.since = turn.now();
    turn.store.update_member(&member)?;
    if member.role == MemberRole::Owner {
        lifecycle::advance(turn, group.id, ServedEvent::OwnerConnected)?;
        tracing::info!(group = group.id.0, "an owner is connected");
        turn.deliver(group.id);
        turn.reached(Step::JoinerIntroduced);
    } else {
        welcomed(turn, connection, &group, &mut member)?;
    }
    knocking::show_waiting(turn, group.id, &member)
}

/// Somebody is a member from now on.
///
/// # Errors
/// When the store fails.
pub fn welcomed<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    connection: ConnectionId,
    group: &ServedGroup,
    member: &mut Member,
) -> Result<(), Fatal> {
    let leaders = turn.store.members_with_roles(group.id, &LEADING_ROLES)?;
    tell_of(turn, group, member, &leaders)?;
    welcome(turn, connection, group, member, &leaders)?;
    lifecycle::advance(turn, group.id, ServedEvent::MemberConnected)?;
    turn.operation.metrics.one(Count::Connected);
    tracing::info!(group = group.id.0, "a member is connected");
    turn.deliver(group.id);
    turn.reached(Step::JoinerIntroduced);
    Ok(())
}

/// Tells owners, admins and moderators of a new member.
fn tell_of<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
    member: &Member,
    leaders: &[Member],
) -> Result<(), Fatal> {
    let element = turn.compose(member_new(member));
    let ruled = rulings::of_member(turn, group, member)?;
    for leader in leaders {
        let is_reached = leader.number != member.number && leader.status == MemberStatus::Connected;
        if let Some(connection) = leader.connection.filter(|_| is_reached)
            && turn.send(connection, Body::Inline(&element))?.is_some()
        {
            turn.store.introduce(member.number, leader.number)?;
            turn.send_elements(connection, &ruled)?;
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
    let relay_cap = Some(Capabilities::of_our_relays());
    let (recent, from) = history(turn, group, member.number)?;
    let history_from = from.map(|from| HistoryPosition::new(from.0.to_string())).transpose()?;
    let own = LinkMember { profile, relay_cap, history_from };
    let mut elements = vec![turn.compose(Event::LinkMember(Box::new(own)))];
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
        elements.extend(rulings::of_member(turn, group, other)?);
        turn.store.introduce(other.number, member.number)?;
    }
    elements.extend(rulings::of_member(turn, group, member)?);
    elements.extend(recent);
    turn.store.update_member(member)?;
    turn.send_elements(connection, &elements)
}

/// Recent messages as forward elements, each author's profile ahead of the first that a stranger wrote; and the oldest
/// post among them.
///
/// # Errors
/// When the store fails.
pub fn history<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
    recipient: MemberNumber,
) -> Result<(Vec<Vec<u8>>, Option<StoredMessageId>), Fatal> {
    let Some(kept) = kept(turn, group) else { return Ok((Vec::new(), None)) };
    let oldest = turn.store.oldest_kept(group.id, &kept, turn.now())?;
    let limit = turn.limits.history_items.min(kept.items);
    if limit == 0 {
        return Ok((Vec::new(), None));
    }
    let files_since = turn.now().plus_ms(-HISTORY_FILE_AGE_MS_MAX);
    let (mut elements, mut met, mut from) = (Vec::new(), std::collections::BTreeSet::new(), None);
    let mut messages = turn.store.history(group.id, limit, files_since)?;
    order::put_in_order(messages.iter_mut())?;
    for message in messages {
        let number = message.message.author;
        let Some(author) = turn.store.member(number)? else { continue };
        if number == recipient || message.id < oldest {
            continue;
        }
        if author.role < MemberRole::Owner && !message.message.as_channel && met.insert(number) {
            elements.push(turn.compose(member_new(&author)));
            turn.store.introduce(number, recipient)?;
        }
        if message.message.kind == MessageKind::Post {
            from.get_or_insert(message.id);
        }
        elements.push(forwarded(&author, &message)?);
    }
    Ok((elements, from))
}

/// What was passed over while a member could not be reached: the word of it, the roster, then recent history, for those who
/// cannot ask for it. The member drops what it has already.
///
/// # Errors
/// When the store fails.
pub fn catch_up<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    id: GroupId,
    number: MemberNumber,
) -> Result<(), Fatal> {
    let (Some(group), Some(mut member)) = (turn.store.group(id)?, turn.store.member(number)?) else {
        return Ok(());
    };
    // While it changes to two connections, nothing that stands in an order goes out.
    if !member.passed_over || member.bulk.stage == ServedBulk::Switching {
        return Ok(());
    }
    let (Some(first), Some(stream)) = (member.connection, member.stream_connection()) else { return Ok(()) };
    if let Some(gap) = &mut member.gap {
        let after = HistoryPosition::new(gap.after.0.to_string())?;
        let element = turn.compose(Event::HistoryGap(HistoryGap { after }));
        gap.told = turn.send(first, Body::Inline(&element))?;
        if gap.told.is_none() {
            // When the connection can be written to again.
            return Ok(());
        }
    }
    // Owners make the roster: they are not given it.
    let roster = match member.role {
        MemberRole::Owner => Vec::new(),
        _ => roster::elements_for(turn, id, &mut member)?,
    };
    let (history, _) = history(turn, &group, number)?;
    member.passed_over = false;
    turn.store.update_member(&member)?;
    turn.reached(Step::MemberCaughtUp);
    if first == stream {
        turn.send_elements(first, &[roster, history].concat())?;
    } else {
        turn.send_elements(first, &roster)?;
        turn.send_elements(stream, &history)?;
    }
    knocking::show_waiting(turn, id, &member)
}

/// A member's server has a message on its first connection: if it is the word of what was passed over, that is told.
///
/// # Errors
/// When the store fails.
pub fn told_of_gap<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    connection: ConnectionId,
    number: MemberNumber,
    message: i64,
) -> Result<(), Fatal> {
    let Some(mut member) = turn.store.member(number)? else { return Ok(()) };
    if member.connection != Some(connection) || member.gap.and_then(|gap| gap.told) != Some(message) {
        return Ok(());
    }
    member.gap = None;
    turn.store.update_member(&member)?;
    turn.reached(Step::GapTold);
    Ok(())
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

/// What is told of a member.
#[must_use]
pub(crate) fn member_info(member: &Member) -> MemberInfo {
    let named = || Profile::named(member.id.stand_in_name());
    let versions = VersionRange::new(CHAT_VERSIONS.min(), member.chat_version.max(CHAT_VERSIONS.min()));
    MemberInfo {
        member_id: MemberId::clone(&member.id),
        member_role: member.role,
        v: versions.map(|range| range.to_string()),
        profile: member.profile.as_ref().map_or_else(named, short_profile),
        member_key: member.key.map(MemberKey),
    }
}

/// A member's profile for others: without its picture when it would not fit a message.
fn short_profile(profile: &Profile) -> Profile {
    let mut profile = profile.clone();
    if serde_json::to_vec(&profile).is_ok_and(|json| json.len() > SHOWN_PROFILE_BYTES_MAX) {
        profile.image = None;
        profile.other.clear();
    }
    profile
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_that_would_not_fit_goes_without_its_picture() {
        let mut profile = Profile::named("Ann");
        profile.image = Some(format!("data:image/png;base64,{}", "A".repeat(SHOWN_PROFILE_BYTES_MAX)));
        assert_eq!(short_profile(&profile), Profile::named("Ann"));
        profile.image = Some("data:image/png;base64,AAAA".to_owned());
        assert_eq!(short_profile(&profile), profile);
    }
}
