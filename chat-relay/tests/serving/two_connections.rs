//! Members with two connections. The second is another peer's, so that each can be blocked by itself.

use chat_relay::config::Tuning;
use chat_relay::store::RelayStore as _;
use chat_relay::store::records::{GroupId, Purpose};
use protocol::agent::event::Event as AgentEvent;
use protocol::crypto::sign::Ed25519PrivateKey;
use protocol::group::batch;
use protocol::group::bulk::joining;
use protocol::group::event::bulk::{BulkAhead, BulkEnd, BulkJoin, BulkMark};
use protocol::group::event::members::{Leave, MemberDelete, MemberRoleChange};
use protocol::group::event::{Event, Message};
use protocol::group::identity::{MemberId, MemberRole};
use protocol::net::rng::system_rng;

use crate::host::Order;
use crate::people::{Group, Heard, Person};

fn json(event: Event) -> Vec<u8> {
    Message::new(None, event).to_json()
}

/// The number of a mark on the first connection.
pub(crate) fn mark(heard: &Heard) -> Option<(&'static str, i64)> {
    match &heard.event {
        Event::BulkBegin(mark) => Some(("begin", mark.number)),
        Event::BulkGo(mark) => Some(("go", mark.number)),
        Event::BulkEnd(end) => Some(("end", end.number.unwrap_or(i64::MAX))),
        _ => None,
    }
}

/// Asks for a second connection with this key; gives the answer beside it.
pub(crate) async fn ask(
    group: &mut Group,
    of: &MemberId,
    key: &Ed25519PrivateKey,
    number: i64,
) -> (Person, Event) {
    let join = BulkJoin { member_id: of.clone(), via_relay: group.relay_id.clone(), number };
    let info = joining::request(key, &group.owner.group, join);
    group.ask_with(of.clone(), key.clone(), &info).await
}

/// Lets the relay make the connection that it accepted.
pub(crate) async fn let_in((second, answer): (Person, Event)) -> Person {
    assert!(matches!(answer, Event::Acknowledge(_)), "{answer:?}");
    let mut second = second;
    second.peer.order(Order::Allow(second.connection, json(Event::Acknowledge(Default::default())))).await;
    second.peer.connected(second.connection).await;
    second
}

/// Takes what comes on the first connection until the relay begins; both are in use when this returns.
pub(crate) async fn take_over(first: &mut Person, number: i64) {
    assert_eq!(first.hear("begin", mark).await, ("begin", number));
    first.send(&json(Event::BulkReady(BulkMark { number }))).await;
    assert_eq!(first.hear("go", mark).await, ("go", number));
}

pub(crate) async fn attach(group: &mut Group, member: &mut Person, number: i64) -> Person {
    let second = let_in(ask(group, &member.id, &member.key, number).await).await;
    take_over(member, number).await;
    second
}

fn role_change(member: &MemberId, role: MemberRole, version: i64) -> Event {
    Event::MemberRole(MemberRoleChange {
        member_id: member.clone(),
        role,
        member_key: None,
        roster_version: Some(version),
    })
}

fn role_of(heard: &Heard) -> Option<MemberRole> {
    match &heard.event {
        Event::MemberRole(change) => Some(change.role),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_passed_on_comes_on_the_second_connection() {
    let mut group = Group::served(Tuning::default()).await;
    let mut member = group.join().await;
    group.owner.post("before").await;
    member.hear_post("before").await;
    let mut second = let_in(ask(&mut group, &member.id, &member.key, 1).await).await;
    assert_eq!(member.hear("begin", mark).await, ("begin", 1));
    // Nothing goes out until the member has taken what came before.
    let held = group.owner.post("held").await;
    member.send(&json(Event::BulkReady(BulkMark { number: 1 }))).await;
    assert_eq!(member.hear("go", mark).await, ("go", 1));
    assert_eq!(second.hear_post("held").await.verbatim, held);
    group.owner.post("after").await;
    second.hear_post("after").await;
    assert!(!member.has_unheard_post("held") && !member.has_unheard_post("after"));
    assert!(!second.has_unheard_post("before"));

    // The relay that was away goes on with both.
    group.relay.stop().await;
    group.relay.resume().await;
    group.owner.post("later").await;
    second.hear_post("later").await;
    group.owner.say(role_change(&member.id, MemberRole::Member, 1)).await;
    assert_eq!(member.hear("the role, ahead", role_of).await, MemberRole::Member);
    assert_eq!(second.hear("the role, in its turn", role_of).await, MemberRole::Member);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_else_attaches_a_connection() {
    let mut group = Group::served(Tuning::default()).await;
    let mut member = group.join().await;
    let stranger = Ed25519PrivateKey::generate(&mut system_rng());
    let (_, answer) = ask(&mut group, &member.id, &stranger, 1).await;
    assert!(matches!(answer, Event::LinkReject(_)), "{answer:?}");
    let _second = attach(&mut group, &mut member, 5).await;
    let key = member.key.clone();
    let (_, answer) = ask(&mut group, &member.id, &key, 5).await;
    assert!(matches!(answer, Event::LinkReject(_)), "an old request takes no place: {answer:?}");
    let unknown = MemberId::generate(&mut system_rng());
    let (_, answer) = ask(&mut group, &unknown, &key, 9).await;
    assert!(matches!(answer, Event::LinkReject(_)), "there is no first connection: {answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_passes_while_bulk_is_blocked() {
    let mut group = Group::served(Tuning::default()).await;
    let (mut member, mut other) = (group.join().await, group.join().await);
    let mut second = attach(&mut group, &mut member, 1).await;
    second.peer.pause().await;
    // The queue server holds eight messages of a queue.
    for number in 0..20 {
        group.owner.post(&format!("post {number}")).await;
        other.hear_post(&format!("post {number}")).await;
    }
    group.publish_roster(2, &Group::roster_with(&other, MemberRole::Member)).await;
    group.owner.say(role_change(&other.id, MemberRole::Member, 2)).await;
    assert_eq!(member.hear("the new role", role_of).await, MemberRole::Member);
    let delete =
        MemberDelete { member_id: other.id.clone(), messages: false, member_key: None, roster_version: None };
    group.owner.say(Event::MemberDelete(delete)).await;
    let removed = |heard: &Heard| match &heard.event {
        Event::MemberDelete(delete) => Some(delete.member_id.clone()),
        _ => None,
    };
    assert_eq!(member.hear("the removal", removed).await, other.id);

    // Then all comes in its turn, once.
    second.peer.resume();
    for number in 0..20 {
        second.hear_post(&format!("post {number}")).await;
    }
    assert_eq!(second.hear("the role in its turn", role_of).await, MemberRole::Member);
    assert_eq!(second.hear("the removal in its turn", removed).await, other.id);

    // Its own removal waits for nothing either, and cuts off both.
    second.peer.pause().await;
    let delete = MemberDelete {
        member_id: member.id.clone(),
        messages: false,
        member_key: None,
        roster_version: None,
    };
    group.owner.say(Event::MemberDelete(delete)).await;
    assert_eq!(member.hear("its own removal", removed).await, member.id);
    let mut store = group.relay.store();
    let number = store.member_by_id(GroupId(1), &member.id).unwrap().unwrap().number;
    let of_member = |(_, purpose): &(_, Purpose)| matches!(purpose, Purpose::Member(_, of) | Purpose::Bulk(_, of) if *of == number);
    let left = store.connections_of_group(GroupId(1)).unwrap().into_iter().find(of_member);
    assert_eq!(left, None, "nothing more is sent to it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_second_connection_falls_back_to_the_first_without_loss() {
    let mut group = Group::served(Tuning::default()).await;
    let mut member = group.join().await;
    let second = attach(&mut group, &mut member, 1).await;
    let connection = second.connection;
    second.peer.order(Order::Delete(connection)).await;
    for text in ["one", "two", "three"] {
        group.owner.post(text).await;
    }
    assert_eq!(member.hear("the end", mark).await, ("end", 1));
    for text in ["one", "two", "three"] {
        member.hear_post(text).await;
    }
    // Another one takes its place.
    let mut third = attach(&mut group, &mut member, 2).await;
    group.owner.post("four").await;
    third.hear_post("four").await;
    // The member gives it up by itself.
    third.peer.pause().await;
    group.owner.post("five").await;
    member.send(&json(Event::BulkEnd(BulkEnd { number: Some(2) }))).await;
    member.hear_post("five").await;
    group.owner.post("six").await;
    member.hear_post("six").await;
    assert!(!member.has_unheard_post("six"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_member_said_last_is_read_though_it_took_its_second_queue_along() {
    let mut group = Group::served(Tuning::default()).await;
    let mut member = group.join().await;
    let mut second = attach(&mut group, &mut member, 1).await;
    group.relay.stop().await;
    // Much to read before the leave, so that the relay learns first that the queue is gone.
    for words in ["one", "two", "three", "four", "five", "six"] {
        second.post(words).await;
    }
    second.say(Event::Leave(Leave {})).await;
    let connection = second.connection;
    for _ in 0..7 {
        let is_sent = |event: &AgentEvent| matches!(event, AgentEvent::Sent { .. }).then_some(());
        second.peer.event(connection, "the server has it", is_sent).await;
    }
    second.peer.order(Order::Delete(connection)).await;
    let is_deleted = |event: &AgentEvent| matches!(event, AgentEvent::Deleted).then_some(());
    second.peer.event(connection, "the queue is gone", is_deleted).await;
    group.owner.post("to all").await;
    // The relay's clock may be ahead of the server's.
    let mut store = group.relay.store();
    let mut stored = store.member_by_id(GroupId(1), &member.id).unwrap().unwrap();
    stored.since = stored.since.plus_ms(3_600_000);
    store.update_member(&stored).unwrap();
    group.relay.resume().await;
    let left = |heard: &Heard| matches!(heard.event, Event::Leave(_)).then(|| heard.from.clone());
    let from = group.owner.hear("the leave", left).await.unwrap();
    assert_eq!(from.member(), Some(&member.id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owners_change_acts_ahead_and_stands_where_it_was_said() {
    let mut group = Group::served(Tuning::default()).await;
    let (mut reader, mut other) = (group.join().await, group.join().await);
    let (id, key) = (group.owner.id.clone(), group.owner.key.clone());
    let second = let_in(ask(&mut group, &id, &key, 1).await).await;
    take_over(&mut group.owner, 1).await;
    // The copy goes ahead of a post that is still to come on the second connection.
    let delete =
        MemberDelete { member_id: other.id.clone(), messages: false, member_key: None, roster_version: None };
    let removal = group.owner.signed(Event::MemberDelete(delete));
    let mark = json(Event::BulkAhead(BulkAhead {}));
    let (ahead, _) = batch::pack([&mark[..], &removal]);
    group.owner.send(&ahead[0]).await;
    let removed = |heard: &Heard| matches!(heard.event, Event::MemberDelete(_)).then_some(());
    other.hear("its removal", removed).await;
    second.post("said before the removal").await;
    second.send(&removal).await;
    reader.hear_post("said before the removal").await;
    reader.hear("the removal", removed).await;
    second.post("last").await;
    reader.hear_post("last").await;
    assert!(!other.has_unheard_post("said before the removal"), "whoever is removed gets nothing more");

    // What has no second copy any more takes its turn when the second connection goes.
    let mut third = group.join().await;
    let delete =
        MemberDelete { member_id: third.id.clone(), messages: false, member_key: None, roster_version: None };
    let removal = group.owner.signed(Event::MemberDelete(delete));
    let (ahead, _) = batch::pack([&mark[..], &removal]);
    group.owner.send(&ahead[0]).await;
    third.hear("its removal", removed).await;
    group.owner.send(&json(Event::BulkEnd(BulkEnd { number: Some(1) }))).await;
    reader.hear("the removal", removed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_the_group_reaches_whoever_changes_to_two_connections() {
    use protocol::group::event::group::GroupDelete;
    let mut group = Group::served(Tuning::default()).await;
    let (mut member, mut other) = (group.join().await, group.join().await);
    let mut second = let_in(ask(&mut group, &member.id, &member.key, 1).await).await;
    assert_eq!(member.hear("begin", mark).await, ("begin", 1));
    group.owner.post("the last post").await;
    group.owner.say(Event::GroupDelete(GroupDelete {})).await;
    let ended = |heard: &Heard| matches!(heard.event, Event::GroupDelete(_)).then_some(());
    other.hear("the end", ended).await;
    member.send(&json(Event::BulkReady(BulkMark { number: 1 }))).await;
    second.hear_post("the last post").await;
    second.hear("the end", ended).await;
    group.forgotten().await;
}
