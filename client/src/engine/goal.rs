//! What a command waits for: looked at after each step, against the store as it is then.

use protocol::agent::store::AgentStore as _;
use protocol::group::identity::MemberKey;
use protocol::group::msg_id::SharedMessageId;
use protocol::timestamp::Timestamp;
use tokio::sync::mpsc;

use crate::error::CommandError;
use crate::event::{DeliveryState, Event, MessageRow, Reply, Signature};
use crate::exit_code::ExitCode;
use crate::rows;
use crate::store::group::{Entering, Group, GroupId, GroupStatus};
use crate::store::relay::RelayId;
use crate::store::{Store, StoreError};

/// What has to be so before the command ends.
#[derive(Debug, Clone)]
pub(super) enum Goal {
    /// The group link exists, and no relay is on its way any more.
    Created(GroupId),
    /// This relay is on its way no more.
    Relay(GroupId, RelayId),
    /// The group link is written without this relay, and whoever is to know of it can.
    RelayRemoved(GroupId),
    /// The link that was named for joining is being read.
    JoinLink,
    /// A relay has let us in.
    Joined(GroupId),
    /// The group link is being read.
    RestoreLink(GroupId),
    /// The relays that the group link lists are connected, or cannot be.
    Restored(GroupId),
    /// Some relay's server has each of these.
    Delivered(GroupId, Vec<SharedMessageId>),
    /// The group link is written, and some relay's server has this.
    Published(GroupId, SharedMessageId),
    /// A relay has proven itself, or has not; the test itself ends the command.
    RelayTested,
    /// Nothing waits to be sent.
    Flushed,
    /// Never: follows one group or all.
    Followed(Option<String>),
    /// Never: follows the relays of one group.
    Watched(String),
}

/// A command that waits.
#[derive(Debug)]
pub(super) struct Waiter {
    /// Tells waiters apart.
    pub(super) request: u64,
    /// What it waits for.
    pub(super) goal: Goal,
    /// Until when; followers wait for ever.
    pub(super) deadline: Option<Timestamp>,
    /// Where its answer goes.
    pub(super) replies: mpsc::UnboundedSender<Reply>,
    /// What was asked is so; it ends then even if more is still on its way.
    pub(super) lingers_until: Option<Timestamp>,
}

/// How long a message is given to reach the servers of further relays.
const LINGER_DELIVERED_MS: i64 = 1_000;
/// How long further relays are given to let us in.
const LINGER_JOINED_MS: i64 = 3_000;
/// How long nothing must happen before everything counts as received.
const LINGER_FLUSHED_MS: i64 = 2_000;

/// How far a goal is.
#[derive(Debug)]
pub(super) enum Progress {
    /// It is not reached.
    Waiting,
    /// It is reached; more that belongs to it is still on its way.
    Enough(End),
    /// It is reached, or will not be.
    Over(End),
}

impl Waiter {
    /// Whether an event that happens belongs to this command.
    pub(super) fn wants(&self, store: &Store, event: &Event) -> bool {
        let is_of = |id: GroupId, group: &str| store.group(id).is_ok_and(|record| record.alias == group);
        match &self.goal {
            Goal::Followed(None) => true,
            Goal::Followed(Some(wanted)) => group_of(event).is_none_or(|group| group == wanted),
            Goal::Watched(wanted) => match event {
                Event::GroupRelay(row) => row.group == *wanted,
                Event::RelayNotice { group, .. } => group == wanted,
                _ => false,
            },
            Goal::Created(id) | Goal::Relay(id, _) | Goal::RelayRemoved(id) => match event {
                Event::GroupRelay(row) => is_of(*id, &row.group),
                Event::GroupLink { group, .. } | Event::Warning { group: Some(group), .. } => {
                    is_of(*id, group)
                }
                _ => false,
            },
            Goal::Joined(id) | Goal::Restored(id) | Goal::RestoreLink(id) => match event {
                Event::GroupRelay(row) => is_of(*id, &row.group),
                Event::Joined { group, .. } | Event::Evidence { group, .. } => is_of(*id, group),
                _ => false,
            },
            Goal::Delivered(id, wanted) => match event {
                // Others may wait at the same time for what they say.
                Event::Delivery { group, message_id, .. }
                | Event::Message(MessageRow { group, message_id, .. }) => {
                    is_of(*id, group) && wanted.iter().any(|wanted| wanted.to_string() == *message_id)
                }
                Event::Edited { group, signature: Signature::Own, .. }
                | Event::Deleted { group, signature: Signature::Own, .. }
                | Event::GroupEnded { group, .. } => is_of(*id, group),
                Event::Member(row) => is_of(*id, &row.group),
                _ => false,
            },
            Goal::Published(id, _) => match event {
                Event::GroupProfile(row) => is_of(*id, &row.group),
                _ => false,
            },
            Goal::JoinLink | Goal::RelayTested | Goal::Flushed => false,
        }
    }

    /// How long this goal lingers once it is reached.
    pub(super) fn linger_ms(&self) -> i64 {
        match &self.goal {
            Goal::Joined(_) | Goal::Restored(_) => LINGER_JOINED_MS,
            Goal::Flushed => LINGER_FLUSHED_MS,
            _ => LINGER_DELIVERED_MS,
        }
    }

    /// How the command ends, if it does now.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) fn end(&self, store: &mut Store, now: Timestamp) -> Result<Option<End>, StoreError> {
        Ok(match self.progress(store, now)? {
            Progress::Waiting => None,
            Progress::Enough(end) => self.lingers_until.is_some_and(|until| until <= now).then_some(end),
            Progress::Over(end) => Some(end),
        })
    }

    /// How far the goal is.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) fn progress(&self, store: &mut Store, now: Timestamp) -> Result<Progress, StoreError> {
        let late = self.deadline.is_some_and(|deadline| deadline <= now);
        match &self.goal {
            Goal::Followed(_) | Goal::Watched(_) | Goal::RelayTested => Ok(Progress::Waiting),
            Goal::JoinLink | Goal::RestoreLink(_) if late => Ok(Progress::Over(failed(unreachable_link()))),
            Goal::JoinLink | Goal::RestoreLink(_) => Ok(Progress::Waiting),
            Goal::Created(id) => created(store, *id, late),
            Goal::Relay(id, relay) => relay_end(store, *id, *relay, late),
            Goal::RelayRemoved(id) => link_end(store, *id, late),
            Goal::Joined(id) => joined(store, *id, late),
            Goal::Restored(id) => restored(store, *id, late),
            Goal::Delivered(id, wanted) => delivered(store, *id, wanted, late),
            Goal::Published(id, wanted) => match link_end(store, *id, late)? {
                Progress::Waiting => Ok(Progress::Waiting),
                _ => delivered(store, *id, std::slice::from_ref(wanted), late),
            },
            Goal::Flushed => {
                let end = End { events: Vec::new(), result: Ok(()) };
                Ok(match store.connections_with_jobs()?.len() {
                    _ if late => Progress::Over(end),
                    0 => Progress::Enough(end),
                    _ => Progress::Waiting,
                })
            }
        }
    }
}

/// How a command ends.
#[derive(Debug)]
pub(super) struct End {
    /// To be shown before.
    pub(super) events: Vec<Event>,
    /// Success or failure.
    pub(super) result: Result<(), CommandError>,
}

fn failed(error: CommandError) -> End {
    End { events: Vec::new(), result: Err(error) }
}

fn unreachable_link() -> CommandError {
    CommandError::new(ExitCode::Unreachable, "The server of the link did not answer in time")
}

fn created(store: &Store, id: GroupId, late: bool) -> Result<Progress, StoreError> {
    let relays = store.relays(id)?;
    let group = store.group(id)?;
    let settled = relays.iter().all(|relay| relay.record.is_settled()) && !is_writing(&group);
    if !settled && !late {
        return Ok(Progress::Waiting);
    }
    let active = relays.iter().filter(|relay| relay.record.is_active()).count();
    let mut events: Vec<Event> =
        relays.iter().map(|relay| Event::GroupRelay(rows::relay_row(&group.alias, relay))).collect();
    events.insert(0, Event::GroupLink { group: group.alias.clone(), link: group.link.clone() });
    events.push(Event::Group(rows::group_row(store, id, &group)?));
    let result = match (active, settled) {
        (1.., _) => Ok(()),
        (0, true) => Err(CommandError::new(ExitCode::RelayRefused, "No relay serves the group").hint(
            "See the reasons with `conclave group relays`, and add another with `conclave group relay add`.",
        )),
        (0, false) => Err(still_waiting("No relay is active yet; the group is kept")),
    };
    Ok(Progress::Over(End { events, result }))
}

fn relay_end(store: &Store, id: GroupId, relay: RelayId, late: bool) -> Result<Progress, StoreError> {
    let Some(relay) = store.relay(relay)? else { return Ok(Progress::Waiting) };
    let group = store.group(id)?;
    let row = rows::relay_row(&group.alias, &relay);
    let result = if relay.record.is_active() {
        Ok(())
    } else if relay.record.is_over() {
        let reason = relay.record.reason.as_deref().unwrap_or("it gave no reason");
        Err(CommandError::new(
            ExitCode::RelayRefused,
            format_args!("The relay does not serve the group: {reason}"),
        ))
    } else if late {
        Err(still_waiting("The relay is not active yet"))
    } else {
        return Ok(Progress::Waiting);
    };
    Ok(Progress::Over(End { events: vec![Event::GroupRelay(row)], result }))
}

fn link_end(store: &Store, id: GroupId, late: bool) -> Result<Progress, StoreError> {
    let group = store.group(id)?;
    let farewells = store.relays(id)?.iter().any(|relay| relay.record.farewell.is_some());
    let undelivered =
        store.relays(id)?.iter().any(|relay| relay.record.connected) && store.count_undelivered(id)? > 0;
    if !is_writing(&group) && !farewells && !undelivered {
        return Ok(Progress::Over(End { events: Vec::new(), result: Ok(()) }));
    }
    if !late {
        return Ok(Progress::Waiting);
    }
    let text = "The group link is not written yet, or relays do not know of it yet";
    Ok(Progress::Over(failed(still_waiting(text))))
}

fn joined(store: &Store, id: GroupId, late: bool) -> Result<Progress, StoreError> {
    let group = store.group(id)?;
    let events = vec![Event::Group(rows::group_row(store, id, &group)?)];
    let reasons = || -> Result<String, StoreError> {
        let relays = store.relays(id)?;
        let reasons: Vec<String> = relays
            .iter()
            .filter_map(|relay| Some(format!("{}: {}", relay.record.name, relay.record.reason.as_ref()?)))
            .collect();
        Ok(if reasons.is_empty() { "no relay has answered".to_owned() } else { reasons.join("; ") })
    };
    let relays = store.relays(id)?;
    let settled = relays.iter().all(|relay| relay.record.is_settled());
    let is_reviewed = relays.iter().any(|relay| relay.record.is_waiting())
        && (late || relays.iter().all(|relay| relay.record.is_waiting() || relay.record.is_settled()));
    let is_put_off = settled && relays.iter().any(|relay| relay.record.is_put_off());
    let result = match group.status {
        GroupStatus::Active if !settled && !late => {
            return Ok(Progress::Enough(End { events, result: Ok(()) }));
        }
        GroupStatus::Active => Ok(()),
        GroupStatus::Joining if group.entrance == Entering::Asked => {
            return Ok(Progress::Over(asked(&group)));
        }
        GroupStatus::Joining if is_reviewed => Err(CommandError::new(
            ExitCode::StillWaiting,
            "A moderator of the group is to let you in: your request was sent, and waits",
        )
        .hint("See how it stands with `conclave group relays`.")),
        GroupStatus::Joining if is_put_off => Err(still_waiting(&format!("Not joined yet: {}", reasons()?))
            .hint(
                "Relays without room are asked again later, by `conclave listen`, or now, by joining again.",
            )),
        GroupStatus::Joining if !late => return Ok(Progress::Waiting),
        GroupStatus::Joining => Err(still_waiting(&format!("Not joined yet: {}", reasons()?))),
        GroupStatus::Deleted => {
            Err(CommandError::new(ExitCode::GroupDeleted, "The owner has ended this group"))
        }
        _ => Err(CommandError::new(
            ExitCode::JoinRefused,
            format_args!("The relays let nobody in: {}", reasons()?),
        )),
    };
    Ok(Progress::Over(End { events, result }))
}

/// Somebody is to answer before a relay is asked.
fn asked(group: &Group) -> End {
    let event = group.profile.entrance().map(|asks| Event::Entrance {
        group: group.alias.clone(),
        public_id: group.public_id.to_string(),
        member_key: MemberKey(group.key.key().public_key()),
        asks,
    });
    let error = CommandError::new(ExitCode::AnswerNeeded, "The group asks something of those who join");
    End { events: event.into_iter().collect(), result: Err(error) }
}

fn restored(store: &Store, id: GroupId, late: bool) -> Result<Progress, StoreError> {
    let relays = store.relays(id)?;
    let group = store.group(id)?;
    let events = relays.iter().map(|relay| Event::GroupRelay(rows::relay_row(&group.alias, relay))).collect();
    let settled = relays.iter().all(|relay| relay.record.is_settled());
    let connected = relays.iter().any(|relay| relay.record.connected);
    let result = match (connected, settled) {
        (true, false) if !late => return Ok(Progress::Enough(End { events, result: Ok(()) })),
        (true, _) => Ok(()),
        (false, false) if !late => return Ok(Progress::Waiting),
        (false, false) => Err(still_waiting("No relay is connected yet")),
        (false, true) => {
            Err(CommandError::new(ExitCode::NoActiveRelay, "No relay of this group can be used now"))
        }
    };
    Ok(Progress::Over(End { events, result }))
}

fn delivered(
    store: &Store,
    id: GroupId,
    wanted: &[SharedMessageId],
    late: bool,
) -> Result<Progress, StoreError> {
    let mut missing = 0_u64;
    for shared_id in wanted {
        missing += u64::from(!store.is_durable(id, shared_id)?);
    }
    let relays = store.relays(id)?;
    let group = store.group(id)?;
    let silent = relays.iter().all(|relay| !relay.record.connected) && !group.status.is_over();
    if missing > 0 && !late && !silent {
        return Ok(Progress::Waiting);
    }
    let mut events = Vec::new();
    for shared_id in wanted {
        for relay in store.relays_undelivered(id, shared_id)? {
            let relay = relays.iter().find(|row| row.id == relay).map(|row| row.record.name.clone());
            events.push(Event::Delivery {
                group: group.alias.clone(),
                message_id: shared_id.to_string(),
                relay: relay.unwrap_or_default(),
                state: DeliveryState::Waiting,
                reason: None,
            });
        }
    }
    if missing == 0 {
        let on_their_way = !events.is_empty() && !late;
        let end = End { events, result: Ok(()) };
        return Ok(if on_their_way { Progress::Enough(end) } else { Progress::Over(end) });
    }
    events.push(Event::Waiting { group: group.alias, messages: store.count_undelivered(id)? });
    let error = if silent {
        CommandError::new(
            ExitCode::NoActiveRelay,
            "No relay is connected; what you sent is kept and waits for one",
        )
    } else {
        still_waiting("No relay's server has it yet; what you sent is kept and goes out later")
    };
    Ok(Progress::Over(End { events, result: Err(error) }))
}

fn is_writing(group: &Group) -> bool {
    group
        .owner
        .as_ref()
        .is_some_and(|owner| !owner.link_created || owner.writing.is_some() || owner.write_again)
}

fn still_waiting(text: &str) -> CommandError {
    CommandError::new(ExitCode::StillWaiting, text)
}

fn group_of(event: &Event) -> Option<&str> {
    match event {
        Event::Group(row) => Some(&row.group),
        Event::GroupProfile(row) => Some(&row.group),
        Event::GroupRelay(row) => Some(&row.group),
        Event::Member(row) => Some(&row.group),
        Event::Message(row) => Some(&row.group),
        Event::Gap(row) => Some(&row.group),
        Event::GroupLink { group, .. }
        | Event::Edited { group, .. }
        | Event::Deleted { group, .. }
        | Event::Reaction { group, .. }
        | Event::Delivery { group, .. }
        | Event::Waiting { group, .. }
        | Event::HistoryEnd { group, .. }
        | Event::Late { group, .. }
        | Event::Restarted { group, .. }
        | Event::Unread { group, .. }
        | Event::Evidence { group, .. }
        | Event::KeptEvidence { group, .. }
        | Event::Joined { group, .. }
        | Event::Knock { group, .. }
        | Event::Entrance { group, .. }
        | Event::RelayNotice { group, .. }
        | Event::KnockEnded { group, .. }
        | Event::GroupEnded { group, .. }
        | Event::Warning { group: Some(group), .. } => Some(group),
        Event::NetworkSettings { .. }
        | Event::Server { .. }
        | Event::Relay { .. }
        | Event::Check { .. }
        | Event::Done { .. }
        | Event::Warning { group: None, .. }
        | Event::Listening { .. }
        | Event::Network { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::tests::post;
    use crate::store::group::tests::a_group;

    #[test]
    fn a_command_is_told_of_what_it_says_itself() {
        let mut store = Store::in_memory();
        let group = store.add_group(&a_group("g")).unwrap();
        let (replies, _) = mpsc::unbounded_channel();
        let said = SharedMessageId::new(b"said".to_vec()).unwrap();
        let goal = Goal::Delivered(group, vec![said.clone()]);
        let waiter = Waiter { request: 1, goal, deadline: None, replies, lingers_until: None };
        let own = MessageRow { message_id: said.to_string(), own: true, ..post("hello") };
        assert!(waiter.wants(&store, &Event::Message(own.clone())));
        let by_another = MessageRow { message_id: "b3RoZXI=".into(), ..own.clone() };
        assert!(!waiter.wants(&store, &Event::Message(by_another)), "another command says it");
        assert!(!waiter.wants(&store, &Event::Message(MessageRow { group: "h".into(), ..own })));
    }
}
