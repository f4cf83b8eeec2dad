//! Contact addresses: queues that anybody writes to, with link data that say what they are for (agent.md §3.8, §4.8).

use crate::crash_point;
use crate::crypto::hash::sha256;
use crate::encoding::Encode as _;

use super::address_draft::AddressDraft;
use super::connection::{Phase, Step};
use super::connection_request::ConnectionRequest;
use super::error::AgentError;
use super::event::{Event, Refusal};
use super::invitation::Invitation;
use super::job::Task;
use super::link_data::UserLinkData;
use super::queue::ReceiveQueue;
use super::record::Connection;
use super::store::{AgentStore, ConnectionId};
use super::{Agent, Outcome};

impl<S: AgentStore> Agent<'_, S> {
    pub(super) fn start_address(
        &mut self,
        draft: AddressDraft,
        data: &UserLinkData,
    ) -> Outcome<ConnectionId, S> {
        let user_data = draft.seal_user_data(data, self.rng).map_err(AgentError::LinkData)?;
        let receive = ReceiveQueue::with_dh_key(draft.server().clone(), draft.dh_key().clone(), self.rng);
        let agent_version = super::connection_request::AGENT_VERSIONS.max();
        let mut connection = Connection::new(Phase::AddressCreating, agent_version, receive);
        connection.address = Some(draft);
        let id = self.insert(&connection)?;
        self.push(id, Task::CreateQueue { user_data: Some(user_data) })?;
        Ok(id)
    }

    /// Keys and ids of the link stay, so whoever has the link finds the address again; those of the queue's owner are new.
    pub(super) fn restart_address(&mut self, id: ConnectionId, data: &UserLinkData) -> Outcome<(), S> {
        let mut connection = self.load(id)?;
        let address = connection.address.clone().ok_or(AgentError::NotAllowedNow(id))?;
        if connection.phase != Phase::Failed {
            return Err(AgentError::NotAllowedNow(id));
        }
        let user_data = address.seal_user_data(data, self.rng).map_err(AgentError::LinkData)?;
        let (server, dh_key) = (address.server().clone(), address.dh_key().clone());
        connection.receive = ReceiveQueue::with_dh_key(server, dh_key, self.rng);
        self.step(id, &mut connection, Step::AddressAgain, Vec::new())?;
        self.save(id, &connection)?;
        self.push(id, Task::CreateQueue { user_data: Some(user_data) })
    }

    pub(super) fn queue_link_data(&mut self, id: ConnectionId, data: &UserLinkData) -> Outcome<(), S> {
        let connection = self.load(id)?;
        let is_address = matches!(connection.phase, Phase::AddressCreating | Phase::Address);
        let address = connection.address.filter(|_| is_address).ok_or(AgentError::NotAllowedNow(id))?;
        let user_data = address.seal_user_data(data, self.rng).map_err(AgentError::LinkData)?;
        self.push(id, Task::SetLinkData { user_data })
    }

    /// A request came. The same one may come again, when its sender did not learn that it had arrived: it is
    /// known by the queue that it names.
    pub(super) fn request_received(
        &mut self,
        id: ConnectionId,
        agent_version: u16,
        link: String,
        info: Vec<u8>,
    ) -> Outcome<(), S> {
        let Ok(ConnectionRequest::Invitation { data, .. }) = link.parse() else {
            self.ignore(id, Refusal::Malformed);
            return Ok(());
        };
        let location = data.queue().address.location();
        let name = sha256(&[&b"request:"[..], &location.to_bytes()].concat());
        if self.knows(id, &name)? {
            return Ok(());
        }
        self.store.remember_hash(id, &name, self.now).map_err(AgentError::Store)?;
        crash_point!("agent.request.received");
        self.tell(id, Event::Request { invitation: Invitation { agent_version, link }, info });
        Ok(())
    }
}
