//! The founding sequence: adding relays, removing them told and untold, the last one gone, restoring.

use anyhow::Context as _;
use e2e::binaries::tested;
use e2e::process::Process;
use e2e::stage::{
    GROUP, Stage, comes_to_have, connected, has, member_id, message, message_id, relay_becomes,
};
use e2e::world::{Relay, World, event, eventually, text};
use serde_json::{Value, json};

/// How a relay that does not serve any more appears, or it is not listed at all.
const GONE: &[&str] = &["inactive", "removed", ""];

#[test]
fn each_message_is_shown_once_though_every_relay_forwards_it() -> anyhow::Result<()> {
    let stage = Stage::set(2, 3, 1, "observer")?;
    stage.owner.ok(&["send", GROUP, "once"])?;
    let ann = stage.member(0)?;
    has(ann, &["once"])?;
    eventually("all three copies arrived", || {
        let row = message(ann, "once")?;
        Ok((row.get("duplicates").and_then(Value::as_u64) == Some(2)).then_some(()))
    })?;
    assert_eq!(ann.texts(GROUP)?, ["once"]);
    assert_eq!(message(ann, "once")?.get("conflict"), Some(&Value::Bool(false)));
    Ok(())
}

#[test]
fn a_killed_relay_goes_on_where_it_was() -> anyhow::Result<()> {
    let mut stage = Stage::set(1, 1, 2, "observer")?;
    stage.owner.ok(&["send", GROUP, "before"])?;
    stage.everybody_has(&["before"])?;
    stage.relay(0)?.kill()?;
    stage.owner.ok(&["send", GROUP, "while it was away"])?;
    stage.relay(0)?.start(&[])?;
    stage.owner.ok(&["send", GROUP, "after"])?;
    stage.everybody_has(&["before", "while it was away", "after"])
}

#[test]
fn a_killed_server_comes_back_with_everything_it_acknowledged() -> anyhow::Result<()> {
    let mut stage = Stage::set(1, 1, 1, "observer")?;
    stage.relay(0)?.kill()?;
    stage.owner.ok(&["send", GROUP, "acknowledged"])?;
    stage.server(0)?.kill()?;
    stage.server(0)?.start(&[])?;
    stage.relay(0)?.start(&[])?;
    stage.everybody_has(&["acknowledged"])
}

#[test]
fn a_relay_removed_with_notice_says_goodbye_and_the_others_go_on() -> anyhow::Result<()> {
    let stage = Stage::set(2, 2, 1, "observer")?;
    let ann = stage.member(0)?;
    stage.owner.ok(&["group", "relay", "remove", GROUP, "relay-1"])?;
    relay_becomes(ann, "relay-1", GONE)?;
    relay_becomes(&stage.owner, "relay-1", GONE)?;
    stage.owner.ok(&["send", GROUP, "still here"])?;
    has(ann, &["still here"])
}

#[test]
fn a_relay_removed_without_notice_finds_out_by_itself() -> anyhow::Result<()> {
    let stage = Stage::set(2, 2, 1, "observer")?;
    let ann = stage.member(0)?;
    stage.owner.ok(&["group", "relay", "remove", GROUP, "relay-2", "--without-notice"])?;
    relay_becomes(ann, "relay-2", GONE)?;
    stage.owner.ok(&["send", GROUP, "without relay-2"])?;
    has(ann, &["without relay-2"])
}

#[test]
fn after_the_last_relay_a_new_one_brings_the_members_back() -> anyhow::Result<()> {
    let mut stage = Stage::set(2, 1, 2, "observer")?;
    stage.owner.ok(&["send", GROUP, "one"])?;
    stage.everybody_has(&["one"])?;
    let refused = stage.owner.run(&["group", "relay", "remove", GROUP, "relay-1"])?;
    assert_eq!(refused.code, 20, "the last relay does not go by accident: {}", refused.talk);
    assert!(refused.talk.contains("nobody hears the group") && refused.talk.contains("--force"));
    stage.owner.ok(&["group", "relay", "remove", GROUP, "relay-1", "--force"])?;
    for member in &stage.members {
        relay_becomes(member, "relay-1", GONE)?;
    }
    // Restoring by hand finds no relay, and says so.
    let alone = stage.member(0)?.run(&["group", "restore", GROUP, "--timeout", "60"])?;
    assert_eq!(alone.code, 13, "no active relay has its own exit code: {}", alone.talk);
    // What is sent now waits.
    assert_ne!(stage.owner.run(&["send", GROUP, "two", "--timeout", "1"])?.code, 0);

    let fresh = stage.world.relay("relay-9", stage.servers.get(1).expect("two servers"))?;
    stage.owner.ok(&["relay", "add", "relay-9", fresh.link()])?;
    stage.owner.ok(&["group", "relay", "add", GROUP, "relay-9", "--timeout", "60"])?;
    stage.relays.push(fresh);
    for member in &stage.members {
        connected(member, 1)?;
    }
    stage.everybody_has(&["one", "two"])
}

#[test]
fn a_new_relay_has_the_history_also_when_killed_while_it_takes_it() -> anyhow::Result<()> {
    let mut stage = Stage::set(1, 1, 1, "member")?;
    let ann = stage.member(0)?.clone();
    stage.owner.ok(&["send", GROUP, "one"])?;
    has(&ann, &["one"])?;
    ann.ok(&["send", GROUP, "two"])?;
    has(&stage.owner, &["one", "two"])?;
    let id = message_id(&stage.owner, "one")?;
    stage.owner.ok(&["edit", GROUP, &id, "one, corrected"])?;

    let mut fresh = stage.world.relay("relay-2", &stage.servers[0])?;
    fresh.kill()?;
    fresh.start(&[("CONCLAVE_CRASH_POINT", "relay.history.filled")])?;
    stage.owner.ok(&["relay", "add", "relay-2", fresh.link()])?;
    stage.owner.ok(&["group", "relay", "add", GROUP, "relay-2", "--timeout", "60"])?;
    fresh.process()?.wait()?;
    fresh.kill()?;
    fresh.start(&[])?;
    is_filled(&mut fresh)?;

    // Whoever joins now can ask nobody else.
    stage.relay(0)?.kill()?;
    let late = stage.world.person("Late", &stage.servers.iter().collect::<Vec<_>>())?;
    let _listening = late.listen()?;
    late.ok(&["join", &stage.link, "--timeout", "60"])?;
    comes_to_have(&late, &["one, corrected", "two"])?;
    for words in ["one, corrected", "two"] {
        let row = message(&late, words)?;
        assert_eq!((text(&row, "signature")?.as_str(), &row["relays"]), ("verified", &json!(["relay-2"])));
    }
    assert_eq!(text(&message(&late, "two")?, "author")?, "Ann");
    Ok(())
}

#[test]
fn whoever_was_removed_blocked_or_silenced_while_no_relay_was_there_is_so_at_a_new_one() -> anyhow::Result<()>
{
    let mut stage = Stage::set(1, 1, 3, "member")?;
    let [ann, ben, silenced] = ["Ann", "Ben", "Cem"].map(|name| member_id(&stage.owner, name));
    let (ann, ben, silenced) = (ann?, ben?, silenced?);
    stage.relay(0)?.kill()?;
    stage.owner.ok(&["role", GROUP, &silenced, "observer"])?;
    stage.owner.ok(&["block", GROUP, &ann])?;
    stage.owner.ok(&["remove", GROUP, &ben])?;

    let fresh = stage.world.relay("relay-2", &stage.servers[0])?;
    stage.owner.ok(&["relay", "add", "relay-2", fresh.link()])?;
    stage.owner.ok(&["group", "relay", "add", GROUP, "relay-2", "--timeout", "60"])?;
    stage.relays.push(fresh);
    stage.owner.ok(&["group", "relay", "remove", GROUP, "relay-1"])?;
    for member in &stage.members {
        member.run(&["group", "restore", GROUP, "--timeout", "60"])?;
    }
    relay_becomes(stage.member(1)?, "relay-2", &["rejected"])?;
    relay_becomes(stage.member(0)?, "relay-2", &["active"])?;
    eventually("Ann knows that she is blocked", || {
        let answer = stage.member(0)?.ok(&["members", GROUP])?;
        let own = answer.of_type("member").any(|row| row["me"] == true && row["blocked"] == true);
        Ok(own.then_some(()))
    })?;
    eventually("the third member knows that it is an observer", || {
        let answer = stage.member(2)?.ok(&["members", GROUP])?;
        let own = answer.of_type("member").any(|row| row["me"] == true && row["role"] == "observer");
        Ok(own.then_some(()))
    })?;
    assert_ne!(stage.member(2)?.run(&["send", GROUP, "let me"])?.code, 0);
    Ok(())
}

#[test]
fn a_relay_that_never_met_a_removed_member_knows_its_key() -> anyhow::Result<()> {
    let stage = Stage::set(1, 1, 0, "member")?;
    let ann = stage.world.person("Ann", &stage.servers.iter().collect::<Vec<_>>())?;
    let listening = ann.listen()?;
    ann.ok(&["join", &stage.link])?;
    let id = member_id(&stage.owner, "Ann")?;
    drop(listening);
    let fresh = stage.world.relay("relay-2", &stage.servers[0])?;
    stage.owner.ok(&["relay", "add", "relay-2", fresh.link()])?;
    stage.owner.ok(&["group", "relay", "add", GROUP, "relay-2", "--timeout", "60"])?;
    stage.owner.ok(&["remove", GROUP, &id])?;
    let database = rusqlite::Connection::open(fresh.directory.join("relay.sqlite"))?;
    let removed = "SELECT count(*) FROM members WHERE status = 'removed' AND member_key IS NOT NULL";
    eventually("the new relay bars Ann's key", || {
        let removed: i64 = database.query_row(removed, [], |row| row.get(0))?;
        Ok((removed == 1).then_some(()))
    })
}

/// Waits until a relay has read all that it could of the others.
fn is_filled(relay: &mut Relay) -> anyhow::Result<()> {
    let (name, process) = (relay.name.clone(), relay.process()?);
    eventually(&format!("{name} is filled"), || {
        Ok(process.has_said("the reading of other relays' history is over").then_some(()))
    })
}

#[test]
fn a_new_relay_takes_the_history_from_another_one_while_the_owner_is_away() -> anyhow::Result<()> {
    let mut stage = Stage::set(1, 1, 1, "observer")?;
    stage.owner.ok(&["group", "profile", GROUP, "--history-items", "500"])?;
    let expected = stage.owner_says(120)?;

    let mut fresh = stage.world.relay("relay-2", &stage.servers[0])?;
    fresh.kill()?;
    // In the middle of an answer.
    fresh.start(&[("CONCLAVE_CRASH_POINT", "relay.history.filled:2")])?;
    stage.owner.ok(&["relay", "add", "relay-2", fresh.link()])?;
    stage.owner.ok(&["group", "relay", "add", GROUP, "relay-2", "--timeout", "60"])?;
    stage.listening.remove(0).kill()?;
    fresh.process()?.wait()?;
    fresh.kill()?;
    fresh.start(&[])?;
    is_filled(&mut fresh)?;
    assert!(!fresh.process()?.has_said("history came from the owner"));

    stage.relay(0)?.kill()?;
    let late = stage.world.person("Late", &stage.servers.iter().collect::<Vec<_>>())?;
    let _listening = late.listen()?;
    late.ok(&["join", &stage.link, "--timeout", "60"])?;
    has(&late, &expected)?;
    let first = message(&late, "message 1")?;
    assert_eq!((text(&first, "signature")?.as_str(), &first["relays"]), ("verified", &json!(["relay-2"])));
    assert_eq!(late.ok(&["history", GROUP])?.of_type("gap").count(), 0);
    Ok(())
}

#[test]
fn a_dead_relay_does_not_keep_the_owner_waiting() -> anyhow::Result<()> {
    let mut stage = Stage::set(1, 2, 1, "observer")?;
    stage.relay(1)?.kill()?;
    let answer = stage.owner.ok(&["send", GROUP, "hello"])?;
    assert!(answer.of_type("delivery").any(|row| text(row, "state").is_ok_and(|state| state == "durable")));
    stage.everybody_has(&["hello"])
}

#[test]
fn a_relay_proves_that_it_holds_its_address_or_is_said_to_be_silent() -> anyhow::Result<()> {
    let world = World::new(tested())?;
    let server = world.server("server-1")?;
    let mut relay = world.relay("relay-1", &server)?;
    let person = world.person("Olga", &[&server])?;
    person.ok(&["relay", "add", "relay-1", relay.link()])?;

    let answer = person.ok(&["relay", "test", "relay-1"])?;
    let checked = answer.of_type("check").next().context("The test says what it found")?;
    assert_eq!(checked.get("ok"), Some(&Value::Bool(true)));
    assert!(text(checked, "detail")?.contains("holds the key"));

    relay.kill()?;
    let silent = person.run(&["relay", "test", "relay-1", "--timeout", "1500ms"])?;
    assert_eq!(silent.code, 11, "a silent relay is unreachable: {}", silent.talk);
    assert!(silent.talk.contains("does not answer"), "{}", silent.talk);

    // Nothing is left of either test.
    person.ok(&["flush", "--timeout", "20"])?;
    let mut listening = Process::spawn("Olga", &mut person.command(&["listen"]))?;
    let row = listening.wait_for("what is in use", |line| event(line, "listening"))?;
    assert_eq!(row.get("connections").and_then(Value::as_u64), Some(0));
    Ok(())
}
