//! The queues that the server holds, as a service and its senders know them.

use anyhow::Context as _;
use protocol::crypto::dh::X25519PublicKey;
use protocol::net::service::ServiceIdentity;
use protocol::smp::command::Command;
use protocol::smp::ids::{RecipientId, SenderId};
use tokio::task::JoinSet;

use crate::connection::{Connection, Target};
use crate::pair::random_body;
use crate::phases::Plan;
use crate::progress::Progress;
use crate::queue::{KeyKind, Keys, Signer, create_each, is_ok, pipeline};

/// Queues that one connection of the service makes. It is subscribed to each, and what the server keeps for that is to
/// be gone when the memory of idle queues is looked at.
const QUEUES_PER_CONNECTION: usize = 10_000;
/// Messages between two words about progress.
const MESSAGES_PER_TURN: usize = 1000;

/// A queue, with no more than there is room for in a million of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeldQueue {
    pub(super) recipient_id: RecipientId,
    pub(super) sender_id: SenderId,
    pub(super) server_key: X25519PublicKey,
}

/// Queues of one service. They are not secured, so that anybody may send.
pub(super) struct Held {
    pub(super) identity: ServiceIdentity,
    pub(super) keys: Keys,
    pub(super) queues: Vec<HeldQueue>,
}

impl Held {
    pub(super) fn new(target: &Target) -> anyhow::Result<Self> {
        // What clients of the network use as recipients.
        let keys = Keys::generate(KeyKind::Ed25519, target.place.password.clone());
        Ok(Self { identity: ServiceIdentity::generate()?, keys, queues: Vec::new() })
    }

    /// Makes so many more queues.
    pub(super) async fn create(
        &mut self,
        target: &Target,
        count: usize,
        progress: &Progress,
    ) -> anyhow::Result<()> {
        let mut left = count;
        while left > 0 {
            let now = left.min(QUEUES_PER_CONNECTION);
            let mut connection = Connection::open_service(target, &self.identity).await?;
            let queues = &mut self.queues;
            create_each(&mut connection, &self.keys, now, true, |recipient_id, sender_id, server_key| {
                queues.push(HeldQueue { recipient_id, sender_id, server_key });
            })
            .await?;
            progress.add(now);
            left = left.saturating_sub(now);
        }
        Ok(())
    }

    /// Sends so many messages, to all queues in turn.
    pub(super) async fn send(
        &self,
        target: &Target,
        plan: &Plan,
        messages: usize,
        progress: &Progress,
    ) -> anyhow::Result<()> {
        let receivers = self.queues.iter().map(|queue| queue.sender_id).cycle().take(messages);
        self.send_to(target, plan, receivers.collect(), progress).await
    }

    /// Sends a message to each of these queues.
    pub(super) async fn send_to(
        &self,
        target: &Target,
        plan: &Plan,
        receivers: Vec<SenderId>,
        progress: &Progress,
    ) -> anyhow::Result<()> {
        let mut tasks = JoinSet::new();
        for share in receivers.chunks(receivers.len().div_ceil(plan.connections).max(1)) {
            let (share, target, progress) = (share.to_vec(), target.clone(), progress.clone());
            let Plan { window, body_bytes, .. } = *plan;
            tasks.spawn(async move {
                let mut connection = Connection::open(&target).await?;
                let send = Command::Send { notify: false, body: random_body(body_bytes).into() };
                let command = send.encode(connection.version());
                for some in share.chunks(MESSAGES_PER_TURN) {
                    let push = |connection: &mut Connection, position| {
                        let receiver: &SenderId = some.get(position).context("There is no such queue")?;
                        connection.push(&Signer::Nobody, receiver.as_bytes(), &command)
                    };
                    pipeline(&mut connection, some.len(), window, push, is_ok).await?;
                    progress.add(some.len());
                }
                anyhow::Ok(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.context("A task failed")??;
        }
        Ok(())
    }

    /// Orders the queues for [`Self::find`].
    pub(super) fn sort(&mut self) {
        self.queues.sort_unstable_by_key(|queue| queue.recipient_id);
    }

    /// The queue of this recipient, once they are sorted.
    pub(super) fn find(&self, id: &[u8]) -> anyhow::Result<&HeldQueue> {
        let found = self.queues.binary_search_by(|queue| queue.recipient_id.as_bytes().as_slice().cmp(id));
        found.ok().and_then(|position| self.queues.get(position)).context("A message of an unknown queue")
    }
}
