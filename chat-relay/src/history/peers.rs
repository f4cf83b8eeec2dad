//! We begin to serve a group: its other relays are asked for what it keeps, one after the other
//! (see [`protocol::group::peer_reading`]).
//!
//! ```text
//! its link ─▶ x.grp.history.peer ─▶ let in ─▶ pages ─▶ each item verified ─▶ stored
//! ```
//!
//! A relay's word counts for nothing. What it brings must be signed by a key that owners, roster or the member itself have
//! shown us, and must be what its author may say. What is signed by somebody else is left to the owner, who knows the key.
//! What is not signed as it should be is a lie: the relay is not read further, and the owner is told.

use protocol::agent::Body;
use protocol::agent::address_draft::AddressDraft;
use protocol::agent::error::AgentError;
use protocol::agent::event::{Event as AgentEvent, SendFailure, SyncState};
use protocol::agent::signed_link_data::OpenedLink;
use protocol::agent::store::ConnectionId;
use protocol::crypto::hash::sha256;
use protocol::group::author_chain::ChainLink;
use protocol::group::container;
use protocol::group::event::content::Acknowledge;
use protocol::group::event::history::HistoryPeer;
use protocol::group::event::{Event, Message};
use protocol::group::forward::Forward;
use protocol::group::history_peer;
use protocol::group::identity::{LinkText, MemberId, MemberKey, MemberRole};
use protocol::group::opened::{OpenedRelayLink, is_same_link};
use protocol::group::peer_reading::{PeerEffect, PeerEvent, PeerReading, Placed};
use protocol::group::permissions::{Actor, judge};
use protocol::group::signed::{SignatureState, Statement};
use protocol::net::engine::Fatal;
use protocol::net::network::ReadLinkError;
use protocol::timestamp::Timestamp;

use super::fill;
use super::give::kept;
use super::page::Page;
use crate::metrics::Refused;
use crate::notices::{self, Concern};
use crate::receive;
use crate::steps::Step;
use crate::store::RelayStore;
use crate::store::records::{GroupId, Member, Purpose, ServedGroup, StoredMessageId};
use crate::turn::{LinkRead, Turn, stored};

/// Messages that came by themselves and are looked at to see what comes before them. With more, nothing is concluded.
const HEADS_LOOKED_AT: u32 = 100;

/// We begin to serve a group: the others are asked for all that it keeps, once.
///
/// # Errors
/// When the store fails; so for every function here.
pub fn begin<S: RelayStore>(turn: &mut Turn<'_, '_, S>, id: GroupId) -> Result<(), Fatal> {
    let Some(group) = turn.store.group(id)? else { return Ok(()) };
    let (Some(identity), Some(draft), Some(_)) = (&group.identity, &group.draft, kept(turn, &group)) else {
        return Ok(());
    };
    let own = stored::<AddressDraft>(draft)?.short_link();
    let is_other = |link: &&LinkText| link.to_short_link().is_some_and(|link| !is_same_link(&link, &own));
    let others = identity.relays.iter().filter(is_other).cloned().collect();
    happened(turn, id, PeerEvent::Begin(others))
}

/// Something happened to the reading.
///
/// # Errors
/// When the store fails.
pub fn happened<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    id: GroupId,
    event: PeerEvent,
) -> Result<(), Fatal> {
    let Some(mut group) = turn.store.group(id)? else { return Ok(()) };
    let (state, effects) = std::mem::take(&mut group.peers).apply(event, turn.now());
    if let Some(deadline) = state.deadline() {
        turn.wake_at(deadline);
    }
    let is_over = state == PeerReading::Over && !effects.is_empty();
    group.peers = state;
    turn.store.update_group(&group)?;
    turn.reached(Step::PeersRead);
    if is_over {
        tracing::info!(group = id.0, "the reading of other relays' history is over");
    }
    for effect in effects {
        match effect {
            PeerEffect::ReadLink(link) => read_link(turn, &group, &link)?,
            PeerEffect::Get(get) => {
                if let Some(connection) = source(turn, id)? {
                    let element = turn.compose(Event::HistoryGet(get));
                    turn.send(connection, Body::Inline(&element))?;
                }
            }
            PeerEffect::Close => {
                if let Some(connection) = source(turn, id)? {
                    turn.close(connection, false)?;
                }
            }
            PeerEffect::AskOwner => fill::begin(turn, id)?,
        }
    }
    Ok(())
}

/// The connection on which we read.
fn source<S: RelayStore>(turn: &mut Turn<'_, '_, S>, id: GroupId) -> Result<Option<ConnectionId>, Fatal> {
    let with_peers = turn.store.connections_with_peers(id)?;
    let found = with_peers.into_iter().find(|(_, purpose)| *purpose == Purpose::Source(id));
    Ok(found.map(|(connection, _)| connection))
}

fn read_link<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
    link: &LinkText,
) -> Result<(), Fatal> {
    // It may have been taken out of the group since.
    let is_listed = group.identity.as_ref().is_some_and(|identity| identity.relays.contains(link));
    match link.to_short_link().filter(|_| is_listed) {
        Some(parsed) => {
            turn.read_link(LinkRead::Peer(group.id, digest(link)), &parsed);
            Ok(())
        }
        None => happened(turn, group.id, PeerEvent::Failed),
    }
}

fn digest(link: &LinkText) -> [u8; 32] {
    sha256(link.as_str().as_bytes())
}

/// The link of another relay was read: our request goes out.
///
/// # Errors
/// When the store fails.
pub fn link_read<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    id: GroupId,
    link: [u8; 32],
    read: Result<OpenedLink, ReadLinkError>,
) -> Result<(), Fatal> {
    let Some(group) = turn.store.group(id)? else { return Ok(()) };
    if group.peers.linking().map(digest) != Some(link) {
        return Ok(());
    }
    match read {
        Ok(opened) => match OpenedRelayLink::read(&opened) {
            Ok(relay) => request(turn, &group, &opened, relay.member_id),
            Err(problem) => failed(turn, id, &problem),
        },
        Err(error) => failed(turn, id, &error),
    }
}

fn failed<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    id: GroupId,
    problem: &dyn std::fmt::Display,
) -> Result<(), Fatal> {
    tracing::info!(group = id.0, %problem, "another relay's history cannot be read now");
    happened(turn, id, PeerEvent::Failed)
}

fn request<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
    opened: &OpenedLink,
    relay: MemberId,
) -> Result<(), Fatal> {
    let (Some(identity), Some(draft)) = (&group.identity, &group.draft) else { return Ok(()) };
    let draft: AddressDraft = stored(draft)?;
    let peer = HistoryPeer {
        member_id: group.key.relay.clone(),
        via_relay: relay.clone(),
        link_data: draft.fixed_blob().to_vec(),
    };
    let info = history_peer::request(draft.root_key(), &identity.public_group_id, peer);
    let server = turn.server().clone();
    match turn.agent(|agent| agent.request(&opened.request, &server, &info)) {
        Ok(connection) => {
            turn.store.set_purpose(connection, Purpose::Source(group.id), None)?;
            tracing::debug!(group = group.id.0, "another relay is asked for its history");
            happened(turn, group.id, PeerEvent::Requested(relay))
        }
        Err(error @ (AgentError::Link | AgentError::TooLarge { .. })) => failed(turn, group.id, &error),
        Err(error) => Err(error.into()),
    }
}

/// Something came on the connection on which we read.
///
/// # Errors
/// When the store fails.
pub fn source_event<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    connection: ConnectionId,
    id: GroupId,
    event: AgentEvent,
) -> Result<(), Fatal> {
    match event {
        AgentEvent::Confirmation { info } => {
            match Statement::parse(&info).ok().and_then(|said| said.message().ok()).map(|said| said.event) {
                Some(Event::Acknowledge(_)) => {
                    let ok = Message::new(None, Event::Acknowledge(Acknowledge {})).to_json();
                    match turn.agent(|agent| agent.allow(connection, &ok)) {
                        Ok(()) | Err(AgentError::NotAllowedNow(_)) => Ok(()),
                        Err(error) => Err(error.into()),
                    }
                }
                Some(Event::LinkReject(reject)) => failed(turn, id, &reject.group_link_rejection.explained()),
                _ => failed(turn, id, &"it answers something else"),
            }
        }
        AgentEvent::Connected => {
            let heads = heads(turn, id)?;
            happened(turn, id, PeerEvent::LetIn(heads))
        }
        AgentEvent::Message { body, .. } => came(turn, id, &body),
        AgentEvent::Failed { reason } => failed(turn, id, &reason),
        AgentEvent::SendFailed { reason: reason @ SendFailure::NoQueue, .. } => failed(turn, id, &reason),
        AgentEvent::RatchetSync(SyncState::Required) => {
            failed(turn, id, &"its messages cannot be decrypted any more")
        }
        _ => Ok(()),
    }
}

/// Of each owner, the oldest statement that came to us by itself.
fn heads<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    id: GroupId,
) -> Result<Vec<(MemberId, ChainLink)>, Fatal> {
    let live = StoredMessageId(1);
    let newest = turn.store.history_page(id, None, live, HEADS_LOOKED_AT, Timestamp(i64::MAX), None)?;
    let mut heads = std::collections::BTreeMap::new();
    if newest.len() < HEADS_LOOKED_AT as usize {
        for message in newest {
            let author = turn.store.member(message.message.author)?;
            let said = Statement::parse(&message.message.element)?.message()?;
            if let (Some(author), Some(link)) = (author, said.chain)
                && author.role == MemberRole::Owner
            {
                heads.insert(author.id, link);
            }
        }
    }
    Ok(heads.into_iter().collect())
}

/// What an item of another relay is.
enum Judged {
    /// Nothing that anybody could prove, or nothing for history.
    Nothing,
    /// What we cannot take on this relay's word.
    Left,
    /// What its author has not said.
    Lie,
    /// What its author has said and may say.
    Said(Box<Member>, Box<Message>),
}

/// A message of an answer.
fn came<S: RelayStore>(turn: &mut Turn<'_, '_, S>, id: GroupId, body: &[u8]) -> Result<(), Fatal> {
    let Some(group) = turn.store.group(id)?.filter(|group| group.life.status.serves()) else {
        return Ok(());
    };
    let (Some(relay), Some(kept)) = (group.peers.reading().cloned(), kept(turn, &group)) else {
        return Ok(());
    };
    let Ok(unfolded) = container::unfold(body) else { return Ok(()) };
    let Ok(elements) = container::elements(&unfolded) else { return Ok(()) };
    let elements: Vec<_> = elements.into_iter().flatten().collect();
    let Some(page) = Page::read(&elements) else { return Ok(()) };
    let (mut placed, mut stored, mut is_doubtful) = (Vec::new(), Vec::new(), false);
    for forward in page.forwards.iter().rev() {
        match judged(turn, &group, forward)? {
            Judged::Nothing => {}
            Judged::Left => is_doubtful = true,
            Judged::Lie => return lied(turn, id, &relay),
            Judged::Said(author, message) => {
                let link = message.chain;
                stored.extend(take(turn, id, &author, forward, *message, stored.last().copied())?);
                if let Some(link) = link.filter(|_| author.role == MemberRole::Owner)
                    && let Some(identity) = &group.identity
                {
                    let digest = forward.statement.digest(&identity.public_group_id, &author.id);
                    placed.push(Placed { author: author.id, digest, link });
                }
            }
        }
    }
    let now = turn.now();
    let oldest = turn.store.oldest_kept(id, &kept, now)?;
    let is_enough = stored.iter().any(|stored| *stored < oldest);
    let items = stored.len();
    happened(turn, id, PeerEvent::Page { page: page.header, is_enough, is_doubtful, placed })?;
    turn.reached(Step::HistoryFilled);
    tracing::info!(group = id.0, items, "history came from another relay");
    Ok(())
}

/// What was verified before it in the same message stays: it is its authors'.
fn lied<S: RelayStore>(turn: &mut Turn<'_, '_, S>, id: GroupId, relay: &MemberId) -> Result<(), Fatal> {
    turn.operation.metrics.refused(Refused::Message, "history");
    tracing::warn!(
        group = id.0,
        "another relay gives what its author has not signed: it is not read further"
    );
    notices::tell_owners(turn, id, Concern::PeerLied, Some(relay))?;
    happened(turn, id, PeerEvent::Lied)
}

fn judged<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
    forward: &Forward<'_>,
) -> Result<Judged, Fatal> {
    let (Ok(message), Some(said_by), Some(identity)) =
        (forward.statement.message(), forward.sender.member(), &group.identity)
    else {
        return Ok(Judged::Nothing);
    };
    let event = &message.event;
    let is_for_moderators = receive::support_of(event, said_by).is_some();
    if message.message_id.is_none() || !event.is_forwarded() || is_for_moderators {
        return Ok(Judged::Nothing);
    }
    let Some(author) = turn.store.member_by_id(group.id, said_by)? else { return Ok(Judged::Left) };
    let key = author.key.map(MemberKey);
    match forward.statement.check(&identity.public_group_id, &author.id, key.as_ref()) {
        SignatureState::Verified => {}
        SignatureState::Absent => return Ok(Judged::Nothing),
        SignatureState::KeyUnknown => return Ok(Judged::Left),
        SignatureState::Bad => return Ok(Judged::Lie),
    }
    if author.role < MemberRole::Owner {
        // How the group stands is told by its link and roster.
        if !fill::is_content(event) {
            return Ok(Judged::Nothing);
        }
        // What it may have been allowed to say then, the owner knows.
        let actor = Actor { role: author.role, blocked: author.blocked };
        let preferences = identity.profile.preferences();
        if judge(event, &author.id, actor, &preferences, |_| None).is_err() {
            return Ok(Judged::Left);
        }
    }
    Ok(Judged::Said(Box::new(author), Box::new(message)))
}

/// Stores what was said, unless it is stored; gives where it is.
fn take<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: GroupId,
    author: &Member,
    forward: &Forward<'_>,
    message: Message,
    newer: Option<StoredMessageId>,
) -> Result<Option<StoredMessageId>, Fatal> {
    let Some(message_id) = &message.message_id else { return Ok(None) };
    match turn.store.message_by_id(group, message_id)? {
        Some(known) => Ok((known.message.author == author.number).then_some(known.id)),
        None => fill::store(turn, group, author, forward, message, newer),
    }
}
