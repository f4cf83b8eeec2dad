//! A queue server as agents see it: what is authorised by whom, one message at a time, full queues.

use std::collections::{BTreeMap, VecDeque};

use rand::rngs::StdRng;

use crate::agent::request::Request;
use crate::crypto::dh::X25519PrivateKey;
use crate::crypto::secretbox::BoxKey;
use crate::crypto::sign::Ed25519PublicKey;
use crate::smp::command::{Command, LinkData, NewQueue, QueueRequest};
use crate::smp::error::{CommandError, ErrorType};
use crate::smp::ids::{LinkId, MessageId, RecipientId, SenderId};
use crate::smp::key::{AuthPrivateKey, AuthPublicKey};
use crate::smp::message::{seal_message, seal_quota};
use crate::smp::queue_uri::QueueMode;
use crate::smp::response::{BrokerMessage, QueueIds};
use crate::timestamp::Timestamp;

/// One server for all parties of a test.
pub(super) struct Server {
    pub(super) rng: StdRng,
    pub(super) now: Timestamp,
    /// Messages that a queue holds at most.
    pub(super) quota: usize,
    /// The mode that new messaging queues get in truth: nothing is what an old server makes.
    pub(super) queues: BTreeMap<RecipientId, Queue>,
}

pub(super) struct Queue {
    recipient_key: AuthPublicKey,
    pub(super) sender_id: SenderId,
    secret: BoxKey,
    mode: QueueMode,
    pub(super) sender_key: Option<AuthPublicKey>,
    pub(super) link: Option<(LinkId, LinkData<'static>)>,
    pub(super) messages: VecDeque<(MessageId, Stored)>,
    can_write: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stored {
    Message { at: Timestamp, notify: bool, body: Vec<u8> },
    Quota { at: Timestamp },
}

type Answer = BrokerMessage<'static>;

const AUTH: Answer = BrokerMessage::Err(ErrorType::Auth);

impl Server {
    pub(super) fn new(rng: StdRng) -> Self {
        Self { rng, now: Timestamp::from_seconds(1_800_000_000), quota: 128, queues: BTreeMap::new() }
    }

    /// Does what is asked.
    pub(super) fn handle(&mut self, request: &Request) -> Answer {
        let key = request.key.as_ref().map(AuthPrivateKey::public_key);
        match &request.command {
            Command::New(new) => self.create(request, new, key),
            Command::Skey { sender_key } => match self.of_sender(&request.entity) {
                Some(queue) if queue.mode == QueueMode::Messaging && key == Some(*sender_key) => {
                    queue.secure(*sender_key)
                }
                _ => AUTH,
            },
            Command::Send { notify, body } => self.send(request, key, *notify, body),
            command => {
                let Ok(id) = RecipientId::try_from(&request.entity[..]) else { return AUTH };
                let Some(queue) = self.queues.get_mut(&id) else { return AUTH };
                if key != Some(queue.recipient_key) {
                    return AUTH;
                }
                match command {
                    Command::Key { sender_key } => queue.secure(*sender_key),
                    Command::Lset { link_id, data } => queue.set_link(link_id, data),
                    Command::Del => {
                        self.queues.remove(&id);
                        BrokerMessage::Ok
                    }
                    other => panic!("the agent asks for {}", other.tag()),
                }
            }
        }
    }

    fn create(&mut self, request: &Request, new: &NewQueue<'_>, key: Option<AuthPublicKey>) -> Answer {
        assert!(request.entity.is_empty());
        if key != Some(new.recipient_key) {
            return AUTH;
        }
        let (mode, sender_id, link) = match new.request.as_ref().unwrap() {
            QueueRequest::Messaging(None) => (QueueMode::Messaging, SenderId::generate(&mut self.rng), None),
            QueueRequest::Contact(Some(link)) => {
                let correlation_id = request.correlation_id.unwrap();
                let sender_id = SenderId::for_correlation(correlation_id.as_bytes());
                if *link.sender_id != sender_id.0 {
                    return BrokerMessage::Err(ErrorType::Command(CommandError::Prohibited));
                }
                let link_id = LinkId::try_from(&link.link_id[..]).unwrap();
                (QueueMode::Contact, sender_id, Some((link_id, link.data.clone().into_owned())))
            }
            other => panic!("the agent asks for {other:?}"),
        };
        let is_taken = |queue: &Queue| {
            queue.sender_id == sender_id
                || (link.is_some() && queue.link.as_ref().map(|it| it.0) == link.as_ref().map(|it| it.0))
        };
        if self.queues.values().any(is_taken) {
            return AUTH;
        }
        let recipient_id = RecipientId::generate(&mut self.rng);
        let dh_key = X25519PrivateKey::generate(&mut self.rng);
        let link_id = link.as_ref().map(|link| link.0);
        let queue = Queue {
            recipient_key: new.recipient_key,
            sender_id,
            secret: dh_key.box_key(&new.dh_key),
            mode,
            sender_key: None,
            link,
            messages: VecDeque::new(),
            can_write: true,
        };
        self.queues.insert(recipient_id, queue);
        BrokerMessage::Ids(QueueIds {
            recipient_id,
            sender_id,
            server_dh_key: dh_key.public_key(),
            mode: Some(mode),
            link_id,
            service_id: None,
            notifier: None,
        })
    }

    fn send(&mut self, request: &Request, key: Option<AuthPublicKey>, notify: bool, body: &[u8]) -> Answer {
        assert!(body.len() == 15_992 || body.len() == 16_043, "every body has one of two lengths");
        let (now, quota, id) = (self.now, self.quota, MessageId::generate(&mut self.rng));
        let Some(queue) = self.of_sender(&request.entity) else { return AUTH };
        if key != queue.sender_key {
            return AUTH;
        }
        if !queue.can_write && queue.messages.is_empty() {
            queue.can_write = true;
        }
        if !queue.can_write {
            return BrokerMessage::Err(ErrorType::Quota);
        }
        if queue.messages.len() >= quota {
            queue.can_write = false;
            queue.messages.push_back((id, Stored::Quota { at: now }));
            return BrokerMessage::Err(ErrorType::Quota);
        }
        queue.messages.push_back((id, Stored::Message { at: now, notify, body: body.to_vec() }));
        BrokerMessage::Ok
    }

    pub(super) fn of_sender(&mut self, id: &[u8]) -> Option<&mut Queue> {
        self.queues.values_mut().find(|queue| queue.sender_id.0 == *id)
    }

    /// The first message of a queue, as the server pushes it.
    pub(super) fn head(&self, id: RecipientId) -> Option<(MessageId, Vec<u8>)> {
        let queue = self.queues.get(&id)?;
        let (message, stored) = queue.messages.front()?;
        Some((*message, queue.seal(message, stored)))
    }

    /// `ACK`.
    pub(super) fn acknowledge(&mut self, id: RecipientId, message: MessageId) {
        let Some(queue) = self.queues.get_mut(&id) else { return };
        if queue.messages.front().is_some_and(|(head, _)| *head == message) {
            queue.messages.pop_front();
        }
    }

    /// Puts bytes into a queue, as a sender that holds to no rule.
    pub(super) fn inject(&mut self, id: RecipientId, body: Vec<u8>) {
        let message = MessageId::generate(&mut self.rng);
        let stored = Stored::Message { at: self.now, notify: false, body };
        self.queues.get_mut(&id).unwrap().messages.push_back((message, stored));
    }
}

impl Queue {
    fn secure(&mut self, key: AuthPublicKey) -> Answer {
        match self.sender_key {
            Some(other) if other != key => AUTH,
            _ => {
                self.sender_key = Some(key);
                BrokerMessage::Ok
            }
        }
    }

    fn set_link(&mut self, link_id: &[u8], data: &LinkData<'_>) -> Answer {
        match &mut self.link {
            Some((id, stored)) if id.0 == *link_id && stored.fixed == data.fixed => {
                *stored = data.clone().into_owned();
                BrokerMessage::Ok
            }
            _ => AUTH,
        }
    }

    fn seal(&self, id: &MessageId, stored: &Stored) -> Vec<u8> {
        match stored {
            Stored::Message { at, notify, body } => {
                seal_message(&self.secret, id, *at, *notify, body).unwrap()
            }
            Stored::Quota { at } => seal_quota(&self.secret, id, *at).unwrap(),
        }
    }

    /// Whether `key` is what senders are authorised by.
    pub(super) fn is_secured_by(&self, key: &Ed25519PublicKey) -> bool {
        self.sender_key == Some(AuthPublicKey::Ed25519(*key))
    }
}
