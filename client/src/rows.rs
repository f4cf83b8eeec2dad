//! Records as people and scripts see them.

use protocol::group::author_chain::follow::Range;
use protocol::group::identity::MemberId;
use protocol::group::msg_id::SharedMessageId;
use protocol::timestamp::Timestamp;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::event::{GapRow, GroupRelayRow, GroupRow, MemberRow, MessageRow, ProfileRow, ReactionRow};
use crate::store::author_chain::ChainId;
use crate::store::group::{Group, GroupId};
use crate::store::relay::RelayRow;
use crate::store::{Store, StoreError, member, message};

/// A group as `group list` shows it.
pub(crate) fn group_row(store: &Store, id: GroupId, record: &Group) -> Result<GroupRow, StoreError> {
    let relays = store.relays(id)?;
    let (messages, unread) = store.count_messages(id)?;
    let (duplicates_dropped, conflicts) = store.count_copies(id)?;
    let present = relays.iter().filter(|relay| !relay.record.is_over());
    let active = |relay: &&RelayRow| relay.record.is_active() && relay.record.connected;
    Ok(GroupRow {
        group: record.alias.clone(),
        display_name: record.profile.display_name.clone(),
        public_id: record.public_id.to_string(),
        role: record.role.to_string(),
        member_id: record.member_id.to_string(),
        status: record.status.word().into(),
        relays_active: present.clone().filter(active).count() as u64,
        relays: present.count() as u64,
        members: store.count_members(id)?,
        messages,
        unread,
        waiting: store.count_undelivered(id)?,
        duplicates_dropped,
        conflicts,
    })
}

/// A group's profile.
pub(crate) fn profile_row(record: &Group) -> ProfileRow {
    let preferences = record.profile.preferences();
    let kept = preferences.history_kept();
    ProfileRow {
        group: record.alias.clone(),
        display_name: record.profile.display_name.clone(),
        full_name: record.profile.full_name.clone(),
        description: record.profile.description.clone(),
        sign_messages: record.profile.preferences().signs_messages(),
        review: record.profile.reviews_joiners(),
        entrance: record.profile.entrance(),
        link: record.link.clone(),
        link_counter: record.link_counter,
        history_items: if preferences.gives_history() { kept.items } else { 0 },
        history_age_seconds: kept.age_seconds,
        history_bytes: kept.bytes,
    }
}

/// A relay of a group.
pub(crate) fn relay_row(group: &str, relay: &RelayRow) -> GroupRelayRow {
    GroupRelayRow {
        group: group.to_owned(),
        relay: relay.record.name.clone(),
        member_id: relay.record.member_id.as_ref().map(ToString::to_string).unwrap_or_default(),
        status: relay.record.word().into(),
        connected: relay.record.connected,
        two_connections: relay.two_connections,
        reason: relay.record.unheard.as_ref().or(relay.record.reason.as_ref()).cloned(),
        ended_at: relay.record.ended_at_ms.map(|at| iso(Timestamp(at))),
        link: relay.record.link.clone(),
        notice: relay.record.notice.as_ref().map(|notice| notice.text.clone()),
        notice_at: relay.record.notice.as_ref().map(|notice| iso(Timestamp(notice.at))),
    }
}

/// A member of a group.
pub(crate) fn member_row(group: &Group, id: &MemberId, member: &member::Member) -> MemberRow {
    MemberRow {
        group: group.alias.clone(),
        member_id: id.to_string(),
        name: member.name(id),
        role: member.role.to_string(),
        status: member.status.word().into(),
        blocked: member.blocked,
        key_known: member.key.is_some(),
        me: *id == group.member_id,
    }
}

/// A message with everything that belongs to it.
pub(crate) fn message_row(
    store: &Store,
    id: GroupId,
    group: &Group,
    message: &message::MessageRow,
) -> Result<MessageRow, StoreError> {
    let copies = store.copies(id, &message.shared_id)?;
    let mut relays = Vec::new();
    for relay in copies.relays {
        if let Some(relay) = store.relay(relay)? {
            relays.push(relay.record.name);
        }
    }
    let reactions = store.reactions(id, &message.shared_id)?;
    let place = store.chain_place(id, &message.shared_id)?;
    Ok(MessageRow {
        group: group.alias.clone(),
        message_id: message.shared_id.to_string(),
        author: author_name(store, id, group, message.author.as_ref())?,
        author_id: message.author.as_ref().map(ToString::to_string).unwrap_or_default(),
        own: message.record.own,
        text: message.record.text.clone(),
        sent_at: iso(message.sent_at),
        signature: message.record.signature,
        relays,
        duplicates: copies.duplicates,
        conflict: copies.conflicts > 0,
        edited: message.record.edited,
        deleted: message.record.deleted,
        reply_to: message.record.reply_to.as_ref().map(SharedMessageId::to_string),
        reactions: reactions.into_iter().map(|(emoji, count)| ReactionRow { emoji, count }).collect(),
        delivered: message.record.delivered,
        number: place.map(|(number, _)| number),
        late: place.is_some_and(|(_, late)| late),
    })
}

/// What is missing of an author, and what each relay did about it.
pub(crate) fn gap_row(
    store: &Store,
    id: GroupId,
    group: &Group,
    chain: ChainId,
    author: &MemberId,
    gap: Range,
) -> Result<GapRow, StoreError> {
    let brought = store.chain_relays(chain)?;
    let (mut skipped_by, mut silent, mut asked) = (Vec::new(), Vec::new(), Vec::new());
    for relay in store.relays(id)? {
        if relay.record.catch_up.reading().is_some() {
            asked.push(relay.record.name.clone());
        }
        match brought.iter().find(|brought| brought.relay == relay.id) {
            // One that only began above it was not there when it was said.
            Some(brought) if brought.highest > gap.to && brought.lowest < gap.from => {
                skipped_by.push(relay.record.name);
            }
            Some(brought) if brought.highest >= gap.from => {}
            _ if relay.record.connected => silent.push(relay.record.name),
            _ => {}
        }
    }
    Ok(GapRow {
        group: group.alias.clone(),
        author: author_name(store, id, group, Some(author))?,
        author_id: author.to_string(),
        from: gap.from,
        to: gap.to,
        skipped_by,
        silent,
        asked,
    })
}

/// What to call an author; a post in the group's name has the group's.
pub(crate) fn author_name(
    store: &Store,
    id: GroupId,
    group: &Group,
    author: Option<&MemberId>,
) -> Result<String, StoreError> {
    let Some(author) = author else { return Ok(group.profile.display_name.clone()) };
    Ok(store.member(id, author)?.map_or_else(|| author.stand_in_name(), |member| member.name(author)))
}

/// ISO 8601 in UTC, to the second.
pub(crate) fn iso(moment: Timestamp) -> String {
    OffsetDateTime::from_unix_timestamp(moment.seconds())
        .ok()
        .and_then(|moment| moment.format(&Rfc3339).ok())
        .unwrap_or_default()
}
