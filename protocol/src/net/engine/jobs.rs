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
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::agent::Lane;
use crate::agent::store::ConnectionId;
use crate::net::window::Window;
use crate::smp::address::ServerAddress;
use crate::timestamp::Timestamp;

/// Requests in flight at one server at most: as its window says.
const SERVER: RangeInclusive<usize> = 32..=256;
/// Most requests in flight in all: each may hold a block.
const TOTAL_MAX: usize = 4096;
/// So many more may be in flight, at one server and in all, that are not bulk.
const RESERVED_FOR_CONTROL: usize = 64;
/// Requests that may wait for room at their servers, or be ready, before nothing more is offered to send. Whoever is
/// offered room by turns waits for these, and for what is in flight.
const AHEAD_MAX: usize = 48;
/// A server that says nothing for so long, while requests are in flight, does not answer.
const SILENCE_MS: i64 = 1000;
/// What is known of a server is kept so long after its last answer.
const KEPT_MS: i64 = 60_000;

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

#[derive(Debug)]
struct Server {
    in_flight: usize,
    window: Window,
    parked: Lanes,
    /// Connections that are ready because there is room here.
    called: usize,
    /// Its last answer, or when the first of those in flight left.
    heard: Timestamp,
    /// It does not answer.
    is_silent: bool,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            in_flight: 0,
            window: Window::new(SERVER),
            parked: Lanes::default(),
            called: 0,
            heard: Timestamp::default(),
            is_silent: false,
        }
    }
}

impl Server {
    fn has_room(&self, lane: Lane) -> bool {
        self.in_flight < with_reserve(self.window.size(), lane)
    }

    fn is_idle(&self) -> bool {
        self.in_flight == 0 && self.called == 0 && self.parked.len() == 0
    }
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
        let answering = self.servers.values().filter(|server| !server.is_silent);
        let waiting =
            answering.map(|server| server.parked.len()).fold(self.ready.len(), usize::saturating_add);
        AHEAD_MAX.saturating_sub(waiting)
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

    /// Whether a request of the connection that [`Self::next`] gave may be sent to this server now.
    pub(super) fn may_start(&self, id: ConnectionId, server: &ServerAddress) -> bool {
        let lane = self.lane(id);
        self.servers.get(server).is_none_or(|entry| entry.has_room(lane))
    }

    /// The connection that [`Self::next`] gave has a request for this server, which is sent.
    pub(super) fn start(&mut self, id: ConnectionId, server: &ServerAddress, now: Timestamp) {
        self.pass_room_on(id, Some(server));
        let entry = self.servers.entry(server.clone()).or_default();
        if entry.in_flight == 0 {
            entry.heard = now;
        }
        entry.in_flight += 1;
        self.in_flight += 1;
        self.set(id, State::InFlight { again: false });
    }

    /// The connection that [`Self::next`] gave has a request for this server, which has enough to do: it asks again later.
    pub(super) fn park(&mut self, id: ConnectionId, server: &ServerAddress) {
        self.pass_room_on(id, Some(server));
        let lane = self.lane(id);
        self.servers.entry(server.clone()).or_default().parked.of(lane).push_back(id);
        self.set(id, State::Parked);
    }

    /// The request of a connection has its outcome, after so long. The connection is ready again, or has to wait.
    pub(super) fn finish(
        &mut self,
        id: ConnectionId,
        server: &ServerAddress,
        wait: Option<Wait>,
        took: Duration,
        now: Timestamp,
    ) {
        self.count_answer(server, wait.as_ref().is_none_or(|wait| wait.server.is_none()), took, now);
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
    pub(super) fn answered(&mut self, server: &ServerAddress, answers: bool, took: Duration, now: Timestamp) {
        self.count_answer(server, answers, took, now);
        self.call_parked(server);
    }

    fn count_answer(&mut self, server: &ServerAddress, answers: bool, took: Duration, now: Timestamp) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Some(entry) = self.servers.get_mut(server) {
            if answers {
                let is_full = entry.in_flight.saturating_add(entry.called) >= entry.window.size();
                entry.window.answered(took, is_full, now);
            }
            entry.in_flight = entry.in_flight.saturating_sub(1);
            (entry.heard, entry.is_silent) = (now, !answers);
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

    /// Connections whose moment has come are ready. Servers that said nothing for long do not answer.
    pub(super) fn advance(&mut self, now: Timestamp) {
        for server in self.servers.values_mut() {
            server.is_silent |= server.in_flight > 0 && server.heard.plus_ms(SILENCE_MS) <= now;
        }
        self.servers.retain(|_, server| !server.is_idle() || server.heard.plus_ms(KEPT_MS) > now);
        while let Some((moment, id)) = self.moments.first().copied() {
            if moment > now {
                break;
            }
            self.moments.remove(&(moment, id));
            let lane = self.lane(id);
            self.make_ready(id, lane);
        }
    }

    /// When the next connection's moment comes, or a server's silence is long.
    pub(super) fn next_moment(&self) -> Option<Timestamp> {
        let awaited = self.servers.values().filter(|server| server.in_flight > 0 && !server.is_silent);
        let silence = awaited.map(|server| server.heard.plus_ms(SILENCE_MS));
        silence.chain(self.moments.first().map(|(moment, _)| *moment)).min()
    }

    /// A server is back: who waited for it. They keep waiting until they are touched.
    pub(super) fn waiting_for(&self, server: &ServerAddress) -> Vec<ConnectionId> {
        let waits = |scheduled: &Scheduled| match &scheduled.state {
            State::Waiting(wait) => wait.server.as_ref() == Some(server),
            _ => false,
        };
        self.state.iter().filter(|(_, scheduled)| waits(scheduled)).map(|(id, _)| *id).collect()
    }

    /// There may be room at a server: for who waits longest, before those who have just been served.
    fn call_parked(&mut self, server: &ServerAddress) {
        let Some(mut entry) = self.servers.remove(server) else { return };
        for lane in [Lane::Control, Lane::Bulk] {
            let mut called = Vec::new();
            while entry.in_flight.saturating_add(entry.called) < with_reserve(entry.window.size(), lane)
                && let Some(id) = entry.parked.of(lane).pop_front()
            {
                if self.is(id, lane, |state| matches!(state, State::Parked)) {
                    entry.called = entry.called.saturating_add(1);
                    called.push(id);
                }
            }
            for id in called.into_iter().rev() {
                self.called.insert(id, server.clone());
                self.set(id, State::Ready);
                self.ready.of(lane).push_front(id);
            }
        }
        self.servers.insert(server.clone(), entry);
    }

    /// The connection was called because of room at a server. If it goes elsewhere, the next one is called.
    fn pass_room_on(&mut self, id: ConnectionId, used: Option<&ServerAddress>) {
        let Some(server) = self.called.remove(&id) else { return };
        if let Some(entry) = self.servers.get_mut(&server) {
            entry.called = entry.called.saturating_sub(1);
        }
        if used != Some(&server) {
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

fn with_reserve(max: usize, lane: Lane) -> usize {
    match lane {
        Lane::Control => max.saturating_add(RESERVED_FOR_CONTROL),
        Lane::Bulk => max,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn server(port: u16) -> ServerAddress {
        format!("smp://AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=@localhost:{port}").parse().unwrap()
    }

    fn until(moment: i64, server: Option<ServerAddress>) -> Wait {
        Wait { moment: Timestamp(moment), server }
    }

    const ONE: ConnectionId = ConnectionId(1);
    const TWO: ConnectionId = ConnectionId(2);
    const NOW: Timestamp = Timestamp(1);

    /// How many requests a server gets before it has answered.
    fn first() -> usize {
        Window::new(SERVER).size()
    }

    /// Starts the request of a connection, if there is room.
    fn start(jobs: &mut Jobs, id: ConnectionId, server: &ServerAddress) -> bool {
        let has_room = jobs.may_start(id, server);
        match has_room {
            true => jobs.start(id, server, NOW),
            false => jobs.park(id, server),
        }
        has_room
    }

    /// The server was quick.
    fn finish(jobs: &mut Jobs, id: i64, server: &ServerAddress, wait: Option<Wait>) {
        jobs.finish(ConnectionId(id), server, wait, Duration::ZERO, NOW);
    }

    fn touch(jobs: &mut Jobs, ids: impl IntoIterator<Item = i64>, lane: Lane) {
        ids.into_iter().for_each(|id| jobs.touch(ConnectionId(id), lane));
    }

    #[test]
    fn a_connection_has_one_request_in_flight() {
        let (mut jobs, server) = (Jobs::default(), server(1));
        jobs.touch(ONE, Lane::Bulk);
        jobs.touch(ONE, Lane::Bulk);
        assert_eq!(jobs.next(), Some(ONE));
        assert!(start(&mut jobs, ONE, &server));
        assert_eq!(jobs.next(), None);
        finish(&mut jobs, ONE.0, &server, None);
        assert_eq!(jobs.next(), Some(ONE));
        jobs.rest(ONE);
        assert_eq!(jobs.next(), None);
        assert!(jobs.state.is_empty() && jobs.servers.values().all(Server::is_idle));
    }

    #[test]
    fn who_is_forgotten_is_not_asked_and_its_answer_makes_room() {
        let (mut jobs, server) = (Jobs::default(), server(1));
        for id in [ONE, TWO] {
            jobs.touch(id, Lane::Bulk);
        }
        assert_eq!(jobs.next(), Some(ONE));
        assert!(start(&mut jobs, ONE, &server));
        jobs.forget(ONE);
        jobs.forget(TWO);
        assert_eq!(jobs.next(), None, "both are somebody else's");
        assert_eq!(jobs.in_flight, 1);
        jobs.answered(&server, true, Duration::ZERO, NOW);
        assert_eq!(jobs.in_flight, 0);
        assert!(jobs.state.is_empty() && jobs.servers.values().all(Server::is_idle));

        jobs.touch(ONE, Lane::Bulk);
        assert_eq!(jobs.next(), Some(ONE));
        jobs.wait(ONE, until(5, None));
        jobs.forget(ONE);
        assert_eq!(jobs.next_moment(), None);
    }

    #[test]
    fn a_full_server_parks_connections_and_others_go_on() {
        let (mut jobs, slow, quick) = (Jobs::default(), server(1), server(2));
        touch(&mut jobs, 0..300, Lane::Bulk);
        assert_eq!(started(&mut jobs, &slow).len(), first());
        touch(&mut jobs, [1000], Lane::Bulk);
        assert_eq!(jobs.next(), Some(ConnectionId(1000)));
        assert!(start(&mut jobs, ConnectionId(1000), &quick));
        finish(&mut jobs, 0, &slow, None);
        let longest = i64::try_from(first()).unwrap();
        let next: Vec<_> = std::iter::from_fn(|| jobs.next()).map(|id| id.0).collect();
        assert_eq!(next, [longest, longest + 1, 0], "its room and one more, since it was quick");
    }

    #[test]
    fn who_is_parked_takes_turns_with_those_who_have_more_to_ask() {
        let (mut jobs, server) = (Jobs::default(), server(1));
        touch(&mut jobs, 0..300, Lane::Bulk);
        let mut served = BTreeSet::new();
        for _ in 0..3 {
            let started = started(&mut jobs, &server);
            for id in &started {
                finish(&mut jobs, *id, &server, None);
            }
            served.extend(started);
        }
        assert_eq!(served.len(), 300);
    }

    #[test]
    fn room_that_a_parked_connection_does_not_use_is_passed_on() {
        let (mut jobs, slow, quick) = (Jobs::default(), server(1), server(2));
        touch(&mut jobs, 0..300, Lane::Bulk);
        for id in started(&mut jobs, &slow) {
            finish(&mut jobs, id, &slow, None);
        }
        let mut asked = BTreeSet::new();
        while let Some(id) = jobs.next() {
            asked.insert(id);
            match id.0 % 3 {
                0 => jobs.rest(id),
                1 => jobs.wait(id, until(10, None)),
                _ => drop(start(&mut jobs, id, &quick)),
            }
        }
        assert_eq!(asked.len(), 300);
        assert!(jobs.called.is_empty() && jobs.servers[&slow].is_idle());
    }

    #[test]
    fn in_all_only_so_many_are_in_flight() {
        let mut jobs = Jobs::default();
        touch(&mut jobs, 0..5000, Lane::Bulk);
        let mut started = 0;
        while let Some(id) = jobs.next() {
            assert!(start(&mut jobs, id, &server(u16::try_from(id.0 % 100).unwrap())));
            started += 1;
        }
        assert_eq!(started, TOTAL_MAX);
        assert!(!jobs.has_next());
        finish(&mut jobs, 0, &server(0), None);
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
            assert!(start(&mut jobs, ONE, &server));
            if touched {
                jobs.touch(ONE, Lane::Bulk);
            }
            finish(&mut jobs, ONE.0, &server, Some(until(10, None)));
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
            if start(jobs, id, server) {
                started.push(id.0);
            }
        }
        started
    }

    #[test]
    fn control_goes_first_and_has_room_when_bulk_has_none() {
        let (mut jobs, server) = (Jobs::default(), server(1));
        touch(&mut jobs, 0..300, Lane::Bulk);
        touch(&mut jobs, [1000], Lane::Control);
        assert_eq!(started(&mut jobs, &server).first(), Some(&1000));
        touch(&mut jobs, [1001], Lane::Control);
        assert_eq!(started(&mut jobs, &server), [1001], "the server has as much bulk as it may have");
        touch(&mut jobs, [299], Lane::Control);
        assert_eq!(started(&mut jobs, &server), [299], "a parked connection moves up");
        touch(&mut jobs, 1100..1200, Lane::Control);
        let left = RESERVED_FOR_CONTROL - 2;
        assert_eq!(started(&mut jobs, &server).len(), left);
        finish(&mut jobs, 0, &server, None);
        let next = 1100 + i64::try_from(left).unwrap();
        assert_eq!(started(&mut jobs, &server), [next, next + 1], "control that waits is called before bulk");
    }

    #[test]
    fn a_connection_that_moves_up_is_asked_once() {
        let (mut jobs, server) = (Jobs::default(), server(1));
        jobs.touch(ONE, Lane::Bulk);
        jobs.touch(TWO, Lane::Bulk);
        jobs.touch(TWO, Lane::Control);
        assert_eq!(started(&mut jobs, &server), [2, 1]);
        finish(&mut jobs, TWO.0, &server, None);
        assert_eq!(jobs.next(), Some(TWO));
        jobs.rest(TWO);
        jobs.touch(TWO, Lane::Bulk);
        assert_eq!(started(&mut jobs, &server), [2], "it is bulk again");
        assert!(jobs.ready.len() == 0);
    }

    #[test]
    fn room_is_offered_until_enough_waits_for_servers_that_answer() {
        let (mut jobs, server) = (Jobs::default(), server(1));
        touch(&mut jobs, 0..2000, Lane::Bulk);
        assert_eq!(jobs.room(), 0);
        started(&mut jobs, &server);
        assert_eq!(jobs.room(), 0, "enough waits for it");
        assert_eq!(jobs.next_moment(), Some(NOW.plus_ms(SILENCE_MS)));
        jobs.advance(NOW.plus_ms(SILENCE_MS));
        assert_eq!((jobs.room(), jobs.next_moment()), (AHEAD_MAX, None), "it does not answer");
        finish(&mut jobs, 0, &server, None);
        assert_eq!(jobs.room(), 0, "it does");
        finish(&mut jobs, 1, &server, Some(until(9, Some(server.clone()))));
        assert!(jobs.room() > 0, "it does not answer any more");
    }

    #[test]
    fn who_is_offered_room_waits_for_what_is_in_flight_and_little_more() {
        let (mut jobs, server) = (Jobs::default(), server(1));
        let (mut next, mut flying) = (0_i64, VecDeque::new());
        for _ in 0..100 {
            let room = i64::try_from(jobs.room()).unwrap();
            touch(&mut jobs, next..next + room, Lane::Bulk);
            next += room;
            flying.extend(started(&mut jobs, &server));
            let entry = &jobs.servers[&server];
            assert!(entry.in_flight <= entry.window.size() && entry.in_flight == flying.len());
            assert!(jobs.ready.len() + entry.parked.len() <= AHEAD_MAX);
            for id in flying.drain(..32) {
                finish(&mut jobs, id, &server, None);
                jobs.rest_if_ready(ConnectionId(id));
            }
        }
        assert_eq!(jobs.servers[&server].window.size(), *SERVER.end(), "a quick server is given ever more");
    }

    proptest! {
        /// However servers answer, none has more in flight than its window allows, each connection that wants something
        /// is served within as many steps as there are connections, and nothing is left behind.
        #[test]
        fn everybody_gets_a_turn(
            steps in proptest::collection::vec((0..40_i64, 0..3_u16, 0..2000_u64, any::<bool>()), 1..300),
        ) {
            let mut jobs = Jobs::default();
            let mut flying: VecDeque<(i64, ServerAddress)> = VecDeque::new();
            let mut now = 0;
            let begin = |jobs: &mut Jobs, flying: &mut VecDeque<_>| {
                while let Some(id) = jobs.next() {
                    let server = server(u16::try_from(id.0 % 3).unwrap());
                    if start(jobs, id, &server) {
                        flying.push_back((id.0, server));
                    }
                }
            };
            for (id, _, took, is_control) in steps {
                now += 7;
                let lane = if is_control { Lane::Control } else { Lane::Bulk };
                touch(&mut jobs, (0..40).map(|other| other * 40 + id), lane);
                begin(&mut jobs, &mut flying);
                for entry in jobs.servers.values() {
                    prop_assert!(entry.in_flight <= *SERVER.end() + RESERVED_FOR_CONTROL);
                }
                if let Some((id, server)) = flying.pop_front() {
                    let took = Duration::from_millis(took);
                    jobs.finish(ConnectionId(id), &server, None, took, Timestamp(now));
                    begin(&mut jobs, &mut flying);
                }
            }
            let mut left = jobs.entries();
            while let Some((id, server)) = flying.pop_front() {
                jobs.finish(ConnectionId(id), &server, None, Duration::from_secs(1), Timestamp(now));
                jobs.rest_if_ready(ConnectionId(id));
                begin(&mut jobs, &mut flying);
                prop_assert!(jobs.entries() < left, "each answer serves one for good");
                left = jobs.entries();
            }
            prop_assert_eq!(left, 0);
            prop_assert!(jobs.servers.values().all(Server::is_idle) && jobs.called.is_empty());
            jobs.advance(Timestamp(now + KEPT_MS));
            prop_assert!(jobs.servers.is_empty());
        }
    }

    impl Jobs {
        /// A connection that was just served wants nothing more.
        fn rest_if_ready(&mut self, id: ConnectionId) {
            self.ready.bulk.retain(|ready| *ready != id);
            self.ready.control.retain(|ready| *ready != id);
            self.rest(id);
        }
    }
}
