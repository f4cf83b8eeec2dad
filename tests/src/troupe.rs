//! A stage on which programs may die at any moment, and are started again as a supervisor would.
//!
//! One program is *armed*: it aborts when it reaches a named crash point. Whoever is found dead is started again,
//! unarmed. What the owner was told to be sent must then reach the member, once.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};

use crate::binaries::tested;
use crate::process::{PATIENCE, Process};
use crate::stage::GROUP;
use crate::world::{Person, Relay, Server, World, text};

/// Exit codes of `conclave` that mean "ask again": another process held the home, or a part of it died meanwhile.
const ASK_AGAIN: [i32; 5] = [1, 4, 11, 13, 17];

/// Exit codes of `conclave` that mean "an earlier attempt did it": it is there already, the group has ended.
const DONE_BEFORE: [i32; 2] = [7, 12];

/// Who is made to abort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The queue server.
    Server,
    /// The first relay.
    Relay,
    /// The owner's `listen`.
    Owner,
    /// The member's `listen`.
    Member,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Server, Self::Relay, Self::Owner, Self::Member];
}

/// The programs, and how often one was found dead.
#[derive(Debug)]
pub struct Troupe {
    world: World,
    server: Server,
    relays: Vec<Relay>,
    owner: Person,
    member: Person,
    owner_listens: Option<Process>,
    member_listens: Option<Process>,
    armed: Option<(Part, String)>,
    /// How often a program was found dead and started again.
    pub deaths: usize,
}

impl Troupe {
    /// Starts a server, a relay and two people; `armed` aborts at its point.
    ///
    /// # Errors
    /// When a program that is not armed does not come up.
    pub fn start(armed: Option<(Part, &str)>) -> anyhow::Result<Self> {
        let world = World::new(tested())?;
        let server = world.server("server")?;
        let relay = world.relay("relay-1", &server)?;
        let owner = world.person("Olga", &[&server])?;
        owner.ok(&["relay", "add", &relay.name, relay.link()])?;
        let member = world.person("Ann", &[&server])?;
        let armed = armed.map(|(part, point)| (part, point.to_owned()));
        let mut troupe = Self {
            world,
            server,
            relays: vec![relay],
            owner,
            member,
            owner_listens: None,
            member_listens: None,
            armed,
            deaths: 0,
        };
        troupe.arm()?;
        Ok(troupe)
    }

    /// The whole life of a group: made, joined, talked in, its relay replaced. Every request is asked again until it
    /// is done; gives what the member must show.
    ///
    /// # Errors
    /// When the group does not converge.
    pub fn play(&mut self) -> anyhow::Result<Vec<String>> {
        let mut expected = Vec::new();
        self.owner_does(&[
            "group",
            "create",
            GROUP,
            "--joiner-role",
            "member",
            "--review",
            "--timeout",
            "20",
        ])?;
        let link = self.until("the link", |troupe| Ok(troupe.owner.group_link(GROUP).ok()))?;
        self.come_in(&link)?;
        self.owner_does(&["group", "profile", GROUP, "--review", "off", "--timeout", "20"])?;
        // The relay finds itself listed at its next look at the group link; only then may it be taken out again.
        self.until("the relay finds itself listed", |troupe| {
            let listed = troupe.reached(Part::Relay)?.contains("relay.group.active.durable");
            Ok((listed || troupe.deaths > 0).then_some(()))
        })?;
        self.say("one", &mut expected)?;
        self.say("two", &mut expected)?;
        self.has(&expected)?;
        self.member_says("three", &mut expected)?;
        self.has(&expected)?;

        let second = self.world.relay("relay-2", &self.server)?;
        self.owner_does(&["relay", "add", "relay-2", second.link()])?;
        self.relays.push(second);
        self.owner_does(&["group", "relay", "add", GROUP, "relay-2", "--timeout", "20"])?;
        self.until("the member finds relay-2", |troupe| troupe.active(&troupe.member.clone(), 2))?;
        self.say("four", &mut expected)?;
        self.has(&expected)?;
        self.owner_does(&["group", "relay", "remove", GROUP, "relay-1", "--timeout", "20"])?;
        self.until("the member leaves relay-1", |troupe| troupe.has_left("relay-1"))?;
        self.say("five", &mut expected)?;
        self.has(&expected)?;
        self.govern()?;
        self.replace_last_relay(&mut expected)?;
        self.take_over(&mut expected)?;
        self.owner_does(&["group", "delete", GROUP, "--timeout", "20"])?;
        self.until("the member sees the end", |troupe| {
            Ok((group_status(&troupe.member).as_deref() == Some("deleted")).then_some(()))
        })?;
        Ok(expected)
    }

    /// The member knocks until the owner has let it in.
    fn come_in(&mut self, link: &str) -> anyhow::Result<()> {
        self.until("the member is let in", |troupe| {
            let asked = troupe.member.run(&["join", link, "--timeout", "5"])?;
            let is_asked = asked.code == 0 || [&ASK_AGAIN[..], &DONE_BEFORE].concat().contains(&asked.code);
            ensure!(is_asked, "join: {} {}", asked.code, asked.talk);
            let knocks = troupe.owner.run(&["knocks", GROUP])?;
            for row in knocks.of_type("member") {
                // Asked again if the answer was lost.
                troupe.owner.run(&["accept", GROUP, &text(row, "member_id")?, "--timeout", "5"])?;
            }
            troupe.active(&troupe.member.clone(), 1)
        })
    }

    /// The owner's other work: the profile, a guest's role, the guest's removal.
    fn govern(&mut self) -> anyhow::Result<()> {
        self.owner_does(&["group", "profile", GROUP, "--description", "All that is new", "--timeout", "20"])?;
        let guest = self.world.person("Gil", &[&self.server])?;
        let _listening = guest.listen()?;
        let link = self.until("the link", |troupe| Ok(troupe.owner.group_link(GROUP).ok()))?;
        self.does(&guest, &["join", &link, "--timeout", "20"])?;
        let id = self.until("the owner knows the guest", |troupe| {
            let Ok(answer) = troupe.owner.ok(&["members", GROUP]) else { return Ok(None) };
            let row = answer.of_type("member").find(|row| text(row, "name").is_ok_and(|name| name == "Gil"));
            row.map(|row| text(row, "member_id")).transpose()
        })?;
        self.owner_does(&["role", GROUP, &id, "moderator", "--timeout", "20"])?;
        self.owner_does(&["remove", GROUP, &id, "--timeout", "20"])?;
        self.until("the guest sees its removal", |_| {
            Ok((group_status(&guest).as_deref() == Some("removed")).then_some(()))
        })
    }

    /// The last relay goes, another comes, and the member follows by the group link.
    fn replace_last_relay(&mut self, expected: &mut Vec<String>) -> anyhow::Result<()> {
        self.owner_does(&["group", "relay", "remove", GROUP, "relay-2", "--force", "--timeout", "20"])?;
        self.until("the member leaves relay-2", |troupe| troupe.has_left("relay-2"))?;
        let third = self.world.relay("relay-3", &self.server)?;
        self.owner_does(&["relay", "add", "relay-3", third.link()])?;
        self.relays.push(third);
        self.owner_does(&["group", "relay", "add", GROUP, "relay-3", "--timeout", "20"])?;
        self.until("the member finds relay-3", |troupe| troupe.active(&troupe.member.clone(), 1))?;
        self.say("six", expected)?;
        self.has(expected)
    }

    /// The owner's device is lost; another one goes on with the exported keys.
    fn take_over(&mut self, expected: &mut Vec<String>) -> anyhow::Result<()> {
        let archive = self.world.path().join("owner.conclave").display().to_string();
        self.until("the export", |troupe| {
            let _incomplete = std::fs::remove_file(&archive);
            let answer = troupe.owner.run(&["export", "--group", GROUP, &archive])?;
            Ok((answer.code == 0).then_some(()))
        })?;
        self.owner_listens = None;
        self.owner = self.world.person("Olga-2", &[&self.server])?;
        let environment = self.environment(Part::Owner);
        let environment: Vec<(&str, &str)> =
            environment.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        self.owner_listens = self.owner.listen_with(&environment).ok();
        self.owner_does(&["import", "--group", &archive, "--timeout", "20"])?;
        self.until("the new device connects", |troupe| troupe.active(&troupe.owner.clone(), 1))?;
        self.say("seven", expected)?;
        let member = self.member.clone();
        self.shows(&member, expected)
    }

    /// The crash points that this part reached.
    ///
    /// # Errors
    /// When its trace cannot be read.
    pub fn reached(&self, part: Part) -> anyhow::Result<BTreeSet<String>> {
        let trace = self.trace(part);
        if !trace.exists() {
            return Ok(BTreeSet::new());
        }
        Ok(std::fs::read_to_string(trace)?.lines().map(str::to_owned).collect())
    }

    fn trace(&self, part: Part) -> PathBuf {
        self.world.path().join(format!("{part:?}.trace"))
    }

    fn environment(&self, part: Part) -> Vec<(String, String)> {
        let trace = ("CONCLAVE_CRASH_TRACE".to_owned(), self.trace(part).display().to_string());
        let arm = self.armed.as_ref().filter(|(armed, _)| *armed == part);
        let point = arm.map(|(_, point)| ("CONCLAVE_CRASH_POINT".to_owned(), point.clone()));
        std::iter::once(trace).chain(point).collect()
    }

    /// Starts everything again with its point armed.
    fn arm(&mut self) -> anyhow::Result<()> {
        for part in Part::ALL {
            let environment = self.environment(part);
            let environment: Vec<(&str, &str)> =
                environment.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            // An armed program may die while it starts; `tend` finds it.
            match part {
                Part::Server => {
                    self.server.kill()?;
                    drop(self.server.start(&environment));
                }
                Part::Relay => {
                    let relay = self.relays.first_mut().context("There is a relay")?;
                    relay.kill()?;
                    drop(relay.start(&environment));
                }
                Part::Owner => self.owner_listens = self.owner.listen_with(&environment).ok(),
                Part::Member => self.member_listens = self.member.listen_with(&environment).ok(),
            }
        }
        self.tend()
    }

    /// Starts again, unarmed, whoever is dead.
    fn tend(&mut self) -> anyhow::Result<()> {
        if !self.server.process().is_ok_and(Process::is_running) {
            self.deaths += 1;
            self.server.start(&[])?;
        }
        for relay in &mut self.relays {
            if !relay.process().is_ok_and(Process::is_running) {
                self.deaths += 1;
                relay.start(&[])?;
            }
        }
        for (person, listens) in
            [(&self.owner, &mut self.owner_listens), (&self.member, &mut self.member_listens)]
        {
            if !listens.as_mut().is_some_and(Process::is_running) {
                self.deaths += 1;
                *listens = Some(person.listen()?);
            }
        }
        Ok(())
    }

    fn until<T>(
        &mut self,
        what: &str,
        mut found: impl FnMut(&mut Self) -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.tend()?;
            if let Some(value) = found(self)? {
                return Ok(value);
            }
            if Instant::now() > deadline {
                bail!("{what}: not in time, with {:?} armed, {} deaths", self.armed, self.deaths);
            }
        }
    }

    fn owner_does(&mut self, arguments: &[&str]) -> anyhow::Result<()> {
        let owner = self.owner.clone();
        self.does(&owner, arguments)
    }

    /// Asks until it is done, or was done by an earlier attempt whose answer was lost.
    fn does(&mut self, person: &Person, arguments: &[&str]) -> anyhow::Result<()> {
        self.until(&format!("{arguments:?}"), |_| {
            let answer = person.run(arguments)?;
            if answer.code == 0 || DONE_BEFORE.contains(&answer.code) {
                return Ok(Some(()));
            }
            ensure!(ASK_AGAIN.contains(&answer.code), "{arguments:?}: {} {}", answer.code, answer.talk);
            Ok(None)
        })
    }

    fn say(&mut self, words: &str, expected: &mut Vec<String>) -> anyhow::Result<()> {
        let owner = self.owner.clone();
        self.speaks(&owner, words)?;
        expected.push(words.to_owned());
        Ok(())
    }

    fn member_says(&mut self, words: &str, expected: &mut Vec<String>) -> anyhow::Result<()> {
        let member = self.member.clone();
        self.speaks(&member, words)?;
        expected.push(words.to_owned());
        Ok(())
    }

    /// Says it once: an attempt that failed after it was written down goes out by itself.
    fn speaks(&mut self, person: &Person, words: &str) -> anyhow::Result<()> {
        let mut in_doubt = false;
        self.until(&format!("saying {words:?}"), |_| {
            if in_doubt {
                // It may have been written down before something died: only what is surely not there is said again.
                match person.texts(GROUP) {
                    Ok(texts) if texts.iter().any(|text| text == words) => return Ok(Some(())),
                    Ok(_) => {}
                    Err(_) => return Ok(None),
                }
            }
            in_doubt = true;
            Ok((person.run(&["send", GROUP, words, "--timeout", "5"])?.code == 0).then_some(()))
        })
    }

    fn active(&mut self, person: &Person, count: usize) -> anyhow::Result<Option<()>> {
        let relays = person.relays(GROUP).unwrap_or_default();
        Ok((relays.iter().filter(|(_, status)| status == "active").count() >= count).then_some(()))
    }

    fn has_left(&mut self, relay: &str) -> anyhow::Result<Option<()>> {
        let Ok(relays) = self.member.relays(GROUP) else { return Ok(None) };
        Ok(relays.iter().all(|(name, status)| name != relay || status != "active").then_some(()))
    }

    /// Waits until both have exactly these texts.
    fn has(&mut self, expected: &[String]) -> anyhow::Result<()> {
        let people = [self.owner.clone(), self.member.clone()];
        people.iter().try_for_each(|person| self.shows(person, expected))
    }

    /// Waits until a person has exactly these texts: in any order, as answers may cross, but each once.
    fn shows(&mut self, person: &Person, expected: &[String]) -> anyhow::Result<()> {
        let mut last = Vec::new();
        let found = self.until(&format!("{} has {expected:?}", person.name), |_| {
            last = person.texts(GROUP).unwrap_or_default();
            Ok((last.len() >= expected.len()).then_some(()))
        });
        found.with_context(|| format!("{} has {last:?}", person.name))?;
        let (mut got, mut wanted) = (last.clone(), expected.to_vec());
        got.sort();
        wanted.sort();
        ensure!(got == wanted, "{} has {last:?} instead of {expected:?}", person.name);
        Ok(())
    }
}

/// How the group stands for a person; nothing when the question failed.
fn group_status(person: &Person) -> Option<String> {
    let answer = person.ok(&["group", "list"]).ok()?;
    text(answer.of_type("group").next()?, "status").ok()
}
