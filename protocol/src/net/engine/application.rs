//! What a program is to the engine: its store, and what it does when something happens.

use std::error::Error;

use crate::agent::Lane;
use crate::agent::event::Event;
use crate::agent::signed_link_data::OpenedLink;
use crate::agent::store::{AgentStore, ConnectionId};
use crate::net::error::CallError;
use crate::net::network::ReadLinkError;
use crate::smp::address::ServerAddress;
use crate::smp::error::ErrorType;
use crate::smp::ids::RecipientId;

use super::context::{Context, LinkTag};

/// An error that stops the engine. Everything a peer or a server does wrong is an event; what comes this way is a
/// store that failed or a broken invariant. Nothing of the batch is acknowledged then.
pub type Fatal = Box<dyn Error + Send + Sync>;

/// A store whose changes become durable together.
pub trait Transactional {
    /// Opens a transaction.
    ///
    /// # Errors
    /// When the database fails; so for every method here.
    fn begin(&mut self) -> Result<(), Fatal>;

    /// Makes everything since `begin` durable: it must survive `kill -9` and power loss when this returns.
    ///
    /// # Errors
    /// When the database fails; then nothing of it may be there after a restart, or all.
    fn commit(&mut self) -> Result<(), Fatal>;

    /// Forgets everything since `begin`.
    ///
    /// # Errors
    /// When the database fails.
    fn rollback(&mut self) -> Result<(), Fatal>;
}

/// A program that lives on connections. All methods but [`Application::after_commit`] run inside the transaction of
/// a batch; what they ask of the network through the [`Context`] happens after the commit.
pub trait Application: Send + 'static {
    /// Where the program and its connections keep their state: one database.
    type Store: AgentStore + Transactional;
    /// What other threads ask of the program.
    type Command: Send + 'static;

    /// The store.
    fn store(&mut self) -> &mut Self::Store;

    /// The engine starts; called once, before anything else.
    ///
    /// # Errors
    /// Those that must stop the program; so for every method here.
    fn on_start(&mut self, context: &mut Context<'_>) -> Result<(), Fatal> {
        let _nothing_to_do = context;
        Ok(())
    }

    /// Whether other programs share the store, so that connections become this one's by [`Context::adopt`] alone. Else
    /// all of the store's connections are taken up after the start.
    fn shares_store(&self) -> bool {
        false
    }

    /// How the queue that is being created for a connection is subscribed in later sessions.
    ///
    /// # Errors
    /// Those that must stop the program.
    fn lane(&mut self, connection: ConnectionId) -> Result<Lane, Fatal> {
        let _as_all_others = connection;
        Ok(Lane::Bulk)
    }

    /// Something happened on a connection.
    ///
    /// # Errors
    /// Those that must stop the program.
    fn on_event(
        &mut self,
        context: &mut Context<'_>,
        connection: ConnectionId,
        event: Event,
    ) -> Result<(), Fatal>;

    /// A link was read, or could not be.
    ///
    /// # Errors
    /// Those that must stop the program.
    fn on_link(
        &mut self,
        context: &mut Context<'_>,
        tag: LinkTag,
        result: Result<OpenedLink, ReadLinkError>,
    ) -> Result<(), Fatal>;

    /// Another thread asks for something.
    ///
    /// # Errors
    /// Those that must stop the program.
    fn on_command(&mut self, context: &mut Context<'_>, command: Self::Command) -> Result<(), Fatal>;

    /// The moment given to [`Context::wake_at`] has come.
    ///
    /// # Errors
    /// Those that must stop the program.
    fn on_timer(&mut self, context: &mut Context<'_>) -> Result<(), Fatal> {
        let _nothing_to_do = context;
        Ok(())
    }

    /// The network has room for about so many more messages. Asked in every batch: a program with much to send hands it
    /// over by and by here, so that nobody waits behind all of it. Says whether more is left: then this is asked again
    /// as soon as there is room, without any other reason.
    ///
    /// # Errors
    /// Those that must stop the program.
    fn on_room(&mut self, context: &mut Context<'_>, room: usize) -> Result<bool, Fatal> {
        let _nothing_to_send = (context, room);
        Ok(false)
    }

    /// A server was reached or lost.
    ///
    /// # Errors
    /// Those that must stop the program.
    fn on_network(&mut self, context: &mut Context<'_>, change: NetworkChange) -> Result<(), Fatal> {
        let _nothing_to_do = (context, change);
        Ok(())
    }

    /// The batch is durable: answer those who asked, print what is new.
    fn after_commit(&mut self) {}
}

/// Something changed between us and a server.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum NetworkChange {
    /// There is a session with this server.
    Up(ServerAddress),
    /// In it the server was heard about all of its queues that were asked for and go first (see [`Context::adopt`]); others
    /// may follow. Told again when more of them were asked for since.
    Listening(ServerAddress),
    /// The session with this server ended, or could not be made. Told once for each series of failures.
    Down {
        /// The server.
        server: ServerAddress,
        /// Why.
        reason: CallError,
    },
    /// A queue of ours is there, and its server does not let us hear it, as when its operator has blocked it. What is sent
    /// to it waits at the senders. It is asked for again by itself; told once, until [`Self::RefusalOver`].
    QueueRefused {
        /// The server.
        server: ServerAddress,
        /// The queue.
        queue: RecipientId,
        /// What the server says.
        error: ErrorType,
    },
    /// A queue is not refused any more.
    RefusalOver {
        /// The server.
        server: ServerAddress,
        /// The queue.
        queue: RecipientId,
        /// Whether it is heard again; else it is gone, or another program's.
        is_heard: bool,
    },
    /// Another program took over all queues that were subscribed together at this server, as [`Self::TakenOver`].
    AllTakenOver(ServerAddress),
    /// To be kept for [`Services::surplus`](crate::net::network::Services): it saves one subscription for each queue
    /// after the next start.
    Surplus {
        /// The server.
        server: ServerAddress,
        /// How many queues more it has of us than we know.
        queues: i64,
    },
    /// Another program subscribed to a queue of ours: a copy of this home is in use, or the connection is another
    /// program's now that shares the store. We hear nothing of the queue until the next start, or until its connection
    /// is adopted again.
    TakenOver {
        /// The server.
        server: ServerAddress,
        /// The queue.
        queue: RecipientId,
    },
}
