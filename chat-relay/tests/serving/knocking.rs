//! Joiners who wait for a moderator, seen from outside.

use chat_relay::config::Tuning;
use chat_relay::store::RelayStore as _;
use chat_relay::store::operation::OperationStore as _;
use protocol::crypto::sign::Ed25519PrivateKey;
use protocol::group::event::history::HistoryGet;
use protocol::group::event::joining::{Acceptance, GroupLinkRejection, LinkAccept, LinkReject};
use protocol::group::event::members::{Leave, MemberDelete};
use protocol::group::event::{Event, Message};
use protocol::group::identity::{MemberId, MemberKey, MemberRole};
use protocol::net::rng::system_rng;

use crate::people::{Group, Heard, Person};

fn accept(about: &Person) -> Event {
    Event::LinkAccept(LinkAccept {
        acceptance: Acceptance::Accepted,
        role: MemberRole::Observer,
        member_id: about.id.clone(),
        member_key: Some(MemberKey(about.key.public_key())),
        decided_by: None,
    })
}

fn reject(about: &Person, reason: &str) -> Event {
    Event::LinkReject(Box::new(LinkReject {
        group_link_rejection: GroupLinkRejection::new("Tea", reason),
        member_id: Some(about.id.clone()),
        member_key: Some(MemberKey(about.key.public_key())),
        decided_by: None,
    }))
}

/// Whom a relay shows to moderators.
fn knock(heard: &Heard) -> Option<MemberId> {
    match &heard.event {
        Event::MemberNew(new) if new.scope.is_some() => Some(new.member_info.member_id.clone()),
        _ => None,
    }
}

fn accepted(heard: &Heard) -> Option<LinkAccept> {
    match &heard.event {
        Event::LinkAccept(accept) => Some(accept.clone()),
        _ => None,
    }
}

fn rejected(heard: &Heard) -> Option<LinkReject> {
    match &heard.event {
        Event::LinkReject(reject) => Some(LinkReject::clone(reject)),
        _ => None,
    }
}

fn refusal(answer: &Event) -> String {
    let Event::LinkReject(reject) = answer else { panic!("the relay refuses, not {answer:?}") };
    reject.group_link_rejection.explained()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_joiner_waits_until_a_moderator_accepts() {
    let mut group = Group::reviewed(Tuning::default()).await;
    let mut joiner = group.knock().await;
    assert_eq!(group.owner.hear("the knock", knock).await, joiner.id);
    let mut store = group.relay.store();
    let waiting = |store: &mut chat_relay::store::sql::SqlStore| store.totals().unwrap().knocks;
    assert_eq!(waiting(&mut store), 1);

    // Nothing of the group comes to it, and nothing that it says goes anywhere.
    group.owner.post("before").await;
    joiner.post("let me in").await;
    group.owner.say(accept(&joiner)).await;
    let told = joiner.hear("the acceptance", accepted).await;
    assert_eq!((told.member_id, told.acceptance), (joiner.id.clone(), Acceptance::Accepted));
    let told = group.owner.hear("what came of it", accepted).await;
    assert_eq!((told.member_id, told.decided_by), (joiner.id.clone(), Some(group.owner.id.clone())));
    let met = |heard: &Heard| match &heard.event {
        Event::MemberNew(new) if new.scope.is_none() => Some(new.member_info.member_id.clone()),
        _ => None,
    };
    assert_eq!(group.owner.hear("the new member", met).await, joiner.id);
    assert_eq!(waiting(&mut store), 0);
    group.owner.post("after").await;
    joiner.hear_post("before").await;
    joiner.hear_post("after").await;
    assert!(!group.owner.has_unheard_post("let me in"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejected_joiner_reads_why_and_does_not_come_back_under_the_same_key() {
    let mut group = Group::reviewed(Tuning::default()).await;
    let mut joiner = group.knock().await;
    group.owner.hear("the knock", knock).await;
    group.owner.say(reject(&joiner, "we do not know you")).await;
    let told = joiner.hear("the rejection", rejected).await;
    assert_eq!(told.group_link_rejection.explained(), "we do not know you");
    assert_eq!(told.decided_by, None, "joiners are not told who");
    let told = group.owner.hear("what came of it", rejected).await;
    assert_eq!(told.decided_by, Some(group.owner.id.clone()));

    let (id, key, relay) = (joiner.id.clone(), joiner.key.clone(), group.relay_id.clone());
    let (_, answer) = group.ask(id.clone(), key.clone(), &relay).await;
    assert!(refusal(&answer).contains("we do not know you"), "{answer:?}");
    let (_, answer) = group.ask(MemberId::generate(&mut system_rng()), key.clone(), &relay).await;
    assert!(refusal(&answer).contains("refused before"), "{answer:?}");
    let Event::LinkReject(answer) = answer else { return };
    assert!(answer.group_link_rejection.group_profile.is_some(), "stock clients ask for it");

    // Unless a moderator thinks again.
    group.owner.say(accept(&joiner)).await;
    group.owner.hear("the second thought", accepted).await;
    let (_, answer) = group.ask(id, key, &relay).await;
    let Event::LinkInvitation(answer) = answer else { panic!("{answer:?}") };
    assert_eq!(answer.group_link_invitation.accepted, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_removed_does_not_even_knock() {
    let mut group = Group::reviewed(Tuning::default()).await;
    let mut joiner = group.knock().await;
    group.owner.hear("the knock", knock).await;
    // As stock moderators turn joiners away.
    let delete = MemberDelete {
        member_id: joiner.id.clone(),
        messages: false,
        member_key: None,
        roster_version: None,
    };
    group.owner.say(Event::MemberDelete(delete)).await;
    joiner.hear("the removal", |heard| matches!(heard.event, Event::MemberDelete(_)).then_some(())).await;
    let relay = group.relay_id.clone();
    for id in [joiner.id.clone(), MemberId::generate(&mut system_rng())] {
        let (_, answer) = group.ask(id, joiner.key.clone(), &relay).await;
        assert!(refusal(&answer).contains("removed"), "{answer:?}");
    }
    assert_eq!(group.relay.store().totals().unwrap().knocks, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_moderators_decide_and_they_are_shown_who_waits() {
    let mut group = Group::reviewed(Tuning::default()).await;
    let mut reader = group.knock().await;
    group.owner.hear("the knock", knock).await;
    group.owner.say(accept(&reader)).await;
    reader.hear("the acceptance", accepted).await;
    group.owner.hear("what came of it", accepted).await;
    let mut joiner = group.knock().await;
    assert_eq!(group.owner.hear("the knock", knock).await, joiner.id);
    reader.say(accept(&joiner)).await;
    reader.say(reject(&joiner, "no")).await;
    // What is answered after that was taken after that.
    let get = HistoryGet { before: None, after: None, limit: 1, welcomed: None, ask_owner: false };
    reader.send(&Message::new(None, Event::HistoryGet(get)).to_json()).await;
    let page = |heard: &Heard| matches!(heard.event, Event::HistoryPage(_)).then_some(());
    reader.hear("an answer", page).await;

    // Whoever becomes a moderator is shown who waits.
    group.give_role(&reader, MemberRole::Moderator).await;
    assert_eq!(reader.hear("the knock", knock).await, joiner.id);
    reader.say(accept(&joiner)).await;
    joiner.hear("the acceptance", accepted).await;
    let told = group.owner.hear("what came of it", accepted).await;
    assert_eq!(told.decided_by, Some(reader.id.clone()), "the first word of a moderator counts");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decision_is_kept_for_those_who_have_not_knocked_here_yet() {
    let mut group = Group::reviewed(Tuning::default()).await;
    let mut rng = system_rng();
    let relay = group.relay_id.clone();
    let mut asks = Vec::new();
    for accepts in [true, false] {
        let (id, key) = (MemberId::generate(&mut rng), Ed25519PrivateKey::generate(&mut rng));
        let decision = if accepts {
            Event::LinkAccept(LinkAccept {
                acceptance: Acceptance::Accepted,
                role: MemberRole::Owner,
                member_id: id.clone(),
                member_key: Some(MemberKey(key.public_key())),
                decided_by: None,
            })
        } else {
            Event::LinkReject(Box::new(LinkReject {
                group_link_rejection: GroupLinkRejection::new("Tea", "seen elsewhere"),
                member_id: Some(id.clone()),
                member_key: Some(MemberKey(key.public_key())),
                decided_by: None,
            }))
        };
        group.owner.say(decision).await;
        asks.push((id, key));
    }
    // The owner's roster is acknowledged after what was said before it.
    group.publish_roster(2, &Default::default()).await;
    let [(wanted, wanted_key), (unwanted, unwanted_key)] = asks.try_into().ok().unwrap();
    let stolen = Ed25519PrivateKey::generate(&mut rng);
    let (_, answer) = group.ask(wanted.clone(), stolen, &relay).await;
    let Event::RelayNotice(answer) = answer else { panic!("the key was accepted, not the id: {answer:?}") };
    assert_eq!(answer.ask_again_after, None, "it would be of no use");
    let (_, answer) = group.ask(wanted, wanted_key, &relay).await;
    let Event::LinkInvitation(answer) = answer else { panic!("{answer:?}") };
    let invitation = answer.group_link_invitation;
    assert_eq!((invitation.accepted, invitation.invited_member.member_role), (None, MemberRole::Observer));
    let (_, answer) = group.ask(unwanted, unwanted_key, &relay).await;
    assert!(refusal(&answer).contains("seen elsewhere"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn knocks_are_bounded_lapse_and_are_taken_back() {
    let knock_ttl = Some("300ms".parse().unwrap());
    let tuning = Tuning { knocks_max: Some(1), knock_ttl, ..Tuning::default() };
    let mut group = Group::reviewed(tuning).await;
    let mut joiner = group.knock().await;
    group.owner.hear("the knock", knock).await;
    let told = joiner.hear("the end", rejected).await;
    assert!(told.group_link_rejection.explained().contains("in time"), "{told:?}");
    let told = group.owner.hear("the end", rejected).await;
    assert_eq!((told.member_id, told.decided_by), (Some(joiner.id.clone()), None));

    let long = Tuning { knocks_max: Some(1), ..Tuning::default() };
    let mut group = Group::reviewed(long).await;
    let second = group.knock().await;
    group.owner.hear("the knock", knock).await;
    let (relay, mut rng) = (group.relay_id.clone(), system_rng());
    let stranger = (MemberId::generate(&mut rng), Ed25519PrivateKey::generate(&mut rng));
    let (_, answer) = group.ask(stranger.0, stranger.1, &relay).await;
    let Event::RelayNotice(answer) = answer else { panic!("the group rejects nobody: {answer:?}") };
    assert!(answer.text.contains("as many wait"), "{answer:?}");
    assert_eq!(answer.ask_again_after, Some(3600), "there may be room then");
    second.say(Event::Leave(Leave {})).await;
    let told = group.owner.hear("the end", rejected).await;
    assert_eq!(told.member_id, Some(second.id.clone()));
    let mut store = group.relay.store();
    let groups = store.group_overviews(chat_relay::store::records::GroupId(0), 1).unwrap();
    assert_eq!(store.count_knocks(groups[0].group.id).unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_was_away_goes_on_with_who_waits() {
    let mut group = Group::reviewed(Tuning::default()).await;
    let mut joiner = group.knock().await;
    group.owner.hear("the knock", knock).await;
    group.relay.stop().await;
    group.owner.say(accept(&joiner)).await;
    group.relay.resume().await;
    joiner.hear("the acceptance", accepted).await;
    group.owner.post("tea at five").await;
    joiner.hear_post("tea at five").await;
}
