//! A queue server just good enough to connect agents through it: no limits, nothing kept on disk.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use protocol::crypto::dh::{X25519PrivateKey, X25519PublicKey};
use protocol::net::clock;
use protocol::net::rng::system_rng;
use protocol::smp::address::ServerAddress;
use protocol::smp::command::{Command, LinkData, QueueRequest};
use protocol::smp::error::ErrorType;
use protocol::smp::ids::{LinkId, MessageId, RecipientId, SenderId};
use protocol::smp::message::seal_message;
use protocol::smp::queue_uri::QueueMode;
use protocol::smp::response::{BrokerMessage, QueueIds};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{mpsc, watch};

use super::{Peer, Received, ScriptedServer, contents, received};

/// Runs until it is dropped.
pub struct QueueServer {
    pub address: ServerAddress,
    state: Arc<Mutex<State>>,
    /// Changed to end all connections.
    generation: watch::Sender<u64>,
    accepting: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct State {
    queues: Vec<Queue>,
    /// Commands with this tag are executed, and not answered.
    swallow_answers_to: Option<&'static str>,
}

struct Queue {
    recipient_id: RecipientId,
    sender_id: SenderId,
    dh_key: X25519PublicKey,
    server_key: X25519PrivateKey,
    link: Option<(LinkId, LinkData<'static>)>,
    messages: VecDeque<(MessageId, Vec<u8>)>,
    subscriber: Option<Outgoing>,
}

type Outgoing = mpsc::UnboundedSender<(Vec<u8>, Vec<u8>, BrokerMessage<'static>)>;

impl QueueServer {
    pub async fn start() -> Self {
        let server = ScriptedServer::start().await;
        let (address, state) = (server.address.clone(), Arc::new(Mutex::new(State::default())));
        let (generation, changes) = watch::channel(0);
        let shared = state.clone();
        let accepting = tokio::spawn(async move {
            loop {
                let peer = server.accept().await;
                tokio::spawn(serve(peer, shared.clone(), changes.clone()));
            }
        });
        Self { address, state, generation, accepting }
    }

    /// Ends all connections, as a failing network does.
    pub fn drop_connections(&self) {
        self.generation.send_modify(|generation| *generation += 1);
    }

    /// Executes commands with this tag, but does not answer them.
    pub fn swallow_answers_to(&self, tag: Option<&'static str>) {
        self.state.lock().unwrap().swallow_answers_to = tag;
    }

    /// Deletes all queues, as an operator does.
    pub fn delete_queues(&self) {
        for queue in self.state.lock().unwrap().queues.drain(..) {
            if let Some(subscriber) = queue.subscriber {
                let _gone = subscriber.send((Vec::new(), queue.recipient_id.0.to_vec(), BrokerMessage::Deld));
            }
        }
    }
}

impl Drop for QueueServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(peer: Peer, state: Arc<Mutex<State>>, mut changes: watch::Receiver<u64>) {
    changes.mark_unchanged();
    let Peer { stream, session } = peer;
    let version = session.version;
    let (mut read_half, mut write_half) = tokio::io::split(stream);
    let (mut opener, mut sealer) = (session.cipher.receive, session.cipher.send);
    let (outgoing, mut answers) = mpsc::unbounded_channel::<(Vec<u8>, Vec<u8>, BrokerMessage<'static>)>();
    let reading = async {
        let mut block = [0; protocol::transport::block::BLOCK_BYTES];
        while read_half.read_exact(&mut block).await.is_ok() {
            for command in received(opener.open(&mut block).unwrap(), version) {
                state.lock().unwrap().execute(&command, &outgoing);
            }
        }
    };
    let writing = async {
        while let Some((correlation_id, entity_id, message)) = answers.recv().await {
            for content in contents(&[(&correlation_id, &entity_id, message)], &sealer, version) {
                let block = sealer.seal(&content).unwrap();
                if write_half.write_all(&block).await.is_err() || write_half.flush().await.is_err() {
                    return;
                }
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = writing => {}
        _ = changes.changed() => {}
    }
}

impl State {
    fn execute(&mut self, command: &Received, outgoing: &Outgoing) {
        let tag = command.command.tag();
        let answer = self.answer(command, outgoing);
        let entity_id =
            if matches!(answer, BrokerMessage::Ids(_)) { Vec::new() } else { command.entity_id.clone() };
        if self.swallow_answers_to != Some(tag) {
            let _gone = outgoing.send((command.correlation_id.clone(), entity_id, answer));
        }
        if command.command == Command::Sub {
            self.deliver(&command.entity_id);
        }
    }

    fn answer(&mut self, command: &Received, outgoing: &Outgoing) -> BrokerMessage<'static> {
        let entity = &command.entity_id;
        if let Command::New(_) = &command.command {
            return self.create(command, outgoing);
        }
        let find = |queue: &&mut Queue| {
            queue.recipient_id.0 == entity[..]
                || queue.sender_id.0 == entity[..]
                || queue.link.as_ref().is_some_and(|(id, _)| id.0 == entity[..])
        };
        let Some(queue) = self.queues.iter_mut().find(find) else {
            return BrokerMessage::Err(ErrorType::Auth);
        };
        match &command.command {
            Command::Sub => {
                queue.subscriber = Some(outgoing.clone());
                BrokerMessage::Sok(None)
            }
            // who may do what is not looked at here
            Command::Key { .. } | Command::Skey { .. } => BrokerMessage::Ok,
            Command::Lset { link_id, data } => {
                queue.link = Some((LinkId::try_from(&link_id[..]).unwrap(), data.clone()));
                BrokerMessage::Ok
            }
            Command::Lget => {
                let (_, data) = queue.link.clone().unwrap();
                BrokerMessage::Lnk { sender_id: queue.sender_id, data }
            }
            Command::Send { notify, body } => {
                let id = MessageId::generate(&mut system_rng());
                let key = queue.server_key.box_key(&queue.dh_key);
                let sealed = seal_message(&key, &id, clock::now(), *notify, body).unwrap();
                queue.messages.push_back((id, sealed));
                let recipient_id = queue.recipient_id;
                if queue.messages.len() == 1 {
                    self.deliver(&recipient_id.0);
                }
                BrokerMessage::Ok
            }
            Command::Ack { message_id } => {
                if queue.messages.front().is_none_or(|(id, _)| id.0 != message_id[..]) {
                    return BrokerMessage::Err(ErrorType::NoMessage);
                }
                queue.messages.pop_front();
                match queue.messages.front() {
                    Some((message_id, body)) => {
                        BrokerMessage::Msg { message_id: *message_id, body: body.clone().into() }
                    }
                    None => BrokerMessage::Ok,
                }
            }
            Command::Del => {
                let id = queue.recipient_id;
                self.queues.retain(|queue| queue.recipient_id != id);
                BrokerMessage::Ok
            }
            other => panic!("this server does not know {}", other.tag()),
        }
    }

    fn create(&mut self, command: &Received, outgoing: &Outgoing) -> BrokerMessage<'static> {
        let Command::New(new) = &command.command else { unreachable!("asked by the caller") };
        let mut rng = system_rng();
        let (mut sender_id, mut link) = (SenderId::generate(&mut rng), None);
        let mut mode = QueueMode::Messaging;
        if let Some(QueueRequest::Contact(Some(contact))) = &new.request {
            sender_id = SenderId::try_from(&contact.sender_id[..]).unwrap();
            assert_eq!(sender_id, SenderId::for_correlation(&command.correlation_id));
            link = Some((LinkId::try_from(&contact.link_id[..]).unwrap(), contact.data.clone()));
            mode = QueueMode::Contact;
        }
        let server_key = X25519PrivateKey::generate(&mut rng);
        let ids = QueueIds {
            recipient_id: RecipientId::generate(&mut rng),
            sender_id,
            server_dh_key: server_key.public_key(),
            mode: Some(mode),
            link_id: link.as_ref().map(|(id, _)| *id),
            service_id: None,
            notifier: None,
        };
        self.queues.push(Queue {
            recipient_id: ids.recipient_id,
            sender_id,
            dh_key: new.dh_key,
            server_key,
            link,
            messages: VecDeque::new(),
            subscriber: new.subscribe.then(|| outgoing.clone()),
        });
        BrokerMessage::Ids(ids)
    }

    /// Pushes the first message of a queue to its subscriber.
    fn deliver(&mut self, recipient_id: &[u8]) {
        let Some(queue) = self.queues.iter().find(|queue| queue.recipient_id.0 == *recipient_id) else {
            return;
        };
        if let (Some((message_id, body)), Some(subscriber)) = (queue.messages.front(), &queue.subscriber) {
            let message = BrokerMessage::Msg { message_id: *message_id, body: body.clone().into() };
            let _gone = subscriber.send((Vec::new(), recipient_id.to_vec(), message));
        }
    }
}
