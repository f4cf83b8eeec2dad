//! Who holds which role, by an owner's word (channels.md §14).
//!
//! ```text
//! header = signed x.grp.roster { version, fileInv { fileSize, fileDigest } }     digest: SHA-512 of the blob
//! blob   = count(2, BE) *( short(memberId) key(45) short(role word) privileges(2, BE) )
//! ```
//!
//! The header is a statement like any other; the blob follows in [chunks](super::chunk) under the header's message
//! id. The digest is checked before the blob is parsed. Entries that are not member, moderator or admin, or that
//! repeat an id, are dropped; bytes left over are an error.

use std::collections::BTreeMap;

use thiserror::Error;

use super::chunk::Chunk;
use super::constants::{CHUNK_BYTES_MAX, ROSTER_BLOB_BYTES_MAX, ROSTER_CHAT_VERSION, ROSTER_ENTRIES_MAX};
use super::event::group::{Roster as RosterHeader, RosterFile};
use super::identity::{MemberId, MemberKey, MemberRole};
use super::msg_id::SharedMessageId;
use crate::agent::BODY_BYTES_MAX;
use crate::crypto::hash::sha512;
use crate::encoding::{Decode as _, DecodeError, Encode as _, Reader, put_short};
use crate::version::VersionRange;

/// What the roster says of one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RosterEntry {
    /// The key that this member signs with; pinned at first sight.
    pub key: MemberKey,
    /// Member, moderator or admin.
    pub role: MemberRole,
}

/// Members with a roster role. Everybody else has the default role; owners come from the group link.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roster {
    entries: BTreeMap<MemberId, RosterEntry>,
}

/// Why a roster was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RosterError {
    /// The header announces a size that no roster has.
    #[error("the roster's size is not possible")]
    Size,
    /// The header's digest is not one of SHA-512.
    #[error("the roster's digest has another length")]
    DigestLength,
    /// The blob is not what the header announced.
    #[error("the roster is not the one that its header announced")]
    Digest,
    /// The blob is not a roster.
    #[error("the roster cannot be read: {0}")]
    Malformed(#[from] DecodeError),
    /// More entries than a roster holds.
    #[error("the roster holds more than 256 members")]
    TooManyEntries,
    /// Only member, moderator and admin stand on the roster.
    #[error("the role {0} does not stand on the roster")]
    NotARosterRole(MemberRole),
}

impl Roster {
    /// The entries, by member id.
    pub fn entries(&self) -> impl Iterator<Item = (&MemberId, &RosterEntry)> {
        self.entries.iter()
    }

    /// What the roster says of a member.
    #[must_use]
    pub fn entry(&self, member: &MemberId) -> Option<&RosterEntry> {
        self.entries.get(member)
    }

    /// How many stand on it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nobody stands on it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Puts a member on the roster, or changes its role.
    ///
    /// # Errors
    /// When the role does not stand on the roster, or the roster is full.
    pub fn put(&mut self, member: MemberId, entry: RosterEntry) -> Result<(), RosterError> {
        if !entry.role.is_roster_role() {
            return Err(RosterError::NotARosterRole(entry.role));
        }
        if self.entries.len() >= ROSTER_ENTRIES_MAX && !self.entries.contains_key(&member) {
            return Err(RosterError::TooManyEntries);
        }
        self.entries.insert(member, entry);
        Ok(())
    }

    /// Takes a member off the roster.
    pub fn remove(&mut self, member: &MemberId) -> Option<RosterEntry> {
        self.entries.remove(member)
    }

    /// The blob.
    #[must_use]
    pub fn to_blob(&self) -> Vec<u8> {
        let count = u16::try_from(self.entries.len()).expect("`put` keeps to 256 entries");
        let mut out = count.to_be_bytes().to_vec();
        for (member, entry) in &self.entries {
            member.encode(&mut out);
            entry.key.encode(&mut out);
            put_short(&mut out, entry.role.word().as_bytes());
            out.extend_from_slice(&NO_PRIVILEGES.to_be_bytes());
        }
        out
    }

    /// Reads a blob whose digest was checked.
    ///
    /// # Errors
    /// When it is cut, too long, or holds more than 256 entries.
    pub fn parse(blob: &[u8]) -> Result<Self, RosterError> {
        let mut reader = Reader::new(blob);
        let count = usize::from(reader.u16()?);
        if count > ROSTER_ENTRIES_MAX {
            return Err(RosterError::TooManyEntries);
        }
        let mut entries = BTreeMap::new();
        for _ in 0..count {
            let member = MemberId::decode(&mut reader)?;
            let key = MemberKey::decode(&mut reader)?;
            let role = MemberRole::from_word(reader.text()?);
            // Privileges are for later versions.
            reader.u16()?;
            if role.is_roster_role() {
                entries.entry(member).or_insert(RosterEntry { key, role });
            }
        }
        reader.end()?;
        Ok(Self { entries })
    }

    /// The header that announces this roster as `version`, to be signed and sent ahead of [`chunks`].
    #[must_use]
    pub fn header(&self, version: i64) -> RosterHeader {
        let blob = self.to_blob();
        let file_size = i64::try_from(blob.len()).expect("a blob of 256 entries");
        RosterHeader { version, file_inv: RosterFile { file_size, file_digest: sha512(&blob).to_vec() } }
    }
}

const NO_PRIVILEGES: u16 = 0;

/// Whether a relay or member with these chat versions takes part in rosters. Whoever does not say is older.
#[must_use]
pub fn speaks_roster(versions: Option<VersionRange>) -> bool {
    versions.is_some_and(|range| range.max() >= ROSTER_CHAT_VERSION)
}

/// Splits a blob into chunk elements that fit an agent message each, in order.
///
/// Stock clients count on pieces of [`CHUNK_BYTES_MAX`], the last one apart, so a piece is as long as that wherever its
/// message has room: it has with message ids of at most 11 bytes. With the usual ids of 16 bytes a blob of up to 15,775
/// bytes is one piece, as stock clients send it; what is longer they cannot send themselves.
#[must_use]
pub fn chunks(message_id: &SharedMessageId, blob: &[u8]) -> Vec<Vec<u8>> {
    let header = Chunk { message_id: message_id.clone(), number: 0, bytes: &[] }.to_bytes().len();
    // A blob of 256 entries of 90 bytes needs two chunks; the numbers never come near 255.
    let piece_bytes = BODY_BYTES_MAX.saturating_sub(header).clamp(1, CHUNK_BYTES_MAX);
    blob.chunks(piece_bytes)
        .zip(1_u8..)
        .map(|(bytes, number)| Chunk { message_id: message_id.clone(), number, bytes }.to_bytes())
        .collect()
}

/// What a header announces, after its bounds were checked and before anything is stored.
///
/// # Errors
/// [`RosterError::Size`] or [`RosterError::DigestLength`].
pub(super) fn announced(header: &RosterHeader) -> Result<(usize, [u8; 64]), RosterError> {
    let size = usize::try_from(header.file_inv.file_size).map_err(|_| RosterError::Size)?;
    if !(size_of::<u16>()..=ROSTER_BLOB_BYTES_MAX).contains(&size) {
        return Err(RosterError::Size);
    }
    let digest = header.file_inv.file_digest.as_slice().try_into().map_err(|_| RosterError::DigestLength)?;
    Ok((size, digest))
}

/// Keys are pinned per member at first sight: which entries of a newer roster contradict what is known.
///
/// The pinned key stays; a contradiction is reported.
pub fn key_conflicts<'a>(
    roster: &'a Roster,
    pinned: impl Fn(&MemberId) -> Option<MemberKey> + 'a,
) -> impl Iterator<Item = &'a MemberId> {
    roster
        .entries
        .iter()
        .filter(move |(member, entry)| pinned(member).is_some_and(|key| key != entry.key))
        .map(|(member, _)| member)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::crypto::sign::Ed25519PublicKey;

    fn entry(byte: u8, role: MemberRole) -> RosterEntry {
        RosterEntry { key: MemberKey(Ed25519PublicKey([byte; 32])), role }
    }

    fn id(number: u16) -> MemberId {
        MemberId::new([&[0; 10][..], &number.to_be_bytes()].concat()).unwrap()
    }

    fn roster(size: u16) -> Roster {
        let mut roster = Roster::default();
        for number in 0..size {
            roster.put(id(number), entry(1, MemberRole::Moderator)).unwrap();
        }
        roster
    }

    #[test]
    fn an_empty_roster_is_two_bytes() {
        let empty = Roster::default();
        assert_eq!(empty.to_blob(), [0, 0]);
        assert_eq!(Roster::parse(&[0, 0]), Ok(empty.clone()));
        assert_eq!(announced(&empty.header(0)).unwrap().0, 2);
    }

    #[test]
    fn an_entry_has_the_layout_of_the_specification() {
        let blob = roster(1).to_blob();
        let mut expected = vec![0, 1, 12];
        expected.extend_from_slice(id(0).as_bytes());
        expected.push(44);
        expected.extend_from_slice(&Ed25519PublicKey([1; 32]).to_der());
        expected.extend_from_slice(b"\x09moderator\x00\x00");
        assert_eq!(blob, expected);
    }

    #[test]
    fn a_full_roster_needs_two_chunks() {
        let full = roster(256);
        assert_eq!(full.clone().put(id(256), entry(1, MemberRole::Member)), Err(RosterError::TooManyEntries));
        let blob = full.to_blob();
        assert!(blob.len() <= ROSTER_BLOB_BYTES_MAX);
        let message_id = SharedMessageId::new([b'a'; 16]).unwrap();
        let chunks = chunks(&message_id, &blob);
        assert_eq!(chunks.len(), 2);
        assert!(chunks.iter().all(|chunk| chunk.len() <= BODY_BYTES_MAX));
        let joined: Vec<u8> =
            chunks.iter().flat_map(|chunk| Chunk::parse(chunk).unwrap().bytes.to_vec()).collect();
        assert_eq!(joined, blob);
    }

    #[test]
    fn pieces_are_as_long_as_stock_clients_count_on() {
        let lengths = |id_bytes: usize, blob_bytes: usize| -> Vec<usize> {
            let id = SharedMessageId::new(vec![b'a'; id_bytes]).unwrap();
            let chunks = chunks(&id, &vec![7; blob_bytes]);
            chunks.iter().map(|chunk| Chunk::parse(chunk).unwrap().bytes.len()).collect()
        };
        assert_eq!(lengths(16, 15_775), [15_775], "what one message carries is not split");
        assert_eq!(lengths(16, 15_776), [15_775, 1]);
        assert_eq!(lengths(11, 15_781), [15_780, 1], "their file chunk");
        assert_eq!(lengths(1, 15_781), [15_780, 1]);
    }

    #[test]
    fn other_roles_and_repeated_ids_are_dropped() {
        let mut blob = vec![0, 4];
        for (number, byte, word) in [(1, 1, "member"), (1, 2, "admin"), (2, 1, "owner"), (3, 1, "later")] {
            id(number).encode(&mut blob);
            Ed25519PublicKey([byte; 32]).encode(&mut blob);
            put_short(&mut blob, word.as_bytes());
            blob.extend_from_slice(&[0, 0]);
        }
        let roster = Roster::parse(&blob).unwrap();
        assert_eq!(roster.entries().collect::<Vec<_>>(), [(&id(1), &entry(1, MemberRole::Member))]);
        assert_eq!(
            Roster::default().put(id(1), entry(1, MemberRole::Owner)),
            Err(RosterError::NotARosterRole(MemberRole::Owner))
        );
    }

    #[test]
    fn impossible_headers_are_refused() {
        let header = |size, digest: usize| RosterHeader {
            version: 1,
            file_inv: RosterFile { file_size: size, file_digest: vec![0; digest] },
        };
        for size in [-1, 0, 1, 1 + i64::try_from(ROSTER_BLOB_BYTES_MAX).unwrap(), i64::MAX] {
            assert_eq!(announced(&header(size, 64)), Err(RosterError::Size));
        }
        assert_eq!(announced(&header(2, 63)), Err(RosterError::DigestLength));
    }

    #[test]
    fn older_relays_know_no_roster() {
        let speaks = |text: &str| speaks_roster(Some(text.parse().unwrap()));
        assert!(speaks("1-19") && speaks("19-25") && !speaks("1-18"));
        assert!(!speaks_roster(None));
    }

    #[test]
    fn a_different_key_is_a_conflict() {
        let roster = roster(2);
        let pinned = |member: &MemberId| (*member == id(1)).then_some(MemberKey(Ed25519PublicKey([9; 32])));
        assert_eq!(key_conflicts(&roster, pinned).collect::<Vec<_>>(), [&id(1)]);
    }

    proptest! {
        #[test]
        fn blobs_round_trip(size in 0_u16..=256) {
            let roster = roster(size);
            prop_assert_eq!(Roster::parse(&roster.to_blob()), Ok(roster));
        }

        #[test]
        fn cut_long_and_changed_blobs_fail_softly(cut in 0_usize..140, at in 0_usize..140, flip in 1_u8.., more: Vec<u8>) {
            let whole = roster(2).to_blob();
            let cut = cut % whole.len();
            prop_assert!(Roster::parse(&whole[..cut]).is_err());
            prop_assert!(more.is_empty() || Roster::parse(&[&whole[..], &more].concat()).is_err());
            let mut changed = whole.clone();
            let at = at % whole.len();
            changed[at] ^= flip;
            let _ = Roster::parse(&changed);
            let _ = Roster::parse(&more);
        }
    }
}
