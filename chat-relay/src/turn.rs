//! What a handler works with: the store inside its transaction, the agent, and the network's wishes.

use std::collections::BTreeSet;

use protocol::agent::address_draft::AddressDraft;
use protocol::agent::error::AgentError;
use protocol::agent::invitation::Invitation;
use protocol::agent::link_data::UserLinkData;
use protocol::agent::store::ConnectionId;
use protocol::agent::{Agent, Body};
use protocol::crypto::hash::sha256;
use protocol::crypto::sign::Ed25519PrivateKey;
use protocol::encoding::{Decode, DecodeError, Encode as _};
use protocol::group::batch::{self, Element};
use protocol::group::event::{Event, Message};
use protocol::group::identity::MemberRole;
use protocol::group::msg_id::SharedMessageId;
use protocol::net::engine::{Context, Fatal, LinkTag};
use protocol::smp::address::ServerAddressWithAuth;
use protocol::smp::short_link::ShortLink;
use protocol::timestamp::Timestamp;

use crate::config::{JoinerRole, Limits};
use crate::delivery::worker::Turns;
use crate::identity::RelayIdentity;
use crate::operation::Operation;
use crate::steps::Step;
use crate::store::records::{GroupId, Purpose, ServedGroup};
use crate::store::{RelayStore, StoreError};

/// One handler's view of the relay: everything it does here is one transaction with the other handlers of its batch.
pub struct Turn<'a, 'c, S: RelayStore> {
    /// The relay's rows.
    pub store: &'a mut S,
    /// Who we are.
    pub identity: &'a RelayIdentity,
    /// Limits, intervals and timeouts.
    pub limits: &'a Limits,
    /// The operator's rules, and what is counted for the operator.
    pub operation: &'a mut Operation,
    pub(crate) context: &'a mut Context<'c>,
    pub(crate) steps: &'a mut Vec<Step>,
    /// Links that are being read.
    pub(crate) reading: &'a mut BTreeSet<LinkRead>,
    /// Groups that may have something to hand out.
    pub(crate) turns: &'a mut Turns,
}

/// A link that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkRead {
    /// A group's own.
    Group(GroupId),
    /// That of another relay of the group, by the digest of its text.
    Peer(GroupId, [u8; 32]),
}

impl LinkRead {
    /// For which group.
    #[must_use]
    pub const fn group(self) -> GroupId {
        match self {
            Self::Group(group) | Self::Peer(group, _) => group,
        }
    }

    /// As the tag of the read.
    #[must_use]
    pub fn to_tag(self) -> LinkTag {
        LinkTag(match self {
            Self::Group(group) => group.0.to_be_bytes().to_vec(),
            Self::Peer(group, link) => [&group.0.to_be_bytes()[..], &link].concat(),
        })
    }

    /// What a tag stands for.
    ///
    /// # Errors
    /// When it is none of ours.
    pub fn from_tag(tag: &LinkTag) -> Result<Self, DecodeError> {
        let unknown = || DecodeError::Invalid("link tag");
        let (group, link) = tag.0.split_first_chunk().ok_or_else(unknown)?;
        let group = GroupId(i64::from_be_bytes(*group));
        match link {
            [] => Ok(Self::Group(group)),
            link => Ok(Self::Peer(group, link.try_into().map_err(|_| unknown())?)),
        }
    }
}

impl<S: RelayStore> Turn<'_, '_, S> {
    /// The moment of the batch.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.context.now()
    }

    /// Asks to be woken.
    pub fn wake_at(&mut self, moment: Timestamp) {
        self.context.wake_at(moment);
    }

    /// A random number of milliseconds up to `ms_max`.
    pub fn jitter_ms(&mut self, ms_max: i64) -> i64 {
        let range = ms_max.unsigned_abs().saturating_add(1);
        let drawn = rand_core::Rng::next_u64(self.context.rng()).checked_rem(range).unwrap_or(0);
        i64::try_from(drawn).unwrap_or(0)
    }

    /// Marks a step: see [`crate::steps`].
    pub fn reached(&mut self, step: Step) {
        step.taken();
        self.steps.push(step);
    }

    /// Reads a link, unless it is being read or too many are: a deadline will ask again.
    pub fn read_link(&mut self, what: LinkRead, link: &ShortLink) {
        let room = usize::try_from(self.limits.reads_at_once).unwrap_or(usize::MAX);
        if self.reading.len() < room && self.reading.insert(what) {
            self.context.read_link(what.to_tag(), link.clone());
        }
    }

    /// A fresh message id.
    pub fn message_id(&mut self) -> SharedMessageId {
        SharedMessageId::generate(self.context.rng())
    }

    /// Draws a key.
    pub fn signing_key(&mut self) -> Ed25519PrivateKey {
        Ed25519PrivateKey::generate(self.context.rng())
    }

    /// An event of ours as a JSON message with a fresh id.
    pub fn compose(&mut self, event: Event) -> Vec<u8> {
        Message::new(Some(self.message_id()), event).to_json()
    }

    /// Answers a request at an address. Nothing comes of it when the peer's versions cannot be met.
    ///
    /// # Errors
    /// When the store fails.
    pub fn accept(
        &mut self,
        invitation: &Invitation,
        info: Event,
        purpose: Purpose,
        until: Option<Timestamp>,
    ) -> Result<Option<ConnectionId>, Fatal> {
        let info = Message::new(None, info).to_json();
        let server = self.identity.server.clone();
        let accepted = self.agent(|agent| agent.accept(invitation, &server, &info));
        let connection = match accepted {
            Ok(connection) => connection,
            Err(error @ (AgentError::Link | AgentError::TooLarge { .. })) => {
                tracing::info!(%error, "a request cannot be answered");
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        self.store.set_purpose(connection, purpose, until)?;
        if let Some(until) = until {
            self.wake_at(until);
        }
        Ok(Some(connection))
    }

    /// Asks for an address to be created.
    ///
    /// # Errors
    /// When the store fails.
    pub fn create_address(
        &mut self,
        draft: AddressDraft,
        data: &UserLinkData,
        purpose: Purpose,
    ) -> Result<ConnectionId, Fatal> {
        let connection = self.agent(|agent| agent.create_address(draft, data))?;
        self.store.set_purpose(connection, purpose, None)?;
        Ok(connection)
    }

    /// A group may have something to hand out: it gets its turn.
    pub fn deliver(&mut self, group: GroupId) {
        self.turns.add(group);
    }

    /// A group has something new to hand out: it gets its turn when that is durable.
    pub fn deliver_after_commit(&mut self, group: GroupId) {
        self.turns.add_after_commit(group);
    }

    /// Sends a body; gives the agent's number of it if the connection takes it now.
    ///
    /// # Errors
    /// When the store fails.
    pub fn send(&mut self, connection: ConnectionId, body: Body<'_>) -> Result<Option<i64>, Fatal> {
        match self.agent(|agent| agent.send(connection, body, false)) {
            Ok(number) => Ok(Some(number)),
            Err(
                error @ (AgentError::NoConnection(_)
                | AgentError::NotAllowedNow(_)
                | AgentError::OutOfSync(_)
                | AgentError::TooLarge { .. }),
            ) => {
                tracing::debug!(%error, "a connection does not take a message now");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Sends elements in order, in as few bodies as they fit: see [`bodies`].
    ///
    /// # Errors
    /// When the store fails.
    pub fn send_elements(&mut self, connection: ConnectionId, elements: &[Vec<u8>]) -> Result<(), Fatal> {
        let (bodies, too_large) = bodies(elements);
        if too_large > 0 {
            tracing::warn!(elements = too_large, "elements are too large to be sent");
        }
        for body in bodies {
            self.send(connection, Body::Inline(&body))?;
        }
        Ok(())
    }

    /// Deletes a connection and its queue; what waits is sent first if asked for. Nothing that still comes counts.
    ///
    /// # Errors
    /// When the store fails.
    pub fn close(&mut self, connection: ConnectionId, after_pending_sends: bool) -> Result<(), Fatal> {
        if self.store.connection(connection)?.is_none() {
            return Ok(());
        }
        self.store.set_purpose(connection, Purpose::Closing, None)?;
        self.agent(|agent| agent.delete(connection, after_pending_sends))?;
        Ok(())
    }

    /// Agrees on new keys with a peer whose messages cannot be decrypted any more.
    ///
    /// # Errors
    /// When the store fails.
    pub fn resync(&mut self, connection: ConnectionId) -> Result<(), Fatal> {
        match self.agent(|agent| agent.resync(connection)) {
            Ok(()) | Err(AgentError::NotAllowedNow(_) | AgentError::NoConnection(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The role of whoever joins and stands on no roster: as set, else what suits the kind of group.
    #[must_use]
    pub fn joiner_role(&self, group: &ServedGroup) -> MemberRole {
        let kind = group.identity.as_ref().and_then(|identity| identity.profile.public_group.as_ref());
        match self.identity.joiner_role {
            Some(JoinerRole::Observer) => MemberRole::Observer,
            Some(JoinerRole::Member) => MemberRole::Member,
            None => kind.map_or(MemberRole::Observer, |group| group.group_type.joiner_role()),
        }
    }

    /// Where our queues are made.
    #[must_use]
    pub fn server(&self) -> &ServerAddressWithAuth {
        &self.identity.server
    }

    /// Runs the agent in this transaction; its events and jobs go to the engine.
    pub(crate) fn agent<R>(
        &mut self,
        run: impl FnOnce(&mut Agent<'_, S>) -> Result<R, AgentError<StoreError>>,
    ) -> Result<R, AgentError<StoreError>> {
        run(&mut self.context.agent(self.store))
    }
}

/// The bodies that carry elements in order, and how many elements fit into none (channels.md §6, §14): a piece of a
/// roster fills a body by itself, a single statement goes bare, everything else in batches.
fn bodies(elements: &[Vec<u8>]) -> (Vec<Vec<u8>>, usize) {
    let is_piece = |element: &[u8]| matches!(Element::parse(element), Ok(Element::Chunk(_)));
    let is_statement = |element: &[u8]| matches!(Element::parse(element), Ok(Element::Statement(_)));
    if let [element] = elements
        && is_statement(element)
    {
        return (vec![element.clone()], 0);
    }
    let (mut out, mut too_large) = (Vec::new(), 0);
    for run in elements.chunk_by(|one, next| !is_piece(one) && !is_piece(next)) {
        match run {
            [piece] if is_piece(piece) => out.push(piece.clone()),
            run => {
                let (packed, left_out) = batch::pack(run.iter().map(Vec::as_slice));
                out.extend(packed);
                too_large += left_out.len();
            }
        }
    }
    (out, too_large)
}

/// Reads a stored value that we wrote ourselves.
///
/// # Errors
/// When it was damaged.
pub fn stored<T: Decode>(bytes: &[u8]) -> Result<T, Fatal> {
    Ok(T::from_bytes(bytes)?)
}

/// The bytes under which a request is recognised when a server delivers it again.
#[must_use]
pub fn request_digest(invitation: &Invitation) -> [u8; 32] {
    sha256(&invitation.to_bytes())
}

#[cfg(test)]
mod tests {
    use protocol::group::constants::{MESSAGE_BYTES_MAX, ROSTER_BLOB_BYTES_MAX};
    use protocol::group::forward::{ForwardSender, forward};
    use protocol::group::roster::chunks;
    use protocol::group::signed::Statement;

    use super::*;

    #[test]
    fn pieces_of_a_roster_go_by_themselves_and_forwards_never() {
        let said = br#"{"event":"x.ok"}"#.to_vec();
        let passed_on = forward(&ForwardSender::Channel, Timestamp(0), &Statement::parse(&said).unwrap());
        let id = SharedMessageId::new([1]).unwrap();
        let pieces = chunks(&id, &vec![7; ROSTER_BLOB_BYTES_MAX]);
        assert_eq!(pieces.len(), 2);
        assert!(pieces[0].len() > MESSAGE_BYTES_MAX, "no batch has room for it");

        let mut elements = vec![said.clone(), passed_on.clone()];
        elements.extend(pieces.clone());
        elements.push(passed_on.clone());
        let batch = |elements: &[&[u8]]| batch::pack(elements.iter().copied()).0.remove(0);
        let expected =
            vec![batch(&[&said, &passed_on]), pieces[0].clone(), pieces[1].clone(), batch(&[&passed_on])];
        assert_eq!(bodies(&elements), (expected, 0));
        assert_eq!(bodies(std::slice::from_ref(&said)), (vec![said], 0));
        assert_eq!(bodies(std::slice::from_ref(&passed_on)), (vec![batch(&[&passed_on])], 0));
        assert_eq!(bodies(&[]), (Vec::new(), 0));
    }

    #[test]
    fn tags_come_back() {
        for read in [LinkRead::Group(GroupId(i64::MAX)), LinkRead::Peer(GroupId(-1), [7; 32])] {
            assert_eq!(LinkRead::from_tag(&read.to_tag()), Ok(read));
        }
        for wrong in [&b"short"[..], b"of another length"] {
            assert!(LinkRead::from_tag(&LinkTag(wrong.to_vec())).is_err());
        }
    }
}
