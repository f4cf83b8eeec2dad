//! The loop that programs share: one thread owns the application and its store.
//!
//! ```text
//! inputs (messages, answers, commands, link data, timers)
//!   └─▶ a batch: begin ▶ agent and application handle each ▶ next requests are made ▶ commit
//!                                           ACKs, requests, link reads, after_commit ◀──┘
//! ```
//!
//! Nothing leaves before the commit, so a message is acknowledged only when its effects are durable, and every step
//! can be repeated after a crash. If the store fails, the engine stops: nothing of the batch was acknowledged.

mod application;
mod batch;
mod context;
mod handle;
mod input;
mod jobs;

pub use application::{Application, Fatal, NetworkChange, Transactional};
pub use context::{AgentAccess, Context, LinkTag};
pub use handle::{EngineError, EngineHandle, EngineStopped, start};

use std::collections::BTreeMap;

use tokio::runtime::{Handle, Runtime};
use tokio::sync::mpsc;

use self::context::Wishes;
use self::input::LinkResult;
use self::jobs::Jobs;
use super::network::{Network, NetworkEvents, Ticket};
use crate::agent::request::OwnQueue;
use crate::agent::store::{ConnectionId, JobId};
use crate::smp::address::ServerAddress;
use crate::smp::ids::RecipientId;
use crate::timestamp::Timestamp;

/// The engine: lives on its thread.
struct Engine<A: Application> {
    application: A,
    network: Network,
    events: NetworkEvents,
    commands: mpsc::Receiver<A::Command>,
    /// The handle is gone: the batch in hand is the last.
    is_ending: bool,
    /// Only outcomes are stored from now on.
    is_settling: bool,
    links: mpsc::UnboundedReceiver<LinkResult>,
    /// For the tasks that read links.
    link_sender: mpsc::UnboundedSender<LinkResult>,
    /// Where links are read.
    runtime: Handle,
    /// What this thread waits with. Its own, so that it can finish its work while the program's runtime goes away.
    waiting: Runtime,
    wishes: Wishes,
    jobs: Jobs,
    /// Commands without an answer yet.
    tickets: BTreeMap<Ticket, Errand>,
    next_ticket: u64,
    wake_at: Option<Timestamp>,
    /// The application has more to send when there is room.
    has_more: bool,
    startup: Startup,
    forget_at: Timestamp,
}

/// What a command on its way is for.
enum Errand {
    Job { connection: ConnectionId, job: JobId, server: ServerAddress },
    Acknowledge(Box<OwnQueue>),
}

/// What of the start is still to be done, page by page between the batches.
enum Startup {
    /// Queues after this one are to be subscribed.
    Subscribing {
        after: Option<(ConnectionId, RecipientId)>,
    },
    /// Connections that had requests when the program ended are to be woken.
    Waking(Vec<ConnectionId>),
    Done,
}
