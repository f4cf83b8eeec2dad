//! What every [`OperationStore`](super::operation::OperationStore) must do.

use protocol::crypto::sign::Ed25519PublicKey;
use protocol::group::identity::{LinkText, MemberId, MemberRole, PublicGroupId};
use protocol::group::ruling::Ruling;
use protocol::group::signed::Statement;
use protocol::timestamp::Timestamp;

use super::contract::{NOW, another_group, group, id, member};
use super::operation::{RULED_MAX, Taken, Usage};
use super::records::{GroupId, Member, MemberStatus, NewMember};
use super::{RelayStore, StoreError};

fn link() -> LinkText {
    LinkText::new("simplex:/c#1").expect("a link")
}

pub(super) fn settings_come_and_go<S: RelayStore>(store: &mut S) -> Result<(), StoreError> {
    store.set_operator_setting("access", Some("codes"))?;
    store.set_operator_setting("access", Some("owners"))?;
    assert_eq!(store.operator_settings()?, [("access".to_owned(), "owners".to_owned())]);
    store.set_operator_setting("access", None)?;
    assert_eq!(store.operator_settings()?, []);
    Ok(())
}

pub(super) fn codes_are_counted_by_group<S: RelayStore>(store: &mut S) -> Result<(), StoreError> {
    let id = store.issue_code(&[1; 32], "Ann", 2, Some(Timestamp(9)), NOW)?;
    assert_eq!(store.code(&[2; 32])?, None);
    assert!(!store.is_code_used_for(id, &link())?);
    store.use_code(id, &link())?;
    store.use_code(id, &link())?;
    let code = store.code(&[1; 32])?.expect("it was issued");
    assert_eq!((code.groups, code.groups_max, code.until, code.revoked), (1, 2, Some(Timestamp(9)), false));
    assert!(store.is_code_used_for(id, &link())? && store.revoke_code(id)?);
    assert!(store.codes()?.iter().all(|code| code.revoked));
    Ok(())
}

pub(super) fn rejections_are_by_link_and_by_group<S: RelayStore>(store: &mut S) -> Result<(), StoreError> {
    let other = LinkText::new("simplex:/c#2").expect("a link");
    let id = PublicGroupId::new([5; 32]).expect("an id");
    store.reject(&link(), None, "", NOW)?;
    assert!(store.is_rejected(&link(), None)? && !store.is_rejected(&other, Some(&id))?);
    store.reject(&link(), Some(&id), "Tea", NOW)?;
    assert!(store.is_rejected(&other, Some(&id))?);
    assert_eq!(store.rejections()?.len(), 1);
    assert!(store.clear_rejection("simplex:/c#1")? && !store.clear_rejection("1")?);
    assert!(!store.is_rejected(&link(), Some(&id))?);
    Ok(())
}

pub(super) fn owners_are_listed_by_key<S: RelayStore>(store: &mut S) -> Result<(), StoreError> {
    let (key, other) = (Ed25519PublicKey([1; 32]), Ed25519PublicKey([2; 32]));
    store.allow_owner(&key, "Ann", NOW)?;
    assert!(store.is_owner_allowed(&key)? && !store.is_owner_allowed(&other)?);
    assert_eq!(store.allowed_owners()?.len(), 1);
    assert!(store.disallow_owner(&key)? && !store.disallow_owner(&key)?);
    Ok(())
}

pub(super) fn days_are_counted_anew<S: RelayStore>(store: &mut S) -> Result<(), StoreError> {
    let more = Taken { messages: 1, bytes: 10 };
    store.add_taken("a", 1, more)?;
    store.add_taken("a", 1, more)?;
    assert_eq!(store.taken("a", 1)?, Taken { messages: 2, bytes: 20 });
    assert_eq!((store.taken("a", 2)?, store.taken("b", 1)?), (Taken::default(), Taken::default()));
    store.add_taken("a", 2, more)?;
    assert_eq!((store.taken("a", 2)?, store.taken("a", 1)?), (more, Taken::default()));
    Ok(())
}

pub(super) fn members_are_found_by_key_if_anything_was_decided_about_them<S: RelayStore>(
    store: &mut S,
) -> Result<(), StoreError> {
    let group = group(store)?.id;
    let plain = member(store, group, 1, MemberRole::Observer)?;
    let key = plain.key.expect("a key");
    let said = Statement::parse(b"{\"event\":\"x.grp.mem.role\"}").expect("a statement");
    let ruling = || Some(Ruling::new(id(9), NOW, &said));
    let mut ruled = vec![
        Member { blocked: true, restriction: ruling(), ..plain.clone() },
        Member { appointment: ruling(), ..plain.clone() },
        Member { status: MemberStatus::Rejected, reason: Some("no".to_owned()), ..plain.clone() },
        Member { status: MemberStatus::Removed, ..plain.clone() },
    ];
    for status in [MemberStatus::Known, MemberStatus::Left, MemberStatus::Connected] {
        store.update_member(&Member { status, blocked: true, ..plain.clone() })?;
        assert_eq!(store.ruled_members(group, &key)?, []);
    }
    for said in &ruled {
        store.update_member(said)?;
        assert_eq!(store.ruled_members(group, &key)?, std::slice::from_ref(said));
    }
    let first = ruled.pop().expect("the last that was stored");
    let second =
        Member { appointment: ruling(), key: Some(key), ..member(store, group, 2, MemberRole::Author)? };
    store.update_member(&second)?;
    assert_eq!(
        store.ruled_members(group, &key)?,
        [first.clone(), second],
        "whoever was removed, then the last"
    );
    let ruled_max = u8::try_from(RULED_MAX).expect("few");
    for byte in 3..=3 + ruled_max {
        let named = member(store, group, byte, MemberRole::Author)?;
        store.update_member(&Member { appointment: ruling(), key: Some(key), ..named })?;
    }
    let found = store.ruled_members(group, &key)?;
    assert_eq!((found.len(), found.first()), (usize::from(ruled_max), Some(&first)), "it is not hidden");
    assert_eq!(found.get(1).map(|last| &last.id), Some(&id(3 + ruled_max)));
    assert_eq!(store.ruled_members(GroupId(group.0 + 1), &key)?, []);
    assert_eq!(store.ruled_members(group, &Ed25519PublicKey([99; 32]))?, []);
    Ok(())
}

/// Each way by which a member comes in or goes out, and each by which a group changes its account or ends.
pub(super) fn members_are_counted_as_they_come_and_go<S: RelayStore>(
    store: &mut S,
) -> Result<(), StoreError> {
    let (one, other) = (group(store)?, another_group(store)?);
    store.set_account(one.id, "code:1")?;
    let mut ann = member(store, one.id, 1, MemberRole::Observer)?;
    let mut ben = member(store, one.id, 2, MemberRole::Observer)?;
    member(store, other.id, 3, MemberRole::Observer)?;
    let known = NewMember {
        id: MemberId::new([4; 12]).expect("an id"),
        role: MemberRole::Observer,
        status: MemberStatus::Known,
        profile: None,
        key: None,
    };
    let mut cat = store.insert_member(one.id, &known, NOW)?;
    let counts = move |store: &mut S| -> Result<[u64; 4], StoreError> {
        Ok([
            store.count_members(one.id)?.into(),
            store.members_of_account(Some("code:1"))?,
            store.members_of_account(Some("code:2"))?,
            store.members_of_account(None)?,
        ])
    };
    assert_eq!(counts(store)?, [2, 2, 0, 3]);
    assert_eq!(store.largest_groups(1)?, [(one.id, 2)]);

    cat.status = MemberStatus::Accepted;
    store.update_member(&cat)?;
    assert_eq!(counts(store)?, [3, 3, 0, 4]);
    cat.status = MemberStatus::Connected;
    store.update_member(&cat)?;
    store.update_member(&cat)?;
    assert_eq!(counts(store)?, [3, 3, 0, 4], "in already");
    for (gone, status) in [(&mut ann, MemberStatus::Removed), (&mut ben, MemberStatus::Left)] {
        gone.status = status;
        store.update_member(gone)?;
    }
    assert_eq!(counts(store)?, [1, 1, 0, 2]);
    ben.status = MemberStatus::Connected;
    store.update_member(&ben)?;
    assert_eq!(counts(store)?, [2, 2, 0, 3], "back");

    store.set_account(one.id, "code:2")?;
    store.set_account(one.id, "code:2")?;
    assert_eq!(counts(store)?, [2, 0, 2, 3], "they go with their group");
    store.set_account(other.id, "code:1")?;
    assert_eq!(counts(store)?, [2, 1, 2, 3]);
    for (connection, _) in store.connections_of_group(one.id)? {
        store.delete_connection(connection)?;
    }
    store.delete_group(one.id)?;
    assert_eq!(counts(store)?, [0, 1, 0, 1]);
    assert_eq!(store.largest_groups(9)?, [(other.id, 1)]);
    Ok(())
}

pub(super) fn who_knocks_is_counted_apart<S: RelayStore>(store: &mut S) -> Result<(), StoreError> {
    let (one, other) = (group(store)?.id, another_group(store)?.id);
    let mut ann = member(store, one, 1, MemberRole::Observer)?;
    let mut ben = member(store, one, 2, MemberRole::Observer)?;
    member(store, other, 3, MemberRole::Observer)?;
    let step = |store: &mut S, member: &mut Member, status, counts| -> Result<(), StoreError> {
        member.status = status;
        store.update_member(member)?;
        let in_all = store.totals()?.knocks;
        assert_eq!((store.count_knocks(one)?, store.count_members(one)?, in_all), counts, "{status:?}");
        Ok(())
    };
    step(store, &mut ann, MemberStatus::Asking, (1, 1, 1))?;
    step(store, &mut ben, MemberStatus::PendingReview, (2, 0, 2))?;
    step(store, &mut ann, MemberStatus::PendingReview, (2, 0, 2))?;
    assert_eq!(store.waiting_members(one, 9)?, [ann.clone(), ben.clone()]);
    assert_eq!(store.waiting_members(one, 1)?.len(), 1);
    assert_eq!(store.waiting_members(other, 9)?, []);
    step(store, &mut ann, MemberStatus::Approved, (2, 0, 2))?;
    step(store, &mut ann, MemberStatus::Connected, (1, 1, 1))?;
    step(store, &mut ben, MemberStatus::Rejected, (0, 1, 0))?;
    let overview = store.group_overviews(GroupId(0), 10)?.remove(0);
    assert_eq!((overview.knocks, overview.members), (0, 1));
    Ok(())
}

pub(super) fn groups_are_counted_for_their_account<S: RelayStore>(store: &mut S) -> Result<(), StoreError> {
    let mut group = group(store)?;
    member(store, group.id, 1, MemberRole::Observer)?;
    store.set_account(group.id, "code:1")?;
    assert_eq!(store.account(group.id)?.as_deref(), Some("code:1"));
    assert_eq!(store.members_of_account(Some("code:1"))?, 1);
    assert_eq!((store.members_of_account(Some("code:2"))?, store.members_of_account(None)?), (0, 1));
    assert_eq!(store.groups_of_account("code:1", GroupId(0))?, 0, "its link was not read yet");
    group.identity = Some(super::contract::identity());
    store.update_group(&group)?;
    assert_eq!(store.groups_of_account("code:1", GroupId(0))?, 1);
    assert_eq!(store.groups_of_account("code:1", group.id)?, 0);

    let taken = Taken { messages: 2, bytes: 20 };
    store.add_taken("code:1", 1, taken)?;
    store.add_taken("", 1, taken)?;
    let today = Usage { groups: 1, members: 1, taken };
    assert_eq!(store.usage(1, 9)?, [("code:1".to_owned(), today)]);
    assert_eq!(store.usage_of_all(1)?, today);
    assert_eq!(store.usage(2, 9)?, [("code:1".to_owned(), Usage { taken: Taken::default(), ..today })]);
    assert_eq!(store.usage(1, 0)?, []);

    store.set_paused(group.id, true)?;
    let overview = store.group_overviews(GroupId(0), 10)?.pop().expect("a group");
    assert_eq!((overview.paused, overview.members, overview.account.as_deref()), (true, 1, Some("code:1")));
    let totals = store.totals()?;
    assert_eq!((totals.groups, totals.members, totals.paused_groups), (vec![("invited", 1)], 1, 1));
    assert_eq!(store.groups_by_link(&group.key.group_link)?.len(), 1);
    store.set_paused(group.id, false)?;
    assert!(!store.group_overviews(GroupId(0), 10)?.pop().expect("a group").paused);
    Ok(())
}
