//! Several servers on one store that serve one address together.
//!
//! ```text
//!   SEND at node A ──commit──▶ store ──tells the node of the subscriber──▶ node B ──MSG──▶ its client
//!   SUB  at node B ──claim───▶ store ──tells the node that had it───────▶ node A ──END──▶ its former client
//! ```
//!
//! Each subscription claims its queue in the store, and the highest claim holds, so nodes agree on the one subscriber
//! whatever order they hear things in. A node that lost the connection by which it hears looks at everything that is
//! subscribed at it again. A node that dies takes nothing along: messages are in the store, and its clients subscribe
//! elsewhere.
//!
//! By nature each node has its own: limits and their counters, notifications that wait for a notifier, subscriptions of
//! notifiers, and the time at which news leave.

use std::sync::Arc;
use std::time::Duration;

use protocol::smp::ids::{MessageId, RecipientId};
use protocol::timestamp::Timestamp;
use tokio::runtime::Handle;

use crate::connection::Client;
use crate::notifications::Notification;
use crate::server::Server;
use crate::store::{
    NodeEvent, NodeLink, QueueName, QueueNumber, QueueRecord, Result, SubscribedQueue, SubscriberNode,
};

/// How long the node listens before it sees whether the server stops.
const LISTEN_MS: u64 = 200;
/// Pause after a failure, while the store cannot be reached.
const RETRY_MS: u64 = 500;
/// Queues that one question to the store is about.
const QUEUES_PER_PAGE: usize = 1000;

/// Makes this node the one that has the subscriber of a queue, once somebody subscribed.
///
/// # Errors
/// When the store cannot be written: then nobody is the subscriber.
pub(crate) async fn claim(client: &Client, id: RecipientId, queue: QueueNumber) -> Result<()> {
    let Client { server, peer, .. } = client;
    if !server.is_clustered() {
        return Ok(());
    }
    match server.store.write_beside_records(move |store| store.claim_subscription(queue)).await {
        Ok(Some(claim)) => server.subscriptions.claimed(id, peer, claim),
        Ok(None) => {}
        Err(error) => {
            server.subscriptions.forget(id, peer);
            return Err(error);
        }
    }
    Ok(())
}

/// Makes the server one of several nodes. The thread that hears the others ends when the server stops.
///
/// # Errors
/// When the system refuses a thread.
pub(crate) fn join(server: &Arc<Server>, link: Box<dyn NodeLink>) -> std::io::Result<()> {
    server.set_clustered();
    let (server, runtime) = (server.clone(), Handle::current());
    let thread = std::thread::Builder::new().name("cluster".to_owned());
    thread.spawn(move || listen(&server, link, &runtime)).map(drop)
}

fn listen(server: &Arc<Server>, mut link: Box<dyn NodeLink>, runtime: &Handle) {
    let node = Node { server: server.clone(), runtime: runtime.clone() };
    let mut failing = false;
    while !server.is_stopping() {
        match link.events(Duration::from_millis(LISTEN_MS)) {
            Ok(events) => {
                if std::mem::take(&mut failing) {
                    tracing::info!("other nodes are heard again");
                }
                for event in events {
                    if let Err(error) = node.act(event, &mut *link) {
                        tracing::error!(%error, "an event of another node could not be followed");
                    }
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!(%error, "other nodes are not heard");
                }
                std::thread::sleep(Duration::from_millis(RETRY_MS));
            }
        }
    }
    link.leave();
}

struct Node {
    server: Arc<Server>,
    runtime: Handle,
}

impl Node {
    fn act(&self, event: NodeEvent, link: &mut dyn NodeLink) -> Result<()> {
        let subscriptions = &self.server.subscriptions;
        match event {
            NodeEvent::Arrived(id) => {
                // Without a subscription it may be for a service that is connected here.
                if !subscriptions.arrived(id)
                    && let Some(queue) = self.queue(id)?
                {
                    self.server.arrived(&queue);
                }
            }
            NodeEvent::Notify(id, message_id, received_at) => self.notify(id, message_id, received_at)?,
            NodeEvent::Moved(id, claim) => subscriptions.moved_away(id, claim),
            NodeEvent::Deleted(id) => subscriptions.remove(id, None),
            NodeEvent::Blocked(id) => {
                if let Some(info) = self.queue(id)?.and_then(|queue| queue.status.blocking()) {
                    subscriptions.blocked(id, info);
                }
            }
            NodeEvent::Missed => self.look_again(link)?,
        }
        Ok(())
    }

    fn queue(&self, id: RecipientId) -> Result<Option<QueueRecord>> {
        self.runtime.block_on(self.server.store.read(move |reader| reader.queue(&QueueName::Recipient(id))))
    }

    /// Only a notifier that is connected here is told: for others the node keeps it at which the message arrived.
    fn notify(&self, id: RecipientId, message_id: MessageId, received_at: Timestamp) -> Result<()> {
        if let Some(queue) = self.queue(id)?
            && queue
                .notifier
                .as_ref()
                .is_some_and(|notifier| self.server.notifications.has_subscriber(notifier.id))
        {
            self.server.notify(&queue, Notification { message_id, received_at });
        }
        Ok(())
    }

    /// Looks at everything that is subscribed here: what was told meanwhile was not heard.
    fn look_again(&self, link: &mut dyn NodeLink) -> Result<()> {
        for page in self.server.subscriptions.all().chunks(QUEUES_PER_PAGE) {
            let found = link.subscribed(page)?;
            for id in page {
                match found.iter().find(|queue| queue.recipient_id == *id) {
                    Some(queue) => self.look_at(queue)?,
                    None => self.server.subscriptions.remove(*id, None),
                }
            }
        }
        Ok(())
    }

    fn look_at(&self, queue: &SubscribedQueue) -> Result<()> {
        let SubscribedQueue { recipient_id, number, subscriber } = *queue;
        match subscriber {
            SubscriberNode::Here => {}
            SubscriberNode::Elsewhere(claim) => self.server.subscriptions.moved_away(recipient_id, claim),
            SubscriberNode::Unknown => {
                let claimed =
                    self.server.store.write_beside_records(move |store| store.claim_subscription(number));
                if let Some(claim) = self.runtime.block_on(claimed)? {
                    self.server.subscriptions.claimed_anew(recipient_id, claim);
                }
            }
        }
        self.server.subscriptions.arrived(recipient_id);
        Ok(())
    }
}
