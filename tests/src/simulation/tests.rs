//! That the invariants can fail: a run that held is told to have been another, and they notice.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::ledger::Post;
use super::script::Script;
use super::{invariants, play};

/// A seed in which members have posts of others.
const SEED: u64 = 1;

fn post_of(script: &Script) -> Post {
    let group = script.groups.iter().find(|group| group.link.is_some()).unwrap();
    Post {
        author: group.owner,
        number: 9999,
        id: "what nobody has".to_owned(),
        is_acknowledged: true,
        owed: Vec::new(),
        present: [].into(),
        barred: Vec::new(),
        blocked_at: Vec::new(),
        changes: Vec::new(),
    }
}

#[test]
fn a_run_that_did_not_hold_is_noticed() {
    let mut script = Script::new(SEED, false).unwrap();
    play(&mut script).unwrap();
    assert_eq!(script.unsettled().unwrap(), None);

    let place = script.groups.iter().position(|group| group.link.is_some()).unwrap();
    let mut lost = post_of(&script);
    let group = script.groups.get_mut(place).unwrap();
    let relay = *group.relays.iter().find(|(_, is_leaving)| !**is_leaving).unwrap().0;
    lost.owed.push((group.owner, relay));
    group.posts.push(lost);
    assert!(script.unsettled().unwrap().unwrap().contains("has not 9999 of"));
    script.groups.get_mut(place).unwrap().posts.pop();

    let (place, index, reader, by) = invariants::somebody_has(&mut script).unwrap();
    script.groups.get_mut(place).unwrap().posts.get_mut(index).unwrap().barred.push((reader, by));
    assert!(script.check().unwrap_err().to_string().contains("was removed, and got"));
    script.groups.get_mut(place).unwrap().posts.get_mut(index).unwrap().barred.pop();

    let (shown, times) = script.shown.pop_first().unwrap();
    script.world.program(shown.0).unwrap().is_cut_short = false;
    assert!(script.check().unwrap_err().to_string().contains("was never shown"));
    script.shown.insert(shown, times);

    let program = script.world.program(reader).unwrap();
    let entries = std::mem::replace(&mut program.entries_max, 401);
    assert!(script.check().unwrap_err().to_string().contains("held 401 entries in memory"));
    script.world.program(reader).unwrap().entries_max = entries;
    script.check().unwrap();
}
