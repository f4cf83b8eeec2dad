//! A relay that alters, replays, drops, reorders or invents.

use e2e::stage::{GROUP, Stage, has, member_id, message, message_id};
use e2e::tampering::{RelayDatabase, altered, arm};
use e2e::world::{event, eventually, text};

use super::{brought_by, evidence, kept_evidence};

#[test]
fn an_altered_post_is_not_shown_and_the_honest_copy_is() -> anyhow::Result<()> {
    let mut stage = Stage::set(1, 2, 1, "observer")?;
    // Both relays have the post, and the dishonest one is first to pass it on.
    arm(&mut stage.relays[0])?;
    arm(&mut stage.relays[1])?;
    stage.owner.ok(&["send", GROUP, "pay Olga 10"])?;
    let database = RelayDatabase::taken(&mut stage.relays[0])?;
    let post = database.newest()?;
    database.replace(post, &altered(&database.element(post)?, "pay Olga 10", "pay Mary 99")?)?;
    drop(database);
    stage.relays[0].start(&[])?;
    let told = evidence(&mut stage.listening[1], "relay-1")?;
    assert_eq!(text(&told, "kind")?, "bad_signature");
    let ann = stage.member(0)?.clone();
    assert!(ann.texts(GROUP)?.is_empty(), "what nobody signed is not shown");

    stage.relays[1].process()?.wait()?;
    stage.relays[1].kill()?;
    stage.relays[1].start(&[])?;
    has(&ann, &["pay Olga 10"])?;
    let row = message(&ann, "pay Olga 10")?;
    assert_eq!(text(&row, "signature")?, "verified");
    assert_eq!(brought_by(&row), ["relay-2"]);
    assert_eq!(kept_evidence(&ann)?, 1);

    // Once more, with the honest relay first: the altered copy is told apart from a second one of the same.
    let database = RelayDatabase::intercept(&mut stage.relays[0], || {
        stage.owner.ok(&["send", GROUP, "pay Olga 20"]).map(drop)
    })?;
    has(&ann, &["pay Olga 10", "pay Olga 20"])?;
    let post = database.newest()?;
    database.replace(post, &altered(&database.element(post)?, "pay Olga 20", "pay Mary 99")?)?;
    drop(database);
    stage.relays[0].start(&[])?;
    let told = evidence(&mut stage.listening[1], "relay-1")?;
    assert_eq!(text(&told, "kind")?, "different_copies");
    let row = message(&ann, "pay Olga 20")?;
    assert_eq!((&row["conflict"], text(&row, "signature")?.as_str()), (&true.into(), "verified"));
    assert_eq!(ann.texts(GROUP)?, ["pay Olga 10", "pay Olga 20"]);
    Ok(())
}

#[test]
fn a_new_relay_takes_nothing_false_from_another_one_and_the_owner_is_told() -> anyhow::Result<()> {
    let mut stage = Stage::set(1, 1, 1, "observer")?;
    for words in ["first", "pay Olga 10", "last"] {
        stage.owner.ok(&["send", GROUP, words])?;
    }
    stage.everybody_has(&["first", "pay Olga 10", "last"])?;
    let database = RelayDatabase::stop(&mut stage.relays[0])?;
    let post = database.newest()? - 1;
    database.replace(post, &altered(&database.element(post)?, "pay Olga 10", "pay Mary 99")?)?;
    drop(database);
    stage.relays[0].start(&[])?;

    let fresh = stage.world.relay("relay-2", &stage.servers[0])?;
    stage.owner.ok(&["relay", "add", "relay-2", fresh.link()])?;
    stage.owner.ok(&["group", "relay", "add", GROUP, "relay-2", "--timeout", "60"])?;
    stage.relays.push(fresh);
    let told =
        stage.listening[0].wait_for("what relay-2 says of relay-1", |line| event(line, "relay_notice"))?;
    assert_eq!((text(&told, "relay")?.as_str(), text(&told, "notice")?.as_str()), ("relay-2", "peer_lied"));
    // What it left out comes from the owner, and stands where it was said.
    let process = stage.relays[1].process()?;
    eventually("the owner gives the rest", || {
        Ok(process.has_said("history came from the owner").then_some(()))
    })?;

    stage.relays[0].kill()?;
    let late = stage.world.person("Late", &[&stage.servers[0]])?;
    let _listening = late.listen()?;
    late.ok(&["join", &stage.link, "--timeout", "60"])?;
    has(&late, &["first", "pay Olga 10", "last"])?;
    assert_eq!(kept_evidence(&late)?, 0);
    Ok(())
}

#[test]
fn a_replayed_post_is_shown_once_and_a_replayed_edit_changes_nothing() -> anyhow::Result<()> {
    let mut stage = Stage::set(1, 1, 1, "observer")?;
    let ann = stage.member(0)?.clone();
    stage.owner.ok(&["send", GROUP, "first"])?;
    has(&ann, &["first"])?;
    let id = message_id(&stage.owner, "first")?;
    let mut numbers = vec![];
    for words in ["second", "third"] {
        stage.owner.ok(&["edit", GROUP, &id, words])?;
        eventually("Ann sees the change", || Ok((ann.texts(GROUP)? == [words]).then_some(())))?;
        let database = RelayDatabase::stop(&mut stage.relays[0])?;
        numbers.push(database.newest()?);
        drop(database);
        stage.relays[0].start(&[])?;
    }
    let database = RelayDatabase::stop(&mut stage.relays[0])?;
    let post = numbers[0] - 1;
    // The post, and the edit that a later one has replaced.
    database.forward_last(post)?;
    database.forward_last(numbers[0])?;
    drop(database);
    stage.relays[0].start(&[])?;
    // What the relay says next comes after the replayed messages, so that these have been looked at.
    stage.owner.ok(&["send", GROUP, "news"])?;
    has(&ann, &["third", "news"])
}

#[test]
fn a_post_of_one_group_cannot_be_replayed_in_another() -> anyhow::Result<()> {
    let mut stage = Stage::set(1, 1, 1, "observer")?;
    let ann = stage.member(0)?.clone();
    stage.owner.ok(&["group", "create", "gossip", "--timeout", "60"])?;
    let link = stage.owner.group_link("gossip")?;
    ann.ok(&["join", &link, "--timeout", "60"])?;
    stage.owner.ok(&["send", GROUP, "for the news"])?;
    has(&ann, &["for the news"])?;
    let database = RelayDatabase::stop(&mut stage.relays[0])?;
    let elsewhere = database.element(database.newest()?)?;
    drop(database);

    let database = RelayDatabase::intercept(&mut stage.relays[0], || {
        stage.owner.ok(&["send", "gossip", "for the gossip"]).map(drop)
    })?;
    let here = database.newest()?;
    database.forward_last(database.invent(here, &elsewhere)?)?;
    drop(database);
    stage.relays[0].start(&[])?;
    assert_eq!(text(&evidence(&mut stage.listening[1], "relay-1")?, "kind")?, "bad_signature");
    assert_eq!(ann.texts("gossip")?, ["for the gossip"]);
    Ok(())
}

#[test]
fn a_post_that_one_relay_drops_comes_by_the_other() -> anyhow::Result<()> {
    let mut stage = Stage::set(1, 2, 1, "observer")?;
    let ann = stage.member(0)?.clone();
    let database = RelayDatabase::intercept(&mut stage.relays[0], || {
        stage.owner.ok(&["send", GROUP, "unwanted"]).map(drop)
    })?;
    database.withhold(database.newest()?)?;
    drop(database);
    // Otherwise what is missing might be asked for, of the relay that keeps it back.
    has(&ann, &["unwanted"])?;
    stage.relays[0].start(&[])?;
    stage.owner.ok(&["send", GROUP, "welcome"])?;
    eventually("both relays have brought the later post", || {
        let rows = ann.history(GROUP)?;
        let welcome = rows.iter().find(|row| row["text"] == "welcome");
        Ok(welcome.is_some_and(|row| brought_by(row).len() == 2).then_some(()))
    })?;
    assert_eq!(ann.texts(GROUP)?, ["unwanted", "welcome"]);
    // With no other relay nobody could tell: what is not there has no signature to check.
    assert_eq!(brought_by(&message(&ann, "unwanted")?), ["relay-2"]);
    Ok(())
}

#[test]
fn reordering_neither_loses_nor_repeats_and_an_edit_waits_for_its_post() -> anyhow::Result<()> {
    let mut stage = Stage::set(1, 1, 1, "observer")?;
    let ann = stage.member(0)?.clone();
    let mut held_back = Vec::new();
    let mut hold_back = |stage: &mut Stage, arguments: &[&str]| -> anyhow::Result<()> {
        let owner = stage.owner.clone();
        let database = RelayDatabase::intercept(&mut stage.relays[0], || owner.ok(arguments).map(drop))?;
        let number = database.newest()?;
        database.withhold(number)?;
        held_back.push(number);
        Ok(())
    };
    hold_back(&mut stage, &["send", GROUP, "one"])?;
    hold_back(&mut stage, &["send", GROUP, "two"])?;
    let id = message_id(&stage.owner, "one")?;
    hold_back(&mut stage, &["edit", GROUP, &id, "one, corrected"])?;

    let database = RelayDatabase::open(&stage.relays[0])?;
    for number in held_back.into_iter().rev() {
        database.forward_last(number)?;
    }
    drop(database);
    stage.relays[0].start(&[])?;
    has(&ann, &["one, corrected", "two"])?;
    let row = message(&ann, "one, corrected")?;
    assert_eq!((&row["edited"], &row["duplicates"], &row["late"]), (&true.into(), &0.into(), &true.into()));
    assert_eq!(text(&row, "signature")?, "verified");
    assert_eq!(kept_evidence(&ann)?, 0, "messages may overtake each other on their way: that proves nothing");
    Ok(())
}

#[test]
fn a_relay_cannot_end_the_group_or_remove_members_in_the_owners_name() -> anyhow::Result<()> {
    let mut stage = Stage::set(1, 1, 1, "observer")?;
    let ann = stage.member(0)?.clone();
    let remove = format!(
        r#"{{"v":"1-19","msgId":"aW52ZW50ZWQx","event":"x.grp.mem.del","params":{{"memberId":"{}"}}}}"#,
        member_id(&stage.owner, "Ann")?
    );
    let end = r#"{"v":"1-19","msgId":"aW52ZW50ZWQy","event":"x.grp.del","params":{}}"#;

    let database = RelayDatabase::intercept(&mut stage.relays[0], || {
        stage.owner.ok(&["send", GROUP, "genuine"]).map(drop)
    })?;
    let genuine = database.newest()?;
    for words in [remove.as_str(), end] {
        database.forward_last(database.invent(genuine, words.as_bytes())?)?;
    }
    drop(database);
    stage.relays[0].start(&[])?;
    for _ in [remove.as_str(), end] {
        assert_eq!(text(&evidence(&mut stage.listening[1], "relay-1")?, "kind")?, "missing_signature");
    }
    let groups = ann.ok(&["group", "list"])?;
    assert_eq!(text(groups.of_type("group").next().expect("Ann has a group"), "status")?, "active");
    stage.owner.ok(&["send", GROUP, "still here"])?;
    has(&ann, &["genuine", "still here"])
}
