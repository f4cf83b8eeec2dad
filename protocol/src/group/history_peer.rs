//! Whom a relay lets read a group's history as another relay of the group (docs/protocol.md §5, "A relay is filled").
//!
//! The request shows the fixed data of the asking relay's link. The group link, which an owner signs, lists that link; a
//! link is the hash of those data; and they hold the key that signs the request. So the request is of a relay of this
//! group, or of nobody, and nothing has to be fetched to see it. It names the relay that is asked, which alone can read
//! it: no relay can use it at another.

use thiserror::Error;

use super::event::history::HistoryPeer;
use super::event::{Event, Message, MessageError};
use super::identity::{MemberId, MemberKey, PublicGroupId};
use super::signed::{SignatureState, Statement, StatementError, sign};
use crate::agent::signed_link_data::LinkCreator;
use crate::crypto::sign::Ed25519PrivateKey;
use crate::smp::short_link::ShortLink;

/// Why a request is refused; the asking relay reads these words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PeerRefused {
    /// Not such a request.
    #[error("the request is not one to read the history: {0}")]
    Malformed(#[from] StatementError),
    /// Another event.
    #[error("the request is not one to read the history")]
    NotAsked,
    /// The request was made to another relay.
    #[error("the request was made to another relay")]
    OtherRelay,
    /// No listed link has these data, or not this key and id.
    #[error("the group link lists no relay that this request is of: ask again when it does")]
    NotListed,
    /// The signature is not by the key of the listed link.
    #[error("the signature of the request is not valid")]
    NotProven,
}

impl PeerRefused {
    /// The stable word for programs.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Malformed(_) | Self::NotAsked => "request",
            Self::OtherRelay => "other_relay",
            Self::NotListed => "not_listed",
            Self::NotProven => "not_proven",
        }
    }
}

impl From<MessageError> for PeerRefused {
    fn from(error: MessageError) -> Self {
        Self::Malformed(error.into())
    }
}

/// The request of the relay whose link in `group` has this key.
#[must_use]
pub fn request(key: &Ed25519PrivateKey, group: &PublicGroupId, peer: HistoryPeer) -> Vec<u8> {
    let member = peer.member_id.clone();
    sign(key, group, &member, &Message::new(None, Event::HistoryPeer(peer)).to_json())
}

/// Whether the information of a contact request is such a request, whatever it is worth.
#[must_use]
pub fn is_request(info: &[u8]) -> bool {
    let said = Statement::parse(info).ok().and_then(|said| said.message().ok());
    said.is_some_and(|said| matches!(said.event, Event::HistoryPeer(_)))
}

/// Checks the information of a contact request to the link of `relay` for `group`, whose link lists the relays `listed`.
/// Gives who asks.
///
/// # Errors
/// [`PeerRefused`].
pub fn check_request(
    info: &[u8],
    group: &PublicGroupId,
    relay: &MemberId,
    listed: &[ShortLink],
) -> Result<MemberId, PeerRefused> {
    let statement = Statement::parse(info).map_err(StatementError::from)?;
    let Event::HistoryPeer(peer) = statement.message()?.event else { return Err(PeerRefused::NotAsked) };
    if peer.via_relay != *relay {
        return Err(PeerRefused::OtherRelay);
    }
    let creator = listed.iter().find_map(|link| LinkCreator::open(link, &peer.link_data).ok());
    let creator = creator.ok_or(PeerRefused::NotListed)?;
    if creator.link_entity_id.as_deref() != Some(peer.member_id.as_bytes()) || peer.member_id == *relay {
        return Err(PeerRefused::NotListed);
    }
    match statement.check(group, &peer.member_id, Some(&MemberKey(creator.root_key))) {
        SignatureState::Verified => Ok(peer.member_id),
        _ => Err(PeerRefused::NotProven),
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;
    use crate::agent::address_draft::{AddressDraft, AddressPlan};
    use crate::smp::short_link::LinkType;

    fn id(text: &str) -> MemberId {
        MemberId::new(text).unwrap()
    }

    fn group(byte: u8) -> PublicGroupId {
        PublicGroupId::new([byte; 32]).unwrap()
    }

    /// The link of a relay with this id and key.
    fn link(relay: &str, byte: u8) -> AddressDraft {
        let server = "smp://SJ-3QErjPY0_mrD9fMGu68OWOO5jXxjMC4H6nLva9EY=@a.example";
        let plan = AddressPlan {
            server: server.parse().unwrap(),
            link_type: LinkType::Group,
            root_key: Ed25519PrivateKey::from_seed(&[byte; 32]),
            link_entity_id: Some(id(relay).as_bytes().to_vec()),
            client_data: None,
        };
        AddressDraft::new(plan, &mut rand::rngs::StdRng::seed_from_u64(byte.into())).unwrap()
    }

    fn ask(of: &AddressDraft, member: &str, via: &str, group_byte: u8) -> Vec<u8> {
        let link_data = of.fixed_blob().to_vec();
        let peer = HistoryPeer { member_id: id(member), via_relay: id(via), link_data };
        request(of.root_key(), &group(group_byte), peer)
    }

    fn check(info: &[u8], listed: &[&AddressDraft]) -> Result<MemberId, PeerRefused> {
        let listed: Vec<_> = listed.iter().map(|draft| draft.short_link()).collect();
        check_request(info, &group(1), &id("old"), &listed)
    }

    #[test]
    fn a_listed_relay_reads() {
        let (old, new) = (link("old", 1), link("new", 2));
        let info = ask(&new, "new", "old", 1);
        assert!(is_request(&info));
        assert_eq!(check(&info, &[&old, &new]), Ok(id("new")));
    }

    #[test]
    fn nobody_else_does() {
        let (old, new, other) = (link("old", 1), link("new", 2), link("new", 3));
        let asked = ask(&new, "new", "old", 1);
        assert_eq!(check(&asked, &[&old]), Err(PeerRefused::NotListed), "not listed, or not any more");
        assert_eq!(check(&asked, &[&old, &other]), Err(PeerRefused::NotListed));
        // By somebody who read the link's data as everybody can.
        let link_data = new.fixed_blob().to_vec();
        let peer = HistoryPeer { member_id: id("new"), via_relay: id("old"), link_data };
        let by_other = request(other.root_key(), &group(1), peer.clone());
        assert_eq!(check(&by_other, &[&new]), Err(PeerRefused::NotProven));
        let unsigned = Message::new(None, Event::HistoryPeer(peer)).to_json();
        assert_eq!(check(&unsigned, &[&new]), Err(PeerRefused::NotProven));
        assert_eq!(check(&ask(&new, "ann", "old", 1), &[&new]), Err(PeerRefused::NotListed));
        assert_eq!(check(&ask(&old, "old", "old", 1), &[&old]), Err(PeerRefused::NotListed), "itself");
    }

    #[test]
    fn it_cannot_be_used_at_another_relay_or_in_another_group() {
        let new = link("new", 2);
        assert_eq!(check(&ask(&new, "new", "third", 1), &[&new]), Err(PeerRefused::OtherRelay));
        assert_eq!(check(&ask(&new, "new", "old", 2), &[&new]), Err(PeerRefused::NotProven));
    }

    #[test]
    fn anything_else_is_refused() {
        assert_eq!(check(br#"{"event":"x.ok"}"#, &[]), Err(PeerRefused::NotAsked));
        assert!(matches!(check(b"", &[]), Err(PeerRefused::Malformed(_))));
        assert!(!is_request(b"") && !is_request(br#"{"event":"x.ok"}"#));
    }
}
