//! Who comes into a group: joiners who wait for a moderator, answer a question or do work, and what owners see of what
//! relays refuse.

use anyhow::{Context as _, ensure};
use e2e::binaries::tested;
use e2e::stage::{GROUP, Stage, connected, has};
use e2e::world::{Person, World, eventually, text};
use serde_json::Value;

/// `conclave join` of somebody who has to wait.
const STILL_WAITING: i32 = 17;
/// `conclave join` without the answer that the group asks for.
const ANSWER_NEEDED: i32 = 21;

/// The ids of those who knock, by their names.
fn knocks(person: &Person) -> anyhow::Result<Vec<(String, String)>> {
    let answer = person.ok(&["knocks", GROUP])?;
    answer.of_type("member").map(|row| Ok((text(row, "name")?, text(row, "member_id")?))).collect()
}

fn knock_of(person: &Person, name: &str) -> anyhow::Result<String> {
    eventually(&format!("{} sees {name} knock", person.name), || {
        Ok(knocks(person)?.into_iter().find(|(found, _)| found == name).map(|(_, id)| id))
    })
}

fn group_status(person: &Person) -> anyhow::Result<String> {
    let answer = person.ok(&["group", "list"])?;
    text(answer.of_type("group").next().context("The group is listed")?, "status")
}

#[test]
fn a_joiner_waits_is_let_in_by_a_moderator_or_reads_why_not() -> anyhow::Result<()> {
    let world = World::new(tested())?;
    let server = world.server("server")?;
    let relays = [world.relay("relay-1", &server)?, world.relay("relay-2", &server)?];
    let owner = world.person("Olga", &[&server])?;
    for relay in &relays {
        owner.ok(&["relay", "add", &relay.name, relay.link()])?;
    }
    let _owner_listens = owner.listen()?;
    owner.ok(&["group", "create", GROUP, "--review", "--timeout", "60"])?;
    let link = owner.group_link(GROUP)?;

    // Ann waits at both relays, and one word of the owner is enough for both.
    let ann = world.person("Ann", &[&server])?;
    let _ann_listens = ann.listen()?;
    let asked = ann.run(&["join", &link, "--timeout", "60"])?;
    ensure!(asked.code == STILL_WAITING && asked.talk.contains("moderator"), "{asked:?}");
    assert_eq!(group_status(&ann)?, "joining");
    let id = knock_of(&owner, "Ann")?;
    eventually("Ann waits at both relays", || {
        let relays = ann.relays(GROUP)?;
        let waits = relays.iter().filter(|(_, status)| status == "pending_review").count();
        Ok((waits == 2).then_some(()))
    })?;
    assert_ne!(ann.run(&["send", GROUP, "hello?"])?.code, 0);
    for relay in &relays {
        eventually("the operator sees how many wait", || {
            let groups = relay.ctl(&["groups"])?;
            Ok((groups.pointer("/groups/0/knocks").and_then(Value::as_u64) == Some(1)).then_some(()))
        })?;
    }
    for change in [&["block", GROUP, &id][..], &["role", GROUP, &id, "moderator"]] {
        let refused = owner.run(change)?;
        assert_ne!(refused.code, 0, "whoever waits hears of no change");
        assert!(refused.talk.contains(&format!("conclave accept {GROUP} {id}")), "{}", refused.talk);
    }
    owner.ok(&["accept", GROUP, &id])?;
    connected(&ann, 2)?;
    assert_eq!(group_status(&ann)?, "active");
    owner.ok(&["send", GROUP, "welcome"])?;
    has(&ann, &["welcome"])?;
    eventually("nobody waits", || Ok(knocks(&owner)?.is_empty().then_some(())))?;

    // Ann looks after the group too, sees Eve, and sends her away.
    owner.ok(&["role", GROUP, &id, "moderator"])?;
    let eve = world.person("Eve", &[&server])?;
    let _eve_listens = eve.listen()?;
    assert_eq!(eve.run(&["join", &link, "--timeout", "60"])?.code, STILL_WAITING);
    knock_of(&owner, "Eve")?;
    let id = knock_of(&ann, "Eve")?;
    ann.ok(&["reject", GROUP, &id, "--reason", "write to the owner first"])?;
    eventually("Eve knows", || Ok((group_status(&eve)? == "refused").then_some(())))?;
    let reasons = eve.ok(&["group", "relays", GROUP])?;
    for row in reasons.of_type("group_relay") {
        assert_eq!(text(row, "reason")?, "write to the owner first");
    }
    eventually("the owner sees it decided", || Ok(knocks(&owner)?.is_empty().then_some(())))?;

    // Without review everybody comes in.
    owner.ok(&["group", "profile", GROUP, "--review", "off"])?;
    // A relay passes on what it knows itself.
    eventually("nobody is reviewed any more", || {
        let profile = ann.ok(&["group", "profile", GROUP])?;
        Ok(profile.lines.iter().any(|row| row["review"] == false).then_some(()))
    })?;
    let ben = world.person("Ben", &[&server])?;
    let _ben_listens = ben.listen()?;
    eventually("Ben comes in", || {
        Ok((ben.run(&["join", &link, "--timeout", "20"])?.code == 0).then_some(()))
    })?;
    has(&ben, &["welcome"])
}

#[test]
fn the_owner_sees_what_a_relay_refuses_and_what_to_do() -> anyhow::Result<()> {
    let mut stage = Stage::set(1, 1, 1, "member")?;
    stage.relay(0)?.ctl(&["quotas", "set", "member_messages_per_minute", "1"])?;
    stage.relay(0)?.ctl(&["quotas", "set", "total_members", "2"])?;
    let ann = stage.member(0)?;
    for words in ["one", "two", "three"] {
        ann.ok(&["send", GROUP, words])?;
    }
    let notice = |wanted: &str| {
        eventually(&format!("the owner reads {wanted:?}"), || {
            let relays = stage.owner.ok(&["group", "relays", GROUP])?;
            let rows = relays.of_type("group_relay").filter_map(|row| row.get("notice")?.as_str());
            Ok(rows.into_iter().any(|notice| notice.contains(wanted)).then_some(()))
        })
    };
    notice("block whoever floods the group")?;
    let shown = stage.owner.shown(&["group", "relays", GROUP])?;
    ensure!(shown.contains("faster than this relay allows"), "{shown}");

    let ben = stage.world.person("Ben", &stage.servers.iter().collect::<Vec<_>>())?;
    let put_off = ben.run(&["join", &stage.link, "--timeout", "60"])?;
    ensure!(put_off.code == STILL_WAITING && put_off.talk.contains("try another relay"), "{put_off:?}");
    let relays = ben.relays(GROUP)?;
    assert_eq!(relays.first().map(|(_, status)| status.as_str()), Some("put_off"));
    notice("add another relay")?;
    // There is room now, and Ben asks again.
    stage.relay(0)?.ctl(&["quotas", "set", "total_members", "9"])?;
    ben.ok(&["join", &stage.link, "--timeout", "60"])?;
    connected(&ben, 1)
}

#[test]
fn joiners_answer_a_question_and_do_work() -> anyhow::Result<()> {
    let world = World::new(tested())?;
    let server = world.server("server")?;
    let relay = world.relay("relay-1", &server)?;
    let owner = world.person("Olga", &[&server])?;
    owner.ok(&["relay", "add", &relay.name, relay.link()])?;
    let _owner_listens = owner.listen()?;
    owner.ok(&["group", "create", GROUP, "--timeout", "60"])?;
    let link = owner.group_link(GROUP)?;
    let file = |name: &str, text: &str| -> anyhow::Result<String> {
        let path = world.path().join(name);
        std::fs::write(&path, text)?;
        Ok(path.display().to_string())
    };
    let answers = file("answers", "Earl Grey\nassam\n")?;
    owner.ok(&[
        "group",
        "entrance",
        GROUP,
        "--question",
        "Which tea?",
        "--answers-file",
        &answers,
        "--work",
        "12",
        "--timeout",
        "60",
    ])?;
    let profile_of = |person: &Person| -> anyhow::Result<String> {
        Ok(serde_json::to_string(&person.ok(&["group", "profile", GROUP])?.lines)?)
    };
    let profile = profile_of(&owner)?;
    ensure!(profile.contains("Which tea?") && !profile.to_lowercase().contains("earl"), "{profile}");

    let ann = world.person("Ann", &[&server])?;
    let _ann_listens = ann.listen()?;
    let asked = eventually("Ann is asked", || {
        let answer = ann.run(&["join", &link, "--timeout", "60"])?;
        Ok((answer.code == ANSWER_NEEDED).then_some(answer))
    })?;
    ensure!(asked.of_type("entrance").next().is_some() && asked.talk.contains("--answer-file"), "{asked:?}");
    let wrong = file("wrong", "coffee\n")?;
    assert_eq!(ann.run(&["join", &link, "--answer-file", &wrong])?.code, ANSWER_NEEDED);
    let right = file("right", " EARL  grey\n")?;
    ann.ok(&["join", &link, "--answer-file", &right, "--timeout", "60"])?;
    owner.ok(&["send", GROUP, "welcome"])?;
    has(&ann, &["welcome"])?;

    // Who does not answer waits for a moderator.
    let ben = world.person("Ben", &[&server])?;
    let _ben_listens = ben.listen()?;
    assert_eq!(ben.run(&["join", &link, "--no-answer", "--timeout", "60"])?.code, STILL_WAITING);
    owner.ok(&["accept", GROUP, &knock_of(&owner, "Ben")?])?;
    has(&ben, &["welcome"])?;

    ensure!(profile_of(&ann)?.contains("Which tea?"));
    owner.ok(&["group", "entrance", GROUP, "--off", "--timeout", "60"])?;
    // The relay passes on what it knows itself.
    eventually(
        "nothing is asked any more",
        || Ok((!profile_of(&ann)?.contains("Which tea?")).then_some(())),
    )?;
    let cem = world.person("Cem", &[&server])?;
    let _cem_listens = cem.listen()?;
    cem.ok(&["join", &link, "--timeout", "60"])?;
    has(&cem, &["welcome"])
}
