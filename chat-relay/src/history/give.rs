//! History on request, page by page.
//!
//! What a member is given at its joining is recent posts alone (channels.md §17). Here it asks for everything that the
//! relay keeps, from the newest to the oldest, each item with its author's bytes and signature. Stock clients never ask.
//!
//! Another relay of the group asks at our relay link to be let in, and then as members do. It proves by its own relay link
//! that it is one ([`protocol::group::history_peer`]); when the list of relays changes it has to prove it anew.

use protocol::agent::Body;
use protocol::agent::event::{Event as AgentEvent, SendFailure, SyncState};
use protocol::agent::invitation::Invitation;
use protocol::agent::store::ConnectionId;
use protocol::group::batch::Element;
use protocol::group::constants::{HISTORY_FILE_AGE_MS_MAX, HISTORY_PAGE_ITEMS_MAX};
use protocol::group::container;
use protocol::group::event::Event;
use protocol::group::event::content::Acknowledge;
use protocol::group::event::history::{HistoryGet, HistoryPosition};
use protocol::group::history_answer::{Item, bodies};
use protocol::group::history_peer::{PeerRefused, check_request};
use protocol::group::identity::{LinkText, MemberRole};
use protocol::group::profile::HistoryKept;
use protocol::group::signed::Statement;
use protocol::net::engine::Fatal;

use super::{fill, order};
use crate::admission;
use crate::delivery::forwarding::forwarded;
use crate::intake::{self, TooMuch};
use crate::metrics::Refused;
use crate::steps::Step;
use crate::store::RelayStore;
use crate::store::records::{
    GroupId, LinkState, Member, Purpose, ServedGroup, StoredMessage, StoredMessageId, Welcomed,
};
use crate::turn::{LinkRead, Turn};
use crate::welcome::member_new;

/// Connections of other relays that read one group's history at once; of more the oldest is closed.
const READERS_MAX: usize = 8;
/// How long another relay reads with one request.
const READER_MS_MAX: i64 = 86_400_000;

/// A member asks for a page.
///
/// # Errors
/// When the store fails.
pub fn requested<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
    member: &Member,
    request: &HistoryGet,
) -> Result<(), Fatal> {
    // Whoever does not take what it asked for is given no more.
    let Some(connection) = member.connection.filter(|_| member.link == LinkState::Open) else {
        return Ok(());
    };
    if !intake::may_ask(turn, member) {
        turn.operation.metrics.refused(Refused::Message, TooMuch::MemberPace.word());
        return Ok(());
    }
    answer(turn, group, connection, Some(member), request)?;
    if request.ask_owner { fill::wanted(turn, group.id) } else { Ok(()) }
}

/// Gives a page to a member, or to another relay.
fn answer<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
    connection: ConnectionId,
    member: Option<&Member>,
    request: &HistoryGet,
) -> Result<(), Fatal> {
    let limit = request.limit.clamp(1, HISTORY_PAGE_ITEMS_MAX);
    // A position that we never gave stands at the end.
    let position = |text: &str| text.parse().map_or(StoredMessageId(i64::MIN), StoredMessageId);
    let before = request.before.as_ref().map(|before| position(before.as_str()));
    let files_since = turn.now().plus_ms(-HISTORY_FILE_AGE_MS_MAX);
    let mut messages = match kept(turn, group) {
        Some(kept) => {
            let kept_from = turn.store.oldest_kept(group.id, &kept, turn.context.now())?;
            let after = request.after.as_ref().and_then(|after| after.as_str().parse::<i64>().ok());
            let oldest =
                after.map_or(kept_from, |after| kept_from.max(StoredMessageId(after.saturating_add(1))));
            let from = request.welcomed.as_ref().and_then(|from| from.as_str().parse().ok());
            let welcomed = from.map(StoredMessageId).zip(member);
            let welcomed =
                welcomed.map(|(from, member)| Welcomed { from, member: member.number, at: member.since });
            turn.store.history_page(group.id, before, oldest, limit, files_since, welcomed)?
        }
        None => Vec::new(),
    };
    order::put_in_order(messages.iter_mut().rev())?;
    let oldest = messages.last().filter(|_| messages.len() >= limit as usize);
    let next = oldest.map(|oldest| HistoryPosition::new(oldest.id.0.to_string())).transpose()?;
    let mut items = Vec::new();
    for message in messages {
        if let Some(item) = item(turn, member, &message)? {
            items.push(item);
        }
    }
    tracing::debug!(group = group.id.0, items = items.len(), "a page of history is given");
    for body in bodies(request.before.as_ref(), items, next.as_ref()) {
        if turn.send(connection, Body::Inline(&body))?.is_none() {
            break;
        }
    }
    turn.reached(Step::HistoryGiven);
    Ok(())
}

/// Another relay asks at our relay link to read the history of a group.
///
/// # Errors
/// When the store fails.
pub fn peer_requested<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
    invitation: &Invitation,
    info: &[u8],
) -> Result<(), Fatal> {
    let checked = match group.identity.as_ref().filter(|_| group.life.status.serves()) {
        Some(identity) => {
            let listed: Vec<_> = identity.relays.iter().filter_map(LinkText::to_short_link).collect();
            check_request(info, &identity.public_group_id, &group.key.relay, &listed)
        }
        None => Err(PeerRefused::NotListed),
    };
    if let Err(reason) = checked {
        turn.operation.metrics.refused(Refused::Join, reason.word());
        tracing::info!(group = group.id.0, %reason, "a request to read the history is refused");
        if reason == PeerRefused::NotListed && group.life.status.lets_in() {
            // The group link may list it since we looked: it asks again.
            turn.read_link(LinkRead::Group(group.id), &group.key.group_link.as_str().parse()?);
        }
        return admission::reject(turn, group, invitation, None, &reason.to_string());
    }
    let readers = readers(turn, group.id)?;
    let surplus = readers.len().saturating_add(1).saturating_sub(READERS_MAX);
    for reader in readers.into_iter().take(surplus) {
        turn.close(reader, false)?;
    }
    let until = turn.now().plus_ms(READER_MS_MAX);
    turn.accept(invitation, Event::Acknowledge(Acknowledge {}), Purpose::Reader(group.id), Some(until))?;
    turn.reached(Step::PeerLetIn);
    tracing::info!(group = group.id.0, "another relay of the group may read its history");
    Ok(())
}

/// Other relays' connections, oldest first.
fn readers<S: RelayStore>(turn: &mut Turn<'_, '_, S>, group: GroupId) -> Result<Vec<ConnectionId>, Fatal> {
    let with_peers = turn.store.connections_with_peers(group)?.into_iter();
    let readers = with_peers.filter(|(_, purpose)| *purpose == Purpose::Reader(group));
    Ok(readers.map(|(connection, _)| connection).collect())
}

/// The list of relays has changed: whoever reads here proves anew to be one of them.
///
/// # Errors
/// When the store fails.
pub fn close_readers<S: RelayStore>(turn: &mut Turn<'_, '_, S>, group: GroupId) -> Result<(), Fatal> {
    for reader in readers(turn, group)? {
        turn.close(reader, false)?;
    }
    Ok(())
}

/// Something came on the connection of another relay that reads here.
///
/// # Errors
/// When the store fails.
pub fn reader_event<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    connection: ConnectionId,
    group: GroupId,
    event: AgentEvent,
) -> Result<(), Fatal> {
    match event {
        AgentEvent::Message { body, .. } => {
            let Some(group) = turn.store.group(group)?.filter(|group| group.life.status.serves()) else {
                return Ok(());
            };
            let Some(request) = asked(&body) else { return Ok(()) };
            if !intake::may_relays_ask(turn, group.id) {
                turn.operation.metrics.refused(Refused::Message, TooMuch::GroupPace.word());
                return Ok(());
            }
            answer(turn, &group, connection, None, &request)
        }
        AgentEvent::Failed { .. }
        | AgentEvent::SendFailed { reason: SendFailure::NoQueue, .. }
        | AgentEvent::RatchetSync(SyncState::Required) => turn.close(connection, false),
        _ => Ok(()),
    }
}

/// What another relay asks for.
fn asked(body: &[u8]) -> Option<HistoryGet> {
    let unfolded = container::unfold(body).ok()?;
    let elements = container::elements(&unfolded).ok()?;
    elements.into_iter().flatten().find_map(|element| match element {
        Element::Statement(said) => match said.message().ok()?.event {
            Event::HistoryGet(get) => Some(get),
            _ => None,
        },
        Element::Forward(_) | Element::Chunk(_) => None,
    })
}

/// How much of a group's history is kept and given: what its owner wants, as far as the operator lets. Nothing when the
/// group has none.
pub fn kept<S: RelayStore>(turn: &Turn<'_, '_, S>, group: &ServedGroup) -> Option<HistoryKept> {
    let preferences = group.identity.as_ref()?.profile.preferences();
    let kept = preferences.history_kept();
    let items = kept.items.min(turn.limits.history_items_max);
    (preferences.gives_history() && items > 0).then_some(HistoryKept { items, ..kept })
}

/// A message as it is passed on, with its author's profile when the member has not met the author. Nothing of what was
/// for relays alone.
fn item<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    member: Option<&Member>,
    message: &StoredMessage,
) -> Result<Option<Item>, Fatal> {
    let said = Statement::parse(&message.message.element)?.message()?;
    let Some(author) = turn.store.member(message.message.author)? else { return Ok(None) };
    if !said.event.is_forwarded() {
        return Ok(None);
    }
    // No relay believes another who somebody is.
    let is_stranger = author.role < MemberRole::Owner
        && !message.message.as_channel
        && member.is_some_and(|member| author.number != member.number);
    Ok(Some(Item {
        position: HistoryPosition::new(message.id.0.to_string())?,
        author: author.id.clone(),
        introduction: is_stranger.then(|| turn.compose(member_new(&author))),
        forward: forwarded(&author, message)?,
    }))
}
