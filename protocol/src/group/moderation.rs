//! Edits, deletions and reactions against the post they are about (channels.md §8, §9.5, §10).
//!
//! A post that is held as verified can only be changed by a verified message. A moderator's deletion of a post that
//! has not come yet is kept only if it is verified.

use thiserror::Error;

use super::constants::{OWN_CHANGE_RECEIVED_MS_MAX, OWN_CHANGE_SENT_MS_MAX, REACTIONS_PER_PERSON_MAX};
use super::event::content::MessageDelete;
use super::identity::MemberId;
use super::signing::Verdict;
use crate::timestamp::Timestamp;

/// What is remembered of a post.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its author; none for a post that came in the group's name without saying whose.
    pub author: Option<MemberId>,
    /// What its signature was worth.
    pub verdict: Verdict,
    /// When it was sent.
    pub sent_at: Timestamp,
    /// Whether it was deleted already.
    pub deleted: bool,
}

/// What somebody wants to do to a post.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The author edits it.
    Edit,
    /// The author deletes it.
    DeleteOwn,
    /// The author takes it out of the relays' history, or deletes it at any time; the role was checked by
    /// [`permissions`](super::permissions).
    Withdraw,
    /// A moderator deletes it; the role was checked by [`permissions`](super::permissions).
    Moderate,
}

impl Change {
    /// What a deletion by `author` is; none is the group itself, for which an owner speaks. Stock apps take an author's
    /// deletion at any time if it names the author, as a moderator's does, or is the group's.
    #[must_use]
    pub fn of_deletion(delete: &MessageDelete, author: Option<&MemberId>) -> Self {
        match (&delete.member_id, author) {
            (Some(of), author) if Some(of) != author => Self::Moderate,
            (None, Some(_)) if !delete.only_history.unwrap_or(false) => Self::DeleteOwn,
            _ => Self::Withdraw,
        }
    }
}

/// Why a change is not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ChangeRefused {
    /// Only the author edits and deletes as author.
    #[error("only its author can change this message")]
    NotTheAuthor,
    /// The post is verified and the change is not signed: shown as a bad signature.
    #[error("a signed message can only be changed by a signed one")]
    BadSignature,
    /// The post is verified and the key of the change is not known: dropped without a word.
    #[error("a signed message can only be changed by a key that is known")]
    KeyUnknown,
    /// The signature of the change was refused already.
    #[error("the signature of the change is not valid")]
    Dropped,
    /// Too late.
    #[error("the time for changing this message has passed")]
    TooLate,
    /// It is gone already.
    #[error("this message was deleted before")]
    Deleted,
    /// A moderator's deletion of a post that has not come, without a signature.
    #[error("a deletion ahead of its message must be signed")]
    Unverified,
}

/// Whether `change` by `author` with `verdict` may be made to `item`, which is nothing when the post has not come.
/// `sent_at` is the broker time of the change.
///
/// With no item, `Ok` means: remember the change until the post comes, and ask again. Callers bound how many they
/// remember.
///
/// # Errors
/// [`ChangeRefused`] with the reason.
pub fn permit_change(
    item: Option<&Item>,
    change: Change,
    author: Option<&MemberId>,
    verdict: Verdict,
    sent_at: Timestamp,
) -> Result<(), ChangeRefused> {
    if let Verdict::Drop(_) = verdict {
        return Err(ChangeRefused::Dropped);
    }
    let Some(item) = item else {
        let unverified = change == Change::Moderate && verdict != Verdict::Verified;
        return if unverified { Err(ChangeRefused::Unverified) } else { Ok(()) };
    };
    if item.deleted {
        return Err(ChangeRefused::Deleted);
    }
    match (item.verdict, verdict) {
        (_, Verdict::Verified) => {}
        (Verdict::Verified, Verdict::KeyUnknown) => return Err(ChangeRefused::KeyUnknown),
        (Verdict::Verified, Verdict::Unsigned) => return Err(ChangeRefused::BadSignature),
        (_, _) => {}
    }
    match change {
        Change::Moderate => Ok(()),
        Change::Edit | Change::DeleteOwn | Change::Withdraw if item.author.as_ref() != author => {
            Err(ChangeRefused::NotTheAuthor)
        }
        Change::Edit | Change::DeleteOwn if sent_at > item.sent_at.plus_ms(OWN_CHANGE_RECEIVED_MS_MAX) => {
            Err(ChangeRefused::TooLate)
        }
        Change::Edit | Change::DeleteOwn | Change::Withdraw => Ok(()),
    }
}

/// Whether we offer to change a post of our own for everybody: within 24 hours.
#[must_use]
pub fn may_still_change(sent_at: Timestamp, now: Timestamp) -> bool {
    now <= sent_at.plus_ms(OWN_CHANGE_SENT_MS_MAX)
}

/// Whether one more reaction by the same person is kept, when they have `already` different ones.
#[must_use]
pub fn may_react_again(already: usize) -> bool {
    already < REACTIONS_PER_PERSON_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::signing::DropReason;

    fn ann() -> MemberId {
        MemberId::new(*b"ann").unwrap()
    }

    fn item(verdict: Verdict) -> Item {
        Item { author: Some(ann()), verdict, sent_at: Timestamp(0), deleted: false }
    }

    fn edit(held: Verdict, change: Verdict) -> Result<(), ChangeRefused> {
        permit_change(Some(&item(held)), Change::Edit, Some(&ann()), change, Timestamp(0))
    }

    #[test]
    fn a_deletion_is_what_it_says_and_who_says_it() {
        let (ann, bob) = (MemberId::new("ann").unwrap(), MemberId::new("bob").unwrap());
        let delete = |params: &str| serde_json::from_str::<MessageDelete>(params).unwrap();
        let own = delete(r#"{"msgId":"AQID"}"#);
        let of_ann = delete(r#"{"msgId":"AQID","memberId":"YW5u"}"#);
        let from_history = delete(r#"{"msgId":"AQID","onlyHistory":true}"#);
        for (delete, author, change) in [
            (&own, Some(&ann), Change::DeleteOwn),
            (&own, None, Change::Withdraw),
            (&of_ann, Some(&ann), Change::Withdraw),
            (&of_ann, Some(&bob), Change::Moderate),
            (&of_ann, None, Change::Moderate),
            (&from_history, Some(&ann), Change::Withdraw),
        ] {
            assert_eq!(Change::of_deletion(delete, author), change, "{delete:?} by {author:?}");
        }
    }

    #[test]
    fn what_is_verified_is_changed_by_what_is_verified() {
        use Verdict::{KeyUnknown, Unsigned, Verified};
        assert_eq!(edit(Verified, Verified), Ok(()));
        assert_eq!(edit(Verified, Unsigned), Err(ChangeRefused::BadSignature));
        assert_eq!(edit(Verified, KeyUnknown), Err(ChangeRefused::KeyUnknown));
        for held in [Unsigned, KeyUnknown] {
            for change in [Unsigned, KeyUnknown, Verified] {
                assert_eq!(edit(held, change), Ok(()));
            }
        }
        assert_eq!(edit(Verified, Verdict::Drop(DropReason::BadSignature)), Err(ChangeRefused::Dropped));
    }

    #[test]
    fn only_authors_and_only_for_a_while() {
        let change = |change, author: Option<&MemberId>, at| {
            permit_change(Some(&item(Verdict::Verified)), change, author, Verdict::Verified, Timestamp(at))
        };
        let bob = MemberId::new(*b"bob").unwrap();
        assert_eq!(change(Change::Edit, Some(&bob), 0), Err(ChangeRefused::NotTheAuthor));
        assert_eq!(change(Change::DeleteOwn, None, 0), Err(ChangeRefused::NotTheAuthor));
        assert_eq!(change(Change::Moderate, Some(&bob), i64::MAX), Ok(()));
        assert_eq!(change(Change::Edit, Some(&ann()), OWN_CHANGE_RECEIVED_MS_MAX), Ok(()));
        assert_eq!(
            change(Change::DeleteOwn, Some(&ann()), OWN_CHANGE_RECEIVED_MS_MAX + 1),
            Err(ChangeRefused::TooLate)
        );
        assert_eq!(change(Change::Withdraw, Some(&ann()), i64::MAX), Ok(()));
        assert_eq!(change(Change::Withdraw, Some(&bob), 0), Err(ChangeRefused::NotTheAuthor));
        assert!(may_still_change(Timestamp(0), Timestamp(OWN_CHANGE_SENT_MS_MAX)));
        assert!(!may_still_change(Timestamp(0), Timestamp(OWN_CHANGE_SENT_MS_MAX + 1)));
        assert!(may_react_again(2) && !may_react_again(3));
    }

    #[test]
    fn a_deletion_ahead_of_its_message_must_be_verified() {
        let ahead = |change, verdict| permit_change(None, change, Some(&ann()), verdict, Timestamp(0));
        assert_eq!(ahead(Change::Moderate, Verdict::Verified), Ok(()));
        assert_eq!(ahead(Change::Moderate, Verdict::Unsigned), Err(ChangeRefused::Unverified));
        assert_eq!(ahead(Change::Moderate, Verdict::KeyUnknown), Err(ChangeRefused::Unverified));
        assert_eq!(ahead(Change::Edit, Verdict::Unsigned), Ok(()));
    }

    #[test]
    fn what_is_gone_stays_gone() {
        let gone = Item { deleted: true, ..item(Verdict::Unsigned) };
        assert_eq!(
            permit_change(Some(&gone), Change::Edit, Some(&ann()), Verdict::Verified, Timestamp(0)),
            Err(ChangeRefused::Deleted)
        );
    }
}
