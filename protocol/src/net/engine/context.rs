//! What an application can do while it handles something.

use std::collections::{BTreeMap, VecDeque};
use std::ops::{Deref, DerefMut};

use rand_core::CryptoRng;

use crate::agent::event::Event;
use crate::agent::store::{AgentStore, ConnectionId};
use crate::agent::{Agent, Lane};
use crate::smp::short_link::ShortLink;
use crate::timestamp::Timestamp;

/// The moment, randomness, the agent, and wishes that come true after the commit.
pub struct Context<'a> {
    now: Timestamp,
    rng: &'a mut dyn CryptoRng,
    wishes: &'a mut Wishes,
}

/// An application's own name for a link that it reads; comes back with the result. Not kept over a restart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkTag(pub Vec<u8>);

/// What handlers of a batch asked for.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    /// Events of the agent that the application has not handled yet.
    pub(super) events: VecDeque<(ConnectionId, Event)>,
    /// Connections that may want something of the network.
    pub(super) touched: BTreeMap<ConnectionId, Lane>,
    /// Connections that are this program's from now on, and those that are no more.
    pub(super) adopted: Vec<(ConnectionId, Lane)>,
    pub(super) released: Vec<ConnectionId>,
    pub(super) links: Vec<(LinkTag, ShortLink)>,
    pub(super) wake_at: Option<Timestamp>,
    pub(super) stop: bool,
}

impl<'a> Context<'a> {
    pub(super) fn new(now: Timestamp, rng: &'a mut dyn CryptoRng, wishes: &'a mut Wishes) -> Self {
        Self { now, rng, wishes }
    }

    /// The moment at which the batch began.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Randomness: the operating system's, unless the engine was given another source.
    pub fn rng(&mut self) -> &mut dyn CryptoRng {
        self.rng
    }

    /// The agent, on the application's store: `context.agent(self.store()).send(...)`. What it decides is carried
    /// out after the commit; its events come to `on_event` in the same transaction.
    pub fn agent<'c, S: AgentStore>(&'c mut self, store: &'c mut S) -> AgentAccess<'c, S> {
        AgentAccess { agent: Agent::new(store, self.rng, self.now), wishes: self.wishes }
    }

    /// Reads a link after the commit; the result comes to `on_link` with this tag.
    pub fn read_link(&mut self, tag: LinkTag, link: ShortLink) {
        self.wishes.links.push((tag, link));
    }

    /// Asks for `on_timer` at `moment`, or earlier if that was asked for already. One timer, not kept over a
    /// restart: set it again each time, and in `on_start`.
    pub fn wake_at(&mut self, moment: Timestamp) {
        let earlier = self.wishes.wake_at.map_or(moment, |set| set.min(moment));
        self.wishes.wake_at = Some(earlier);
    }

    /// Takes up connections: their queues are subscribed, and what they have to send goes on. Those of the control lane,
    /// which should be few, go before all others, also in later sessions. To be asked for each connection of a store that
    /// several programs share; other programs need it in `on_start` alone, for those that go first.
    pub fn adopt(&mut self, connections: impl IntoIterator<Item = ConnectionId>, lane: Lane) {
        self.wishes.adopted.extend(connections.into_iter().map(|connection| (connection, lane)));
    }

    /// Leaves connections to another program: nothing more is asked of the network for them, and answers to what was
    /// asked do not count. Their queues stay subscribed until the other one subscribes them, and are not asked for again.
    pub fn release(&mut self, connections: impl IntoIterator<Item = ConnectionId>) {
        self.wishes.released.extend(connections);
    }

    /// Stops the engine after this batch is durable.
    pub fn stop(&mut self) {
        self.wishes.stop = true;
    }
}

/// The agent for as long as it is borrowed; then the engine learns what it decided.
pub struct AgentAccess<'c, S: AgentStore> {
    agent: Agent<'c, S>,
    wishes: &'c mut Wishes,
}

impl<'c, S: AgentStore> Deref for AgentAccess<'c, S> {
    type Target = Agent<'c, S>;

    fn deref(&self) -> &Self::Target {
        &self.agent
    }
}

impl<S: AgentStore> DerefMut for AgentAccess<'_, S> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.agent
    }
}

impl<S: AgentStore> Drop for AgentAccess<'_, S> {
    fn drop(&mut self) {
        self.wishes.events.extend(self.agent.take_events());
        for (id, lane) in self.agent.take_touched() {
            let touched = self.wishes.touched.entry(id).or_insert(lane);
            *touched = lane.min(*touched);
        }
    }
}
