//! What a member or a relay sends to a group: containers, batches, forwards, signed statements, JSON.

#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::group::batch::Element;
use protocol::group::container::{elements, unfold};
use protocol::group::event::Message;
use protocol::group::profile::{GroupProfile, Profile};
use protocol::group::roster::Roster;
use protocol::group::signed::Statement;

fuzz_target!(|data: &[u8]| {
    json(data);
    let _ = Roster::parse(data);
    let Ok(unfolded) = unfold(data) else { return };
    for element in elements(&unfolded).into_iter().flatten().flatten() {
        match element {
            Element::Statement(signed) => statement(&signed),
            Element::Forward(forward) => statement(&forward.statement),
            _ => {}
        }
    }
});

fn statement(statement: &Statement<'_>) {
    assert!(statement.verbatim().ends_with(statement.body()), "nothing signed is written anew");
    json(statement.body());
}

fn json(bytes: &[u8]) {
    if let Ok(message) = Message::parse(bytes) {
        let again = message.to_json();
        let read = Message::parse(&again).expect("what is written can be read");
        assert_eq!(read.to_json(), again);
    }
    if let Ok(profile) = serde_json::from_slice::<GroupProfile>(bytes) {
        let _ = profile.check();
    }
    if let Ok(profile) = serde_json::from_slice::<Profile>(bytes) {
        let _ = profile.check();
    }
}
