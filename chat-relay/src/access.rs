//! Who may use this relay. Pure: what is known comes in, a refusal or nothing goes out.
//!
//! ```text
//! invitation ─▶ rejected before? ─▶ code? ─▶ group link read ─▶ rejected? owner listed? quota? ─▶ served
//!                    └──────────────┴───────────────┴─▶ x.grp.relay.reject, with the reason
//! ```
//!
//! An owner's key is known only once the group link is read; it is drawn anew for each group, so an owner who is not on
//! the list is told the key to have allowed. A code is the operator's word in every mode, and whoever comes by a code
//! uses the quota of that code.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use protocol::crypto::sign::Ed25519PublicKey;
use protocol::group::identity::MemberKey;
use protocol::group::served_end::Refusal;
use protocol::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

use crate::store::operation::{CodeId, IssuedCode};

/// Whose groups are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Everybody's.
    Everyone,
    /// Those of owners on the list, and by code.
    Owners,
    /// Those that come with an invitation code.
    Codes,
}

impl Access {
    /// The word in settings.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Everyone => "everyone",
            Self::Owners => "owners",
            Self::Codes => "codes",
        }
    }

    /// Reads [`Self::word`].
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Everyone, Self::Owners, Self::Codes].into_iter().find(|access| access.word() == word)
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Whose quota a group counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Account {
    /// Whoever was given this code.
    Code(CodeId),
    /// The owner with this key.
    Owner(Ed25519PublicKey),
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(id) => write!(f, "code:{}", id.0),
            Self::Owner(key) => write!(f, "owner:{}", key_text(key)),
        }
    }
}

impl FromStr for Account {
    type Err = NoAccount;

    fn from_str(text: &str) -> Result<Self, NoAccount> {
        match text.split_once(':') {
            Some(("code", id)) => id.parse().map(|id| Self::Code(CodeId(id))).map_err(|_| NoAccount),
            Some(("owner", key)) => read_key(key).map(Self::Owner).ok_or(NoAccount),
            _ => Err(NoAccount),
        }
    }
}

/// A text that is no account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an account")]
pub struct NoAccount;

/// A key as operators and owners write it.
#[must_use]
pub fn key_text(key: &Ed25519PublicKey) -> String {
    serde_json::to_value(MemberKey(*key))
        .ok()
        .and_then(|text| Some(text.as_str()?.to_owned()))
        .unwrap_or_default()
}

/// Reads [`key_text`].
#[must_use]
pub fn read_key(text: &str) -> Option<Ed25519PublicKey> {
    serde_json::from_value::<MemberKey>(text.into()).ok().map(|key| key.0)
}

/// The code that an invitation shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// None.
    Nothing,
    /// One that was never issued.
    Unknown,
    /// One that was issued.
    Issued {
        /// What is kept of it.
        code: IssuedCode,
        /// Whether it let this very group in before.
        used_for_this: bool,
    },
}

impl Shown {
    /// The code, if it lets the group in at this moment.
    fn usable(&self, now: Timestamp) -> Option<CodeId> {
        match self {
            Self::Nothing | Self::Unknown => None,
            Self::Issued { code, used_for_this } => {
                let is_over = code.revoked || code.until.is_some_and(|until| until <= now);
                let has_room = *used_for_this || code.groups < code.groups_max;
                (!is_over && has_room).then_some(code.id)
            }
        }
    }
}

/// Whether an invitation is looked at; with the code by which it comes.
///
/// # Errors
/// What the owner is told.
pub fn at_the_door(
    access: Access,
    is_rejected: bool,
    shown: &Shown,
    now: Timestamp,
) -> Result<Option<CodeId>, Refusal> {
    if is_rejected {
        return Err(Refusal::RejoinRejected);
    }
    match (access, shown, shown.usable(now)) {
        (_, _, Some(code)) => Ok(Some(code)),
        (Access::Codes, Shown::Nothing, None) => Err(Refusal::CodeNeeded),
        (Access::Codes, Shown::Unknown | Shown::Issued { .. }, None) => Err(Refusal::CodeUnusable),
        (Access::Everyone | Access::Owners, _, None) => Ok(None),
    }
}

/// What is known of a group once its link was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Whether the operator does not serve it.
    pub is_rejected: bool,
    /// Whose it is.
    pub account: Account,
    /// The code by which it came.
    pub shown: Shown,
    /// Whether the owner is on the list.
    pub is_listed: bool,
    /// Other groups of the account.
    pub groups: u64,
    /// How many groups an account may have; 0 for any number.
    pub groups_max: u64,
}

/// Whether a group whose link is right is served.
///
/// # Errors
/// What the owner is told.
pub fn at_the_link(access: Access, candidate: &Candidate, now: Timestamp) -> Result<(), Refusal> {
    if candidate.is_rejected {
        return Err(Refusal::RejoinRejected);
    }
    match (access, candidate.account) {
        (_, Account::Code(_)) if candidate.shown.usable(now).is_none() => return Err(Refusal::CodeUnusable),
        (Access::Codes, Account::Owner(_)) => return Err(Refusal::CodeNeeded),
        (Access::Owners, Account::Owner(_)) if !candidate.is_listed => return Err(Refusal::OwnerNotListed),
        (Access::Everyone | Access::Owners | Access::Codes, Account::Code(_))
        | (Access::Everyone | Access::Owners, Account::Owner(_)) => {}
    }
    if candidate.groups_max > 0 && candidate.groups >= candidate.groups_max {
        return Err(Refusal::OwnerQuota);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1000);
    const MODES: [Access; 3] = [Access::Everyone, Access::Owners, Access::Codes];

    fn code() -> IssuedCode {
        IssuedCode {
            id: CodeId(7),
            note: String::new(),
            groups_max: 2,
            groups: 1,
            issued: Timestamp(0),
            until: None,
            revoked: false,
        }
    }

    fn issued(code: IssuedCode) -> Shown {
        Shown::Issued { code, used_for_this: false }
    }

    #[test]
    fn every_mode_and_code_at_the_door() {
        let (good, needed, unusable) =
            (Ok(Some(CodeId(7))), Err(Refusal::CodeNeeded), Err(Refusal::CodeUnusable));
        let table = [
            (Shown::Nothing, [Ok(None), Ok(None), needed]),
            (Shown::Unknown, [Ok(None), Ok(None), unusable]),
            (issued(code()), [good, good, good]),
            (issued(IssuedCode { revoked: true, ..code() }), [Ok(None), Ok(None), unusable]),
            (issued(IssuedCode { until: Some(NOW), ..code() }), [Ok(None), Ok(None), unusable]),
            (issued(IssuedCode { until: Some(NOW.plus_ms(1)), ..code() }), [good, good, good]),
            (issued(IssuedCode { groups: 2, ..code() }), [Ok(None), Ok(None), unusable]),
            (
                Shown::Issued { code: IssuedCode { groups: 2, ..code() }, used_for_this: true },
                [good, good, good],
            ),
        ];
        for (shown, expected) in table {
            for (access, expected) in MODES.into_iter().zip(expected) {
                assert_eq!(at_the_door(access, false, &shown, NOW), expected, "{access} {shown:?}");
                assert_eq!(at_the_door(access, true, &shown, NOW), Err(Refusal::RejoinRejected));
            }
        }
    }

    #[test]
    fn every_mode_and_account_at_the_link() {
        let owner = Candidate {
            is_rejected: false,
            account: Account::Owner(Ed25519PublicKey([1; 32])),
            shown: Shown::Nothing,
            is_listed: false,
            groups: 1,
            groups_max: 2,
        };
        let listed = Candidate { is_listed: true, ..owner.clone() };
        let by_code = Candidate { account: Account::Code(CodeId(7)), shown: issued(code()), ..owner.clone() };
        let used_up = Candidate { shown: issued(IssuedCode { groups: 2, ..code() }), ..by_code.clone() };
        let full = Candidate { groups: 2, ..listed.clone() };
        let (not_listed, needed) = (Err(Refusal::OwnerNotListed), Err(Refusal::CodeNeeded));
        let (unusable, quota) = (Err(Refusal::CodeUnusable), Err(Refusal::OwnerQuota));
        let table = [
            (&owner, [Ok(()), not_listed, needed]),
            (&listed, [Ok(()), Ok(()), needed]),
            (&by_code, [Ok(()), Ok(()), Ok(())]),
            (&used_up, [unusable, unusable, unusable]),
            (&full, [quota, quota, needed]),
        ];
        for (candidate, expected) in table {
            for (access, expected) in MODES.into_iter().zip(expected) {
                assert_eq!(at_the_link(access, candidate, NOW), expected, "{access} {candidate:?}");
                let rejected = Candidate { is_rejected: true, ..candidate.clone() };
                assert_eq!(at_the_link(access, &rejected, NOW), Err(Refusal::RejoinRejected));
            }
        }
        assert_eq!(at_the_link(Access::Everyone, &Candidate { groups_max: 0, ..full }, NOW), Ok(()));
    }

    #[test]
    fn accounts_read_back() {
        for account in [Account::Code(CodeId(3)), Account::Owner(Ed25519PublicKey([9; 32]))] {
            assert_eq!(account.to_string().parse(), Ok(account));
        }
        for wrong in ["", "code:", "code:x", "owner:x", "other:1"] {
            assert!(wrong.parse::<Account>().is_err(), "{wrong}");
        }
    }
}
