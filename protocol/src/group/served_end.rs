//! Why a relay does not serve a group: what it tells the owner, and what its operator reads.

use thiserror::Error;

use super::event::owner_relay::RelayReject;
use crate::encoding::DecodeError;

/// Why a group is not served any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ServiceEnd {
    /// The group link does not list us any more.
    #[error("the group link no longer lists this relay")]
    Unlisted,
    /// The group link never listed us.
    #[error("the group link never listed this relay")]
    NeverListed,
    /// The group link is gone.
    #[error("the group link was deleted")]
    LinkGone,
    /// An owner's signed x.grp.mem.del names us.
    #[error("the owner removed this relay")]
    Removed,
    /// An owner's signed x.grp.del.
    #[error("the owner deleted the group")]
    GroupDeleted,
}

/// Why an invitation is declined; its word and explanation go to the owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The operator has left this group.
    #[error("the relay's operator has left this group: ask the operator, or choose another relay")]
    RejoinRejected,
    /// Profile, sizes, owners or signature are not right: the exact problem is appended.
    #[error("the group link is not valid")]
    InvalidGroup,
    /// The group link cannot be read.
    #[error("the group link cannot be read: see whether it opens, and add the relay again")]
    LinkUnreadable,
    /// Our own server does not take a relay link.
    #[error("the relay cannot make a link at present, try again later")]
    NoRelayLink,
    /// Active under another member id.
    #[error("the relay serves this group already under another member id, remove that first")]
    ServedAlready,
    /// No room.
    #[error("the relay serves as many groups as it is set to: choose another relay")]
    Full,
    /// The relay serves those who have a code.
    #[error("the relay takes groups by invitation code: ask its operator for one")]
    CodeNeeded,
    /// Not known, revoked, too old, or used up.
    #[error("the invitation code is not valid any more: ask the relay's operator for another")]
    CodeUnusable,
    /// The relay serves those on its list; the key is appended.
    #[error("the relay serves owners on its list: ask its operator to allow your key")]
    OwnerNotListed,
    /// Too many groups of one owner.
    #[error(
        "the relay serves as many groups of yours as its operator allows: ask for more, or choose another relay"
    )]
    OwnerQuota,
}

impl ServiceEnd {
    /// All reasons.
    pub const ALL: [Self; 5] =
        [Self::Unlisted, Self::NeverListed, Self::LinkGone, Self::Removed, Self::GroupDeleted];

    /// The stored word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unlisted => "unlisted",
            Self::NeverListed => "never_listed",
            Self::LinkGone => "link_gone",
            Self::Removed => "removed",
            Self::GroupDeleted => "group_deleted",
        }
    }

    pub(super) fn from_word(word: &str) -> Result<Self, DecodeError> {
        Self::ALL.into_iter().find(|end| end.word() == word).ok_or(DecodeError::Invalid("end of service"))
    }
}

impl Refusal {
    /// All reasons.
    pub const ALL: [Self; 10] = [
        Self::RejoinRejected,
        Self::InvalidGroup,
        Self::LinkUnreadable,
        Self::NoRelayLink,
        Self::ServedAlready,
        Self::Full,
        Self::CodeNeeded,
        Self::CodeUnusable,
        Self::OwnerNotListed,
        Self::OwnerQuota,
    ];

    /// The stable word for programs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::RejoinRejected => RelayReject::REJOIN_REJECTED,
            Self::InvalidGroup => "invalid_group",
            Self::LinkUnreadable => "link_unreadable",
            Self::NoRelayLink => "no_relay_link",
            Self::ServedAlready => "served_already",
            Self::Full => "full",
            Self::CodeNeeded => "code_needed",
            Self::CodeUnusable => "code_unusable",
            Self::OwnerNotListed => "owner_not_listed",
            Self::OwnerQuota => "owner_quota",
        }
    }

    /// The parameters of x.grp.relay.reject, with the exact problem where there is one. The stock word stands alone,
    /// as stock owners expect it.
    #[must_use]
    pub fn to_reject(self, problem: Option<&dyn std::fmt::Display>) -> RelayReject {
        match problem {
            _ if self == Self::RejoinRejected => RelayReject { reason: Some(self.word().to_owned()) },
            Some(problem) => RelayReject::new(self.word(), &format_args!("{self}: {problem}")),
            None => RelayReject::new(self.word(), &self),
        }
    }

    pub(super) fn from_word(word: &str) -> Result<Self, DecodeError> {
        Self::ALL.into_iter().find(|refusal| refusal.word() == word).ok_or(DecodeError::Invalid("refusal"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_round_trip() {
        for refusal in Refusal::ALL {
            assert_eq!(Refusal::from_word(refusal.word()), Ok(refusal));
        }
        for end in ServiceEnd::ALL {
            assert_eq!(ServiceEnd::from_word(end.word()), Ok(end));
        }
        assert!(Refusal::from_word("").is_err());
    }

    #[test]
    fn refusals_have_a_word_and_a_sentence() {
        use crate::group::profile::ProfileProblem;
        let reject = Refusal::InvalidGroup.to_reject(Some(&ProfileProblem::NoName));
        assert_eq!(
            reject.explained(),
            "invalid_group: the group link is not valid: the display name is empty"
        );
        assert_eq!(Refusal::RejoinRejected.to_reject(None).reason.as_deref(), Some("rejoin_rejected"));
        assert!(Refusal::Full.to_reject(None).explained().starts_with("full: the relay serves"));
        let long = Refusal::InvalidGroup.to_reject(Some(&"é".repeat(1000)));
        assert!(long.reason.unwrap().len() <= crate::group::constants::REASON_BYTES_MAX);
    }
}
