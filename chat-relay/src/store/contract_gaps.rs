//! The part of the contract about what members are not given: see `migrations/sqlite/0014_gaps.sql`.

use protocol::group::identity::MemberRole;

use super::contract::{NOW, group, member, message, said};
use super::records::{
    Bounds, Content, DeliveryId, Gap, Given, GroupId, Member, MemberNumber, MessageKind, NewDelivery,
    PassedOver, Reader, Stage, StoredMessageId,
};
use super::{RelayStore, StoreError};

/// A stream: content at even places, up to the last, which is a word of the relay itself.
fn mixed_stream<S: RelayStore>(
    store: &mut S,
    group: GroupId,
    author: MemberNumber,
) -> Result<Vec<(StoredMessageId, DeliveryId)>, StoreError> {
    let mut stream = Vec::new();
    for (text, kind) in [
        ("post", MessageKind::Post),
        ("role", MessageKind::Other),
        ("edit", MessageKind::Edit),
        ("removal", MessageKind::Other),
        ("reaction", MessageKind::Reaction),
        ("deletion", MessageKind::Other),
    ] {
        let stored = store.store_message(group, &message(author, text, kind, None), NOW)?.expect("it is new");
        let content = Content::Message(stored, b"head".to_vec());
        stream.push((stored, store.add_delivery(&NewDelivery { content, ..said(group, author, b"") })?));
    }
    let notice = store.add_delivery(&said(group, author, b"notice"))?;
    stream.push((StoredMessageId(0), notice));
    Ok(stream)
}

fn waiting<S: RelayStore>(store: &mut S, group: GroupId) -> Result<Vec<DeliveryId>, StoreError> {
    Ok(store.deliveries(group, DeliveryId(0), 99)?.iter().map(|delivery| delivery.id).collect())
}

pub(super) fn content_that_waits_too_long_is_passed_over_and_nothing_else<S: RelayStore>(
    store: &mut S,
) -> Result<(), StoreError> {
    let group = group(store)?.id;
    let (here, away) =
        (member(store, group, 1, MemberRole::Owner)?, member(store, group, 2, MemberRole::Observer)?);
    let stream = mixed_stream(store, group, here.number)?;
    let place = |at: usize| stream[at].1;
    let stand = |store: &mut S, member: &Member, position, stage, given| -> Result<(), StoreError> {
        let reader = store.reader(group, member.number)?.expect("it is connected");
        store.update_reader(&Reader { position, stage, given, ..reader })
    };
    stand(store, &here, place(6), Stage::Free, None)?;
    // An item with the first two is on its way.
    let given = Some(Given { through: place(1), number: 7 });
    stand(store, &away, DeliveryId(0), Stage::Busy, given)?;
    store.introduce(here.number, away.number)?;

    let all = Bounds { before: NOW, backlog_max: 3, oldest_kept: StoredMessageId(i64::MIN), limit: 9 };
    let nobody = PassedOver::default();
    let not_kept = Bounds { oldest_kept: StoredMessageId(i64::MAX), ..all };
    assert_eq!(store.pass_over(group, &not_kept)?, nobody, "history does not give it back");
    assert_eq!(store.pass_over(group, &Bounds { backlog_max: 7, ..all })?, nobody, "not so far behind");
    assert_eq!(waiting(store, group)?.len(), 7);

    let one = PassedOver { members: 1, has_more: false };
    assert_eq!(store.pass_over(group, &all)?, one);
    assert_eq!(waiting(store, group)?, [1, 3, 4, 5, 6].map(place), "post and edit are gone");
    let gap_of = |store: &mut S, member: &Member| -> Result<(bool, Option<Gap>), StoreError> {
        let member = store.member(member.number)?.expect("a member");
        Ok((member.passed_over, member.gap))
    };
    let gap = Gap { after: StoredMessageId(stream[0].0.0 - 1), told: None };
    assert_eq!(gap_of(store, &here)?, (false, None), "it has all");
    assert_eq!(gap_of(store, &away)?, (true, Some(gap)));
    let reader = store.reader(group, away.number)?.expect("it is connected");
    assert_eq!((reader.position, reader.stage), (DeliveryId(0), Stage::Passed), "it goes on where it is");
    assert_eq!(store.pass_over(group, &all)?, nobody, "once");

    // Told, but the server does not have the word yet: a later gap is part of the same.
    let member = Member {
        passed_over: false,
        gap: Some(Gap { told: Some(8), ..gap }),
        ..store.member(away.number)?.expect("a member")
    };
    store.update_member(&member)?;
    assert_eq!(gap_of(store, &away)?, (false, member.gap));
    let old = Bounds { before: NOW.plus_ms(1), ..not_kept };
    assert_eq!(store.pass_over(group, &old)?, one, "older than anything is kept for");
    assert_eq!(gap_of(store, &away)?, (true, Some(gap)));
    assert_eq!(waiting(store, group)?, [1, 3, 5, 6].map(place));
    stand(store, &away, place(3), Stage::Free, None)?;
    store.forget_delivered(group, 9)?;
    assert_eq!(waiting(store, group)?, [5, 6].map(place), "what is not content waits for all");
    Ok(())
}

pub(super) fn many_are_passed_over_step_by_step<S: RelayStore>(store: &mut S) -> Result<(), StoreError> {
    let group = group(store)?.id;
    let author = member(store, group, 1, MemberRole::Owner)?;
    for byte in 2..5 {
        member(store, group, byte, MemberRole::Observer)?;
    }
    mixed_stream(store, group, author.number)?;
    let bounds =
        Bounds { before: NOW.plus_ms(1), backlog_max: 9, oldest_kept: StoredMessageId(i64::MAX), limit: 2 };
    let mut steps = Vec::new();
    loop {
        let passed = store.pass_over(group, &bounds)?;
        steps.push((passed.members, waiting(store, group)?.len()));
        if !passed.has_more {
            break;
        }
    }
    // All four are noted before anything goes.
    assert_eq!(steps, [(2, 7), (2, 7), (0, 5), (0, 4)]);
    Ok(())
}

pub(super) fn what_an_item_held_is_known_when_it_does_not_come<S: RelayStore>(
    store: &mut S,
) -> Result<(), StoreError> {
    let group = group(store)?.id;
    let (author, reader) =
        (member(store, group, 1, MemberRole::Member)?, member(store, group, 2, MemberRole::Observer)?);
    let mut stream = Vec::new();
    for text in ["a", "b"] {
        let new = message(author.number, text, MessageKind::Post, None);
        let stored = store.store_message(group, &new, NOW)?.expect("it is new");
        let content = Content::Message(stored, b"head".to_vec());
        let delivery = NewDelivery { content, introduces: true, ..said(group, author.number, b"") };
        stream.push((stored, store.add_delivery(&delivery)?));
    }
    let [(first, at), (second, behind)] = stream[..] else { panic!("{stream:?}") };
    assert_eq!(store.first_content(group, DeliveryId(0), behind)?, Some(first));
    assert_eq!(store.first_content(group, at, behind)?, Some(second));
    assert_eq!(store.first_content(group, behind, behind)?, None);

    store.introduce(author.number, reader.number)?;
    let stands = store.reader(group, reader.number)?.expect("it is connected");
    store.forget_introduced(&stands)?;
    assert!(store.has_met(author.number, reader.number)?, "nothing is on its way");
    store.forget_introduced(&Reader { given: Some(Given { through: at, number: 7 }), ..stands })?;
    assert!(!store.has_met(author.number, reader.number)?);
    Ok(())
}
