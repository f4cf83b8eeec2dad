//! Whose request for a second connection a relay grants.
//!
//! The request is signed by the key that the relay knows the member by, for this group and member, and names the relay:
//! nobody else can attach a connection. Its number was not seen before: neither an old request nor one that a server
//! repeats takes the place of a newer one.

use thiserror::Error;

use crate::group::event::bulk::BulkJoin;
use crate::group::event::{Event, MessageError};
use crate::group::identity::{MemberId, MemberKey, PublicGroupId};
use crate::group::signed::{SignatureState, Statement, StatementError, sign};

/// What a relay knows of the member that a request names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attached {
    /// The key at first sight; without one nothing can be proven.
    pub key: Option<MemberKey>,
    /// Whether the first connection stands.
    pub is_connected: bool,
    /// The number of the last request.
    pub number: i64,
}

/// Why a second connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BulkRefused {
    /// Not such a request.
    #[error("the request is not one for a second connection: {0}")]
    Malformed(#[from] StatementError),
    /// Another event.
    #[error("the request is not one for a second connection")]
    NotAsked,
    /// The request was made to another relay.
    #[error("the request was made to another relay")]
    OtherRelay,
    /// Nobody here has this id and a first connection.
    #[error("there is no first connection that it belongs to")]
    NoFirst,
    /// The signature is not by the member's key.
    #[error("the signature of the request is not valid")]
    NotProven,
    /// A later request came before.
    #[error("a later request came before it")]
    Outdated,
}

impl BulkRefused {
    /// The stable word for programs.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Malformed(_) | Self::NotAsked => "request",
            Self::OtherRelay => "other_relay",
            Self::NoFirst => "no_first_connection",
            Self::NotProven => "not_proven",
            Self::Outdated => "outdated",
        }
    }
}

impl From<MessageError> for BulkRefused {
    fn from(error: MessageError) -> Self {
        Self::Malformed(error.into())
    }
}

/// The request of `member` with its key for a second connection to `relay` in `group`.
#[must_use]
pub fn request(
    key: &crate::crypto::sign::Ed25519PrivateKey,
    group: &PublicGroupId,
    join: BulkJoin,
) -> Vec<u8> {
    let member = join.member_id.clone();
    let json = crate::group::event::Message::new(None, Event::BulkJoin(join)).to_json();
    sign(key, group, &member, &json)
}

/// Checks the information of a contact request to the link of `relay` for `group`. `attached` tells what is known of the
/// member.
///
/// # Errors
/// [`BulkRefused`].
pub fn check_request(
    info: &[u8],
    group: &PublicGroupId,
    relay: &MemberId,
    attached: impl FnOnce(&MemberId) -> Option<Attached>,
) -> Result<BulkJoin, BulkRefused> {
    let statement = Statement::parse(info).map_err(StatementError::from)?;
    let Event::BulkJoin(join) = statement.message()?.event else { return Err(BulkRefused::NotAsked) };
    if join.via_relay != *relay {
        return Err(BulkRefused::OtherRelay);
    }
    let known = attached(&join.member_id).ok_or(BulkRefused::NoFirst)?;
    if statement.check(group, &join.member_id, known.key.as_ref()) != SignatureState::Verified {
        return Err(BulkRefused::NotProven);
    }
    if !known.is_connected {
        return Err(BulkRefused::NoFirst);
    }
    if join.number <= known.number { Err(BulkRefused::Outdated) } else { Ok(join) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::sign::Ed25519PrivateKey;
    use crate::group::event::Message;

    fn id(text: &str) -> MemberId {
        MemberId::new(text).unwrap()
    }

    fn key(byte: u8) -> Ed25519PrivateKey {
        Ed25519PrivateKey::from_seed(&[byte; 32])
    }

    fn group(byte: u8) -> PublicGroupId {
        PublicGroupId::new([byte; 32]).unwrap()
    }

    fn ask(key_byte: u8, group_byte: u8, via: &str, number: i64) -> Vec<u8> {
        let join = BulkJoin { member_id: id("ann"), via_relay: id(via), number };
        request(&key(key_byte), &group(group_byte), join)
    }

    fn check(info: &[u8], known: Option<Attached>) -> Result<i64, BulkRefused> {
        check_request(info, &group(1), &id("relay"), |member| {
            assert_eq!(*member, id("ann"));
            known
        })
        .map(|join| join.number)
    }

    fn known() -> Attached {
        Attached { key: Some(MemberKey(key(1).public_key())), is_connected: true, number: 5 }
    }

    #[test]
    fn the_members_own_key_attaches_a_connection() {
        assert_eq!(check(&ask(1, 1, "relay", 6), Some(known())), Ok(6));
    }

    #[test]
    fn nobody_elses_does() {
        for info in [ask(2, 1, "relay", 6), ask(1, 2, "relay", 6)] {
            assert_eq!(check(&info, Some(known())), Err(BulkRefused::NotProven));
        }
        let join = BulkJoin { member_id: id("ann"), via_relay: id("relay"), number: 6 };
        let unsigned = Message::new(None, Event::BulkJoin(join)).to_json();
        assert_eq!(check(&unsigned, Some(known())), Err(BulkRefused::NotProven));
        let keyless = Attached { key: None, ..known() };
        assert_eq!(check(&ask(1, 1, "relay", 6), Some(keyless)), Err(BulkRefused::NotProven));
    }

    #[test]
    fn it_cannot_be_replayed_to_another_relay_or_later() {
        assert_eq!(check(&ask(1, 1, "other", 6), Some(known())), Err(BulkRefused::OtherRelay));
        for number in [i64::MIN, 4, 5] {
            assert_eq!(check(&ask(1, 1, "relay", number), Some(known())), Err(BulkRefused::Outdated));
        }
    }

    #[test]
    fn it_belongs_to_a_first_connection() {
        assert_eq!(check(&ask(1, 1, "relay", 6), None), Err(BulkRefused::NoFirst));
        let away = Attached { is_connected: false, ..known() };
        assert_eq!(check(&ask(1, 1, "relay", 6), Some(away)), Err(BulkRefused::NoFirst));
        assert_eq!(check(br#"{"event":"x.ok"}"#, None), Err(BulkRefused::NotAsked));
        assert!(matches!(check(b"", None), Err(BulkRefused::Malformed(_))));
    }
}
