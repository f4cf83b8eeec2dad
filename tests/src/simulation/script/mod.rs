//! What people do, and what is done to them: drawn from the seed as the run goes on.

mod cast;
mod deeds;
mod governing;
mod hearing;
mod mishaps;
#[cfg(test)]
mod scenes;

use std::collections::BTreeMap;

use client::headless::Replies;
use serde_json::{Value, json};

use super::agenda::Moment;
use super::ledger::Group;
use super::network::ProgramId;
use super::world::{Happening, World};

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
    /// Clients whose people look at what comes, with the life in which they began to.
    looking: BTreeMap<ProgramId, u64>,
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
    /// Posts that were to be changed or deleted.
    pub changes: u64,
    /// Rights that were to be given or taken.
    pub rights: u64,
    /// Joiners about whom it was decided.
    pub decided: u64,
    /// Groups that were to end.
    pub ended: u64,
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
    /// Starts a client, which then shows what comes, unless its person looks later.
    fn started(&mut self, id: ProgramId) -> anyhow::Result<()> {
        if self.world.start(id)? && self.world.chance.happens(8_000) {
            self.follow(id)?;
        }
        Ok(())
    }

    fn follow(&mut self, id: ProgramId) -> anyhow::Result<()> {
        let life = self.world.program(id)?.life;
        self.looking.insert(id, life);
        self.ask(id, What::Follow, json!({"request": "listen", "group": null, "history": false}))
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
        match self.world.chance.below(120) {
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
            97..=99 => self.restart_relay(),
            100..=106 => self.change_post(number),
            107..=111 => self.change_rights(number),
            112..=117 => self.decide(number),
            118 => self.change_profile(number),
            _ => self.end_group(number),
        }
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
            self.check_unread(client)?;
            if self.looking.get(&client) != Some(&self.world.program(client)?.life) {
                self.follow(client)?;
            }
        }
        Ok(())
    }

    /// Whether people are done with what they wanted to do.
    pub(super) fn is_over(&self) -> bool {
        self.left == 0
    }
}
