//! The other side of a connection, played by a script: it says what the test wants, whether it may or not.

use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::world::{Name, World, server};
use crate::agent::connection_request::{ConnectionRequest, RequestData};
use crate::agent::envelope::{Envelope, EnvelopeContent};
use crate::agent::invitation::Invitation;
use crate::agent::message::{AgentMessage, MessageBody};
use crate::agent::queue::{PeerSecret, QueueSecret, ReceiveQueue, SendQueue};
use crate::agent::queue_layer::{ClientMessage, PrivateHeader, SentBody, seal};
use crate::agent::record::Position;
use crate::agent::request::Request;
use crate::agent::store::ConnectionId;
use crate::crypto::hash::sha256;
use crate::crypto::ratchet::parameters::RatchetParameters;
use crate::crypto::ratchet::{AgreementKeys, RATCHET_VERSIONS, Ratchet};
use crate::encoding::{Decode as _, Encode as _};
use crate::smp::command::{Command, NewQueue, QueueRequest};
use crate::smp::ids::{RecipientId, SenderId};
use crate::smp::key::{AuthPrivateKey, AuthPublicKey};
use crate::smp::queue_uri::{QueueInfo, QueueMode, QueueUri};
use crate::smp::response::BrokerMessage;

pub(super) const MESSAGE_PADDED: u16 = 15_840;

pub(super) struct Peer {
    pub(super) rng: StdRng,
    pub(super) receive: ReceiveQueue,
    pub(super) keys: AgreementKeys,
    pub(super) ratchet: Option<Ratchet>,
    pub(super) send: Option<SendQueue>,
    pub(super) sent: Position,
}

/// What came out of the peer's queue.
pub(super) struct Received {
    pub(super) header: PrivateHeader,
    pub(super) is_first: bool,
    pub(super) envelope: Envelope,
}

impl Peer {
    /// A peer with a queue on the server.
    pub(super) fn new(world: &mut World, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut receive = ReceiveQueue::new(server(), &mut rng);
        create(world, &mut receive);
        let keys = AgreementKeys::generate(&mut rng);
        Self { rng, receive, keys, ratchet: None, send: None, sent: Position::default() }
    }

    pub(super) fn recipient_id(&self) -> RecipientId {
        self.receive.created.as_ref().unwrap().recipient_id
    }

    pub(super) fn sender_id(&self) -> SenderId {
        self.receive.created.as_ref().unwrap().sender_id
    }

    /// The peer's queue with the mode that it is said to have.
    pub(super) fn queue_info(&self, version: u16, mode: Option<QueueMode>) -> QueueInfo {
        let mut info = self.receive.info(self.sender_id(), version);
        info.address.mode = mode;
        info
    }

    /// The peer's one-time link, as a request brings it; `change` edits its text.
    pub(super) fn invitation(
        &self,
        mode: Option<QueueMode>,
        change: impl FnOnce(String) -> String,
    ) -> Invitation {
        let queue = QueueUri::new(self.queue_info(4, mode).address);
        let data = RequestData::new(queue, None).unwrap();
        let link = ConnectionRequest::Invitation { data, offer: self.keys.offer(RATCHET_VERSIONS) };
        Invitation { agent_version: 7, link: change(link.to_string()) }
    }

    /// Takes and opens what waits in the peer's queue.
    pub(super) fn poll(&mut self, world: &mut World) -> Vec<Received> {
        let id = self.recipient_id();
        let mut all = Vec::new();
        while let Some((message, body)) = world.server.head(id) {
            let secret = &self.receive.created.as_ref().unwrap().secret;
            let opened = crate::smp::message::ReceivedMessage::open(&secret.box_key(), &message, &body);
            world.server.acknowledge(id, message);
            let crate::smp::message::ReceivedMessage::Message { body, .. } = opened.unwrap() else {
                continue;
            };
            let sealed = SentBody::parse(&body).unwrap();
            if let Some(key) = &sealed.sender_key {
                let secret = QueueSecret::new(&self.receive.dh_key, key);
                self.receive.peer = Some(PeerSecret { secret, client_version: sealed.client_version });
            }
            let key = self.receive.peer.as_ref().unwrap().secret.box_key();
            let ClientMessage { header, envelope } = sealed.open(&key).unwrap();
            let envelope = Envelope::from_bytes(&envelope).unwrap();
            all.push(Received { header, is_first: sealed.sender_key.is_some(), envelope });
        }
        all
    }

    /// As `poll`, for ratchet messages; gives what they say.
    pub(super) fn poll_messages(&mut self, world: &mut World) -> Vec<MessageBody> {
        let received = self.poll(world);
        received.into_iter().map(|it| self.open_message(it)).collect()
    }

    pub(super) fn open_message(&mut self, received: Received) -> MessageBody {
        assert_eq!((received.header, received.is_first), (PrivateHeader::Empty, false));
        let EnvelopeContent::Message { ratchet_message } = received.envelope.content else {
            panic!("a message")
        };
        let plain = self.ratchet.as_mut().unwrap().decrypt(&ratchet_message, &mut self.rng).unwrap();
        let AgentMessage::Numbered { body, .. } = AgentMessage::from_bytes(&plain).unwrap() else {
            panic!("a numbered message")
        };
        body
    }

    /// Joins by the request of a party: the party is the initiator.
    pub(super) fn use_request(&mut self, invitation: &Invitation, ratchet_version: u16) {
        let Ok(ConnectionRequest::Invitation { data, offer }) = invitation.link.parse() else {
            panic!("a link")
        };
        let peer = RatchetParameters {
            version: ratchet_version,
            first: offer.first,
            second: offer.second,
            kem: None,
        };
        self.ratchet = Some(Ratchet::new_joiner(&self.keys, &peer, &mut self.rng).unwrap());
        self.send = Some(SendQueue::new(&data.queue().agree().unwrap(), &mut self.rng));
    }

    /// Takes the confirmation of a joiner, which must be the only message; gives its words and its private header.
    pub(super) fn take_joiner(&mut self, world: &mut World) -> (Vec<u8>, PrivateHeader) {
        let [received] = <[_; 1]>::try_from(self.poll(world)).ok().expect("one message");
        let EnvelopeContent::Confirmation { parameters, ratchet_message } = received.envelope.content else {
            panic!("a confirmation")
        };
        let mut ratchet = Ratchet::new_initiator(&self.keys, &parameters.unwrap()).unwrap();
        let plain = ratchet.decrypt(&ratchet_message, &mut self.rng).unwrap();
        let AgentMessage::InfoReply { queues, info } = AgentMessage::from_bytes(&plain).unwrap() else {
            panic!("a joiner's confirmation")
        };
        self.ratchet = Some(ratchet);
        self.send = Some(SendQueue::new(&queues[0], &mut self.rng));
        (info, received.header)
    }

    /// Takes the confirmation of an initiator.
    pub(super) fn take_initiator(&mut self, world: &mut World) -> (Vec<u8>, PrivateHeader) {
        let [received] = <[_; 1]>::try_from(self.poll(world)).ok().expect("one message");
        let EnvelopeContent::Confirmation { parameters: None, ratchet_message } = received.envelope.content
        else {
            panic!("a confirmation without parameters")
        };
        let plain = self.ratchet.as_mut().unwrap().decrypt(&ratchet_message, &mut self.rng).unwrap();
        let AgentMessage::Info(info) = AgentMessage::from_bytes(&plain).unwrap() else {
            panic!("words alone")
        };
        (info, received.header)
    }

    /// Encrypts a confirmation's content.
    pub(super) fn encrypt(&mut self, plain: &[u8], padded: u16) -> Vec<u8> {
        self.sent.advance(sha256(plain));
        let key = self.ratchet.as_mut().unwrap().encrypt_header(plain.len(), padded).unwrap();
        key.encrypt_body(plain).unwrap()
    }

    /// The next numbered message, encrypted.
    pub(super) fn next_message(&mut self, body: MessageBody) -> Vec<u8> {
        let number = self.sent.number + 1;
        self.numbered(number, body)
    }

    pub(super) fn numbered(&mut self, number: i64, body: MessageBody) -> Vec<u8> {
        let previous_hash = self.sent.hash.map(|hash| hash.to_vec()).unwrap_or_default();
        let plain = AgentMessage::Numbered { number, previous_hash, body }.to_bytes();
        self.encrypt(&plain, MESSAGE_PADDED)
    }

    /// Sends a numbered message.
    pub(super) fn say(&mut self, world: &mut World, body: MessageBody) {
        let ratchet_message = self.next_message(body);
        self.send_content(world, EnvelopeContent::Message { ratchet_message });
    }

    pub(super) fn send_content(&mut self, world: &mut World, content: EnvelopeContent) {
        self.send_envelope(world, &Envelope { agent_version: 7, content });
    }

    /// Sends an envelope as messages after the first one go.
    pub(super) fn send_envelope(&mut self, world: &mut World, envelope: &Envelope) {
        let message = ClientMessage { header: PrivateHeader::Empty, envelope: envelope.to_bytes() };
        let body = self.body(false, 4, &message);
        let answer = self.send_body(world, body, true);
        assert_eq!(answer, BrokerMessage::Ok);
    }

    /// A body for the party's queue.
    pub(super) fn body(&mut self, is_first: bool, client_version: u16, message: &ClientMessage) -> Vec<u8> {
        let queue = self.send.as_ref().unwrap();
        let key = is_first.then_some(&queue.dh_public);
        seal(client_version, key, &queue.secret.box_key(), message, &mut self.rng).unwrap()
    }

    pub(super) fn send_body(
        &self,
        world: &mut World,
        body: Vec<u8>,
        is_signed: bool,
    ) -> BrokerMessage<'static> {
        let queue = self.send.as_ref().unwrap();
        world.server.handle(&Request {
            server: queue.location.server.clone(),
            correlation_id: None,
            entity: queue.location.sender_id.0.to_vec(),
            key: is_signed.then(|| AuthPrivateKey::Ed25519(queue.key.clone())),
            command: Command::Send { notify: false, body: body.into() },
        })
    }

    /// Sends a confirmation with this content; with the header `K` it goes unsigned.
    pub(super) fn confirm(
        &mut self,
        world: &mut World,
        parameters: Option<RatchetParameters>,
        message: &AgentMessage,
        with_key: bool,
    ) {
        // what a KEM takes of the room, the padding gives
        let has_kem = parameters.as_ref().is_some_and(|parameters| parameters.kem.is_some());
        let padded = if has_kem { 11_106 } else { 14_832 };
        let ratchet_message = self.encrypt(&message.to_bytes(), padded);
        let envelope = Envelope {
            agent_version: 7,
            content: EnvelopeContent::Confirmation { parameters, ratchet_message },
        };
        self.send_first(world, 4, &envelope, with_key);
    }

    pub(super) fn send_first(
        &mut self,
        world: &mut World,
        client_version: u16,
        envelope: &Envelope,
        with_key: bool,
    ) {
        let header = if with_key { self.key_header() } else { PrivateHeader::Empty };
        let message = ClientMessage { header, envelope: envelope.to_bytes() };
        let body = self.body(true, client_version, &message);
        assert_eq!(self.send_body(world, body, !with_key), BrokerMessage::Ok);
    }

    fn key_header(&self) -> PrivateHeader {
        PrivateHeader::SenderKey(AuthPublicKey::Ed25519(self.send.as_ref().unwrap().key.public_key()))
    }

    /// `SKEY` on the party's queue.
    pub(super) fn secure_party(&self, world: &mut World) {
        let queue = self.send.as_ref().unwrap();
        let sender_key = AuthPublicKey::Ed25519(queue.key.public_key());
        let answer = world.server.handle(&Request {
            server: queue.location.server.clone(),
            correlation_id: None,
            entity: queue.location.sender_id.0.to_vec(),
            key: Some(AuthPrivateKey::Ed25519(queue.key.clone())),
            command: Command::Skey { sender_key },
        });
        assert_eq!(answer, BrokerMessage::Ok);
    }

    /// `KEY` on the peer's queue, with the key that the party sent.
    pub(super) fn secure_own(&self, world: &mut World, key: &PrivateHeader) {
        let PrivateHeader::SenderKey(sender_key) = key else { panic!("a key") };
        let request = self.receive.own_queue().unwrap().request(Command::Key { sender_key: *sender_key });
        assert_eq!(world.server.handle(&request), BrokerMessage::Ok);
    }
}

/// Creates a queue on the server.
pub(super) fn create(world: &mut World, receive: &mut ReceiveQueue) {
    let new = NewQueue {
        recipient_key: AuthPublicKey::Ed25519(receive.key.public_key()),
        dh_key: receive.server_dh_key.public_key(),
        password: None,
        subscribe: true,
        request: Some(QueueRequest::Messaging(None)),
        notifier: None,
    };
    let answer = world.server.handle(&Request {
        server: receive.server.server.clone(),
        correlation_id: None,
        entity: Vec::new(),
        key: Some(AuthPrivateKey::Ed25519(receive.key.clone())),
        command: Command::New(Box::new(new)),
    });
    let BrokerMessage::Ids(ids) = answer else { panic!("a new queue") };
    receive.set_created(&ids);
}

/// A connection of Alice with a peer that asked for it.
pub(super) fn connected(seed: u64) -> (World, Peer, ConnectionId) {
    let mut world = World::new(seed);
    let mut peer = Peer::new(&mut world, seed);
    let invitation = peer.invitation(Some(QueueMode::Messaging), |link| link);
    let alice = world.with(Name::Alice, |agent| agent.accept(&invitation, &server(), b"").unwrap());
    world.settle();
    peer.take_joiner(&mut world);
    peer.secure_party(&mut world);
    peer.confirm(&mut world, None, &AgentMessage::Info(Vec::new()), false);
    world.settle();
    world.alice.take_events();
    (world, peer, alice)
}

/// An application's message that the tests can tell.
pub(super) fn application(number: u32) -> MessageBody {
    MessageBody::Application(number.to_be_bytes().to_vec())
}
