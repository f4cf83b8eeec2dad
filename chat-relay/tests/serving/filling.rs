//! A relay that lacks what was said asks its owner, and takes only what is its author's.

use chat_relay::config::Tuning;
use protocol::crypto::sign::Ed25519PrivateKey;
use protocol::group::author_chain::OwnChain;
use protocol::group::event::history::{HistoryGet, HistoryPosition};
use protocol::group::event::{Event, Message};
use protocol::group::forward::{ForwardSender, forward};
use protocol::group::history_answer::{Item, bodies};
use protocol::group::identity::MemberId;
use protocol::group::msg_id::SharedMessageId;
use protocol::group::signed::{Statement, sign};
use protocol::net::clock;
use protocol::net::rng::system_rng;
use protocol::timestamp::Timestamp;

use crate::people::{Group, Heard, Person, introduction, post};

/// An item of the owner's answer, said just now.
pub(crate) fn item(place: u32, author: &MemberId, introduction: Option<Vec<u8>>, statement: &[u8]) -> Item {
    item_of(clock::now(), place, author, introduction, statement)
}

/// An item said at another time.
pub(crate) fn item_of(
    time: Timestamp,
    place: u32,
    author: &MemberId,
    introduction: Option<Vec<u8>>,
    statement: &[u8],
) -> Item {
    let sender = ForwardSender::Member { id: author.clone(), name: "somebody".to_owned() };
    let forward = forward(&sender, time, &Statement::parse(statement).unwrap());
    Item { position: at(place), author: author.clone(), introduction, forward }
}

pub(crate) fn at(place: u32) -> HistoryPosition {
    HistoryPosition::new(place.to_string()).unwrap()
}

pub(crate) async fn asked(owner: &mut Person) -> HistoryGet {
    let get = |heard: &Heard| match &heard.event {
        Event::HistoryGet(get) => Some(get.clone()),
        _ => None,
    };
    owner.hear("the relay's question", get).await
}

pub(crate) async fn answer(owner: &Person, get: &HistoryGet, newest_first: Vec<Item>, next: Option<u32>) {
    for body in bodies(get.before.as_ref(), newest_first, next.map(at).as_ref()) {
        owner.send(&body).await;
    }
}

fn flipped(statement: &[u8]) -> Vec<u8> {
    let mut forged = statement.to_vec();
    let last = forged.len() - 3;
    forged[last] ^= 1;
    forged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_relay_has_the_owners_history_and_refuses_what_is_forged() {
    let mut group = Group::served(Tuning::default()).await;
    let get = asked(&mut group.owner).await;
    assert_eq!(get.before, None);
    let owner = group.owner.id.clone();
    let signed = |text: &str| group.owner.signed(post(text));
    let (first, second, third) = (signed("first"), signed("second"), signed("third"));

    // Somebody whom this relay has not met posted by way of another; the owner knows the key.
    let mut rng = system_rng();
    let (id, key) = (MemberId::generate(&mut rng), Ed25519PrivateKey::generate(&mut rng));
    let public_id = group.profile.public_group.as_ref().unwrap().public_group_id.clone();
    let by = |key: &Ed25519PrivateKey, text: &str| {
        let message_id = SharedMessageId::generate(&mut system_rng());
        sign(key, &public_id, &id, &Message::new(Some(message_id), post(text)).to_json())
    };
    let introduction = Some(introduction(&id, &key));
    let strangers = by(&key, "a stranger's");
    let not_the_strangers = by(&Ed25519PrivateKey::generate(&mut rng), "in the stranger's name");
    let unsigned = Message::new(Some(SharedMessageId::new([9]).unwrap()), post("unsigned")).to_json();

    let newest = vec![
        item(9, &owner, None, &third),
        item(8, &owner, None, &flipped(&signed("forged"))),
        item(7, &id, introduction.clone(), &not_the_strangers),
        item(6, &id, introduction, &strangers),
        item(5, &owner, None, &second),
    ];
    answer(&group.owner, &get, newest, Some(5)).await;
    // It goes on where it was, also when it was away meanwhile.
    let get = asked(&mut group.owner).await;
    assert_eq!(get.before, Some(at(5)));
    group.relay.stop().await;
    let oldest = vec![item(4, &owner, None, &unsigned), item(3, &owner, None, &first)];
    answer(&group.owner, &get, oldest, None).await;
    group.relay.resume().await;
    group.owner.post("fourth").await;

    let mut early = group.join().await;
    early.hear_post("fourth").await;
    let mut late = group.join().await;
    let mut heard = Vec::new();
    for _ in 0..5 {
        let next = |heard: &Heard| match &heard.event {
            Event::MessageNew(new) => Some((new.content.as_text().to_owned(), heard.verbatim.clone())),
            _ => None,
        };
        heard.push(late.hear("history", next).await);
    }
    let texts: Vec<&str> = heard.iter().map(|(text, _)| text.as_str()).collect();
    assert_eq!(texts, ["first", "second", "a stranger's", "third", "fourth"]);
    assert_eq!((&heard[0].1, &heard[2].1), (&first, &strangers));
    for text in ["forged", "in the stranger's name", "unsigned"] {
        assert!(!late.has_unheard_post(text), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_relay_lacks_is_asked_of_the_owner_and_passed_on_to_all() {
    let mut group = Group::served(Tuning::default()).await;
    let get = asked(&mut group.owner).await;
    let filled = group.owner.signed(post("from before"));
    answer(&group.owner, &get, vec![item(1, &group.owner.id, None, &filled)], None).await;
    let (mut member, mut other) = (group.join().await, group.join().await);
    let lacked = group.owner.signed(post("lost on the way"));

    let missing = HistoryGet { before: None, after: None, limit: 9, welcomed: None, ask_owner: true };
    member.send(&Message::new(None, Event::HistoryGet(missing)).to_json()).await;
    let get = asked(&mut group.owner).await;
    let owner = group.owner.id.clone();
    let forged = flipped(&group.owner.signed(post("forged")));
    let items =
        vec![item(9, &owner, None, &forged), item(8, &owner, None, &lacked), item(1, &owner, None, &filled)];
    answer(&group.owner, &get, items, None).await;
    for person in [&mut member, &mut other] {
        assert_eq!(person.hear_post("lost on the way").await.verbatim, lacked);
    }
    // What comes by itself after all goes no second way, and what was given as history before is news now.
    group.owner.send(&lacked).await;
    group.owner.send(&filled).await;
    group.owner.post("last").await;
    for person in [&mut member, &mut other] {
        person.hear_post("last").await;
        assert!(!person.has_unheard_post("lost on the way") && !person.has_unheard_post("forged"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_but_the_owner_who_was_asked_gives_history() {
    let mut group = Group::served(Tuning::default()).await;
    let get = asked(&mut group.owner).await;
    let mut member = group.join().await;
    let said = group.owner.signed(post("handed in by a member"));
    answer(&member, &get, vec![item(1, &group.owner.id, None, &said)], None).await;
    group.owner.post("last").await;
    member.hear_post("last").await;
    let mut late = group.join().await;
    late.hear_post("last").await;
    assert!(!late.has_unheard_post("handed in by a member"));
}

/// Posts of the owner, each linked to the one before.
fn chained(owner: &Person, texts: &[&str]) -> Vec<Vec<u8>> {
    let mut chain = OwnChain::begin(&mut system_rng());
    let mut said = Vec::new();
    for text in texts {
        let id = SharedMessageId::generate(&mut system_rng());
        let message = Message::new(Some(id), post(text)).chained(chain.next());
        let signed = sign(&owner.key, &owner.group, &owner.id, &message.to_json());
        let digest = Statement::parse(&signed).unwrap().digest(&owner.group, &owner.id);
        chain = chain.followed_by(digest, &mut system_rng());
        said.push(signed);
    }
    said
}

async fn texts(person: &mut Person, count: usize) -> Vec<String> {
    let text = |heard: &Heard| match &heard.event {
        Event::MessageNew(new) => Some(new.content.as_text().to_owned()),
        _ => None,
    };
    let mut heard = Vec::new();
    while heard.len() < count {
        heard.push(person.hear("a post", text).await);
    }
    heard
}

/// The owner may have said something more than once: by itself, and in the history that it was asked for. On two
/// connections either comes first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_by_itself_as_well_as_in_history_is_given_in_its_authors_order() {
    for comes_first in [true, false] {
        let mut group = Group::served(Tuning::default()).await;
        let get = asked(&mut group.owner).await;
        let mut member = group.join().await;
        let said = chained(&group.owner, &["one", "two", "three"]);
        let items = (1..).zip(&said).map(|(place, said)| item(place, &group.owner.id, None, said));
        let newest_first = items.collect::<Vec<_>>().into_iter().rev().collect();
        if comes_first {
            group.owner.send(&said[0]).await;
        }
        answer(&group.owner, &get, newest_first, None).await;
        if !comes_first {
            group.owner.send(&said[0]).await;
        }
        group.owner.post("last").await;
        assert_eq!(texts(&mut member, 2).await, ["one", "last"], "what else came is history");

        let ask = HistoryGet { before: None, after: None, limit: 9, welcomed: None, ask_owner: false };
        member.send(&Message::new(None, Event::HistoryGet(ask)).to_json()).await;
        let mut late = group.join().await;
        for person in [&mut member, &mut late] {
            assert_eq!(texts(person, 4).await, ["one", "two", "three", "last"], "{comes_first}");
        }
        // They are news when they come by themselves, in order.
        for said in &said[1..] {
            group.owner.send(said).await;
        }
        for person in [&mut member, &mut late] {
            assert_eq!(texts(person, 2).await, ["two", "three"]);
        }
    }
}
