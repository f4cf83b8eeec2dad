//! The relay as the engine's application: each thing that happens goes to the file that knows about it.
//!
//! ```text
//! request at the address ─▶ invitation      request at a relay link ─▶ admission      message ─▶ receive
//! link read, deadline ─▶ lifecycle          timer ─▶ lifecycle, cleaning    room ─▶ delivery
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use protocol::agent::Lane;
use protocol::agent::event::{Event, Failure, SendFailure, SyncState};
use protocol::agent::invitation::Invitation;
use protocol::agent::signed_link_data::OpenedLink;
use protocol::agent::store::ConnectionId;
use protocol::encoding::Decode as _;
use protocol::group::bulk::serving::ServedBulkEvent;
use protocol::group::event::Event as Said;
use protocol::group::identity::MemberRole;
use protocol::group::knocking::KnockEvent;
use protocol::group::served_group::ServedEvent;
use protocol::group::signed::Statement;
use protocol::net::engine::{Application, Context, Fatal, LinkTag, NetworkChange, Transactional};
use protocol::net::network::ReadLinkError;
use protocol::smp::address::ServerAddress;
use protocol::smp::error::ErrorType;
use protocol::timestamp::Timestamp;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::config::Limits;
use crate::control::{self, Request};
use crate::delivery::outcome;
use crate::delivery::worker::{self, Turns};
use crate::history::{give, peers};
use crate::identity::RelayIdentity;
use crate::metrics::{Count, Metrics, Refused};
use crate::monitoring::{GROUPS_SHOWN_MAX, GroupNumbers, Labels, Survey};
use crate::notices::{self, Concern};
use crate::operation::{Operation, Rules, ServerHealth};
use crate::receive::Source;
use crate::sharing::{self, SHARE_EVERY_MS};
use crate::steps::Step;
use crate::store::RelayStore;
use crate::store::records::{GroupId, LinkState, MemberNumber, MemberStatus, Purpose};
use crate::store::workers::MOVES_MAX;
use crate::turn::{LinkRead, Turn, request_digest};
use crate::{address, admission, bulk, cleaning, invitation, knocking, lanes, lifecycle, receive, welcome};

/// How often a relay that drains looks whether anything waits.
const DRAIN_LOOK_MS: i64 = 200;

/// What the relay tells the thread that runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The address exists, its server is reached, and the relay hears there what owners and moderators say: owners can
    /// invite and post.
    Ready,
}

/// What other threads ask of the relay.
#[derive(Debug)]
pub enum Command {
    /// The operator wants something.
    Control {
        /// What.
        request: Request,
        /// Where the answer goes once it is durable.
        answer: oneshot::Sender<Value>,
    },
    /// Monitoring looks.
    Survey {
        /// What is looked at one by one.
        labels: Labels,
        /// Where the answer goes.
        answer: oneshot::Sender<Survey>,
    },
    /// Somebody asks what is missing until owners are served: nothing when they are. Asked often, costs nothing.
    Readiness {
        /// Where the answer goes.
        answer: oneshot::Sender<Option<&'static str>>,
    },
}

/// What is missing until owners can invite.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Readiness {
    /// The address has to be created.
    Creating,
    /// One of several workers takes up its share. Whether there are queues on the relay's own server in it that are
    /// subscribed first.
    Sharing(bool),
    /// This server has to be reached, and heard about the queues that are subscribed first.
    Reaching(ServerAddress),
    /// Nothing; nobody has been told yet.
    Reached,
    /// Nothing.
    Told,
}

/// The relay's state in memory; everything else is in the store.
#[derive(Debug)]
pub struct Relay<S> {
    store: S,
    identity: RelayIdentity,
    limits: Limits,
    notify: tokio::sync::mpsc::UnboundedSender<Notice>,
    /// Steps of the open transaction.
    steps: Vec<Step>,
    /// Links that are being read.
    reading: BTreeSet<LinkRead>,
    operation: Operation,
    /// Answers to the operator that wait for the commit.
    answers: Vec<(oneshot::Sender<Value>, Value)>,
    readiness: Readiness,
    /// Whether its own server was heard about the queues that are subscribed first.
    is_listening: bool,
    clean_at: Timestamp,
    /// When the share of this worker is looked at again.
    share_at: Timestamp,
    /// Groups that may have something to hand out.
    turns: Turns,
}

impl<S: RelayStore> Relay<S> {
    /// A relay on its store.
    #[must_use]
    pub fn new(
        store: S,
        identity: RelayIdentity,
        limits: Limits,
        notify: tokio::sync::mpsc::UnboundedSender<Notice>,
    ) -> Self {
        Self {
            store,
            identity,
            limits,
            notify,
            steps: Vec::new(),
            reading: BTreeSet::new(),
            operation: Operation::new(&limits),
            answers: Vec::new(),
            readiness: Readiness::Creating,
            is_listening: false,
            clean_at: Timestamp::default(),
            share_at: Timestamp::default(),
            turns: Turns::default(),
        }
    }

    pub(crate) fn turn<'a, 'c>(&'a mut self, context: &'a mut Context<'c>) -> Turn<'a, 'c, S> {
        Turn {
            store: &mut self.store,
            identity: &self.identity,
            limits: &self.limits,
            context,
            steps: &mut self.steps,
            reading: &mut self.reading,
            operation: &mut self.operation,
            turns: &mut self.turns,
        }
    }

    /// What is counted, for other threads.
    #[must_use]
    pub fn metrics(&self) -> Arc<Metrics> {
        self.operation.metrics.clone()
    }

    /// What is missing until owners are served.
    fn missing(&self) -> Option<&'static str> {
        let own = self.operation.servers.get(&self.identity.server.server);
        if self.operation.drain_until.is_some() {
            Some("draining: ends when what waits is handed out")
        } else if own == Some(&ServerHealth::Down) {
            Some("the relay's own server is not reached")
        } else if self.operation.refused.values().any(|purpose| *purpose == Some(Purpose::Address)) {
            Some("the relay's address is blocked: ask the operator of its server")
        } else {
            match self.readiness {
                Readiness::Creating => Some("the relay's address is not there yet"),
                Readiness::Sharing(_) | Readiness::Reaching(_) | Readiness::Reached => {
                    Some("owners and moderators are not heard yet")
                }
                Readiness::Told => None,
            }
        }
    }

    /// What there is now.
    fn survey(&mut self, labels: Labels) -> Result<Survey, Fatal> {
        let mut largest = Vec::new();
        for (group, members) in self.store.largest_groups(labels.groups.min(GROUPS_SHOWN_MAX))? {
            let waiting = self.store.backlog(Some(group))?;
            largest.push((group, GroupNumbers { members, waiting }));
        }
        let mut queues = BTreeMap::new();
        // Looks at every queue: only for who wants to see them.
        let by_server = if labels.servers { self.store.queues_by_server()? } else { Vec::new() };
        for (server, count) in by_server {
            queues.insert(ServerAddress::from_bytes(&server)?, count);
        }
        // Servers of peers are reached too.
        for server in self.operation.servers.keys() {
            queues.entry(server.clone()).or_default();
        }
        let health = |server: &ServerAddress| self.operation.servers.get(server).copied();
        Ok(Survey {
            groups: largest,
            servers: queues
                .into_iter()
                .map(|(server, count)| {
                    let health = health(&server);
                    (server, count, health)
                })
                .collect(),
            totals: self.store.totals()?,
            waiting: self.store.backlog(None)?,
            members_behind: self.store.members_behind()?,
            requests: self.store.waiting_jobs(control::JOBS_MAX)?.0,
            queues_refused: self.operation.refused.len(),
            paused: self.operation.rules.paused,
            missing: self.missing(),
        })
    }

    /// Looks at what is this worker's among others, and at what the operator said to them.
    fn share(&mut self, context: &mut Context<'_>) -> Result<(), Fatal> {
        self.share_at = context.now().plus_ms(SHARE_EVERY_MS);
        context.wake_at(self.share_at);
        self.operation.rules = Rules::new(&self.limits, &self.store.operator_settings()?);
        let moves = self.store.share()?;
        // Else there may be more of it in a second.
        let has_all = moves.taken.len() < MOVES_MAX;
        let mut creates = false;
        if moves.has_address {
            tracing::info!("the relay's address is this worker's");
            creates = address::prepare(&mut self.turn(context))?.is_none();
        }
        let asks = sharing::follow(&mut self.turn(context), moves)?;
        self.is_listening &= !asks;
        self.readiness = match std::mem::replace(&mut self.readiness, Readiness::Told) {
            Readiness::Told => Readiness::Told,
            _ if creates => Readiness::Creating,
            Readiness::Sharing(before) => match before || asks {
                asks if !has_all => Readiness::Sharing(asks),
                true if !self.is_listening => Readiness::Reaching(self.identity.server.server.clone()),
                _ => Readiness::Reached,
            },
            other @ (Readiness::Creating | Readiness::Reaching(_) | Readiness::Reached) => other,
        };
        Ok(())
    }

    /// Ends a relay that drains, once nothing waits or its time is over.
    fn drain(&mut self, context: &mut Context<'_>) -> Result<(), Fatal> {
        let Some(until) = self.operation.drain_until else { return Ok(()) };
        let (now, is_paused) = (context.now(), self.operation.rules.paused);
        // What waits is handed out by other workers.
        if self.store.is_shared() || is_paused || now >= until || self.store.backlog(None)? == 0 {
            tracing::info!("drained");
            context.stop();
        } else {
            context.wake_at(now.plus_ms(DRAIN_LOOK_MS));
        }
        Ok(())
    }

    fn address_event(
        &mut self,
        context: &mut Context<'_>,
        connection: ConnectionId,
        event: Event,
    ) -> Result<(), Fatal> {
        match event {
            Event::AddressCreated => {
                self.readiness = match self.is_listening {
                    true => Readiness::Reached,
                    false => Readiness::Reaching(self.identity.server.server.clone()),
                };
                Ok(())
            }
            Event::Request { invitation, info } => {
                let mut turn = self.turn(context);
                if !is_new(&mut turn, &invitation)? {
                    return Ok(());
                }
                match read_info(&info) {
                    Some(said) => invitation::requested(&mut turn, &invitation, said),
                    None => {
                        tracing::debug!("a request that cannot be read is ignored");
                        Ok(())
                    }
                }
            }
            Event::Failed { reason: Failure::AnswerLost } => address::renew(&mut self.turn(context)),
            Event::Failed { reason: Failure::QueueGone } => {
                self.readiness = Readiness::Creating;
                address::restore(&mut self.turn(context), connection)
            }
            Event::Failed { reason } => Err(format!("the relay's address cannot be used: {reason}").into()),
            _ => Ok(()),
        }
    }

    fn link_event(
        &mut self,
        context: &mut Context<'_>,
        connection: ConnectionId,
        group: GroupId,
        event: Event,
    ) -> Result<(), Fatal> {
        let mut turn = self.turn(context);
        match event {
            Event::AddressCreated => lifecycle::advance(&mut turn, group, ServedEvent::RelayLinkCreated),
            Event::Request { invitation, info } => {
                let now = turn.now();
                let operation = &mut *turn.operation;
                if !operation.intake.takes_join(&operation.rules, group, now) {
                    operation.metrics.refused(Refused::Join, "pace");
                    return notices::tell_owners(&mut turn, group, Concern::JoinPace, None);
                }
                if !is_new(&mut turn, &invitation)? {
                    return Ok(());
                }
                match turn.store.group(group)? {
                    Some(group) => admission::requested(&mut turn, &group, &invitation, &info),
                    None => Ok(()),
                }
            }
            Event::Failed { reason } => invitation::link_failed(&mut turn, connection, group, reason),
            _ => Ok(()),
        }
    }

    fn member_event(
        &mut self,
        context: &mut Context<'_>,
        connection: ConnectionId,
        (group, number): (GroupId, MemberNumber),
        is_claimant: bool,
        event: Event,
    ) -> Result<(), Fatal> {
        let mut turn = self.turn(context);
        match event {
            Event::Info { info } => receive::introduced(&mut turn, number, &info),
            Event::Connected => {
                if is_claimant {
                    // It stays for as long as the group: nothing unsigned counts on it.
                    turn.store.set_purpose(connection, Purpose::Claimant(group, number), None)?;
                    turn.reached(Step::ClaimantConnected);
                    return Ok(());
                }
                welcome::connected(&mut turn, connection, group, number)
            }
            Event::Message { server_time, body, .. } => {
                let is_ahead = false;
                let source = Source { group, member: number, connection, is_claimant, server_time, is_ahead };
                receive::message(&mut turn, source, &body)
            }
            Event::QuotaExceeded => set_link(&mut turn, connection, number, LinkState::Full),
            Event::QuotaResumed => {
                set_link(&mut turn, connection, number, LinkState::Open)?;
                welcome::catch_up(&mut turn, group, number)
            }
            Event::Sent { number: message } => {
                if outcome::taken(&mut turn, connection, (group, number), message)? {
                    return Ok(());
                }
                welcome::told_of_gap(&mut turn, connection, number, message)
            }
            Event::RatchetSync(state) if state.may_send() => {
                outcome::recovered(&mut turn, connection, (group, number))?;
                if !is_claimant {
                    bulk::first_renewed(&mut turn, number)?;
                }
                welcome::catch_up(&mut turn, group, number)
            }
            Event::RatchetSync(SyncState::Required) => {
                turn.operation.metrics.one(Count::Resyncs);
                turn.resync(connection)
            }
            Event::Failed { .. } => lost(&mut turn, connection, group, number),
            Event::QueueGone => unheard(&mut turn, connection, group, number),
            Event::SendFailed { reason: reason @ SendFailure::NoQueue, .. } => {
                turn.operation.metrics.gave_up(reason);
                lost(&mut turn, connection, group, number)
            }
            Event::SendFailed { number: message, reason } => {
                turn.operation.metrics.gave_up(reason);
                given_up(&mut turn, connection, (group, number), message, reason)
            }
            _ => Ok(()),
        }
    }

    fn bulk_event(
        &mut self,
        context: &mut Context<'_>,
        connection: ConnectionId,
        (group, number): (GroupId, MemberNumber),
        event: Event,
    ) -> Result<(), Fatal> {
        let mut turn = self.turn(context);
        match event {
            Event::Message { server_time, body, .. } => {
                let (is_claimant, is_ahead) = (false, false);
                let source = Source { group, member: number, connection, is_claimant, server_time, is_ahead };
                receive::message(&mut turn, source, &body)
            }
            Event::RatchetSync(SyncState::Required) => {
                turn.operation.metrics.one(Count::Resyncs);
                turn.resync(connection)
            }
            // What is only read is of no other consequence.
            _ if !uses(&mut turn, connection, number)? => Ok(()),
            Event::Connected => bulk::happened(&mut turn, connection, number, ServedBulkEvent::Connected),
            Event::QuotaResumed => welcome::catch_up(&mut turn, group, number),
            Event::Sent { number: message } => {
                outcome::taken(&mut turn, connection, (group, number), message)?;
                Ok(())
            }
            Event::RatchetSync(state) if state.may_send() => {
                outcome::renewed(&mut turn, connection, (group, number))?;
                welcome::catch_up(&mut turn, group, number)
            }
            Event::Failed { .. } => bulk::happened(&mut turn, connection, number, ServedBulkEvent::Gone),
            Event::SendFailed { reason: reason @ SendFailure::NoQueue, .. } => {
                turn.operation.metrics.gave_up(reason);
                bulk::unwritable(&mut turn, connection, number)
            }
            Event::SendFailed { number: message, reason } => {
                turn.operation.metrics.gave_up(reason);
                given_up(&mut turn, connection, (group, number), message, reason)
            }
            _ => Ok(()),
        }
    }
}

/// Whether it is a connection that the member uses now.
fn uses<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    connection: ConnectionId,
    number: MemberNumber,
) -> Result<bool, Fatal> {
    Ok(turn.store.member(number)?.is_some_and(|member| member.uses(connection)))
}

/// A message to a member was given up, though its queue is there.
fn given_up<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    connection: ConnectionId,
    (group, number): (GroupId, MemberNumber),
    message: i64,
    reason: SendFailure,
) -> Result<(), Fatal> {
    if outcome::failed(turn, connection, (group, number), message, reason)? {
        tracing::info!(group = group.0, %reason, "a member is not reached for long; it is tried anew");
        return Ok(());
    }
    if reason == SendFailure::TakenBack {
        // Made anew on another connection, or passed over: that is noted already.
        return Ok(());
    }
    tracing::warn!(group = group.0, %reason, "a message to a member was given up");
    owes(turn, number)
}

impl<S: RelayStore + Transactional + Send + 'static> Application for Relay<S> {
    type Store = S;
    type Command = Command;

    fn store(&mut self) -> &mut S {
        &mut self.store
    }

    fn shares_store(&self) -> bool {
        self.store.is_shared()
    }

    fn on_start(&mut self, context: &mut Context<'_>) -> Result<(), Fatal> {
        let now = context.now();
        self.operation.rules = Rules::new(&self.limits, &self.store.operator_settings()?);
        if self.store.is_shared() {
            self.readiness = Readiness::Sharing(false);
            self.share(context)?;
        } else {
            if let Some(server) = address::prepare(&mut self.turn(context))? {
                self.readiness = Readiness::Reaching(server);
            }
            context.adopt(lanes::first(&mut self.store)?, Lane::Control);
        }
        for group in self.store.groups_with_deliveries()? {
            self.turns.add(group);
        }
        // Deadlines and cleaning that were due while we were away.
        context.wake_at(now);
        Ok(())
    }

    fn lane(&mut self, connection: ConnectionId) -> Result<Lane, Fatal> {
        lanes::lane(&mut self.store, connection)
    }

    fn on_event(
        &mut self,
        context: &mut Context<'_>,
        connection: ConnectionId,
        event: Event,
    ) -> Result<(), Fatal> {
        if let Event::Ignored(refusal) = &event {
            tracing::debug!(%refusal, "a message is ignored");
        }
        let purpose = self.store.purpose(connection)?;
        let is_lost = matches!(event, Event::QueueGone | Event::Failed { reason: Failure::QueueGone });
        if is_lost && !matches!(purpose, Some(Purpose::Closing) | None) {
            self.operation.metrics.one(Count::QueuesLost);
        }
        let event = match (event, purpose) {
            // Whoever else is not heard has nothing to be told.
            (Event::QueueGone, purpose) if !matches!(purpose, Some(Purpose::Member(..))) => {
                Event::Failed { reason: Failure::QueueGone }
            }
            (event, _) => event,
        };
        match purpose {
            Some(Purpose::Address) => self.address_event(context, connection, event),
            Some(Purpose::RelayLink(group)) => self.link_event(context, connection, group, event),
            Some(Purpose::Member(group, number)) => {
                self.member_event(context, connection, (group, number), false, event)
            }
            Some(Purpose::Claimant(group, number)) => {
                self.member_event(context, connection, (group, number), true, event)
            }
            Some(Purpose::Bulk(group, number)) => {
                self.bulk_event(context, connection, (group, number), event)
            }
            Some(Purpose::Reader(group)) => {
                give::reader_event(&mut self.turn(context), connection, group, event)
            }
            Some(Purpose::Source(group)) => {
                peers::source_event(&mut self.turn(context), connection, group, event)
            }
            // The answer went out with the connection itself.
            Some(Purpose::Answer) if matches!(event, Event::Connected | Event::Failed { .. }) => {
                self.turn(context).close(connection, true)
            }
            Some(Purpose::Answer | Purpose::Closing) | None => Ok(()),
        }
    }

    fn on_link(
        &mut self,
        context: &mut Context<'_>,
        tag: LinkTag,
        result: Result<OpenedLink, ReadLinkError>,
    ) -> Result<(), Fatal> {
        let read = LinkRead::from_tag(&tag)?;
        // Of a group that went to another worker meanwhile it says nothing here.
        if !self.reading.remove(&read) || !self.store.holds(read.group()) {
            return Ok(());
        }
        let mut turn = self.turn(context);
        match read {
            LinkRead::Group(group) => lifecycle::link_read(&mut turn, group, result),
            LinkRead::Peer(group, link) => peers::link_read(&mut turn, group, link, result),
        }
    }

    fn on_command(&mut self, context: &mut Context<'_>, command: Command) -> Result<(), Fatal> {
        match command {
            Command::Control { request, answer } => {
                let value = control::answer(&mut self.turn(context), request)?;
                self.answers.push((answer, value));
            }
            // Whoever asked may be gone.
            Command::Survey { labels, answer } => {
                let survey = self.survey(labels)?;
                let _unheard = answer.send(survey);
            }
            Command::Readiness { answer } => {
                let _unheard = answer.send(self.missing());
            }
        }
        Ok(())
    }

    fn on_timer(&mut self, context: &mut Context<'_>) -> Result<(), Fatal> {
        let now = context.now();
        let is_cleaning_due = now >= self.clean_at;
        if is_cleaning_due {
            self.clean_at = now.plus_ms(self.limits.cleaning_interval.ms());
        }
        context.wake_at(self.clean_at);
        if self.store.is_shared() {
            if now >= self.share_at {
                self.share(context)?;
            }
            context.wake_at(self.share_at);
        }
        let mut turn = self.turn(context);
        lifecycle::deadlines(&mut turn)?;
        cleaning::close_expired(&mut turn)?;
        if is_cleaning_due && cleaning::forget_old(&mut turn)? {
            self.clean_at = now;
            context.wake_at(now);
        }
        self.drain(context)
    }

    fn on_room(&mut self, context: &mut Context<'_>, room: usize) -> Result<bool, Fatal> {
        worker::carry_on(&mut self.turn(context), room)
    }

    fn on_network(&mut self, context: &mut Context<'_>, change: NetworkChange) -> Result<(), Fatal> {
        match change {
            NetworkChange::Up(server) => {
                tracing::debug!("a server is reached");
                self.operation.servers.insert(server, ServerHealth::Up);
            }
            NetworkChange::Listening(server) => {
                self.is_listening |= server == self.identity.server.server;
                if self.readiness == Readiness::Reaching(server) {
                    self.readiness = Readiness::Reached;
                }
            }
            NetworkChange::Down { server, reason } => {
                tracing::warn!(%reason, "a server is not reached");
                self.is_listening &= server != self.identity.server.server;
                self.operation.metrics.one(Count::ServersLost);
                self.operation.servers.insert(server, ServerHealth::Down);
            }
            NetworkChange::Surplus { server, queues } => self.store.set_service_surplus(&server, queues)?,
            NetworkChange::TakenOver { server, queue } if self.store.is_shared() => {
                // Whoever has the connection subscribes; a worker that had it may have been late to hear of that.
                if let Some(connection) = self.store.connection_of_queue(&server, &queue)? {
                    let lane = lanes::lane(&mut self.store, connection)?;
                    context.adopt([connection], lane);
                }
            }
            NetworkChange::QueueRefused { server, queue, error } => {
                let connection = self.store.connection_of_queue(&server, &queue)?;
                let purpose = connection.map(|id| self.store.purpose(id)).transpose()?.flatten();
                refused(purpose, &error);
                self.operation.refused.insert((server, queue), purpose);
            }
            NetworkChange::RefusalOver { server, queue, .. } => {
                let was_shown = self.operation.refused.remove(&(server, queue)).is_some();
                if was_shown {
                    tracing::info!("a queue is not refused any more");
                }
            }
            NetworkChange::TakenOver { .. } | NetworkChange::AllTakenOver(_) => {
                tracing::error!("another process uses a copy of this relay: stop one of them");
            }
            _ => {}
        }
        Ok(())
    }

    fn after_commit(&mut self) {
        self.turns.committed();
        protocol::crash::reached(self.steps.drain(..).map(Step::durable));
        for (asker, value) in self.answers.drain(..) {
            // Whoever asked may be gone.
            let _unheard = asker.send(value);
        }
        if self.readiness == Readiness::Reached {
            self.readiness = Readiness::Told;
            // Without a listener nobody waits for it.
            let _unheard = self.notify.send(Notice::Ready);
        }
    }
}

/// A server does not let us hear a queue of ours: what is sent to it waits, and nobody is given up for it.
fn refused(purpose: Option<Purpose>, error: &ErrorType) {
    let group = purpose.and_then(Purpose::group).map(|group| group.0);
    let what = match purpose {
        Some(Purpose::Address) => "the relay's address: owners do not reach it",
        Some(Purpose::RelayLink(_)) => "the relay's link for a group: joiners do not reach it",
        Some(Purpose::Member(..) | Purpose::Claimant(..) | Purpose::Bulk(..)) => {
            "the queue by which a member is heard"
        }
        Some(Purpose::Reader(_) | Purpose::Source(_) | Purpose::Answer | Purpose::Closing) | None => {
            "a queue"
        }
    };
    tracing::warn!(group, %error, "a server refuses {what}; it is tried again: see `chat-relay ctl queues`");
}

/// A server may deliver a request again after a crash of ours: the second copy is dropped.
fn is_new<S: RelayStore>(turn: &mut Turn<'_, '_, S>, invitation: &Invitation) -> Result<bool, Fatal> {
    let now = turn.now();
    Ok(turn.store.is_new_request(&request_digest(invitation), now)?)
}

/// The event in the words of a request.
fn read_info(info: &[u8]) -> Option<Said> {
    Some(Statement::parse(info).ok()?.message().ok()?.event)
}

fn set_link<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    connection: ConnectionId,
    number: MemberNumber,
    state: LinkState,
) -> Result<(), Fatal> {
    let Some(mut member) = turn.store.member(number)? else { return Ok(()) };
    if member.connection == Some(connection) {
        member.link = state;
        turn.store.update_member(&member)?;
        turn.reached(Step::LinkChanged);
    }
    Ok(())
}

/// A member misses messages: it is given the roster and history when it can be reached again.
fn owes<S: RelayStore>(turn: &mut Turn<'_, '_, S>, number: MemberNumber) -> Result<(), Fatal> {
    let Some(mut member) = turn.store.member(number)?.filter(|member| !member.passed_over) else {
        return Ok(());
    };
    member.passed_over = true;
    turn.store.update_member(&member)?;
    turn.reached(Step::MembersPassedOver);
    Ok(())
}

/// The server has lost the queue by which a member is heard. What goes to the member still arrives, so it is served on, and
/// asked to come back.
fn unheard<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    connection: ConnectionId,
    group: GroupId,
    number: MemberNumber,
) -> Result<(), Fatal> {
    let Some(member) = turn.store.member(number)?.filter(|member| member.connection == Some(connection))
    else {
        return turn.close(connection, false);
    };
    let Some(group) = turn.store.group(group)?.filter(|_| member.status == MemberStatus::Connected) else {
        return lost(turn, connection, group, number);
    };
    tracing::warn!(
        group = group.id.0,
        "a server has lost the queue of a member, which is asked to come back"
    );
    notices::ask_back(turn, &group, connection)
}

/// A member cannot be reached any more: its queue is gone. For an owner it is time to look at the group link.
fn lost<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    connection: ConnectionId,
    group: GroupId,
    number: MemberNumber,
) -> Result<(), Fatal> {
    set_link(turn, connection, number, LinkState::Broken)?;
    turn.reached(Step::ItemGivenUp);
    // Nobody waits for it any more.
    turn.deliver(group);
    let Some(member) = turn.store.member(number)? else { return Ok(()) };
    if member.status.knock().is_some()
        && member.connection == Some(connection)
        && let Some(group) = turn.store.group(group)?
    {
        return knocking::advance(turn, &group, member, KnockEvent::Lost, None);
    }
    if member.role == MemberRole::Owner && member.connection == Some(connection) {
        tracing::warn!(group = group.0, "the connection of an owner is gone");
        return lifecycle::advance(turn, group, ServedEvent::OwnerGone);
    }
    tracing::info!(group = group.0, "the connection of a member is gone");
    Ok(())
}
