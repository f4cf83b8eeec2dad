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
use crate::world::{Person, Relay, Server, World};

/// Exit codes of `conclave` that mean "ask again": another process held the home, or a part of it died meanwhile.
const ASK_AGAIN: [i32; 5] = [1, 4, 11, 13, 17];

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
        self.owner_does(&["group", "create", GROUP, "--joiner-role", "member", "--timeout", "20"])?;
        let link = self.until("the link", |troupe| Ok(troupe.owner.group_link(GROUP).ok()))?;
        self.member_does(&["join", &link, "--timeout", "20"])?;
        self.connected()?;
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
        self.until("the member leaves relay-1", |troupe| {
            let relays = troupe.member.relays(GROUP).unwrap_or_default();
            let gone = relays.iter().all(|(name, status)| name != "relay-1" || status != "active");
            Ok((gone && !relays.is_empty()).then_some(()))
        })?;
        self.say("five", &mut expected)?;
        self.has(&expected)?;
        Ok(expected)
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

    fn member_does(&mut self, arguments: &[&str]) -> anyhow::Result<()> {
        let member = self.member.clone();
        self.does(&member, arguments)
    }

    /// Asks until it is done, or was done by an earlier attempt whose answer was lost.
    fn does(&mut self, person: &Person, arguments: &[&str]) -> anyhow::Result<()> {
        self.until(&format!("{arguments:?}"), |_| {
            let answer = person.run(arguments)?;
            const ALREADY_THERE: i32 = 7;
            if answer.code == 0 || answer.code == ALREADY_THERE {
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
        self.until(&format!("saying {words:?}"), |_| {
            if person.run(&["send", GROUP, words, "--timeout", "5"])?.code == 0 {
                return Ok(Some(()));
            }
            Ok(person.texts(GROUP).unwrap_or_default().iter().any(|text| text == words).then_some(()))
        })
    }

    fn connected(&mut self) -> anyhow::Result<()> {
        self.until("the member connects", |troupe| troupe.active(&troupe.member.clone(), 1))
    }

    fn active(&mut self, person: &Person, count: usize) -> anyhow::Result<Option<()>> {
        let relays = person.relays(GROUP).unwrap_or_default();
        Ok((relays.iter().filter(|(_, status)| status == "active").count() >= count).then_some(()))
    }

    /// Waits until both have exactly these texts: in any order, as answers may cross, but each once.
    fn has(&mut self, expected: &[String]) -> anyhow::Result<()> {
        for person in [self.owner.clone(), self.member.clone()] {
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
        }
        Ok(())
    }
}
