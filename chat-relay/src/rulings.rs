//! What was decided about members and stands, for those who come later: see [`protocol::group::ruling`]. We come later
//! ourselves where the group has other relays, or had.

use protocol::group::batch::Element;
use protocol::group::event::Event;
use protocol::group::event::members::MemberInfo;
use protocol::group::forward::Forward;
use protocol::group::identity::{MemberId, MemberKey, MemberRole};
use protocol::group::permissions::{Actor, judge};
use protocol::group::ruling::Ruling;
use protocol::group::signed::SignatureState;
use protocol::net::engine::Fatal;

use crate::history::page::Page;
use crate::metrics::Refused;
use crate::receive::{self, Source};
use crate::store::RelayStore;
use crate::store::records::{Member, MemberStatus, ServedGroup};
use crate::turn::Turn;

/// The newest that was said about whether a member is blocked, and about its role if the roster does not tell that, as forward
/// elements: for whoever is shown the member, or is it.
///
/// # Errors
/// When the store fails.
pub fn of_member<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
    member: &Member,
) -> Result<Vec<Vec<u8>>, Fatal> {
    // Whoever gets it may have the member for one of those who joined.
    let joiner_role = turn.joiner_role(group);
    let appointment = member.appointment.as_ref().filter(|_| member.role.is_beside_roster(joiner_role));
    let mut elements = Vec::new();
    for (ruling, role) in [(member.restriction.as_ref(), member.role), (appointment, joiner_role)] {
        if let Some(ruling) = ruling {
            elements.extend(said(turn, group, ruling, role)?);
        }
    }
    Ok(elements)
}

/// What was decided about a key, under whichever member id: the newest of each kind stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Why whoever shows it is not let in.
    pub bar: Option<Bar>,
    /// Whether its member is blocked.
    blocked: bool,
    /// The role that its member was given.
    role: Option<MemberRole>,
}

/// What a group has against a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bar {
    /// Its member was removed.
    Removed,
    /// It knocked, and was not let in.
    Rejected,
}

/// What was decided about a key.
///
/// # Errors
/// When the store fails.
pub fn about_key<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
    key: &MemberKey,
) -> Result<Standing, Fatal> {
    Ok(Standing::of(&turn.store.ruled_members(group.id, &key.0)?))
}

impl Standing {
    fn of(members: &[Member]) -> Self {
        let has = |status| members.iter().any(|member| member.status == status);
        let bar = match (has(MemberStatus::Removed), has(MemberStatus::Rejected)) {
            (true, _) => Some(Bar::Removed),
            (false, true) => Some(Bar::Rejected),
            (false, false) => None,
        };
        let restricted = newest(members, |member| member.restriction.as_ref());
        let appointed = newest(members, |member| member.appointment.as_ref());
        Self {
            bar,
            blocked: restricted.is_some_and(|member| member.blocked),
            role: appointed.map(|member| member.role),
        }
    }

    /// Has it hold for a member that shows the key, but for what was said about this very member. It gives no privileges: those
    /// who would hear of them know members by their ids.
    pub fn hold_for(&self, member: &mut Member) {
        if member.restriction.is_none() {
            member.blocked |= self.blocked;
        }
        if let Some(role) = self.role.filter(|_| member.appointment.is_none()) {
            member.role = member.role.min(role);
        }
    }
}

/// About whom the newest ruling of a kind is; if none is newer, who came last of these, which come first here.
fn newest(members: &[Member], ruling: impl Fn(&Member) -> Option<&Ruling>) -> Option<&Member> {
    let ruled = members.iter().filter_map(|member| Some((member, ruling(member)?)));
    let newer = ruled.reduce(|newest, other| if newest.1.counts_over(other.1) { newest } else { other });
    newer.map(|(member, _)| member)
}

/// A ruling about somebody of this role, as it is passed on. Nothing if its author could not say it any more: nobody would
/// take it.
fn said<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
    ruling: &Ruling,
    role: MemberRole,
) -> Result<Option<Vec<u8>>, Fatal> {
    let Some(identity) = &group.identity else { return Ok(None) };
    let Some(author) = turn.store.member_by_id(group.id, ruling.author())? else { return Ok(None) };
    let Some(Ok(said)) = ruling.statement().map(|said| said.message()) else { return Ok(None) };
    let actor = Actor { role: author.role, blocked: author.blocked };
    let preferences = identity.profile.preferences();
    let stands = judge(&said.event, &author.id, actor, &preferences, |_| Some(role)).is_ok();
    let name = author.profile.map_or_else(|| author.id.stand_in_name(), |profile| profile.display_name);
    Ok(ruling.forward(&name).filter(|_| stands))
}

/// What an owner tells us of rulings, if it is that: nobody else is believed who is removed, and who said so.
///
/// # Errors
/// When the store fails.
pub fn came<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    source: Source,
    elements: &[Element<'_>],
) -> Result<bool, Fatal> {
    // Most messages hold one statement, which is not to be read twice.
    let [Element::Statement(mark), _, ..] = elements else { return Ok(false) };
    if !mark.message().is_ok_and(|mark| matches!(mark.event, Event::MemberRulings(_))) {
        return Ok(false);
    }
    let (Some(group), Some(owner)) = (turn.store.group(source.group)?, turn.store.member(source.member)?)
    else {
        return Ok(true);
    };
    if source.is_claimant || owner.role != MemberRole::Owner || !group.life.status.serves() {
        return Ok(true);
    }
    let Some(Page { forwards, introduced, .. }) = Page::read(elements) else { return Ok(true) };
    for forward in forwards {
        take(turn, &group, forward, |id| introduced.get(id))?;
    }
    Ok(true)
}

/// Takes a ruling: its author's signature proves that it was said, the owner's word that its author could say it then.
fn take<'i, S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
    forward: &Forward<'_>,
    introduced: impl Fn(&MemberId) -> Option<&'i MemberInfo>,
) -> Result<(), Fatal> {
    let (Ok(message), Some(author), Some(identity)) =
        (forward.statement.message(), forward.sender.member(), &group.identity)
    else {
        return Ok(());
    };
    let about = match &message.event {
        Event::MemberRestrict(restrict) => &restrict.member_id,
        Event::MemberDelete(delete) => &delete.member_id,
        Event::MemberRole(change) if change.role.is_minor_role() => &change.member_id,
        _ => return Ok(()),
    };
    let told_key = |id: &MemberId| introduced(id).and_then(|info| info.member_key);
    let key = match turn.store.member_by_id(group.id, author)? {
        Some(known) => known.key.map(MemberKey),
        None => told_key(author),
    };
    let signature = forward.statement.check(&identity.public_group_id, author, key.as_ref());
    if signature != SignatureState::Verified {
        turn.operation.metrics.refused(Refused::Message, "ruling");
        tracing::warn!(group = group.id.0, ?signature, "a ruling is refused: it is not its author's");
        return Ok(());
    }
    let known = turn.store.member_by_id(group.id, about)?;
    let is_over = known.is_some_and(|known| {
        known.role == MemberRole::Owner || known.status == MemberStatus::Removed && known.key.is_some()
    });
    if is_over || *about == group.key.relay {
        return Ok(());
    }
    receive::ruled(turn, group, &message.event, told_key(about), (author, forward))
}
