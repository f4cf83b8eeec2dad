//! The way of one message, from the owner's keyboard to a member's screen. Read this test first.

use e2e::stage::{GROUP, Stage, message};
use e2e::world::text;

#[test]
fn a_message_travels_from_the_owner_through_a_relay_to_a_member() -> anyhow::Result<()> {
    // A server, a relay on it, an owner whose group lists the relay, and a member who joined by the group's link.
    let stage = Stage::set(1, 1, 1, "observer")?;

    // `send` returns when a relay's server has the message on disk, and says so per relay.
    let answer = stage.owner.ok(&["send", GROUP, "hello, reader"])?;
    let delivery = answer.of_type("delivery").next().expect("send says what became of the message");
    assert_eq!(text(delivery, "relay")?, "relay-1");
    assert_eq!(text(delivery, "state")?, "durable");

    // The member shows it once, with the owner's name, and knows that it is signed.
    stage.everybody_has(&["hello, reader"])?;
    let row = message(stage.member(0)?, "hello, reader")?;
    assert_eq!(text(&row, "author")?, "Olga");
    assert_eq!(text(&row, "signature")?, "verified");
    Ok(())
}
