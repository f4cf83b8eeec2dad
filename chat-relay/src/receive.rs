//! A message of an owner or member (channels.md §16, stage one): verify, judge, store once, apply, pass on.
//!
//! ```text
//! element ─▶ signature (§8) ─▶ permission (§10) ─▶ stored? ─ known ─▶ dropped; other bytes under one id are noted
//!                │ bad            │ not allowed       └─ new ─▶ applied to the group ─▶ stream
//!                └────────────────┴─▶ dropped
//! ```
//!
//! The engine acknowledges the queue's message after all of this is durable.

mod apply;
mod target;

pub(crate) use self::target::of_change as target_of;

use protocol::agent::Lane;
use protocol::agent::store::ConnectionId;
use protocol::crypto::hash::sha256;
use protocol::group::batch::Element;
use protocol::group::bulk::serving::ServedBulk;
use protocol::group::container;
use protocol::group::event::content::Scope;
use protocol::group::event::{Event, Message};
use protocol::group::forward::Forward;
use protocol::group::identity::{MemberId, MemberKey, MemberRole};
use protocol::group::knocking::KnockEvent;
use protocol::group::moderation::{Change, ChangeRefused, Item, permit_change};
use protocol::group::msg_id::SharedMessageId;
use protocol::group::permissions::{Action, Actor, judge, permit};
use protocol::group::roster_transfer::VerifiedHeader;
use protocol::group::ruling::Ruling;
use protocol::group::signed::Statement;
use protocol::group::signing::{Reception, Verdict, verdict};
use protocol::net::engine::Fatal;
use protocol::timestamp::Timestamp;

use self::apply::Ending;
use crate::delivery::forwarding;
use crate::intake::TooMuch;
use crate::metrics::{Count, Refused};
use crate::steps::Step;
use crate::store::RelayStore;
use crate::store::records::{
    GroupId, LinkState, Member, MemberNumber, MemberStatus, MessageKind, NewMessage, Purpose, ServedGroup,
    StoredMessage,
};
use crate::turn::Turn;
use crate::{bulk, history, intake, knocking, notices, roster, rulings};

/// Where a message came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// The group of the connection.
    pub group: GroupId,
    /// The member of the connection.
    pub member: MemberNumber,
    /// The connection.
    pub connection: ConnectionId,
    /// Whether anybody may have made the connection in this member's name: then only what is signed counts.
    pub is_claimant: bool,
    /// When the message reached our server.
    pub server_time: Timestamp,
    /// Whether it is a copy that goes ahead of bulk: its author's other connection brings the one that stands in order.
    pub is_ahead: bool,
}

/// Takes all elements of a message.
///
/// # Errors
/// When the store fails; never because of what the message holds.
pub fn message<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    mut source: Source,
    body: &[u8],
) -> Result<(), Fatal> {
    let unfolded = match container::unfold(body) {
        Ok(unfolded) => unfolded,
        Err(error) => {
            tracing::debug!(group = source.group.0, %error, "a message that cannot be read is dropped");
            return Ok(());
        }
    };
    let elements = match container::elements(&unfolded) {
        Ok(elements) => elements,
        Err(error) => {
            tracing::debug!(group = source.group.0, %error, "a message that cannot be read is dropped");
            return Ok(());
        }
    };
    let whole: Vec<_> = elements.iter().flatten().cloned().collect();
    if rulings::came(turn, source, &whole)? || history::fill::page_came(turn, source, &whole)? {
        return Ok(());
    }
    for element in elements {
        // Read again for each element: the one before may have changed either.
        let (Some(group), Some(author)) =
            (turn.store.group(source.group)?, turn.store.member(source.member)?)
        else {
            return Ok(());
        };
        // Also while the group ends: what is left for this member may wait for it.
        if let Ok(Element::Statement(said)) = &element
            && let Some(mark) = bulk_mark(said)
        {
            match mark {
                // Only what comes in its turn on another connection may go ahead on this one.
                Event::BulkAhead(_) => {
                    source.is_ahead = author.bulk.stage == ServedBulk::Double
                        && author.connection == Some(source.connection);
                }
                // What was said on a connection before this one is about others.
                Event::BulkReady(mark) if author.uses(source.connection) => bulk::ready(turn, author, mark)?,
                Event::BulkEnd(end) if author.uses(source.connection) => bulk::ended(turn, author, end)?,
                _ => {}
            }
            continue;
        }
        if !takes(&group, &author) {
            return Ok(());
        }
        match element {
            Ok(Element::Statement(said)) => statement(turn, group, author, source, &said)?,
            Ok(Element::Chunk(chunk)) if author.role == MemberRole::Owner => {
                roster::chunk_came(turn, group, &author, &chunk, source.server_time)?;
            }
            // Only relays forward, and no relay is connected to another.
            Ok(Element::Chunk(_) | Element::Forward(_)) | Err(_) => {
                tracing::debug!(group = group.id.0, "an element that has no place here is dropped");
            }
        }
    }
    Ok(())
}

/// What a member says of itself when it lets us in.
///
/// # Errors
/// When the store fails.
pub fn introduced<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    number: MemberNumber,
    info: &[u8],
) -> Result<(), Fatal> {
    let said = Statement::parse(info).ok().and_then(|statement| statement.message().ok());
    let (Some(said), Some(mut member)) = (said, turn.store.member(number)?) else { return Ok(()) };
    if let Some(versions) = said.versions {
        member.chat_version = versions.max();
    }
    if let Event::Info(info) = said.event
        && info.profile.check().is_ok()
    {
        member.profile = Some(info.profile);
    }
    turn.store.update_member(&member)?;
    turn.reached(Step::JoinerNamed);
    Ok(())
}

/// What is said about two connections; nobody signs it.
fn bulk_mark(said: &Statement<'_>) -> Option<Event> {
    let event = if said.is_signed() { return None } else { said.message().ok()?.event };
    matches!(event, Event::BulkAhead(_) | Event::BulkReady(_) | Event::BulkEnd(_)).then_some(event)
}

/// Whether anything of this author counts now.
fn takes(group: &ServedGroup, author: &Member) -> bool {
    let is_here = matches!(
        author.status,
        MemberStatus::Accepted | MemberStatus::Connected | MemberStatus::PendingReview
    );
    group.life.status.serves() && is_here
}

/// Judges a statement of a member, and acts on it.
///
/// # Errors
/// When the store fails.
pub(crate) fn statement<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: ServedGroup,
    author: Member,
    source: Source,
    said: &Statement<'_>,
) -> Result<(), Fatal> {
    let message = match said.message() {
        Ok(message) => message,
        Err(error) => {
            tracing::debug!(group = group.id.0, %error, "a message that cannot be read is dropped");
            return Ok(());
        }
    };
    let Some(identity) = &group.identity else { return Ok(()) };
    let event = message.event.tag();
    let key = author.key.map(MemberKey);
    let verdict = verdict(Reception {
        event,
        signature: said.check(&identity.public_group_id, &author.id, key.as_ref()),
        as_channel: false,
        author_role: author.role,
        receiver_role: MemberRole::Relay,
    });
    if let Verdict::Drop(reason) = verdict {
        tracing::warn!(group = group.id.0, event = event.name(), %reason, "a message is dropped");
        return Ok(());
    }
    if source.is_claimant && verdict != Verdict::Verified {
        tracing::warn!(
            group = group.id.0,
            event = event.name(),
            "an unproven owner's unsigned message is dropped"
        );
        return Ok(());
    }
    let mut author = author;
    if source.is_claimant && author.link == LinkState::Broken {
        take_over(turn, &mut author, source)?;
    }
    if let Some(versions) = message.versions.filter(|versions| versions.max() != author.chat_version) {
        author.chat_version = versions.max();
        turn.store.update_member(&author)?;
    }
    if matches!(message.event, Event::Leave(_))
        && !source.is_claimant
        && author.came_again_after(source.connection)
    {
        tracing::info!(group = group.id.0, "a member has asked again since it left");
        return Ok(());
    }
    if author.status.knock().is_some() {
        // Somebody who is not let in can only take the request back.
        return match message.event {
            Event::Leave(_) => knocking::advance(turn, &group, author, KnockEvent::Withdrawn, None),
            _ => Ok(()),
        };
    }
    match &message.event {
        Event::LinkAccept(_) | Event::LinkReject(_) => {
            knocking::decided(turn, &group, &author, &message.event, said.verbatim().len())
        }
        Event::Roster(_) => roster_header(turn, group, &author, said, message, source.server_time),
        Event::RosterRequest(request) => roster::requested(turn, group.id, author, request.version),
        Event::HistoryGet(request) => history::give::requested(turn, &group, &author, request),
        _ if event.is_forwardable() => post(turn, group, author, source, said, &message, verdict),
        _ => Ok(()),
    }
}

/// The connection that an owner had is broken, and on another one comes what only the owner can have signed.
fn take_over<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    owner: &mut Member,
    source: Source,
) -> Result<(), Fatal> {
    bulk::replace_first(turn, owner, source.connection)?;
    owner.link = LinkState::Open;
    owner.status = MemberStatus::Connected;
    turn.store.update_member(owner)?;
    let purpose = Purpose::Member(source.group, source.member);
    turn.store.set_purpose(source.connection, purpose, None)?;
    // A claimant's queue goes with all others.
    turn.context.adopt([source.connection], Lane::Control);
    knocking::show_waiting(turn, source.group, owner)?;
    turn.deliver(source.group);
    tracing::info!(group = source.group.0, "an owner is back on another connection");
    Ok(())
}

fn roster_header<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: ServedGroup,
    owner: &Member,
    said: &Statement<'_>,
    message: Message,
    server_time: Timestamp,
) -> Result<(), Fatal> {
    let (Event::Roster(header), Some(message_id)) = (message.event, message.message_id) else {
        return Ok(());
    };
    if owner.role != MemberRole::Owner {
        tracing::warn!(group = group.id.0, "a roster that is not an owner's is dropped");
        return Ok(());
    }
    let verified = VerifiedHeader { message_id, header, verbatim: said.verbatim().to_vec() };
    roster::header_came(turn, group, owner, verified, server_time)
}

/// An event that is passed on.
fn post<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: ServedGroup,
    author: Member,
    source: Source,
    said: &Statement<'_>,
    message: &Message,
    verdict: Verdict,
) -> Result<(), Fatal> {
    let event = &message.event;
    let goes_ahead = event.goes_ahead_about(|member| *member == group.key.relay).is_some();
    if source.is_ahead && !goes_ahead {
        return Ok(());
    }
    if goes_ahead && !source.is_ahead && takes_turn(turn, &group, &author, said, message)? {
        return Ok(());
    }
    let target = target::of_change(turn, group.id, author.number, event)?;
    let meant = match &target {
        Some(id) => turn.store.message_by_id(group.id, id)?,
        None => None,
    };
    if let Err(reason) = allowed(turn, &group, &author, event, meant.as_ref(), verdict, source.server_time)? {
        tracing::info!(group = group.id.0, event = event.tag().name(), %reason, "a message is not allowed");
        return Ok(());
    }
    if let Err(too_much) = intake::admit(turn, &author, said.verbatim().len())? {
        turn.operation.metrics.refused(Refused::Message, too_much.word());
        tracing::info!(group = group.id.0, reason = %too_much, "a message is not taken");
        let about = matches!(too_much, TooMuch::MemberPace).then_some(&author.id);
        return notices::tell_owners(turn, group.id, too_much.into(), about);
    }
    let new = NewMessage {
        // A message without an id is known by its bytes.
        message_id: match &message.message_id {
            Some(id) => id.clone(),
            None => SharedMessageId::new(sha256(said.verbatim()))?,
        },
        author: author.number,
        broker_time: source.server_time,
        kind: kind(event),
        target: target.clone(),
        // What is done to a post goes where the post went.
        support_of: meant
            .as_ref()
            .map_or_else(|| support_of(event, &author.id), |meant| meant.message.support_of.clone()),
        as_channel: is_for_group(event, meant.as_ref()) && !said.is_signed(),
        verified: verdict == Verdict::Verified,
        element: said.verbatim().to_vec(),
    };
    let Some(stored) = target::store_once(turn, group.id, new)? else { return Ok(()) };
    let (group_id, author_number) = (group.id, author.number);
    if let (Event::MessageDelete(_), Some(target)) = (event, &target) {
        turn.store.hide_message(group_id, target)?;
    }
    let ending = apply::apply(turn, group, author, event, (said, source.server_time))?;
    if event.is_forwarded()
        && let Some(author) = turn.store.member(author_number)?
    {
        let ends_group = matches!(ending, Ending::GroupGoes);
        if source.is_ahead {
            turn.store.set_ahead(stored.id, author.number)?;
        } else {
            forwarding::pass_on(turn, group_id, &author, &stored, ends_group)?;
        }
        if goes_ahead {
            turn.store.begin_ahead(group_id, stored.id)?;
            turn.deliver_after_commit(group_id);
        }
        if let Ending::MemberGoes(member) = ending {
            cut_off(turn, *member, &forwarding::forwarded(&author, &stored)?)?;
        }
    }
    turn.operation.metrics.one(Count::Messages);
    turn.reached(Step::MessageStored);
    Ok(())
}

/// A statement that came ahead comes in its turn: it is applied already, and becomes part of the stream here.
fn takes_turn<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
    author: &Member,
    said: &Statement<'_>,
    message: &Message,
) -> Result<bool, Fatal> {
    let Some(id) = &message.message_id else { return Ok(false) };
    let Some(known) = target::known_of(turn, group.id, author.number, id)? else { return Ok(false) };
    if known.message.element != said.verbatim() || !turn.store.take_turn(known.id)? {
        return Ok(false);
    }
    forwarding::pass_on(turn, group.id, author, &known, false)?;
    turn.reached(Step::TurnTaken);
    Ok(true)
}

/// A ruling that an owner says stands is applied, and whom it removes is told. It is passed on to nobody: those who are here
/// got it when it was said.
///
/// # Errors
/// When the store fails.
pub(crate) fn ruled<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
    event: &Event,
    key: Option<MemberKey>,
    (author, forward): (&MemberId, &Forward<'_>),
) -> Result<(), Fatal> {
    let ruling = Ruling::new(author.clone(), forward.sent_at, &forward.statement);
    let notice = ruling.forward(&author.stand_in_name());
    match (apply::rule(turn, group, event, key, ruling)?, notice) {
        (Ending::MemberGoes(member), Some(notice)) => cut_off(turn, *member, &notice),
        (Ending::MemberGoes(_) | Ending::Nothing | Ending::GroupGoes, _) => Ok(()),
    }
}

/// Tells a member of its removal, and deletes its connection when it is told. It waits for nobody else.
fn cut_off<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    mut member: Member,
    notice: &[u8],
) -> Result<(), Fatal> {
    bulk::first_gone(turn, &mut member)?;
    let Some(connection) = member.connection.take() else { return Ok(()) };
    turn.store.update_member(&member)?;
    turn.reached(Step::MemberRemoved);
    turn.send_elements(connection, &[notice.to_vec()])?;
    turn.close(connection, true)
}

/// Asks the table of §10, and of the post that a change is about.
fn allowed<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
    author: &Member,
    event: &Event,
    meant: Option<&StoredMessage>,
    verdict: Verdict,
    server_time: Timestamp,
) -> Result<Result<(), String>, Fatal> {
    let preferences =
        group.identity.as_ref().map(|identity| identity.profile.preferences()).unwrap_or_default();
    let known = match subject(event) {
        Some(id) => turn.store.member_by_id(group.id, id)?,
        None => None,
    };
    // It may be about somebody who is connected to other relays only, or about such a relay. Whoever has a role is
    // known here by the roster.
    let subject_role = known.map_or_else(|| turn.joiner_role(group), |member| member.role);
    let role_of = |_: &MemberId| Some(subject_role);
    let actor = Actor { role: author.role, blocked: author.blocked };
    if let Err(reason) = judge(event, &author.id, actor, &preferences, role_of) {
        return Ok(Err(reason.to_string()));
    }
    let change = match event {
        Event::MessageUpdate(_) => Change::Edit,
        Event::MessageDelete(delete) => Change::of_deletion(delete, Some(&author.id)),
        Event::FileDescription(_) | Event::FileCancel(_) => {
            return Ok(match meant {
                Some(post) if is_by(post, author) => Ok(()),
                Some(_) => Err("the file is somebody else's".to_owned()),
                None => permit(actor, Action::Post).map_err(|reason| reason.to_string()),
            });
        }
        _ => return Ok(Ok(())),
    };
    let item = match meant {
        Some(post) => Some(item(turn, post, author)?),
        None => None,
    };
    if let (Event::MessageDelete(delete), Change::Moderate, Some(item)) = (event, change, &item)
        && item.author != delete.member_id
    {
        return Ok(Err("the message is not by the member that is named".to_owned()));
    }
    let made = permit_change(item.as_ref(), change, Some(&author.id), verdict, server_time);
    Ok(made.map_err(|refused: ChangeRefused| refused.to_string()))
}

/// A post as somebody sees it who wants to change it.
fn item<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    post: &StoredMessage,
    changer: &Member,
) -> Result<Item, Fatal> {
    let author = if is_by(post, changer) {
        Some(changer.id.clone())
    } else {
        turn.store.member(post.message.author)?.map(|author| author.id)
    };
    let verdict = if post.message.verified { Verdict::Verified } else { Verdict::Unsigned };
    Ok(Item { author, verdict, sent_at: post.message.broker_time, deleted: false })
}

/// Whether a post is this member's own: one in the group's name is every owner's.
fn is_by(post: &StoredMessage, member: &Member) -> bool {
    post.message.author == member.number || post.message.as_channel && member.role == MemberRole::Owner
}

/// The member that an event is about.
fn subject(event: &Event) -> Option<&MemberId> {
    match event {
        Event::MessageDelete(delete) => delete.member_id.as_ref(),
        Event::MemberRestrict(restrict) => Some(&restrict.member_id),
        Event::MemberDelete(delete) => Some(&delete.member_id),
        Event::MemberRole(change) => Some(&change.member_id),
        _ => None,
    }
}

/// What history makes of an event.
pub(crate) fn kind(event: &Event) -> MessageKind {
    match event {
        Event::MessageNew(_) => MessageKind::Post,
        Event::MessageUpdate(_) => MessageKind::Edit,
        Event::FileDescription(_) => MessageKind::File,
        Event::MessageReact(_) => MessageKind::Reaction,
        _ => MessageKind::Other,
    }
}

/// Whose conversation with the moderators an event of this author belongs to, by what it says itself. A report is for
/// them also when it says nothing.
pub(crate) fn support_of(event: &Event, author: &MemberId) -> Option<MemberId> {
    let scope = match event {
        Event::MessageNew(new) if new.scope.is_none() && new.content.is_report() => {
            return Some(author.clone());
        }
        Event::MessageNew(new) => new.scope.as_ref(),
        Event::MessageUpdate(update) => update.scope.as_ref(),
        Event::MessageDelete(delete) => delete.scope.as_ref(),
        Event::MessageReact(react) => react.scope.as_ref(),
        _ => None,
    };
    scope.map(|Scope::Member { member_id }| member_id.clone())
}

/// Whether an event is passed on in the group's name unless it is signed: a post in that name, and what its author does
/// to one, which would name the author otherwise.
fn is_for_group(event: &Event, meant: Option<&StoredMessage>) -> bool {
    let is_followed = meant.is_some_and(|post| post.message.as_channel);
    match event {
        Event::MessageNew(new) => new.as_group.unwrap_or(false),
        Event::MessageUpdate(update) => update.as_group.unwrap_or(is_followed),
        Event::MessageDelete(delete) => is_followed && delete.member_id.is_none(),
        Event::FileDescription(_) | Event::FileCancel(_) => is_followed,
        _ => false,
    }
}
