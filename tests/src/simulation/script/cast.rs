//! Who takes part in a run.

use std::collections::{BTreeMap, BTreeSet};

use chat_relay::config::Tuning;
use serde_json::json;

use super::{Figures, PATIENCE_MS, SECOND, Script, What};
use crate::simulation::chance::Chance;
use crate::simulation::ledger::Group;
use crate::simulation::network::{NetworkFaults, ProgramId};
use crate::simulation::program::{Kind, relay_kind};
use crate::simulation::world::{Faults, Happening, World};

impl Script {
    /// Nobody yet.
    pub(super) fn in_world(world: World) -> Self {
        Self {
            world,
            groups: Vec::new(),
            relays: Vec::new(),
            clients: Vec::new(),
            addresses: BTreeMap::new(),
            pending: Vec::new(),
            shown: BTreeMap::new(),
            looking: BTreeMap::new(),
            left: 0,
            figures: Figures::default(),
        }
    }

    /// Draws who takes part, and starts them.
    pub(in crate::simulation) fn new(seed: u64, keep_trace: bool) -> anyhow::Result<Self> {
        let mut draw = Chance::new(seed ^ 0x5eed);
        let rough = draw.pick(&[0, 1, 1, 3, 10]).unwrap_or(1);
        let mut odds = |max: i64| u32::try_from(draw.between(0, max) * rough).unwrap_or(0);
        let network = NetworkFaults {
            request_lost: odds(20),
            answer_lost: odds(20),
            stalls: odds(4),
            not_connected: odds(300),
        };
        let faults = Faults { dies_before: odds(4), dies_between: odds(6), dies_after: odds(4), network };
        let quota = u32::try_from(draw.pick(&[4, 8, 32, 128]).unwrap_or(128))?;
        let servers = usize::try_from(draw.between(1, 3))?;
        let world = World::new(seed, servers, quota, faults, keep_trace)?;
        let mut script = Self::in_world(world);
        script.left = u32::try_from(draw.between(20, 60))?;
        let backlog = draw.pick(&[1000, 1000, 5]);
        let tuning = Tuning { member_backlog_max: backlog, ..Tuning::default() };
        for number in 0..draw.between(2, 3) {
            script.add_relay(usize::try_from(number)?, tuning.clone())?;
        }
        script.relays_start()?;
        let owners = draw.pick(&[1, 1, 2]).unwrap_or(1);
        let members = draw.between(2, 4);
        for number in 0..owners {
            let owner = script.add_client(format!("o{number}"))?;
            let is_open = draw.happens(7_000);
            script.create_group(owner, is_open)?;
        }
        for number in 0..members {
            script.add_client(format!("m{number}"))?;
        }
        script.world.agenda.after(5 * SECOND, Happening::Script);
        Ok(script)
    }

    /// Nothing goes wrong until the relays have made their addresses: operators give out those of relays that run, since a
    /// relay that never hears whether its address was made has another.
    pub(super) fn relays_start(&mut self) -> anyhow::Result<()> {
        let faults = std::mem::take(&mut self.world.faults);
        let network = std::mem::take(&mut self.world.network.faults);
        let limit = self.world.now().saturating_add(5 * SECOND);
        while let Some(happening) = self.world.agenda.next(limit) {
            self.happen(happening)?;
        }
        (self.world.faults, self.world.network.faults) = (faults, network);
        Ok(())
    }

    pub(super) fn add_relay(&mut self, number: usize, tuning: Tuning) -> anyhow::Result<()> {
        let server = self.world.chance.below(self.world.network.servers.len());
        let server = self.world.server(server)?;
        let name = format!("r{number}");
        let is_service = self.world.chance.happens(5_000);
        let id = self.world.add(name.clone(), relay_kind(&name, server, tuning, is_service))?;
        let mut rng = self.world.chance.fork();
        let address = self.world.program(id)?.make_relay(&mut rng)?;
        self.addresses.insert(id, address);
        self.relays.push(id);
        self.world.start(id)?;
        Ok(())
    }

    pub(super) fn add_client(&mut self, name: String) -> anyhow::Result<ProgramId> {
        let id = self.world.add(name, Kind::Client)?;
        self.clients.push(id);
        let server = self.world.chance.below(self.world.network.servers.len());
        let server = self.world.server(server)?;
        self.started(id)?;
        self.ask(id, What::Other, json!({"request": "server_add", "address": server.to_string()}))?;
        for (relay, address) in self.addresses.clone() {
            let name = self.world.program(relay)?.name.clone();
            let request = json!({"request": "relay_add", "name": name, "link": address, "code": null});
            self.ask(id, What::Other, request)?;
        }
        Ok(id)
    }

    pub(super) fn create_group(&mut self, owner: ProgramId, is_open: bool) -> anyhow::Result<()> {
        let number = self.groups.len();
        let alias = format!("g{number}");
        let is_reviewed = self.world.chance.happens(2_500);
        let relays: Vec<ProgramId> = if self.world.chance.happens(3_000) {
            self.relays.iter().take(1).copied().collect()
        } else {
            self.relays.clone()
        };
        let mut names = Vec::new();
        for relay in &relays {
            names.push(self.world.program(*relay)?.name.clone());
        }
        let request = json!({
            "request": "group_create", "name": alias, "full_name": "", "description": null, "relays": names,
            "server": null, "joiner_role": if is_open { "member" } else { "observer" }, "review": is_reviewed,
            "timeout_ms": PATIENCE_MS,
        });
        self.groups.push(Group {
            alias,
            owner,
            link: None,
            relays: relays.into_iter().map(|relay| (relay, false)).collect(),
            people: BTreeMap::new(),
            posts: Vec::new(),
            said: BTreeMap::new(),
            is_reviewed,
            accepted: BTreeSet::new(),
            lowered: BTreeSet::new(),
            freed: BTreeSet::new(),
            ending: None,
        });
        self.ask(owner, What::Create(number), request)
    }
}
