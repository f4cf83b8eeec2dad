//! Somebody who speaks the protocol by its library alone, and whom no program of ours keeps honest.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use protocol::agent::address_draft::{AddressDraft, AddressPlan};
use protocol::agent::connection_request::ConnectionRequest;
use protocol::agent::event::Event;
use protocol::agent::link_data::UserLinkData;
use protocol::agent::memory::MemoryStore;
use protocol::agent::request::{OwnQueue, Request, RequestOutcome, ServerMessage, Work};
use protocol::agent::signed_link_data::OpenedLink;
use protocol::agent::store::ConnectionId;
use protocol::agent::{Agent, Body, Lane};
use protocol::crypto::sign::Ed25519PrivateKey;
use protocol::group::event::content::Acknowledge;
use protocol::group::event::joining::{Info, Join};
use protocol::group::event::owner_relay::{MemberIdRole, RelayInvitation, RelayInvite};
use protocol::group::event::{Event as Said, Message};
use protocol::group::identity::{LinkText, MemberId, MemberKey, MemberRole};
use protocol::group::opened::{OpenedGroupLink, OpenedRelayLink};
use protocol::group::profile::Profile;
use protocol::group::relay_test::challenge;
use protocol::group::signed::{Statement, sign};
use protocol::net::clock;
use protocol::net::error::CallError;
use protocol::net::network::{
    Limits, Network, NetworkEvent, NetworkEvents, Subscription, Ticket, link_answer, link_request,
};
use protocol::net::rng::system_rng;
use protocol::smp::address::ServerAddressWithAuth;
use protocol::smp::command::Command;
use protocol::smp::error::ErrorType;
use protocol::smp::key::AuthPrivateKey;
use protocol::smp::response::BrokerMessage;
use protocol::smp::short_link::ShortLink;
use tokio::runtime::Runtime;

use crate::process::PATIENCE;

/// A server that is out of reach is asked again after this time: it may be on its way back.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// An agent in memory, with a network. Servers may be killed and started again meanwhile.
#[derive(Debug)]
pub struct Stranger {
    runtime: Runtime,
    network: Network,
    happened: NetworkEvents,
    store: MemoryStore,
    events: VecDeque<(ConnectionId, Event)>,
    subscribed: BTreeSet<ConnectionId>,
}

impl Stranger {
    /// Nobody in particular.
    ///
    /// # Errors
    /// When no runtime can be made.
    pub fn new() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (network, happened) = Network::new(Limits::INTERACTIVE, runtime.handle().clone());
        Ok(Self {
            runtime,
            network,
            happened,
            store: MemoryStore::default(),
            events: VecDeque::new(),
            subscribed: BTreeSet::new(),
        })
    }

    /// Makes a contact address with the data that `data` makes of its link, checked by nobody.
    ///
    /// # Errors
    /// When the server refuses it.
    pub fn publish(
        &mut self,
        plan: AddressPlan,
        data: impl FnOnce(&AddressDraft) -> anyhow::Result<UserLinkData>,
    ) -> anyhow::Result<ShortLink> {
        Ok(self.address(plan, data)?.1)
    }

    /// As [`Self::publish`], with what requests come to.
    ///
    /// # Errors
    /// When the server refuses it.
    pub fn address(
        &mut self,
        plan: AddressPlan,
        data: impl FnOnce(&AddressDraft) -> anyhow::Result<UserLinkData>,
    ) -> anyhow::Result<(ConnectionId, ShortLink)> {
        let draft = AddressDraft::new(plan, &mut system_rng())?;
        let (link, data) = (draft.short_link(), data(&draft)?);
        let id = Agent::new(&mut self.store, &mut system_rng(), clock::now()).create_address(draft, &data)?;
        self.work(id)?;
        match self.event(id)? {
            Event::AddressCreated => Ok((id, link)),
            other => bail!("no address: {other:?}"),
        }
    }

    /// Waits for a request at an address of ours, and accepts it with what `info` makes of the requester's words.
    ///
    /// # Errors
    /// When there is none in time, or the requester's queue is gone.
    pub fn accept(
        &mut self,
        address: ConnectionId,
        reply_server: &str,
        info: impl FnOnce(&mut Self, &[u8]) -> anyhow::Result<Vec<u8>>,
    ) -> anyhow::Result<ConnectionId> {
        let (invitation, words) = self.wait_for(address, |event| match event {
            Event::Request { invitation, info } => Some((invitation, info)),
            _ => None,
        })?;
        let reply_server: ServerAddressWithAuth = reply_server.parse().context("Not an address")?;
        let info = info(self, &words)?;
        let mut rng = system_rng();
        let id =
            Agent::new(&mut self.store, &mut rng, clock::now()).accept(&invitation, &reply_server, &info)?;
        self.work(id)?;
        Ok(id)
    }

    /// Waits until a connection that we accepted stands; gives what the peer says of itself.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn connected(&mut self, id: ConnectionId) -> anyhow::Result<Vec<u8>> {
        let info = self.wait_for(id, |event| match event {
            Event::Info { info } => Some(info),
            _ => None,
        })?;
        self.wait_for(id, |event| matches!(event, Event::Connected).then_some(()))?;
        Ok(info)
    }

    /// Joins a group at the first of its relays; gives the connection.
    ///
    /// # Errors
    /// When the relay does not let it in.
    pub fn join(&mut self, group_link: &str, reply_server: &str) -> anyhow::Result<ConnectionId> {
        let (group, opened) = self.group_and_relay(group_link)?;
        let relay = OpenedRelayLink::read(&opened)?;
        let mut rng = system_rng();
        let (id, key) = (MemberId::generate(&mut rng), Ed25519PrivateKey::generate(&mut rng));
        let profile = Profile::named("Stranger");
        let join = Join {
            profile: profile.clone(),
            new_member_id: id.clone(),
            new_member_key: MemberKey(key.public_key()),
            via_relay: Some(relay.member_id),
            entrance: None,
        };
        let join = Message::new(None, Said::Join(Box::new(join))).to_json();
        let connection =
            self.request(&opened.request, reply_server, &sign(&key, &group.group, &id, &join))?;
        self.answer(connection)?;
        let info = Message::new(None, Said::Info(Box::new(Info { profile }))).to_json();
        self.complete(connection, &info)?;
        Ok(connection)
    }

    /// Asks a relay in the name of a group's owner, as whoever knows the links can; gives the connection.
    ///
    /// # Errors
    /// When the relay does not answer with its link.
    pub fn claim(
        &mut self,
        group_link: &str,
        relay_address: &str,
        reply_server: &str,
    ) -> anyhow::Result<ConnectionId> {
        let (group, opened) = self.group_and_relay(group_link)?;
        let relay = OpenedRelayLink::read(&opened)?;
        let owner = group.owners.first().context("The group has an owner")?;
        let invitation = RelayInvitation {
            from_member: MemberIdRole { member_id: owner.member_id.clone(), member_role: MemberRole::Owner },
            from_member_profile: Profile::named("Stranger"),
            relay_member_id: relay.member_id,
            group_link: LinkText::from(&group_link.parse::<ShortLink>().context("Not a link")?),
            invitation_code: None,
            history: None,
        };
        let invite = Said::RelayInvite(Box::new(RelayInvite { group_relay_invitation: invitation }));
        let address = self.read(relay_address)?;
        let connection =
            self.request(&address.request, reply_server, &Message::new(None, invite).to_json())?;
        let answer = self.answer(connection)?;
        let answer = Statement::parse(&answer)?.message()?.event;
        ensure!(matches!(answer, Said::RelayAccept(_)), "{answer:?}");
        let info = Message::new(None, Said::Acknowledge(Acknowledge {})).to_json();
        self.complete(connection, &info)?;
        Ok(connection)
    }

    /// A group, and the link of the first of its relays.
    fn group_and_relay(&mut self, group_link: &str) -> anyhow::Result<(OpenedGroupLink, OpenedLink)> {
        let link: ShortLink = group_link.parse().context("Not a link")?;
        let opened = self.read(group_link)?;
        let group = OpenedGroupLink::read(&link, &opened)?;
        let relay_link = group.relays.first().context("The group has a relay")?.to_string();
        Ok((group, self.read(&relay_link)?))
    }

    /// Lets the peer in that has answered, and waits until the connection stands.
    fn complete(&mut self, connection: ConnectionId, info: &[u8]) -> anyhow::Result<()> {
        Agent::new(&mut self.store, &mut system_rng(), clock::now()).allow(connection, info)?;
        self.work(connection)?;
        self.wait_for(connection, |event| matches!(event, Event::Connected).then_some(()))
    }

    /// Asks a relay for a proof, and does not fetch its answer.
    ///
    /// # Errors
    /// When the server does not take the request.
    pub fn ask_and_go(&mut self, relay_address: &str, reply_server: &str) -> anyhow::Result<()> {
        let address = self.read(relay_address)?;
        let asks = Said::RelayTest(challenge(&mut system_rng()));
        self.request(&address.request, reply_server, &Message::new(None, asks).to_json())?;
        Ok(())
    }

    /// Wants new keys for a connection. Nothing can be encrypted for it until we hear of the peer's.
    ///
    /// # Errors
    /// When its server does not take it.
    pub fn wants_new_keys(&mut self, id: ConnectionId) -> anyhow::Result<()> {
        Agent::new(&mut self.store, &mut system_rng(), clock::now()).resync(id)?;
        self.work(id)
    }

    /// Waits for a message of the peer that has these words in it.
    ///
    /// # Errors
    /// When there is none in time.
    pub fn hears(&mut self, id: ConnectionId, words: &str) -> anyhow::Result<()> {
        let has_words = |body: &[u8]| body.windows(words.len()).any(|part| part == words.as_bytes());
        self.wait_for(id, |event| match event {
            Event::Message { body, .. } => has_words(&body).then_some(()),
            _ => None,
        })
    }

    /// Waits for the next message of the peer.
    ///
    /// # Errors
    /// When there is none in time.
    pub fn message(&mut self, id: ConnectionId) -> anyhow::Result<Vec<u8>> {
        self.wait_for(id, |event| match event {
            Event::Message { body, .. } => Some(body),
            _ => None,
        })
    }

    /// Says something to the peer.
    ///
    /// # Errors
    /// When its server does not take it.
    pub fn say(&mut self, id: ConnectionId, body: &[u8]) -> anyhow::Result<()> {
        let mut rng = system_rng();
        Agent::new(&mut self.store, &mut rng, clock::now()).send(id, Body::Inline(body), false)?;
        self.work(id)
    }

    /// Reads a link as anybody can.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&self, link: &str) -> anyhow::Result<OpenedLink> {
        let link: ShortLink = link.parse().context("Not a link")?;
        Ok(link_answer(&link, self.call(&link_request(&link)?))?)
    }

    /// Sends a well-formed request for a connection.
    ///
    /// # Errors
    /// When the server does not take it.
    pub fn request(
        &mut self,
        to: &ConnectionRequest,
        reply_server: &str,
        info: &[u8],
    ) -> anyhow::Result<ConnectionId> {
        let reply_server: ServerAddressWithAuth = reply_server.parse().context("Not an address")?;
        let id =
            Agent::new(&mut self.store, &mut system_rng(), clock::now()).request(to, &reply_server, info)?;
        self.work(id)?;
        Ok(id)
    }

    /// Waits for the peer's answer to a request.
    ///
    /// # Errors
    /// When there is none in time.
    pub fn answer(&mut self, id: ConnectionId) -> anyhow::Result<Vec<u8>> {
        self.wait_for(id, |event| match event {
            Event::Confirmation { info } => Some(info),
            _ => None,
        })
    }

    /// Waits for something to happen on a connection, and leaves out what happens on it before.
    fn wait_for<T>(
        &mut self,
        id: ConnectionId,
        mut wanted: impl FnMut(Event) -> Option<T>,
    ) -> anyhow::Result<T> {
        let own = Agent::new(&mut self.store, &mut system_rng(), clock::now()).own_queue(id)?;
        let own = own.context("The connection has its queue")?;
        if self.subscribed.insert(id) {
            self.network.subscribe(&own.server, vec![subscription(&own)], Ticket(0));
        }
        loop {
            while let Some(at) = self.events.iter().position(|(of, _)| *of == id) {
                if let Some(found) = self.events.remove(at).and_then(|(_, event)| wanted(event)) {
                    return Ok(found);
                }
            }
            let next =
                self.runtime.block_on(async { tokio::time::timeout(PATIENCE, self.happened.next()).await });
            let next = next.context("Nothing in time")?.context("The network runs")?;
            let NetworkEvent::Message { server, queue, message_id, body } = next else { continue };
            let mut came = Some((message_id, body));
            while let Some((message_id, body)) = came.take() {
                let mut rng = system_rng();
                let mut agent = Agent::new(&mut self.store, &mut rng, clock::now());
                let own = agent.receive(&server, &queue, ServerMessage { id: message_id, body: &body })?;
                self.events.extend(agent.take_events());
                let touched = agent.take_touched();
                for id in touched.into_keys() {
                    self.work(id)?;
                }
                let Some(own) = own else { break };
                came = match self.runtime.block_on(self.network.call(own.acknowledge(message_id))) {
                    // The answer may bring the next one.
                    Ok(BrokerMessage::Msg { message_id, body }) => Some((message_id, body.into_owned())),
                    // It came twice when the connection to the server did not last.
                    Ok(_) | Err(CallError::Refused(ErrorType::NoMessage)) => None,
                    // So does it now, unless it was acknowledged: then the next one comes.
                    Err(error) if error.is_temporary() => {
                        self.network.subscribe_later(&own.server, subscription(&own));
                        None
                    }
                    Err(error) => return Err(error.into()),
                };
            }
        }
    }

    /// Puts bytes into the queue behind an address, as anybody who knows it can.
    ///
    /// # Errors
    /// When the server does not take them.
    pub fn drop_bytes(&self, into: &ConnectionRequest, bytes: &[u8]) -> anyhow::Result<()> {
        let queue = &into.data().queue().address;
        let request = Request {
            server: queue.server.clone(),
            correlation_id: None,
            entity: queue.sender_id.as_bytes().to_vec(),
            key: None,
            command: Command::Send { notify: true, body: bytes.to_vec().into() },
        };
        match self.call(&request)? {
            BrokerMessage::Ok => Ok(()),
            other => bail!("the server says {other:?}"),
        }
    }

    /// Does what a connection wants of the network now.
    fn work(&mut self, id: ConnectionId) -> anyhow::Result<()> {
        loop {
            let mut rng = system_rng();
            let work = Agent::new(&mut self.store, &mut rng, clock::now()).job(id)?;
            let (job, request) = match work {
                Work::Run(job, request) => (job, request),
                Work::Idle => return Ok(()),
                Work::NotBefore(_) | Work::NoRoom(_) => bail!("a request failed"),
            };
            let outcome = match self.call(&request) {
                Ok(answer) => RequestOutcome::Answer(answer),
                Err(CallError::Refused(error)) => RequestOutcome::Answer(BrokerMessage::Err(error)),
                Err(error) => return Err(error.into()),
            };
            let mut agent = Agent::new(&mut self.store, &mut rng, clock::now());
            agent.job_done(id, job, outcome)?;
            self.events.extend(agent.take_events());
        }
    }

    /// What a server answers, if it does in time. One that is out of reach, or went before it answered, is asked the same
    /// again: it may have done it, and does it no harm.
    fn call(&self, request: &Request) -> Result<BrokerMessage<'static>, CallError> {
        let deadline = Instant::now() + PATIENCE;
        self.runtime.block_on(async {
            loop {
                match self.network.call(request.clone()).await {
                    Err(error) if error.is_temporary() && Instant::now() < deadline => {
                        tokio::time::sleep(ASK_AGAIN_AFTER).await;
                    }
                    result => return result,
                }
            }
        })
    }

    fn event(&mut self, id: ConnectionId) -> anyhow::Result<Event> {
        let at = self.events.iter().position(|(of, _)| *of == id).context("Something happened")?;
        self.events.remove(at).map(|(_, event)| event).context("It is there")
    }
}

fn subscription(own: &OwnQueue) -> Subscription {
    Subscription { queue: own.recipient_id, key: AuthPrivateKey::Ed25519(own.key.clone()), lane: Lane::Bulk }
}
