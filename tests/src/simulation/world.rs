//! Programs, servers and the network between them, driven by one agenda.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use protocol::smp::address::{KeyHash, ServerAddress, ServerAddressWithAuth};
use rand::RngExt as _;

use super::agenda::{Agenda, Moment};
use super::chance::Chance;
use super::network::{Arrival, Network, NetworkFaults, NetworkStep, ProgramId, Reply, ServerHost};
use super::program::{Kind, Program};
use super::server::Server;
use super::trace::Trace;

/// When every run begins.
pub(super) const BEGINNING: Moment = 1_800_000_000_000;
/// Most inputs of one batch, as in the engine's own loop.
const INPUTS_MAX: usize = 256;

/// Tells the databases of runs in one process apart.
static RUNS: AtomicU64 = AtomicU64::new(0);

/// What is on the agenda.
#[derive(Debug)]
pub(super) enum Happening {
    /// Something on the network.
    Network(NetworkStep),
    /// A program's batch, if this is still the turn that counts.
    Turn { program: ProgramId, turn: u64 },
    /// A program is started, if it does not run.
    Start(ProgramId),
    /// A server is there again.
    ServerUp(usize),
    /// The script goes on.
    Script,
}

/// How often what goes wrong with programs, of 10,000 batches.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Faults {
    /// The program dies before a batch is durable.
    pub(super) dies_before: u32,
    /// After that, and before anything of it leaves.
    pub(super) dies_between: u32,
    /// After everything of it has left.
    pub(super) dies_after: u32,
    /// On the network.
    pub(super) network: NetworkFaults,
}

/// Everything but the people and what they want.
pub(super) struct World {
    pub(super) agenda: Agenda<Happening>,
    pub(super) chance: Chance,
    pub(super) trace: Trace,
    pub(super) network: Network,
    pub(super) programs: Vec<Program>,
    pub(super) faults: Faults,
    run: u64,
}

impl World {
    /// With so many servers and no programs.
    pub(super) fn new(
        seed: u64,
        servers: usize,
        quota: u32,
        faults: Faults,
        keep_trace: bool,
    ) -> anyhow::Result<Self> {
        let mut chance = Chance::new(seed);
        let host = |number: usize, chance: &mut Chance| -> anyhow::Result<ServerHost> {
            let mut rng = chance.fork();
            let key_hash = KeyHash::try_from(&rng.random::<[u8; 32]>()[..]).context("a hash has 32 bytes")?;
            let name = format!("s{number}.example").parse().context("a host")?;
            let address = ServerAddress::new(vec![name], None, key_hash).context("an address")?;
            Ok(ServerHost { address, server: Server::new(rng, quota), is_up: true })
        };
        let hosts = (0..servers).map(|number| host(number, &mut chance)).collect::<anyhow::Result<_>>()?;
        let network = Network::new(hosts, faults.network, Chance::new(seed.wrapping_mul(31).wrapping_add(1)));
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let mut trace = Trace::new(BEGINNING, keep_trace);
        trace.note(BEGINNING, format_args!("seed {seed}: {servers} servers, quota {quota}, {faults:?}"));
        Ok(Self { agenda: Agenda::new(BEGINNING), chance, trace, network, programs: Vec::new(), faults, run })
    }

    /// The present.
    pub(super) fn now(&self) -> Moment {
        self.agenda.now()
    }

    /// A server's address, as programs are given it.
    pub(super) fn server(&self, number: usize) -> anyhow::Result<ServerAddressWithAuth> {
        Ok(self.network.servers.get(number).context("no such server")?.address.clone().into())
    }

    /// Adds a program that does not run yet.
    pub(super) fn add(&mut self, name: String, kind: Kind) -> anyhow::Result<ProgramId> {
        self.programs.push(Program::new(name, kind, self.run)?);
        Ok(self.programs.len() - 1)
    }

    /// A program.
    pub(super) fn program(&mut self, id: ProgramId) -> anyhow::Result<&mut Program> {
        self.programs.get_mut(id).context("no such program")
    }

    /// Starts a program, if it does not run.
    pub(super) fn start(&mut self, id: ProgramId) -> anyhow::Result<bool> {
        let (now, rng) = (self.now(), self.chance.fork());
        let program = self.programs.get_mut(id).context("no such program")?;
        if program.is_running() {
            return Ok(false);
        }
        program.start(rng).with_context(|| format!("{} does not start", program.name))?;
        if let Some(surplus) = program.service()? {
            self.network.serve(id, surplus);
        }
        self.trace.note(now, format_args!("{} starts", program.name));
        self.wake(id, 1);
        Ok(true)
    }

    /// Kills a program; it is started again after `ms`, if given.
    pub(super) fn kill(&mut self, id: ProgramId, why: &str, again_after: Option<Moment>) {
        let now = self.now();
        let Some(program) = self.programs.get_mut(id).filter(|program| program.is_running()) else { return };
        self.trace.fault(now, format_args!("{} dies {why}", program.name));
        program.kill();
        self.network.now = now;
        self.network.forget_program(id);
        self.collect();
        if let Some(ms) = again_after {
            self.agenda.after(ms, Happening::Start(id));
        }
    }

    /// Has a program take a batch in so many milliseconds at the latest.
    pub(super) fn wake(&mut self, id: ProgramId, ms: Moment) {
        let at = self.now().saturating_add(ms);
        let Some(program) = self.programs.get_mut(id).filter(|program| program.is_running()) else { return };
        if program.due.is_none_or(|due| at < due) {
            program.turn += 1;
            program.due = Some(at);
            self.agenda.at(at, Happening::Turn { program: id, turn: program.turn });
        }
    }

    /// What is on the agenda happens. Gives the program that took a batch, if one did.
    pub(super) fn happen(&mut self, happening: Happening) -> anyhow::Result<Option<ProgramId>> {
        let now = self.now();
        match happening {
            Happening::Network(step) => {
                self.note_step(&step);
                self.network.now = now;
                self.network.step(step);
                self.collect();
            }
            Happening::Turn { program, turn } => return self.turn(program, turn),
            Happening::Start(program) => {
                self.start(program)?;
            }
            Happening::ServerUp(server) => {
                if let Some(host) = self.network.servers.get_mut(server) {
                    host.is_up = true;
                    self.trace.fault(now, format_args!("server {server} is back"));
                }
            }
            Happening::Script => {}
        }
        Ok(None)
    }

    fn turn(&mut self, id: ProgramId, turn: u64) -> anyhow::Result<Option<ProgramId>> {
        let now = self.now();
        let Some(program) = self.programs.get_mut(id).filter(|it| it.is_running() && it.turn == turn) else {
            return Ok(None);
        };
        program.due = None;
        let inputs = program.inbox.len();
        if self.chance.happens(self.faults.dies_before) {
            let again = self.chance.between(100, 30_000);
            self.kill(id, "before a commit", Some(again));
            return Ok(None);
        }
        let taken = program.take(now, INPUTS_MAX);
        let Some(effects) = taken.map_err(|error| anyhow::anyhow!("{} stops: {error:?}", program.name))?
        else {
            return Ok(None);
        };
        let (requests, links) = (effects.requests.len(), effects.links.len());
        self.trace.note(now, format_args!("{} takes {inputs}, asks {requests}, reads {links}", program.name));
        if self.chance.happens(self.faults.dies_between) {
            program.is_cut_short = true;
            let again = self.chance.between(100, 30_000);
            self.kill(id, "after a commit", Some(again));
            return Ok(None);
        }
        self.network.now = now;
        self.network.carry_out(id, effects);
        program.after_commit();
        self.collect();
        if self.chance.happens(self.faults.dies_after) {
            let again = self.chance.between(100, 30_000);
            self.kill(id, "between batches", Some(again));
            return Ok(Some(id));
        }
        self.wake_in_time(id);
        Ok(Some(id))
    }

    /// Has a program take its next batch when it has reason to.
    pub(super) fn wake_in_time(&mut self, id: ProgramId) {
        let now = self.now();
        let next = self.programs.get(id).and_then(|program| program.next_moment(now));
        if let Some(next) = next {
            self.wake(id, next.saturating_sub(now).max(1));
        }
    }

    /// One of the sessions breaks.
    pub(super) fn break_session(&mut self) {
        self.network.now = self.now();
        self.network.break_some_session();
        self.collect();
    }

    /// A server stops, and is back after `ms`.
    pub(super) fn stop_server(&mut self, server: usize, ms: Moment) {
        let now = self.now();
        self.trace.fault(now, format_args!("server {server} is away for {} s", ms / 1000));
        self.network.now = now;
        self.network.stop_server(server);
        self.collect();
        self.agenda.after(ms, Happening::ServerUp(server));
    }

    /// A program's clock jumps. Whoever waits looks at the clock at least once in a minute.
    pub(super) fn jump(&mut self, id: ProgramId, ms: Moment) {
        let now = self.now();
        let within = self.chance.between(1, 60_000);
        let Some(program) = self.programs.get_mut(id) else { return };
        program.skew = program.skew.saturating_add(ms);
        self.trace.fault(now, format_args!("the clock of {} jumps by {} s", program.name, ms / 1000));
        self.wake(id, within);
    }

    /// Nothing goes wrong any more, and all servers are there.
    pub(super) fn calm_down(&mut self) {
        let now = self.now();
        self.trace.fault(now, format_args!("nothing goes wrong any more"));
        self.faults = Faults::default();
        self.network.faults = NetworkFaults::default();
        for host in &mut self.network.servers {
            host.is_up = true;
        }
    }

    /// Takes over what the network did.
    fn collect(&mut self) {
        for (at, step) in std::mem::take(&mut self.network.steps) {
            self.agenda.at(at, Happening::Network(step));
        }
        let now = self.now();
        for what in std::mem::take(&mut self.network.told) {
            self.trace.fault(now, format_args!("{what}"));
        }
        for (id, arrival) in std::mem::take(&mut self.network.arrivals) {
            let Some(program) = self.programs.get_mut(id).filter(|program| program.is_running()) else {
                continue;
            };
            note_arrival(&mut self.trace, now, &program.name, &arrival);
            program.inbox.push(arrival);
            let ms = self.chance.between(0, 3);
            self.wake(id, ms);
        }
    }

    fn note_step(&mut self, step: &NetworkStep) {
        let now = self.now();
        match step {
            NetworkStep::Request { session, call, request } => {
                let (tag, entity) = (request.command.tag(), short(&request.entity));
                self.trace.note(now, format_args!("session {session} call {call}: {tag} {entity}"));
            }
            NetworkStep::Reply { session, reply } => match &**reply {
                Reply::Answer(call, _, message) => {
                    let tag = message.tag();
                    self.trace.note(now, format_args!("session {session} answer {call}: {tag}"));
                }
                Reply::Told(queue, message) => {
                    let (tag, queue) =
                        (message.tag(), queue.map(|queue| short(&queue.0)).unwrap_or_default());
                    self.trace.note(now, format_args!("session {session} says {tag} {queue}"));
                }
            },
            NetworkStep::Dialled { program, server, .. } => {
                self.trace.note(now, format_args!("program {program} reaches server {server} or not"));
            }
            NetworkStep::Lost { session } => {
                self.trace.note(now, format_args!("session {session} is lost"));
            }
            NetworkStep::Forgotten { session } => {
                self.trace.note(now, format_args!("session {session} is forgotten"));
            }
            NetworkStep::Retry { .. } | NetworkStep::Deadline { .. } | NetworkStep::AskAgain { .. } => {}
        }
    }
}

fn note_arrival(trace: &mut Trace, now: Moment, name: &str, arrival: &Arrival) {
    use protocol::net::network::NetworkEvent;
    match arrival {
        Arrival::Event(NetworkEvent::Message { queue, body, .. }) => {
            let (queue, body) = (short(&queue.0), short(body));
            trace.note(now, format_args!("{name} hears message {body} of {queue}"));
        }
        Arrival::Event(NetworkEvent::Answer { ticket, result, .. }) => match result {
            Ok(message) => trace.note(now, format_args!("{name} hears {} to {}", message.tag(), ticket.0)),
            Err(error) => trace.note(now, format_args!("{name} hears to {}: {error}", ticket.0)),
        },
        Arrival::Event(event) => trace.note(now, format_args!("{name} hears {event:?}")),
        Arrival::Link((_, Ok(_))) => trace.note(now, format_args!("{name} has read a link")),
        Arrival::Link((_, Err(error))) => {
            trace.note(now, format_args!("{name} cannot read a link: {error}"));
        }
    }
}

/// The beginning of some bytes.
fn short(bytes: &[u8]) -> String {
    bytes.iter().take(4).fold(String::new(), |mut text, byte| {
        let _cannot_fail = write!(text, "{byte:02x}");
        text
    })
}
