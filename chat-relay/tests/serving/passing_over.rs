//! Members for whom too much waits: content is passed over, and given as history; nothing else is.

use chat_relay::config::Tuning;
use chat_relay::store::RelayStore as _;
use chat_relay::store::records::{DeliveryId, LinkState};
use chat_relay::store::sql::SqlStore;
use protocol::group::event::history::{HistoryGap, HistoryGet, HistoryPosition};
use protocol::group::event::members::{MemberDelete, MemberRoleChange};
use protocol::group::event::{Event, Message};
use protocol::group::identity::MemberRole;

use crate::host::eventually;
use crate::people::{Group, Heard, Person};

/// Cleans all the time, lets little wait, and gives joiners no history by itself.
fn impatient() -> Tuning {
    Tuning {
        member_backlog_max: Some(2),
        history_items: Some(0),
        cleaning_interval: Some("100ms".parse().unwrap()),
        ..Tuning::default()
    }
}

/// More posts than a queue holds, one by one; gives their texts.
async fn post_many(group: &mut Group, here: &mut Person, from: usize) -> Vec<String> {
    let texts: Vec<String> = (from..from + 14).map(|at| format!("post {at}")).collect();
    for text in &texts {
        group.owner.post(text).await;
        here.hear_post(text).await;
    }
    texts
}

/// What a member hears of what it missed, and then of its pages, until it has all texts.
async fn asks_for_all(person: &mut Person, texts: &[String]) {
    let gap = |heard: &Heard| match &heard.event {
        Event::HistoryGap(HistoryGap { after }) => Some(after.clone()),
        _ => None,
    };
    let after = person.hear("that it was passed over", gap).await;
    let mut before: Option<HistoryPosition> = None;
    loop {
        let get =
            HistoryGet { before, after: Some(after.clone()), limit: 5, welcomed: None, ask_owner: false };
        person.send(&Message::new(None, Event::HistoryGet(get)).to_json()).await;
        let page = |heard: &Heard| match &heard.event {
            Event::HistoryPage(page) if page.last => Some(page.next.clone()),
            _ => None,
        };
        before = person.hear("a page", page).await;
        if before.is_none() {
            break;
        }
    }
    for text in texts {
        person.hear_post(text).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_passed_over_is_told_so_and_misses_no_role_and_no_removal() {
    let mut group = Group::served(impatient()).await;
    let (mut away, mut here) = (group.join().await, group.join().await);
    let third = group.join().await;
    away.peer.pause().await;
    let mut texts = post_many(&mut group, &mut here, 0).await;
    let role = MemberRoleChange {
        member_id: here.id.clone(),
        role: MemberRole::Member,
        member_key: None,
        roster_version: None,
    };
    group.owner.say(Event::MemberRole(role)).await;
    let removal =
        MemberDelete { member_id: third.id.clone(), messages: false, member_key: None, roster_version: None };
    group.owner.say(Event::MemberDelete(removal)).await;
    texts.extend(post_many(&mut group, &mut here, 14).await);
    group.until_member(&away, |member| member.gap.is_some()).await;

    away.peer.resume();
    away.hear("the role", |heard| matches!(heard.event, Event::MemberRole(_)).then_some(())).await;
    away.hear("the removal", |heard| matches!(heard.event, Event::MemberDelete(_)).then_some(())).await;
    asks_for_all(&mut away, &texts).await;
    // Told once: what comes now comes by itself.
    group.owner.post("and now").await;
    away.hear_post("and now").await;
    group.until_member(&away, |member| member.gap.is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_group_is_told_to_those_who_are_passed_over() {
    let mut group = Group::served(impatient()).await;
    let (mut away, mut here) = (group.join().await, group.join().await);
    away.peer.pause().await;
    post_many(&mut group, &mut here, 0).await;
    group.owner.say(Event::GroupDelete(Default::default())).await;
    here.hear("the end", |heard| matches!(heard.event, Event::GroupDelete(_)).then_some(())).await;
    group.until_member(&away, |member| member.gap.is_some()).await;
    away.peer.resume();
    away.hear("the end", |heard| matches!(heard.event, Event::GroupDelete(_)).then_some(())).await;
    group.forgotten().await;
}

/// More posts than one turn of the relay forgets, which all have but one who is away.
async fn one_is_behind(group: &mut Group, here: &mut Person) {
    for at in 0..70 {
        let text = format!("post {at}");
        group.owner.post(&text).await;
        here.hear_post(&text).await;
    }
    until(group, "one is behind", |store| store.members_behind().unwrap() == 1).await;
    assert!(waits(&mut group.relay.store()));
}

/// Whether something is kept for members to whom it is still to be handed out.
fn waits(store: &mut SqlStore) -> bool {
    let group = store.groups_with_deliveries().unwrap().pop();
    group.is_some_and(|group| !store.deliveries(group, DeliveryId(0), 1).unwrap().is_empty())
}

async fn until(group: &Group, what: &str, is_so: impl Fn(&mut SqlStore) -> bool) {
    let mut store = group.relay.store();
    eventually(|| if is_so(&mut store) { Ok(()) } else { Err(format!("waited too long until {what}")) })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_kept_for_a_member_that_comes_again() {
    let mut group = Group::served(Tuning::default()).await;
    let (mut away, mut here) = (group.join().await, group.join().await);
    away.peer.pause().await;
    one_is_behind(&mut group, &mut here).await;
    let relay = group.relay_id.clone();
    let _asked = group.ask(away.id.clone(), away.key.clone(), &relay).await;
    until(&group, "everybody has everything", |store| !waits(store)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_left_of_a_stream_is_forgotten_in_time() {
    let cleaning_interval = Some("100ms".parse().unwrap());
    let mut group = Group::served(Tuning { cleaning_interval, ..Tuning::default() }).await;
    let (mut away, mut here) = (group.join().await, group.join().await);
    away.peer.pause().await;
    one_is_behind(&mut group, &mut here).await;
    let mut store = group.relay.store();
    let served = store.groups_with_deliveries().unwrap().pop().unwrap();
    let mut member = store.member_by_id(served, &away.id).unwrap().unwrap();
    member.link = LinkState::Broken;
    store.update_member(&member).unwrap();
    until(&group, "everybody has everything", |store| !waits(store)).await;
}
