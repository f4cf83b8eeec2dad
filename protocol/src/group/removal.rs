//! A relay's last words to members, and what proves them (channels.md §12, §19).
//!
//! A relay that was removed passes on the owner's signed x.grp.mem.del, verbatim, where there was one; otherwise it says
//! x.grp.leave itself, signed with its member key, which members know from the relay link. Anything else is hearsay: a
//! member then looks at the group link, which is the last word in any case.

use thiserror::Error;

use super::event::Event;
use super::identity::{MemberId, MemberRole};
use super::signing::Verdict;

/// What happened to a relay, proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayNotice {
    /// An owner removed it.
    RemovedByOwner,
    /// It left.
    Left,
    /// An owner ended the group.
    GroupDeleted,
}

/// Why a notice proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NotANotice {
    /// Not one of the three events, or about another member.
    #[error("this is no notice about the relay")]
    OtherEvent,
    /// Not signed by a key that is known.
    #[error("the notice about the relay is not verified")]
    NotVerified,
    /// Not by an owner, or not by the relay.
    #[error("the author of the notice has no say over the relay")]
    NotTheAuthor,
}

/// Whether `event`, by `author` with the role `author_role`, proves that `relay` serves no more.
///
/// # Errors
/// [`NotANotice`].
pub fn relay_notice(
    event: &Event,
    author: &MemberId,
    author_role: MemberRole,
    verdict: Verdict,
    relay: &MemberId,
) -> Result<RelayNotice, NotANotice> {
    let (notice, entitled) = match event {
        Event::MemberDelete(delete) if delete.member_id == *relay => {
            (RelayNotice::RemovedByOwner, author_role == MemberRole::Owner)
        }
        Event::Leave(_) => (RelayNotice::Left, author == relay),
        Event::GroupDelete(_) => (RelayNotice::GroupDeleted, author_role == MemberRole::Owner),
        _ => return Err(NotANotice::OtherEvent),
    };
    if !entitled {
        return Err(NotANotice::NotTheAuthor);
    }
    if verdict == Verdict::Verified { Ok(notice) } else { Err(NotANotice::NotVerified) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::event::group::GroupDelete;
    use crate::group::event::members::{Leave, MemberDelete};
    use crate::group::event::owner_relay::RelayCapabilities;

    #[test]
    fn only_owners_and_the_relay_itself_prove_anything() {
        let [owner, relay, other] = ["own", "rel", "oth"].map(|id| MemberId::new(id).unwrap());
        let removal = |of: &MemberId| {
            Event::MemberDelete(MemberDelete { member_id: of.clone(), messages: false, roster_version: None })
        };
        let notice =
            |event: &Event, author, role, verdict| relay_notice(event, author, role, verdict, &relay);
        let (leave, end) = (Event::Leave(Leave {}), Event::GroupDelete(GroupDelete {}));

        let verified = Verdict::Verified;
        assert_eq!(
            notice(&removal(&relay), &owner, MemberRole::Owner, verified),
            Ok(RelayNotice::RemovedByOwner)
        );
        assert_eq!(notice(&leave, &relay, MemberRole::Relay, verified), Ok(RelayNotice::Left));
        assert_eq!(notice(&end, &owner, MemberRole::Owner, verified), Ok(RelayNotice::GroupDeleted));

        assert_eq!(
            notice(&removal(&other), &owner, MemberRole::Owner, verified),
            Err(NotANotice::OtherEvent)
        );
        assert_eq!(
            notice(&removal(&relay), &other, MemberRole::Admin, verified),
            Err(NotANotice::NotTheAuthor)
        );
        assert_eq!(notice(&leave, &other, MemberRole::Relay, verified), Err(NotANotice::NotTheAuthor));
        for verdict in [Verdict::Unsigned, Verdict::KeyUnknown] {
            assert_eq!(notice(&leave, &relay, MemberRole::Relay, verdict), Err(NotANotice::NotVerified));
            assert_eq!(notice(&end, &owner, MemberRole::Owner, verdict), Err(NotANotice::NotVerified));
        }
        let event = Event::RelayCapabilities(RelayCapabilities { relay_cap: Default::default() });
        assert_eq!(notice(&event, &relay, MemberRole::Relay, verified), Err(NotANotice::OtherEvent));
    }
}
