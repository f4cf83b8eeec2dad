//! A stage on which programs may die at any moment, and are started again as a supervisor would.
//!
//! One program is *armed*: it aborts at each of several named crash points, once. Whoever is found dead is started
//! again. What the owner was told to be sent must then reach the member, once.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use protocol::agent::store::ConnectionId;
use protocol::crypto::sign::Ed25519PublicKey;
use protocol::group::event::group::RosterRequest;
use protocol::group::event::{Event as Said, Message};
use protocol::group::identity::MemberKey;
use serde_json::Value;

use crate::binaries::tested;
use crate::process::{PATIENCE, Process};
use crate::stage::GROUP;
use crate::stranger::Stranger;
use crate::tampering::queues;
use crate::world::{Person, Relay, Server, World, text};

/// Exit codes of `conclave` that mean "ask again": another process held the home, or a part of it died meanwhile.
const ASK_AGAIN: [i32; 5] = [1, 4, 11, 13, 17];

/// How long an answer is waited for that may never come.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// Between two looks at who died, and at what is waited for: not all questions are commands, and none shall spin.
const TEND_EVERY: Duration = Duration::from_millis(20);

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

    /// The whole life of a group: let in by code, made, joined, talked in, governed, kept back, its relays replaced,
    /// rejected and forgiven, its owner's device lost. Every request is asked again until it is done.
    ///
    /// # Errors
    /// When the group does not converge, or an armed point was not reached.
    pub fn play(&mut self) -> anyhow::Result<()> {
        let mut expected = Vec::new();
        self.let_in_by_code()?;
        let create = ["group", "create", GROUP, "--joiner-role", "member", "--review", "--timeout", "20"];
        self.owner_does(&create)?;
        let link = self.link()?;
        self.come_in(&link)?;
        self.owner_does(&["group", "profile", GROUP, "--review", "off", "--timeout", "20"])?;
        // The relay finds itself listed at its next look at the group link; only then may it be taken out again.
        self.until("the relay finds itself listed", |troupe| {
            let listed =
                troupe.reached(Part::Relay)?.iter().any(|point| point == "relay.group.active.durable");
            Ok(listed.then_some(()))
        })?;
        // A guest's role and removal go ahead, and come in their turn.
        self.doubled(&[self.owner.clone(), self.member.clone()])?;
        self.say("one", &mut expected)?;
        self.say("two", &mut expected)?;
        self.has(&expected)?;
        self.govern(&mut expected)?;
        self.fall_behind(&mut expected)?;

        let second = self.world.relay("relay-2", &self.server)?;
        self.owner_does(&["relay", "add", "relay-2", second.link()])?;
        self.relays.push(second);
        self.owner_does(&["group", "relay", "add", GROUP, "relay-2", "--timeout", "20"])?;
        self.until("the member finds relay-2", |troupe| troupe.active(&troupe.member.clone(), 2))?;
        self.say("through two", &mut expected)?;
        self.has(&expected)?;
        self.relay_reached("relay.peer.let_in", |_| Ok(()))?;
        let remove = ["group", "relay", "remove", GROUP, "relay-1", "--without-notice", "--timeout", "20"];
        self.owner_does(&remove)?;
        self.until("the member leaves relay-1", |troupe| troupe.has_left("relay-1"))?;
        self.say("through the second", &mut expected)?;
        self.has(&expected)?;
        self.first_relay_is_free()?;
        self.replace_last_relay(&mut expected)?;
        self.reject(&mut expected)?;
        self.take_over(&mut expected)?;
        self.owner_does(&["group", "delete", GROUP, "--timeout", "20"])?;
        self.until("the member sees the end", |troupe| {
            Ok((group_status(&troupe.member).as_deref() == Some("deleted")).then_some(()))
        })?;
        self.until("every armed point", |troupe| Ok(troupe.unspent()?.is_empty().then_some(())))
            .with_context(|| format!("not reached: {:?}", self.unspent()))
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

    /// The relay takes groups by code alone, and the owner has one.
    fn let_in_by_code(&mut self) -> anyhow::Result<()> {
        let key = serde_json::to_value(MemberKey(Ed25519PublicKey([7; 32])))?;
        self.relay_does(&["allow", key.as_str().context("A key is text")?, "--note", "somebody"])?;
        self.relay_does(&["access", "codes"])?;
        let issued = self.relay_does(&["codes", "issue"])?;
        let file = self.world.path().join("code").display().to_string();
        std::fs::write(&file, text(&issued, "code")?)?;
        let link = self.relays.first().context("There is a relay")?.link().to_owned();
        self.owner_does(&["relay", "add", "relay-1", &link, "--code-file", &file])
    }

    /// Somebody else joins, and listens.
    fn guest(&mut self, name: &str) -> anyhow::Result<(Person, Process)> {
        let guest = self.world.person(name, &[&self.server])?;
        self.join(guest)
    }

    fn join(&mut self, guest: Person) -> anyhow::Result<(Person, Process)> {
        let listening = guest.listen()?;
        let link = self.link()?;
        self.does(&guest, &["join", &link, "--timeout", "20"])?;
        self.until("the guest connects", |troupe| troupe.active(&guest, 1))?;
        Ok((guest, listening))
    }

    /// The owner's other work: the profile, a guest's role and removal. Another guest leaves.
    fn govern(&mut self, expected: &mut Vec<String>) -> anyhow::Result<()> {
        self.owner_does(&["group", "profile", GROUP, "--description", "All that is new", "--timeout", "20"])?;
        let (gil, _listening) = self.guest("Gil")?;
        let (hal, _listening) = self.guest("Hal")?;
        // The guests meet the member by its words.
        self.member_says("three", expected)?;
        self.has(expected)?;
        self.shows(&gil, expected)?;
        let id = self.until("the owner knows the guest", |troupe| {
            let Ok(answer) = troupe.owner.ok(&["members", GROUP]) else { return Ok(None) };
            let row = answer.of_type("member").find(|row| text(row, "name").is_ok_and(|name| name == "Gil"));
            row.map(|row| text(row, "member_id")).transpose()
        })?;
        self.does(&hal, &["leave", GROUP, "--timeout", "20"])?;
        let (link, server) = (self.link()?, self.server.address().to_owned());
        let address = self.relays.first().context("There is a relay")?.link().to_owned();
        let mut stranger = Stranger::new()?;
        let connection = self.tended("a stranger is in, and claims to be the owner", || {
            let connection = stranger.join(&link, &server)?;
            stranger.ask_and_go(&address, &server)?;
            stranger.claim(&link, &address, &server)?;
            Ok(connection)
        })?;
        self.owner_does(&["role", GROUP, &id, "moderator", "--timeout", "20"])?;
        // Who says that it missed that is given the roster.
        self.relay_reached("relay.roster.served", |troupe| {
            let asks = Message::new(None, Said::RosterRequest(RosterRequest { version: Some(0) }));
            troupe.tended("the stranger asks", || stranger.say(connection, &asks.to_json()))
        })?;
        // Before anything is held: what is durable in the same commit as a step at which the relay dies leaves no trace, and
        // an item is held once.
        self.relay_reached("relay.connection.expired", |troupe| {
            troupe.tended("the stranger asks and goes", || stranger.ask_and_go(&address, &server))
        })?;
        self.hold_back(stranger, connection, expected)?;
        self.owner_does(&["remove", GROUP, &id, "--timeout", "20"])?;
        self.until("the guest sees its removal", |_| {
            Ok((group_status(&gil).as_deref() == Some("removed")).then_some(()))
        })
    }

    /// A stranger wants new keys: what is said before they are agreed on is held for it, and comes then.
    fn hold_back(
        &mut self,
        mut stranger: Stranger,
        connection: ConnectionId,
        expected: &mut Vec<String>,
    ) -> anyhow::Result<()> {
        self.tended("the stranger wants new keys", || stranger.wants_new_keys(connection))?;
        let mut words = String::new();
        self.relay_reached("relay.item.held", |troupe| {
            words = format!("held {}", expected.len());
            troupe.say(&words, expected)
        })?;
        self.tended("what was held for the stranger", || stranger.hears(connection, &words))?;
        self.has(expected)
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

    /// Waits until people have two connections each.
    fn doubled(&mut self, people: &[Person]) -> anyhow::Result<()> {
        self.until("two connections each", |_| {
            let is_doubled = |person: &Person| {
                let Ok(answer) = person.ok(&["group", "relays", GROUP]) else { return false };
                answer
                    .of_type("group_relay")
                    .any(|row| row.get("two_connections") == Some(&Value::Bool(true)))
            };
            Ok(people.iter().all(is_doubled).then_some(()))
        })
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

    /// So much is kept back that the member is passed over, and a guest, for whom a part is on its way: both ask for it. Then
    /// the guest's queue is gone.
    fn fall_behind(&mut self, expected: &mut Vec<String>) -> anyhow::Result<()> {
        let elsewhere = self.world.server("server-2")?;
        let (ida, mut listening) = self.join(self.world.person("Ida", &[&elsewhere])?)?;
        self.shows(&ida, expected)?;
        self.doubled(std::slice::from_ref(&ida))?;
        listening.kill()?;
        let blocked = queues(&elsewhere)?;
        for queue in &blocked {
            elsewhere.ctl(&["block", &queue.to_string(), "--reason", "spam"])?;
        }
        self.say("not for Ida yet", expected)?;
        self.until("a request is tried again", |troupe| {
            let relay = troupe.relays.first().context("There is a relay")?;
            let Ok(answer) = relay.ctl(&["jobs"]) else { return Ok(None) };
            let kinds = answer.get("jobs").and_then(Value::as_array).context("A list")?;
            let retrying = kinds.iter().filter_map(|kind| kind.get("retrying")?.as_u64()).sum::<u64>();
            Ok((retrying > 0).then_some(()))
        })?;
        self.relay_does(&["pause"])?;
        for number in 1..=6 {
            self.say(&format!("kept back {number}"), expected)?;
        }
        self.relay_reached("relay.members.passed_over", |_| Ok(()))?;
        self.relay_reached("relay.item.made_anew", |_| Ok(()))?;
        for queue in &blocked {
            elsewhere.ctl(&["unblock", &queue.to_string()])?;
        }
        self.relay_does(&["resume"])?;
        listening = ida.listen()?;
        self.has(expected)?;
        self.shows(&ida, expected)?;

        listening.kill()?;
        for queue in queues(&elsewhere)? {
            elsewhere.ctl(&["delete", &queue.to_string()])?;
        }
        self.say("not for Ida any more", expected)?;
        self.relay_reached("relay.item.given_up", |_| Ok(()))?;
        self.has(expected)
    }

    /// The last relay goes, the first comes back by a new invitation, and the member follows by the group link.
    fn replace_last_relay(&mut self, expected: &mut Vec<String>) -> anyhow::Result<()> {
        self.owner_does(&["group", "relay", "remove", GROUP, "relay-2", "--force", "--timeout", "20"])?;
        self.until("the member leaves relay-2", |troupe| troupe.has_left("relay-2"))?;
        self.relay_does(&["access", "everyone"])?;
        self.invite_first_relay()?;
        self.say("through the first again", expected)?;
        self.has(expected)
    }

    /// The relay's operator wants no more of it, and changes his mind.
    fn reject(&mut self, expected: &mut Vec<String>) -> anyhow::Result<()> {
        let link = self.link()?;
        self.relay_does(&["reject", &link])?;
        for person in [self.owner.clone(), self.member.clone()] {
            self.until("the relay's leave", |_| {
                let Ok(relays) = person.relays(GROUP) else { return Ok(None) };
                Ok(relays.iter().all(|(_, status)| status != "active").then_some(()))
            })?;
        }
        self.first_relay_is_free()?;
        self.until("the refusal", |troupe| {
            let Ok(answer) = troupe.owner.ok(&["group", "relays", GROUP]) else { return Ok(None) };
            let said =
                |row: &Value| text(row, "reason").is_ok_and(|reason| reason.contains("left this group"));
            if answer.of_type("group_relay").any(said) {
                return Ok(Some(()));
            }
            troupe.owner.run(&["group", "relay", "add", GROUP, "relay-1", "--timeout", "10"])?;
            Ok(None)
        })?;
        self.until("no rejection", |troupe| {
            let relay = troupe.relays.first().context("There is a relay")?;
            let Ok(answer) = relay.ctl(&["rejections"]) else { return Ok(None) };
            if answer.pointer("/rejections/0").is_none() {
                return Ok(Some(()));
            }
            // Whether it was done is asked again.
            drop(relay.ctl(&["allow", &link]));
            Ok(None)
        })?;
        self.invite_first_relay()?;
        self.say("forgiven", expected)?;
        self.has(expected)
    }

    fn invite_first_relay(&mut self) -> anyhow::Result<()> {
        self.owner_does(&["group", "relay", "add", GROUP, "relay-1", "--timeout", "20"])?;
        self.until("the member finds relay-1", |troupe| troupe.active(&troupe.member.clone(), 1))
    }

    /// Nothing of a group that was served is left at the first relay.
    fn first_relay_is_free(&mut self) -> anyhow::Result<()> {
        self.until("the first relay has closed its group", |troupe| {
            let relay = troupe.relays.first().context("There is a relay")?;
            let Ok(answer) = relay.ctl(&["groups"]) else { return Ok(None) };
            Ok(answer.pointer("/groups/0").is_none().then_some(()))
        })
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
        let listens =
            start(&self.environment(Part::Owner), |environment| self.owner.listen_with(environment));
        self.owner_listens = listens.ok();
        self.owner_does(&["import", "--group", &archive, "--timeout", "20"])?;
        self.until("the new device connects", |troupe| troupe.active(&troupe.owner.clone(), 1))?;
        self.say("from another device", expected)?;
        let member = self.member.clone();
        self.shows(&member, expected)
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
        loop {
            self.tend()?;
            if let Some(value) = found(self)? {
                return Ok(value);
            }
            if Instant::now() > deadline {
                bail!("{what}: not in time, with {:?} armed, {} deaths", self.armed, self.deaths);
            }
            std::thread::sleep(TEND_EVERY);
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

/// How the group stands for a person; nothing when the question failed.
fn group_status(person: &Person) -> Option<String> {
    let answer = person.ok(&["group", "list"]).ok()?;
    text(answer.of_type("group").next()?, "status").ok()
}
