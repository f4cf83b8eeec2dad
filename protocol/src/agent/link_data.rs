//! The two parts of a link's data, before they are signed and sealed (smp.md §15.1, agent.md §3.7).
//!
//! ```text
//! fixed = range(4) short(SPKI Ed25519 root key) connection-request [short(link entity id)] *ignored
//! user  = "I" range(4) user-data *ignored
//!       / "C" range(4) direct(bool) list owner  list short-link  user-data *ignored
//! user-data = short(up to 254 bytes) / 0xFF large(bytes)
//! ```

use super::connection_request::{AGENT_VERSIONS, ConnectionRequest};
use super::owner_auth::OwnerAuth;
use crate::crypto::sign::Ed25519PublicKey;
use crate::encoding::{Decode, DecodeError, Encode, Reader, put_bool, put_large, put_list, put_short};
use crate::smp::short_link::ShortLink;
use crate::version::VersionRange;

/// The immutable part: its hash is the link key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixedLinkData {
    /// The agent versions of the link's creator.
    pub versions: VersionRange,
    /// Signs both parts, and authorises owners.
    pub root_key: Ed25519PublicKey,
    /// How to reach the link's creator.
    pub request: ConnectionRequest,
    /// What the application binds to the link, at most 255 bytes.
    pub link_entity_id: Option<Vec<u8>>,
}

impl Encode for FixedLinkData {
    fn encode(&self, out: &mut Vec<u8>) {
        self.versions.encode(out);
        self.root_key.encode(out);
        self.request.encode(out);
        if let Some(id) = &self.link_entity_id {
            put_short(out, id);
        }
    }
}

impl Decode for FixedLinkData {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let data = Self {
            versions: VersionRange::decode(reader)?,
            root_key: Ed25519PublicKey::decode(reader)?,
            request: ConnectionRequest::decode(reader)?,
            link_entity_id: reader.attempt(Reader::short).map(<[u8]>::to_vec),
        };
        reader.tail();
        Ok(data)
    }
}

/// The mutable part of a contact link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserLinkData {
    /// The agent versions of who wrote it.
    pub versions: VersionRange,
    /// Whether requests may be sent to the queue of the fixed part. Members of a group use the relays instead.
    pub direct: bool,
    /// Who may sign this part besides the root key.
    pub owners: Vec<OwnerAuth>,
    /// Contact links of relays to connect to.
    pub relays: Vec<ShortLink>,
    /// The application's data.
    pub user_data: Vec<u8>,
}

impl UserLinkData {
    /// The data of a link to be used directly, without owners and relays: a contact or relay address, and a
    /// relay's link for a group.
    #[must_use]
    pub fn direct(user_data: Vec<u8>) -> Self {
        Self { versions: AGENT_VERSIONS, direct: true, owners: Vec::new(), relays: Vec::new(), user_data }
    }

    /// The data of a group link: to be used through relays only.
    #[must_use]
    pub fn group(owners: Vec<OwnerAuth>, relays: Vec<ShortLink>, user_data: Vec<u8>) -> Self {
        Self { versions: AGENT_VERSIONS, direct: false, owners, relays, user_data }
    }
}

impl Encode for UserLinkData {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(b'C');
        self.versions.encode(out);
        put_bool(out, self.direct);
        put_list(out, &self.owners, |out, owner| owner.encode(out));
        put_list(out, &self.relays, |out, relay| relay.encode(out));
        put_user_data(out, &self.user_data);
    }
}

impl Decode for UserLinkData {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.expect(b"C", "contact link data")?;
        let data = Self {
            versions: VersionRange::decode(reader)?,
            direct: reader.bool()?,
            owners: reader.list(OwnerAuth::decode)?,
            relays: reader.list(read_relay)?,
            user_data: read_user_data(reader)?,
        };
        reader.tail();
        Ok(data)
    }
}

/// The mutable part of a one-time link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvitationLinkData {
    /// The agent versions of who wrote it.
    pub versions: VersionRange,
    /// The application's data.
    pub user_data: Vec<u8>,
}

impl Encode for InvitationLinkData {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(b'I');
        self.versions.encode(out);
        put_user_data(out, &self.user_data);
    }
}

impl Decode for InvitationLinkData {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.expect(b"I", "invitation link data")?;
        let data = Self { versions: VersionRange::decode(reader)?, user_data: read_user_data(reader)? };
        reader.tail();
        Ok(data)
    }
}

fn read_relay(reader: &mut Reader<'_>) -> Result<ShortLink, DecodeError> {
    match ShortLink::decode(reader)? {
        relay @ ShortLink::Contact { .. } => Ok(relay),
        ShortLink::Invitation { .. } => Err(DecodeError::Invalid("relay link")),
    }
}

/// Announces the long form, so that 255 bytes need it too.
const LONG: u8 = 0xff;

fn put_user_data(out: &mut Vec<u8>, data: &[u8]) {
    if data.len() < usize::from(LONG) {
        put_short(out, data);
    } else {
        out.push(LONG);
        put_large(out, data);
    }
}

fn read_user_data(reader: &mut Reader<'_>) -> Result<Vec<u8>, DecodeError> {
    if reader.peek() == Some(LONG) {
        reader.u8()?;
        return reader.large().map(<[u8]>::to_vec);
    }
    reader.short().map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_data(length: usize) -> UserLinkData {
        UserLinkData::direct(vec![b'x'; length])
    }

    #[test]
    fn user_data_of_255_bytes_takes_the_long_form() {
        for (length, start) in [(0, &[0][..]), (254, &[254]), (255, &[0xff, 0, 255]), (300, &[0xff, 1, 0x2c])]
        {
            let bytes = with_data(length).to_bytes();
            assert!(bytes[1 + 4 + 1 + 1 + 1..].starts_with(start), "{length}");
            assert_eq!(UserLinkData::from_bytes(&bytes), Ok(with_data(length)));
        }
    }

    #[test]
    fn bytes_of_later_versions_are_ignored() {
        let data = with_data(3);
        let bytes = [data.to_bytes(), b"later".to_vec()].concat();
        assert_eq!(UserLinkData::from_bytes(&bytes), Ok(data));
        let data = InvitationLinkData { versions: AGENT_VERSIONS, user_data: vec![1] };
        let bytes = [data.to_bytes(), b"later".to_vec()].concat();
        assert_eq!(InvitationLinkData::from_bytes(&bytes), Ok(data));
    }

    #[test]
    fn the_kinds_are_told_apart() {
        assert!(InvitationLinkData::from_bytes(&with_data(1).to_bytes()).is_err());
        let invitation = InvitationLinkData { versions: AGENT_VERSIONS, user_data: vec![] };
        assert!(UserLinkData::from_bytes(&invitation.to_bytes()).is_err());
    }
}
