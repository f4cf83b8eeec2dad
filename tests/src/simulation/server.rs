//! A queue server without sockets: the store of `smp-server`, and of its commands those that our programs use.
//!
//! Keys are compared, signatures are not made: a request names the key that would sign it.

use std::collections::BTreeMap;

use protocol::agent::request::Request;
use protocol::crypto::dh::X25519PrivateKey;
use protocol::smp::command::{Command, LinkData, NewQueue as NewCommand, QueueRequest};
use protocol::smp::error::{CommandError, ErrorType};
use protocol::smp::ids::{LinkId, MessageId, RecipientId, SenderId, ServiceId};
use protocol::smp::key::AuthPublicKey;
use protocol::smp::message::{seal_message, seal_quota};
use protocol::smp::queue_uri::QueueMode;
use protocol::smp::response::{BrokerMessage, QueueIds};
use protocol::timestamp::Timestamp;
use protocol::transport::hello::ServiceRole;
use rand::rngs::StdRng;
use smp_server::store::{
    AppendRules, Appended, Created, DhSecret, LinkSet, MemoryStore, NewMessage, NewQueue, QueueName,
    QueueNumber, QueueReader as _, QueueRecord, QueueStore as _, Secured, ServiceRecord, StoredMessage,
    Stream, day_of,
};

use super::network::SessionId;

/// What the server says besides its answer: to this session, about this queue, or about all of its service.
pub(super) type Told = (SessionId, Option<RecipientId>, BrokerMessage<'static>);

type Answer = BrokerMessage<'static>;

/// One server.
#[derive(Debug)]
pub(super) struct Server {
    store: MemoryStore,
    rng: StdRng,
    /// Messages that a queue holds at most.
    quota: u32,
    subscribers: BTreeMap<RecipientId, Subscriber>,
    /// Which session has a service, and whether it subscribed to all its queues.
    services: BTreeMap<ServiceId, (SessionId, bool)>,
}

/// A session, and the service as which it was made.
type Peer = (SessionId, Option<ServiceId>);

#[derive(Debug)]
struct Subscriber {
    session: SessionId,
    /// Delivered and not acknowledged.
    outstanding: Option<MessageId>,
}

impl Server {
    /// An empty one.
    pub(super) fn new(rng: StdRng, quota: u32) -> Self {
        Self {
            store: MemoryStore::new(),
            rng,
            quota,
            subscribers: BTreeMap::new(),
            services: BTreeMap::new(),
        }
    }

    /// A session is gone: what it subscribed to is delivered to nobody.
    pub(super) fn forget(&mut self, session: SessionId) {
        self.subscribers.retain(|_, subscriber| subscriber.session != session);
        self.services.retain(|_, (of, _)| *of != session);
    }

    /// Messages that wait in all queues.
    pub(super) fn waiting(&mut self) -> u64 {
        self.store.counts().map_or(0, |counts| counts.messages)
    }

    /// The server loses a queue, and tells nobody.
    #[cfg(test)]
    pub(super) fn lose(&mut self, queue: RecipientId) -> Result<(), ErrorType> {
        let record = self.queue(Ok::<_, ()>(QueueName::Recipient(queue)))?;
        self.subscribers.remove(&queue);
        self.store.delete_queue(record.number).map(drop).map_err(storage)
    }

    /// Executes a command. What is told goes after the answer.
    pub(super) fn execute(&mut self, peer: Peer, request: &Request, now: Timestamp) -> (Answer, Vec<Told>) {
        let mut told = Vec::new();
        let answer = self.answer(peer, request, now, &mut told);
        (answer.unwrap_or_else(BrokerMessage::Err), told)
    }

    fn answer(
        &mut self,
        peer: Peer,
        request: &Request,
        now: Timestamp,
        told: &mut Vec<Told>,
    ) -> Result<Answer, ErrorType> {
        let key = request.key.as_ref().map(|key| key.public_key());
        let entity = request.entity.as_slice();
        match &request.command {
            Command::Ping => Ok(BrokerMessage::Pong),
            Command::Subs => self.subscribe_to_all(peer, told),
            Command::New(new) => self.create(peer, request, new, key, (now, told)),
            Command::Send { notify, body } => {
                let queue = self.queue(SenderId::try_from(entity).map(QueueName::Sender))?;
                if queue.sender_key != key {
                    return Err(ErrorType::Auth);
                }
                self.send(&queue, *notify, body, now, told)
            }
            Command::Skey { sender_key } => {
                let queue = self.queue(SenderId::try_from(entity).map(QueueName::Sender))?;
                if queue.mode != Some(QueueMode::Messaging) || key != Some(*sender_key) {
                    return Err(ErrorType::Auth);
                }
                self.secure(&queue, sender_key)
            }
            Command::Lget => {
                let queue = self.queue(LinkId::try_from(entity).map(QueueName::Link))?;
                let data = self.store.link_data(queue.number).map_err(storage)?.ok_or(ErrorType::Auth)?;
                Ok(BrokerMessage::Lnk { sender_id: queue.sender_id, data })
            }
            command => {
                let queue = self.queue(RecipientId::try_from(entity).map(QueueName::Recipient))?;
                if !key.is_some_and(|key| queue.recipient_keys.contains(&key)) {
                    return Err(ErrorType::Auth);
                }
                self.of_recipient(peer, &queue, command, told)
            }
        }
    }

    fn of_recipient(
        &mut self,
        (session, service): Peer,
        queue: &QueueRecord,
        command: &Command<'_>,
        told: &mut Vec<Told>,
    ) -> Result<Answer, ErrorType> {
        let id = queue.recipient_id;
        match command {
            Command::Sub => {
                let before = self.subscribers.insert(id, Subscriber { session, outstanding: None });
                if let Some(before) = before.filter(|before| before.session != session) {
                    told.push((before.session, Some(id), BrokerMessage::End));
                }
                self.store.associate(queue.number, Stream::Messages, service).map_err(storage)?;
                if let Some(service) = service {
                    self.take_service(session, service, told)?;
                }
                told.extend(self.deliver(queue)?);
                Ok(BrokerMessage::Sok(service))
            }
            Command::Key { sender_key } => self.secure(queue, sender_key),
            Command::Ack { message_id } => {
                let subscriber = self.subscribers.get_mut(&id).filter(|it| it.session == session);
                let outstanding = subscriber.and_then(|subscriber| {
                    subscriber.outstanding.take_if(|outstanding| outstanding.as_bytes() == &**message_id)
                });
                let outstanding = outstanding.ok_or(ErrorType::NoMessage)?;
                let next = self.store.acknowledge(queue.number, Some(outstanding)).map_err(storage)?;
                Ok(next.map_or(BrokerMessage::Ok, |next| self.hand_out(queue, &next)))
            }
            Command::Lset { link_id, data } => {
                let link_id = LinkId::try_from(&**link_id).map_err(|_| ErrorType::Auth)?;
                match self.store.set_link_data(queue.number, link_id, data).map_err(storage)? {
                    LinkSet::Stored => Ok(BrokerMessage::Ok),
                    LinkSet::Refused => Err(ErrorType::Auth),
                }
            }
            Command::Del => {
                self.store.delete_queue(queue.number).map_err(storage)?;
                if let Some(gone) = self.subscribers.remove(&id).filter(|gone| gone.session != session) {
                    told.push((gone.session, Some(id), BrokerMessage::Deld));
                }
                Ok(BrokerMessage::Ok)
            }
            _ => Err(CommandError::Prohibited.into()),
        }
    }

    /// All queues of the service, and what waits in them, once in a session.
    fn subscribe_to_all(
        &mut self,
        (session, service): Peer,
        told: &mut Vec<Told>,
    ) -> Result<Answer, ErrorType> {
        let service = service.ok_or(ErrorType::Service)?;
        self.take_service(session, service, told)?;
        let queues = self.queues_of(service)?;
        let is_first = self.services.insert(service, (session, true)) != Some((session, true));
        if is_first {
            let backlog = self.store.service_backlog(service, QueueNumber(0), u32::MAX).map_err(storage)?;
            for waiting in backlog.queues {
                let queue = self.queue(Ok::<_, ()>(QueueName::Recipient(waiting.recipient_id)))?;
                told.extend(self.deliver(&queue)?);
            }
        }
        Ok(BrokerMessage::Soks(queues))
    }

    /// A session has the service from now on; what another one had is told to it no more.
    fn take_service(
        &mut self,
        session: SessionId,
        service: ServiceId,
        told: &mut Vec<Told>,
    ) -> Result<(), ErrorType> {
        let former = self.services.get(&service).map(|(former, _)| *former);
        if former == Some(session) {
            return Ok(());
        }
        self.services.insert(service, (session, false));
        if let Some(former) = former {
            self.subscribers.retain(|_, subscriber| subscriber.session != former);
            told.push((former, None, BrokerMessage::Ends(self.queues_of(service)?)));
        }
        Ok(())
    }

    fn queues_of(&mut self, service: ServiceId) -> Result<i64, ErrorType> {
        let service = ServiceRecord { id: service, role: ServiceRole::Messaging };
        let queues = self.store.service_queue_count(service).map_err(storage)?;
        Ok(i64::try_from(queues).unwrap_or(i64::MAX))
    }

    fn queue<E>(&mut self, name: Result<QueueName, E>) -> Result<QueueRecord, ErrorType> {
        let name = name.map_err(|_| ErrorType::Auth)?;
        self.store.queue(&name).map_err(storage)?.ok_or(ErrorType::Auth)
    }

    fn create(
        &mut self,
        (session, service): Peer,
        request: &Request,
        new: &NewCommand<'_>,
        key: Option<AuthPublicKey>,
        (now, told): (Timestamp, &mut Vec<Told>),
    ) -> Result<Answer, ErrorType> {
        if key != Some(new.recipient_key) {
            return Err(ErrorType::Auth);
        }
        let (mode, sender_id, link) = match &new.request {
            Some(QueueRequest::Contact(Some(link))) => {
                let correlation_id = request.correlation_id.ok_or(CommandError::Prohibited)?;
                let sender_id = SenderId::for_correlation(correlation_id.as_bytes());
                if *link.sender_id != sender_id.0 {
                    return Err(CommandError::Prohibited.into());
                }
                let link_id = LinkId::try_from(&*link.link_id).map_err(|_| ErrorType::Auth)?;
                let data: LinkData<'static> = link.data.clone().into_owned();
                (QueueMode::Contact, sender_id, Some((link_id, data)))
            }
            Some(QueueRequest::Messaging(None)) => {
                (QueueMode::Messaging, SenderId::generate(&mut self.rng), None)
            }
            _ => return Err(CommandError::Prohibited.into()),
        };
        let server_key = X25519PrivateKey::generate(&mut self.rng);
        let queue = NewQueue {
            recipient_id: RecipientId::generate(&mut self.rng),
            sender_id,
            recipient_key: new.recipient_key,
            dh_secret: DhSecret(server_key.diffie_hellman(&new.dh_key)),
            mode: Some(mode),
            link: link.clone(),
            notifier: None,
            used_on: day_of(now),
            recipient_service: service.filter(|_| new.subscribe),
        };
        match self.store.create_queue(&queue).map_err(storage)? {
            Created::IdTaken => Err(ErrorType::Auth),
            Created::Stored(_) => {
                if new.subscribe {
                    self.subscribers.insert(queue.recipient_id, Subscriber { session, outstanding: None });
                    if let Some(service) = service {
                        self.take_service(session, service, told)?;
                    }
                }
                Ok(BrokerMessage::Ids(QueueIds {
                    recipient_id: queue.recipient_id,
                    sender_id,
                    server_dh_key: server_key.public_key(),
                    mode: Some(mode),
                    link_id: link.map(|(id, _)| id),
                    service_id: queue.recipient_service,
                    notifier: None,
                }))
            }
        }
    }

    fn secure(&mut self, queue: &QueueRecord, key: &AuthPublicKey) -> Result<Answer, ErrorType> {
        match self.store.secure_queue(queue.number, key).map_err(storage)? {
            Secured::WithThisKey => Ok(BrokerMessage::Ok),
            Secured::WithAnother => Err(ErrorType::Auth),
        }
    }

    fn send(
        &mut self,
        queue: &QueueRecord,
        notify: bool,
        body: &[u8],
        now: Timestamp,
        told: &mut Vec<Told>,
    ) -> Result<Answer, ErrorType> {
        let rules = AppendRules { quota: self.quota, expire_before: None };
        let id = MessageId::generate(&mut self.rng);
        let message = NewMessage { id, received_at: now, notify, body };
        let appended = self.store.append_message(queue.number, &message, rules).map_err(storage)?;
        if matches!(appended, Appended::Stored | Appended::Full { marked: true }) {
            told.extend(self.deliver(queue)?);
        }
        match appended {
            Appended::Stored => Ok(BrokerMessage::Ok),
            Appended::Full { .. } => Err(ErrorType::Quota),
            Appended::Suspended => Err(ErrorType::Auth),
            Appended::Blocked(info) => Err(ErrorType::Blocked(info)),
        }
    }

    /// The head of a queue goes to its subscriber, unless one is out already.
    fn deliver(&mut self, queue: &QueueRecord) -> Result<Option<Told>, ErrorType> {
        let service = queue.recipient_service.and_then(|service| self.services.get(&service));
        if let Some((session, _)) = service {
            let session = *session;
            self.subscribers.entry(queue.recipient_id).or_insert(Subscriber { session, outstanding: None });
        }
        let Some(subscriber) = self.subscribers.get(&queue.recipient_id) else { return Ok(None) };
        if subscriber.outstanding.is_some() {
            return Ok(None);
        }
        let session = subscriber.session;
        let head = self.store.first_message(queue.number).map_err(storage)?;
        Ok(head.map(|head| (session, Some(queue.recipient_id), self.hand_out(queue, &head))))
    }

    fn hand_out(&mut self, queue: &QueueRecord, message: &StoredMessage) -> Answer {
        if let Some(subscriber) = self.subscribers.get_mut(&queue.recipient_id) {
            subscriber.outstanding = Some(message.id);
        }
        let key = queue.dh_secret.box_key();
        let sealed = match &message.body {
            Some(body) => seal_message(&key, &message.id, message.received_at, message.notify, body),
            None => seal_quota(&key, &message.id, message.received_at),
        };
        BrokerMessage::Msg { message_id: message.id, body: sealed.unwrap_or_default().into() }
    }
}

fn storage(error: smp_server::store::StoreError) -> ErrorType {
    ErrorType::Store(error.to_string())
}
