//! What a relay does, seen from outside.

use chat_relay::config::Tuning;
use chat_relay::store::records::{Member, MemberStatus};
use protocol::agent::event::{Event as AgentEvent, SendFailure};
use protocol::crypto::sign::Ed25519PrivateKey;
use protocol::group::event::content::MessageDelete;
use protocol::group::event::history::{HistoryGet, HistoryPosition};
use protocol::group::event::members::{MemberDelete, MemberRestrict, Restriction, Restrictions};
use protocol::group::event::{Event, Message};
use protocol::group::forward::ForwardSender;
use protocol::group::identity::{LinkText, MemberId, MemberRole};
use protocol::group::msg_id::SharedMessageId;
use protocol::group::signed::Statement;
use protocol::net::rng::system_rng;

use crate::host::Order;
use crate::people::{Group, post};

fn reason(answer: &Event) -> String {
    let Event::RelayReject(reject) = answer else { panic!("the relay refuses, not {answer:?}") };
    reject.explained()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_reaches_members_with_the_bytes_that_were_signed() {
    let mut group = Group::served(Tuning::default()).await;
    let mut early = group.join().await;
    let element = group.owner.post("tea at five").await;
    let heard = early.hear_post("tea at five").await;
    assert_eq!(heard.verbatim, element);
    let from = ForwardSender::Member { id: group.owner.id.clone(), name: "Olga".to_owned() };
    assert_eq!(heard.from, Some(from));

    // Whoever comes later is given it as history, with the same bytes.
    let mut late = group.join().await;
    assert_eq!(late.hear_post("tea at five").await.verbatim, element);

    // The author does not get it back: what comes next is the answer to the next post's sign of life.
    group.owner.post("second").await;
    early.hear_post("second").await;
    let joined = |heard: &crate::people::Heard| matches!(heard.event, Event::MemberNew(_)).then_some(());
    group.owner.hear("news of the first member", joined).await;
    group.owner.hear("news of the second member", joined).await;
    assert!(!group.owner.has_unheard_post("tea at five"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_is_given_page_by_page_with_the_bytes_that_were_signed() {
    let mut group = Group::served(Tuning { history_items: Some(0), ..Tuning::default() }).await;
    let mut member = group.join().await;
    let mut said = Vec::new();
    for text in ["one", "two", "three"] {
        said.push(group.owner.post(text).await);
        member.hear_post(text).await;
    }
    let page = |heard: &crate::people::Heard| match &heard.event {
        Event::HistoryPage(page) => Some(page.clone()),
        _ => None,
    };
    let get_between = |before, after, limit| {
        let get = HistoryGet { before, after, limit, welcomed: None, ask_owner: false };
        Message::new(None, Event::HistoryGet(get)).to_json()
    };
    let get = |before, limit| get_between(before, None, limit);
    member.send(&get(None, 2)).await;
    let first = member.hear("the newest", page).await;
    assert!(first.last && first.before.is_none() && first.next.is_some());
    assert_eq!(member.hear_post("two").await.verbatim, said[1]);
    assert_eq!(member.hear_post("three").await.verbatim, said[2]);
    member.send(&get(first.next.clone(), 100)).await;
    let second = member.hear("the rest", page).await;
    assert_eq!((second.before, second.next, second.last), (first.next.clone(), None, true));
    assert_eq!(member.hear_post("one").await.verbatim, said[0]);
    assert!(!member.has_unheard_post("two"));

    // After a position, which is left out itself; between two; after the newest; and after one that is not there.
    let two = first.next.clone();
    member.send(&get_between(None, two.clone(), 100)).await;
    let newer = member.hear("what is newer", page).await;
    assert_eq!((newer.before, newer.next, newer.last), (None, None, true));
    member.hear_post("three").await;
    member.send(&get_between(None, two.clone(), 1)).await;
    let three = member.hear("one that is newer", page).await.next;
    assert!(three.is_some() && three != two, "more may be there");
    member.hear_post("three").await;
    for (before, after) in [(three.clone(), two.clone()), (None, three.clone()), (two.clone(), three)] {
        member.send(&get_between(before.clone(), after, 100)).await;
        let nothing = member.hear("an empty page", page).await;
        assert_eq!((nothing.before, nothing.next, nothing.last), (before, None, true));
    }
    // A position that was never given leaves nothing out.
    let elsewhere = HistoryPosition::new("nowhere").unwrap();
    member.send(&get_between(two, Some(elsewhere), 100)).await;
    assert_eq!(member.hear("all that is older", page).await.next, None);
    member.hear_post("one").await;
    assert!(!member.has_unheard_post("two") && !member.has_unheard_post("three"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_with_the_welcome_is_not_given_again() {
    let mut group = Group::served(Tuning { history_items: Some(2), ..Tuning::default() }).await;
    let mut early = group.join().await;
    for text in ["two", "three", "four"] {
        group.owner.post(text).await;
        early.hear_post(text).await;
    }

    let mut late = group.join().await;
    let from = |heard: &crate::people::Heard| match &heard.event {
        Event::LinkMember(own) => Some(own.history_from.clone()),
        _ => None,
    };
    let welcomed = late.hear("from where on posts follow", from).await;
    assert!(welcomed.is_some());
    for text in ["three", "four"] {
        late.hear_post(text).await;
    }
    let get = HistoryGet { before: None, after: None, welcomed, limit: 100, ask_owner: false };
    late.send(&Message::new(None, Event::HistoryGet(get)).to_json()).await;
    let end = |heard: &crate::people::Heard| matches!(heard.event, Event::HistoryPage(_)).then_some(());
    late.hear("the rest", end).await;
    late.hear_post("two").await;
    assert!(!late.has_unheard_post("three") && !late.has_unheard_post("four"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_reaches_as_far_as_the_owner_wants() {
    use protocol::group::event::group::GroupInfo;
    use protocol::group::profile::HistoryKept;
    let mut group = Group::served(Tuning::default()).await;
    let mut member = group.join().await;
    let mut preferences = group.profile.preferences();
    preferences.keep_history(HistoryKept { items: 2, age_seconds: None, bytes: None });
    group.profile.group_preferences = Some(preferences);
    group.list(true).await;
    let info = GroupInfo { group_profile: group.profile.clone() };
    group.owner.say(Event::GroupInfo(Box::new(info))).await;
    for text in ["one", "two", "three"] {
        group.owner.post(text).await;
        member.hear_post(text).await;
    }
    let mut late = group.join().await;
    for text in ["two", "three"] {
        late.hear_post(text).await;
    }
    let get = HistoryGet { before: None, after: None, limit: 100, welcomed: None, ask_owner: false };
    late.send(&Message::new(None, Event::HistoryGet(get)).to_json()).await;
    let end = |heard: &crate::people::Heard| match &heard.event {
        Event::HistoryPage(page) => Some(page.next.clone()),
        _ => None,
    };
    assert_eq!(late.hear("the whole history", end).await, None);
    late.hear_post("two").await;
    late.hear_post("three").await;
    assert!(!late.has_unheard_post("one"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_are_shown_the_owner_and_the_roster() {
    let mut group = Group::served(Tuning::default()).await;
    let mut member = group.join().await;
    member
        .hear("the relay's profile", |heard| matches!(heard.event, Event::LinkMember(_)).then_some(()))
        .await;
    let owner = group.owner.id.clone();
    let intro = |heard: &crate::people::Heard| match &heard.event {
        Event::MemberIntro(intro) => Some(intro.member_info.clone()),
        _ => None,
    };
    let shown = member.hear("the owner", intro).await;
    assert_eq!((shown.member_id, shown.member_role), (owner, MemberRole::Owner));
    let roster = |heard: &crate::people::Heard| match &heard.event {
        Event::Roster(header) => Some((header.version, heard.from.clone())),
        _ => None,
    };
    let (version, from) = member.hear("the roster", roster).await;
    assert_eq!(version, 1);
    assert!(matches!(from, Some(ForwardSender::Member { .. })), "the header is forwarded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_those_on_the_roster_post_and_strangers_are_introduced_first() {
    let mut group = Group::served(Tuning::default()).await;
    let mut reader = group.join().await;
    let writer = group.join().await;
    writer.post("too early").await;
    group.give_role(&writer, MemberRole::Member).await;
    reader.hear("the new role", |heard| matches!(heard.event, Event::MemberRole(_)).then_some(())).await;
    let element = writer.post("now I may").await;
    let introduced = reader
        .hear("the writer's profile", |heard| match &heard.event {
            Event::MemberNew(new) => Some(new.member_info.clone()),
            _ => None,
        })
        .await;
    assert_eq!((introduced.member_id, introduced.member_role), (writer.id.clone(), MemberRole::Member));
    assert_eq!(reader.hear_post("now I may").await.verbatim, element);
    assert!(!reader.has_unheard_post("too early"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_and_repeated_messages_go_nowhere() {
    let mut group = Group::served(Tuning::default()).await;
    let mut member = group.join().await;
    let mut forged = group.owner.signed(post("forged"));
    let last = forged.len() - 3;
    forged[last] ^= 1;
    group.owner.send(&forged).await;
    let element = group.owner.post("once").await;
    group.owner.send(&element).await;
    // The same id with other words.
    let id = Statement::parse(&element).unwrap().message().unwrap().message_id;
    let json = Message::new(id, post("altered")).to_json();
    group.owner.send(&json).await;
    group.owner.post("last").await;
    member.hear_post("once").await;
    member.hear_post("last").await;
    for text in ["forged", "once", "altered"] {
        assert!(!member.has_unheard_post(text), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_invitation_gets_the_same_answer() {
    let mut group = Group::create(Tuning::default(), |_| ()).await;
    let (_, first) = group.invite().await;
    let (connection, second) = group.invite().await;
    assert_eq!(first, second);
    group.join_up(connection, &second).await;
    group.publish_roster(1, &Default::default()).await;
    group.list(true).await;
    let mut member = group.join().await;
    // Anybody can repeat the invitation by now: the true owner's connection goes on.
    let (_, third) = group.invite().await;
    assert_eq!(first, third);
    group.owner.post("still me").await;
    member.hear_post("still me").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_is_not_right_is_refused_with_the_reason() {
    let mut elsewhere = Group::create(Tuning::default(), |profile| {
        let other = "simplex:/c#AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA?h=example.org&p=1&c=AAAA";
        profile.public_group.as_mut().unwrap().group_link = LinkText::new(other).unwrap();
    })
    .await;
    let (_, answer) = elsewhere.invite().await;
    assert!(reason(&answer).contains("another group link"), "{}", reason(&answer));
    elsewhere.forgotten().await;

    let mut nameless = Group::create(Tuning::default(), |profile| profile.display_name.clear()).await;
    let (_, answer) = nameless.invite().await;
    assert!(reason(&answer).contains("display name"), "{}", reason(&answer));

    let mut stranger = Group::create(Tuning::default(), |_| ()).await;
    stranger.owner.id = MemberId::generate(&mut system_rng());
    let (_, answer) = stranger.invite().await;
    assert!(reason(&answer).contains("not an owner"), "{}", reason(&answer));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_made_to_another_relay_is_refused() {
    let mut group = Group::served(Tuning::default()).await;
    let mut rng = system_rng();
    let (id, key) = (MemberId::generate(&mut rng), Ed25519PrivateKey::generate(&mut rng));
    let other = MemberId::generate(&mut rng);
    let (_, answer) = group.ask(id, key, &other).await;
    assert!(matches!(answer, Event::RelayNotice(_)), "{answer:?}");
    // Nor can anybody take the owner's place.
    let owner = group.owner.id.clone();
    let relay = group.relay_id.clone();
    let (_, answer) = group.ask(owner, Ed25519PrivateKey::generate(&mut rng), &relay).await;
    assert!(matches!(answer, Event::RelayNotice(_)), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_relay_passes_on_the_owners_word_and_forgets_the_group() {
    let mut group = Group::served(Tuning::default()).await;
    let mut member = group.join().await;
    let relay = group.relay_id.clone();
    let delete = MemberDelete { member_id: relay, messages: false, member_key: None, roster_version: None };
    let element = group.owner.say(Event::MemberDelete(delete)).await;
    let notice = member
        .hear("the owner's notice", |heard| {
            matches!(heard.event, Event::MemberDelete(_)).then(|| heard.verbatim.clone())
        })
        .await;
    assert_eq!(notice, element);
    group.forgotten().await;
    let link = group.relay_link.clone().unwrap();
    assert!(member.peer.read(&link).await.is_err(), "the relay link is deleted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_removal_of_somebody_unknown_here_is_passed_on() {
    let mut group = Group::served(Tuning::default()).await;
    let mut member = group.join().await;
    let other_relay = MemberId::generate(&mut system_rng());
    let delete =
        MemberDelete { member_id: other_relay, messages: false, member_key: None, roster_version: None };
    let element = group.owner.say(Event::MemberDelete(delete)).await;
    let notice = member
        .hear("the owner's notice", |heard| {
            matches!(heard.event, Event::MemberDelete(_)).then(|| heard.verbatim.clone())
        })
        .await;
    assert_eq!(notice, element);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_removed_or_blocked_while_unknown_here_is_so_when_it_comes() {
    let mut group = Group::served(Tuning::default()).await;
    let mut member = group.join().await;
    let mut rng = system_rng();
    let [removed, blocked] = [(); 2].map(|()| MemberId::generate(&mut rng));
    let delete =
        MemberDelete { member_id: removed.clone(), messages: false, member_key: None, roster_version: None };
    group.owner.say(Event::MemberDelete(delete)).await;
    let member_restrictions = Restrictions { restriction: Restriction::Blocked };
    let restrict = MemberRestrict { member_id: blocked.clone(), member_restrictions, member_key: None };
    group.owner.say(Event::MemberRestrict(restrict)).await;
    member.hear("the block", |heard| matches!(heard.event, Event::MemberRestrict(_)).then_some(())).await;

    let relay = group.relay_id.clone();
    let (_, answer) = group.ask(removed, Ed25519PrivateKey::generate(&mut rng), &relay).await;
    assert!(matches!(answer, Event::LinkReject(_)), "{answer:?}");
    let key = Ed25519PrivateKey::generate(&mut rng);
    let asked = group.ask(blocked.clone(), key.clone(), &relay).await;
    let blocked_here = Group::let_in(asked).await;
    let is_in = |member: &Member| member.blocked && member.status == MemberStatus::Connected;
    group.until_member(&blocked_here, is_in).await;
    // The first who came under this id is who it is.
    let (_, answer) = group.ask(blocked, Ed25519PrivateKey::generate(&mut rng), &relay).await;
    assert!(matches!(answer, Event::RelayNotice(_)), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_deleted_is_not_history() {
    let mut group = Group::served(Tuning::default()).await;
    let mut early = group.join().await;
    let element = group.owner.post("a slip").await;
    group.owner.post("well said").await;
    early.hear_post("well said").await;
    let msg_id = Statement::parse(&element).unwrap().message().unwrap().message_id.unwrap();
    let delete = MessageDelete { msg_id, member_id: None, scope: None, only_history: None };
    group.owner.say(Event::MessageDelete(delete)).await;
    early.hear("the deletion", |heard| matches!(heard.event, Event::MessageDelete(_)).then_some(())).await;
    let mut late = group.join().await;
    late.hear_post("well said").await;
    assert!(!late.has_unheard_post("a slip"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_member_hears_it_and_is_cut_off() {
    let mut group = Group::served(Tuning::default()).await;
    let mut member = group.join().await;
    let mut witness = group.join().await;
    let delete = MemberDelete {
        member_id: member.id.clone(),
        messages: false,
        member_key: None,
        roster_version: None,
    };
    group.owner.say(Event::MemberDelete(delete)).await;
    for person in [&mut member, &mut witness] {
        person.hear("the removal", |heard| matches!(heard.event, Event::MemberDelete(_)).then_some(())).await;
    }
    // Its own messages find no queue any more.
    let connection = member.connection;
    loop {
        member.post("hello?").await;
        let cut_off = member
            .peer
            .event(connection, "an end", |event| match event {
                AgentEvent::SendFailed { reason: SendFailure::NoQueue, .. } => Some(true),
                AgentEvent::Sent { .. } => Some(false),
                _ => None,
            })
            .await;
        if cut_off {
            break;
        }
    }
    let (id, key, relay) = (member.id.clone(), member.key.clone(), group.relay_id.clone());
    // Nor under another id, as long as it is the same key.
    for id in [id, MemberId::generate(&mut system_rng())] {
        let (_, answer) = group.ask(id, key.clone(), &relay).await;
        assert!(matches!(answer, Event::LinkReject(_)), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_while_the_relay_was_away_is_delivered_once() {
    let mut group = Group::served(Tuning { page_members: Some(1), ..Tuning::default() }).await;
    let mut members = [group.join().await, group.join().await, group.join().await];
    group.owner.post("before").await;
    for member in &mut members {
        member.hear_post("before").await;
    }
    group.relay.stop().await;
    for text in ["one", "two", "three"] {
        group.owner.post(text).await;
    }
    group.relay.resume().await;
    group.owner.post("after").await;
    for member in &mut members {
        for text in ["one", "two", "three", "after"] {
            member.hear_post(text).await;
        }
        for text in ["before", "one", "two", "three", "after"] {
            assert!(!member.has_unheard_post(text), "{text} came twice");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_is_gone_does_not_hold_up_the_others() {
    let mut group = Group::served(Tuning::default()).await;
    let gone = group.join().await;
    let mut stays = group.join().await;
    gone.peer.order(Order::Delete(gone.connection)).await;
    for at in 0..5 {
        group.owner.post(&format!("post {at}")).await;
        stays.hear_post(&format!("post {at}")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_whose_queue_was_full_catches_up() {
    let tuning = Tuning { member_backlog_max: Some(2), ..Tuning::default() };
    let mut group = Group::served(tuning).await;
    let mut away = group.join().await;
    let mut here = group.join().await;
    away.hear("the roster", |heard| matches!(heard.event, Event::Roster(_)).then_some(())).await;
    away.peer.pause().await;
    let texts: Vec<String> = (0..20).map(|at| format!("post {at}")).collect();
    for text in &texts {
        group.owner.post(text).await;
        here.hear_post(text).await;
    }
    away.peer.resume();
    for text in &texts {
        away.hear_post(text).await;
    }
    group.owner.post("and now").await;
    away.hear_post("and now").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_the_group_is_passed_on() {
    let mut group = Group::served(Tuning::default()).await;
    let mut member = group.join().await;
    group.owner.say(Event::GroupDelete(Default::default())).await;
    member.hear("the end", |heard| matches!(heard.event, Event::GroupDelete(_)).then_some(())).await;
    group.forgotten().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_proves_that_it_holds_its_address() {
    use protocol::group::event::owner_relay::RelayTest;
    let mut group = Group::create(Tuning::default(), |_| ()).await;
    let opened = group.owner.peer.read(&group.relay.address.clone()).await.unwrap();
    let key = opened.root_key;
    let test = RelayTest { challenge: vec![7; 32], signature: None };
    let info = Message::new(Some(SharedMessageId::new([1]).unwrap()), Event::RelayTest(test)).to_json();
    let connection = group.owner.peer.begin(Order::Request(Box::new(opened), info)).await;
    let info = group
        .owner
        .peer
        .event(connection, "an answer", |event| match event {
            AgentEvent::Confirmation { info } => Some(info.clone()),
            _ => None,
        })
        .await;
    let Event::RelayTest(answer) = Message::parse(&info).unwrap().event else { panic!("not an answer") };
    key.verify(&[7; 32], &answer.signature.unwrap()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_uses_the_id_of_a_post_first_does_not_keep_it_back() {
    use protocol::group::event::content::{MessageReact, Reaction};
    let mut group = Group::served(Tuning::default()).await;
    let (mut reader, mut rival) = (group.join().await, group.join().await);
    let first = group.owner.post("first").await;
    rival.hear_post("first").await;
    let id = SharedMessageId::new(*b"contested").unwrap();
    let reaction = MessageReact {
        msg_id: Statement::parse(&first).unwrap().message().unwrap().message_id.unwrap(),
        member_id: Some(group.owner.id.clone()),
        scope: None,
        reaction: Reaction::emoji("🚀").unwrap(),
        add: true,
    };
    rival.send(&Message::new(Some(id.clone()), Event::MessageReact(reaction)).to_json()).await;
    reader.hear("the reaction", |heard| matches!(heard.event, Event::MessageReact(_)).then_some(())).await;

    let element = group.owner.say_as(id.clone(), post("under the same id")).await;
    assert_eq!(reader.hear_post("under the same id").await.verbatim, element);
    // And the owner can take it back.
    let delete = MessageDelete { msg_id: id, member_id: None, scope: None, only_history: None };
    group.owner.say(Event::MessageDelete(delete)).await;
    reader.hear("the deletion", |heard| matches!(heard.event, Event::MessageDelete(_)).then_some(())).await;
    let mut late = group.join().await;
    late.hear_post("first").await;
    group.owner.post("last").await;
    late.hear_post("last").await;
    assert!(!late.has_unheard_post("under the same id"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_client_joins_without_a_signature_and_posts_unsigned() {
    use protocol::group::event::joining::Join;
    use protocol::group::identity::MemberKey;
    use protocol::group::profile::Profile;
    let mut group = Group::served(Tuning::default()).await;
    let mut reader = group.join().await;
    let mut rng = system_rng();
    let (id, key) = (MemberId::generate(&mut rng), Ed25519PrivateKey::generate(&mut rng));
    let join = Join {
        profile: Profile::named("Old"),
        new_member_id: id.clone(),
        new_member_key: MemberKey(key.public_key()),
        via_relay: None,
        entrance: None,
    };
    let info = Message::new(None, Event::Join(Box::new(join))).to_json();
    let old = group.join_with(id, key, &info).await;
    group.publish_roster(2, &Group::roster_with(&old, MemberRole::Member)).await;
    let json = br#"{"msgId":"b2xk","event":"x.msg.new","params":{"content":{"type":"later","text":"by hand"},"new":1}}"#;
    old.send(json).await;
    assert_eq!(reader.hear_post("by hand").await.verbatim, json);
}
