//! Which connection may ask the network for something next.
//!
//! ```text
//!            ┌──────────── touched ────────────┐
//! idle ──▶ ready ──job──▶ in flight ──answer──▶ ready
//!            │  ├──────▶ parked (its server has enough to do) ──an answer of that server──▶ ready
//!            │  └──────▶ waiting until a moment, or until its server is back ─────────────▶ ready
//!            └──nothing to do──▶ idle
//! ```
//!
//! One request of a connection is in flight at a time, so its messages keep their order. A server that does not
//! answer holds up nobody but those who talk to it. Connections that carry more than bulk go first wherever one waits,
//! and some room is theirs alone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::agent::Lane;
use crate::agent::store::ConnectionId;
use crate::smp::address::ServerAddress;
use crate::timestamp::Timestamp;

/// Most requests in flight at one server.
const SERVER_MAX: usize = 256;
/// Most requests in flight in all: each may hold a block.
const TOTAL_MAX: usize = 4096;
/// So many more may be in flight, at one server and in all, that are not bulk.
const RESERVED_FOR_CONTROL: usize = 64;
/// Requests that may wait for servers which answer before nothing more is offered to send. Whoever is offered room by
/// turns waits for no more than these.
const AHEAD_MAX: usize = 512;

/// The scheduler. Holds no requests: those are made when there is room for them.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    ready: Lanes,
    state: BTreeMap<ConnectionId, Scheduled>,
    /// Waiting connections by their moment.
    moments: BTreeSet<(Timestamp, ConnectionId)>,
    servers: BTreeMap<ServerAddress, Server>,
    /// Connections that are ready because there is room at this server. Who does not use it passes it on.
    called: BTreeMap<ConnectionId, ServerAddress>,
    in_flight: usize,
}

/// A connection that is not idle.
#[derive(Debug)]
struct Scheduled {
    /// What it may have to send besides bulk, until it is idle.
    lane: Lane,
    state: State,
}

#[derive(Debug)]
enum State {
    Ready,
    InFlight {
        /// Touched meanwhile.
        again: bool,
    },
    Parked,
    Waiting(Wait),
}

/// What a connection waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wait {
    /// The moment when it asks again at the latest.
    pub(super) moment: Timestamp,
    /// The server whose failure is the reason: when it is back, there is no need to wait.
    pub(super) server: Option<ServerAddress>,
}

#[derive(Debug, Default)]
struct Server {
    in_flight: usize,
    parked: Lanes,
    /// It answers.
    answers: bool,
}

/// Two queues. A connection that moves up to control is left in the other one, too: whoever takes from a queue checks.
#[derive(Debug, Default)]
struct Lanes {
    control: VecDeque<ConnectionId>,
    bulk: VecDeque<ConnectionId>,
}

impl Lanes {
    fn of(&mut self, lane: Lane) -> &mut VecDeque<ConnectionId> {
        match lane {
            Lane::Control => &mut self.control,
            Lane::Bulk => &mut self.bulk,
        }
    }

    fn len(&self) -> usize {
        self.control.len().saturating_add(self.bulk.len())
    }
}

impl Jobs {
    /// The connection may want something. A request in flight is followed by the next one anyway.
    pub(super) fn touch(&mut self, id: ConnectionId, lane: Lane) {
        let Some(scheduled) = self.state.get_mut(&id) else { return self.make_ready(id, lane) };
        let moves_up = lane < scheduled.lane;
        scheduled.lane = scheduled.lane.min(lane);
        let lane = scheduled.lane;
        match &mut scheduled.state {
            State::Waiting(wait) => {
                self.moments.remove(&(wait.moment, id));
                self.make_ready(id, lane);
            }
            State::InFlight { again } => *again = true,
            State::Ready if moves_up => self.ready.of(lane).push_back(id),
            State::Parked if moves_up => self.make_ready(id, lane),
            State::Ready | State::Parked => {}
        }
    }

    /// The next connection to ask for its request.
    pub(super) fn next(&mut self) -> Option<ConnectionId> {
        for lane in [Lane::Control, Lane::Bulk] {
            while self.has_room(lane)
                && let Some(id) = self.ready.of(lane).pop_front()
            {
                if self.is(id, lane, |state| matches!(state, State::Ready)) {
                    return Some(id);
                }
            }
        }
        None
    }

    /// Whether [`Self::next`] may have something.
    pub(super) fn has_next(&self) -> bool {
        (!self.ready.control.is_empty() && self.has_room(Lane::Control))
            || (!self.ready.bulk.is_empty() && self.has_room(Lane::Bulk))
    }

    /// How many more messages may be made ready. What waits for servers that do not answer does not count: nobody else
    /// is to wait for them.
    pub(super) fn room(&self) -> usize {
        let answering = self.servers.values().filter(|server| server.answers);
        let waiting = answering.map(|server| server.in_flight.saturating_add(server.parked.len()));
        AHEAD_MAX.saturating_sub(waiting.fold(self.ready.len(), usize::saturating_add))
    }

    /// How many connections are not idle.
    pub(super) fn entries(&self) -> usize {
        self.state.len()
    }

    /// The connection that [`Self::next`] gave has no request.
    pub(super) fn rest(&mut self, id: ConnectionId) {
        self.state.remove(&id);
        self.pass_room_on(id, None);
    }

    /// The connection that [`Self::next`] gave has a request for this server. Says whether it may be sent now; else ask
    /// again later.
    pub(super) fn start(&mut self, id: ConnectionId, server: &ServerAddress) -> bool {
        self.pass_room_on(id, Some(server));
        let lane = self.lane(id);
        let entry = self.servers.entry(server.clone()).or_default();
        if entry.in_flight >= server_max(lane) {
            entry.parked.of(lane).push_back(id);
            self.set(id, State::Parked);
            return false;
        }
        entry.in_flight += 1;
        self.in_flight += 1;
        self.set(id, State::InFlight { again: false });
        true
    }

    /// The request of a connection has its outcome. The connection is ready again, or has to wait.
    pub(super) fn finish(&mut self, id: ConnectionId, server: &ServerAddress, wait: Option<Wait>) {
        self.count_answer(server, wait.as_ref().is_none_or(|wait| wait.server.is_none()));
        let touched =
            !matches!(self.state.get(&id), Some(Scheduled { state: State::InFlight { again: false }, .. }));
        match wait {
            Some(wait) if !touched => self.wait(id, wait),
            _ => {
                let lane = self.lane(id);
                self.make_ready(id, lane);
            }
        }
        self.call_parked(server);
    }

    /// The request of a connection that was forgotten has its outcome.
    pub(super) fn answered(&mut self, server: &ServerAddress, answers: bool) {
        self.count_answer(server, answers);
        self.call_parked(server);
    }

    fn count_answer(&mut self, server: &ServerAddress, answers: bool) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Some(entry) = self.servers.get_mut(server) {
            entry.in_flight = entry.in_flight.saturating_sub(1);
            entry.answers = answers;
        }
    }

    /// The connection is another program's: it is idle here. A request in flight stays counted until its outcome is
    /// reported by [`Self::answered`].
    pub(super) fn forget(&mut self, id: ConnectionId) {
        if let Some(Scheduled { state: State::Waiting(wait), .. }) = self.state.remove(&id) {
            self.moments.remove(&(wait.moment, id));
        }
        self.pass_room_on(id, None);
    }

    /// The connection's next request has to wait.
    pub(super) fn wait(&mut self, id: ConnectionId, wait: Wait) {
        self.pass_room_on(id, None);
        self.moments.insert((wait.moment, id));
        self.set(id, State::Waiting(wait));
    }

    /// Connections whose moment has come are ready.
    pub(super) fn advance(&mut self, now: Timestamp) {
        while let Some((moment, id)) = self.moments.first().copied() {
            if moment > now {
                break;
            }
            self.moments.remove(&(moment, id));
            let lane = self.lane(id);
            self.make_ready(id, lane);
        }
    }

    /// When the next connection's moment comes.
    pub(super) fn next_moment(&self) -> Option<Timestamp> {
        self.moments.first().map(|(moment, _)| *moment)
    }

    /// A server is back: who waited for it. They keep waiting until they are touched.
    pub(super) fn waiting_for(&self, server: &ServerAddress) -> Vec<ConnectionId> {
        let waits = |scheduled: &Scheduled| match &scheduled.state {
            State::Waiting(wait) => wait.server.as_ref() == Some(server),
            _ => false,
        };
        self.state.iter().filter(|(_, scheduled)| waits(scheduled)).map(|(id, _)| *id).collect()
    }

    /// There is room at a server: for who waits longest, before those who have just been served.
    fn call_parked(&mut self, server: &ServerAddress) {
        for lane in [Lane::Control, Lane::Bulk] {
            loop {
                let Some(entry) = self.servers.get_mut(server) else { return };
                if entry.in_flight >= server_max(lane) {
                    break;
                }
                let Some(id) = entry.parked.of(lane).pop_front() else { break };
                if self.is(id, lane, |state| matches!(state, State::Parked)) {
                    self.called.insert(id, server.clone());
                    self.set(id, State::Ready);
                    self.ready.of(lane).push_front(id);
                    return;
                }
            }
        }
        if self.servers.get(server).is_some_and(|entry| entry.in_flight == 0 && entry.parked.len() == 0) {
            self.servers.remove(server);
        }
    }

    /// The connection was called because of room at a server. If it goes elsewhere, the next one is called.
    fn pass_room_on(&mut self, id: ConnectionId, used: Option<&ServerAddress>) {
        if let Some(server) = self.called.remove(&id)
            && used != Some(&server)
        {
            self.call_parked(&server);
        }
    }

    fn make_ready(&mut self, id: ConnectionId, lane: Lane) {
        self.state.insert(id, Scheduled { lane, state: State::Ready });
        self.ready.of(lane).push_back(id);
    }

    fn set(&mut self, id: ConnectionId, state: State) {
        let lane = self.lane(id);
        self.state.insert(id, Scheduled { lane, state });
    }

    fn lane(&self, id: ConnectionId) -> Lane {
        self.state.get(&id).map_or(Lane::Bulk, |scheduled| scheduled.lane)
    }

    fn is(&self, id: ConnectionId, lane: Lane, state: impl Fn(&State) -> bool) -> bool {
        self.state.get(&id).is_some_and(|scheduled| scheduled.lane == lane && state(&scheduled.state))
    }

    fn has_room(&self, lane: Lane) -> bool {
        self.in_flight < with_reserve(TOTAL_MAX, lane)
    }
}

/// Most requests in flight at one server.
fn server_max(lane: Lane) -> usize {
    with_reserve(SERVER_MAX, lane)
}

fn with_reserve(max: usize, lane: Lane) -> usize {
    match lane {
        Lane::Control => max.saturating_add(RESERVED_FOR_CONTROL),
        Lane::Bulk => max,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(port: u16) -> ServerAddress {
        format!("smp://AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=@localhost:{port}").parse().unwrap()
    }

    fn until(moment: i64, server: Option<ServerAddress>) -> Wait {
        Wait { moment: Timestamp(moment), server }
    }

    const ONE: ConnectionId = ConnectionId(1);
    const TWO: ConnectionId = ConnectionId(2);

    #[test]
    fn a_connection_has_one_request_in_flight() {
        let (mut jobs, server) = (Jobs::default(), server(1));
        jobs.touch(ONE, Lane::Bulk);
        jobs.touch(ONE, Lane::Bulk);
        assert_eq!(jobs.next(), Some(ONE));
        assert!(jobs.start(ONE, &server));
        assert_eq!(jobs.next(), None);
        jobs.finish(ONE, &server, None);
        assert_eq!(jobs.next(), Some(ONE));
        jobs.rest(ONE);
        assert_eq!(jobs.next(), None);
        assert!(jobs.state.is_empty() && jobs.servers.is_empty());
    }

    #[test]
    fn who_is_forgotten_is_not_asked_and_its_answer_makes_room() {
        let (mut jobs, server) = (Jobs::default(), server(1));
        for id in [ONE, TWO] {
            jobs.touch(id, Lane::Bulk);
        }
        assert_eq!(jobs.next(), Some(ONE));
        assert!(jobs.start(ONE, &server));
        jobs.forget(ONE);
        jobs.forget(TWO);
        assert_eq!(jobs.next(), None, "both are somebody else's");
        assert_eq!(jobs.in_flight, 1);
        jobs.answered(&server, true);
        assert_eq!(jobs.in_flight, 0);
        assert!(jobs.state.is_empty() && jobs.servers.is_empty());

        jobs.touch(ONE, Lane::Bulk);
        assert_eq!(jobs.next(), Some(ONE));
        jobs.wait(ONE, until(5, None));
        jobs.forget(ONE);
        assert_eq!(jobs.next_moment(), None);
    }

    #[test]
    fn a_full_server_parks_connections_and_others_go_on() {
        let (mut jobs, slow, quick) = (Jobs::default(), server(1), server(2));
        for id in 0..300 {
            jobs.touch(ConnectionId(id), Lane::Bulk);
        }
        let mut started = 0;
        while let Some(id) = jobs.next() {
            started += usize::from(jobs.start(id, &slow));
        }
        assert_eq!(started, SERVER_MAX);
        jobs.touch(ConnectionId(1000), Lane::Bulk);
        assert_eq!(jobs.next(), Some(ConnectionId(1000)));
        assert!(jobs.start(ConnectionId(1000), &quick));
        jobs.finish(ConnectionId(0), &slow, None);
        assert_eq!(
            [jobs.next(), jobs.next(), jobs.next()],
            [Some(ConnectionId(256)), Some(ConnectionId(0)), None]
        );
    }

    #[test]
    fn who_is_parked_takes_turns_with_those_who_have_more_to_ask() {
        let (mut jobs, server) = (Jobs::default(), server(1));
        for id in 0..300 {
            jobs.touch(ConnectionId(id), Lane::Bulk);
        }
        let mut served = BTreeSet::new();
        for _ in 0..3 {
            let mut started = Vec::new();
            while let Some(id) = jobs.next() {
                if jobs.start(id, &server) {
                    started.push(id);
                }
            }
            assert_eq!(started.len(), SERVER_MAX);
            for id in &started {
                jobs.finish(*id, &server, None);
            }
            served.extend(started);
        }
        assert_eq!(served.len(), 300);
    }

    #[test]
    fn room_that_a_parked_connection_does_not_use_is_passed_on() {
        let (mut jobs, slow, quick) = (Jobs::default(), server(1), server(2));
        for id in 0..300 {
            jobs.touch(ConnectionId(id), Lane::Bulk);
        }
        while let Some(id) = jobs.next() {
            jobs.start(id, &slow);
        }
        for id in 0..256 {
            jobs.finish(ConnectionId(id), &slow, None);
        }
        let mut asked = BTreeSet::new();
        while let Some(id) = jobs.next() {
            asked.insert(id);
            match id.0 % 3 {
                0 => jobs.rest(id),
                1 => jobs.wait(id, until(10, None)),
                _ => assert!(jobs.start(id, &quick)),
            }
        }
        assert_eq!(asked.len(), 300);
        assert!(jobs.called.is_empty() && !jobs.servers.contains_key(&slow));
    }

    #[test]
    fn in_all_only_so_many_are_in_flight() {
        let mut jobs = Jobs::default();
        for id in 0..5000 {
            jobs.touch(ConnectionId(id), Lane::Bulk);
        }
        let mut started = 0;
        while let Some(id) = jobs.next() {
            assert!(jobs.start(id, &server(u16::try_from(id.0 % 50).unwrap())));
            started += 1;
        }
        assert_eq!(started, TOTAL_MAX);
        assert!(!jobs.has_next());
        jobs.finish(ConnectionId(0), &server(0), None);
        assert!(jobs.has_next());
    }

    #[test]
    fn who_waits_is_ready_at_its_moment_or_when_touched() {
        let mut jobs = Jobs::default();
        jobs.wait(ONE, until(20, None));
        jobs.wait(TWO, until(10, Some(server(1))));
        assert_eq!(jobs.next_moment(), Some(Timestamp(10)));
        jobs.advance(Timestamp(9));
        assert_eq!(jobs.next(), None);
        jobs.advance(Timestamp(10));
        assert_eq!(jobs.next(), Some(TWO));
        jobs.touch(ONE, Lane::Bulk);
        assert_eq!(jobs.next(), Some(ONE));
        assert_eq!(jobs.next_moment(), None);
    }

    #[test]
    fn a_failed_request_waits_unless_its_connection_was_touched_meanwhile() {
        let (mut jobs, server) = (Jobs::default(), server(1));
        for touched in [false, true] {
            jobs.touch(ONE, Lane::Bulk);
            assert_eq!(jobs.next(), Some(ONE));
            jobs.start(ONE, &server);
            if touched {
                jobs.touch(ONE, Lane::Bulk);
            }
            jobs.finish(ONE, &server, Some(until(10, None)));
            assert_eq!(jobs.next(), touched.then_some(ONE));
            jobs.advance(Timestamp(10));
            jobs.next();
            jobs.rest(ONE);
        }
    }

    #[test]
    fn a_server_that_is_back_names_those_who_waited_for_it() {
        let mut jobs = Jobs::default();
        jobs.wait(ONE, until(10, None));
        jobs.wait(TWO, until(10, Some(server(1))));
        assert_eq!(jobs.waiting_for(&server(1)), [TWO]);
        assert!(jobs.waiting_for(&server(2)).is_empty());
    }

    fn started(jobs: &mut Jobs, server: &ServerAddress) -> Vec<i64> {
        let mut started = Vec::new();
        while let Some(id) = jobs.next() {
            if jobs.start(id, server) {
                started.push(id.0);
            }
        }
        started
    }

    #[test]
    fn control_goes_first_and_has_room_when_bulk_has_none() {
        let (mut jobs, server) = (Jobs::default(), server(1));
        for id in 0..300 {
            jobs.touch(ConnectionId(id), Lane::Bulk);
        }
        jobs.touch(ConnectionId(1000), Lane::Control);
        assert_eq!(started(&mut jobs, &server).first(), Some(&1000));
        jobs.touch(ConnectionId(1001), Lane::Control);
        assert_eq!(started(&mut jobs, &server), [1001], "the server has as much bulk as it may have");
        jobs.touch(ConnectionId(299), Lane::Control);
        assert_eq!(started(&mut jobs, &server), [299], "a parked connection moves up");
        for id in 1100..1200 {
            jobs.touch(ConnectionId(id), Lane::Control);
        }
        let most = SERVER_MAX + RESERVED_FOR_CONTROL;
        assert_eq!(started(&mut jobs, &server).len(), most - 258);
        jobs.finish(ConnectionId(0), &server, None);
        assert_eq!(started(&mut jobs, &server), [1162], "control that waits is called before bulk");
    }

    #[test]
    fn a_connection_that_moves_up_is_asked_once() {
        let (mut jobs, server) = (Jobs::default(), server(1));
        jobs.touch(ONE, Lane::Bulk);
        jobs.touch(TWO, Lane::Bulk);
        jobs.touch(TWO, Lane::Control);
        assert_eq!(started(&mut jobs, &server), [2, 1]);
        jobs.finish(TWO, &server, None);
        assert_eq!(jobs.next(), Some(TWO));
        jobs.rest(TWO);
        jobs.touch(TWO, Lane::Bulk);
        assert_eq!(started(&mut jobs, &server), [2], "it is bulk again");
        assert!(jobs.ready.len() == 0);
    }

    #[test]
    fn room_is_offered_until_enough_waits_for_servers_that_answer() {
        let (mut jobs, server) = (Jobs::default(), server(1));
        for id in 0..2000 {
            jobs.touch(ConnectionId(id), Lane::Bulk);
        }
        assert_eq!(jobs.room(), 0);
        started(&mut jobs, &server);
        assert_eq!(jobs.room(), AHEAD_MAX, "it has not answered yet");
        jobs.finish(ConnectionId(0), &server, None);
        assert_eq!(jobs.room(), 0);
        jobs.finish(ConnectionId(1), &server, Some(until(9, Some(server.clone()))));
        assert!(jobs.room() > 0, "it does not answer any more");
    }
}
