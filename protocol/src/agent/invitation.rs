//! A request at a contact address, as the application keeps it until it accepts or drops it (agent.md §4.8).

use crate::encoding::{Decode, DecodeError, Encode, Reader, put_large};

/// The requester's one-time link. Opaque: the application stores it and gives it back to `accept`.
#[derive(Clone, PartialEq, Eq)]
pub struct Invitation {
    /// The agent version that the requester wrote with.
    pub(crate) agent_version: u16,
    /// The link's text, verbatim.
    pub(crate) link: String,
}

/// The link lets whoever has it answer in our place: not shown.
impl std::fmt::Debug for Invitation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Invitation(agent version {}, [scrubbed])", self.agent_version)
    }
}

impl Encode for Invitation {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.agent_version.to_be_bytes());
        put_large(out, self.link.as_bytes());
    }
}

impl Decode for Invitation {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let agent_version = reader.u16()?;
        let link = std::str::from_utf8(reader.large()?).map_err(|_| DecodeError::Invalid("invitation"))?;
        Ok(Self { agent_version, link: link.to_owned() })
    }
}
