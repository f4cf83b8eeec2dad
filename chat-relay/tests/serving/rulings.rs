//! What was decided about members, in whatever order it comes, and who is told of it later.

use chat_relay::config::Tuning;
use chat_relay::store::RelayStore as _;
use chat_relay::store::records::{GroupId, MemberStatus};
use protocol::crypto::sign::Ed25519PrivateKey;
use protocol::group::author_chain::OwnChain;
use protocol::group::event::history::HistoryGet;
use protocol::group::event::members::{
    Leave, MemberDelete, MemberRestrict, MemberRoleChange, Restriction, Restrictions,
};
use protocol::group::event::{Event, Message};
use protocol::group::forward::{ForwardSender, forward};
use protocol::group::identity::{MemberId, MemberKey, MemberRole};
use protocol::group::msg_id::SharedMessageId;
use protocol::group::profile::{GroupProfile, GroupType};
use protocol::group::roster::{Roster, RosterEntry};
use protocol::group::ruling::bodies;
use protocol::group::signed::{Statement, sign};
use protocol::net::clock;
use protocol::net::rng::system_rng;

use crate::filling::{answer, asked, item};
use crate::host::eventually;
use crate::people::{Group, Heard, Person, introduction};

fn restriction(of: &MemberId, restriction: Restriction) -> Event {
    let member_restrictions = Restrictions { restriction };
    Event::MemberRestrict(MemberRestrict { member_id: of.clone(), member_restrictions, member_key: None })
}

/// What the owner says about somebody, one after the other.
fn restrictions(owner: &Person, of: &MemberId, said: &[Restriction]) -> Vec<Vec<u8>> {
    in_turn(owner, said.iter().map(|said| restriction(of, *said)))
}

fn in_turn(owner: &Person, said: impl IntoIterator<Item = Event>) -> Vec<Vec<u8>> {
    let mut chain = OwnChain::begin(&mut system_rng());
    let mut elements = Vec::new();
    for said in said {
        let id = SharedMessageId::generate(&mut system_rng());
        let message = Message::new(Some(id), said).chained(chain.next());
        let element = sign(&owner.key, &owner.group, &owner.id, &message.to_json());
        let digest = Statement::parse(&element).unwrap().digest(&owner.group, &owner.id);
        chain = chain.followed_by(digest, &mut system_rng());
        elements.push(element);
    }
    elements
}

/// A minor role, which no roster tells.
fn appointment(of: &MemberId, role: MemberRole, key: Option<&Ed25519PrivateKey>) -> Event {
    Event::MemberRole(MemberRoleChange {
        member_id: of.clone(),
        role,
        member_key: key.map(|key| MemberKey(key.public_key())),
        roster_version: None,
    })
}

async fn hear_appointment(person: &mut Person) -> Vec<u8> {
    let heard = |heard: &Heard| matches!(heard.event, Event::MemberRole(_)).then(|| heard.verbatim.clone());
    person.hear("a role", heard).await
}

async fn hear_restriction(person: &mut Person) -> Heard {
    let heard = |heard: &Heard| matches!(heard.event, Event::MemberRestrict(_)).then(|| heard.clone());
    person.hear("a restriction", heard).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_restriction_that_comes_later_is_passed_on_and_changes_nothing() {
    use Restriction::{Blocked, Unrestricted};
    let mut group = Group::served(Tuning::default()).await;
    let (mut member, about) = (group.join().await, group.join().await);
    for (older, newer) in [(Blocked, Unrestricted), (Unrestricted, Blocked)] {
        let said = restrictions(&group.owner, &about.id, &[older, newer]);
        for element in said.iter().rev() {
            group.owner.send(element).await;
            assert_eq!(&hear_restriction(&mut member).await.verbatim, element);
        }
        group.until_member(&about, |about| about.blocked == (newer == Blocked)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restrictions_on_two_pages_of_the_owners_answer_end_as_the_owner_said() {
    use Restriction::{Blocked, Unrestricted};
    let mut group = Group::served(Tuning::default()).await;
    let get = asked(&mut group.owner).await;
    answer(&group.owner, &get, Vec::new(), None).await;
    let (mut member, about) = (group.join().await, group.join().await);
    let said = restrictions(&group.owner, &about.id, &[Blocked, Unrestricted]);
    let missing = HistoryGet { before: None, after: None, limit: 9, welcomed: None, ask_owner: true };
    member.send(&Message::new(None, Event::HistoryGet(missing)).to_json()).await;
    // The newest comes first.
    for (element, place, next) in [(&said[1], 2, Some(2)), (&said[0], 1, None)] {
        let get = asked(&mut group.owner).await;
        answer(&group.owner, &get, vec![item(place, &group.owner.id, None, element)], next).await;
        assert_eq!(&hear_restriction(&mut member).await.verbatim, element);
    }
    group.owner.post("last").await;
    member.hear_post("last").await;
    group.until_member(&about, |about| !about.blocked && about.restriction.is_some()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_blocked_before_it_comes_is_told_so_and_so_are_those_who_lead() {
    let mut group = Group::served(Tuning::default()).await;
    let mut moderator = group.join().await;
    group.publish_roster(1, &Group::roster_with(&moderator, MemberRole::Moderator)).await;
    let mut rng = system_rng();
    let (id, key) = (MemberId::generate(&mut rng), Ed25519PrivateKey::generate(&mut rng));
    let said = group.owner.say(restriction(&id, Restriction::Blocked)).await;
    hear_restriction(&mut moderator).await;
    let relay = group.relay_id.clone();
    let asked = group.ask(id, key, &relay).await;
    let mut blocked = Group::let_in(asked).await;
    let from = ForwardSender::Member { id: group.owner.id.clone(), name: "Olga".to_owned() };
    for person in [&mut blocked, &mut moderator] {
        let heard = hear_restriction(person).await;
        assert_eq!((heard.verbatim, heard.from), (said.clone(), Some(from.clone())));
    }
}

fn forwarded(author: &MemberId, statement: &[u8]) -> Vec<u8> {
    let sender = ForwardSender::Member { id: author.clone(), name: "somebody".to_owned() };
    forward(&sender, clock::now(), &Statement::parse(statement).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_comes_later_knows_who_is_removed_and_blocked() {
    let mut group = Group::served(Tuning::default()).await;
    let mut rng = system_rng();
    let mut somebody = || (MemberId::generate(&mut rng), Ed25519PrivateKey::generate(&mut rng));
    let [admin, removed, blocked, innocent, slandered] = [(); 5].map(|()| somebody());
    let delete = |id: &MemberId| {
        Event::MemberDelete(MemberDelete {
            member_id: id.clone(),
            messages: false,
            member_key: None,
            roster_version: None,
        })
    };
    let public_id = group.owner.group.clone();
    // An admin said so who is none any more: the owner says that it stands.
    let by_admin = |event: Event, key: &Ed25519PrivateKey| {
        let message = Message::new(Some(SharedMessageId::generate(&mut system_rng())), event);
        sign(key, &public_id, &admin.0, &message.to_json())
    };
    let removal = by_admin(delete(&removed.0), &admin.1);
    let block = group.owner.signed(restriction(&blocked.0, Restriction::Blocked));
    let forged = by_admin(delete(&innocent.0), &innocent.1);
    let told = |by: &MemberId, about: &(MemberId, Ed25519PrivateKey), said: &[u8]| {
        vec![introduction(&admin.0, &admin.1), introduction(&about.0, &about.1), forwarded(by, said)]
    };
    let rulings = [
        told(&admin.0, &removed, &removal),
        told(&group.owner.id, &blocked, &block),
        told(&admin.0, &innocent, &forged),
    ];
    for body in bodies(rulings) {
        group.owner.send(&body).await;
    }
    let mut member = group.join().await;
    let slander = by_admin(delete(&slandered.0), &admin.1);
    for body in bodies([told(&admin.0, &slandered, &slander)]) {
        member.send(&body).await;
    }
    // Whatever was said before this is taken.
    group.owner.post("last").await;
    member.hear_post("last").await;

    let relay = group.relay_id.clone();
    for id in [removed.0, MemberId::generate(&mut system_rng())] {
        let (_, answer) = group.ask(id, removed.1.clone(), &relay).await;
        assert!(matches!(answer, Event::LinkReject(_)), "{answer:?}");
    }
    let (_, answer) =
        group.ask(blocked.0.clone(), Ed25519PrivateKey::generate(&mut system_rng()), &relay).await;
    assert!(matches!(answer, Event::RelayNotice(_)), "its key is known: {answer:?}");
    let asked = group.ask(blocked.0, blocked.1, &relay).await;
    let mut blocked = Group::let_in(asked).await;
    assert_eq!(hear_restriction(&mut blocked).await.verbatim, block);
    group.until_member(&blocked, |blocked| blocked.blocked).await;
    for (id, key) in [innocent, slandered] {
        let asked = group.ask(id, key, &relay).await;
        Group::let_in(asked).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_missed_a_removal_cuts_the_member_off_when_the_owner_says_that_it_stands() {
    let mut group = Group::served(Tuning::default()).await;
    let mut member = group.join().await;
    let delete = MemberDelete {
        member_id: member.id.clone(),
        messages: false,
        member_key: None,
        roster_version: None,
    };
    let removal = group.owner.signed(Event::MemberDelete(delete));
    let rulings = [vec![introduction(&member.id, &member.key), forwarded(&group.owner.id, &removal)]];
    for body in bodies(rulings) {
        group.owner.send(&body).await;
    }
    let heard = member
        .hear("the removal", |heard| {
            matches!(heard.event, Event::MemberDelete(_)).then(|| heard.verbatim.clone())
        })
        .await;
    assert_eq!(heard, removal);
    group.until_member(&member, |member| member.connection.is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_was_removed_before_it_came_does_not_come_in_by_the_same_key() {
    let mut group = Group::served(Tuning::default()).await;
    let mut member = group.join().await;
    let mut rng = system_rng();
    let (id, key) = (MemberId::generate(&mut rng), Ed25519PrivateKey::generate(&mut rng));
    let member_key = Some(MemberKey(key.public_key()));
    let delete = MemberDelete { member_id: id.clone(), messages: false, member_key, roster_version: None };
    let said = group.owner.say(Event::MemberDelete(delete)).await;
    let heard = |heard: &Heard| matches!(heard.event, Event::MemberDelete(_)).then(|| heard.verbatim.clone());
    assert_eq!(member.hear("the removal", heard).await, said);
    let relay = group.relay_id.clone();
    for id in [id, MemberId::generate(&mut rng)] {
        let (_, answer) = group.ask(id, key.clone(), &relay).await;
        assert!(matches!(answer, Event::LinkReject(_)), "{answer:?}");
    }
}

/// A group where joiners post.
async fn of_writers() -> Group {
    let all_post = |profile: &mut GroupProfile| {
        if let Some(group) = &mut profile.public_group {
            group.group_type = GroupType::Group;
        }
    };
    Group::served_as(Tuning::default(), all_post).await
}

/// Somebody comes with a key under another member id; gives the role with which it is let in.
async fn under_another_id(group: &mut Group, key: &Ed25519PrivateKey) -> (Person, MemberRole) {
    let relay = group.relay_id.clone();
    let asked = group.ask(MemberId::generate(&mut system_rng()), key.clone(), &relay).await;
    let Event::LinkInvitation(invitation) = &asked.1 else { panic!("it is let in: {:?}", asked.1) };
    let role = invitation.group_link_invitation.invited_member.member_role;
    let person = Group::let_in(asked).await;
    let shown = |heard: &Heard| match &heard.event {
        Event::MemberNew(new) if new.member_info.member_id == person.id => Some(new.member_info.member_role),
        _ => None,
    };
    assert_eq!(group.owner.hear("the newcomer", shown).await, role, "it is shown as it is");
    (person, role)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_was_silenced_is_so_under_another_id_of_the_same_key() {
    use MemberRole::{Member, Observer};
    let mut group = of_writers().await;
    let (silenced, mut other) = (group.join().await, group.join().await);
    let [silence, release] = <[_; 2]>::try_from(in_turn(
        &group.owner,
        [Observer, Member].map(|role| appointment(&silenced.id, role, Some(&silenced.key))),
    ))
    .unwrap();
    group.owner.send(&silence).await;
    group.until_member(&silenced, |silenced| silenced.role == Observer).await;
    silenced.say(Event::Leave(Leave {})).await;
    group.until_member(&silenced, |silenced| silenced.status == MemberStatus::Left).await;
    let (again, role) = under_another_id(&mut group, &silenced.key).await;
    assert_eq!(role, Observer);
    again.post("as somebody else").await;
    again.say(Event::Leave(Leave {})).await;
    let by_it = |heard: &Heard| heard.from.as_ref().and_then(ForwardSender::member) == Some(&again.id);
    let end = |heard: &Heard| (by_it(heard) && matches!(heard.event, Event::Leave(_))).then_some(());
    other.hear("the end of that", end).await;
    assert!(!other.has_unheard_post("as somebody else"));

    // A key of which nothing was said, and the same key when its member may post again.
    let (_, role) = under_another_id(&mut group, &Group::key()).await;
    assert_eq!(role, Member);
    group.owner.send(&release).await;
    group.until_member(&silenced, |silenced| silenced.role == Member).await;
    let (again, role) = under_another_id(&mut group, &silenced.key).await;
    assert_eq!(role, Member);
    again.post("back").await;
    other.hear_post("back").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_blocked_is_so_under_any_id_until_one_of_them_is_unblocked() {
    let mut group = of_writers().await;
    let blocked = group.join().await;
    let mut said = restrictions(&group.owner, &blocked.id, &[Restriction::Blocked]);
    group.owner.send(&said.remove(0)).await;
    group.until_member(&blocked, |blocked| blocked.blocked).await;
    let (second, _) = under_another_id(&mut group, &blocked.key).await;
    group.until_member(&second, |second| second.blocked).await;
    // The owner knows it by this id alone.
    group.owner.say(restriction(&second.id, Restriction::Unrestricted)).await;
    group.until_member(&second, |second| !second.blocked).await;
    let (third, _) = under_another_id(&mut group, &blocked.key).await;
    group.until_member(&third, |third| !third.blocked).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_comes_later_knows_the_keys_of_whom_is_silenced_and_blocked() {
    let mut group = of_writers().await;
    let mut rng = system_rng();
    let [silenced, blocked] =
        [(); 2].map(|()| (MemberId::generate(&mut rng), Ed25519PrivateKey::generate(&mut rng)));
    let rulings = [
        (&silenced, group.owner.signed(appointment(&silenced.0, MemberRole::Observer, None))),
        (&blocked, group.owner.signed(restriction(&blocked.0, Restriction::Blocked))),
    ];
    let told =
        rulings.map(|((id, key), said)| vec![introduction(id, key), forwarded(&group.owner.id, &said)]);
    for body in bodies(told) {
        group.owner.send(&body).await;
    }
    group.owner.post("last").await;
    group.join().await.hear_post("last").await;
    let (_, role) = under_another_id(&mut group, &silenced.1).await;
    assert_eq!(role, MemberRole::Observer);
    let (again, _) = under_another_id(&mut group, &blocked.1).await;
    group.until_member(&again, |again| again.blocked).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_was_blocked_before_it_came_is_so_under_any_id_of_the_key_that_was_named() {
    let mut group = of_writers().await;
    let mut moderator = group.join().await;
    group.publish_roster(2, &Group::roster_with(&moderator, MemberRole::Moderator)).await;
    let (id, key) = (MemberId::generate(&mut system_rng()), Group::key());
    let member_key = Some(MemberKey(key.public_key()));
    let member_restrictions = Restrictions { restriction: Restriction::Blocked };
    let said = MemberRestrict { member_id: id, member_restrictions, member_key };
    group.owner.say(Event::MemberRestrict(said)).await;
    hear_restriction(&mut moderator).await;
    let (again, _) = under_another_id(&mut group, &key).await;
    group.until_member(&again, |again| again.blocked).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_privilege_is_not_that_of_another_id() {
    let mut group = Group::served(Tuning::default()).await;
    let author = group.join().await;
    group.owner.say(appointment(&author.id, MemberRole::Author, Some(&author.key))).await;
    group.until_member(&author, |author| author.role == MemberRole::Author).await;
    let (_, role) = under_another_id(&mut group, &author.key).await;
    assert_eq!(role, MemberRole::Observer, "nobody would believe it of this one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_role_that_comes_later_is_passed_on_and_changes_nothing() {
    use MemberRole::{Author, Observer};
    let mut group = Group::served(Tuning::default()).await;
    let (mut member, about) = (group.join().await, group.join().await);
    for (older, newer) in [(Author, Observer), (Observer, Author)] {
        let said = in_turn(&group.owner, [older, newer].map(|role| appointment(&about.id, role, None)));
        for element in said.iter().rev() {
            group.owner.send(element).await;
            assert_eq!(&hear_appointment(&mut member).await, element);
        }
        group.until_member(&about, |about| about.role == newer).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_no_roster_tells_is_kept_for_whoever_comes_later() {
    let mut group = Group::served(Tuning::default()).await;
    let mut moderator = group.join().await;
    group.publish_roster(1, &Group::roster_with(&moderator, MemberRole::Moderator)).await;
    let mut rng = system_rng();
    let [ruled, told] =
        [(); 2].map(|()| (MemberId::generate(&mut rng), Ed25519PrivateKey::generate(&mut rng)));
    // The one is told by the owner as a ruling that stands, the other as it happens.
    let ruling = group.owner.signed(appointment(&ruled.0, MemberRole::Author, None));
    let rulings = [vec![introduction(&ruled.0, &ruled.1), forwarded(&group.owner.id, &ruling)]];
    for body in bodies(rulings) {
        group.owner.send(&body).await;
    }
    let live = group.owner.say(appointment(&told.0, MemberRole::Author, Some(&told.1))).await;
    assert_eq!(hear_appointment(&mut moderator).await, live);
    let relay = group.relay_id.clone();
    for ((id, key), said) in [(ruled, ruling), (told, live)] {
        let other = Ed25519PrivateKey::generate(&mut rng);
        let (_, answer) = group.ask(id.clone(), other, &relay).await;
        assert!(matches!(answer, Event::RelayNotice(_)), "its key is known: {answer:?}");
        let asked = group.ask(id, key, &relay).await;
        let Event::LinkInvitation(invitation) = &asked.1 else { panic!("it is let in: {:?}", asked.1) };
        assert_eq!(invitation.group_link_invitation.invited_member.member_role, MemberRole::Author);
        let mut person = Group::let_in(asked).await;
        for heard in [&mut person, &mut moderator] {
            assert_eq!(hear_appointment(heard).await, said);
        }
        group.until_member(&person, |person| person.role == MemberRole::Author).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_about_strangers_is_kept_of_as_many_as_there_is_room_for_and_the_owner_is_told() {
    let mut group = Group::served(Tuning { strangers_max: Some(2), ..Tuning::default() }).await;
    let mut rng = system_rng();
    let mut somebody = || (MemberId::generate(&mut rng), Ed25519PrivateKey::generate(&mut rng));
    let [removed, blocked, beyond, told, listed] = [(); 5].map(|()| somebody());
    let delete = |id: &MemberId| {
        let (member_id, messages, member_key) = (id.clone(), false, None);
        Event::MemberDelete(MemberDelete { member_id, messages, member_key, roster_version: None })
    };
    group.owner.say(delete(&removed.0)).await;
    let ruling = group.owner.signed(restriction(&blocked.0, Restriction::Blocked));
    let block = [vec![introduction(&blocked.0, &blocked.1), forwarded(&group.owner.id, &ruling)]];
    let removals = [&beyond, &told].map(|(id, key)| {
        vec![introduction(id, key), forwarded(&group.owner.id, &group.owner.signed(delete(id)))]
    });
    for body in bodies(block).into_iter().chain(bodies(removals)) {
        group.owner.send(&body).await;
    }
    let notice = |heard: &Heard| match &heard.event {
        Event::RelayNotice(notice) => Some((notice.notice.clone(), notice.member_id.clone())),
        _ => None,
    };
    let expected = ("strangers_full".to_owned(), Some(beyond.0.clone()));
    assert_eq!(group.owner.hear("a notice", notice).await, expected);

    let relay = group.relay_id.clone();
    let (_, answer) = group.ask(removed.0, removed.1, &relay).await;
    assert!(matches!(answer, Event::LinkReject(_)), "what was kept stays: {answer:?}");
    let asked = group.ask(beyond.0, beyond.1, &relay).await;
    let mut beyond = Group::let_in(asked).await;
    // Whoever comes is no stranger any more, and leaves room for another.
    let asked = group.ask(blocked.0, blocked.1, &relay).await;
    let blocked = Group::let_in(asked).await;
    group.until_member(&blocked, |blocked| blocked.blocked).await;
    group.owner.say(delete(&told.0)).await;
    group.owner.post("last").await;
    beyond.hear_post("last").await;
    let (_, answer) = group.ask(told.0, told.1, &relay).await;
    assert!(matches!(answer, Event::LinkReject(_)), "{answer:?}");
    // Those on the roster have room of their own.
    let mut roster = Roster::default();
    let entry = RosterEntry { key: MemberKey(listed.1.public_key()), role: MemberRole::Moderator };
    roster.put(listed.0.clone(), entry).unwrap();
    group.publish_roster(2, &roster).await;
    let mut store = group.relay.store();
    eventually(|| match store.member_by_id(GroupId(1), &listed.0).unwrap() {
        Some(listed) if listed.role == MemberRole::Moderator => Ok(()),
        other => Err(format!("the relay has {other:?}")),
    })
    .await;
}
