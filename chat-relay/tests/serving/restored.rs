//! A relay that came back from a backup, while people went on.

use chat_relay::config::Tuning;
use protocol::agent::event::{Event as AgentEvent, SyncState};

use crate::people::Group;
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
