//! What one party says, with the signatures that bind it to a group and a member (channels.md §6, §8).
//!
//! ```text
//! statement = json / signed
//! signed    = "/" binding nsig(1) 1*( "M" 0x40 64-byte-signature ) json
//! binding   = "G" / "D" / "C"
//! to sign   = "G" short(publicGroupId) short(memberId of signer) json
//! ```
//!
//! A [`Statement`] borrows the bytes it came from: they are what is checked, stored and passed on. Nobody encodes
//! them again.

use thiserror::Error;

use super::author_chain::Digest;
use super::constants::{SIGNATURES_MAX, STATEMENT_READ_BYTES_MAX};
use super::event::{Message, MessageError};
use super::identity::{MemberId, MemberKey, PublicGroupId};
use crate::crypto::hash::sha256;
use crate::crypto::sign::{Ed25519PrivateKey, Signature};
use crate::encoding::{DecodeError, Encode as _, Reader};

/// First byte of a signed statement.
pub(super) const SIGNED_TAG: u8 = b'/';
/// First byte of a JSON message.
pub(super) const JSON_TAG: u8 = b'{';
/// Marks a signature by the member key.
const MEMBER_SIGNATURE_TAG: u8 = b'M';

/// What a signature covers besides the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// `G`: a group and the signing member.
    Group,
    /// `D`: a direct chat.
    Direct,
    /// `C`: a channel, for cards that owners sign.
    Channel,
}

impl Binding {
    const fn tag(self) -> u8 {
        match self {
            Self::Group => b'G',
            Self::Direct => b'D',
            Self::Channel => b'C',
        }
    }

    const fn from_tag(tag: u8) -> Option<Self> {
        match tag {
            b'G' => Some(Self::Group),
            b'D' => Some(Self::Direct),
            b'C' => Some(Self::Channel),
            _ => None,
        }
    }
}

/// The signatures of a statement: at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// What they cover besides the body.
    pub binding: Binding,
    /// By the member key; one today.
    pub signatures: Vec<Signature>,
}

/// One JSON message with or without signatures, as the bytes it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement<'a> {
    verbatim: &'a [u8],
    body: &'a [u8],
    seal: Option<Seal>,
}

/// What the signatures of a statement are worth, given its author's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SignatureState {
    /// There are signatures, and all of them are the author's.
    Verified,
    /// There are signatures, and one of them is not the author's, or binds the body to something else.
    Bad,
    /// There are signatures, and the author's key is not known.
    KeyUnknown,
    /// There are none.
    Absent,
}

/// Why bytes are not a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StatementError {
    /// Neither JSON nor a signed element, or cut.
    #[error("not a signed or plain message: {0}")]
    Malformed(#[from] DecodeError),
    /// The JSON inside is not a message.
    #[error(transparent)]
    Message(#[from] MessageError),
}

impl<'a> Statement<'a> {
    /// Splits signatures and body, without looking into the body.
    ///
    /// # Errors
    /// [`DecodeError`] when it is neither `{` nor a well-formed `/` element with one to four signatures.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        // Out of a compressed container more may come than any record or batch could take.
        if bytes.len() > STATEMENT_READ_BYTES_MAX {
            return Err(DecodeError::Invalid("message: too long"));
        }
        let mut reader = Reader::new(bytes);
        let seal = match reader.peek() {
            Some(JSON_TAG) => None,
            Some(SIGNED_TAG) => Some(read_seal(&mut reader)?),
            Some(_) => return Err(DecodeError::Invalid("message")),
            None => return Err(DecodeError::Truncated),
        };
        if reader.peek() != Some(JSON_TAG) {
            return Err(DecodeError::Invalid("signed body"));
        }
        Ok(Self { verbatim: bytes, body: reader.tail(), seal })
    }

    /// All bytes as they came: what is stored, compared and passed on.
    #[must_use]
    pub const fn verbatim(&self) -> &'a [u8] {
        self.verbatim
    }

    /// The JSON text that the signatures cover.
    #[must_use]
    pub const fn body(&self) -> &'a [u8] {
        self.body
    }

    /// The signatures, if there are any.
    #[must_use]
    pub const fn seal(&self) -> Option<&Seal> {
        self.seal.as_ref()
    }

    /// Whether there are signatures, valid or not.
    #[must_use]
    pub const fn is_signed(&self) -> bool {
        self.seal.is_some()
    }

    /// Parses the body.
    ///
    /// # Errors
    /// When it is not a JSON message.
    pub fn message(&self) -> Result<Message, MessageError> {
        Message::parse(self.body)
    }

    /// The digest by which the next statement of `author` in `group` names this one: of what a signature covers.
    #[must_use]
    pub fn digest(&self, group: &PublicGroupId, author: &MemberId) -> Digest {
        sha256(&bytes_to_sign(group, author, self.body))
    }

    /// Checks the signatures as those of `author` in `group`. Every one must verify.
    #[must_use]
    pub fn check(&self, group: &PublicGroupId, author: &MemberId, key: Option<&MemberKey>) -> SignatureState {
        let Some(seal) = &self.seal else { return SignatureState::Absent };
        if seal.binding != Binding::Group {
            return SignatureState::Bad;
        }
        let Some(key) = key else { return SignatureState::KeyUnknown };
        let signed = bytes_to_sign(group, author, self.body);
        if seal.signatures.iter().all(|signature| key.0.verify(&signed, signature).is_ok()) {
            SignatureState::Verified
        } else {
            SignatureState::Bad
        }
    }
}

fn read_seal(reader: &mut Reader<'_>) -> Result<Seal, DecodeError> {
    reader.expect(&[SIGNED_TAG], "signed message")?;
    let binding = Binding::from_tag(reader.u8()?).ok_or(DecodeError::Invalid("binding"))?;
    // No signature at all would count as "all verify".
    let signatures = reader.non_empty_list(|reader| {
        reader.expect(&[MEMBER_SIGNATURE_TAG], "signature kind")?;
        reader.short()?.try_into().map_err(|_| DecodeError::Invalid("signature"))
    })?;
    if signatures.len() > SIGNATURES_MAX {
        return Err(DecodeError::Invalid("number of signatures"));
    }
    Ok(Seal { binding, signatures })
}

/// Signs `json` for `group` as `member`: a whole signed element.
#[must_use]
pub fn sign(key: &Ed25519PrivateKey, group: &PublicGroupId, member: &MemberId, json: &[u8]) -> Vec<u8> {
    let signature = key.sign(&bytes_to_sign(group, member, json));
    let mut out = vec![SIGNED_TAG, Binding::Group.tag(), 1, MEMBER_SIGNATURE_TAG];
    crate::encoding::put_short(&mut out, &signature);
    out.extend_from_slice(json);
    out
}

fn bytes_to_sign(group: &PublicGroupId, member: &MemberId, json: &[u8]) -> Vec<u8> {
    let mut bytes = vec![Binding::Group.tag()];
    group.encode(&mut bytes);
    member.encode(&mut bytes);
    bytes.extend_from_slice(json);
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const JSON: &[u8] = br#"{"v":"1-19","event":"x.grp.leave","params":{}}"#;

    fn group() -> PublicGroupId {
        PublicGroupId::new([9; 32]).unwrap()
    }

    fn member(byte: u8) -> MemberId {
        MemberId::new([byte; 12]).unwrap()
    }

    fn key(byte: u8) -> Ed25519PrivateKey {
        Ed25519PrivateKey::from_seed(&[byte; 32])
    }

    fn public(byte: u8) -> MemberKey {
        MemberKey(key(byte).public_key())
    }

    #[test]
    fn a_signature_binds_body_group_and_member() {
        let bytes = sign(&key(1), &group(), &member(1), JSON);
        let statement = Statement::parse(&bytes).unwrap();
        assert_eq!((statement.verbatim(), statement.body()), (&bytes[..], JSON));
        assert_eq!(statement.check(&group(), &member(1), Some(&public(1))), SignatureState::Verified);
        assert_eq!(statement.check(&group(), &member(1), None), SignatureState::KeyUnknown);
        assert_eq!(statement.check(&group(), &member(1), Some(&public(2))), SignatureState::Bad);
        assert_eq!(statement.check(&group(), &member(2), Some(&public(1))), SignatureState::Bad);
        let other = PublicGroupId::new([8; 32]).unwrap();
        assert_eq!(statement.check(&other, &member(1), Some(&public(1))), SignatureState::Bad);
        let plain = Statement::parse(JSON).unwrap();
        assert_eq!(plain.check(&group(), &member(1), Some(&public(1))), SignatureState::Absent);
    }

    #[test]
    fn every_signature_must_verify() {
        let good = sign(&key(1), &group(), &member(1), JSON);
        let bad = sign(&key(2), &group(), &member(1), JSON);
        let both = [b"/G\x02", &good[3..69], &bad[3..69], JSON].concat();
        let statement = Statement::parse(&both).unwrap();
        assert_eq!(statement.check(&group(), &member(1), Some(&public(1))), SignatureState::Bad);
    }

    #[test]
    fn another_binding_does_not_count_for_a_group() {
        for binding in [b'D', b'C'] {
            let mut bytes = sign(&key(1), &group(), &member(1), JSON);
            bytes[1] = binding;
            let statement = Statement::parse(&bytes).unwrap();
            assert_eq!(statement.check(&group(), &member(1), Some(&public(1))), SignatureState::Bad);
            assert_eq!(statement.check(&group(), &member(1), None), SignatureState::Bad);
        }
    }

    #[test]
    fn malformed_statements_are_refused() {
        let good = sign(&key(1), &group(), &member(1), JSON);
        let none = [b"/G\x00", JSON].concat();
        let many = [b"/G\x05", &good[3..69].repeat(5)[..], JSON].concat();
        let kind = [b"/G\x01R", &good[4..]].concat();
        let short = [b"/G\x01M\x3f", &good[5..68], JSON].concat();
        let nested = [&good[..69], &good].concat();
        let long = vec![b'{'; STATEMENT_READ_BYTES_MAX + 1];
        for bytes in [&none[..], &many, &long, &kind, &short, &nested, b"", b"/", b"/X", b"[", &good[..69]] {
            assert!(Statement::parse(bytes).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_change_is_noticed(at in 0_usize..116, flip in 1_u8..) {
            let mut bytes = sign(&key(1), &group(), &member(1), JSON);
            let at = at % bytes.len();
            bytes[at] ^= flip;
            if let Ok(statement) = Statement::parse(&bytes) {
                prop_assert_ne!(statement.check(&group(), &member(1), Some(&public(1))), SignatureState::Verified);
            }
        }

        #[test]
        fn any_bytes_fail_softly(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Statement::parse(&bytes);
            let _ = Statement::parse(&[&b"/G"[..], &bytes].concat());
        }
    }
}
