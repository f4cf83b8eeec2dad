//! A relay that came back from a backup, while people went on.

use chat_relay::config::Tuning;
use chat_relay::store::records::MemberStatus;
use protocol::agent::event::{Event as AgentEvent, SyncState};
use protocol::group::event::Event;
use protocol::group::event::members::MemberDelete;
use protocol::timestamp::Timestamp;

use crate::filling::{answer, asked, item, item_of};
use crate::people::{Group, post};
use crate::two_connections::{ask, let_in, mark, take_over};

/// The end of all second connections, as the relay says it when new keys were agreed on.
const ALL: (&str, i64) = ("end", i64::MAX);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_on_a_second_connection_that_it_ended_is_read() {
    let mut group = Group::served(Tuning::default()).await;
    let mut member = group.join().await;
    let (id, key) = (group.owner.id.clone(), group.owner.key.clone());
    let mut second = let_in(ask(&mut group, &id, &key, 1).await).await;
    take_over(&mut group.owner, 1).await;
    second.post("before").await;
    member.hear_post("before").await;
    let backup = group.relay.back_up();
    group.relay.stop().await;
    second.post("while it was away").await;

    group.relay.restore(backup).await;
    assert_eq!(group.owner.hear("the end", mark).await, ALL);
    let renewed = |event: &AgentEvent| matches!(event, AgentEvent::RatchetSync(SyncState::Ok)).then_some(());
    second.peer.event(second.connection, "new keys", renewed).await;
    // Said by who has not read of the end yet.
    second.post("late").await;
    for text in ["while it was away", "late"] {
        member.hear_post(text).await;
    }
    let third = let_in(ask(&mut group, &id, &key, 2).await).await;
    take_over(&mut group.owner, 2).await;
    third.post("on another one").await;
    member.hear_post("on another one").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_it_does_not_know_any_more_it_has_from_the_owner() {
    let mut group = Group::served(Tuning::default()).await;
    let (mut member, other) = (group.join().await, group.join().await);
    let get = asked(&mut group.owner).await;
    answer(&group.owner, &get, Vec::new(), None).await;
    let known = group.owner.post("known").await;
    member.hear_post("known").await;
    let backup = group.relay.back_up();
    let between = group.owner.post("between").await;
    let delete =
        MemberDelete { member_id: other.id.clone(), messages: false, member_key: None, roster_version: None };
    let removal = group.owner.say(Event::MemberDelete(delete)).await;
    group.until_member(&other, |other| other.status == MemberStatus::Removed).await;
    member.hear_post("between").await;
    group.relay.stop().await;

    group.relay.restore(backup).await;
    assert_eq!(group.owner.hear("the end", mark).await, ALL);
    let get = asked(&mut group.owner).await;
    assert_eq!(get.before, None);
    // It went to a queue that the backup does not know.
    let lost = group.owner.signed(post("lost"));
    let forgotten = group.owner.signed(post("long ago"));
    let id = &group.owner.id;
    let items = vec![
        item(5, id, None, &lost),
        item(4, id, None, &removal),
        item(3, id, None, &between),
        item(2, id, None, &known),
        item_of(Timestamp::from_seconds(1), 1, id, None, &forgotten),
    ];
    answer(&group.owner, &get, items, None).await;
    member.hear_post("between").await;
    assert_eq!(member.hear_post("lost").await.verbatim, lost);
    group.until_member(&other, |other| other.status == MemberStatus::Removed).await;
    group.owner.post("last").await;
    member.hear_post("last").await;
    for text in ["known", "long ago"] {
        assert!(!member.has_unheard_post(text), "{text} would be said again");
    }
}
