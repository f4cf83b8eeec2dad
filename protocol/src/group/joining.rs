//! Whom a relay lets in (channels.md §13).
//!
//! x.member is signed by the joiner's new member key and names the relay that is asked. Somebody whom the relay, the
//! roster or the group link knows already must sign with the key that is pinned, and must name this very relay, so
//! that neither a stranger nor another relay can take their place.

use thiserror::Error;

use super::event::joining::Join;
use super::event::{Event, MessageError};
use super::identity::{MemberId, MemberKey, MemberRole, PublicGroupId};
use super::signed::{SignatureState, Statement, StatementError};

/// What is known of the member id that a joiner claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pinned {
    /// The key at first sight; a record that never had one can be claimed by nobody.
    pub key: Option<MemberKey>,
    /// The role by record, roster or link.
    pub role: MemberRole,
}

/// A joiner who may be let in.
#[derive(Debug, Clone, PartialEq)]
pub struct Joiner {
    /// What it says of itself.
    pub join: Join,
    /// The role it gets.
    pub role: MemberRole,
    /// Whether it was known before: then it is attached to its record.
    pub is_known: bool,
}

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum JoinProblem {
    /// Not a request to join.
    #[error("the request is not one to join a group: {0}")]
    Malformed(#[from] StatementError),
    /// Another event.
    #[error("the request is not one to join a group")]
    NotAJoin,
    /// The signature is not by the key in the request.
    #[error("the signature of the request is not valid")]
    BadSignature,
    /// The request was made to another relay.
    #[error("the request was made to another relay")]
    OtherRelay,
    /// A known member must sign.
    #[error("a request for a known member must be signed and name the relay")]
    NotSigned,
    /// A known member comes with another key.
    #[error("the member is known by another key")]
    OtherKey,
    /// The profile is not valid.
    #[error(transparent)]
    Profile(#[from] super::profile::ProfileProblem),
}

impl From<MessageError> for JoinProblem {
    fn from(error: MessageError) -> Self {
        Self::Malformed(error.into())
    }
}

/// Checks the information of a contact request to the link of `relay` for `group`. `pinned` tells what is known of a
/// member id; `joiner_role` is what a stranger gets.
///
/// # Errors
/// [`JoinProblem`].
pub fn check_join(
    info: &[u8],
    group: &PublicGroupId,
    relay: &MemberId,
    joiner_role: MemberRole,
    pinned: impl FnOnce(&MemberId) -> Option<Pinned>,
) -> Result<Joiner, JoinProblem> {
    let statement = Statement::parse(info).map_err(StatementError::from)?;
    let Event::Join(join) = statement.message()?.event else { return Err(JoinProblem::NotAJoin) };
    let join = *join;
    join.profile.check()?;

    let signature = statement.check(group, &join.new_member_id, Some(&join.new_member_key));
    if matches!(signature, SignatureState::Bad | SignatureState::KeyUnknown) {
        return Err(JoinProblem::BadSignature);
    }
    if join.via_relay.as_ref().is_some_and(|named| named != relay) {
        return Err(JoinProblem::OtherRelay);
    }
    let proven = signature == SignatureState::Verified && join.via_relay.is_some();
    match pinned(&join.new_member_id) {
        None => Ok(Joiner { join, role: joiner_role, is_known: false }),
        Some(_) if !proven => Err(JoinProblem::NotSigned),
        Some(Pinned { key, .. }) if key != Some(join.new_member_key) => Err(JoinProblem::OtherKey),
        Some(Pinned { role, .. }) => Ok(Joiner { join, role, is_known: true }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::sign::Ed25519PrivateKey;
    use crate::group::event::Message;
    use crate::group::profile::Profile;
    use crate::group::signed::sign;

    fn id(text: &str) -> MemberId {
        MemberId::new(text).unwrap()
    }

    fn key(byte: u8) -> Ed25519PrivateKey {
        Ed25519PrivateKey::from_seed(&[byte; 32])
    }

    fn group() -> PublicGroupId {
        PublicGroupId::new([1; 32]).unwrap()
    }

    fn json(key_byte: u8, via_relay: Option<&str>) -> Vec<u8> {
        let join = Join {
            profile: Profile::named("Ann"),
            new_member_id: id("ann"),
            new_member_key: MemberKey(key(key_byte).public_key()),
            via_relay: via_relay.map(id),
            entrance: None,
        };
        Message::new(None, Event::Join(Box::new(join))).to_json()
    }

    fn signed(key_byte: u8, via_relay: Option<&str>) -> Vec<u8> {
        sign(&key(key_byte), &group(), &id("ann"), &json(key_byte, via_relay))
    }

    fn check(info: &[u8], pinned: Option<u8>) -> Result<(MemberRole, bool), JoinProblem> {
        let pinned = pinned
            .map(|byte| Pinned { key: Some(MemberKey(key(byte).public_key())), role: MemberRole::Moderator });
        check_join(info, &group(), &id("relay"), MemberRole::Observer, |_| pinned)
            .map(|joiner| (joiner.role, joiner.is_known))
    }

    #[test]
    fn strangers_get_the_role_of_joiners() {
        let observer = Ok((MemberRole::Observer, false));
        assert_eq!(check(&signed(1, Some("relay")), None), observer);
        assert_eq!(check(&json(1, None), None), observer, "older versions do not sign");
    }

    #[test]
    fn a_known_member_proves_itself() {
        assert_eq!(check(&signed(1, Some("relay")), Some(1)), Ok((MemberRole::Moderator, true)));
        assert_eq!(check(&json(1, Some("relay")), Some(1)), Err(JoinProblem::NotSigned));
        assert_eq!(check(&signed(1, None), Some(1)), Err(JoinProblem::NotSigned));
        assert_eq!(check(&signed(2, Some("relay")), Some(1)), Err(JoinProblem::OtherKey));
        let never_seen = Pinned { key: None, role: MemberRole::Observer };
        let claim =
            check_join(&signed(1, Some("relay")), &group(), &id("relay"), MemberRole::Observer, |_| {
                Some(never_seen)
            });
        assert_eq!(claim, Err(JoinProblem::OtherKey));
    }

    #[test]
    fn a_request_cannot_be_replayed_to_another_relay_or_group() {
        assert_eq!(check(&signed(1, Some("other")), None), Err(JoinProblem::OtherRelay));
        assert_eq!(check(&signed(1, Some("other")), Some(1)), Err(JoinProblem::OtherRelay));
        let other_group = PublicGroupId::new([2; 32]).unwrap();
        let info = sign(&key(1), &other_group, &id("ann"), &json(1, Some("relay")));
        assert_eq!(check(&info, None), Err(JoinProblem::BadSignature));
    }

    #[test]
    fn anything_else_is_refused() {
        assert!(matches!(check(b"", None), Err(JoinProblem::Malformed(_))));
        assert!(matches!(check(b"{}", None), Err(JoinProblem::Malformed(_))));
        assert_eq!(check(br#"{"event":"x.ok"}"#, None), Err(JoinProblem::NotAJoin));
    }
}
