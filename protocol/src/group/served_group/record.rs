//! [`ServedLife`] at rest: a tag per status with what belongs to it, then `since`, `tried_at` and `tries`.

use super::{ServedLife, ServedStatus};
use crate::encoding::{Decode, DecodeError, Encode, Reader, put_short};
use crate::group::served_end::{Refusal, ServiceEnd};
use crate::timestamp::Timestamp;

impl Encode for ServedLife {
    fn encode(&self, out: &mut Vec<u8>) {
        match self.status {
            ServedStatus::ReadingLink => out.push(b'I'),
            ServedStatus::CreatingLink => out.push(b'L'),
            ServedStatus::Accepted => out.push(b'C'),
            ServedStatus::AcknowledgedRoster => out.push(b'R'),
            ServedStatus::Active { misses } => {
                out.push(b'A');
                out.extend_from_slice(&misses.to_be_bytes());
            }
            ServedStatus::Delisted => out.push(b'D'),
            ServedStatus::Unlinked => out.push(b'U'),
            ServedStatus::Inactive(end) => {
                out.push(b'E');
                put_short(out, end.word().as_bytes());
            }
            ServedStatus::Refused(refusal) => {
                out.push(b'X');
                put_short(out, refusal.word().as_bytes());
            }
            ServedStatus::Leaving => out.push(b'V'),
            ServedStatus::Rejected => out.push(b'J'),
            ServedStatus::Gone => out.push(b'G'),
        }
        out.extend_from_slice(&self.since.0.to_be_bytes());
        out.extend_from_slice(&self.tried_at.0.to_be_bytes());
        out.extend_from_slice(&self.tries.to_be_bytes());
    }
}

impl Decode for ServedLife {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let status = match reader.u8()? {
            b'I' => ServedStatus::ReadingLink,
            b'L' => ServedStatus::CreatingLink,
            b'C' => ServedStatus::Accepted,
            b'R' => ServedStatus::AcknowledgedRoster,
            b'A' => ServedStatus::Active { misses: reader.u32()? },
            b'D' => ServedStatus::Delisted,
            b'U' => ServedStatus::Unlinked,
            b'E' => ServedStatus::Inactive(ServiceEnd::from_word(reader.text()?)?),
            b'X' => ServedStatus::Refused(Refusal::from_word(reader.text()?)?),
            b'V' => ServedStatus::Leaving,
            b'J' => ServedStatus::Rejected,
            b'G' => ServedStatus::Gone,
            _ => return Err(DecodeError::Invalid("status of a served group")),
        };
        let (since, tried_at) = (Timestamp(reader.i64()?), Timestamp(reader.i64()?));
        Ok(Self { status, since, tried_at, tries: reader.u32()? })
    }
}
