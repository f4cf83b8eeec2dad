//! The messages that wait in the queues of a service, page by page: a service may have a million queues (smp.md §13).

use std::collections::VecDeque;

use protocol::smp::ids::{RecipientId, ServiceId};

use super::Client;
use crate::store::{self, QueueNumber, ServiceQueue};
use crate::subscriptions::Source;

/// Queues that are looked at in one visit to the store: few milliseconds, and little to hold.
const QUEUES_PER_PAGE: u32 = 1000;

/// How far a service's queues have been gone through.
#[derive(Debug)]
pub(super) struct Backlog {
    service: ServiceId,
    /// Queues with messages, found and not delivered yet, and blocked ones, of which the client is told.
    found: VecDeque<ServiceQueue>,
    /// The last queue that was looked at; nothing after the last page.
    after: Option<QueueNumber>,
    /// Whether the client waits to hear that it is done.
    is_announced: bool,
}

/// What comes next.
#[derive(Debug)]
pub(super) enum Next {
    /// The heads of these queues are to be delivered; there may be none in this page.
    Deliver(Vec<RecipientId>),
    /// The connection has as many subscriptions as it may: acknowledgements make room.
    Wait,
    /// Everything was delivered.
    Done {
        /// Whether the client waits to hear so.
        is_announced: bool,
    },
    /// The service moved to another connection.
    Moved,
}

impl Backlog {
    /// All that waits when a service subscribes.
    pub(super) fn new(service: ServiceId) -> Self {
        Self { service, found: VecDeque::new(), after: Some(QueueNumber(0)), is_announced: true }
    }

    /// The same once more, because something may have arrived unheard of.
    pub(super) fn again(service: ServiceId, under_way: Option<Self>) -> Self {
        Self { is_announced: under_way.is_some_and(|backlog| backlog.is_announced), ..Self::new(service) }
    }

    /// Subscribes to the next queues, at most `count`, that nobody is subscribed to. A blocked queue is told of instead.
    pub(super) async fn next(&mut self, client: &Client, count: usize) -> store::Result<Next> {
        let Client { server, peer, .. } = client;
        let service = self.service;
        if !server.services.is_subscriber(service, peer) {
            return Ok(Next::Moved);
        }
        if self.found.is_empty() {
            let Some(after) = self.after else {
                return Ok(Next::Done { is_announced: self.is_announced });
            };
            let read =
                server.store.read(move |reader| reader.service_backlog(service, after, QUEUES_PER_PAGE));
            let page = read.await?;
            (self.found, self.after) = (page.queues.into(), page.next);
        }
        if !self.found.is_empty() && client.check_room_for_subscription().is_err() {
            return Ok(Next::Wait);
        }
        let count = count.min(self.found.len());
        let mut queues = Vec::with_capacity(count);
        for ServiceQueue { number, recipient_id, dh_secret, blocking } in self.found.drain(..count) {
            if let Some(info) = blocking {
                server.services.blocked(service, recipient_id, info);
                continue;
            }
            let source = Source { queue: number, dh_secret, service: Some(service) };
            match server.subscribe_for_service(service, recipient_id, source) {
                Some(subscriber) if subscriber.id() == peer.id() => queues.push(recipient_id),
                Some(other) => other.ready(recipient_id),
                None => {}
            }
        }
        Ok(Next::Deliver(queues))
    }
}
