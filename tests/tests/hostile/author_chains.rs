//! What an author's own numbers tell: a relay that leaves something out, and an author who says two things.

use std::path::Path;

use e2e::process::Process;
use e2e::stage::{GROUP, Stage, has, message};
use e2e::tampering::{self, RelayDatabase};
use e2e::world::{Person, event, eventually, text};
use serde_json::Value;

use super::brought_by;

fn told(listening: &mut Process, kind: &str) -> anyhow::Result<Value> {
    listening.wait_for(kind, |line| event(line, kind))
}

fn gaps(person: &Person) -> anyhow::Result<usize> {
    Ok(person.ok(&["history", GROUP])?.of_type("gap").count())
}

#[test]
fn what_one_relay_leaves_out_is_known_at_once_and_named_when_another_brings_it() -> anyhow::Result<()> {
    let mut stage = Stage::set(1, 2, 1, "observer")?;
    let ann = stage.member(0)?.clone();
    stage.owner.ok(&["send", GROUP, "one"])?;
    eventually("both relays have brought the first", || {
        Ok(message(&ann, "one").is_ok_and(|row| brought_by(&row).len() == 2).then_some(()))
    })?;
    let first = message(&ann, "one")?["number"].as_u64().expect("our clients count");

    stage.relays[1].kill()?;
    let database =
        RelayDatabase::intercept(&mut stage.relays[0], || stage.owner.ok(&["send", GROUP, "two"]).map(drop))?;
    database.drop_message(database.newest()?)?;
    drop(database);
    stage.relays[0].start(&[])?;
    stage.owner.ok(&["send", GROUP, "three"])?;
    let gap = told(&mut stage.listening[1], "gap")?;
    assert_eq!((gap["from"].as_u64(), gap["to"].as_u64()), (Some(first + 1), Some(first + 1)), "{gap}");
    assert_eq!(text(&gap, "author")?, "Olga");
    assert_eq!((&gap["skipped_by"], &gap["silent"]), (&["relay-1"].into(), &["relay-2"].into()));
    has(&ann, &["one", "three"])?;
    let shown = ann.shown(&["history", GROUP])?;
    let expected = format!(
        "!! of Olga number {} did not come; left out by relay relay-1; nothing yet by relay relay-2",
        first + 1
    );
    assert!(shown.contains(&expected), "{shown}");

    stage.relays[1].start(&[])?;
    let late = told(&mut stage.listening[1], "late")?;
    assert_eq!((&late["relay"], &late["skipped_by"]), (&"relay-2".into(), &["relay-1"].into()), "{late}");
    has(&ann, &["one", "two", "three"])?;
    let row = message(&ann, "two")?;
    assert_eq!((&row["late"], row["number"].as_u64()), (&true.into(), Some(first + 1)));
    assert_eq!((gaps(&ann)?, &message(&ann, "three")?["late"]), (0, &false.into()));
    Ok(())
}

#[test]
fn what_is_missing_is_asked_for() -> anyhow::Result<()> {
    let mut stage = Stage::set(1, 1, 1, "observer")?;
    let ann = stage.member(0)?.clone();
    stage.owner.ok(&["send", GROUP, "one"])?;
    has(&ann, &["one"])?;
    let database =
        RelayDatabase::intercept(&mut stage.relays[0], || stage.owner.ok(&["send", GROUP, "two"]).map(drop))?;
    database.withhold(database.newest()?)?;
    drop(database);
    stage.relays[0].start(&[])?;
    stage.owner.ok(&["send", GROUP, "three"])?;
    // It was left out of what is passed on, and is in the history all the same.
    told(&mut stage.listening[1], "gap")?;
    told(&mut stage.listening[1], "late")?;
    has(&ann, &["one", "two", "three"])?;
    assert_eq!(gaps(&ann)?, 0);
    Ok(())
}

#[test]
fn what_one_relay_drops_is_asked_of_the_other() -> anyhow::Result<()> {
    let mut stage = Stage::set(1, 2, 1, "observer")?;
    let ann = stage.member(0)?.clone();
    stage.owner.ok(&["send", GROUP, "one"])?;
    eventually("both relays have brought the first", || {
        Ok(message(&ann, "one").is_ok_and(|row| brought_by(&row).len() == 2).then_some(()))
    })?;
    // Both leave it out of what they pass on; the second has it in its history.
    stage.relays.iter_mut().try_for_each(tampering::arm)?;
    stage.owner.ok(&["send", GROUP, "two"])?;
    let dropping = RelayDatabase::taken(&mut stage.relays[0])?;
    dropping.drop_message(dropping.newest()?)?;
    let withholding = RelayDatabase::taken(&mut stage.relays[1])?;
    withholding.withhold(withholding.newest()?)?;
    drop((dropping, withholding));
    stage.relays.iter_mut().try_for_each(|relay| relay.start(&[]))?;
    stage.owner.ok(&["send", GROUP, "three"])?;
    let gap = told(&mut stage.listening[1], "gap")?;
    assert_eq!(gap["asked"].as_array().map(Vec::len), Some(1), "one at a time: {gap}");
    let late = told(&mut stage.listening[1], "late")?;
    // The first is new: it may have filled itself from the second meanwhile, and bring what it had lost.
    let brought = (&late["relay"], &late["skipped_by"]);
    let (one, other) = (Value::from("relay-1"), Value::from("relay-2"));
    let ways = [(&other, &Value::from(vec![one.clone()])), (&one, &Value::from(vec![other.clone()]))];
    assert!(ways.contains(&brought), "{late}");
    has(&ann, &["one", "two", "three"])?;
    assert_eq!((gaps(&ann)?, &message(&ann, "two")?["late"]), (0, &true.into()));
    Ok(())
}

#[test]
fn what_no_relay_has_comes_from_the_owner() -> anyhow::Result<()> {
    let mut stage = Stage::set(1, 1, 1, "observer")?;
    let ann = stage.member(0)?.clone();
    stage.owner.ok(&["send", GROUP, "one"])?;
    has(&ann, &["one"])?;
    let database =
        RelayDatabase::intercept(&mut stage.relays[0], || stage.owner.ok(&["send", GROUP, "two"]).map(drop))?;
    database.drop_message(database.newest()?)?;
    drop(database);
    stage.relays[0].start(&[])?;
    stage.owner.ok(&["send", GROUP, "three"])?;
    told(&mut stage.listening[1], "gap")?;
    told(&mut stage.listening[1], "late")?;
    has(&ann, &["one", "two", "three"])?;
    assert_eq!((gaps(&ann)?, text(&message(&ann, "two")?, "signature")?.as_str()), (0, "verified"));
    Ok(())
}

#[test]
fn two_copies_of_one_home_are_found_to_say_different_things() -> anyhow::Result<()> {
    let mut stage = Stage::set(2, 2, 1, "observer")?;
    let (ann, one) = (stage.member(0)?.clone(), stage.owner.clone());
    one.ok(&["send", GROUP, "to all"])?;
    has(&ann, &["to all"])?;
    stage.listening[0].kill()?;
    let mut other = one.clone();
    other.home = one.home.with_extension("copy");
    copy(&one.home, &other.home)?;

    // What one copy says goes through the first relay alone, what the other says through the second.
    stage.servers[1].kill()?;
    one.ok(&["send", GROUP, "buy"])?;
    has(&ann, &["to all", "buy"])?;
    stage.servers[1].start(&[])?;
    other.ok(&["send", GROUP, "sell"])?;
    other.ok(&["flush"])?;
    has(&ann, &["to all", "buy", "sell"])?;
    let fork = stage.listening[1].wait_for("the fork", |line| {
        event(line, "evidence").filter(|told| told["kind"] == "author_forked")
    })?;
    assert!(text(&fork, "detail")?.starts_with("Olga signed two statements"), "{fork}");
    let kept = ann.ok(&["evidence", GROUP])?;
    let kept = kept.of_type("kept_evidence").find(|row| row["kind"] == "author_forked").expect("it is kept");
    let proof = protocol::base64url::decode(&text(kept, "bytes")?)?;
    let holds = |words: &str| proof.windows(words.len()).any(|part| part == words.as_bytes());
    assert!(holds("\"buy\"") && holds("\"sell\""), "both statements prove it");
    let history = ann.ok(&["history", GROUP])?;
    assert!(history.of_type("evidence").any(|row| row["kind"] == "author_forked"));
    Ok(())
}

/// Copies the files of a home.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir(to)?;
    std::fs::set_permissions(to, std::fs::metadata(from)?.permissions())?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
