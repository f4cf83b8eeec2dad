//! What the network's own apps send, in their words, and what becomes of it.

use chat_relay::config::Tuning;
use protocol::base64url;
use protocol::group::event::joining::Info;
use protocol::group::event::{Event, EventTag, Message};
use protocol::group::forward::ForwardSender;
use protocol::group::identity::{MemberId, MemberRole};
use protocol::group::profile::{GroupPreferences, GroupProfile, Profile};
use protocol::group::roster::Roster;
use protocol::group::signed::sign;
use protocol::net::rng::system_rng;
use protocol::version::VersionRange;

use crate::host::Order;
use crate::people::{Group, Heard, Person};

/// A message of an app: its id is text, which JSON holds encoded.
fn said(id: &str, event: &str, params: &str) -> Vec<u8> {
    let id = base64url::encode(id.as_bytes());
    format!(r#"{{"v":"1-21","msgId":"{id}","event":"{event}","params":{params}}}"#).into_bytes()
}

/// An id as it stands inside parameters.
fn id(text: &str) -> String {
    base64url::encode(text.as_bytes())
}

fn text(words: &str) -> String {
    format!(r#""content":{{"type":"text","text":"{words}"}}"#)
}

const FILE: &str = r#""file":{"fileName":"a.jpg","fileSize":5,"fileDescr":{"fileDescrText":"","fileDescrPartNo":0,"fileDescrComplete":false}}"#;

fn file_description(of: &str) -> String {
    let part = r#"{"fileDescrText":"where it is","fileDescrPartNo":1,"fileDescrComplete":true}"#;
    format!(r#"{{"msgId":"{}","fileDescr":{part}}}"#, id(of))
}

/// Waits for an event of this kind; gives what came.
async fn hear(person: &mut Person, tag: EventTag) -> Heard {
    person.hear(tag.name(), |heard| (heard.event.tag() == tag).then(|| heard.clone())).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_that_knows_no_rosters_is_sent_none() {
    let mut group = Group::served(Tuning::default()).await;
    let (member, key) = (MemberId::generate(&mut system_rng()), Group::key());
    let old = VersionRange::new(1, 17);
    let public = base64url::encode(&key.public_key().to_der());
    let info = format!(
        r#"{{"v":"1-17","event":"x.member","params":{{"profile":{{"displayName":"mia","fullName":""}},"newMemberId":"{member}","newMemberKey":"{public}"}}}}"#
    );
    let (mut person, answer) = group.ask_with(member, key, info.as_bytes()).await;
    assert!(matches!(answer, Event::LinkInvitation(_)), "{answer:?}");
    let info = Event::Info(Box::new(Info { profile: Profile::named("mia") }));
    let info = Message { versions: old, ..Message::new(None, info) }.to_json();
    person.peer.order(Order::Allow(person.connection, info)).await;
    person.peer.connected(person.connection).await;
    group.owner.post("tea at five").await;
    person.hear_post("tea at five").await;
    assert!(person.has_unheard(EventTag::MemberIntro), "the owner is shown");
    assert!(!person.has_unheard(EventTag::Roster));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_holds_no_roster_asks_without_a_version() {
    let mut group = Group::served(Tuning::default()).await;
    let mut member = group.join().await;
    hear(&mut member, EventTag::Roster).await;
    group.publish_roster(2, &Roster::default()).await;
    member.send(&said("ask", "x.grp.roster.request", "{}")).await;
    let served = hear(&mut member, EventTag::Roster).await;
    assert!(matches!(served.event, Event::Roster(header) if header.version == 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_done_to_a_post_of_the_channel_does_not_name_the_owner() {
    let mut group = Group::served(Tuning::default()).await;
    let mut member = group.join().await;
    let post = id("post");
    let messages = [
        (
            EventTag::MessageNew,
            said("post", "x.msg.new", &format!(r#"{{{},{FILE},"asGroup":true}}"#, text("a"))),
        ),
        (EventTag::FileDescription, said("descr", "x.msg.file.descr", &file_description("post"))),
        (
            EventTag::MessageUpdate,
            said("edit", "x.msg.update", &format!(r#"{{"msgId":"{post}",{}}}"#, text("b"))),
        ),
        (EventTag::FileCancel, said("cancel", "x.file.cancel", &format!(r#"{{"msgId":"{post}"}}"#))),
        (EventTag::MessageDelete, said("delete", "x.msg.del", &format!(r#"{{"msgId":"{post}"}}"#))),
    ];
    for (tag, message) in messages {
        group.owner.send(&message).await;
        let heard = hear(&mut member, tag).await;
        assert_eq!((heard.from, heard.verbatim), (Some(ForwardSender::Channel), message));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_to_the_moderators_stays_with_them() {
    // Older apps say nothing of this preference.
    let preferences = GroupPreferences { support: None, ..GroupPreferences::of_new_group() };
    let change = |profile: &mut GroupProfile| profile.group_preferences = Some(preferences);
    let mut group = Group::served_as(Tuning::default(), change).await;
    let mut other = group.join().await;
    let member = group.join().await;
    let scope = format!(r#""scope":{{"type":"member","memberId":"{}"}}"#, member.id);
    let post = said("help", "x.msg.new", &format!(r#"{{{},{FILE},{scope}}}"#, text("help")));
    member.send(&post).await;
    assert_eq!(hear(&mut group.owner, EventTag::MessageNew).await.verbatim, post);
    // This says nothing of the place: an app takes it from the post.
    let description = said("descr", "x.msg.file.descr", &file_description("help"));
    member.send(&description).await;
    assert_eq!(hear(&mut group.owner, EventTag::FileDescription).await.verbatim, description);

    let roster = Group::roster_with(&member, MemberRole::Member);
    group.publish_roster(2, &roster).await;
    let content = r#""content":{"type":"report","text":"look","reason":"spam"}"#;
    let report = said("report", "x.msg.new", &format!("{{{content}}}"));
    member.send(&report).await;
    assert_eq!(hear(&mut group.owner, EventTag::MessageNew).await.verbatim, report);

    member.post("for all").await;
    other.hear_post("for all").await;
    assert!(!other.has_unheard(EventTag::MessageNew) && !other.has_unheard(EventTag::FileDescription));
    let mut late = group.join().await;
    late.hear_post("for all").await;
    assert!(!late.has_unheard(EventTag::MessageNew) && !late.has_unheard(EventTag::FileDescription));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_described_by_whoever_announced_it() {
    let mut group = Group::served(Tuning::default()).await;
    let mut reader = group.join().await;
    let writer = group.join().await;
    group.publish_roster(2, &Group::roster_with(&writer, MemberRole::Member)).await;
    let post = said("post", "x.msg.new", &format!(r#"{{{},{FILE}}}"#, text("a")));
    group.owner.send(&post).await;
    assert_eq!(hear(&mut reader, EventTag::MessageNew).await.verbatim, post);
    writer.send(&said("forged", "x.msg.file.descr", &file_description("post"))).await;
    writer.post("after").await;
    reader.hear_post("after").await;
    assert!(!reader.has_unheard(EventTag::FileDescription));
    let description = said("descr", "x.msg.file.descr", &file_description("post"));
    group.owner.send(&description).await;
    assert_eq!(hear(&mut reader, EventTag::FileDescription).await.verbatim, description);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_moderator_takes_its_own_post_out_of_the_history() {
    let mut group = Group::served(Tuning::default()).await;
    let mut reader = group.join().await;
    let editor = group.join().await;
    group.publish_roster(2, &Group::roster_with(&editor, MemberRole::Moderator)).await;
    editor.send(&said("news", "x.msg.new", &format!("{{{}}}", text("news")))).await;
    reader.hear_post("news").await;
    let forget = format!(r#"{{"msgId":"{}","onlyHistory":true}}"#, id("news"));
    editor.send(&said("forget", "x.msg.del", &forget)).await;
    editor.post("more").await;
    reader.hear_post("more").await;
    assert!(!reader.has_unheard(EventTag::MessageDelete), "who has it keeps it");
    let mut late = group.join().await;
    late.hear_post("more").await;
    assert!(!late.has_unheard_post("news"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_app_signs_more_and_says_more() {
    let mut group = Group::served(Tuning::default()).await;
    let mut reader = group.join().await;
    let later = |id: &str, event: &str, params: &str| {
        let id = base64url::encode(id.as_bytes());
        format!(r#"{{"v":"1-99","msgId":"{id}","event":"{event}","params":{params},"later":[1]}}"#)
    };
    let owner = &group.owner;
    let signed = |json: &str| sign(&owner.key, &owner.group, &owner.id, json.as_bytes());
    let post = signed(&later("post", "x.msg.new", &format!(r#"{{{},"later":{{}}}}"#, text("a"))));
    let reaction = r#"{"type":"emoji","emoji":"👍"}"#;
    let react = format!(r#"{{"msgId":"{}","reaction":{reaction},"add":true,"later":1}}"#, id("post"));
    let react = signed(&later("react", "x.msg.react", &react));
    owner.send(signed(&later("what", "x.later", "{}")).as_slice()).await;
    for (tag, message) in [(EventTag::MessageNew, post), (EventTag::MessageReact, react)] {
        group.owner.send(&message).await;
        assert_eq!(hear(&mut reader, tag).await.verbatim, message);
    }
    assert!(!reader.has_unheard(EventTag::Unknown), "what the relay does not know it does not pass on");
}
