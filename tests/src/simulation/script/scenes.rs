//! Scenes whose plot is written, over hours that no test of real processes has.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use chat_relay::config::Tuning;
use serde_json::{Value, json};

use super::{HOUR, MINUTE, PATIENCE_MS, Script};
use crate::simulation::agenda::Moment;
use crate::simulation::invariants::history;
use crate::simulation::network::ProgramId;
use crate::simulation::world::{Faults, World};

const GROUP: &str = "tea";

impl Script {
    /// One server, one relay, an owner and two others; nothing goes wrong by itself.
    fn scene(tuning: Tuning) -> anyhow::Result<Self> {
        let mut scene = Self::in_world(World::new(1, 1, 128, Faults::default(), false)?);
        scene.add_relay(0, tuning)?;
        scene.relays_start()?;
        for name in ["owner", "first", "second"] {
            scene.add_client(name.to_owned())?;
        }
        scene.pass(MINUTE)?;
        Ok(scene)
    }

    fn pass(&mut self, ms: Moment) -> anyhow::Result<()> {
        let limit = self.world.now() + ms;
        while let Some(happening) = self.world.agenda.next(limit) {
            self.happen(happening)?;
        }
        Ok(())
    }

    /// What is answered within a minute.
    fn answers(&mut self, person: ProgramId, request: Value) -> anyhow::Result<Vec<Value>> {
        let mut replies = self.world.program(person)?.ask(request)?;
        self.world.wake(person, 1);
        self.pass(MINUTE)?;
        Ok(replies.take())
    }

    /// A group with the relay; gives its link.
    fn creates(&mut self, owner: ProgramId) -> anyhow::Result<String> {
        let request = json!({
            "request": "group_create", "name": GROUP, "full_name": "", "description": null, "relays": ["r0"],
            "server": null, "joiner_role": "member", "review": false, "timeout_ms": PATIENCE_MS,
        });
        let answers = self.answers(owner, request)?;
        let link = answers.iter().find_map(|answer| answer["value"]["link"].as_str());
        Ok(link.ok_or_else(|| anyhow::anyhow!("no link in {answers:?}"))?.to_owned())
    }

    fn joins(&mut self, person: ProgramId, link: &str) -> anyhow::Result<()> {
        self.answers(person, json!({"request": "join", "link": link, "timeout_ms": PATIENCE_MS}))?;
        Ok(())
    }

    /// How somebody stands with the relay.
    fn stands(&mut self, person: ProgramId) -> anyhow::Result<String> {
        let request = json!({"request": "group_relays", "group": GROUP, "follow": false});
        let rows = self.world.program(person)?.look(request)?;
        Ok(rows.first().and_then(|row| row["status"].as_str()).unwrap_or_default().to_owned())
    }
}

#[test]
fn whoever_found_no_room_comes_in_when_there_is_some() {
    // The owner, and one more.
    let mut scene = Script::scene(Tuning { members_max: Some(2), ..Tuning::default() }).unwrap();
    let &[owner, first, second] = scene.clients.as_slice() else { panic!("three people") };
    let link = scene.creates(owner).unwrap();
    scene.joins(first, &link).unwrap();
    assert_eq!(scene.stands(first).unwrap(), "active");
    scene.joins(second, &link).unwrap();
    assert_eq!(scene.stands(second).unwrap(), "put_off");

    // Asked again after an hour, the relay has no room still: it is asked after two.
    scene.pass(HOUR + MINUTE).unwrap();
    scene.answers(first, json!({"request": "leave", "group": GROUP, "timeout_ms": PATIENCE_MS})).unwrap();
    scene.pass(HOUR + 50 * MINUTE).unwrap();
    assert_eq!(scene.stands(second).unwrap(), "put_off");
    scene.pass(10 * MINUTE).unwrap();
    assert_eq!(scene.stands(second).unwrap(), "active");
}

#[test]
fn a_request_to_join_stays_until_a_later_one_is_answered() {
    let mut scene = Script::scene(Tuning::default()).unwrap();
    let &[owner, first, _] = scene.clients.as_slice() else { panic!("three people") };
    let &[relay] = scene.relays.as_slice() else { panic!("a relay") };
    let link = scene.creates(owner).unwrap();
    scene.world.kill(relay, "for a while", None);
    scene.joins(first, &link).unwrap();
    // It is asked three times: a relay of the stock apps would answer the first request, ours has the joiner at the last.
    scene.pass(25 * MINUTE).unwrap();
    assert_eq!(scene.stands(first).unwrap(), "invited");
    assert_eq!(scene.world.program(first).unwrap().rows("relay_connections").unwrap(), 2);

    scene.world.start(relay).unwrap();
    scene.pass(MINUTE).unwrap();
    assert_eq!(scene.stands(first).unwrap(), "active");
    for (author, text) in [(owner, "welcome"), (first, "thanks")] {
        let request = json!({
            "request": "send", "group": GROUP, "texts": [text], "reply_to": null, "timeout_ms": PATIENCE_MS,
        });
        scene.answers(author, request).unwrap();
    }
    for person in [owner, first] {
        let rows = history(&mut scene.world, person, GROUP).unwrap();
        assert_eq!(rows.iter().map(|row| &row["text"]).collect::<Vec<_>>(), ["welcome", "thanks"]);
    }
}

#[test]
fn that_the_group_link_is_gone_is_said_once() {
    let mut scene = Script::scene(Tuning::default()).unwrap();
    let &[owner, first, _] = scene.clients.as_slice() else { panic!("three people") };
    let &[relay] = scene.relays.as_slice() else { panic!("a relay") };
    let link = scene.creates(owner).unwrap();
    scene.joins(first, &link).unwrap();
    scene.world.kill(relay, "for good", None);
    scene
        .answers(owner, json!({"request": "group_delete", "group": GROUP, "timeout_ms": PATIENCE_MS}))
        .unwrap();

    let request = json!({"request": "listen", "group": null, "history": false});
    let mut told = scene.world.program(first).unwrap().ask(request).unwrap();
    scene.pass(3 * HOUR).unwrap();
    let warnings = told.take().into_iter().filter(|reply| reply["value"]["type"] == "warning");
    let texts: Vec<String> = warnings.map(|warning| warning["value"]["text"].to_string()).collect();
    assert_eq!(texts, ["\"the server does not know the group link any more\""]);
}
