//! The client as the engine sees it: inputs come in, steps are taken, waiting commands are answered after the commit.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use protocol::agent::event::Event as AgentEvent;
use protocol::agent::signed_link_data::OpenedLink;
use protocol::agent::store::{AgentStore as _, ConnectionId};
use protocol::net::engine::{Application, Context, Fatal, LinkTag, NetworkChange};
use protocol::net::network::{Network, ReadLinkError};
use protocol::smp::address::ServerAddress;
use protocol::smp::error::ErrorType;
use protocol::smp::ids::RecipientId;
use protocol::timestamp::Timestamp;
use tokio::sync::mpsc;

use super::aside::Asides;
use super::goal::{End, Goal, Progress, Waiter};
use super::relay_test::RelayTests;
use super::step::{Done, Step, Stop};
use super::tag::Tag;
use super::unusable::UnusableServers;
use crate::error::CommandError;
use crate::event::{Event, Reply};
use crate::store::Store;
use crate::store::group::GroupId;

/// What other threads ask of the client.
#[derive(Debug)]
pub struct Ask {
    /// What is asked.
    pub(crate) request: crate::request::Request,
    /// Where replies go.
    pub(crate) replies: mpsc::UnboundedSender<Reply>,
}

/// The client as an application of the engine.
#[derive(Debug)]
pub struct Client {
    store: Store,
    /// Told after the commit.
    tidings: Vec<Event>,
    waiters: Vec<Waiter>,
    requests: u64,
    /// When the last step was; deadlines are looked at after it.
    now: Timestamp,
    /// Whether something came from the network since commands were looked at.
    stirred: bool,
    unusable: UnusableServers,
    tests: RelayTests,
    asides: Asides,
    /// Where commands go out, once the engine runs.
    network: Arc<OnceLock<Network>>,
}

impl Client {
    /// On an open store.
    pub(crate) fn new(store: Store, network: Arc<OnceLock<Network>>) -> Self {
        Self {
            store,
            tidings: Vec::new(),
            waiters: Vec::new(),
            requests: 0,
            now: Timestamp::default(),
            stirred: false,
            unusable: UnusableServers::default(),
            tests: RelayTests::default(),
            asides: Asides::default(),
            network,
        }
    }

    /// What the store alone answers, outside of a batch.
    ///
    /// # Errors
    /// As [`crate::query::answer`].
    pub(crate) fn look(&mut self, request: crate::request::Request) -> Result<Vec<Event>, CommandError> {
        let mut rows = Vec::new();
        crate::query::answer(&mut self.store, request, &mut |event| rows.push(event))?;
        Ok(rows)
    }

    /// Takes a step; what it refuses is given back, what it breaks ends the engine.
    fn step<T>(
        &mut self,
        context: &mut Context<'_>,
        act: impl FnOnce(&mut Step<'_, '_>) -> Done<T>,
    ) -> Result<Result<T, CommandError>, Fatal> {
        self.now = context.now();
        let waiters = &self.waiters;
        let followed = |group: &str| {
            waiters.iter().any(|waiter| match &waiter.goal {
                Goal::Followed(wanted) => wanted.as_deref().is_none_or(|wanted| wanted == group),
                _ => false,
            })
        };
        let mut step = Step {
            store: &mut self.store,
            context,
            tidings: &mut self.tidings,
            tests: &mut self.tests,
            asides: &mut self.asides,
            followed: &followed,
        };
        let result = act(&mut step);
        self.tests_ended();
        self.linger(context)?;
        self.wake(context)?;
        match result {
            Ok(value) => Ok(Ok(value)),
            Err(Stop::Refused(error)) => Ok(Err(error)),
            Err(Stop::Fatal(error)) => Err(error),
        }
    }

    /// Takes a step that nobody asked for, so nobody is refused: what stands against it is worth a word.
    fn by_itself(
        &mut self,
        context: &mut Context<'_>,
        act: impl FnOnce(&mut Step<'_, '_>) -> Done<()>,
    ) -> Result<(), Fatal> {
        if let Err(error) = self.step(context, act)? {
            self.tidings.push(Event::Warning { group: None, text: error.message });
        }
        Ok(())
    }

    /// Gives commands whose goal is reached a little time for what is still on its way.
    fn linger(&mut self, context: &mut Context<'_>) -> Result<(), Fatal> {
        let now = context.now();
        let store = &mut self.store;
        for waiter in &mut self.waiters {
            if self.stirred && matches!(waiter.goal, Goal::Flushed) {
                // Something has just come, so more may follow.
                waiter.lingers_until = None;
            }
            let enough = matches!(waiter.progress(store, now)?, Progress::Enough(_));
            if enough && waiter.lingers_until.is_none() {
                waiter.lingers_until = Some(now.plus_ms(waiter.linger_ms()));
            }
        }
        self.stirred = false;
        Ok(())
    }

    /// Asks to be woken for whatever is due next.
    fn wake(&mut self, context: &mut Context<'_>) -> Result<(), Fatal> {
        let relays = [self.store.next_relay_due_ms()?, self.store.next_bulk_due_ms()?];
        let relays = relays.into_iter().flatten().map(Timestamp);
        let groups = self.store.groups()?;
        let restores = groups.iter().filter(|group| !group.record.status.is_over());
        let restores = restores.filter_map(|group| group.record.restore.due_at_ms.map(Timestamp));
        let deadlines =
            self.waiters.iter().flat_map(|waiter| [waiter.deadline, waiter.lingers_until]).flatten();
        let others = [self.tests.deadline(), self.asides.deadline()].into_iter().flatten();
        if let Some(next) = relays.chain(restores).chain(deadlines).chain(others).min() {
            context.wake_at(next);
        }
        Ok(())
    }

    /// Has a command wait for its goal.
    pub(super) fn wait(
        &mut self,
        context: &mut Context<'_>,
        request: u64,
        goal: Goal,
        timeout_ms: u64,
        replies: mpsc::UnboundedSender<Reply>,
    ) -> Result<(), Fatal> {
        let forever = matches!(goal, Goal::Followed(_) | Goal::Watched(_) | Goal::RelayTested);
        let timeout_ms = i64::try_from(timeout_ms).unwrap_or(i64::MAX);
        let deadline = (!forever).then(|| context.now().plus_ms(timeout_ms));
        self.waiters.push(Waiter { request, goal, deadline, replies, lingers_until: None });
        self.linger(context)?;
        self.wake(context)
    }

    /// A server does not let us hear a queue, or does again.
    fn queue_refused(
        &mut self,
        context: &mut Context<'_>,
        (server, queue): (&ServerAddress, &RecipientId),
        error: Option<&ErrorType>,
    ) -> Result<(), Fatal> {
        let Some(connection) = self.store.connection_of_queue(server, queue)? else { return Ok(()) };
        self.by_itself(context, |step| step.queue_refused(connection, server, error))
    }

    /// What relays have proven, for the commands that wait for it.
    fn tests_ended(&mut self) {
        for (request, result) in self.tests.take_ended() {
            let waits = |waiter: &mut Waiter| waiter.request == request;
            for waiter in self.waiters.extract_if(.., waits) {
                // Whoever asked may be gone.
                let _ = match &result {
                    Ok(event) => {
                        let _ = waiter.replies.send(event.clone().into());
                        waiter.replies.send(Reply::Success)
                    }
                    Err(error) => waiter.replies.send(Reply::Failure(error.clone())),
                };
            }
        }
    }

    /// What reading a link came to, for the command that waits for it.
    fn link_done(&mut self, tag: &Tag, result: Result<Option<GroupId>, CommandError>) {
        let waits = |waiter: &Waiter| match (&waiter.goal, tag) {
            (Goal::JoinLink, Tag::Join { request, .. }) => waiter.request == *request,
            (Goal::RestoreLink(id), Tag::Group { group }) => id.0 == *group,
            _ => false,
        };
        let mut kept = Vec::new();
        for mut waiter in std::mem::take(&mut self.waiters) {
            if !waits(&waiter) {
                kept.push(waiter);
                continue;
            }
            match &result {
                Ok(group) => {
                    waiter.goal = match (&waiter.goal, group) {
                        (Goal::RestoreLink(id), _) => Goal::Restored(*id),
                        (_, Some(id)) => Goal::Joined(*id),
                        (goal, None) => goal.clone(),
                    };
                    kept.push(waiter);
                }
                // Whoever asked may be gone.
                Err(error) => drop(waiter.replies.send(Reply::Failure(error.clone()))),
            }
        }
        self.waiters = kept;
    }
}

impl Application for Client {
    type Store = Store;
    type Command = Ask;

    fn store(&mut self) -> &mut Store {
        &mut self.store
    }

    fn on_start(&mut self, context: &mut Context<'_>) -> Result<(), Fatal> {
        self.by_itself(context, |step| step.start())
    }

    fn on_event(
        &mut self,
        context: &mut Context<'_>,
        connection: ConnectionId,
        event: AgentEvent,
    ) -> Result<(), Fatal> {
        self.stirred = true;
        self.by_itself(context, |step| step.agent_event(connection, event))
    }

    fn on_link(
        &mut self,
        context: &mut Context<'_>,
        tag: LinkTag,
        result: Result<OpenedLink, ReadLinkError>,
    ) -> Result<(), Fatal> {
        let Some(tag) = Tag::from_bytes(&tag.0) else { return Ok(()) };
        self.stirred = true;
        let done = self.step(context, |step| step.link_read(&tag, result))?;
        self.link_done(&tag, done);
        Ok(())
    }

    fn on_command(&mut self, context: &mut Context<'_>, ask: Ask) -> Result<(), Fatal> {
        self.requests = self.requests.saturating_add(1);
        let request = self.requests;
        let Ask { request: asked, replies } = ask;
        let timeout_ms = super::ask::timeout_ms(&asked);
        let reroutes = asked.changes_routes();
        let before = self.tidings.len();
        let mut rows = Vec::new();
        // All of it or nothing: a command that is refused half-way must leave nothing behind.
        let goal = self.step(context, |step| step.attempt(|step| step.asked(request, asked, &mut rows)))?;
        for event in rows {
            // Whoever asked may be gone.
            let _ = replies.send(event.into());
        }
        if let (true, Ok(_), Some(network)) = (reroutes, &goal, self.network.get()) {
            network.route(crate::network::routing(&self.store)?);
        }
        match goal {
            Ok(None) => drop(replies.send(Reply::Success)),
            Ok(Some(goal)) => self.wait(context, request, goal, timeout_ms, replies)?,
            Err(error) => {
                self.tidings.truncate(before);
                drop(replies.send(Reply::Failure(error)));
            }
        }
        Ok(())
    }

    fn on_timer(&mut self, context: &mut Context<'_>) -> Result<(), Fatal> {
        self.by_itself(context, |step| step.timer())
    }

    fn on_network(&mut self, context: &mut Context<'_>, change: NetworkChange) -> Result<(), Fatal> {
        self.now = context.now();
        self.stirred = true;
        let event = match change {
            NetworkChange::Up(server) => {
                self.unusable.up(&server);
                self.by_itself(context, |step| step.reached_for_asides(&server))?;
                Event::Network { server: server.to_string(), up: true, reason: None }
            }
            NetworkChange::Down { server, reason } => {
                self.unusable.down(&server, &reason);
                self.asides.lose(&server);
                let reason = Some(super::step::chain(&reason));
                Event::Network { server: server.to_string(), up: false, reason }
            }
            NetworkChange::QueueRefused { server, queue, error } => {
                return self.queue_refused(context, (&server, &queue), Some(&error));
            }
            NetworkChange::RefusalOver { is_heard: false, .. } => return Ok(()),
            NetworkChange::RefusalOver { server, queue, is_heard: true } => {
                return self.queue_refused(context, (&server, &queue), None);
            }
            NetworkChange::TakenOver { server, .. } => Event::Warning {
                group: None,
                text: format!("another copy of this home is in use at {server}: use only one"),
            },
            _ => return Ok(()),
        };
        self.tidings.push(event);
        Ok(())
    }

    fn after_commit(&mut self) {
        for event in std::mem::take(&mut self.tidings) {
            let store = &self.store;
            for waiter in self.waiters.iter().filter(|waiter| waiter.wants(store, &event)) {
                // Whoever asked may be gone; that shows below.
                let _ = waiter.replies.send(event.clone().into());
            }
        }
        let (store, now, unusable) = (&mut self.store, self.now, &self.unusable);
        self.waiters.retain(|waiter| {
            if waiter.replies.is_closed() {
                return false;
            }
            let end = match waiter.end(store, now) {
                Ok(None) => return true,
                Ok(Some(end)) => end,
                Err(error) => End { events: Vec::new(), result: Err(error.into()) },
            };
            let last =
                end.result.map_or_else(|error| Reply::Failure(unusable.explain(error)), |()| Reply::Success);
            for reply in end.events.into_iter().map(Reply::from).chain([last]) {
                let _ = waiter.replies.send(reply);
            }
            false
        });
    }
}

/// How many queues and servers are in use, for those who follow.
pub(super) fn listening(store: &mut Store) -> Done<Event> {
    let (mut servers, mut connections) = (BTreeSet::new(), BTreeSet::new());
    let mut after = None;
    loop {
        let page = store.queues_after(after, QUEUES_PER_PAGE)?;
        let Some((last, _, queue)) = page.last() else { break };
        after = Some((*last, *queue));
        for (connection, server, _) in page {
            connections.insert(connection);
            servers.insert(server);
        }
    }
    Ok(Event::Listening { servers: servers.len() as u64, connections: connections.len() as u64 })
}

/// Queues that are looked at in one go.
pub(super) const QUEUES_PER_PAGE: usize = 256;
