//! A stage on which programs may die at any moment, and are started again as a supervisor would.
//!
//! One program is *armed*: it aborts at each of several named crash points, once. Whoever is found dead is started
//! again. What the owner was told to be sent must then reach the member, once.

mod life;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use crate::binaries::tested;
use crate::process::{PATIENCE, Process};
use crate::stage::GROUP;
use crate::world::{Person, Relay, Server, World};

/// Exit codes of `conclave` that mean "ask again": another process held the home, or a part of it died meanwhile.
const ASK_AGAIN: [i32; 5] = [1, 4, 11, 13, 17];

/// How long an answer is waited for that may never come.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// Between two looks at who died, and at what is waited for: not all questions are commands, and none shall spin.
const TEND_EVERY: Duration = Duration::from_millis(20);

/// The longest pause between two looks at what is waited for; it doubles. A question that is a command takes time from those
/// whom it waits for.
const ASK_EVERY_MAX: Duration = Duration::from_millis(320);

/// Exit codes of `conclave` that mean "an earlier attempt did it": it is there already, the group has ended.
const DONE_BEFORE: [i32; 2] = [7, 12];

/// Settings of the armed relay, beside those of all: who is so far behind, or so old, is soon passed over, and an answer
/// that nobody fetches is soon given up.
const HASTE: [(&str, &str); 3] = [
    ("CHAT_RELAY_MEMBER_BACKLOG_MAX", "4"),
    ("CHAT_RELAY_CLEANING_INTERVAL", "1s"),
    ("CHAT_RELAY_REFUSAL_TTL", "5s"),
];

/// Who is made to abort.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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
    armed: Option<(Part, Vec<String>)>,
    /// How often a program was found dead and started again.
    pub deaths: usize,
}

impl Troupe {
    /// Starts a server, a relay and two people; `armed` aborts at each of its points.
    ///
    /// # Errors
    /// When a program that is not armed does not come up.
    pub fn start(armed: Option<(Part, Vec<String>)>) -> anyhow::Result<Self> {
        let world = World::new(tested())?;
        let server = world.server("server")?;
        let relay = world.relay("relay-1", &server)?;
        let owner = world.person("Olga", &[&server])?;
        let member = world.person("Ann", &[&server])?;
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

    /// Does what waits for programs that may have to be started again meanwhile, and is patient itself.
    fn tended<T: Send>(
        &mut self,
        what: &str,
        act: impl FnOnce() -> anyhow::Result<T> + Send,
    ) -> anyhow::Result<T> {
        let done = std::thread::scope(|scope| {
            let (sender, done) = channel();
            scope.spawn(move || sender.send(act()));
            loop {
                self.tend()?;
                match done.recv_timeout(TEND_EVERY) {
                    Ok(done) => return done,
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => bail!("panicked"),
                }
            }
        });
        done.with_context(|| format!("{what}, with {:?} armed, {} deaths", self.armed, self.deaths))
    }

    /// Waits until a step of the relay is durable, doing what leads to it again and again: it may have come too early.
    fn relay_reached(
        &mut self,
        step: &str,
        mut lead: impl FnMut(&mut Self) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let durable = format!("{step}.durable");
        let mut led = None::<Instant>;
        self.until(step, |troupe| {
            if troupe.reached(Part::Relay)?.contains(&durable) {
                return Ok(Some(()));
            }
            if led.is_none_or(|led| led.elapsed() > ASK_AGAIN_AFTER) {
                lead(troupe)?;
                led = Some(Instant::now());
            }
            Ok(None)
        })
    }

    /// The crash points that this part reached, in the order in which it first did.
    ///
    /// # Errors
    /// When its trace cannot be read.
    pub fn reached(&self, part: Part) -> anyhow::Result<Vec<String>> {
        // Each run of a program writes its own.
        let mut seen = BTreeSet::new();
        let mut reached = lines(&self.trace(part))?;
        reached.retain(|point| seen.insert(point.clone()));
        Ok(reached)
    }

    /// The armed points at which nobody has aborted yet.
    fn unspent(&self) -> anyhow::Result<Vec<String>> {
        let Some((part, points)) = &self.armed else { return Ok(Vec::new()) };
        let spent = lines(&self.spent(*part))?;
        Ok(points.iter().filter(|point| !spent.contains(point)).cloned().collect())
    }

    fn trace(&self, part: Part) -> PathBuf {
        self.world.path().join(format!("{part:?}.trace"))
    }

    fn spent(&self, part: Part) -> PathBuf {
        self.world.path().join(format!("{part:?}.spent"))
    }

    fn environment(&self, part: Part) -> Vec<(String, String)> {
        let mut environment =
            vec![("CONCLAVE_CRASH_TRACE".to_owned(), self.trace(part).display().to_string())];
        if let Some((_, points)) = self.armed.as_ref().filter(|(armed, _)| *armed == part) {
            environment.push(("CONCLAVE_CRASH_POINT".to_owned(), points.join(",")));
            environment.push(("CONCLAVE_CRASH_SPENT".to_owned(), self.spent(part).display().to_string()));
        }
        if part == Part::Relay {
            environment.extend(HASTE.map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
        environment
    }

    /// Starts everything again as it goes on from here.
    fn arm(&mut self) -> anyhow::Result<()> {
        self.server.kill()?;
        self.relays.iter_mut().try_for_each(Relay::kill)?;
        self.tend()?;
        self.deaths = 0;
        Ok(())
    }

    /// Starts again whoever is dead.
    fn tend(&mut self) -> anyhow::Result<()> {
        let [server, first_relay, owner, member] = Part::ALL.map(|part| self.environment(part));
        let armed = self.armed.as_ref().map(|(part, _)| *part);
        // An armed program may die while it starts: it is found dead the next time.
        let alive = |part: Option<Part>, started: anyhow::Result<()>| match part {
            Some(part) if armed == Some(part) => Ok(()),
            _ => started,
        };
        if !self.server.process().is_ok_and(Process::is_running) {
            self.deaths += 1;
            alive(Some(Part::Server), start(&server, |environment| self.server.start(environment)))?;
        }
        for (number, relay) in self.relays.iter_mut().enumerate() {
            if !relay.process().is_ok_and(Process::is_running) {
                self.deaths += 1;
                let (part, environment) =
                    if number == 0 { (Some(Part::Relay), &first_relay[..]) } else { (None, &[][..]) };
                alive(part, start(environment, |environment| relay.start(environment)))?;
            }
        }
        for (part, person, listens, environment) in [
            (Part::Owner, &self.owner, &mut self.owner_listens, &owner),
            (Part::Member, &self.member, &mut self.member_listens, &member),
        ] {
            if !listens.as_mut().is_some_and(Process::is_running) {
                self.deaths += 1;
                let started = start(environment, |environment| {
                    *listens = Some(person.listen_with(environment)?);
                    Ok(())
                });
                alive(Some(part), started)?;
            }
        }
        Ok(())
    }

    /// The group's link, as its owner knows it.
    fn link(&mut self) -> anyhow::Result<String> {
        self.until("the link", |troupe| Ok(troupe.owner.group_link(GROUP).ok()))
    }

    /// Asks the first relay as its operator until it answers.
    fn relay_does(&mut self, arguments: &[&str]) -> anyhow::Result<Value> {
        let mut last = None;
        let done = self.until(&format!("ctl {arguments:?}"), |troupe| {
            let relay = troupe.relays.first().context("There is a relay")?;
            match relay.ctl(arguments) {
                Ok(answer) => Ok(Some(answer)),
                Err(error) => {
                    last = Some(error);
                    Ok(None)
                }
            }
        });
        done.with_context(|| format!("the relay said {last:?}"))
    }

    fn until<T>(
        &mut self,
        what: &str,
        mut found: impl FnMut(&mut Self) -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        let deadline = Instant::now() + PATIENCE;
        let mut pause = TEND_EVERY;
        loop {
            self.tend()?;
            if let Some(value) = found(self)? {
                return Ok(value);
            }
            if Instant::now() > deadline {
                bail!("{what}: not in time, with {:?} armed, {} deaths", self.armed, self.deaths);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(ASK_EVERY_MAX);
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

/// Starts something with more environment.
fn start<T>(
    environment: &[(String, String)],
    start: impl FnOnce(&[(&str, &str)]) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let environment: Vec<_> = environment.iter().map(|(name, value)| (&**name, &**value)).collect();
    start(&environment)
}

/// The lines of a file; none when there is none.
fn lines(path: &Path) -> anyhow::Result<Vec<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}
