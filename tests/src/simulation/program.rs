//! A program: the real application in the real engine, on a database that outlives it.

use std::collections::BTreeMap;

use chat_relay::config::{JoinerRole, Tuning};
use chat_relay::identity::RelayIdentity;
use chat_relay::relay::Relay;
use chat_relay::store::RelayStore as _;
use chat_relay::store::records::RelayAddress;
use chat_relay::store::sql::SqlStore;
use client::headless::{self, Ask, Client, Replies};
use protocol::agent::address_draft::{AddressDraft, AddressPlan};
use protocol::agent::store::AgentStore as _;
use protocol::crypto::sign::Ed25519PrivateKey;
use protocol::encoding::Encode as _;
use protocol::group::profile::Profile;
use protocol::net::engine::{Application as _, Core, Effects, Fatal, Input};
use protocol::smp::address::{ServerAddress, ServerAddressWithAuth};
use protocol::smp::short_link::LinkType;
use protocol::timestamp::Timestamp;
use rand::rngs::StdRng;
use rusqlite::Connection;
use serde_json::Value;
use tokio::sync::mpsc;

use super::network::Arrival;

/// What clients seal their secrets with.
const SEALING_KEY: [u8; 32] = [7; 32];

/// What a program is.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// A relay, with what it is to others, and whether it is a service of its servers.
    Relay(Box<(RelayIdentity, Tuning)>, bool),
    /// Somebody's client.
    Client,
}

/// A running program.
enum Machine {
    Relay(Box<Core<Relay<SqlStore>>>),
    Client(Box<Core<Client>>),
}

/// A program that runs, or can be started.
pub(super) struct Program {
    /// How traces call it.
    pub(super) name: String,
    kind: Kind,
    database: String,
    /// Holds the database while nobody else does.
    keeper: Connection,
    machine: Option<Machine>,
    /// Counts its starts.
    pub(super) life: u64,
    /// What has come in and waits for a turn.
    pub(super) inbox: Vec<Arrival>,
    pub(super) asked: Vec<Ask>,
    /// Whether it died between a commit and what that has it say.
    pub(super) is_cut_short: bool,
    /// Names the turn that is on the agenda; earlier ones do not count any more.
    pub(super) turn: u64,
    /// When that is.
    pub(super) due: Option<i64>,
    /// How far its clock is off.
    pub(super) skew: i64,
    /// Where its database, connections included, was at most, in entries in memory.
    pub(super) entries_max: usize,
}

impl Program {
    /// A program with an empty database.
    pub(super) fn new(name: String, kind: Kind, run: u64) -> anyhow::Result<Self> {
        let database = format!("file:simulation-{run}-{name}?mode=memory&cache=shared");
        let keeper = Connection::open(&database)?;
        Ok(Self {
            name,
            kind,
            database,
            keeper,
            machine: None,
            life: 0,
            inbox: Vec::new(),
            asked: Vec::new(),
            is_cut_short: false,
            turn: 0,
            due: None,
            skew: 0,
            entries_max: 0,
        })
    }

    /// Gives a relay its address, and says what it is.
    pub(super) fn make_relay(&mut self, rng: &mut StdRng) -> anyhow::Result<String> {
        let Kind::Relay(relay, _) = &self.kind else { anyhow::bail!("{} is no relay", self.name) };
        let plan = AddressPlan {
            server: relay.0.server.clone(),
            link_type: LinkType::Relay,
            root_key: Ed25519PrivateKey::generate(rng),
            link_entity_id: None,
            client_data: None,
        };
        let draft = AddressDraft::new(plan, rng)?;
        let address =
            RelayAddress { draft: draft.to_bytes(), profile: relay.0.profile.clone(), connection: None };
        SqlStore::open(self.database.as_ref())?.set_relay_address(&address)?;
        Ok(draft.short_link().to_string())
    }

    /// Whether it runs.
    pub(super) fn is_running(&self) -> bool {
        self.machine.is_some()
    }

    /// Starts it on its database.
    pub(super) fn start(&mut self, rng: StdRng) -> anyhow::Result<()> {
        self.life += 1;
        self.machine = Some(match &self.kind {
            Kind::Relay(relay, _) => {
                let store = SqlStore::open(self.database.as_ref())?;
                // nobody waits until it is ready
                let (notify, _) = mpsc::unbounded_channel();
                let (identity, tuning) = (relay.0.clone(), relay.1.limits());
                Machine::Relay(Box::new(Core::new(Relay::new(store, identity, tuning, notify), rng)))
            }
            Kind::Client => {
                let database = Connection::open(&self.database)?;
                Machine::Client(Box::new(Core::new(headless::open(database, SEALING_KEY, &self.name)?, rng)))
            }
        });
        Ok(())
    }

    /// What it remembers as a service, if it is one: how many queues more servers have of it than it knows.
    pub(super) fn service(&mut self) -> anyhow::Result<Option<BTreeMap<ServerAddress, i64>>> {
        match self.kind {
            Kind::Relay(_, true) => Ok(Some(self.with_relay_store(|store| store.services())?.surplus)),
            Kind::Relay(_, false) | Kind::Client => Ok(None),
        }
    }

    /// Kills it: what is not in the database is gone.
    pub(super) fn kill(&mut self) {
        self.machine = None;
        self.inbox.clear();
        self.asked.clear();
        self.due = None;
    }

    /// One batch; nothing when it does not run.
    ///
    /// # Errors
    /// What stops the program.
    pub(super) fn take(&mut self, now: i64, inputs_max: usize) -> Result<Option<Effects>, Fatal> {
        let now = Timestamp(now.saturating_add(self.skew));
        let taken = self.inbox.len().min(inputs_max);
        let arrivals = self.inbox.drain(..taken);
        let effects = match &mut self.machine {
            None => return Ok(None),
            Some(Machine::Relay(core)) => {
                let effects = core.take(arrivals.map(input).collect(), now)?;
                self.entries_max = self.entries_max.max(core.entries());
                effects
            }
            Some(Machine::Client(core)) => {
                let asked = self.asked.drain(..).map(Input::Command);
                let effects = core.take(asked.chain(arrivals.map(input)).collect(), now)?;
                self.entries_max = self.entries_max.max(core.entries());
                effects
            }
        };
        Ok(Some(effects))
    }

    /// The batch was carried out.
    pub(super) fn after_commit(&mut self) {
        match &mut self.machine {
            Some(Machine::Relay(core)) => core.application().after_commit(),
            Some(Machine::Client(core)) => core.application().after_commit(),
            None => {}
        }
    }

    /// When it has something to do without any input, in true time; nothing when it does not run.
    pub(super) fn next_moment(&self, now: i64) -> Option<i64> {
        let (has_work, moment) = match self.machine.as_ref()? {
            Machine::Relay(core) => (core.has_work(), core.next_moment()),
            Machine::Client(core) => (core.has_work(), core.next_moment()),
        };
        let has_work = has_work || !self.inbox.is_empty() || !self.asked.is_empty();
        Some(if has_work { now } else { moment.0.saturating_sub(self.skew).max(now) })
    }

    /// What is kept in memory for what is under way.
    pub(super) fn entries(&self) -> usize {
        match &self.machine {
            Some(Machine::Relay(core)) => core.entries(),
            Some(Machine::Client(core)) => core.entries(),
            None => 0,
        }
    }

    /// Has a client asked for something with its next batch.
    pub(super) fn ask(&mut self, request: Value) -> anyhow::Result<Replies> {
        let (ask, replies) = headless::ask(request)?;
        self.asked.push(ask);
        Ok(replies)
    }

    /// What a client's store answers, whether the client runs or not.
    ///
    /// # Errors
    /// When it refuses.
    pub(super) fn look(&mut self, request: Value) -> anyhow::Result<Vec<Value>> {
        match &mut self.machine {
            Some(Machine::Client(core)) => headless::look(core.application(), request),
            Some(Machine::Relay(_)) => anyhow::bail!("{} is no client", self.name),
            None => {
                let database = Connection::open(&self.database)?;
                headless::look(&mut headless::open(database, SEALING_KEY, &self.name)?, request)
            }
        }
    }

    /// Looks into the store of a relay, whether it runs or not.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) fn with_relay_store<T>(
        &mut self,
        look: impl FnOnce(&mut SqlStore) -> Result<T, chat_relay::store::StoreError>,
    ) -> anyhow::Result<T> {
        Ok(match &mut self.machine {
            Some(Machine::Relay(core)) => look(core.application().store())?,
            _ => look(&mut SqlStore::open(self.database.as_ref())?)?,
        })
    }

    /// Connections with requests that wait for a server.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) fn with_jobs(&mut self) -> anyhow::Result<usize> {
        Ok(match &mut self.machine {
            Some(Machine::Relay(core)) => core.application().store().connections_with_jobs()?.len(),
            Some(Machine::Client(core)) => core.application().store().connections_with_jobs()?.len(),
            None => 0,
        })
    }

    /// Rows of a table of the database.
    ///
    /// # Errors
    /// When there is no such table.
    pub(super) fn rows(&self, table: &str) -> rusqlite::Result<i64> {
        self.keeper.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))
    }
}

/// A relay's settings in a simulation.
pub(super) fn relay_kind(
    name: &str,
    server: ServerAddressWithAuth,
    tuning: Tuning,
    is_service: bool,
) -> Kind {
    let joiner_role: Option<JoinerRole> = None;
    let identity = RelayIdentity { server, profile: Profile::named(name), joiner_role };
    Kind::Relay(Box::new((identity, tuning)), is_service)
}

fn input<C>(arrival: Arrival) -> Input<C> {
    match arrival {
        Arrival::Event(event) => Input::Network(event),
        Arrival::Link(result) => Input::Link(result),
    }
}
