//! Commands of a client that other servers answer: they take long, so they hold up nothing, and each is answered when
//! it is done. Some are on their way at a time, the others wait their turn (smp.md §14.3).

use std::collections::VecDeque;
use std::sync::Arc;

use protocol::smp::command::{Command, Party};
use tokio::task::JoinSet;

use super::Client;
use super::execution::{Response, execute_one};
use crate::authorize::Accepted;

/// The commands of one client on their way to other servers. They are given up when the client goes.
#[derive(Debug)]
pub(super) struct Forwarding {
    concurrency: usize,
    running: JoinSet<Response>,
    waiting: VecDeque<Accepted>,
}

impl Forwarding {
    pub(super) fn new(concurrency: u32) -> Self {
        let concurrency = usize::try_from(concurrency).unwrap_or(usize::MAX);
        Self { concurrency, running: JoinSet::new(), waiting: VecDeque::new() }
    }

    /// Takes the commands for other servers out of those of a block.
    pub(super) fn take_from(&mut self, client: &Arc<Client>, commands: &mut Vec<Accepted>) {
        self.waiting.extend(commands.extract_if(.., |accepted| is_forwarded(&accepted.command)));
        self.start(client);
    }

    /// How many there are.
    pub(super) fn commands(&self) -> usize {
        self.running.len().saturating_add(self.waiting.len())
    }

    /// The next response; never when there is nothing to wait for.
    pub(super) async fn next(&mut self, client: &Arc<Client>) -> Response {
        loop {
            match self.running.join_next().await {
                None => std::future::pending().await,
                Some(finished) => {
                    self.start(client);
                    match finished {
                        Ok(response) => return response,
                        Err(error) => tracing::error!(%error, "forwarding a command failed"),
                    }
                }
            }
        }
    }

    fn start(&mut self, client: &Arc<Client>) {
        while self.running.len() < self.concurrency {
            let Some(accepted) = self.waiting.pop_front() else { return };
            self.running.spawn(execute_one(client.clone(), accepted));
        }
    }
}

fn is_forwarded(command: &Command<'_>) -> bool {
    command.party() == Party::ProxiedClient
}
