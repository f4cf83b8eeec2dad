//! Network, protocol and store together: what commands ask for is done here, and what happens is told.
//!
//! ```text
//! app        the program as protocol::net::engine sees it           ask    what each request begins
//! inputs     what network and clock bring, led to its part
//! create, owner_relays, link_data, govern                           the owner's side
//! join, restore                                                     the member's side
//! send       own events, outbox      receive, apply, content, roster   what relays bring
//! author_chain                       what they did not bring      history   what they are asked for
//! history_give                       what they ask an owner for
//! bulk                               the second connection to a relay, and what goes ahead of it
//! aside                              second connections that have ended
//! goal       what a command waits for                               step   one transaction
//! relay_test whether a relay holds the key of its address
//! unusable   servers for which waiting does not help
//! ```

mod app;
mod apply;
mod aside;
mod ask;
mod author_chain;
mod bulk;
mod content;
mod create;
mod goal;
mod govern;
mod history;
mod history_give;
mod inputs;
mod join;
mod knocks;
mod link_data;
mod owner_relays;
mod receive;
mod relay_test;
mod restore;
mod roster;
mod rulings;
mod send;
mod step;
mod tag;
mod take_over;
mod unproven;
mod unusable;

use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use protocol::net::engine::{EngineHandle, start};
use tokio::sync::mpsc;

pub use self::app::{Ask, Client};
use crate::control;
use crate::error::CommandError;
use crate::event::Reply;
use crate::exit_code::ExitCode;
use crate::home::Home;
use crate::network;
use crate::output::Output;
use crate::request::Request;
use crate::store::Store;

pub(crate) use self::join::call_error_kind;
pub(crate) use self::step::chain;

/// A name that can stand in lists.
///
/// # Errors
/// [`ExitCode::Usage`], saying what is wrong with it.
pub(crate) fn checked_name(name: &str) -> Result<String, CommandError> {
    let name = name.trim();
    protocol::group::profile::Profile::named(name)
        .check()
        .map_err(|problem| CommandError::new(ExitCode::Usage, format_args!("Unusable name: {problem}")))?;
    Ok(name.to_owned())
}

/// Does one request and ends.
///
/// # Errors
/// What the request ends with.
pub(crate) fn run_one(
    store: Store,
    request: Request,
    mut take: impl FnMut(Reply) -> Option<Result<(), CommandError>>,
) -> Result<(), CommandError> {
    let runtime = runtime()?;
    runtime.block_on(async {
        let mut engine = begin(store, &runtime)?;
        let mut replies = submit(&engine, request).await?;
        let result = loop {
            tokio::select! {
                reply = replies.recv() => match reply.and_then(&mut take) {
                    Some(result) => break result,
                    None if replies.is_closed() && replies.is_empty() => break Err(stopped(&mut engine).await),
                    None => {}
                },
                signal = interrupted() => {
                    signal?;
                    break Err(CommandError::new(ExitCode::StillWaiting, "Interrupted"));
                }
            }
        };
        engine.stop().await.context("Unable to end well")?;
        result
    })
}

/// Follows and serves other commands until interrupted.
///
/// # Errors
/// When the store fails.
pub(crate) fn run_listening(
    store: Store,
    home: &Home,
    request: Request,
    output: Output,
) -> Result<(), CommandError> {
    let runtime = runtime()?;
    runtime.block_on(async {
        let mut engine = begin(store, &runtime)?;
        let control = control::Server::bind(home).context("Unable to open the control socket")?;
        let commands = engine.commands();
        let serving = control.serve(move |request, replies| {
            let commands = commands.clone();
            async move {
                let Some(commands) = commands.upgrade() else { return };
                // An engine that ends drops the replies, which the command sees.
                let _ = commands.send(Ask { request, replies }).await;
            }
        });
        let mut replies = submit(&engine, request).await?;
        tokio::pin!(serving);
        let result = loop {
            tokio::select! {
                () = &mut serving => {}
                reply = replies.recv() => match reply {
                    Some(Reply::Event(event)) => {
                        if output.event(&event).is_err() {
                            break Ok(());
                        }
                    }
                    Some(Reply::Success) => break Ok(()),
                    Some(Reply::Failure(error)) => break Err(error),
                    None => break Err(stopped(&mut engine).await),
                },
                signal = interrupted() => break Ok(signal?),
            }
        };
        engine.stop().await.context("Unable to end well")?;
        result
    })
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("Unable to start")
}

fn begin(store: Store, runtime: &tokio::runtime::Runtime) -> anyhow::Result<EngineHandle<Ask>> {
    let settings = network::settings(&store)?;
    let network = Arc::new(OnceLock::new());
    let engine = start(Client::new(store, network.clone()), settings, runtime.handle())
        .context("Unable to start the engine")?;
    // the client changes the routes when its servers change, not before the first command
    let _ = network.set(engine.network().clone());
    Ok(engine)
}

async fn submit(
    engine: &EngineHandle<Ask>,
    request: Request,
) -> anyhow::Result<mpsc::UnboundedReceiver<Reply>> {
    let (replies, answers) = mpsc::unbounded_channel();
    engine.command(Ask { request, replies }).await?;
    Ok(answers)
}

async fn stopped(engine: &mut EngineHandle<Ask>) -> CommandError {
    match engine.stopped().await {
        Ok(()) => CommandError::new(ExitCode::Failure, "The engine stopped before it answered"),
        Err(error) => anyhow::Error::from(error).into(),
    }
}

/// Ctrl-C or a polite request to end.
async fn interrupted() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("Unable to hear signals")?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed.context("Unable to hear signals"),
        _ = terminate.recv() => Ok(()),
    }
}
