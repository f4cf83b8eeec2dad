//! What every [`RelayStore`] must do, run by its engine's tests on empty stores.

use std::collections::BTreeSet;

use protocol::crypto::sign::Ed25519PublicKey;
use protocol::group::identity::{LinkText, MemberId, MemberRole, PublicGroupId};
use protocol::group::msg_id::SharedMessageId;
use protocol::group::profile::{GroupProfile, GroupType, HistoryKept, Profile, PublicGroup};
use protocol::group::ruling::Ruling;
use protocol::group::signed::Statement;
use protocol::smp::address::ServerAddress;
use protocol::timestamp::Timestamp;

use crate::config::Limits;

use super::records::{
    Content, DeliveryId, Forgotten, Given, GroupId, GroupIdentity, GroupKey, LinkState, LiveRoster, Member,
    MemberNumber, MemberStatus, MessageKind, NewDelivery, NewMember, NewMessage, Piece, Purpose, Reader,
    ServedGroup, Stage, StoredMessage, StoredMessageId, Stream, Welcomed,
};
use super::{
    RelayStore, StoreError, contract_bulk as bulk, contract_gaps as gaps, contract_operation as operation,
};

/// From the first message on.
const FIRST: StoredMessageId = StoredMessageId(i64::MIN);

pub(super) const NOW: Timestamp = Timestamp(1_000_000);

type Part<S> = fn(&mut S) -> Result<(), StoreError>;

/// Runs the contract, each part on a store of its own.
pub(super) fn check<S: RelayStore>(mut open: impl FnMut() -> S) {
    let parts: [Part<S>; 33] = [
        servers_know_the_relay_again,
        an_invitation_finds_its_group_again,
        connections_know_what_they_are_for,
        members_read_back_as_written,
        messages_are_stored_once,
        history_shows_posts_with_their_last_edit,
        members_stand_in_the_stream_while_they_are_reached,
        rounds_and_turns_apart_find_who_is_to_be_served,
        bodies_are_made_of_their_pieces,
        what_all_have_is_forgotten,
        gaps::content_that_waits_too_long_is_passed_over_and_nothing_else,
        gaps::many_are_passed_over_step_by_step,
        gaps::what_an_item_held_is_known_when_it_does_not_come,
        history_is_read_back_page_by_page,
        history_reaches_as_far_as_is_wanted,
        what_was_said_before_stands_ahead,
        old_messages_go_but_not_the_history,
        members_of_whom_nothing_is_left_are_forgotten,
        strangers_are_counted_until_they_ask,
        operation::settings_come_and_go,
        operation::codes_are_counted_by_group,
        operation::rejections_are_by_link_and_by_group,
        operation::owners_are_listed_by_key,
        operation::days_are_counted_anew,
        operation::members_are_found_by_key_if_anything_was_decided_about_them,
        operation::groups_are_counted_for_their_account,
        operation::members_are_counted_as_they_come_and_go,
        operation::who_knocks_is_counted_apart,
        bulk::both_connections_of_those_with_a_role_are_found,
        bulk::the_stream_stands_on_the_second_connection,
        bulk::a_statement_that_came_ahead_takes_its_turn_once,
        bulk::copies_go_round_those_with_two_connections,
        bulk::waiting_requests_are_counted_so_far,
    ];
    for part in parts {
        part(&mut open()).expect("the store works");
    }
}

fn servers_know_the_relay_again<S: RelayStore>(store: &mut S) -> Result<(), StoreError> {
    let (first, again) = (store.services()?, store.services()?);
    assert_eq!((first.seed, first.surplus.len()), (again.seed, 0));
    let server = |number: u8| {
        let hash = protocol::base64url::encode(&[number; 32]);
        format!("smp://{hash}@a.example").parse::<ServerAddress>().expect("an address")
    };
    store.set_service_surplus(&server(1), 3)?;
    store.set_service_surplus(&server(2), 5)?;
    store.set_service_surplus(&server(1), -2)?;
    let surplus = store.services()?.surplus;
    assert_eq!(
        surplus.into_iter().collect::<BTreeSet<_>>(),
        BTreeSet::from([(server(1), -2), (server(2), 5)])
    );
    Ok(())
}

pub(super) fn id(byte: u8) -> MemberId {
    MemberId::new([byte; 12]).expect("an id")
}

fn message_id(text: &str) -> SharedMessageId {
    SharedMessageId::new(text.as_bytes()).expect("an id")
}

fn key(owner: u8) -> GroupKey {
    GroupKey { group_link: LinkText::new("simplex:/c#1").expect("a link"), owner: id(owner), relay: id(200) }
}

/// What a group link says of a group.
pub(super) fn identity() -> GroupIdentity {
    let public_group_id = PublicGroupId::new([3; 32]).expect("an id");
    let public_group = PublicGroup {
        group_type: GroupType::Channel,
        group_link: key(1).group_link,
        public_group_id: public_group_id.clone(),
        public_group_access: None,
        other: Default::default(),
    };
    GroupIdentity {
        public_group_id,
        root_key: Ed25519PublicKey([3; 32]),
        profile: GroupProfile::new("Tea", public_group),
        link_version: None,
        relays: vec![LinkText::new("simplex:/g#2").expect("a link")],
    }
}

fn groups_max(groups_max: u32) -> Limits {
    Limits { groups_max, ..Limits::default() }
}

pub(super) fn group(store: &mut impl RelayStore) -> Result<ServedGroup, StoreError> {
    Ok(store.group_for_invitation(&key(1), NOW, &groups_max(10))?.expect("there is room").0)
}

pub(super) fn another_group(store: &mut impl RelayStore) -> Result<ServedGroup, StoreError> {
    Ok(store.group_for_invitation(&key(2), NOW, &groups_max(10))?.expect("there is room").0)
}

pub(super) fn member(
    store: &mut impl RelayStore,
    group: GroupId,
    byte: u8,
    role: MemberRole,
) -> Result<Member, StoreError> {
    let new = NewMember {
        id: id(byte),
        role,
        status: MemberStatus::Connected,
        profile: Some(Profile::named("Ann")),
        key: Some(Ed25519PublicKey([byte; 32])),
    };
    let mut member = store.insert_member(group, &new, NOW)?;
    let connection = store.insert_connection(b"record")?;
    store.set_purpose(connection, Purpose::Member(group, member.number), None)?;
    member.connection = Some(connection);
    store.update_member(&member)?;
    Ok(member)
}

pub(super) fn message(
    author: MemberNumber,
    text: &str,
    kind: MessageKind,
    target: Option<&str>,
) -> NewMessage {
    NewMessage {
        message_id: message_id(text),
        author,
        broker_time: NOW,
        kind,
        target: target.map(message_id),
        support_of: None,
        as_channel: false,
        verified: true,
        element: text.as_bytes().to_vec(),
    }
}

fn an_invitation_finds_its_group_again<S: RelayStore>(store: &mut S) -> Result<(), StoreError> {
    let first = group(store)?;
    assert_eq!(
        store.group_for_invitation(&key(1), NOW, &groups_max(10))?,
        Some((first.clone(), false)),
        "the same again"
    );
    let (other, is_new) = store.group_for_invitation(&key(2), NOW, &groups_max(2))?.expect("there is room");
    assert!(other.id != first.id && is_new, "another owner, another group");
    assert_eq!(store.group_for_invitation(&key(3), NOW, &groups_max(2))?, None, "no room");

    let unread = Limits { unread_groups_max: 2, ..Limits::default() };
    assert_eq!(store.group_for_invitation(&key(3), NOW, &unread)?, None, "too many wait to be read");

    let profile = Profile::named("Olga");
    let ids = [
        store.add_invitation(first.id, b"one", &profile)?,
        store.add_invitation(first.id, b"two", &profile)?,
    ];
    let waiting = store.invitations_of(first.id)?;
    assert_eq!(waiting.iter().map(|waiting| waiting.id).collect::<Vec<_>>(), ids, "in order");
    assert_eq!(waiting.first().map(|waiting| &waiting.profile), Some(&profile));
    store.delete_invitation(ids[0])?;
    assert_eq!(store.invitations_of(first.id)?.len(), 1);

    let changed = ServedGroup { due_at: Some(NOW), draft: Some(vec![1]), ..first };
    store.update_group(&changed)?;
    assert_eq!(store.group(changed.id)?, Some(changed.clone()));
    assert_eq!(store.groups_due(NOW, 10)?, std::slice::from_ref(&changed));
    assert_eq!(store.groups_due(NOW.plus_ms(-1), 10)?, []);
    assert_eq!(store.next_due(NOW.plus_ms(-1))?, Some(NOW));
    store.delete_group(changed.id)?;
    assert_eq!(store.invitations_of(changed.id)?, [], "they go with their group");
    Ok(())
}

fn connections_know_what_they_are_for<S: RelayStore>(store: &mut S) -> Result<(), StoreError> {
    let group = group(store)?.id;
    let number = member(store, group, 1, MemberRole::Owner)?.number;
    let purposes = [
        Purpose::Address,
        Purpose::RelayLink(group),
        Purpose::Member(group, number),
        Purpose::Claimant(group, number),
        Purpose::Reader(group),
        Purpose::Source(group),
        Purpose::Answer,
        Purpose::Closing,
    ];
    for purpose in purposes {
        let connection = store.insert_connection(b"record")?;
        store.set_purpose(connection, purpose, None)?;
        assert_eq!(store.purpose(connection)?, Some(purpose));
        let is_with_peer = matches!(purpose, Purpose::Reader(_) | Purpose::Source(_));
        assert_eq!(store.connections_with_peers(group)?.len(), usize::from(is_with_peer));
        store.set_purpose(connection, Purpose::Answer, Some(NOW))?;
        assert_eq!(store.expired_connections(NOW, 10)?, [(connection, Purpose::Answer)]);
        store.delete_connection(connection)?;
        assert_eq!(store.purpose(connection)?, None, "goes with its connection");
    }
    assert_eq!(store.connections_of_group(group)?.len(), 1);
    Ok(())
}

fn members_read_back_as_written<S: RelayStore>(store: &mut S) -> Result<(), StoreError> {
    let group = group(store)?.id;
    let first = member(store, group, 1, MemberRole::Admin)?;
    member(store, group, 2, MemberRole::Observer)?;
    let said = Statement::parse(b"{\"event\":\"x.grp.mem.restrict\"}").expect("a statement");
    let changed = Member {
        blocked: true,
        restriction: Some(Ruling::new(id(2), NOW, &said)),
        appointment: Some(Ruling::new(id(3), NOW, &said)),
        link: LinkState::Full,
        roster_served: 3,
        passed_over: true,
        ..first
    };
    store.update_member(&changed)?;
    assert_eq!(store.member_by_id(group, &id(1))?, Some(changed.clone()));
    assert_eq!(
        store.members_with_roles(group, &[MemberRole::Owner, MemberRole::Admin])?,
        std::slice::from_ref(&changed)
    );
    assert_eq!(store.count_members(group)?, 2);
    let connection = changed.connection.expect("it has one");
    store.delete_connection(connection)?;
    assert_eq!(store.member(changed.number)?.and_then(|member| member.connection), None);

    let roster = LiveRoster {
        version: 2,
        author: changed.number,
        broker_time: NOW,
        message_id: message_id("header"),
        header: b"header".to_vec(),
        blob: b"blob".to_vec(),
    };
    store.set_roster_transfer(group, Some(b"half"))?;
    assert_eq!(store.roster_transfer(group)?, Some(b"half".to_vec()));
    store.set_roster(group, &roster)?;
    assert_eq!((store.roster(group)?, store.roster_transfer(group)?), (Some(roster), None));
    Ok(())
}

fn messages_are_stored_once<S: RelayStore>(store: &mut S) -> Result<(), StoreError> {
    let group = group(store)?.id;
    let author = member(store, group, 1, MemberRole::Owner)?.number;
    let post = message(author, "a", MessageKind::Post, None);
    let stored = store.store_message(group, &post, NOW)?;
    assert!(stored.is_some());
    let altered = NewMessage { element: b"other".to_vec(), ..post.clone() };
    assert_eq!(store.store_message(group, &altered, NOW)?, None);
    let found = store.message_by_id(group, &post.message_id)?.expect("it is stored");
    assert_eq!((Some(found.id), found.message), (stored, post));
    Ok(())
}

fn history_is_read_back_page_by_page<S: RelayStore>(store: &mut S) -> Result<(), StoreError> {
    let group = group(store)?.id;
    let author = member(store, group, 1, MemberRole::Owner)?.number;
    let blocked = member(store, group, 2, MemberRole::Member)?;
    store.update_member(&Member { blocked: true, ..blocked.clone() })?;
    let support = NewMessage { support_of: Some(id(2)), ..message(author, "aside", MessageKind::Post, None) };
    for new in [
        message(author, "a", MessageKind::Post, None),
        message(author, "role", MessageKind::Other, None),
        support,
        message(blocked.number, "spam", MessageKind::Post, None),
        message(author, "gone", MessageKind::Post, None),
        message(author, "b", MessageKind::Post, None),
        message(author, "file of b", MessageKind::File, Some("b")),
        message(author, "b1", MessageKind::Edit, Some("b")),
    ] {
        store.store_message(group, &new, NOW)?;
    }
    store.hide_message(group, &message_id("gone"))?;
    let mut page = |before, limit, files_since| -> Result<_, StoreError> {
        let found = store.history_page(group, before, FIRST, limit, files_since, None)?;
        let last = found.last().map(|found| found.id);
        let texts =
            found.into_iter().map(|found| String::from_utf8_lossy(&found.message.element).into_owned());
        Ok((texts.collect::<Vec<_>>(), last))
    };
    let (newest, at) = page(None, 3, Timestamp(0))?;
    assert_eq!(newest, ["b1", "file of b", "b"]);
    let (older, at) = page(at, 3, Timestamp(0))?;
    assert_eq!(older, ["role", "a"]);
    assert_eq!(page(at, 3, Timestamp(0))?.0, [""; 0]);
    assert_eq!(page(None, 2, NOW)?.0, ["b1", "b"], "the file is too old");
    // Who was welcomed with the newest post is given what else there is, also what became of older posts.
    store.store_message(group, &message(author, "a1", MessageKind::Edit, Some("a")), NOW)?;
    let from = store.message_by_id(group, &message_id("b"))?.expect("it is stored").id;
    for (member, at, expected) in [
        (blocked.number, NOW.plus_ms(1), "a1 role a"),
        (blocked.number, NOW, "a1 b1 file of b b role a"),
        (author, NOW.plus_ms(1), "a1 b1 file of b b role a"),
    ] {
        let welcomed = Some(Welcomed { from, member, at });
        let found = store.history_page(group, None, FIRST, 9, Timestamp(0), welcomed)?;
        let texts = found.iter().map(|found| String::from_utf8_lossy(&found.message.element));
        assert_eq!(texts.collect::<Vec<_>>().join(" "), expected);
    }
    Ok(())
}

fn history_reaches_as_far_as_is_wanted<S: RelayStore>(store: &mut S) -> Result<(), StoreError> {
    let group = group(store)?.id;
    let author = member(store, group, 1, MemberRole::Owner)?.number;
    let mut ids = Vec::new();
    for (text, seconds) in [("a", 10), ("bb", 20), ("gone", 25), ("ccc", 30), ("dddd", 40)] {
        let broker_time = Timestamp::from_seconds(seconds);
        let post = NewMessage { broker_time, ..message(author, text, MessageKind::Post, None) };
        ids.extend(store.store_message(group, &post, NOW)?);
        let edit = message(author, &format!("{text}, edited"), MessageKind::Edit, Some(text));
        store.store_message(group, &edit, NOW)?;
    }
    store.hide_message(group, &message_id("gone"))?;
    let now = Timestamp::from_seconds(50);
    let kept = |items, age_seconds, bytes| HistoryKept { items, age_seconds, bytes };
    for (wanted, oldest) in [
        (kept(100, None, None), None),
        (kept(4, None, None), None),
        (kept(3, None, None), Some(0)),
        (kept(1, None, None), Some(3)),
        (kept(100, Some(30), None), Some(0)),
        (kept(100, Some(5), None), Some(4)),
        (kept(100, None, Some(10)), None),
        (kept(100, None, Some(9)), Some(0)),
        (kept(100, None, Some(3)), Some(4)),
        (kept(2, Some(30), Some(9)), Some(1)),
    ] {
        // What is left out ends with this post.
        let expected = oldest.map_or(FIRST, |left_out: usize| StoredMessageId(ids[left_out].0 + 1));
        assert_eq!(store.oldest_kept(group, &wanted, now)?, expected, "{wanted:?}");
    }
    let oldest = store.oldest_kept(group, &kept(1, None, None), now)?;
    let page = store.history_page(group, None, oldest, 9, NOW, None)?;
    let texts = page.iter().map(|found| String::from_utf8_lossy(&found.message.element));
    assert_eq!(texts.collect::<Vec<_>>(), ["dddd, edited", "dddd", "ccc, edited"]);
    Ok(())
}

fn what_was_said_before_stands_ahead<S: RelayStore>(store: &mut S) -> Result<(), StoreError> {
    let group = group(store)?.id;
    let author = member(store, group, 1, MemberRole::Owner)?.number;
    let post = |text| message(author, text, MessageKind::Post, None);
    store.store_message(group, &post("d"), NOW)?;
    for text in ["c", "b"] {
        assert!(store.fill_message(group, &post(text), None, NOW)?.is_some_and(|id| id < StoredMessageId(0)));
    }
    assert_eq!(store.fill_message(group, &post("d"), None, NOW)?, None, "it is known");
    store.store_message(group, &post("e"), NOW)?;
    let lowest = store.fill_message(group, &post("a"), None, NOW)?.expect("it is new");
    let texts = |store: &mut S| -> Result<Vec<String>, StoreError> {
        let page = store.history_page(group, None, FIRST, 9, NOW, None)?;
        let text = |found: &StoredMessage| String::from_utf8_lossy(&found.message.element).into_owned();
        Ok(page.iter().rev().map(text).collect())
    };
    assert_eq!(texts(store)?, ["a", "b", "c", "d", "e"]);
    let again = store.history(group, 9, NOW)?.into_iter().map(|found| found.message.message_id);
    assert_eq!(again.collect::<Vec<_>>(), ["a", "b", "c", "d", "e"].map(message_id));
    store.forget_filled(lowest)?;
    store.store_message(group, &post("a"), NOW)?;
    assert_eq!(texts(store)?, ["b", "c", "d", "e", "a"]);
    // What was left out before stands where it was said.
    for (text, newer) in [("b, then", "c"), ("c, then", "d"), ("before b", "b"), ("c, at last", "c, then")] {
        let newer = store.message_by_id(group, &message_id(newer))?.map(|newer| newer.id);
        let id = store.fill_message(group, &post(text), newer, NOW)?;
        assert_eq!(id, store.message_by_id(group, &message_id(text))?.map(|stored| stored.id));
    }
    let expected = ["before b", "b", "b, then", "c", "c, at last", "c, then", "d", "e", "a"];
    assert_eq!(texts(store)?, expected);
    // Who was welcomed from c on is given what is put among those posts later, and at most some of them again.
    let at = |store: &mut S, text: &str| -> Result<StoredMessageId, StoreError> {
        Ok(store.message_by_id(group, &message_id(text))?.expect("it is stored").id)
    };
    let (from, newer) = (at(store, "c")?, at(store, "d")?);
    store.fill_message(group, &post("before d"), Some(newer), NOW.plus_ms(2))?;
    let welcomed = Welcomed { from, member: MemberNumber(author.0 + 1), at: NOW.plus_ms(1) };
    let page = store.history_page(group, None, FIRST, 9, NOW, Some(welcomed))?;
    let texts = page.iter().rev().map(|found| String::from_utf8_lossy(&found.message.element));
    assert_eq!(texts.collect::<Vec<_>>(), ["before b", "b", "b, then", "c", "before d"]);
    Ok(())
}

fn history_shows_posts_with_their_last_edit<S: RelayStore>(store: &mut S) -> Result<(), StoreError> {
    let group = group(store)?.id;
    let author = member(store, group, 1, MemberRole::Owner)?.number;
    let blocked = member(store, group, 2, MemberRole::Member)?;
    store.update_member(&Member { blocked: true, ..blocked.clone() })?;
    for new in [
        message(author, "a", MessageKind::Post, None),
        message(author, "b", MessageKind::Post, None),
        message(author, "b1", MessageKind::Edit, Some("b")),
        message(blocked.number, "spam", MessageKind::Post, None),
        message(author, "c", MessageKind::Post, None),
        message(author, "b2", MessageKind::Edit, Some("b")),
        message(author, "reaction", MessageKind::Other, Some("c")),
        message(author, "file of c", MessageKind::File, Some("c")),
        message(author, "file of a", MessageKind::File, Some("a")),
    ] {
        store.store_message(group, &new, NOW)?;
    }
    let since = |store: &mut S, limit, files_since| -> Result<Vec<String>, StoreError> {
        let found = store.history(group, limit, files_since)?;
        Ok(found
            .into_iter()
            .map(|found| String::from_utf8_lossy(&found.message.element).into_owned())
            .collect())
    };
    assert_eq!(since(store, 2, Timestamp(0))?, ["b", "c", "b2", "file of c"]);
    let shown = |store: &mut S, limit| since(store, limit, NOW);
    assert_eq!(shown(store, 2)?, ["b", "c", "b2"], "files are not kept for ever");
    store.hide_message(group, &message_id("b"))?;
    assert_eq!(shown(store, 2)?, ["a", "c"]);
    store.hide_messages_of(author)?;
    assert_eq!(shown(store, 2)?, Vec::<String>::new());
    Ok(())
}

pub(super) fn said(group: GroupId, author: MemberNumber, body: &[u8]) -> NewDelivery {
    NewDelivery {
        group,
        author,
        support_of: None,
        introduces: false,
        content: Content::Body(body.to_vec()),
        ends_group: false,
    }
}

fn members_stand_in_the_stream_while_they_are_reached<S: RelayStore>(
    store: &mut S,
) -> Result<(), StoreError> {
    let group = group(store)?.id;
    let early = member(store, group, 1, MemberRole::Owner)?;
    assert_eq!(store.stream(group)?, None);
    let first = store.add_delivery(&said(group, early.number, b"one"))?;
    let late = member(store, group, 2, MemberRole::Observer)?;
    let position = |store: &mut S, member: &Member| -> Result<Option<DeliveryId>, StoreError> {
        Ok(store.reader(group, member.number)?.map(|reader| reader.position))
    };
    assert_eq!(position(store, &early)?, Some(DeliveryId(0)));
    assert_eq!(position(store, &late)?, Some(first), "what came before is history");

    let given = Some(Given { through: first, number: 7 });
    let reader = store.reader(group, early.number)?.expect("it is connected");
    store.update_reader(&Reader { given, stage: Stage::Busy, ..reader })?;
    store.update_member(&Member { blocked: true, ..early.clone() })?;
    assert_eq!(store.reader(group, early.number)?.and_then(|reader| reader.given), given);
    let connection = store.insert_connection(b"another")?;
    store.update_member(&Member { connection: Some(connection), ..early.clone() })?;
    let moved = Reader { connection, position: DeliveryId(0), stage: Stage::Due, given: None, ..reader };
    assert_eq!(store.reader(group, early.number)?, Some(moved), "it is given again");

    for gone in [
        Member { link: LinkState::Broken, ..late.clone() },
        Member { status: MemberStatus::Removed, ..late.clone() },
        Member { connection: None, ..late.clone() },
    ] {
        store.update_member(&late)?;
        store.update_member(&gone)?;
        assert_eq!(position(store, &late)?, None);
    }
    store.delete_connection(connection)?;
    assert_eq!(position(store, &early)?, None, "it goes with its connection");
    store.forget_delivered(group, 9)?;
    assert_eq!(store.deliveries(group, DeliveryId(0), 9)?, [], "and nobody is waited for");
    Ok(())
}

fn rounds_and_turns_apart_find_who_is_to_be_served<S: RelayStore>(store: &mut S) -> Result<(), StoreError> {
    let group = group(store)?.id;
    let mut numbers = Vec::new();
    for byte in 1..=4 {
        numbers.push(member(store, group, byte, MemberRole::Observer)?.number);
    }
    let [one, two, three, four] = numbers[..] else { panic!("there are four") };
    let head = store.add_delivery(&said(group, one, b"one"))?;
    assert_eq!(store.groups_with_deliveries()?, [group]);
    let begun = Stream { head, cursor: Some(MemberNumber(0)), again: false, ends_at: None, is_paused: false };
    assert_eq!(store.stream(group)?, Some(begun));
    let round = |store: &mut S, after, limit| -> Result<Vec<MemberNumber>, StoreError> {
        Ok(store.round(group, after, head, limit)?.into_iter().map(|reader| reader.number).collect())
    };
    assert_eq!(round(store, MemberNumber(0), 3)?, [one, two, three]);
    assert_eq!(round(store, three, 3)?, [four]);
    let mut set = |number, stage, position, given| -> Result<(), StoreError> {
        let reader = store.reader(group, number)?.expect("it is connected");
        store.update_reader(&Reader { stage, position, given, ..reader })
    };
    let given = Some(Given { through: head, number: 1 });
    set(one, Stage::Free, head, None)?;
    set(two, Stage::Busy, DeliveryId(0), given)?;
    set(three, Stage::Due, DeliveryId(0), None)?;
    set(four, Stage::Held, DeliveryId(0), None)?;
    assert_eq!(round(store, MemberNumber(0), 9)?, []);
    let due: Vec<_> = store.readers_due(group, 9)?.into_iter().map(|reader| reader.number).collect();
    assert_eq!(due, [three]);

    // What comes during a round makes another one necessary; what comes before its first page does not.
    store.add_delivery(&said(group, one, b"two"))?;
    assert_eq!(store.stream(group)?.map(|stream| stream.again), Some(false));
    store.update_stream(group, &Stream { cursor: Some(two), ..begun })?;
    store.add_delivery(&said(group, one, b"three"))?;
    let stream = store.stream(group)?.expect("it is there");
    assert_eq!((stream.cursor, stream.again), (Some(two), true));
    store.update_stream(group, &Stream { cursor: None, again: false, ..stream })?;
    store.set_paused(group, true)?;
    let last = store.add_delivery(&NewDelivery { ends_group: true, ..said(group, one, b"four") })?;
    let ending = Stream {
        head: last,
        cursor: Some(MemberNumber(0)),
        again: false,
        ends_at: Some(last),
        is_paused: true,
    };
    assert_eq!(store.stream(group)?, Some(ending));
    Ok(())
}

fn bodies_are_made_of_their_pieces<S: RelayStore>(store: &mut S) -> Result<(), StoreError> {
    let served = group(store)?;
    let group = served.id;
    let reader = member(store, group, 1, MemberRole::Observer)?;
    let (author, connection) = (reader.number, reader.connection.expect("it has one"));
    let mut ids = Vec::new();
    for text in ["{a", "{b"] {
        let stored = store.store_message(group, &message(author, text, MessageKind::Post, None), NOW)?;
        let content = Content::Message(stored.expect("it is new"), b">C".to_vec());
        ids.push(store.add_delivery(&NewDelivery {
            content,
            introduces: true,
            ..said(group, author, b"")
        })?);
    }
    let alone = store.add_delivery(&said(group, author, b"/alone"))?;
    let first = ids[0];
    store.set_introduction(first, b"{who")?;
    let found = store.deliveries(group, DeliveryId(0), 9)?;
    let seen: Vec<_> =
        found.iter().map(|one| (one.id, one.bytes, one.introduction_bytes, one.is_alone)).collect();
    assert_eq!(seen, [(first, 4, Some(4), false), (ids[1], 4, None, false), (alone, 6, None, true)]);

    let pieces = [Piece::Introduction(first), Piece::Content(first), Piece::Content(ids[1])];
    let body = store.body_of(group, &pieces)?;
    assert_eq!(store.body_of(group, &pieces)?, body, "the same pieces are the same body");
    let job = store.push_job(connection, b"job", Some(body))?;
    let bytes = b"=\x03\0\x04{who\0\x04>C{a\0\x04>C{b".to_vec();
    assert_eq!(store.body(body)?, Some(bytes.clone()));
    let by_itself = store.body_of(group, &[Piece::Content(alone)])?;
    assert_eq!(store.body(by_itself)?, Some(b"/alone".to_vec()));
    store.push_job(connection, b"another", Some(by_itself))?;
    let unsent = store.body_of(group, &[Piece::Content(first)])?;
    assert!(store.body(unsent)?.is_some());
    store.forget_unsent()?;
    assert_eq!(store.body(unsent)?, None, "no request names it");
    assert_eq!(store.body(body)?, Some(bytes.clone()), "of what is on its way nothing is forgotten");

    store.set_purpose(connection, Purpose::Closing, None)?;
    store.delete_group(group)?;
    assert_eq!(store.body(body)?, Some(bytes), "what is on its way outlives its group");
    store.delete_job(job)?;
    assert_eq!(store.body(body)?, None, "but not its last request");
    Ok(())
}

fn what_all_have_is_forgotten<S: RelayStore>(store: &mut S) -> Result<(), StoreError> {
    let group = group(store)?.id;
    let (quick, slow) =
        (member(store, group, 1, MemberRole::Owner)?, member(store, group, 2, MemberRole::Observer)?);
    let mut ids = Vec::new();
    for text in ["one", "two", "three"] {
        ids.push(store.add_delivery(&said(group, quick.number, text.as_bytes()))?);
    }
    let left = |store: &mut S| -> Result<Vec<DeliveryId>, StoreError> {
        Ok(store.deliveries(group, DeliveryId(0), 9)?.into_iter().map(|one| one.id).collect())
    };
    let stand = |store: &mut S, member: &Member, position| -> Result<(), StoreError> {
        let reader = store.reader(group, member.number)?.expect("it is connected");
        store.update_reader(&Reader { position, ..reader })
    };
    stand(store, &quick, ids[2])?;
    let none = Forgotten { all_have: DeliveryId(0), has_more: false };
    assert_eq!(store.forget_delivered(group, 9)?, none);
    assert_eq!((left(store)?, store.members_behind()?), (ids.clone(), 1));
    stand(store, &slow, ids[1])?;
    assert_eq!(store.forget_delivered(group, 1)?, Forgotten { all_have: ids[1], has_more: true });
    assert_eq!(left(store)?, ids[1..], "no more than allowed at once");
    store.forget_delivered(group, 9)?;
    assert_eq!(left(store)?, ids[2..]);
    stand(store, &slow, ids[2])?;
    assert_eq!(store.forget_delivered(group, 9)?, Forgotten { all_have: ids[2], has_more: false });
    assert_eq!(store.members_behind()?, 0);
    assert_eq!(
        (left(store)?, store.groups_with_deliveries()?.len()),
        (vec![], 1),
        "the round is still to end"
    );
    Ok(())
}

fn old_messages_go_but_not_the_history<S: RelayStore>(store: &mut S) -> Result<(), StoreError> {
    let group = ServedGroup { identity: Some(identity()), ..group(store)? };
    store.update_group(&group)?;
    let group = group.id;
    let author = member(store, group, 1, MemberRole::Owner)?.number;
    for text in ["a", "b", "c", "d"] {
        let stored = store.store_message(group, &message(author, text, MessageKind::Post, None), NOW)?;
        if text == "a" {
            let content = Content::Message(stored.expect("it is new"), b"head".to_vec());
            store.add_delivery(&NewDelivery { content, ..said(group, author, b"") })?;
        }
    }
    store.forget_messages(NOW, NOW, 2)?;
    assert!(store.message_by_id(group, &message_id("b"))?.is_some(), "not old yet");
    store.forget_messages(NOW.plus_ms(1), NOW, 2)?;
    let mut left = Vec::new();
    for text in ["a", "b", "c", "d"] {
        left.extend(store.message_by_id(group, &message_id(text))?.map(|_| text));
    }
    assert_eq!(left, ["a", "c", "d"], "one still waits, two are the history");
    Ok(())
}

fn strangers_are_counted_until_they_ask<S: RelayStore>(store: &mut S) -> Result<(), StoreError> {
    let group = group(store)?.id;
    let mut add = |byte, role, status| {
        store.insert_member(group, &NewMember { id: id(byte), role, status, profile: None, key: None }, NOW)
    };
    add(1, MemberRole::Relay, MemberStatus::Known)?;
    add(2, MemberRole::Owner, MemberStatus::Known)?;
    let mut known = add(3, MemberRole::Observer, MemberStatus::Known)?;
    let removed = add(4, MemberRole::Observer, MemberStatus::Removed)?;
    let left = add(5, MemberRole::Observer, MemberStatus::Left)?;
    add(6, MemberRole::Observer, MemberStatus::Accepted)?;
    store.update_member(&Member { blocked: true, ..removed })?;
    assert_eq!((store.count_strangers(group, 9)?, store.count_strangers(group, 2)?), (3, 2));
    known.status = MemberStatus::Asking;
    store.update_member(&known)?;
    known.status = MemberStatus::Left;
    store.update_member(&known)?;
    assert_eq!(store.count_strangers(group, 9)?, 2, "whoever asked is none any more");
    store.forget_stranger(left.number)?;
    assert_eq!(store.count_strangers(group, 9)?, 1);
    Ok(())
}

fn members_of_whom_nothing_is_left_are_forgotten<S: RelayStore>(store: &mut S) -> Result<(), StoreError> {
    let group = group(store)?.id;
    let add = |store: &mut S, byte, status| -> Result<MemberNumber, StoreError> {
        let role = MemberRole::Observer;
        let new = NewMember { id: id(byte), role, status, profile: None, key: None };
        Ok(store.insert_member(group, &new, NOW)?.number)
    };
    let never_came = add(store, 1, MemberStatus::Known)?;
    let shown = add(store, 2, MemberStatus::Known)?;
    let left = add(store, 3, MemberStatus::Left)?;
    let author = add(store, 4, MemberStatus::Left)?;
    let removed = add(store, 5, MemberStatus::Removed)?;
    store.introduce(shown, left)?;
    store.store_message(group, &message(author, "a", MessageKind::Post, None), NOW)?;
    let connected = member(store, group, 6, MemberRole::Observer)?.number;
    let said = Statement::parse(b"{\"event\":\"x.grp.mem.restrict\"}").expect("a statement");
    let mut ruled = |byte, restriction| -> Result<MemberNumber, StoreError> {
        let number = add(store, byte, MemberStatus::Left)?;
        let member = store.member(number)?.expect("it was added");
        store.update_member(&Member { blocked: true, restriction, ..member })?;
        Ok(number)
    };
    let restricted = ruled(7, Some(Ruling::new(id(1), NOW, &said)))?;
    let blocked_by_key = ruled(8, None)?;

    for number in [never_came, shown, author, connected, restricted] {
        store.forget_stranger(number)?;
    }
    store.forget_left(NOW, 9)?;
    assert!(store.member(left)?.is_some(), "not long enough ago");
    store.forget_left(NOW.plus_ms(1), 9)?;
    let mut kept = Vec::new();
    for number in [never_came, shown, left, author, removed, connected, restricted, blocked_by_key] {
        kept.push(store.member(number)?.is_some());
    }
    assert_eq!(kept, [false, true, false, true, true, true, true, false]);
    Ok(())
}
