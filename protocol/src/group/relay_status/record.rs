//! [`RelayLife`] at rest: a tag per status with what belongs to it, then `since`, `tried_at` and `tries`.

use super::{RelayLife, RelayStatus};
use crate::encoding::{Decode, DecodeError, Encode, Reader};
use crate::group::relay_end::Ended;
use crate::timestamp::Timestamp;

impl Encode for RelayLife {
    fn encode(&self, out: &mut Vec<u8>) {
        match self.status {
            RelayStatus::New => out.push(b'N'),
            RelayStatus::Invited => out.push(b'I'),
            RelayStatus::ReadingLink => out.push(b'L'),
            RelayStatus::Connecting => out.push(b'C'),
            RelayStatus::AwaitingAck { version } => {
                out.push(b'W');
                out.extend_from_slice(&version.to_be_bytes());
            }
            RelayStatus::Listing => out.push(b'P'),
            RelayStatus::AcknowledgedRoster => out.push(b'R'),
            RelayStatus::Active => out.push(b'A'),
            RelayStatus::Inactive(end) => out.extend([b'E', end.tag()]),
            RelayStatus::Rejected(end) => out.extend([b'X', end.tag()]),
        }
        out.extend_from_slice(&self.since.0.to_be_bytes());
        out.extend_from_slice(&self.tried_at.0.to_be_bytes());
        out.extend_from_slice(&self.tries.to_be_bytes());
    }
}

impl Decode for RelayLife {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let status = match reader.u8()? {
            b'N' => RelayStatus::New,
            b'I' => RelayStatus::Invited,
            b'L' => RelayStatus::ReadingLink,
            b'C' => RelayStatus::Connecting,
            b'W' => RelayStatus::AwaitingAck { version: reader.i64()? },
            b'P' => RelayStatus::Listing,
            b'R' => RelayStatus::AcknowledgedRoster,
            b'A' => RelayStatus::Active,
            b'E' => RelayStatus::Inactive(Ended::from_tag(reader.u8()?)?),
            b'X' => RelayStatus::Rejected(Ended::from_tag(reader.u8()?)?),
            _ => return Err(DecodeError::Invalid("relay status")),
        };
        let (since, tried_at) = (Timestamp(reader.i64()?), Timestamp(reader.i64()?));
        Ok(Self { status, since, tried_at, tries: reader.u32()? })
    }
}
