//! What an owner is told of what the relay refuses: once at first, then at most once an hour for each kind, with how many
//! there were. Signed with the relay's key of the group (docs/protocol.md §5).

use std::collections::BTreeMap;

use protocol::agent::Body;
use protocol::agent::address_draft::AddressDraft;
use protocol::agent::store::ConnectionId;
use protocol::group::event::owner_relay::RelayNotice;
use protocol::group::event::{Event, Message};
use protocol::group::identity::{MemberId, MemberRole};
use protocol::group::signed::sign;
use protocol::net::engine::Fatal;
use protocol::timestamp::Timestamp;
use thiserror::Error;

use crate::admission::NotAdmitted;
use crate::intake::TooMuch;
use crate::store::RelayStore;
use crate::store::records::{GroupId, MemberStatus, ServedGroup};
use crate::turn::{Turn, stored};

/// How long nothing more is told of one kind in one group.
const PAUSE_MS: i64 = 3_600_000;
/// Kinds of groups that are remembered at most, about 60 bytes each. Beyond them owners may be told sooner again.
const KEPT_MAX: usize = 10_000;

/// What an owner should know, with what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Error)]
pub enum Concern {
    /// One member, too fast.
    #[error(
        "a member sends faster than this relay allows, and is not heard meanwhile: block whoever floods the group, or ask the relay's operator for a higher pace"
    )]
    MemberPace,
    /// All members, too fast.
    #[error(
        "the group's members send faster than this relay allows, and some of it is dropped: ask the relay's operator for a higher pace, or add another relay"
    )]
    GroupPace,
    /// The owner's day.
    #[error(
        "your groups have used up what this relay takes of them in a day, and what comes until midnight UTC is dropped: ask its operator for a higher quota, or add another relay"
    )]
    OwnerDay,
    /// Everybody's day.
    #[error(
        "this relay has taken as much today as it is set to, and what comes until midnight UTC is dropped: add another relay"
    )]
    TotalDay,
    /// Members of the group.
    #[error(
        "the group has as many members as this relay serves, and joiners are refused: add another relay for them"
    )]
    GroupFull,
    /// Members of the owner's groups.
    #[error(
        "your groups have as many members as this relay serves for you, and joiners are refused: ask its operator for a higher quota, or add another relay"
    )]
    OwnerMembers,
    /// Members of all groups.
    #[error(
        "this relay serves as many members as it is set to, and joiners are refused: add another relay for them"
    )]
    RelayFull,
    /// Requests to join.
    #[error(
        "people ask to join faster than this relay allows, and requests are left unanswered: ask joiners for a proof of work (`conclave group entrance`), or the relay's operator for a higher pace"
    )]
    JoinPace,
    /// Knocks.
    #[error(
        "as many joiners wait for a moderator as this relay keeps, and further ones are refused: decide with `conclave knocks`"
    )]
    KnocksFull,
    /// People of whom others told.
    #[error(
        "this relay keeps what was said about as many people who have not joined by it as it is set to, and bans and roles of further ones do not hold here: ask its operator for a higher limit (strangers_max)"
    )]
    StrangersFull,
    /// Another relay of the group.
    #[error(
        "another relay of the group gave this one history that its authors have not signed, and nothing of it was taken: see `conclave group relays`, and remove that relay if it goes on"
    )]
    PeerLied,
}

impl Concern {
    /// The stable word for programs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::MemberPace => "member_pace",
            Self::GroupPace => "group_pace",
            Self::OwnerDay => "owner_day",
            Self::TotalDay => "total_day",
            Self::GroupFull => "group_full",
            Self::OwnerMembers => "owner_members",
            Self::RelayFull => "relay_full",
            Self::JoinPace => "join_pace",
            Self::KnocksFull => "knocks_full",
            Self::StrangersFull => "strangers_full",
            Self::PeerLied => "peer_lied",
        }
    }

    /// What of a refused request is the owner's concern; the joiner's own faults are not.
    #[must_use]
    pub const fn of_joiner(reason: &NotAdmitted) -> Option<Self> {
        match reason {
            NotAdmitted::Full => Some(Self::GroupFull),
            NotAdmitted::OwnerQuota => Some(Self::OwnerMembers),
            NotAdmitted::RelayFull => Some(Self::RelayFull),
            NotAdmitted::KnocksFull => Some(Self::KnocksFull),
            NotAdmitted::NotServed
            | NotAdmitted::Request(_)
            | NotAdmitted::Entrance(_)
            | NotAdmitted::Removed
            | NotAdmitted::Rejected(_) => None,
        }
    }
}

impl From<TooMuch> for Concern {
    fn from(too_much: TooMuch) -> Self {
        match too_much {
            TooMuch::MemberPace => Self::MemberPace,
            TooMuch::GroupPace => Self::GroupPace,
            TooMuch::OwnerDay => Self::OwnerDay,
            TooMuch::TotalDay => Self::TotalDay,
        }
    }
}

/// When owners were told of what, and how much there was since. In memory: after a restart they are told anew.
#[derive(Debug, Default)]
pub struct Notices {
    kept: BTreeMap<(GroupId, Concern), Noted>,
}

#[derive(Debug, Clone, Copy)]
struct Noted {
    told_at: Timestamp,
    since: u64,
}

impl Notices {
    /// Counts one more; gives how many there were, this one included, when it is time to tell.
    fn count(&mut self, group: GroupId, concern: Concern, now: Timestamp) -> Option<u64> {
        let key = (group, concern);
        if self.kept.len() >= KEPT_MAX && !self.kept.contains_key(&key) {
            self.kept.retain(|_, noted| now.0.saturating_sub(noted.told_at.0) < PAUSE_MS);
            if self.kept.len() >= KEPT_MAX {
                self.kept.clear();
            }
        }
        match self.kept.get_mut(&key) {
            Some(noted) if now.0.saturating_sub(noted.told_at.0) < PAUSE_MS => {
                noted.since = noted.since.saturating_add(1);
                None
            }
            Some(noted) => {
                let count = noted.since.saturating_add(1);
                *noted = Noted { told_at: now, since: 0 };
                Some(count)
            }
            None => {
                self.kept.insert(key, Noted { told_at: now, since: 0 });
                Some(1)
            }
        }
    }
}

/// Something of a group was refused that its owners can do something about.
///
/// # Errors
/// When the store fails.
pub fn tell_owners<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: GroupId,
    concern: Concern,
    about: Option<&MemberId>,
) -> Result<(), Fatal> {
    let now = turn.now();
    let Some(count) = turn.operation.notices.count(group, concern, now) else { return Ok(()) };
    let Some(group) = turn.store.group(group)? else { return Ok(()) };
    let notice = RelayNotice {
        notice: concern.word().to_owned(),
        text: concern.to_string(),
        count,
        member_id: about.cloned(),
        ask_again_after: None,
    };
    let Some(element) = signed(turn, &group, notice)? else { return Ok(()) };
    for owner in turn.store.members_with_roles(group.id, &[MemberRole::Owner])? {
        if let Some(connection) = owner.connection.filter(|_| owner.status == MemberStatus::Connected) {
            turn.send(connection, Body::Inline(&element))?;
        }
    }
    tracing::info!(group = group.id.0, concern = concern.word(), count, "owners are told of refusals");
    Ok(())
}

/// Asks a member, on a connection on which nothing is heard any more, for another one.
///
/// # Errors
/// When the store fails.
pub fn ask_back<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
    connection: ConnectionId,
) -> Result<(), Fatal> {
    let notice = RelayNotice {
        notice: RelayNotice::UNHEARD.to_owned(),
        text: "the relay's server has lost the queue by which you are heard: connect to the relay again by the group link"
            .to_owned(),
        count: 1,
        member_id: None,
        ask_again_after: None,
    };
    if let Some(element) = signed(turn, group, notice)? {
        turn.send(connection, Body::Inline(&element))?;
    }
    Ok(())
}

fn signed<S: RelayStore>(
    turn: &mut Turn<'_, '_, S>,
    group: &ServedGroup,
    notice: RelayNotice,
) -> Result<Option<Vec<u8>>, Fatal> {
    let (Some(identity), Some(draft)) = (&group.identity, &group.draft) else { return Ok(None) };
    let draft: AddressDraft = stored(draft)?;
    let json = Message::new(Some(turn.message_id()), Event::RelayNotice(notice)).to_json();
    Ok(Some(sign(draft.root_key(), &identity.public_group_id, &group.key.relay, &json)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Timestamp = Timestamp(PAUSE_MS);

    #[test]
    fn owners_are_told_at_once_and_then_once_an_hour_with_how_many() {
        let mut notices = Notices::default();
        let mut count = |group, concern, now| notices.count(GroupId(group), concern, now);
        assert_eq!(count(1, Concern::MemberPace, Timestamp(0)), Some(1));
        assert_eq!(count(1, Concern::MemberPace, Timestamp(1)), None);
        assert_eq!(count(1, Concern::GroupPace, Timestamp(1)), Some(1), "another kind");
        assert_eq!(count(2, Concern::MemberPace, Timestamp(1)), Some(1), "another group");
        assert_eq!(count(1, Concern::MemberPace, HOUR.plus_ms(-1)), None);
        assert_eq!(count(1, Concern::MemberPace, HOUR), Some(3));
        assert_eq!(count(1, Concern::MemberPace, HOUR), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut notices = Notices::default();
        for group in 0..=KEPT_MAX {
            notices.count(GroupId(i64::try_from(group).unwrap()), Concern::GroupFull, Timestamp(0));
        }
        assert!(notices.kept.len() <= KEPT_MAX);
    }

    #[test]
    fn every_concern_fits_and_says_what_to_do() {
        use protocol::group::constants::REASON_BYTES_MAX;
        let all = [
            Concern::MemberPace,
            Concern::GroupPace,
            Concern::OwnerDay,
            Concern::TotalDay,
            Concern::GroupFull,
            Concern::OwnerMembers,
            Concern::RelayFull,
            Concern::JoinPace,
            Concern::KnocksFull,
            Concern::StrangersFull,
            Concern::PeerLied,
        ];
        for concern in all {
            let text = concern.to_string();
            assert!(text.len() <= REASON_BYTES_MAX && text.contains(": "), "{text}");
        }
        let words: std::collections::BTreeSet<_> = all.iter().map(|concern| concern.word()).collect();
        assert_eq!(words.len(), all.len());
    }
}
