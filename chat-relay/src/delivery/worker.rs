//! Hands streams out: group after group in turn, each a few members at a time, as far as the network has room.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use protocol::agent::Body;
use protocol::agent::store::BodyId;
use protocol::group::constants::BATCH_ELEMENTS_MAX;
use protocol::group::identity::MemberRole;
use protocol::group::served_group::ServedEvent;
use protocol::net::engine::Fatal;

use super::ahead;
use super::plan::{Plan, Recipient, is_for, plan};
use super::stage::StageEvent;
use crate::lifecycle;
use crate::metrics::Count;
use crate::steps::Step;
use crate::store::RelayStore;
use crate::store::records::{
    Delivery, DeliveryId, Forgotten, Given, GroupId, MemberNumber, Piece, Reader, Stage, Stream,
};
use crate::turn::Turn;
use crate::welcome::{self, member_new};

/// Members that one transaction serves at most, of all groups: the first copies leave when it is durable.
const MEMBERS_PER_TURN: usize = 64;
/// Members of a group that are served when it is its turn, even if many groups wait.
const SHARE_MIN: usize = 4;
/// Messages that one turn takes out of a stream at most once all have them.
const FORGOTTEN_PER_TURN: usize = 64;

/// Groups that may have something to hand out, and whose turn it was last.
#[derive(Debug, Default)]
pub struct Turns {
    groups: BTreeSet<GroupId>,
    /// Those whose turn comes when what they have is durable.
    after_commit: BTreeSet<GroupId>,
    last: Option<GroupId>,
}

impl Turns {
    /// A group may have something to hand out.
    pub fn add(&mut self, group: GroupId) {
        self.groups.insert(group);
    }

    /// A group may have something to hand out once this transaction is durable: its step is a step of its own.
    pub fn add_after_commit(&mut self, group: GroupId) {
        self.after_commit.insert(group);
    }

    /// A group is no more ours to hand out.
    pub fn forget(&mut self, group: GroupId) {
        self.groups.remove(&group);
        self.after_commit.remove(&group);
    }

    /// The transaction is durable.
    pub fn committed(&mut self) {
        self.groups.append(&mut self.after_commit);
    }

    /// The group whose turn it is.
    fn next(&mut self) -> Option<GroupId> {
        let after = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.groups.range((after, Bound::Unbounded)).next().or_else(|| self.groups.first());
        self.last = next.copied();
        self.last
    }
}

/// Serves members of groups in turn, `room` at most. Says whether more is left.
///
/// # Errors
/// When the store fails; so for every function here.
pub fn carry_on<S: RelayStore>(turn: &mut Turn<'_, '_, S>, room: usize) -> Result<bool, Fatal> {
    if turn.operation.rules.paused {
        return Ok(false);
    }
    let mut left = room.min(MEMBERS_PER_TURN);
    let waiting = turn.turns.groups.len();
    let page = usize::try_from(turn.limits.page_members).unwrap_or(usize::MAX);
    let share = left.checked_div(waiting).unwrap_or(0).max(SHARE_MIN).min(page);
    for _ in 0..waiting {
        if left == 0 {
            break;
        }
        let Some(group) = turn.turns.next() else { break };
        let (served, has_more) = serve(turn, group, share.min(left))?;
        left = left.saturating_sub(served);
        if !has_more {
            turn.turns.groups.remove(&group);
        }
    }
    Ok(!turn.turns.groups.is_empty() || !turn.turns.after_commit.is_empty())
}

/// Serves at most `limit` members of a group; says how many, and whether more is to be done.
fn serve<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: GroupId,
    limit: usize,
) -> Result<(usize, bool), Fatal> {
    if !turn.store.holds(group) {
        return Ok((0, false));
    }
    let found = turn.store.stream(group)?;
    if found.is_some_and(|stream| stream.is_paused) {
        return Ok((0, false));
    }
    let (ahead, has_more_ahead) = ahead::serve(turn, group, limit)?;
    let limit = limit.saturating_sub(ahead).max(1);
    let Some(stream) = found else { return Ok((ahead, has_more_ahead)) };
    let (served, has_more) = serve_stream(turn, group, stream, limit)?;
    Ok((ahead.saturating_add(served), has_more || has_more_ahead))
}

/// The same for the stream alone.
fn serve_stream<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: GroupId,
    mut stream: Stream,
    limit: usize,
) -> Result<(usize, bool), Fatal> {
    let mut page = Page { stream, recent: BTreeMap::new(), bodies: BTreeMap::new() };
    let apart = match stream.cursor {
        Some(_) => limit.div_euclid(4).max(1),
        None => limit,
    };
    let due = turn.store.readers_due(group, apart)?;
    for reader in &due {
        catch_up(turn, reader)?;
        page.hand_out(turn, *reader)?;
    }
    let mut served = due.len();
    if let Some(cursor) = stream.cursor {
        let limit = limit.saturating_sub(served).max(1);
        let readers = turn.store.round(group, cursor, stream.head, limit)?;
        for reader in &readers {
            match reader.stage {
                Stage::Busy => {
                    let stage = reader.stage.apply(StageEvent::RoundPassed);
                    turn.store.update_reader(&Reader { stage, ..*reader })?;
                }
                _ => page.hand_out(turn, *reader)?,
            }
        }
        served = served.saturating_add(readers.len());
        stream.cursor = match readers.last() {
            Some(last) if readers.len() == limit => Some(last.number),
            _ if std::mem::take(&mut stream.again) => Some(MemberNumber(0)),
            _ => None,
        };
        turn.store.update_stream(group, &stream)?;
        if stream.cursor.is_none() {
            turn.reached(Step::RoundEnded);
        }
        if stream.cursor.is_none()
            && let Some(came) = turn.operation.fan_outs.remove(&group)
        {
            let took_ms = turn.now().0.saturating_sub(came.0).max(0).unsigned_abs();
            turn.operation.metrics.fanned_out(std::time::Duration::from_millis(took_ms));
        }
    }
    if served > 0 {
        turn.reached(Step::PageServed);
        tracing::debug!(group = group.0, members = served, "members are served");
    }
    let Forgotten { all_have, has_more } = turn.store.forget_delivered(group, FORGOTTEN_PER_TURN)?;
    if all_have >= stream.head {
        turn.reached(Step::StreamForgotten);
    }
    if stream.ends_at.is_some_and(|end| end <= all_have) {
        lifecycle::advance(turn, group, ServedEvent::NoticeDelivered)?;
        return Ok((served, false));
    }
    Ok((served, has_more || stream.cursor.is_some() || due.len() == apart))
}

/// Whoever was passed over is given the roster and history first. It drops what it has already.
fn catch_up<S: RelayStore>(turn: &mut Turn<'_, '_, S>, reader: &Reader) -> Result<(), Fatal> {
    let owed = turn.store.member(reader.number)?.is_some_and(|member| member.passed_over);
    if owed { welcome::catch_up(turn, reader.group, reader.number) } else { Ok(()) }
}

/// What members served together have in common.
struct Page {
    stream: Stream,
    /// What follows a position.
    recent: BTreeMap<DeliveryId, Vec<Delivery>>,
    bodies: BTreeMap<Vec<Piece>, BodyId>,
}

impl Page {
    /// Gives a member what it has not, as much as fits one body.
    fn hand_out<S: RelayStore>(
        &mut self,
        turn: &mut Turn<'_, '_, S>,
        mut reader: Reader,
    ) -> Result<(), Fatal> {
        loop {
            let made = self.plan(turn, &reader)?;
            if made.pieces.is_empty() {
                let is_end = made.through >= self.stream.head || made.through == reader.position;
                reader.position = made.through;
                if !is_end {
                    continue;
                }
                reader.position = reader.position.max(self.stream.head);
                reader.stage = reader.stage.apply(StageEvent::NothingLeft);
                return Ok(turn.store.update_reader(&reader)?);
            }
            let body = match self.bodies.get(&made.pieces) {
                Some(body) => *body,
                None => {
                    let body = turn.store.body_of(reader.group, &made.pieces)?;
                    self.bodies.insert(made.pieces.clone(), body);
                    body
                }
            };
            match turn.send(reader.connection, Body::Shared(body))? {
                Some(number) => {
                    turn.operation.metrics.one(Count::Copies);
                    for author in &made.introduced {
                        turn.store.introduce(*author, reader.number)?;
                        turn.reached(Step::AuthorIntroduced);
                    }
                    let all = made.through >= self.stream.head;
                    reader.given = Some(Given { through: made.through, number });
                    reader.stage = reader.stage.apply(StageEvent::Served { all });
                }
                None => {
                    reader.stage = reader.stage.apply(StageEvent::Unwritable);
                    turn.reached(Step::ItemHeld);
                }
            }
            return Ok(turn.store.update_reader(&reader)?);
        }
    }

    fn plan<S: RelayStore>(&mut self, turn: &mut Turn<'_, '_, S>, reader: &Reader) -> Result<Plan, Fatal> {
        let recent = match self.recent.remove(&reader.position) {
            Some(recent) => recent,
            None => turn.store.deliveries(reader.group, reader.position, BATCH_ELEMENTS_MAX)?,
        };
        let (recent, made) = planned(turn, reader, recent)?;
        self.recent.insert(reader.position, recent);
        Ok(made)
    }
}

/// Plans for a member, and makes the introductions that it needs.
fn planned<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    reader: &Reader,
    mut recent: Vec<Delivery>,
) -> Result<(Vec<Delivery>, Plan), Fatal> {
    let mut recipient = Recipient { number: reader.number, id: None, moderates: false };
    if recent.iter().any(|delivery| delivery.support_of.is_some())
        && let Some(member) = turn.store.member(reader.number)?
    {
        recipient.moderates =
            matches!(member.role, MemberRole::Moderator | MemberRole::Admin | MemberRole::Owner);
        recipient.id = Some(member.id);
    }
    let (mut known, mut strangers) = (BTreeSet::new(), Vec::new());
    for delivery in recent.iter_mut().filter(|delivery| delivery.introduces) {
        if !is_for(delivery, &recipient) || !known.insert(delivery.author) {
            continue;
        }
        if turn.store.has_met(delivery.author, reader.number)? {
            continue;
        }
        strangers.push(delivery.author);
        if delivery.introduction_bytes.is_none()
            && let Some(author) = turn.store.member(delivery.author)?
        {
            let element = turn.compose(member_new(&author));
            turn.store.set_introduction(delivery.id, &element)?;
            delivery.introduction_bytes = Some(element.len());
        }
    }
    let made = plan(reader.position, &recent, &recipient, &strangers);
    Ok((recent, made))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_take_turns() {
        let mut turns = Turns::default();
        assert_eq!(turns.next(), None);
        for group in [3, 1, 2] {
            turns.add(GroupId(group));
        }
        let order: Vec<_> = (0..5).filter_map(|_| turns.next()).map(|group| group.0).collect();
        assert_eq!(order, [1, 2, 3, 1, 2]);
        turns.groups.remove(&GroupId(3));
        assert_eq!(turns.next(), Some(GroupId(1)));
    }
}
