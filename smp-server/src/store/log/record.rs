//! The layout of a segment of the log.
//!
//! ```text
//! segment = magic (8) log (8) nonce (8) number (4) crc (4), then groups; unused space is zero
//! group   = nonce (8) sequence (8) length (4) crc (4), then `length` bytes of records
//! record  = crc (4) length (4) kind (1) flags (1) zero (2) target (4)
//!           queue (8) number (8) time (8) id (24), then `length` bytes of body
//! ```
//!
//! Numbers are big-endian. The checksum of a header covers what stands before it, that of a record what follows it.
//! What was committed together is one group. The nonce is drawn for each segment and never told to anybody, so that
//! no body can pass for the header of a group. A group without records confirms that those before it reached the
//! disk: whatever does not read well before it is damage, and no write that was cut short.

use protocol::smp::ids::MessageId;
use protocol::timestamp::Timestamp;

use crate::store::QueueNumber;

/// The length of a segment's header.
pub(super) const SEGMENT_HEADER_BYTES: usize = 32;
/// The length of a group's header.
pub(super) const GROUP_HEADER_BYTES: usize = 24;
/// The length of a record without its body.
pub(super) const RECORD_HEADER_BYTES: usize = 64;
/// The largest body that a record may have, beyond what the protocol allows (smp.md §19); bounds what is read at once.
pub(super) const BODY_BYTES_MAX: u32 = 1 << 16;

const MAGIC: [u8; 8] = *b"smplog\x00\x01";

/// The number of a segment; 0 in a record means the segment that the record is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SegmentNumber(pub(crate) u32);

impl SegmentNumber {
    /// In the target of a removal: the segment that holds the record itself.
    pub(super) const SAME: Self = Self(0);
}

/// Who a log is: its database knows it too, so that the two are not mixed with those of another server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogId(pub(crate) [u8; 8]);

/// What stands at the beginning of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) log: LogId,
    pub(super) nonce: [u8; 8],
    pub(super) number: SegmentNumber,
}

impl SegmentHeader {
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(SEGMENT_HEADER_BYTES);
        out.extend(MAGIC);
        out.extend(self.log.0);
        out.extend(self.nonce);
        out.extend(self.number.0.to_be_bytes());
        out.extend(crc32fast::hash(&out).to_be_bytes());
        out
    }

    pub(super) fn parse(mut bytes: &[u8]) -> Option<Self> {
        let crc = crc32fast::hash(bytes.get(..SEGMENT_HEADER_BYTES.checked_sub(4)?)?);
        if take(&mut bytes)? != MAGIC {
            return None;
        }
        let header = Self {
            log: LogId(take(&mut bytes)?),
            nonce: take(&mut bytes)?,
            number: SegmentNumber(u32::from_be_bytes(take(&mut bytes)?)),
        };
        (u32::from_be_bytes(take(&mut bytes)?) == crc).then_some(header)
    }
}

/// What stands before the records of one commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GroupHeader {
    pub(super) nonce: [u8; 8],
    /// Counted within the segment, from 1.
    pub(super) sequence: u64,
    /// Of all its records.
    pub(super) length: u32,
}

impl GroupHeader {
    pub(super) fn to_bytes(self) -> [u8; GROUP_HEADER_BYTES] {
        let mut out = [0; GROUP_HEADER_BYTES];
        let fields =
            self.nonce.into_iter().chain(self.sequence.to_be_bytes()).chain(self.length.to_be_bytes());
        for (byte, value) in out.iter_mut().zip(fields) {
            *byte = value;
        }
        let [fields @ .., a, b, c, d] = &mut out;
        [*a, *b, *c, *d] = crc32fast::hash(fields).to_be_bytes();
        out
    }

    pub(super) fn parse(mut bytes: &[u8]) -> Option<Self> {
        let crc = crc32fast::hash(bytes.get(..GROUP_HEADER_BYTES.checked_sub(4)?)?);
        let header = Self {
            nonce: take(&mut bytes)?,
            sequence: u64::from_be_bytes(take(&mut bytes)?),
            length: u32::from_be_bytes(take(&mut bytes)?),
        };
        (u32::from_be_bytes(take(&mut bytes)?) == crc).then_some(header)
    }
}

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A message came to the end of the queue.
    Message,
    /// The marker of a full queue came to its end.
    Marker,
    /// All of the queue up to this number is gone.
    Removal,
}

/// A record without its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) kind: Kind,
    pub(super) notify: bool,
    /// The segment whose records a removal removes.
    pub(super) target: SegmentNumber,
    /// Of the body.
    pub(super) length: u32,
    pub(super) queue: QueueNumber,
    /// Rises with every message of the log; copies keep it.
    pub(super) number: u64,
    pub(super) received_at: Timestamp,
    pub(super) id: MessageId,
}

impl Record {
    /// Appends the record with its body.
    pub(super) fn put(&self, body: &[u8], out: &mut Vec<u8>) {
        let header = self.fields();
        let mut crc = crc32fast::Hasher::new();
        crc.update(&header);
        crc.update(body);
        out.extend(crc.finalize().to_be_bytes());
        out.extend(header);
        out.extend(body);
    }

    fn fields(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(RECORD_HEADER_BYTES);
        out.extend(self.length.to_be_bytes());
        out.push(match self.kind {
            Kind::Message => 1,
            Kind::Marker => 2,
            Kind::Removal => 3,
        });
        out.push(u8::from(self.notify));
        out.extend([0; 2]);
        out.extend(self.target.0.to_be_bytes());
        out.extend(self.queue.0.to_be_bytes());
        out.extend(self.number.to_be_bytes());
        out.extend(self.received_at.0.to_be_bytes());
        out.extend(self.id.0);
        out
    }

    /// The header alone, for an index: its own checksum in place of the record's.
    pub(super) fn header(&self) -> Vec<u8> {
        let mut out = vec![0; 4];
        out.extend(self.fields());
        out
    }

    /// Reads a header without looking at its checksum.
    pub(super) fn parse_header(mut bytes: &[u8]) -> Option<Self> {
        let _crc: [u8; 4] = take(&mut bytes)?;
        let length = u32::from_be_bytes(take(&mut bytes)?);
        let [kind, flags, 0, 0] = take(&mut bytes)? else { return None };
        Some(Self {
            kind: match kind {
                1 => Kind::Message,
                2 => Kind::Marker,
                3 => Kind::Removal,
                _ => return None,
            },
            notify: match flags {
                0 => false,
                1 => true,
                _ => return None,
            },
            target: SegmentNumber(u32::from_be_bytes(take(&mut bytes)?)),
            length,
            queue: QueueNumber(i64::from_be_bytes(take(&mut bytes)?)),
            number: u64::from_be_bytes(take(&mut bytes)?),
            received_at: Timestamp(i64::from_be_bytes(take(&mut bytes)?)),
            id: MessageId(take(&mut bytes)?),
        })
    }

    /// Reads the record at the beginning of `bytes` with its body, if its checksum is right; gives what follows too.
    pub(super) fn parse(bytes: &[u8]) -> Option<(Self, &[u8], &[u8])> {
        let record = Self::parse_header(bytes)?;
        let length = usize::try_from(record.length).ok()?;
        let (whole, rest) = bytes.split_at_checked(RECORD_HEADER_BYTES.checked_add(length)?)?;
        let (crc, covered) = whole.split_first_chunk()?;
        (crc32fast::hash(covered) == u32::from_be_bytes(*crc)).then_some(())?;
        Some((record, whole.get(RECORD_HEADER_BYTES..)?, rest))
    }

    /// Its whole length with the body.
    pub(super) fn bytes(&self) -> u32 {
        (RECORD_HEADER_BYTES as u32).saturating_add(self.length)
    }
}

/// The next bytes.
pub(super) fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            kind: Kind::Message,
            notify: true,
            target: SegmentNumber::SAME,
            length: 4,
            queue: QueueNumber(0x0102),
            number: 7,
            received_at: Timestamp(9),
            id: MessageId([5; 24]),
        }
    }

    #[test]
    fn records_are_written_as_described() {
        let mut bytes = Vec::new();
        record().put(b"body", &mut bytes);
        let (crc, rest) = bytes.split_first_chunk().unwrap();
        assert_eq!(u32::from_be_bytes(*crc), crc32fast::hash(rest));
        let expected = [
            &[0, 0, 0, 4, 1, 1, 0, 0, 0, 0, 0, 0][..],
            &[0, 0, 0, 0, 0, 0, 1, 2],
            &[0, 0, 0, 0, 0, 0, 0, 7],
            &[0, 0, 0, 0, 0, 0, 0, 9],
            &[5; 24],
            b"body",
        ];
        assert_eq!(rest, expected.concat());
        bytes.extend(b"rest");
        assert_eq!(Record::parse(&bytes), Some((record(), &b"body"[..], &b"rest"[..])));
    }

    #[test]
    fn a_flipped_or_missing_byte_is_seen() {
        let mut whole = Vec::new();
        record().put(b"body", &mut whole);
        let segment = SegmentHeader { log: LogId([1; 8]), nonce: [2; 8], number: SegmentNumber(3) };
        let group = GroupHeader { nonce: [2; 8], sequence: 1, length: 68 };
        assert_eq!(SegmentHeader::parse(&segment.to_bytes()), Some(segment));
        assert_eq!(GroupHeader::parse(&group.to_bytes()), Some(group));
        type Reads = fn(&[u8]) -> bool;
        let parsers: [(Vec<u8>, Reads); 3] = [
            (whole, |bytes| Record::parse(bytes).is_some()),
            (segment.to_bytes(), |bytes| SegmentHeader::parse(bytes).is_some()),
            (group.to_bytes().to_vec(), |bytes| GroupHeader::parse(bytes).is_some()),
        ];
        for (bytes, reads) in parsers {
            assert!(reads(&bytes));
            for position in 0..bytes.len() {
                assert!(!reads(&bytes[..position]), "cut at {position}");
                for bit in 0..8 {
                    let mut flipped = bytes.clone();
                    flipped[position] ^= 1 << bit;
                    assert!(!reads(&flipped), "bit {bit} of byte {position}");
                }
            }
        }
    }
}
