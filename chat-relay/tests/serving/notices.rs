//! What owners are told of refusals, seen from outside.

use chat_relay::config::Tuning;
use protocol::group::event::Event;
use protocol::group::event::owner_relay::RelayNotice;
use protocol::group::identity::{MemberKey, MemberRole};
use protocol::group::signed::{SignatureState, Statement};

use crate::people::{Group, Heard};

fn notice(heard: &Heard) -> Option<(RelayNotice, Vec<u8>)> {
    match &heard.event {
        Event::RelayNotice(notice) => Some((notice.clone(), heard.verbatim.clone())),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_owner_is_told_of_a_member_who_is_not_heard() {
    let mut group = Group::served(Tuning { member_messages_per_minute: Some(1), ..Tuning::default() }).await;
    let member = group.join().await;
    let roster = Group::roster_with(&member, MemberRole::Member);
    group.publish_roster(2, &roster).await;
    for text in ["one", "two", "three"] {
        member.post(text).await;
    }
    let (told, verbatim) = group.owner.hear("a notice", notice).await;
    assert_eq!((told.notice.as_str(), told.count), ("member_pace", 1));
    assert_eq!(told.member_id, Some(member.id.clone()));
    assert!(told.text.contains("block"), "{told:?}");

    let link = group.relay_link.clone().unwrap();
    let key = MemberKey(group.owner.peer.read(&link).await.unwrap().root_key);
    let id = group.profile.public_group.as_ref().unwrap().public_group_id.clone();
    let state = Statement::parse(&verbatim).unwrap().check(&id, &group.relay_id, Some(&key));
    assert_eq!(state, SignatureState::Verified, "in the relay's own name");
    group.owner.hear_post("one").await;
    assert!(!group.owner.has_unheard_post("two") && !group.owner.has_unheard_post("three"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_owner_is_told_that_joiners_find_no_room() {
    // The owner is one of two.
    let mut group = Group::served(Tuning { members_max: Some(2), ..Tuning::default() }).await;
    group.join().await;
    let answer = group.ask_as_stranger().await;
    let Event::RelayNotice(answer) = answer else { panic!("the group rejects nobody: {answer:?}") };
    assert_eq!(answer.notice, "full");
    assert!(answer.text.contains("another relay"), "{answer:?}");
    let (told, _) = group.owner.hear("a notice", notice).await;
    assert_eq!(told.notice, "group_full");
    assert!(told.text.contains("add another relay"), "{told:?}");
}
