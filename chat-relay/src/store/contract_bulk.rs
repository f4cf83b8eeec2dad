//! What every [`BulkStore`](super::bulk::BulkStore) must do.

use protocol::group::bulk::serving::ServedBulk;
use protocol::group::identity::MemberRole;

use super::contract::{NOW, group, member, message};
use super::records::{Bulk, Given, GroupId, Member, MemberNumber, MessageKind, Purpose, Reader, Stage};
use super::{RelayStore, StoreError};

/// A member whose second connection is so far.
fn second<S: RelayStore>(store: &mut S, member: &Member, stage: ServedBulk) -> Result<Member, StoreError> {
    let connection = store.insert_connection(b"second")?;
    store.set_purpose(connection, Purpose::Bulk(member.group, member.number), None)?;
    assert_eq!(store.purpose(connection)?, Some(Purpose::Bulk(member.group, member.number)));
    let bulk = Bulk { stage, connection: Some(connection), number: 3 };
    let member = Member { bulk, ..member.clone() };
    store.update_member(&member)?;
    assert_eq!(store.member(member.number)?, Some(member.clone()));
    Ok(member)
}

fn reader<S: RelayStore>(store: &mut S, member: &Member) -> Result<Reader, StoreError> {
    Ok(store.reader(member.group, member.number)?.expect("it is reached"))
}

pub(super) fn the_stream_stands_on_the_second_connection<S: RelayStore>(
    store: &mut S,
) -> Result<(), StoreError> {
    let group = group(store)?.id;
    let first = member(store, group, 1, MemberRole::Observer)?;
    let joining = second(store, &first, ServedBulk::Joining)?;
    assert_eq!(Some(reader(store, &joining)?.connection), first.connection);

    let before = reader(store, &joining)?;
    let given = Some(Given { through: before.position, number: 7 });
    store.update_reader(&Reader { given, stage: Stage::Busy, ..before })?;
    let switching = Member { bulk: Bulk { stage: ServedBulk::Switching, ..joining.bulk }, ..joining };
    store.update_member(&switching)?;
    let held = reader(store, &switching)?;
    assert_eq!(Some(held.connection), switching.bulk.connection);
    assert_eq!((held.stage, held.given, held.position), (Stage::Held, None, before.position));

    let double = Member { bulk: Bulk { stage: ServedBulk::Double, ..switching.bulk }, ..switching.clone() };
    store.update_member(&double)?;
    assert_eq!(reader(store, &double)?.stage, Stage::Held, "whoever is held is let go by name");
    let single = Member { bulk: Bulk { stage: ServedBulk::Single, connection: None, number: 3 }, ..double };
    store.update_member(&single)?;
    let back = reader(store, &single)?;
    assert_eq!(Some(back.connection), first.connection);
    assert_eq!((back.stage, back.position), (Stage::Due, before.position));
    Ok(())
}

pub(super) fn both_connections_of_those_with_a_role_are_found<S: RelayStore>(
    store: &mut S,
) -> Result<(), StoreError> {
    let group = group(store)?.id;
    let owner = member(store, group, 1, MemberRole::Owner)?;
    let admin = member(store, group, 2, MemberRole::Admin)?;
    let observer = member(store, group, 3, MemberRole::Observer)?;
    let owner = second(store, &owner, ServedBulk::Double)?;
    second(store, &observer, ServedBulk::Double)?;
    let found = store.connections_with_roles(&[MemberRole::Owner, MemberRole::Admin])?;
    assert_eq!(
        found.into_iter().map(Some).collect::<Vec<_>>(),
        [owner.connection, owner.bulk.connection, admin.connection]
    );
    Ok(())
}

pub(super) fn a_statement_that_came_ahead_takes_its_turn_once<S: RelayStore>(
    store: &mut S,
) -> Result<(), StoreError> {
    let group = group(store)?.id;
    let author = member(store, group, 1, MemberRole::Owner)?.number;
    let mut ids = Vec::new();
    for text in ["one", "two", "three"] {
        let message = message(author, text, MessageKind::Other, None);
        let id = store.store_message(group, &message, NOW)?.expect("it is new");
        store.set_ahead(id, author)?;
        ids.push(id);
    }
    assert!(store.take_turn(ids[1])?);
    assert!(!store.take_turn(ids[1])?);
    let waiting: Vec<_> = store.ahead_of(author)?.into_iter().map(|stored| stored.id).collect();
    assert_eq!(waiting, [ids[0], ids[2]]);
    store.forget_messages(NOW.plus_ms(1), NOW, 1)?;
    assert_eq!(store.ahead_of(author)?.len(), 2, "they are still to be passed on");
    assert_eq!(
        store.message_by_id(group, &message(author, "two", MessageKind::Other, None).message_id)?,
        None
    );
    Ok(())
}

pub(super) fn copies_go_round_those_with_two_connections<S: RelayStore>(
    store: &mut S,
) -> Result<(), StoreError> {
    let group = group(store)?.id;
    let author = member(store, group, 1, MemberRole::Owner)?;
    let mut expected = Vec::new();
    for byte in 2..5 {
        let member = member(store, group, byte, MemberRole::Observer)?;
        let double = second(store, &member, ServedBulk::Double)?;
        expected.push((double.number, double.connection.expect("it has a first one")));
    }
    let switching = member(store, group, 9, MemberRole::Observer)?;
    second(store, &switching, ServedBulk::Switching)?;
    assert_eq!(store.members_ahead(group, MemberNumber(0), 2)?, expected[..2]);
    assert_eq!(store.members_ahead(group, expected[1].0, 9)?, expected[2..]);

    assert_eq!(store.ahead_round(group)?, None);
    for text in ["one", "two"] {
        let message = message(author.number, text, MessageKind::Other, None);
        let id = store.store_message(group, &message, NOW)?.expect("it is new");
        store.begin_ahead(group, id)?;
    }
    assert_eq!(store.groups_with_deliveries()?, [group]);
    let first = store.ahead_round(group)?.expect("one goes on");
    assert_eq!((&first.message.message.element[..], first.cursor), (&b"one"[..], MemberNumber(0)));
    store.move_ahead(first.id, Some(MemberNumber(5)))?;
    assert_eq!(store.ahead_round(group)?.map(|round| round.cursor), Some(MemberNumber(5)));
    store.move_ahead(first.id, None)?;
    let next = store.ahead_round(group)?.expect("the other goes on");
    assert_eq!(next.message.message.element, b"two");
    store.move_ahead(next.id, None)?;
    assert_eq!((store.ahead_round(group)?, store.ahead_round(GroupId(99))?), (None, None));
    Ok(())
}

pub(super) fn waiting_requests_are_counted_so_far<S: RelayStore>(store: &mut S) -> Result<(), StoreError> {
    let connection = store.insert_connection(b"record")?;
    assert!(!store.has_waiting(connection, 1)?);
    for _ in 0..2 {
        store.push_job(connection, b"job", None)?;
    }
    assert!(store.has_waiting(connection, 1)? && store.has_waiting(connection, 2)?);
    assert!(!store.has_waiting(connection, 3)?);
    Ok(())
}
