//! Sessions by server: made when they are needed, kept while something is subscribed, made again when they break.
//!
//! ```text
//! Network ──Instruction──▶ server task ──▶ session        one task for each server
//!                              └──▶ NetworkEvents         what servers say, and answers for the engine
//! ```
//!
//! Messages are bounded: a server is not read further while [`EVENTS_MAX`] of them wait to be handled.

mod events;
mod link;
mod routing;
mod server;
mod services;
mod subscriptions;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::dial::Dialer;
use super::error::{CallError, ConnectError};
use crate::agent::Lane;
use crate::agent::request::Request;
use crate::smp::address::ServerAddress;
use crate::smp::command::Command;
use crate::smp::ids::RecipientId;
use crate::smp::key::AuthPrivateKey;
use crate::smp::response::BrokerMessage;
use events::Inbox;
pub use events::{EVENTS_MAX, NetworkEvent, NetworkEvents, SubscriptionEnd, Ticket};
pub use link::{ReadLinkError, link_answer, link_request};
use routing::Router;
pub use routing::{ProxyMode, ProxyModeError, Routing};
use server::{Instruction, Reply, ServerTask};
pub use services::Services;
use services::Taking;
pub use subscriptions::Subscriptions;

/// Most servers in use at once: strangers choose servers for the queues that we answer to.
pub const SERVERS_MAX: usize = 4096;

/// Time limits (smp.md §17.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For TCP, TLS and hello together.
    pub connect: Duration,
    /// For the answer to a command.
    pub answer: Duration,
    /// For any sign of life, when several commands in a row were not answered: then the connection is made anew.
    pub silence: Duration,
}

impl Limits {
    /// While somebody waits for the result.
    pub const INTERACTIVE: Self =
        Self { connect: Duration::from_secs(15), answer: Duration::from_secs(10), silence: Self::SILENCE };
    /// While nobody does.
    pub const BACKGROUND: Self =
        Self { connect: Duration::from_secs(45), answer: Duration::from_secs(30), silence: Self::SILENCE };
    /// How long a silent server is waited for when nothing else is said.
    pub const SILENCE: Duration = Duration::from_secs(15 * 60);
}

/// What a program wants of its network: time limits, the way out of the machine, and the way to servers. Made of
/// time limits alone, it is the direct way.
#[derive(Debug, Clone)]
pub struct NetworkSettings {
    /// Time limits.
    pub limits: Limits,
    /// How connections leave this machine.
    pub dialer: Dialer,
    /// Which commands go through a proxy.
    pub routing: Routing,
    /// The program as a service of the servers that have its queues (smp.md §13); nothing for a program of few queues.
    pub services: Option<Services>,
}

impl From<Limits> for NetworkSettings {
    fn from(limits: Limits) -> Self {
        Self { limits, dialer: Dialer::default(), routing: Routing::default(), services: None }
    }
}

/// A queue to be subscribed: messages of it come as events.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// The queue.
    pub queue: RecipientId,
    /// The recipient's key.
    pub key: AuthPrivateKey,
    /// Control is asked for before all others, in each session.
    pub lane: Lane,
}

/// All sessions of a program. Copies are handles to the same sessions, which end with the last handle.
#[derive(Debug, Clone)]
pub struct Network(Arc<Servers>);

/// The tasks of all servers.
#[derive(Debug)]
struct Servers {
    limits: Limits,
    dialer: Arc<Dialer>,
    router: Router,
    inbox: Inbox,
    runtime: Handle,
    services: Option<Arc<Taking>>,
    running: Mutex<Running>,
}

#[derive(Debug, Default)]
struct Running {
    instructions: BTreeMap<ServerAddress, mpsc::UnboundedSender<Instruction>>,
    tasks: JoinSet<()>,
}

impl Network {
    /// A network without sessions, and what will happen on it. Tasks run on `runtime`.
    #[must_use]
    pub fn new(settings: impl Into<NetworkSettings>, runtime: Handle) -> (Self, NetworkEvents) {
        let NetworkSettings { limits, dialer, routing, services } = settings.into();
        let (inbox, events) = Inbox::new();
        let servers = Servers {
            limits,
            dialer: Arc::new(dialer),
            router: Router::new(routing),
            inbox,
            runtime,
            services: services.map(|services| Arc::new(Taking::new(services))),
            running: Mutex::default(),
        };
        (Self(Arc::new(servers)), events)
    }

    /// Changes which commands go through a proxy; those on their way are not called back.
    pub fn route(&self, routing: Routing) {
        self.0.router.change(routing);
    }

    fn router(&self) -> &Router {
        &self.0.router
    }

    /// Sends a command and waits for the answer.
    ///
    /// # Errors
    /// [`CallError`], also when the server answers with an error.
    pub async fn call(&self, request: Request) -> Result<BrokerMessage<'static>, CallError> {
        let (sender, answer) = oneshot::channel();
        self.send(Box::new(request), Reply::Caller(sender));
        answer.await.unwrap_or(Err(CallError::Disconnected))
    }

    /// Sends a command; the answer comes as [`NetworkEvent::Answer`] with this ticket. If it creates a queue with a
    /// subscription, the queue is subscribed in this lane from the next session on.
    pub fn submit(&self, request: impl Into<Box<Request>>, ticket: Ticket, lane: Lane) {
        self.send(request.into(), Reply::Ticket { ticket, submitted: Instant::now(), lane });
    }

    /// Subscribes to queues, now and after each reconnect, until the server says otherwise. Queues that are
    /// subscribed already are subscribed again: the server then delivers what is outstanding once more. By the ticket
    /// [`NetworkEvent::Listening`] says that it is about these.
    pub fn subscribe(&self, server: &ServerAddress, queues: Vec<Subscription>, ticket: Ticket) {
        let instruction = Instruction::Subscribe(queues, ticket);
        if let Err(Instruction::Subscribe(queues, _)) = self.instruct(server, instruction) {
            for Subscription { queue, .. } in queues {
                let reason = SubscriptionEnd::TooManyServers;
                self.0.inbox.put(NetworkEvent::SubscriptionEnded { server: server.clone(), queue, reason });
            }
        }
    }

    /// All queues that there were at the start have been given to [`Self::subscribe`]. A service makes no session before
    /// it knows with how many queues it begins.
    pub fn all_subscribed(&self) {
        if let Some(services) = &self.0.services {
            services.begin();
        }
    }

    /// Subscribes once more to a queue, but not at once: something about it went wrong just now.
    pub fn subscribe_later(&self, server: &ServerAddress, subscription: Subscription) {
        // without room for the server there is no session in which the queue could be subscribed
        let _no_room = self.instruct(server, Instruction::SubscribeLater(Box::new(subscription)));
    }

    /// Asks for queues no more, also not for those that were refused: another program does. What is subscribed stays so
    /// until that one has it, or the session ends.
    pub fn unsubscribe(&self, server: &ServerAddress, queues: Vec<RecipientId>) {
        // without room for the server there is nothing that asks for them
        let _no_room = self.instruct(server, Instruction::Unsubscribe(queues));
    }

    /// Asks a server whether it is there: the whole way, with its identity.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn ping(&self, server: &ServerAddress) -> Result<(), CallError> {
        let request = Request {
            server: server.clone(),
            correlation_id: None,
            entity: Vec::new(),
            key: None,
            command: Command::Ping,
        };
        match self.call(request).await? {
            BrokerMessage::Pong => Ok(()),
            _ => Err(CallError::UnexpectedAnswer),
        }
    }

    /// Sends a command to its server, whatever the mode, and waits for the answer.
    async fn call_directly(&self, request: Request) -> Result<BrokerMessage<'static>, CallError> {
        let (sender, answer) = oneshot::channel();
        self.send_directly(Box::new(request), Reply::Caller(sender));
        answer.await.unwrap_or(Err(CallError::Disconnected))
    }

    fn send(&self, request: Box<Request>, reply: Reply) {
        if !self.router().is_proxied(&request) {
            return self.send_directly(request, reply);
        }
        let network = self.clone();
        self.0.runtime.spawn(async move {
            let result = network.call_through_proxy(*request).await;
            reply.give(&network.0.inbox, result);
        });
    }

    fn send_directly(&self, request: Box<Request>, reply: Reply) {
        let server = request.server.clone();
        if let Err(Instruction::Call(_, reply)) = self.instruct(&server, Instruction::Call(request, reply)) {
            reply.give(&self.0.inbox, Err(ConnectError::TooManyServers.into()));
        }
    }

    /// Hands an instruction to the server's task, or back when there would be too many of them.
    fn instruct(&self, server: &ServerAddress, instruction: Instruction) -> Result<(), Instruction> {
        let mut running = self.0.running.lock().unwrap_or_else(PoisonError::into_inner);
        let instruction = match running.instructions.get(server) {
            Some(sender) => match sender.send(instruction) {
                Ok(()) => return Ok(()),
                // only a task that panicked leaves this behind
                Err(unsent) => unsent.0,
            },
            None if running.instructions.len() >= SERVERS_MAX => return Err(instruction),
            None => instruction,
        };
        let (sender, instructions) = mpsc::unbounded_channel();
        let task = ServerTask::new(
            server.clone(),
            self.0.limits,
            self.0.dialer.clone(),
            self.0.services.clone(),
            self.0.inbox.clone(),
            instructions,
            Registration { servers: Arc::downgrade(&self.0), server: server.clone() },
        );
        while running.tasks.try_join_next().is_some() {}
        running.tasks.spawn_on(task.run(), &self.0.runtime);
        let sent = sender.send(instruction);
        running.instructions.insert(server.clone(), sender);
        sent.map_err(|unsent| unsent.0)
    }
}

/// A server task's place in the list.
#[derive(Debug)]
struct Registration {
    servers: Weak<Servers>,
    server: ServerAddress,
}

impl Registration {
    /// Leaves the list, unless an instruction waits.
    fn retire(&self, instructions: &mpsc::UnboundedReceiver<Instruction>) -> bool {
        let Some(servers) = self.servers.upgrade() else { return true };
        let mut running = servers.running.lock().unwrap_or_else(PoisonError::into_inner);
        if !instructions.is_empty() {
            return false;
        }
        running.instructions.remove(&self.server);
        true
    }
}
