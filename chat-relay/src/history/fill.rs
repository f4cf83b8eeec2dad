//! What we lack, asked of the owner page by page: see [`protocol::group::catch_up`].
//!
//! ```text
//! no other relay has all ─▶ everything that the group keeps: stored ahead of all that comes, for those who ask for it
//! a member misses what we lack, or one of us came back from a backup ─▶ the newest: taken as if it came now, and passed on
//! ```
//!
//! Of each item the signature is verified, by the keys of owners, roster and members; for members whom we have not met the
//! owner names the key. Whatever is not verified is refused.

use std::collections::BTreeMap;

use protocol::agent::Body;
use protocol::group::batch::Element;
use protocol::group::catch_up::{CatchUp, CatchUpEvent, Want};
use protocol::group::event::members::MemberInfo;
use protocol::group::event::{Event, Message};
use protocol::group::forward::Forward;
use protocol::group::identity::{MemberId, MemberKey, MemberRole};
use protocol::group::peer_reading::PeerReading;
use protocol::group::signed::SignatureState;
use protocol::net::engine::Fatal;

use super::give::kept;
use super::page::Page;
use crate::metrics::Refused;
use crate::receive::{self, Source};
use crate::steps::Step;
use crate::store::RelayStore;
use crate::store::records::{
    GroupId, Member, MemberStatus, NewMember, NewMessage, ServedGroup, StoredMessageId,
};
use crate::strangers;
use crate::turn::Turn;

/// No other relay of the group could give us all that it keeps: the owner is asked for it, once.
///
/// # Errors
/// When the store fails; so for every function here.
pub fn begin<S: RelayStore>(turn: &mut Turn<'_, '_, S>, id: GroupId) -> Result<(), Fatal> {
    let Some(group) = turn.store.group(id)? else { return Ok(()) };
    match (&group.fill, kept(turn, &group)) {
        (Some(CatchUp::Unasked), Some(_)) => advance(turn, id, CatchUpEvent::Wanted(Want::Everything)),
        _ => Ok(()),
    }
}

/// A member misses what we may lack.
///
/// # Errors
/// When the store fails.
pub fn wanted<S: RelayStore>(turn: &mut Turn<'_, '_, S>, id: GroupId) -> Result<(), Fatal> {
    advance(turn, id, CatchUpEvent::Wanted(Want::Missing))
}

/// New keys were agreed on with a member, because one of us came back from a backup: what the owner who invited us has and we
/// have not may be lost.
///
/// # Errors
/// When the store fails.
pub fn keys_renewed<S: RelayStore>(turn: &mut Turn<'_, '_, S>, member: &Member) -> Result<(), Fatal> {
    let Some(group) = turn.store.group(member.group)? else { return Ok(()) };
    // As long as other relays are read, it is to be asked for everything yet.
    let is_begun = group.fill != Some(CatchUp::Unasked) || group.peers == PeerReading::Over;
    if member.id != group.key.owner || !is_begun || !group.life.status.serves() {
        return Ok(());
    }
    advance(turn, group.id, CatchUpEvent::Returned(Want::Missing))
}

/// An answer is late, or a pause is over.
///
/// # Errors
/// When the store fails.
pub fn timeout<S: RelayStore>(turn: &mut Turn<'_, '_, S>, id: GroupId) -> Result<(), Fatal> {
    advance(turn, id, CatchUpEvent::Timeout)
}

fn advance<S: RelayStore>(turn: &mut Turn<'_, '_, S>, id: GroupId, event: CatchUpEvent) -> Result<(), Fatal> {
    let Some(mut group) = turn.store.group(id)? else { return Ok(()) };
    // An owner's client that gives no history is never asked.
    let Some(fill) = group.fill.take() else { return Ok(()) };
    let (fill, get) = fill.apply(event, turn.now());
    if let Some(deadline) = fill.deadline() {
        turn.wake_at(deadline);
    }
    group.fill = Some(fill);
    turn.store.update_group(&group)?;
    let owner = turn.store.member_by_id(id, &group.key.owner)?;
    if let (Some(get), Some(connection)) = (get, owner.and_then(|owner| owner.connection)) {
        let element = turn.compose(Event::HistoryGet(get));
        turn.send(connection, Body::Inline(&element))?;
        turn.reached(Step::HistoryAsked);
    }
    Ok(())
}

/// A message of an answer, if it is one: nobody but the owner whom we asked gives any.
///
/// # Errors
/// When the store fails.
pub fn page_came<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    source: Source,
    elements: &[Element<'_>],
) -> Result<bool, Fatal> {
    let Some(group) = turn.store.group(source.group)?.filter(|group| group.life.status.serves()) else {
        return Ok(false);
    };
    let Some(want) = group.fill.as_ref().and_then(CatchUp::reading) else { return Ok(false) };
    let owner = turn.store.member_by_id(group.id, &group.key.owner)?.map(|owner| owner.number);
    if source.is_claimant || owner != Some(source.member) {
        return Ok(false);
    }
    let Some(Page { header, mut forwards, introduced }) = Page::read(elements) else { return Ok(false) };
    let Some(kept) = kept(turn, &group) else { return Ok(true) };
    if want == Want::Everything {
        // The newest gets the highest number.
        forwards.reverse();
    }
    let mut stored: Vec<StoredMessageId> = Vec::new();
    for forward in forwards {
        let newer = stored.last().copied();
        stored.extend(item(turn, &group, source, (want, newer), forward, &introduced)?);
    }
    let now = turn.now();
    let oldest = turn.store.oldest_kept(group.id, &kept, now)?;
    let is_enough = stored.iter().any(|id| *id < oldest);
    if let Some(page) = header {
        advance(turn, group.id, CatchUpEvent::Page { page, is_enough })?;
    }
    turn.reached(Step::HistoryFilled);
    tracing::info!(group = group.id.0, items = stored.len(), "history came from the owner");
    Ok(true)
}

/// Takes an item; gives where it is stored, now or since before.
fn item<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
    source: Source,
    (want, newer): (Want, Option<StoredMessageId>),
    forward: &Forward<'_>,
    introduced: &BTreeMap<MemberId, MemberInfo>,
) -> Result<Option<StoredMessageId>, Fatal> {
    let (Ok(message), Some(author)) = (forward.statement.message(), forward.sender.member()) else {
        return Ok(None);
    };
    let (Some(message_id), Some(identity)) = (&message.message_id, &group.identity) else { return Ok(None) };
    if !message.event.is_forwarded() || receive::support_of(&message.event, author).is_some() {
        return Ok(None);
    }
    let known = turn.store.member_by_id(group.id, author)?;
    let key = known.as_ref().map_or_else(
        || introduced.get(author).and_then(|info| info.member_key),
        |known| known.key.map(MemberKey),
    );
    let signature = forward.statement.check(&identity.public_group_id, author, key.as_ref());
    if signature != SignatureState::Verified {
        turn.operation.metrics.refused(Refused::Message, "history");
        tracing::warn!(
            group = group.id.0,
            ?signature,
            "an item of history is refused: it is not its author's"
        );
        return Ok(None);
    }
    let author = match known {
        Some(known) => known,
        None => match meet(turn, group, author, key, introduced.get(author))? {
            Some(met) => met,
            None => return Ok(None),
        },
    };
    if let Some(stored) = turn.store.message_by_id(group.id, message_id)? {
        return Ok((stored.message.author == author.number).then_some(stored.id));
    }
    let remembered_since = turn.now().plus_ms(turn.limits.message_retention.ms().saturating_neg());
    match want {
        Want::Everything if is_content(&message.event) || author.role == MemberRole::Owner => {
            store(turn, group.id, &author, forward, message, newer)
        }
        // How the group stands is told by its link and roster.
        Want::Everything => Ok(None),
        // That it was said is forgotten here: it would be said again.
        Want::Missing if forward.sent_at < remembered_since => Ok(None),
        Want::Missing => {
            let said = Source { member: author.number, server_time: forward.sent_at, ..source };
            receive::statement(turn, group.clone(), author, said, &forward.statement)?;
            Ok(turn.store.message_by_id(group.id, message_id)?.map(|stored| stored.id))
        }
    }
}

/// Stores an item that is its author's, below the next newer one.
pub(super) fn store<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: GroupId,
    author: &Member,
    forward: &Forward<'_>,
    message: Message,
    newer: Option<StoredMessageId>,
) -> Result<Option<StoredMessageId>, Fatal> {
    let Message { message_id: Some(message_id), event, .. } = message else { return Ok(None) };
    let target = receive::target_of(turn, group, author.number, &event)?;
    if let (Event::MessageDelete(_), Some(target)) = (&event, &target) {
        // Whoever gave the post has left this out.
        turn.store.hide_message(group, target)?;
    }
    let new = NewMessage {
        message_id,
        author: author.number,
        broker_time: forward.sent_at,
        kind: receive::kind(&event),
        target,
        support_of: None,
        as_channel: false,
        verified: true,
        element: forward.statement.verbatim().to_vec(),
    };
    let now = turn.now();
    Ok(turn.store.fill_message(group, &new, newer, now)?)
}

/// A member of whom only the owner has told.
fn meet<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
    id: &MemberId,
    key: Option<MemberKey>,
    info: Option<&MemberInfo>,
) -> Result<Option<Member>, Fatal> {
    let profile = info.map(|info| info.profile.clone()).filter(|profile| profile.check().is_ok());
    let new = NewMember {
        id: id.clone(),
        role: turn.joiner_role(group),
        status: MemberStatus::Known,
        profile,
        key: key.map(|key| key.0),
    };
    strangers::meet(turn, group.id, &new)
}

/// Whether it is part of what was said, and does not change how the group stands.
pub(super) const fn is_content(event: &Event) -> bool {
    matches!(
        event,
        Event::MessageNew(_) | Event::MessageUpdate(_) | Event::MessageReact(_) | Event::FileDescription(_)
    )
}
