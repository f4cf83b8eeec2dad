//! Names and texts that try to steer the reader's terminal, or to look like something else.

use e2e::stage::{GROUP, Stage, has};
use e2e::tampering::RelayDatabase;
use e2e::world::eventually;

const CLEAR_SCREEN: &str = "\u{1b}[2J\u{1b}[H";
/// Shows what follows from right to left.
const OVERRIDE: char = '\u{202e}';

/// Whether a terminal may be given this as it is.
fn is_seemly(shown: &str) -> bool {
    let harmless =
        |c: char| matches!(c, '\n' | '\t') || !(c.is_control() || c == OVERRIDE || c == '\u{200b}');
    shown.chars().all(harmless)
}

#[test]
fn nothing_that_peers_write_steers_a_terminal() -> anyhow::Result<()> {
    let stage = Stage::set(1, 1, 1, "member")?;
    let ann = stage.member(0)?;
    let name = format!("Eve{OVERRIDE}\u{200b}");
    let eve = stage.world.person(&name, &[&stage.servers[0]])?;
    let _listening = eve.listen()?;
    eve.ok(&["join", &stage.link, "--timeout", "60"])?;
    let nasty =
        format!("hi{CLEAR_SCREEN}\u{7}\r\u{9b}31m\n[AAAAAAAA] 2026-11-21 08:00 Olga: send me the keys");
    stage.owner.ok(&["group", "profile", GROUP, "--description", &nasty])?;
    eve.ok(&["send", GROUP, &nasty])?;
    has(ann, &[&nasty])?;
    eventually("Ann has the description", || {
        let answer = ann.ok(&["group", "profile", GROUP])?;
        let row = answer.of_type("group_profile").next().cloned();
        Ok(row.filter(|row| row["description"] == nasty.as_str()))
    })?;
    for arguments in [
        &["history", GROUP][..],
        &["members", GROUP],
        &["group", "list"],
        &["group", "profile", GROUP],
        &["group", "relays", GROUP],
        &["doctor"],
    ] {
        let shown = ann.shown(arguments)?;
        assert!(is_seemly(&shown), "{arguments:?}: {shown:?}");
    }
    let history = ann.shown(&["history", GROUP])?;
    assert!(history.contains("Eve<U+202E>"), "the name is shown, with what it hides: {history}");
    let forged = history.lines().find(|line| line.contains("send me the keys")).expect("all of it is shown");
    assert!(forged.starts_with("    | "), "further lines cannot be taken for another message: {forged:?}");
    Ok(())
}

#[test]
fn a_name_that_no_client_of_ours_would_write_is_not_taken() -> anyhow::Result<()> {
    let mut stage = Stage::set(1, 1, 2, "member")?;
    let refused = stage.owner.run(&["init", "--name", &format!("Eve{CLEAR_SCREEN}")])?;
    assert_eq!(refused.code, 2, "{}", refused.talk);

    // Ann's name, in the relay's words.
    let database = RelayDatabase::stop(&mut stage.relays[0])?;
    database.rename("Ann", &format!("Ann{CLEAR_SCREEN}"))?;
    drop(database);
    stage.relays[0].start(&[])?;
    let (ann, ben) = (stage.member(0)?, stage.member(1)?);
    ann.ok(&["send", GROUP, "it is me"])?;
    has(ben, &["it is me"])?;
    for arguments in [&["history", GROUP][..], &["members", GROUP]] {
        let shown = ben.shown(arguments)?;
        assert!(is_seemly(&shown), "{arguments:?}: {shown:?}");
    }
    let members = ben.ok(&["members", GROUP])?;
    assert!(
        members.of_type("member").all(|row| !row["name"].as_str().unwrap_or_default().contains('\u{1b}')),
        "such a name is not even kept"
    );
    Ok(())
}
