//! Two connections of each owner and member to the relay: both are in use, and what goes ahead of bulk confuses nobody.

use anyhow::{Context as _, ensure};
use e2e::stage::{GROUP, Stage, doubled, has, member_id, member_row};
use e2e::world::{Relay, event, eventually, text};

fn restart(relay: &mut Relay) -> anyhow::Result<()> {
    relay.kill()?;
    relay.start(&[])
}

#[test]
fn both_connections_are_in_use_and_outlive_every_program() -> anyhow::Result<()> {
    let mut stage = Stage::set(1, 1, 2, "member")?;
    let (ann, ben) = (stage.member(0)?.clone(), stage.member(1)?.clone());
    for person in [&stage.owner, &ann, &ben] {
        doubled(person)?;
    }
    let mut texts = vec!["one"];
    stage.owner.ok(&["send", GROUP, "one"])?;
    has(&ann, &texts)?;
    ann.ok(&["send", GROUP, "two"])?;
    texts.push("two");
    has(&ben, &texts)?;

    // A role and a removal between posts, each behind the one before.
    let id = member_id(&stage.owner, "Ann")?;
    stage.owner.ok(&["send", GROUP, "before the role"])?;
    stage.owner.ok(&["role", GROUP, &id, "moderator"])?;
    stage.owner.ok(&["send", GROUP, "after the role"])?;
    texts.extend(["before the role", "after the role"]);
    has(&ben, &texts)?;
    eventually("Ben knows Ann's role", || {
        Ok((text(&member_row(&ben, "Ann")?, "role")? == "moderator").then_some(()))
    })?;

    restart(stage.relay(0)?)?;
    stage.server(0)?.kill()?;
    stage.server(0)?.start(&[])?;
    stage.owner.ok(&["send", GROUP, "after the night", "--timeout", "60"])?;
    texts.push("after the night");
    has(&ben, &texts)?;
    has(&ann, &texts)?;
    for person in [&stage.owner, &ann, &ben] {
        doubled(person)?;
    }

    ann.ok(&["send", GROUP, "my last"])?;
    texts.push("my last");
    has(&ben, &texts)?;
    stage.owner.ok(&["remove", GROUP, &id])?;
    stage.owner.ok(&["send", GROUP, "not for Ann"])?;
    texts.push("not for Ann");
    has(&ben, &texts)?;
    eventually("Ann sees her removal", || {
        let answer = ann.ok(&["group", "list"])?;
        let row = answer.of_type("group").next().context("The group is listed")?;
        Ok((text(row, "status")? == "removed").then_some(()))
    })?;
    ensure!(!ann.texts(GROUP)?.contains(&"not for Ann".to_owned()), "whoever is removed gets nothing more");
    // What went ahead was no gap, and nobody was accused of it.
    let mut complaints = Vec::new();
    let bens = stage.listening.last_mut().context("Ben listens")?;
    bens.wait_for("the last post", |line| {
        let kinds = ["gap", "late", "evidence", "warning"];
        complaints.extend(kinds.into_iter().filter_map(|kind| event(line, kind)));
        let shown = event(line, "message")?;
        (text(&shown, "text").ok()? == "not for Ann").then_some(())
    })?;
    ensure!(complaints.is_empty(), "{complaints:?}");
    Ok(())
}
