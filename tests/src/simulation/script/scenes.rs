//! Scenes whose plot is written, over hours that no test of real processes has.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use chat_relay::config::Tuning;
use chat_relay::store::RelayStore as _;
use chat_relay::store::records::GroupId;
use protocol::agent::store::AgentStore as _;
use protocol::group::identity::MemberId;
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

    /// Somebody says something, and nobody waits for more than a minute; gives its id.
    fn says(&mut self, person: ProgramId, text: &str) -> anyhow::Result<String> {
        let request = json!({
            "request": "send", "group": GROUP, "texts": [text], "reply_to": null, "timeout_ms": PATIENCE_MS,
        });
        let answers = self.answers(person, request)?;
        let id = answers.iter().find_map(|answer| answer["value"]["message_id"].as_str());
        Ok(id.ok_or_else(|| anyhow::anyhow!("no message in {answers:?}"))?.to_owned())
    }

    /// Whether somebody has two connections to the relay.
    fn is_doubled(&mut self, person: ProgramId) -> anyhow::Result<bool> {
        let request = json!({"request": "group_relays", "group": GROUP, "follow": false});
        let rows = self.world.program(person)?.look(request)?;
        Ok(rows.first().is_some_and(|row| row["two_connections"] == true))
    }

    /// The server loses the relay's queue of somebody's second connection. The relay learns of it when it starts.
    fn second_queue_is_lost(&mut self, relay: ProgramId, person: ProgramId) -> anyhow::Result<()> {
        let row = self.own_row(person, GROUP)?.ok_or_else(|| anyhow::anyhow!("not in the group"))?;
        let id = row["member_id"].as_str().map(protocol::base64url::decode).transpose()?.unwrap_or_default();
        let id = MemberId::new(id)?;
        let queues = self.world.program(relay)?.with_relay_store(|store| {
            let second = store.member_by_id(GroupId(1), &id)?.and_then(|member| member.bulk.connection);
            let queues = store.queues_after(None, usize::MAX)?;
            Ok(queues.into_iter().filter(|(connection, ..)| Some(*connection) == second).collect::<Vec<_>>())
        })?;
        let &[(_, _, queue)] = queues.as_slice() else { anyhow::bail!("one queue: {queues:?}") };
        let host = self.world.network.servers.first_mut().ok_or_else(|| anyhow::anyhow!("a server"))?;
        Ok(host.server.lose(queue)?)
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
        scene.says(author, text).unwrap();
    }
    for person in [owner, first] {
        let rows = history(&mut scene.world, person, GROUP).unwrap();
        assert_eq!(rows.iter().map(|row| &row["text"]).collect::<Vec<_>>(), ["welcome", "thanks"]);
    }
}

/// Somebody is away while a post is deleted, of which its server knows behind much else; the relay ends the second connection,
/// by which that would come. Whoever was away is back under these faults, when the owner is away.
fn back_after_the_second_connection_has_ended(faults: Faults) -> (Script, ProgramId) {
    let mut scene = Script::scene(Tuning::default()).unwrap();
    let &[owner, first, _] = scene.clients.as_slice() else { panic!("three people") };
    let &[relay] = scene.relays.as_slice() else { panic!("a relay") };
    let link = scene.creates(owner).unwrap();
    scene.joins(first, &link).unwrap();
    assert!(scene.is_doubled(owner).unwrap() && scene.is_doubled(first).unwrap());
    let regretted = scene.says(owner, "regretted").unwrap();

    scene.world.kill(first, "to be away", None);
    for number in 0..5 {
        scene.says(owner, &number.to_string()).unwrap();
    }
    let request =
        json!({"request": "delete", "group": GROUP, "message": regretted, "timeout_ms": PATIENCE_MS});
    scene.answers(owner, request).unwrap();
    scene.world.kill(owner, "to be away", None);
    scene.world.kill(relay, "while its server loses a queue", None);
    scene.second_queue_is_lost(relay, first).unwrap();
    scene.world.start(relay).unwrap();
    scene.pass(MINUTE).unwrap();

    scene.world.faults = faults;
    scene.world.start(first).unwrap();
    scene.pass(5 * MINUTE).unwrap();
    scene.world.calm_down();
    scene.pass(MINUTE).unwrap();
    let rows = history(&mut scene.world, first, GROUP).unwrap();
    let deleted = rows.iter().filter(|row| row["deleted"] == true).map(|row| &row["message_id"]);
    assert_eq!(deleted.collect::<Vec<_>>(), [regretted.as_str()], "{rows:?}");
    assert!(scene.is_doubled(first).unwrap(), "there is another one by now");
    (scene, first)
}

#[test]
fn what_waits_on_a_second_connection_that_has_ended_is_read() {
    let (mut scene, first) = back_after_the_second_connection_has_ended(Faults::default());
    // Whether more comes is not known while the server is away.
    let connections =
        |scene: &mut Script| scene.world.program(first).unwrap().rows("relay_connections").unwrap();
    scene.world.stop_server(0, HOUR);
    scene.pass(HOUR).unwrap();
    assert_eq!(connections(&mut scene), 3);
    scene.pass(15 * MINUTE).unwrap();
    assert_eq!(connections(&mut scene), 2);
    assert!(scene.is_doubled(first).unwrap());
}

#[test]
fn what_waits_there_is_read_whenever_programs_die() {
    let often = Faults { dies_before: 1_000, dies_between: 1_000, dies_after: 1_000, ..Faults::default() };
    let (scene, _) = back_after_the_second_connection_has_ended(often);
    let deaths = scene.world.trace.faults.iter().filter(|fault| fault.contains(" dies ")).count();
    assert!(deaths > 10, "{deaths} deaths");
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
