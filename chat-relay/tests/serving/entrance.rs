//! What a group asks of those who join, seen from outside.

use chat_relay::config::Tuning;
use protocol::crypto::sign::Ed25519PrivateKey;
use protocol::group::entrance::{
    Entrance, Otherwise, Question, SALT_BYTES, Shown, ShownWork, Work, day_of, show_answer,
};
use protocol::group::event::Event;
use protocol::group::event::joining::Acceptance;
use protocol::group::event::members::MemberDelete;
use protocol::group::event::owner_relay::RelayNotice;
use protocol::group::identity::{MemberId, MemberKey};
use protocol::net::clock;
use protocol::net::rng::system_rng;

use crate::people::{Group, Heard};

/// The key that is drawn from the right answer.
fn answer() -> Ed25519PrivateKey {
    Ed25519PrivateKey::from_seed(&[7; 32])
}

fn question() -> Question {
    let answers = vec![MemberKey(answer().public_key())];
    Question { text: "Which tea?".to_owned(), salt: vec![1; SALT_BYTES], answers }
}

async fn asking(entrance: Entrance) -> Group {
    Group::served_as(Tuning::default(), |profile| profile.set_entrance(Some(&entrance))).await
}

fn joiner() -> (MemberId, Ed25519PrivateKey) {
    let mut rng = system_rng();
    (MemberId::generate(&mut rng), Ed25519PrivateKey::generate(&mut rng))
}

fn refusal(answer: &Event) -> String {
    let Event::LinkReject(reject) = answer else { panic!("the relay refuses, not {answer:?}") };
    reject.group_link_rejection.explained()
}

fn acceptance(answer: &Event) -> Option<Acceptance> {
    let Event::LinkInvitation(invitation) = answer else { panic!("the relay answers, not {answer:?}") };
    invitation.group_link_invitation.accepted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_knows_the_answer_comes_in_and_who_does_not_does_not() {
    let entrance = Entrance { question: Some(question()), work: None, otherwise: Otherwise::Review };
    let mut group = asking(entrance).await;
    let public_id = group.profile.public_group.as_ref().unwrap().public_group_id.clone();
    let right = |key: &Ed25519PrivateKey| Shown {
        answer: Some(show_answer(&answer(), &public_id, &MemberKey(key.public_key()))),
        work: None,
    };
    let (id, key) = joiner();
    let shown = right(&key);
    assert_eq!(acceptance(&group.ask_showing(id.clone(), key.clone(), shown.clone()).await), None);
    // What one shows is of no use to another.
    let (other, other_key) = joiner();
    let stolen = group.ask_showing(other, other_key, shown.clone()).await;
    assert!(refusal(&stolen).contains("not right"), "{stolen:?}");
    // Stock clients show nothing: a moderator decides.
    let (stock, stock_key) = joiner();
    let relay = group.relay_id.clone();
    let (_, waits) = group.ask(stock, stock_key, &relay).await;
    assert_eq!(acceptance(&waits), Some(Acceptance::PendingReview));

    // The right answer does not bring back whom an owner removed, under whichever id.
    let delete =
        MemberDelete { member_id: id.clone(), messages: false, member_key: None, roster_version: None };
    group.owner.say(Event::MemberDelete(delete)).await;
    group.publish_roster(2, &Default::default()).await;
    for id in [id, joiner().0] {
        let again = group.ask_showing(id, key.clone(), shown.clone()).await;
        assert!(refusal(&again).contains("removed"), "{again:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_is_asked_of_everybody_where_the_owner_says_so() {
    let work = Work { bits: 10 };
    let entrance = Entrance { question: None, work: Some(work), otherwise: Otherwise::Refuse };
    let mut group = asking(entrance).await;
    let public_id = group.profile.public_group.as_ref().unwrap().public_group_id.clone();
    let (id, key) = joiner();
    let today = day_of(clock::now());
    let member_key = MemberKey(key.public_key());
    let done = |day| Shown { answer: None, work: work.search(&public_id, &member_key, day, 0, 1 << 20) };
    let old = group.ask_showing(id.clone(), key.clone(), done(today - 3)).await;
    assert!(refusal(&old).contains("proof of work"), "{old:?}");
    let wrong = (0..).map(|nonce| ShownWork { day: today, nonce });
    let wrong = wrong.into_iter().find(|shown| !work.is_done(&public_id, &member_key, *shown));
    let wrong = group.ask_showing(id.clone(), key.clone(), Shown { answer: None, work: wrong }).await;
    assert!(refusal(&wrong).contains("not right"), "{wrong:?}");
    let (stock, stock_key) = joiner();
    let relay = group.relay_id.clone();
    let (_, stock) = group.ask(stock, stock_key, &relay).await;
    assert!(refusal(&stock).contains("use an app"), "{stock:?}");
    assert_eq!(acceptance(&group.ask_showing(id, key, done(today)).await), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_beyond_the_pace_cost_nothing_and_the_owner_is_told() {
    let tuning = Tuning { group_joins_per_minute: Some(1), ..Tuning::default() };
    let mut group = Group::served(tuning).await;
    group.join().await;
    let second = group.ask_unanswered().await;
    let notice = |heard: &Heard| match &heard.event {
        Event::RelayNotice(notice) => Some(notice.clone()),
        _ => None,
    };
    let RelayNotice { notice, text, .. } = group.owner.hear("a notice", notice).await;
    assert_eq!(notice, "join_pace");
    assert!(text.contains("proof of work"), "{text}");
    drop(second);
}
