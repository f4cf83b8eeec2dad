//! Joining, posting by role, edits, deletions, reactions, replies, roles, removal, blocking and leaving.

use anyhow::Context as _;
use e2e::stage::{GROUP, Stage, has, knows_blocked, member_id, member_row, message, message_id};
use e2e::world::{Person, eventually, text};
use serde_json::Value;

fn group_status(person: &Person) -> anyhow::Result<String> {
    let answer = person.ok(&["group", "list"])?;
    text(answer.of_type("group").next().context("The group is listed")?, "status")
}

#[test]
fn members_post_edit_delete_react_and_reply() -> anyhow::Result<()> {
    let stage = Stage::set(2, 2, 2, "member")?;
    let (ann, ben) = (stage.member(0)?, stage.member(1)?);

    stage.owner.ok(&["send", GROUP, "first"])?;
    has(ann, &["first"])?;
    has(ben, &["first"])?;
    ann.ok(&["send", GROUP, "second"])?;
    has(ben, &["first", "second"])?;
    has(&stage.owner, &["first", "second"])?;
    let row = message(ben, "second")?;
    assert_eq!(text(&row, "author")?, "Ann");
    assert_eq!(text(&row, "signature")?, "verified");

    ann.ok(&["edit", GROUP, &message_id(ann, "second")?, "second, corrected"])?;
    eventually("Ben sees the correction", || {
        Ok((ben.texts(GROUP)? == ["first", "second, corrected"]).then_some(()))
    })?;
    assert_eq!(message(ben, "second, corrected")?.get("edited"), Some(&Value::Bool(true)));

    ben.ok(&["reply", GROUP, &message_id(ben, "first")?, "an answer"])?;
    has(ann, &["first", "second, corrected", "an answer"])?;
    assert_eq!(text(&message(ann, "an answer")?, "reply_to")?, message_id(ann, "first")?);

    ben.ok(&["react", GROUP, &message_id(ben, "first")?, "🚀"])?;
    eventually("Ann sees the reaction", || {
        let row = message(ann, "first")?;
        Ok(row.get("reactions").and_then(Value::as_array).is_some_and(|all| !all.is_empty()).then_some(()))
    })?;

    let id = message_id(ann, "second, corrected")?;
    ann.ok(&["delete", GROUP, &id])?;
    eventually("Ben sees it deleted", || {
        let rows = ben.history(GROUP)?;
        let row = rows.iter().find(|row| row.get("message_id").and_then(Value::as_str) == Some(&id));
        Ok(row.is_none_or(|row| row.get("deleted") == Some(&Value::Bool(true))).then_some(()))
    })
}

#[test]
fn an_observer_cannot_post_until_the_owner_makes_it_a_member() -> anyhow::Result<()> {
    let stage = Stage::set(1, 1, 2, "observer")?;
    let (ann, ben) = (stage.member(0)?, stage.member(1)?);
    assert_ne!(ann.run(&["send", GROUP, "let me"])?.code, 0);

    stage.owner.ok(&["role", GROUP, &member_id(&stage.owner, "Ann")?, "member"])?;
    eventually("Ann knows her role", || {
        Ok((text(&member_row(ann, "Ann")?, "role")? == "member").then_some(()))
    })?;
    ann.ok(&["send", GROUP, "thank you"])?;
    has(ben, &["thank you"])?;
    assert_eq!(text(&message(ben, "thank you")?, "signature")?, "verified");
    Ok(())
}

#[test]
fn a_blocked_member_is_not_heard_and_a_removed_one_hears_nothing_more() -> anyhow::Result<()> {
    let stage = Stage::set(1, 1, 2, "member")?;
    let (ann, ben) = (stage.member(0)?, stage.member(1)?);
    ann.ok(&["send", GROUP, "one"])?;
    has(ben, &["one"])?;

    let id = member_id(&stage.owner, "Ann")?;
    stage.owner.ok(&["block", GROUP, &id])?;
    // What she says before she knows might come to the relay when she is not blocked any more.
    for person in [ann, ben] {
        knows_blocked(person, "Ann", true)?;
    }
    assert_ne!(ann.run(&["send", GROUP, "blocked words"])?.code, 0);
    stage.owner.ok(&["unblock", GROUP, &id])?;
    for person in [ann, ben] {
        knows_blocked(person, "Ann", false)?;
    }
    ann.ok(&["send", GROUP, "two"])?;
    has(ben, &["one", "two"])?;

    stage.owner.ok(&["remove", GROUP, &id])?;
    eventually("Ann knows that she was removed", || Ok((group_status(ann)? == "removed").then_some(())))?;
    stage.owner.ok(&["send", GROUP, "without Ann"])?;
    has(ben, &["one", "two", "without Ann"])?;
    assert!(!ann.texts(GROUP)?.contains(&"without Ann".to_owned()));
    Ok(())
}

#[test]
fn the_owner_learns_whom_an_admin_removed() -> anyhow::Result<()> {
    let stage = Stage::set(1, 1, 1, "observer")?;
    let ann = stage.member(0)?;
    stage.owner.ok(&["role", GROUP, &member_id(&stage.owner, "Ann")?, "admin"])?;
    eventually("Ann knows her role", || {
        Ok((text(&member_row(ann, "Ann")?, "role")? == "admin").then_some(()))
    })?;
    // Admins are told of those who join from now on.
    let late = stage.world.person("Late", &stage.servers.iter().collect::<Vec<_>>())?;
    let _listening = late.listen()?;
    late.ok(&["join", &stage.link])?;
    ann.ok(&["remove", GROUP, &member_id(ann, "Late")?])?;
    eventually("Late knows of the removal", || Ok((group_status(&late)? == "removed").then_some(())))?;
    eventually("the owner knows of the removal", || {
        let answer = stage.owner.ok(&["members", GROUP])?;
        let here = answer.of_type("member").any(|row| {
            row.get("name").and_then(Value::as_str) == Some("Late")
                && row.get("status").and_then(Value::as_str) == Some("active")
        });
        Ok((!here).then_some(()))
    })
}

#[test]
fn a_joiner_gets_recent_history_and_a_leaver_is_seen_to_leave() -> anyhow::Result<()> {
    let stage = Stage::set(1, 1, 1, "member")?;
    stage.owner.ok(&["send", GROUP, "before"])?;
    stage.everybody_has(&["before"])?;

    let late = stage.world.person("Late", &stage.servers.iter().collect::<Vec<_>>())?;
    let _listening = late.listen()?;
    late.ok(&["join", &stage.link])?;
    has(&late, &["before"])?;
    assert_eq!(text(&message(&late, "before")?, "signature")?, "verified");
    member_row(&stage.owner, "Late")?;

    late.ok(&["leave", GROUP])?;
    eventually("the owner sees Late leave", || {
        let answer = stage.owner.ok(&["members", GROUP])?;
        let here = answer.of_type("member").any(|row| {
            row.get("name").and_then(Value::as_str) == Some("Late")
                && row.get("status").and_then(Value::as_str) == Some("active")
        });
        Ok((!here).then_some(()))
    })
}

#[test]
fn a_changed_profile_and_the_end_of_the_group_reach_members() -> anyhow::Result<()> {
    let stage = Stage::set(1, 1, 1, "observer")?;
    let ann = stage.member(0)?;
    stage.owner.ok(&["group", "profile", GROUP, "--description", "What the town talks about"])?;
    eventually("Ann sees the description", || {
        let answer = ann.ok(&["group", "profile", GROUP])?;
        let row = answer.of_type("group_profile").next().context("A profile")?;
        Ok((row.get("description").and_then(Value::as_str) == Some("What the town talks about"))
            .then_some(()))
    })?;
    stage.owner.ok(&["group", "delete", GROUP])?;
    eventually("Ann sees that the group is deleted", || Ok((group_status(ann)? == "deleted").then_some(())))?;
    // The link is deleted, too.
    stage.owner.ok(&["flush", "--timeout", "60"])?;

    let late = stage.world.person("Late", &stage.servers.iter().collect::<Vec<_>>())?;
    let refused = late.run(&["join", &stage.link, "--timeout", "60"])?;
    assert_eq!(refused.code, 12, "a deleted group has its own exit code: {}", refused.talk);
    Ok(())
}

#[test]
fn what_is_unread_is_counted_once_over_relays_and_reconnections() -> anyhow::Result<()> {
    let mut stage = Stage::set(1, 2, 1, "member")?;
    let ann = stage.member(0)?.clone();
    let unread = || -> anyhow::Result<u64> {
        ann.ok(&["flush"])?;
        let groups = ann.ok(&["group", "list"])?;
        let row = groups.of_type("group").next().context("Ann has a group")?;
        row.get("unread").and_then(Value::as_u64).context("A count")
    };
    stage.listening.pop().context("Ann listens")?.kill()?;
    assert_eq!(unread()?, 0);
    for words in ["one", "two", "three", "four"] {
        stage.owner.ok(&["send", GROUP, words])?;
    }
    eventually("both relays have brought all", || {
        ann.ok(&["flush"])?;
        let rows = ann.history(GROUP)?;
        let twice = |row: &Value| row.get("duplicates") == Some(&Value::from(1));
        Ok((rows.len() == 4 && rows.iter().all(twice)).then_some(()))
    })?;
    assert_eq!(unread()?, 4);
    let id = message_id(&stage.owner, "four")?;
    stage.owner.ok(&["delete", GROUP, &id])?;
    eventually("what is deleted is not unread", || Ok((unread()? == 3).then_some(())))?;
    ann.ok(&["send", GROUP, "mine"])?;
    assert_eq!(unread()?, 3);
    let left = |arguments: &[&str]| -> anyhow::Result<u64> {
        let answer = ann.ok(arguments)?;
        let row = answer.of_type("unread").next().context("A count")?;
        row.get("unread").and_then(Value::as_u64).context("A count")
    };
    assert_eq!(left(&["read", GROUP, &message_id(&ann, "one")?])?, 2);
    assert_eq!(unread()?, 2);
    assert_eq!(left(&["read", GROUP])?, 0);
    assert_eq!(unread()?, 0);
    Ok(())
}

/// How many messages of a person's group are unread.
fn unread(person: &Person) -> anyhow::Result<u64> {
    let groups = person.ok(&["group", "list"])?;
    let row = groups.of_type("group").next().context("There is a group")?;
    row.get("unread").and_then(Value::as_u64).context("A count")
}

#[test]
fn what_a_moderator_deletes_before_reading_it_is_not_unread() -> anyhow::Result<()> {
    let mut stage = Stage::set(1, 1, 1, "member")?;
    stage.listening.remove(0).kill()?;
    stage.member(0)?.ok(&["send", GROUP, "unwelcome"])?;
    eventually("it has come to the owner", || {
        stage.owner.ok(&["flush"])?;
        Ok((unread(&stage.owner)? == 1).then_some(()))
    })?;
    stage.owner.ok(&["delete", GROUP, &message_id(&stage.owner, "unwelcome")?])?;
    assert_eq!(unread(&stage.owner)?, 0);
    Ok(())
}

#[test]
fn a_restored_home_has_what_was_said_to_the_lost_one_and_counts_each_once() -> anyhow::Result<()> {
    let mut stage = Stage::set(1, 2, 1, "member")?;
    let ann = stage.member(0)?.clone();
    stage.owner.ok(&["send", GROUP, "before"])?;
    has(&ann, &["before"])?;
    let archive = stage.world.path().join("ann.conclave").display().to_string();
    ann.ok(&["export", &archive])?;
    // Only the home that is lost then is told of these, by both relays.
    for words in ["one", "two", "gone"] {
        stage.owner.ok(&["send", GROUP, words])?;
    }
    ann.ok(&["send", GROUP, "by Ann"])?;
    stage.owner.ok(&["delete", GROUP, &message_id(&stage.owner, "gone")?])?;
    let edited = message_id(&stage.owner, "two")?;
    stage.owner.ok(&["edit", GROUP, &edited, "two, corrected"])?;
    eventually("the home that is lost has all", || {
        Ok((ann.texts(GROUP)?.iter().filter(|text| text.contains("two, corrected")).count() == 1)
            .then_some(()))
    })?;
    stage.listening.pop().context("Ann listens")?.kill()?;
    std::fs::rename(&ann.home, stage.world.path().join("lost"))?;
    ann.ok(&["import", &archive])?;
    eventually("the restored home has what it was not told", || {
        ann.ok(&["flush"])?;
        let mut texts = ann.texts(GROUP)?;
        texts.retain(|text| !text.is_empty());
        texts.sort();
        Ok((texts == ["before", "by Ann", "one", "two, corrected"]).then_some(()))
    })?;
    // Shown before it was lost; said by herself; and what is deleted is not there.
    let first = unread(&ann)?;
    assert_eq!(first, 2, "{:?}", ann.history(GROUP)?);
    assert_eq!(message(&ann, "by Ann")?.get("own"), Some(&Value::Bool(true)));
    // In the middle of whatever still comes, and again.
    ann.ok(&["flush"])?;
    stage.relay(0)?.kill()?;
    stage.relay(0)?.start(&[])?;
    ann.ok(&["flush"])?;
    assert_eq!(unread(&ann)?, first);
    stage.owner.ok(&["send", GROUP, "after"])?;
    eventually("what comes now is one more", || {
        ann.ok(&["flush"])?;
        Ok((unread(&ann)? == first + 1).then_some(()))
    })
}

#[test]
fn an_owners_other_device_has_the_history() -> anyhow::Result<()> {
    let mut stage = Stage::set(1, 1, 1, "member")?;
    let ann = stage.member(0)?.clone();
    stage.owner.ok(&["send", GROUP, "one"])?;
    has(&ann, &["one"])?;
    ann.ok(&["send", GROUP, "two"])?;
    has(&stage.owner, &["one", "two"])?;
    stage.owner.ok(&["send", GROUP, "three"])?;
    stage.everybody_has(&["one", "two", "three"])?;
    let archive = stage.world.path().join("owner.conclave").display().to_string();
    stage.owner.ok(&["export", "--group", GROUP, &archive])?;
    stage.listening.remove(0).kill()?;

    let other = stage.world.person("Olga-2", &stage.servers.iter().collect::<Vec<_>>())?;
    other.ok(&["import", "--group", &archive, "--timeout", "60"])?;
    eventually("the other device has all", || {
        other.ok(&["flush"])?;
        Ok((other.texts(GROUP)?.len() >= 3).then_some(()))
    })?;
    assert_eq!(other.texts(GROUP)?, ["one", "two", "three"]);
    let own = |words| Ok::<_, anyhow::Error>(message(&other, words)?.get("own").cloned());
    assert_eq!((own("one")?, own("two")?), (Some(Value::Bool(true)), Some(Value::Bool(false))));
    assert_eq!(unread(&other)?, 1, "what the owner said is not new to the owner");
    other.ok(&["send", GROUP, "four"])?;
    stage.everybody_has(&["one", "two", "three", "four"])
}

#[test]
fn a_new_member_reads_all_that_a_relay_keeps_also_when_killed_meanwhile() -> anyhow::Result<()> {
    let mut stage = Stage::set(1, 1, 1, "observer")?;
    // Stock clients and relays know of nothing but the newest.
    stage.owner.ok(&["group", "profile", GROUP, "--history-items", "500", "--history-days", "7"])?;
    stage.relays[0].kill()?;
    stage.relays[0].start(&[("CHAT_RELAY_HISTORY_ITEMS", "2")])?;
    let expected = stage.owner_says(120)?;

    let late = stage.world.person("Late", &stage.servers.iter().collect::<Vec<_>>())?;
    let mut listening = late.listen_with(&[("CONCLAVE_CRASH_POINT", "client.history.page:2")])?;
    late.run(&["join", &stage.link])?;
    listening.wait()?;
    let _listening = late.listen()?;
    has(&late, &expected)?;
    let last = message(&late, "message 120")?;
    assert_eq!(
        (text(&last, "signature")?.as_str(), last.get("late")),
        ("verified", Some(&Value::Bool(false)))
    );
    assert_eq!(late.ok(&["history", GROUP])?.of_type("gap").count(), 0);
    Ok(())
}

#[test]
fn a_member_away_for_too_long_catches_up_by_pages_and_counts_each_once() -> anyhow::Result<()> {
    let mut stage = Stage::set(1, 1, 1, "observer")?;
    let ann = stage.member(0)?.clone();
    stage.owner.ok(&["group", "profile", GROUP, "--history-items", "500"])?;
    stage.owner.ok(&["send", GROUP, "before"])?;
    has(&ann, &["before"])?;
    stage.listening.pop().context("Ann listens")?.kill()?;
    let relay = stage.relay(0)?;
    relay.kill()?;
    relay.start(&[
        ("CHAT_RELAY_HISTORY_ITEMS", "2"),
        ("CHAT_RELAY_MEMBER_BACKLOG_MAX", "3"),
        ("CHAT_RELAY_CLEANING_INTERVAL", "1s"),
    ])?;
    // More than Ann's queue and her place in the relay's stream hold.
    let mut expected: Vec<String> = (1..=160).map(|number| format!("message {number:03}")).collect();
    let file = stage.world.path().join("messages.txt");
    std::fs::write(&file, expected.join("\n"))?;
    stage.owner.ok(&["send", GROUP, "--file", &file.display().to_string(), "--timeout", "5m"])?;
    let process = stage.relay(0)?.process()?;
    eventually("Ann is passed over", || Ok(process.has_said("members are passed over").then_some(())))?;

    eventually("Ann has all", || {
        ann.ok(&["flush"])?;
        Ok((ann.texts(GROUP)?.len() > expected.len()).then_some(()))
    })?;
    expected.insert(0, "before".to_owned());
    let mut texts = ann.texts(GROUP)?;
    texts.sort();
    assert_eq!(texts, expected);
    let answer = ann.ok(&["group", "list"])?;
    let row = answer.of_type("group").next().context("Ann has a group")?;
    assert_eq!(row.get("unread"), Some(&Value::from(160)));
    assert_eq!(ann.ok(&["history", GROUP])?.of_type("gap").count(), 0);
    Ok(())
}
