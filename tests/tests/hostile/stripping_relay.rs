//! A relay that takes signatures away.

use e2e::stage::{GROUP, Stage, has, message};
use e2e::tampering::{RelayDatabase, arm};
use e2e::world::{eventually, text};
use protocol::group::signed::Statement;

use super::{brought_by, evidence, kept_evidence};

/// Takes the signature from the newest message.
fn strip(database: &RelayDatabase) -> anyhow::Result<()> {
    let post = database.newest()?;
    let signed = database.element(post)?;
    let statement = Statement::parse(&signed)?;
    assert!(statement.is_signed(), "our clients sign what they post");
    database.replace(post, statement.body())
}

#[test]
fn the_only_relay_strips_a_signature_and_the_post_is_shown_as_its_word() -> anyhow::Result<()> {
    let mut stage = Stage::set(1, 1, 1, "observer")?;
    let ann = stage.member(0)?.clone();
    let database = RelayDatabase::intercept(&mut stage.relays[0], || {
        stage.owner.ok(&["send", GROUP, "who said this?"]).map(drop)
    })?;
    strip(&database)?;
    drop(database);
    stage.relays[0].start(&[])?;
    has(&ann, &["who said this?"])?;
    let row = message(&ann, "who said this?")?;
    assert_eq!(text(&row, "signature")?, "unsigned");
    assert_eq!(brought_by(&row), ["relay-1"]);
    let told = evidence(&mut stage.listening[1], "relay-1")?;
    assert_eq!(text(&told, "kind")?, "unsigned_post");
    assert_eq!(text(&told, "message_id")?, text(&row, "message_id")?);
    assert_eq!(kept_evidence(&ann)?, 1);
    let shown = ann.shown(&["history", GROUP])?;
    assert!(shown.contains("[UNSIGNED] (says relay relay-1): who said this?"), "{shown}");
    Ok(())
}

#[test]
fn with_an_honest_relay_a_stripped_post_is_shown_once_and_verified() -> anyhow::Result<()> {
    let mut stage = Stage::set(1, 2, 1, "observer")?;
    let ann = stage.member(0)?.clone();

    // The honest copy first: the stripped one is dropped and told of.
    let database = RelayDatabase::intercept(&mut stage.relays[0], || {
        stage.owner.ok(&["send", GROUP, "first"]).map(drop)
    })?;
    has(&ann, &["first"])?;
    strip(&database)?;
    drop(database);
    stage.relays[0].start(&[])?;
    let told = evidence(&mut stage.listening[1], "relay-1")?;
    assert_eq!(text(&told, "kind")?, "different_copies");
    assert!(text(&told, "detail")?.contains("relay-1 removed the signature"), "{told}");
    assert_eq!(text(&message(&ann, "first")?, "signature")?, "verified");

    // The stripped copy first: shown as unsigned, until the signed one comes.
    arm(&mut stage.relays[0])?;
    arm(&mut stage.relays[1])?;
    stage.owner.ok(&["send", GROUP, "second"])?;
    let database = RelayDatabase::taken(&mut stage.relays[0])?;
    strip(&database)?;
    drop(database);
    stage.relays[0].start(&[])?;
    has(&ann, &["first", "second"])?;
    assert_eq!(text(&message(&ann, "second")?, "signature")?, "unsigned");
    drop(RelayDatabase::taken(&mut stage.relays[1])?);
    stage.relays[1].start(&[])?;
    eventually("the signed copy counts", || {
        Ok((text(&message(&ann, "second")?, "signature")? == "verified").then_some(()))
    })?;
    let row = message(&ann, "second")?;
    assert_eq!(row["conflict"], true);
    assert_eq!(ann.texts(GROUP)?, ["first", "second"]);
    assert_eq!(text(&evidence(&mut stage.listening[1], "relay-1")?, "kind")?, "unsigned_post");
    let told = evidence(&mut stage.listening[1], "relay-1")?;
    assert!(text(&told, "detail")?.contains("relay-1 removed the signature"), "{told}");
    Ok(())
}
