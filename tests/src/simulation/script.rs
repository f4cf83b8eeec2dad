//! What people do, and what is done to them: drawn from the seed as the run goes on.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use chat_relay::config::Tuning;
use chat_relay::store::RelayStore as _;
use chat_relay::store::operation::OperationStore as _;
use chat_relay::store::records::{GroupId, LinkState, MemberStatus};
use client::headless::Replies;
use protocol::group::identity::MemberId;
use serde_json::{Value, json};

use super::agenda::Moment;
use super::ledger::{Group, Post, Standing, read_text, text};
use super::network::{NetworkFaults, ProgramId};
use super::program::{Kind, relay_kind};
use super::world::{Faults, Happening, World};

const SECOND: Moment = 1_000;
const MINUTE: Moment = 60 * SECOND;
const HOUR: Moment = 60 * MINUTE;
/// How long a command waits before it gives up waiting.
const PATIENCE_MS: Moment = 10 * MINUTE;

/// A run: the world, and what people want of it.
pub(super) struct Script {
    pub(super) world: World,
    pub(super) groups: Vec<Group>,
    pub(super) relays: Vec<ProgramId>,
    pub(super) clients: Vec<ProgramId>,
    /// Addresses of relays, for owners.
    addresses: BTreeMap<ProgramId, String>,
    pending: Vec<Pending>,
    /// How often each client was shown each message.
    pub(super) shown: BTreeMap<(ProgramId, String), u32>,
    /// How many of the script's steps are left.
    left: u32,
    pub(super) figures: Figures,
}

/// How much happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Posts that were durable with their authors.
    pub posts: u64,
    /// Of which authors were told that a relay's server has them.
    pub acknowledged: u64,
    /// Copies that were owed to members.
    pub owed: u64,
    /// Copies that must not come.
    pub barred: u64,
    /// Posts that came late, and were told to.
    pub late: u64,
    /// Members that were removed.
    pub removed: u64,
}

/// A command without its last reply.
struct Pending {
    program: ProgramId,
    life: u64,
    what: What,
    replies: Replies,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Create(usize),
    Post(usize),
    Follow,
    Other,
}

impl Script {
    /// Draws who takes part, and starts them.
    pub(super) fn new(seed: u64, keep_trace: bool) -> anyhow::Result<Self> {
        let mut draw = super::chance::Chance::new(seed ^ 0x5eed);
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
        let mut script = Self {
            world,
            groups: Vec::new(),
            relays: Vec::new(),
            clients: Vec::new(),
            addresses: BTreeMap::new(),
            pending: Vec::new(),
            shown: BTreeMap::new(),
            left: u32::try_from(draw.between(20, 60))?,
            figures: Figures::default(),
        };
        let backlog = draw.pick(&[1000, 1000, 5]);
        let tuning = Tuning { member_backlog_max: backlog, ..Tuning::default() };
        for number in 0..draw.between(2, 3) {
            script.add_relay(usize::try_from(number)?, tuning.clone())?;
        }
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

    fn add_relay(&mut self, number: usize, tuning: Tuning) -> anyhow::Result<()> {
        let server = self.world.chance.below(self.world.network.servers.len());
        let server = self.world.server(server)?;
        let name = format!("r{number}");
        let id = self.world.add(name.clone(), relay_kind(&name, server, tuning))?;
        let mut rng = self.world.chance.fork();
        let address = self.world.program(id)?.make_relay(&mut rng)?;
        self.addresses.insert(id, address);
        self.relays.push(id);
        self.world.start(id)?;
        Ok(())
    }

    fn add_client(&mut self, name: String) -> anyhow::Result<ProgramId> {
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

    /// Starts a client, which then shows what comes.
    fn started(&mut self, id: ProgramId) -> anyhow::Result<()> {
        if self.world.start(id)? {
            self.follow(id)?;
        }
        Ok(())
    }

    fn follow(&mut self, id: ProgramId) -> anyhow::Result<()> {
        self.ask(id, What::Follow, json!({"request": "listen", "group": null, "history": false}))
    }

    fn create_group(&mut self, owner: ProgramId, is_open: bool) -> anyhow::Result<()> {
        let number = self.groups.len();
        let alias = format!("g{number}");
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
            "server": null, "joiner_role": if is_open { "member" } else { "observer" }, "timeout_ms": PATIENCE_MS,
        });
        self.groups.push(Group {
            alias,
            owner,
            is_open,
            link: None,
            relays: relays.into_iter().map(|relay| (relay, false)).collect(),
            people: BTreeMap::new(),
            posts: Vec::new(),
            said: BTreeMap::new(),
        });
        self.ask(owner, What::Create(number), request)
    }

    fn ask(&mut self, program: ProgramId, what: What, request: Value) -> anyhow::Result<()> {
        let now = self.world.now();
        let asked = self.world.program(program)?;
        let (name, life) = (asked.name.clone(), asked.life);
        let replies = asked.ask(request.clone())?;
        if what != What::Follow {
            self.world.trace.note(now, format_args!("{name} asks {request}"));
        }
        self.pending.push(Pending { program, life, what, replies });
        self.world.wake(program, 1);
        Ok(())
    }

    /// What is next on the agenda happens.
    pub(super) fn happen(&mut self, happening: Happening) -> anyhow::Result<()> {
        match happening {
            Happening::Script => {
                self.next_step()?;
            }
            Happening::Start(id) if self.clients.contains(&id) => self.started(id)?,
            happening => {
                if let Some(program) = self.world.happen(happening)?
                    && self.clients.contains(&program)
                {
                    self.hear(program)?;
                }
            }
        }
        Ok(())
    }

    /// Reads what a client said to those who asked.
    fn hear(&mut self, program: ProgramId) -> anyhow::Result<()> {
        let life = self.world.program(program)?.life;
        self.pending.retain(|pending| pending.program != program || pending.life == life);
        let mut heard = Vec::new();
        for pending in self.pending.iter_mut().filter(|pending| pending.program == program) {
            heard.extend(pending.replies.take().into_iter().map(|reply| (pending.what.clone(), reply)));
        }
        for (what, reply) in heard {
            self.heard(program, &what, &reply)?;
        }
        Ok(())
    }

    fn heard(&mut self, program: ProgramId, what: &What, reply: &Value) -> anyhow::Result<()> {
        let now = self.world.now();
        let value = &reply["value"];
        if reply["reply"] == "failure" {
            let name = self.world.program(program)?.name.clone();
            self.world.trace.note(now, format_args!("{name} is refused: {value}"));
        }
        match (what, value["type"].as_str()) {
            (What::Create(group), Some("group_link")) => {
                if let Some(group) = self.groups.get_mut(*group) {
                    group.link = value["link"].as_str().map(str::to_owned);
                }
            }
            (What::Post(group), Some("message")) if value["own"] == true => {
                self.posted(program, *group, value)?;
            }
            (What::Post(group), Some("delivery")) if value["state"] == "durable" => {
                let id = value["message_id"].as_str().unwrap_or_default();
                let group = self.groups.get_mut(*group).context("a group")?;
                if let Some(post) = group.posts.iter_mut().find(|post| post.id == id) {
                    post.is_acknowledged = true;
                }
            }
            (What::Follow, Some("message")) if value["own"] == false => {
                let id = value["message_id"].as_str().unwrap_or_default().to_owned();
                let (name, times) = (self.world.program(program)?.name.clone(), &mut self.shown);
                let times = times.entry((program, id)).or_default();
                *times += 1;
                self.world.trace.note(now, format_args!("{name} sees {}", value["text"]));
                anyhow::ensure!(*times == 1, "{name} was shown {} twice", value["text"]);
            }
            (What::Follow, Some("warning" | "evidence" | "group_ended" | "joined" | "gap" | "late")) => {
                let name = self.world.program(program)?.name.clone();
                self.world.trace.note(now, format_args!("{name} is told {value}"));
            }
            _ => {}
        }
        Ok(())
    }

    /// A post is durable with its author: to whom is it owed?
    fn posted(&mut self, author: ProgramId, number: usize, row: &Value) -> anyhow::Result<()> {
        let group = self.groups.get(number).context("a group")?;
        let (alias, people) = (group.alias.clone(), group.people.keys().copied().collect::<Vec<_>>());
        let relays: Vec<ProgramId> =
            group.relays.iter().filter(|(_, is_gone)| !**is_gone).map(|(relay, _)| *relay).collect();
        let owner = group.owner;
        let (mut owed, mut barred) = (Vec::new(), Vec::new());
        let mut present = BTreeSet::new();
        for person in people.iter().copied() {
            if self.own_row(person, &alias)?.is_some_and(|row| row["status"] == "active") {
                present.insert(person);
            }
        }
        let spoken_to = self.connected(author, &alias)?;
        for relay in relays {
            let name = self.world.program(relay)?.name.clone();
            for person in people.iter().copied().chain([owner]).filter(|person| *person != author) {
                match self.standing_at(relay, person, &alias)? {
                    Some((MemberStatus::Connected, LinkState::Open | LinkState::Full))
                        if spoken_to.contains(&name) && self.connected(person, &alias)?.contains(&name) =>
                    {
                        owed.push((person, relay));
                    }
                    Some((MemberStatus::Removed, _)) => barred.push((person, relay)),
                    _ => {}
                }
            }
        }
        let post = Post {
            author,
            number: row["text"].as_str().and_then(read_text).map_or(0, |(_, number)| number),
            id: row["message_id"].as_str().unwrap_or_default().to_owned(),
            is_acknowledged: false,
            owed,
            present,
            barred,
        };
        self.groups.get_mut(number).context("a group")?.posts.push(post);
        Ok(())
    }

    /// The names of relays to which somebody is connected, as its client sees it.
    fn connected(&mut self, person: ProgramId, alias: &str) -> anyhow::Result<Vec<String>> {
        if self.own_row(person, alias)?.is_none() {
            return Ok(Vec::new());
        }
        let request = json!({"request": "group_relays", "group": alias, "follow": false});
        let rows = self.world.program(person)?.look(request)?;
        let connected = rows.iter().filter(|row| row["connected"] == true && row["status"] == "active");
        Ok(connected.filter_map(|row| row["relay"].as_str().map(str::to_owned)).collect())
    }

    /// Somebody's own row of a group, if it has the group.
    pub(super) fn own_row(&mut self, person: ProgramId, alias: &str) -> anyhow::Result<Option<Value>> {
        let rows = self.world.program(person)?.look(json!({"request": "group_list"}))?;
        Ok(rows.into_iter().find(|row| row["group"] == alias))
    }

    /// How a relay sees somebody.
    fn standing_at(
        &mut self,
        relay: ProgramId,
        person: ProgramId,
        alias: &str,
    ) -> anyhow::Result<Option<(MemberStatus, LinkState)>> {
        let Some(row) = self.own_row(person, alias)? else { return Ok(None) };
        let id = row["member_id"].as_str().and_then(|id| protocol::base64url::decode(id).ok());
        let Some(id) = id.and_then(|id| MemberId::new(id).ok()) else { return Ok(None) };
        let public_id = row["public_id"].as_str().unwrap_or_default().to_owned();
        let program = self.world.program(relay)?;
        program.with_relay_store(|store| {
            for served in store.group_overviews(GroupId(0), 100)? {
                let identity = served.group.identity.as_ref();
                let is_it = identity.is_some_and(|it| it.public_group_id.to_string() == public_id);
                if is_it && served.group.life.status.serves() {
                    let member = store.member_by_id(served.group.id, &id)?;
                    return Ok(member.map(|member| (member.status, member.link)));
                }
            }
            Ok(None)
        })
    }

    /// Something that somebody does, or that is done to them.
    fn next_step(&mut self) -> anyhow::Result<()> {
        if self.left == 0 {
            return Ok(());
        }
        self.left -= 1;
        let pause = match self.world.chance.below(10) {
            0 => self.world.chance.between(MINUTE, 10 * MINUTE),
            1..=3 => self.world.chance.between(SECOND, MINUTE),
            _ => self.world.chance.between(50, 5 * SECOND),
        };
        self.world.agenda.after(pause, Happening::Script);
        let number = self.world.chance.below(self.groups.len());
        match self.world.chance.below(100) {
            0..=54 => self.post(number),
            55..=69 => self.join(number),
            70..=73 => self.remove(number),
            74..=75 => self.leave(number),
            76..=82 => self.go_away(),
            83..=85 => self.change_relays(number),
            86..=88 => self.server_down(),
            89..=93 => {
                let now = self.world.now();
                self.world.trace.fault(now, format_args!("a session breaks"));
                self.world.break_session();
                Ok(())
            }
            94..=96 => self.clock_jumps(),
            _ => self.restart_relay(),
        }
    }

    /// People who can say something in a group now.
    fn speakers(&mut self, number: usize) -> anyhow::Result<Vec<ProgramId>> {
        let group = self.groups.get(number).context("a group")?;
        let (alias, owner) = (group.alias.clone(), group.owner);
        let mut speakers = vec![owner];
        if group.is_open {
            let people = group.people.iter().filter(|(_, standing)| **standing == Standing::Joining);
            speakers.extend(people.map(|(person, _)| *person));
        }
        let mut ready = Vec::new();
        for person in speakers {
            let is_running = self.world.program(person)?.is_running();
            if is_running && self.own_row(person, &alias)?.is_some_and(|row| row["status"] == "active") {
                ready.push(person);
            }
        }
        Ok(ready)
    }

    fn post(&mut self, number: usize) -> anyhow::Result<()> {
        let speakers = self.speakers(number)?;
        let Some(author) = self.world.chance.pick(&speakers) else { return Ok(()) };
        let name = self.world.program(author)?.name.clone();
        let count = self.world.chance.pick(&[1, 1, 1, 2, 3, 12]).unwrap_or(1);
        let group = self.groups.get_mut(number).context("a group")?;
        let said = group.said.entry(author).or_default();
        let texts: Vec<String> = (0..count)
            .map(|_| {
                *said += 1;
                text(&name, &group.alias, *said)
            })
            .collect();
        let request = json!({
            "request": "send", "group": group.alias, "texts": texts, "reply_to": null, "timeout_ms": PATIENCE_MS,
        });
        self.ask(author, What::Post(number), request)
    }

    fn join(&mut self, number: usize) -> anyhow::Result<()> {
        let group = self.groups.get(number).context("a group")?;
        let Some(link) = group.link.clone() else { return Ok(()) };
        let alias = group.alias.clone();
        let owners: Vec<ProgramId> = self.groups.iter().map(|group| group.owner).collect();
        let mut candidates = Vec::new();
        for person in self.clients.clone() {
            let is_free = !owners.contains(&person) && self.world.program(person)?.is_running();
            if is_free && self.own_row(person, &alias)?.is_none() {
                candidates.push(person);
            }
        }
        let Some(person) = self.world.chance.pick(&candidates) else { return Ok(()) };
        let group = self.groups.get_mut(number).context("a group")?;
        group.people.insert(person, Standing::Joining);
        self.ask(person, What::Other, json!({"request": "join", "link": link, "timeout_ms": PATIENCE_MS}))
    }

    /// Members whom nobody told to go.
    fn members(&self, number: usize) -> Vec<ProgramId> {
        let people = self.groups.get(number).map(|group| &group.people);
        let people = people.into_iter().flatten();
        people.filter(|(_, standing)| **standing == Standing::Joining).map(|(person, _)| *person).collect()
    }

    fn remove(&mut self, number: usize) -> anyhow::Result<()> {
        let group = self.groups.get(number).context("a group")?;
        let (alias, owner) = (group.alias.clone(), group.owner);
        let members = self.members(number);
        let Some(person) = self.world.chance.pick(&members) else { return Ok(()) };
        let Some(row) = self.own_row(person, &alias)? else { return Ok(()) };
        if !self.world.program(owner)?.is_running() {
            return Ok(());
        }
        let known = self.world.program(owner)?.look(json!({"request": "members", "group": alias}))?;
        if !known.iter().any(|known| known["member_id"] == row["member_id"]) {
            return Ok(());
        }
        let group = self.groups.get_mut(number).context("a group")?;
        group.people.insert(person, Standing::Removed);
        self.figures.removed += 1;
        let request = json!({
            "request": "remove", "group": alias, "member": row["member_id"], "messages": false,
            "timeout_ms": PATIENCE_MS,
        });
        self.ask(owner, What::Other, request)
    }

    fn leave(&mut self, number: usize) -> anyhow::Result<()> {
        let alias = self.groups.get(number).context("a group")?.alias.clone();
        let members = self.members(number);
        let Some(person) = self.world.chance.pick(&members) else { return Ok(()) };
        let is_running = self.world.program(person)?.is_running();
        if !is_running || self.own_row(person, &alias)?.is_none() {
            return Ok(());
        }
        let group = self.groups.get_mut(number).context("a group")?;
        group.people.insert(person, Standing::Left);
        self.ask(person, What::Other, json!({"request": "leave", "group": alias, "timeout_ms": PATIENCE_MS}))
    }

    fn go_away(&mut self) -> anyhow::Result<()> {
        let clients = self.clients.clone();
        let Some(person) = self.world.chance.pick(&clients) else { return Ok(()) };
        let long = self.world.chance.pick(&[MINUTE, 10 * MINUTE, 3 * HOUR]).unwrap_or(MINUTE);
        let ms = self.world.chance.between(SECOND, long);
        self.world.kill(person, "to be away", Some(ms));
        Ok(())
    }

    fn restart_relay(&mut self) -> anyhow::Result<()> {
        let relays = self.relays.clone();
        let Some(relay) = self.world.chance.pick(&relays) else { return Ok(()) };
        let ms = self.world.chance.between(SECOND, 20 * MINUTE);
        self.world.kill(relay, "at its operator's hand", Some(ms));
        Ok(())
    }

    fn change_relays(&mut self, number: usize) -> anyhow::Result<()> {
        let group = self.groups.get(number).context("a group")?;
        let (alias, owner) = (group.alias.clone(), group.owner);
        let is_ready = self.world.program(owner)?.is_running() && group.link.is_some();
        let present: Vec<ProgramId> =
            group.relays.iter().filter(|(_, is_gone)| !**is_gone).map(|(relay, _)| *relay).collect();
        let others: Vec<ProgramId> =
            self.relays.iter().filter(|relay| !group.relays.contains_key(relay)).copied().collect();
        if !is_ready || self.own_row(owner, &alias)?.is_none_or(|row| row["status"] != "active") {
            return Ok(());
        }
        if let Some(relay) = self.world.chance.pick(&others) {
            let name = self.world.program(relay)?.name.clone();
            self.groups.get_mut(number).context("a group")?.relays.insert(relay, false);
            let request = json!({
                "request": "group_relay_add", "group": alias, "relay": name, "code": null, "timeout_ms": PATIENCE_MS,
            });
            return self.ask(owner, What::Other, request);
        }
        // one stays, so that there is somebody to hear by
        let Some(relay) = present.len().checked_sub(2).and_then(|_| self.world.chance.pick(&present)) else {
            return Ok(());
        };
        let name = self.world.program(relay)?.name.clone();
        self.groups.get_mut(number).context("a group")?.relays.insert(relay, true);
        let request = json!({
            "request": "group_relay_remove", "group": alias, "relay": name, "notice": true, "force": false,
                "timeout_ms": PATIENCE_MS,
        });
        self.ask(owner, What::Other, request)
    }

    fn server_down(&mut self) -> anyhow::Result<()> {
        let server = self.world.chance.below(self.world.network.servers.len());
        let long = self.world.chance.pick(&[MINUTE, 10 * MINUTE, HOUR]).unwrap_or(MINUTE);
        let ms = self.world.chance.between(SECOND, long);
        self.world.stop_server(server, ms);
        Ok(())
    }

    fn clock_jumps(&mut self) -> anyhow::Result<()> {
        let program = self.world.chance.below(self.world.programs.len());
        let jump = self.world.chance.pick(&[-5 * MINUTE, -SECOND, MINUTE, HOUR]).unwrap_or(0);
        self.world.jump(program, jump);
        Ok(())
    }

    /// Nothing goes wrong any more, and everybody is there.
    pub(super) fn calm_down(&mut self) -> anyhow::Result<()> {
        self.left = 0;
        self.world.calm_down();
        for relay in self.relays.clone() {
            self.world.start(relay)?;
        }
        for client in self.clients.clone() {
            self.started(client)?;
        }
        Ok(())
    }

    /// Whether people are done with what they wanted to do.
    pub(super) fn is_over(&self) -> bool {
        self.left == 0
    }
}
