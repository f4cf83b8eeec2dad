//! What becomes of a relay that the group link does not list any more.

use chat_relay::config::Tuning;
use protocol::group::event::Event;
use protocol::group::identity::{MemberId, MemberKey};
use protocol::group::roster::Roster;
use protocol::group::served_group::ServedStatus;
use protocol::group::signed::{SignatureState, Statement};
use protocol::net::rng::system_rng;

use crate::host::Order;
use crate::people::{Group, Heard, Person};

/// The relay itself says that it leaves: its bytes.
async fn leave(person: &mut Person) -> Vec<u8> {
    let by_itself = |heard: &Heard| {
        let says_so = matches!(heard.event, Event::Leave(_)) && heard.from.is_none();
        says_so.then(|| heard.verbatim.clone())
    };
    person.hear("the relay's leave", by_itself).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_stays_unlisted_says_that_it_leaves_in_its_own_signed_words() {
    let soon = Tuning { inactive_ttl: "300ms".parse().ok(), ..Tuning::default() };
    let mut group = Group::served(soon).await;
    let mut member = group.join().await;
    let key = member.peer.read(&group.relay_link.clone().unwrap()).await.unwrap().root_key;
    group.list(false).await;
    let (id, relay) = (group.owner.group.clone(), group.relay_id.clone());
    // Before it goes: the connections are there to carry it.
    for person in [&mut member, &mut group.owner] {
        let said = leave(person).await;
        let state = Statement::parse(&said).unwrap().check(&id, &relay, Some(&MemberKey(key)));
        assert_eq!(state, SignatureState::Verified);
    }
    group.forgotten().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_is_listed_again_goes_on_without_an_invitation() {
    let mut group = Group::served(Tuning::default()).await;
    let mut member = group.join().await;
    group.is_at(|status| matches!(status, ServedStatus::Active { .. })).await;
    group.list(false).await;
    group.is_at(|status| status == ServedStatus::Delisted).await;

    // Nothing is lost of what is said meanwhile, but nobody new comes in.
    group.owner.post("meanwhile").await;
    member.hear_post("meanwhile").await;
    let (id, key) = (MemberId::generate(&mut system_rng()), Group::key());
    let relay = group.relay_id.clone();
    let (_, answer) = group.ask(id.clone(), key.clone(), &relay).await;
    assert!(matches!(answer, Event::RelayNotice(_)), "{answer:?}");

    // A restart forgets nothing of it.
    group.relay.stop().await;
    group.list(true).await;
    group.relay.resume().await;
    group.is_at(|status| matches!(status, ServedStatus::Active { .. })).await;
    let mut late = group.join().await;
    let element = group.owner.post("here again").await;
    for person in [&mut member, &mut late] {
        assert_eq!(person.hear_post("here again").await.verbatim, element);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_whose_owner_is_gone_returns_by_a_new_invitation_alone() {
    let mut group = Group::served(Tuning::default()).await;
    group.owner.peer.order(Order::Delete(group.owner.connection)).await;
    // The relay finds out when it has something to tell the owner.
    let mut member = group.join().await;
    group.is_at(|status| matches!(status, ServedStatus::Active { .. })).await;
    group.list(false).await;
    leave(&mut member).await;
    group.forgotten().await;
    group.list(true).await;

    let (connection, answer) = group.invite().await;
    group.join_up(connection, &answer).await;
    group.publish_roster(1, &Roster::default()).await;
    group.list(true).await;
    let mut back = group.join().await;
    group.owner.post("a new beginning").await;
    back.hear_post("a new beginning").await;
}
