//! From a job to a request: the same at every attempt, but for the nonce of the queue's box (agent.md §6.1).

use crate::crypto::sign::Ed25519PrivateKey;
use crate::encoding::{Decode as _, Encode as _};
use crate::smp::address::ServerAddress;
use crate::smp::command::{Command, ContactLink, LinkData, NewQueue, QueueRequest};
use crate::smp::key::{AuthPrivateKey, AuthPublicKey};

use super::connection::Phase;
use super::connection_request::AGENT_VERSIONS;
use super::envelope::{Envelope, EnvelopeContent};
use super::error::AgentError;
use super::event::{Event, SendFailure};
use super::handshake::request_envelope;
use super::job::{Job, OutgoingBody, OutgoingMessage, Purpose, Task};
use super::queue::SendQueue;
use super::queue_layer::{ClientMessage, PrivateHeader, seal};
use super::record::{Connection, Opening};
use super::request::{Request, Work};
use super::store::{AgentStore, ConnectionId, JobId};
use super::{Agent, Outcome};

impl<S: AgentStore> Agent<'_, S> {
    pub(super) fn next_work(
        &mut self,
        id: ConnectionId,
        has_room: impl Fn(&ServerAddress) -> bool,
    ) -> Outcome<Work, S> {
        let mut next = self.first_job(id)?;
        if next.is_none() {
            // Mostly: then the record need not be read.
            return Ok(Work::Idle);
        }
        let Some(connection) = self.load_if_there(id)? else { return Ok(Work::Idle) };
        while let Some((job_id, job)) = next {
            if connection.wants(&job.task) {
                if let Some(at) = job.retry.not_before
                    && at > self.now
                {
                    return Ok(Work::NotBefore(at));
                }
                if let Some(server) = connection.server_of(&job.task)
                    && !has_room(server)
                {
                    return Ok(Work::NoRoom(server.clone()));
                }
                if let Some(request) = self.build(&connection, &job.task)? {
                    return Ok(Work::Run(job_id, Box::new(request)));
                }
                match &job.task {
                    Task::DeleteQueue => {
                        self.remove(id)?;
                        return Ok(Work::Idle);
                    }
                    Task::Message(OutgoingMessage {
                        purpose: Purpose::Application { .. }, number, ..
                    }) => {
                        let (number, reason) = (*number, SendFailure::TakenBack);
                        self.tell(id, Event::SendFailed { number, reason });
                    }
                    _ => {}
                }
            }
            self.drop_job(job_id)?;
            next = self.first_job(id)?;
        }
        Ok(Work::Idle)
    }

    /// The creation of a queue is about to be asked for: from now on the server may have done it.
    pub(super) fn count_attempt(&mut self, id: ConnectionId, started: JobId) -> Outcome<(), S> {
        match self.first_job(id)? {
            Some((job_id, mut job)) if job_id == started => {
                job.attempts = job.attempts.saturating_add(1);
                self.store.update_job(job_id, &job.to_bytes()).map_err(AgentError::Store)
            }
            _ => Ok(()),
        }
    }

    /// The request of a job; nothing when there is nothing to ask (any more).
    fn build(&mut self, connection: &Connection, task: &Task) -> Outcome<Option<Request>, S> {
        let receive = &connection.receive;
        Ok(match task {
            Task::CreateQueue { user_data } => Some(new_queue(connection, user_data.as_deref())),
            Task::SetLinkData { user_data } => receive.own_queue().and_then(|queue| {
                let address = connection.address.as_ref()?;
                let link_id = address.link_id().0.to_vec().into();
                Some(
                    queue
                        .request(Command::Lset { link_id, data: link_data(address.fixed_blob(), user_data) }),
                )
            }),
            Task::SecureOwnQueue { key } => {
                receive.own_queue().map(|queue| queue.request(Command::Key { sender_key: *key }))
            }
            Task::DeleteQueue => receive.own_queue().map(|queue| queue.request(Command::Del)),
            Task::SecurePeerQueue => connection.send.as_ref().map(|queue| {
                let sender_key = AuthPublicKey::Ed25519(queue.key.public_key());
                to_queue(queue, Some(&queue.key), Command::Skey { sender_key })
            }),
            Task::Invite => self.build_invitation(connection),
            Task::Confirm { parameters, key, plain } => {
                let ratchet_message = key.encrypt_body(plain).ok();
                let envelope = ratchet_message.map(|ratchet_message| Envelope {
                    agent_version: connection.agent_version,
                    content: EnvelopeContent::Confirmation {
                        parameters: parameters.clone(),
                        ratchet_message,
                    },
                });
                match (envelope, connection.send.as_ref()) {
                    (Some(envelope), Some(queue)) => self.send_confirmation(queue, &envelope),
                    _ => None,
                }
            }
            Task::Message(message) => {
                let Some(plain) = self.plain(message)? else { return Ok(None) };
                let ratchet_message = message.key.encrypt_body(&plain).ok();
                let content =
                    ratchet_message.map(|message| EnvelopeContent::Message { ratchet_message: message });
                content.and_then(|content| self.send_regular(connection, content, message.purpose.notifies()))
            }
            Task::RatchetKey { parameters } => {
                let info = super::message::AgentMessage::RatchetInfo(Vec::new()).to_bytes();
                let content = EnvelopeContent::RatchetKey { parameters: parameters.clone(), info };
                self.send_regular(connection, content, true)
            }
        })
    }

    fn build_invitation(&mut self, connection: &Connection) -> Option<Request> {
        let Opening::Request { to, agent_version, info } = &connection.opening else { return None };
        let sender_id = connection.receive.created.as_ref()?.sender_id;
        let keys = connection.keys.as_ref()?;
        let envelope = request_envelope(&connection.receive, sender_id, keys, *agent_version, info)?;
        Some(to_queue(to, None, self.send_command(to, true, PrivateHeader::Empty, &envelope, true)?))
    }

    /// A confirmation for a queue that we could not secure goes unauthorised, with the key to secure it by.
    fn send_confirmation(&mut self, queue: &SendQueue, envelope: &Envelope) -> Option<Request> {
        let (header, key) = if queue.is_securable() {
            (PrivateHeader::Empty, Some(&queue.key))
        } else {
            (PrivateHeader::SenderKey(AuthPublicKey::Ed25519(queue.key.public_key())), None)
        };
        Some(to_queue(queue, key, self.send_command(queue, true, header, envelope, true)?))
    }

    fn send_regular(
        &mut self,
        connection: &Connection,
        content: EnvelopeContent,
        notify: bool,
    ) -> Option<Request> {
        let queue = connection.target()?;
        let envelope = Envelope { agent_version: AGENT_VERSIONS.max(), content };
        let command = self.send_command(queue, false, PrivateHeader::Empty, &envelope, notify)?;
        Some(to_queue(queue, Some(&queue.key), command))
    }

    /// `SEND` of an envelope; the first one of a queue brings our key for its box.
    fn send_command(
        &mut self,
        queue: &SendQueue,
        is_first: bool,
        header: PrivateHeader,
        envelope: &Envelope,
        notify: bool,
    ) -> Option<Command<'static>> {
        let message = ClientMessage { header, envelope: envelope.to_bytes() };
        let own_key = is_first.then_some(&queue.dh_public);
        let body = seal(queue.client_version, own_key, &queue.secret.box_key(), &message, self.rng);
        Some(Command::Send { notify, body: body.ok()?.into() })
    }

    fn plain(&mut self, message: &OutgoingMessage) -> Outcome<Option<Vec<u8>>, S> {
        let body = match &message.body {
            OutgoingBody::Inline(body) => Some(body.clone()),
            OutgoingBody::Shared(id) => self.store.body(*id).map_err(AgentError::Store)?,
        };
        Ok(body.map(|body| [&message.head[..], &body].concat()))
    }

    pub(super) fn first_job(&mut self, id: ConnectionId) -> Outcome<Option<(JobId, Job)>, S> {
        let Some((job_id, bytes)) = self.store.first_job(id).map_err(AgentError::Store)? else {
            return Ok(None);
        };
        Ok(Some((job_id, Job::from_bytes(&bytes).map_err(AgentError::Record)?)))
    }

    pub(super) fn drop_job(&mut self, job: JobId) -> Outcome<(), S> {
        self.store.delete_job(job).map_err(AgentError::Store)
    }

    /// The connection is gone, and nothing is left of it.
    pub(super) fn remove(&mut self, id: ConnectionId) -> Outcome<(), S> {
        self.store.delete_connection(id).map_err(AgentError::Store)?;
        self.tell(id, Event::Deleted);
        Ok(())
    }
}

impl Connection {
    /// The server that a job is for; nothing when there is nothing to ask.
    fn server_of(&self, task: &Task) -> Option<&ServerAddress> {
        let queue = match task {
            Task::CreateQueue { .. }
            | Task::SetLinkData { .. }
            | Task::SecureOwnQueue { .. }
            | Task::DeleteQueue => return Some(&self.receive.server.server),
            Task::SecurePeerQueue | Task::Confirm { .. } => self.send.as_ref(),
            Task::Invite => match &self.opening {
                Opening::Request { to, .. } => Some(to.as_ref()),
                Opening::Nothing | Opening::Join { .. } | Opening::Key(_) => None,
            },
            Task::Message(_) | Task::RatchetKey { .. } => self.target(),
        };
        queue.map(|queue| &queue.location.server)
    }

    /// Whether a job still serves a purpose where the connection stands.
    pub(super) fn wants(&self, task: &Task) -> bool {
        if self.discards_jobs && *task != Task::DeleteQueue {
            return false;
        }
        let phase = self.phase;
        match task {
            Task::CreateQueue { .. } => {
                matches!(phase, Phase::AddressCreating | Phase::Creating | Phase::Joining)
            }
            Task::SetLinkData { .. } => phase == Phase::Address,
            Task::SecurePeerQueue => {
                matches!(phase, Phase::Joining | Phase::Confirming | Phase::Allowing { .. })
            }
            Task::SecureOwnQueue { .. } => matches!(phase, Phase::Allowing { .. } | Phase::Greeting),
            Task::Invite => phase == Phase::Inviting,
            Task::Confirm { .. } => matches!(phase, Phase::Confirming | Phase::Allowing { .. }),
            Task::Message(message) => match message.purpose {
                Purpose::Hello => matches!(phase, Phase::AnsweringHello | Phase::Greeting),
                Purpose::QueueTest => self.replacement.as_ref().is_some_and(|queue| queue.is_secured),
                _ => self.target().is_some(),
            },
            Task::RatchetKey { .. } => self.target().is_some(),
            Task::DeleteQueue => true,
        }
    }
}

fn new_queue(connection: &Connection, user_data: Option<&[u8]>) -> Request {
    let receive = &connection.receive;
    let (correlation_id, request) = match (&connection.address, user_data) {
        (Some(address), Some(user_data)) => {
            let link = ContactLink {
                link_id: address.link_id().0.to_vec().into(),
                sender_id: address.sender_id().0.to_vec().into(),
                data: link_data(address.fixed_blob(), user_data),
            };
            (Some(address.correlation_id()), QueueRequest::Contact(Some(link)))
        }
        _ => (None, QueueRequest::Messaging(None)),
    };
    Request {
        server: receive.server.server.clone(),
        correlation_id,
        entity: Vec::new(),
        key: Some(AuthPrivateKey::Ed25519(receive.key.clone())),
        command: Command::New(Box::new(NewQueue {
            recipient_key: AuthPublicKey::Ed25519(receive.key.public_key()),
            dh_key: receive.server_dh_key.public_key(),
            password: receive.server.password.clone(),
            subscribe: true,
            request: Some(request),
            notifier: None,
        })),
    }
}

fn link_data(fixed: &[u8], user: &[u8]) -> LinkData<'static> {
    LinkData { fixed: fixed.to_vec().into(), user: user.to_vec().into() }
}

fn to_queue(queue: &SendQueue, key: Option<&Ed25519PrivateKey>, command: Command<'static>) -> Request {
    Request {
        server: queue.location.server.clone(),
        correlation_id: None,
        entity: queue.location.sender_id.0.to_vec(),
        key: key.cloned().map(AuthPrivateKey::Ed25519),
        command,
    }
}
