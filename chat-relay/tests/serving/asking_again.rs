//! Members who ask again at the relay's link while what they said before waits in the queues of their old connections.

use chat_relay::config::Tuning;
use chat_relay::store::RelayStore as _;
use chat_relay::store::records::{GroupId, MemberStatus, Purpose};
use protocol::agent::store::AgentStore as _;
use protocol::crypto::sign::Ed25519PrivateKey;
use protocol::group::event::members::Leave;
use protocol::group::event::{Event, EventTag};
use protocol::group::identity::{MemberId, MemberRole};
use protocol::net::rng::system_rng;
use protocol::timestamp::Timestamp;

use crate::host::eventually;
use crate::people::{Group, Person};
use crate::two_connections::attach;

/// Much to read, so that the relay takes the request before the last of it.
const WORDS: [&str; 6] = ["one", "two", "three", "four", "five", "six"];

/// A group with a member who may post.
async fn with_writer() -> (Group, Person) {
    let mut group = Group::served(Tuning::default()).await;
    let writer = group.join().await;
    group.give_role(&writer, MemberRole::Member).await;
    group.until_member(&writer, |writer| writer.role == MemberRole::Member).await;
    (group, writer)
}

async fn hear_all(group: &mut Group) {
    for words in WORDS {
        group.owner.hear_post(words).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_member_said_before_it_asked_again_is_read() {
    let (mut group, writer) = with_writer().await;
    group.relay.stop().await;
    for words in WORDS {
        writer.post(words).await;
    }
    writer.peer.until_sent().await;
    let again = group.request_again(&writer).await;
    group.relay.resume().await;
    hear_all(&mut group).await;
    let mut again = Group::let_in(Group::answered(again).await).await;
    again.post("on the new one").await;
    group.owner.hear_post("on the new one").await;
    writer.post("late").await;
    group.owner.hear_post("late").await;
    group.owner.post("to all").await;
    again.hear_post("to all").await;

    // When its time is over the old connection goes, and the new one stays.
    group.relay.stop().await;
    let mut store = group.relay.store();
    let is_old = |(_, purpose): &(_, Purpose)| matches!(purpose, Purpose::Bulk(..));
    let (old, purpose) = store.connections_of_group(GroupId(1)).unwrap().into_iter().find(is_old).unwrap();
    store.set_purpose(old, purpose, Some(Timestamp(0))).unwrap();
    group.relay.resume().await;
    eventually(|| match store.connection(old).unwrap() {
        None => Ok(()),
        Some(_) => Err("the old connection is there".into()),
    })
    .await;
    assert_eq!(store.purpose(old).unwrap(), None);
    again.post("last").await;
    group.owner.hear_post("last").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_it_said_on_its_second_connection_is_read_too() {
    let (mut group, mut writer) = with_writer().await;
    let second = attach(&mut group, &mut writer, 1).await;
    group.relay.stop().await;
    for words in WORDS {
        second.post(words).await;
    }
    second.peer.until_sent().await;
    let again = group.request_again(&writer).await;
    group.relay.resume().await;
    hear_all(&mut group).await;
    let mut again = Group::let_in(Group::answered(again).await).await;
    group.owner.post("to all").await;
    again.hear_post("to all").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_left_and_asked_again_stays() {
    let (mut group, writer) = with_writer().await;
    group.relay.stop().await;
    for words in WORDS {
        writer.post(words).await;
    }
    writer.say(Event::Leave(Leave {})).await;
    writer.peer.until_sent().await;
    let again = group.request_again(&writer).await;
    group.relay.resume().await;
    hear_all(&mut group).await;
    let again = Group::let_in(Group::answered(again).await).await;
    // Behind the leave in the old queue.
    writer.post("late").await;
    group.owner.hear_post("late").await;
    group.until_member(&again, |member| member.status == MemberStatus::Connected).await;
    again.post("still here").await;
    group.owner.hear_post("still here").await;
    assert!(!group.owner.has_unheard(EventTag::Leave), "it is there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_did_not_come_about_gives_way_at_once() {
    let mut group = Group::served(Tuning::default()).await;
    let relay = group.relay_id.clone();
    let (id, key) = (MemberId::generate(&mut system_rng()), Ed25519PrivateKey::generate(&mut system_rng()));
    let (asked, _) = group.ask(id, key, &relay).await;
    let again = group.request_again(&asked).await;
    let again = Group::let_in(Group::answered(again).await).await;
    let mut store = group.relay.store();
    let number = store.member_by_id(GroupId(1), &again.id).unwrap().unwrap().number;
    let of_member = |(_, purpose): &(_, Purpose)| matches!(purpose, Purpose::Member(_, of) | Purpose::Bulk(_, of) if *of == number);
    let connections = store.connections_of_group(GroupId(1)).unwrap();
    assert_eq!(connections.iter().filter(|one| of_member(one)).count(), 1, "{connections:?}");
}
