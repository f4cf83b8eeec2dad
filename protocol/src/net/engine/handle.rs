//! Starting an engine, and what other threads hold of it.

use std::io;

use thiserror::Error;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc, oneshot};

use super::application::{Application, Fatal};
use super::core::Core;
use super::shell::Engine;
use crate::net::network::{Network, NetworkSettings};
use crate::net::rng::system_rng;

/// Most commands that wait to be handled.
const COMMANDS_MAX: usize = 64;

/// Why an engine ended before it was told to.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The application or its store failed. Nothing that was not durable was acknowledged.
    #[error("stopped, because state could not be kept; what was not stored will come again after a restart")]
    Failed(#[source] Fatal),
    /// The engine's thread panicked: a mistake in this program.
    #[error("stopped by a mistake in this program; what was not stored will come again after a restart")]
    Panicked,
}

/// The engine does not take commands any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the program is stopping")]
pub struct EngineStopped;

/// An engine as other threads see it. The engine stops when its handle is dropped.
#[derive(Debug)]
pub struct EngineHandle<C> {
    commands: mpsc::Sender<C>,
    network: Network,
    ended: oneshot::Receiver<Result<(), EngineError>>,
}

impl<C> EngineHandle<C> {
    /// Asks the application for something; waits while many others do.
    ///
    /// # Errors
    /// [`EngineStopped`].
    pub async fn command(&self, command: C) -> Result<(), EngineStopped> {
        self.commands.send(command).await.map_err(|_| EngineStopped)
    }

    /// What other tasks use to ask the application.
    #[must_use]
    pub fn commands(&self) -> mpsc::WeakSender<C> {
        self.commands.downgrade()
    }

    /// The sessions of the engine, for reading links and asking servers beside it.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Waits until the engine has stopped by itself.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn stopped(&mut self) -> Result<(), EngineError> {
        (&mut self.ended).await.unwrap_or(Err(EngineError::Panicked))
    }

    /// Stops the engine after the batch in hand and the commands that wait. What it has not sent yet is sent after
    /// the next start.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn stop(self) -> Result<(), EngineError> {
        drop(self.commands);
        self.ended.await.unwrap_or(Err(EngineError::Panicked))
    }
}

/// Starts an engine on a thread of its own; sessions run on `runtime`.
///
/// # Errors
/// When the system gives no thread.
pub fn start<A: Application>(
    application: A,
    settings: impl Into<NetworkSettings>,
    runtime: &Handle,
) -> io::Result<EngineHandle<A::Command>> {
    let (network, events) = Network::new(settings, runtime.clone());
    let (command_sender, commands) = mpsc::channel(COMMANDS_MAX);
    let (link_sender, links) = mpsc::unbounded_channel();
    let (end, ended) = oneshot::channel();
    let (runtime, own_network) = (runtime.clone(), network.clone());
    let run = move || -> Result<(), Fatal> {
        let engine = Engine {
            core: Core::new(application, system_rng()),
            network: own_network,
            events,
            commands,
            is_ending: false,
            links,
            link_sender,
            runtime,
            waiting: Builder::new_current_thread().enable_time().build()?,
        };
        engine.run()
    };
    std::thread::Builder::new().name("engine".to_owned()).spawn(move || {
        // nobody may be waiting for the end
        let _unheard = end.send(run().map_err(EngineError::Failed));
    })?;
    Ok(EngineHandle { commands: command_sender, network, ended })
}
