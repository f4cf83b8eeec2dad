//! A roster on its way in: header, then chunks, then all at once (channels.md §14).
//!
//! ```text
//! Idle ──header──▶ Receiving ──last chunk──▶ Idle, with Complete { version, header, blob, roster }
//!                     │ newer header: starts again      │ digest or blob not right: Failed, the old roster stays
//! ```
//!
//! Version, header bytes and blob move forward together, when the blob is complete and its digest matches; never at
//! the header. One transfer per sender connection is in flight. The record is stored with [`Encode`], so that a
//! restart in the middle of a transfer goes on where it was.

use super::chunk::Chunk;
use super::event::group::Roster as RosterHeader;
use super::msg_id::SharedMessageId;
use super::roster::{Roster, RosterError, announced};
use crate::crypto::hash::sha512;
use crate::encoding::{Decode, DecodeError, Encode, Reader, put_large};

/// The state of the incoming transfer of one group over one connection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum RosterTransfer {
    /// Nothing is on its way.
    #[default]
    Idle,
    /// A header came, and perhaps some chunks.
    Receiving(Box<Receiving>),
}

/// A transfer in flight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receiving {
    version: i64,
    message_id: SharedMessageId,
    /// The header as it came, to be kept and served.
    header: Vec<u8>,
    size: usize,
    digest: [u8; 64],
    received: Vec<u8>,
    next_number: u8,
}

/// A header that was verified as an owner's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedHeader {
    /// The id of the message: chunks name it.
    pub message_id: SharedMessageId,
    /// The parsed parameters.
    pub header: RosterHeader,
    /// The signed statement as it came.
    pub verbatim: Vec<u8>,
}

/// What became of a header or chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransferStep {
    /// Nothing to do: a repetition, an older version, or a chunk of no transfer.
    Ignored,
    /// Taken; store the record.
    Progress,
    /// The sender withdrew it; store the record.
    Cancelled,
    /// All of it is here and right: store the record and the roster in one transaction.
    Complete(CompleteRoster),
    /// It cannot become a roster; store the record. A relay answers with an acknowledgement that says so.
    Failed {
        /// Of which version.
        version: i64,
        /// Why.
        error: RosterError,
    },
}

/// A roster with the bytes that prove it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompleteRoster {
    /// Its version.
    pub version: i64,
    /// The id under which it is served on.
    pub message_id: SharedMessageId,
    /// The signed header as it came.
    pub header: Vec<u8>,
    /// The blob as it came.
    pub blob: Vec<u8>,
    /// The blob, parsed.
    pub roster: Roster,
}

impl RosterTransfer {
    /// Takes a verified header. `stored` is the version held so far; a lower one is ignored.
    #[must_use]
    pub fn header(self, header: VerifiedHeader, stored: Option<i64>) -> (Self, TransferStep) {
        let version = header.header.version;
        if stored.is_some_and(|stored| version < stored) {
            return (self, TransferStep::Ignored);
        }
        if let Self::Receiving(receiving) = &self {
            let repeated = receiving.message_id == header.message_id && receiving.header == header.verbatim;
            if repeated || version < receiving.version {
                return (self, TransferStep::Ignored);
            }
        }
        match announced(&header.header) {
            Err(error) => (Self::Idle, TransferStep::Failed { version, error }),
            Ok((size, digest)) => {
                let receiving = Receiving {
                    version,
                    message_id: header.message_id,
                    header: header.verbatim,
                    size,
                    digest,
                    received: Vec::new(),
                    next_number: 1,
                };
                (Self::Receiving(Box::new(receiving)), TransferStep::Progress)
            }
        }
    }

    /// Takes a chunk.
    #[must_use]
    pub fn chunk(self, chunk: &Chunk<'_>) -> (Self, TransferStep) {
        let Self::Receiving(mut receiving) = self else { return (Self::Idle, TransferStep::Ignored) };
        if receiving.message_id != chunk.message_id {
            return (Self::Receiving(receiving), TransferStep::Ignored);
        }
        match chunk.number {
            0 => return (Self::Idle, TransferStep::Cancelled),
            1 => receiving.received.clear(),
            number if number == receiving.next_number => {}
            // A repetition after a lost acknowledgement, or a gap that the first chunk will heal.
            _ => return (Self::Receiving(receiving), TransferStep::Ignored),
        }
        receiving.received.extend_from_slice(chunk.bytes);
        receiving.next_number = chunk.number.saturating_add(1);
        if receiving.received.len() < receiving.size {
            return (Self::Receiving(receiving), TransferStep::Progress);
        }
        let step = match receiving.finished() {
            Ok(roster) => TransferStep::Complete(CompleteRoster {
                version: receiving.version,
                message_id: receiving.message_id,
                header: receiving.header,
                blob: receiving.received,
                roster,
            }),
            Err(error) => TransferStep::Failed { version: receiving.version, error },
        };
        (Self::Idle, step)
    }
}

impl Receiving {
    /// The digest comes before the parser.
    fn finished(&self) -> Result<Roster, RosterError> {
        if self.received.len() != self.size || sha512(&self.received) != self.digest {
            return Err(RosterError::Digest);
        }
        Roster::parse(&self.received)
    }
}

impl Encode for RosterTransfer {
    fn encode(&self, out: &mut Vec<u8>) {
        let Self::Receiving(receiving) = self else {
            out.push(b'0');
            return;
        };
        out.push(b'1');
        out.extend_from_slice(&receiving.version.to_be_bytes());
        receiving.message_id.encode(out);
        put_large(out, &receiving.header);
        let size = u32::try_from(receiving.size).expect("bounded when the header was taken");
        out.extend_from_slice(&size.to_be_bytes());
        out.extend_from_slice(&receiving.digest);
        put_large(out, &receiving.received);
        out.push(receiving.next_number);
    }
}

impl Decode for RosterTransfer {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let receiving = reader.maybe(|reader| {
            Ok(Receiving {
                version: reader.i64()?,
                message_id: SharedMessageId::decode(reader)?,
                header: reader.large()?.to_vec(),
                size: usize::try_from(reader.u32()?).map_err(|_| DecodeError::Invalid("roster size"))?,
                digest: reader.array()?,
                received: reader.large()?.to_vec(),
                next_number: reader.u8()?,
            })
        })?;
        Ok(receiving.map_or(Self::Idle, |receiving| Self::Receiving(Box::new(receiving))))
    }
}

/// What a change of one member's role, with the version it carries, does to the stored version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeltaStep {
    /// It carries no version: apply it, the version stays.
    Unversioned,
    /// The roster that is held contains it, as on a relay, where the blob comes ahead of its delta: roles stay, and
    /// whatever else the event does still happens.
    Current,
    /// Older than the roster that is held: not applied to anybody whom that roster lists.
    Stale,
    /// The next one: apply it and store this version.
    Next(i64),
    /// Some were missed: apply it, store this version, and (a member, not a relay) ask once with
    /// x.grp.roster.request for what came after `held`.
    Gap {
        /// The version that it makes.
        version: i64,
        /// The version held before.
        held: i64,
    },
}

/// Compares the version that a delta carries with the stored one.
#[must_use]
pub fn delta_step(carried: Option<i64>, stored: Option<i64>) -> DeltaStep {
    let Some(version) = carried else { return DeltaStep::Unversioned };
    let held = stored.unwrap_or(0);
    match version {
        version if version < held => DeltaStep::Stale,
        version if version == held => DeltaStep::Current,
        version if version == held.saturating_add(1) => DeltaStep::Next(version),
        version => DeltaStep::Gap { version, held },
    }
}

/// Whether a relay answers a member's x.grp.roster.request: only with something newer than the member held, and newer
/// than what this member was last served.
#[must_use]
pub fn serves_request(live: i64, held_by_member: Option<i64>, last_served: Option<i64>) -> bool {
    held_by_member.is_none_or(|held| live > held) && last_served.is_none_or(|served| live > served)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::crypto::sign::Ed25519PublicKey;
    use crate::group::identity::{MemberId, MemberKey, MemberRole};
    use crate::group::roster::{RosterEntry, chunks};

    fn roster(size: u8) -> Roster {
        let mut roster = Roster::default();
        for byte in 0..size {
            let entry =
                RosterEntry { key: MemberKey(Ed25519PublicKey([byte; 32])), role: MemberRole::Member };
            roster.put(MemberId::new([byte; 12]).unwrap(), entry).unwrap();
        }
        roster
    }

    fn header(roster: &Roster, version: i64, id: u8) -> VerifiedHeader {
        let message_id = SharedMessageId::new([id; 16]).unwrap();
        VerifiedHeader { message_id, header: roster.header(version), verbatim: vec![b'/', id] }
    }

    fn chunk(id: u8, number: u8, bytes: &[u8]) -> Chunk<'_> {
        Chunk { message_id: SharedMessageId::new([id; 16]).unwrap(), number, bytes }
    }

    fn receiving(roster: &Roster, version: i64, id: u8) -> RosterTransfer {
        let (transfer, step) = RosterTransfer::Idle.header(header(roster, version, id), None);
        assert_eq!(step, TransferStep::Progress);
        transfer
    }

    #[test]
    fn a_roster_is_complete_with_its_last_chunk() {
        let wanted = roster(250);
        let mut transfer = receiving(&wanted, 3, 1);
        let pieces = chunks(&SharedMessageId::new([1; 16]).unwrap(), &wanted.to_blob());
        let mut last = TransferStep::Ignored;
        for piece in &pieces {
            // The record survives a restart between any two chunks.
            transfer = RosterTransfer::from_bytes(&transfer.to_bytes()).unwrap();
            (transfer, last) = transfer.chunk(&Chunk::parse(piece).unwrap());
        }
        let TransferStep::Complete(complete) = last else { panic!("{last:?}") };
        assert_eq!((complete.version, &complete.roster), (3, &wanted));
        assert_eq!((complete.header, complete.blob), (vec![b'/', 1], wanted.to_blob()));
        assert_eq!(transfer, RosterTransfer::Idle);
    }

    #[test]
    fn older_and_repeated_headers_change_nothing() {
        let transfer = receiving(&roster(2), 3, 1);
        for (again, stored) in [(header(&roster(2), 3, 1), None), (header(&roster(1), 2, 2), None)] {
            assert_eq!(transfer.clone().header(again, stored), (transfer.clone(), TransferStep::Ignored));
        }
        let older = header(&roster(2), 3, 1);
        assert_eq!(
            RosterTransfer::Idle.header(older, Some(4)),
            (RosterTransfer::Idle, TransferStep::Ignored)
        );
        let same = header(&roster(2), 3, 1);
        assert_eq!(RosterTransfer::Idle.header(same, Some(3)).1, TransferStep::Progress);
    }

    #[test]
    fn a_newer_header_supersedes_and_the_first_chunk_restarts() {
        let (old, new) = (roster(2), roster(1));
        let (transfer, _) = receiving(&old, 3, 1).chunk(&chunk(1, 1, &old.to_blob()[..5]));
        let (transfer, step) = transfer.header(header(&new, 4, 2), None);
        assert_eq!(step, TransferStep::Progress);
        assert_eq!(transfer.clone().chunk(&chunk(1, 2, &old.to_blob()[5..])).1, TransferStep::Ignored);
        let blob = new.to_blob();
        let (transfer, _) = transfer.chunk(&chunk(2, 1, &blob[..5]));
        assert_eq!(transfer.clone().chunk(&chunk(2, 3, &blob[5..])).1, TransferStep::Ignored, "a gap");
        let (transfer, _) = transfer.chunk(&chunk(2, 1, &blob[..7]));
        assert!(matches!(transfer.chunk(&chunk(2, 2, &blob[7..])).1, TransferStep::Complete(_)));
    }

    #[test]
    fn a_wrong_digest_leaves_the_old_roster() {
        let wanted = roster(2);
        let mut blob = wanted.to_blob();
        blob[5] ^= 1;
        let failed = |error| TransferStep::Failed { version: 3, error };
        let transfer = receiving(&wanted, 3, 1);
        assert_eq!(transfer.clone().chunk(&chunk(1, 1, &blob)).1, failed(RosterError::Digest));
        let long = [&wanted.to_blob()[..], b"x"].concat();
        assert_eq!(transfer.clone().chunk(&chunk(1, 1, &long)).1, failed(RosterError::Digest));
        assert_eq!(transfer.chunk(&chunk(1, 0, b"")), (RosterTransfer::Idle, TransferStep::Cancelled));
        let mut impossible = header(&wanted, 3, 1);
        impossible.header.file_inv.file_size = i64::MAX;
        assert_eq!(RosterTransfer::Idle.header(impossible, None).1, failed(RosterError::Size));
    }

    #[test]
    fn deltas_move_the_version() {
        assert_eq!(delta_step(None, Some(3)), DeltaStep::Unversioned);
        assert_eq!(delta_step(Some(3), Some(3)), DeltaStep::Current);
        assert_eq!(delta_step(Some(2), Some(3)), DeltaStep::Stale);
        assert_eq!(delta_step(Some(4), Some(3)), DeltaStep::Next(4));
        assert_eq!(delta_step(Some(6), Some(3)), DeltaStep::Gap { version: 6, held: 3 });
        assert_eq!(delta_step(Some(1), None), DeltaStep::Next(1));
        assert_eq!(delta_step(Some(i64::MAX), Some(i64::MAX)), DeltaStep::Current);
    }

    #[test]
    fn a_relay_serves_a_roster_once() {
        assert!(serves_request(5, Some(3), None) && serves_request(5, Some(3), Some(4)));
        assert!(!serves_request(5, Some(5), None) && !serves_request(5, Some(3), Some(5)));
        assert!(serves_request(0, None, None) && !serves_request(0, None, Some(0)));
    }

    proptest! {
        #[test]
        fn records_fail_softly(bytes: Vec<u8>) {
            let _ = RosterTransfer::from_bytes(&bytes);
        }

        #[test]
        fn any_chunks_are_survived(pieces in prop::collection::vec((0_u8..4, prop::collection::vec(any::<u8>(), 0..100)), 0..20)) {
            let mut transfer = receiving(&roster(1), 1, 1);
            for (number, bytes) in pieces {
                let (next, step) = transfer.chunk(&chunk(1, number, &bytes));
                prop_assert!(!matches!(step, TransferStep::Complete(_)));
                transfer = next;
            }
        }
    }
}
