//! The life of a group, scene by scene, whoever dies meanwhile.

use anyhow::{Context as _, ensure};
use protocol::agent::store::ConnectionId;
use protocol::crypto::sign::Ed25519PublicKey;
use protocol::group::event::group::RosterRequest;
use protocol::group::event::{Event as Said, Message};
use protocol::group::identity::MemberKey;
use serde_json::Value;

use super::{ASK_AGAIN, DONE_BEFORE, Part, Troupe, start};
use crate::process::Process;
use crate::stage::GROUP;
use crate::stranger::Stranger;
use crate::tampering::queues;
use crate::world::{Person, text};

impl Troupe {
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
}

/// How the group stands for a person; nothing when the question failed.
fn group_status(person: &Person) -> Option<String> {
    let answer = person.ok(&["group", "list"]).ok()?;
    text(answer.of_type("group").next()?, "status").ok()
}
