//! The commands of one block, executed: in their order where they concern the same queue, together where they do not,
//! so that a block of commands shares one write to disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::task::{JoinHandle, JoinSet};

use super::Client;
use crate::authorize::Accepted;
use crate::commands::{Reply, execute};
use crate::limits::Charge;
use crate::store::QueueNumber;

/// A response with what it answers.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) correlation_id: Vec<u8>,
    pub(super) entity_id: Vec<u8>,
    pub(super) reply: Reply,
}

/// A block whose commands are being executed. They finish also when the connection ends.
#[derive(Debug)]
pub(super) struct Execution {
    queues: BTreeSet<QueueNumber>,
    commands: usize,
    task: JoinHandle<Vec<Response>>,
}

impl Execution {
    /// Begins to execute commands, which take the memory of `charge` until they are done.
    pub(super) fn start(client: &Arc<Client>, commands: Vec<Accepted>, charge: Charge) -> Self {
        let queues = queues_of(&commands);
        let count = commands.len();
        let executed = execute_all(client.clone(), commands);
        let task = tokio::spawn(async move {
            let responses = executed.await;
            drop(charge);
            responses
        });
        Self { queues, commands: count, task }
    }

    /// Whether it concerns any of these queues: then commands of a later block wait for it.
    pub(super) fn concerns(&self, queues: &BTreeSet<QueueNumber>) -> bool {
        !self.queues.is_disjoint(queues)
    }

    /// Whether all of them were executed.
    pub(super) fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// How many commands it has.
    pub(super) fn commands(&self) -> usize {
        self.commands
    }

    /// Waits for its responses, in the order of the commands. May be waited for again when this was given up.
    pub(super) async fn finish(&mut self) -> Vec<Response> {
        (&mut self.task).await.unwrap_or_else(|error| {
            tracing::error!(%error, "the commands of a block failed");
            Vec::new()
        })
    }
}

/// The queues that commands concern.
pub(super) fn queues_of(commands: &[Accepted]) -> BTreeSet<QueueNumber> {
    commands.iter().filter_map(|accepted| accepted.queue.as_ref()).map(|queue| queue.number).collect()
}

/// What is executed in order: the commands of a queue. Those of no queue stand alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Queue(QueueNumber),
    Alone(usize),
}

async fn execute_all(client: Arc<Client>, commands: Vec<Accepted>) -> Vec<Response> {
    let mut groups: BTreeMap<Group, Vec<(usize, Accepted)>> = BTreeMap::new();
    for (position, accepted) in commands.into_iter().enumerate() {
        let group = match &accepted.queue {
            Some(queue) => Group::Queue(queue.number),
            None => Group::Alone(position),
        };
        groups.entry(group).or_default().push((position, accepted));
    }
    if groups.len() <= 1 {
        let Some((_, group)) = groups.pop_first() else { return Vec::new() };
        return execute_in_order(client, group).await.into_iter().map(|(_, response)| response).collect();
    }
    let mut tasks = JoinSet::new();
    for (_, group) in groups {
        tasks.spawn(execute_in_order(client.clone(), group));
    }
    let mut responses: BTreeMap<usize, Response> = BTreeMap::new();
    while let Some(group) = tasks.join_next().await {
        match group {
            Ok(group) => responses.extend(group),
            Err(error) => tracing::error!(%error, "the commands of a queue failed"),
        }
    }
    responses.into_values().collect()
}

/// Executes the commands of one queue, each with its position in the block.
async fn execute_in_order(client: Arc<Client>, commands: Vec<(usize, Accepted)>) -> Vec<(usize, Response)> {
    let mut responses = Vec::with_capacity(commands.len());
    for (position, accepted) in commands {
        responses.push((position, execute_one(client.clone(), accepted).await));
    }
    responses
}

/// Executes a command and says what it answers.
pub(super) async fn execute_one(client: Arc<Client>, accepted: Accepted) -> Response {
    let (correlation_id, entity_id) = (accepted.correlation_id.clone(), accepted.entity_id.clone());
    let reply = execute(&client, accepted).await;
    Response { correlation_id, entity_id, reply }
}
