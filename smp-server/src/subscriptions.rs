//! Which connection is told of which queue: one at a time (smp.md §10.1).
//!
//! Locks are taken in one order: a shard, then a peer's state.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::smp::error::BlockingInfo;
use protocol::smp::ids::{MessageId, RecipientId, ServiceId};

use crate::delivery::{AfterReading, Delivery, Ticket};
use crate::news::{News, Topic, Waiting};
use crate::peer::{Peer, PeerId};
use crate::standing::Standing;
use crate::store::{Claim, DhSecret, Head, QueueNumber};

/// More shards than cores, so that connections seldom wait for each other.
const SHARDS: usize = 64;
/// More readings than one subscription begins in its life.
const TICKETS_PER_SUBSCRIPTION: u64 = 1 << 32;

/// All subscriptions of the server.
#[derive(Debug)]
pub struct Subscriptions {
    hasher: RandomState,
    shards: Vec<Mutex<HashMap<RecipientId, Subscription>>>,
    /// Connections for which news wait.
    told_later: Waiting,
    /// Where the tickets of the next subscription begin: no two of a queue share any.
    tickets: AtomicU64,
}

#[derive(Debug)]
struct Subscription {
    peer: Arc<Peer>,
    source: Source,
    delivery: Delivery,
    ticket: Ticket,
    /// Whether it was made for a message of a service's queue, and goes when the queue is empty.
    on_demand: bool,
    /// Where it stands among the nodes of a cluster.
    standing: Standing,
}

/// Where a subscription's messages come from and how they are encrypted.
#[derive(Debug, Clone)]
pub struct Source {
    /// The queue in the store.
    pub queue: QueueNumber,
    /// Its secret with the recipient.
    pub dh_secret: DhSecret,
    /// The service to which its messages go, if to one: then whoever is that, is the subscriber.
    pub service: Option<ServiceId>,
}

/// A reading that was begun.
#[derive(Debug, Clone)]
pub struct Reading {
    /// Which queue.
    pub recipient_id: RecipientId,
    /// Where to read.
    pub source: Source,
    /// With what to report the result.
    pub ticket: Ticket,
    /// The state to return to when reading fails.
    before: Delivery,
}

impl Reading {
    /// What is read, by whichever subscription of this node it belongs to.
    #[must_use]
    pub fn head(&self) -> Head {
        let Source { queue, service, .. } = &self.source;
        let topic = service.map_or(Topic::Queue(self.recipient_id), Topic::Service);
        Head { queue: *queue, subscription: Some(topic) }
    }
}

/// An acknowledgement that was accepted.
#[derive(Debug)]
pub struct Acknowledged {
    /// The message that was outstanding.
    pub message_id: MessageId,
    /// The reading of the next head.
    pub reading: Reading,
}

impl Default for Subscriptions {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            told_later: Waiting::default(),
            tickets: AtomicU64::new(0),
        }
    }
}

impl Subscriptions {
    fn shard(&self, id: &RecipientId) -> MutexGuard<'_, HashMap<RecipientId, Subscription>> {
        let count = self.shards.len() as u64;
        let index = usize::try_from(self.hasher.hash_one(id) % count).unwrap_or_default();
        let shard = self.shards.get(index).expect("an index modulo the count lies within");
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many queues have a subscriber.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    /// Makes `peer` the subscriber of a queue, with `delivery` as its state. Another connection that was it hears so
    /// later and may not acknowledge any more.
    pub fn subscribe(&self, id: RecipientId, peer: &Arc<Peer>, source: Source, delivery: Delivery) {
        let mut shard = self.shard(&id);
        let standing = Standing::after(shard.get(&id).map(|subscription| subscription.standing));
        // Tickets go on across subscribers: a late result of an earlier one must not fit.
        let ticket = shard.get(&id).map_or_else(|| self.first_ticket(), |subscription| subscription.ticket);
        let subscription =
            Subscription { peer: peer.clone(), source, delivery, ticket, on_demand: false, standing };
        if let Some(former) = shard.insert(id, subscription)
            && former.peer.id() != peer.id()
        {
            former.peer.unsubscribed(id);
            self.tell_later(&former.peer, id, News::Moved);
        }
        peer.subscribed(id);
    }

    /// Makes `peer` the subscriber of a queue in which a message waits, until the queue is empty. If somebody is the
    /// subscriber, the message has arrived for them. Whether `peer` is new to it.
    pub fn subscribe_on_demand(
        &self,
        id: RecipientId,
        peer: &Arc<Peer>,
        source: Source,
        delivery: Delivery,
    ) -> bool {
        let mut shard = self.shard(&id);
        match shard.entry(id) {
            Entry::Occupied(mut occupied) => {
                let subscription = occupied.get_mut();
                if subscription.delivery.arrived() {
                    subscription.peer.ready(id);
                }
                false
            }
            Entry::Vacant(vacant) => {
                let ticket = self.first_ticket();
                let peer = peer.clone();
                peer.subscribed(id);
                let standing = Standing::default();
                vacant.insert(Subscription { peer, source, delivery, ticket, on_demand: true, standing });
                true
            }
        }
    }

    /// Removes the subscription of `peer`, which hears nothing of it.
    pub fn forget(&self, id: RecipientId, peer: &Peer) {
        let mut shard = self.shard(&id);
        if shard.get(&id).is_some_and(|subscription| subscription.peer.id() == peer.id()) {
            shard.remove(&id);
            peer.unsubscribed(id);
        }
    }

    /// The store gave the subscription of `peer` its place among those of other nodes. Whether `peer` has it still.
    pub fn claimed(&self, id: RecipientId, peer: &Peer, claim: Claim) -> bool {
        let mut is_its_own = false;
        let is_lost = self.stand(id, |subscription| {
            is_its_own = subscription.peer.id() == peer.id();
            if is_its_own {
                subscription.standing.claimed(claim);
            }
        });
        is_its_own && !is_lost
    }

    /// Somebody subscribed at another node. Who is the subscriber here since before that hears so later. Whether there
    /// was one.
    pub fn moved_away(&self, id: RecipientId, rival: Claim) -> bool {
        self.stand(id, |subscription| subscription.standing.heard_of(rival))
    }

    /// A reading found that another node has the subscriber. Whether that is so; if not, reading goes on.
    pub fn read_elsewhere(&self, reading: &Reading, peer: &Peer, rival: Claim) -> bool {
        let is_lost = self.moved_away(reading.recipient_id, rival);
        if !is_lost {
            self.read_again(reading, peer);
        }
        is_lost
    }

    /// A reading is to be repeated.
    pub fn read_again(&self, reading: &Reading, peer: &Peer) {
        let id = reading.recipient_id;
        let mut shard = self.shard(&id);
        if let Some(subscription) = shard.get_mut(&id)
            && subscription.peer.id() == peer.id()
        {
            subscription.delivery.failed(reading.ticket, Delivery::Ready);
            // Without a claim, it is on its way, and the response that follows it delivers.
            let is_claimed = subscription.standing.claim().is_some() || subscription.source.service.is_some();
            if is_claimed && subscription.delivery == Delivery::Ready {
                peer.ready(id);
            }
        }
    }

    /// Whether another node's claim came after that of the subscription, which is then removed.
    fn stand(&self, id: RecipientId, change: impl FnOnce(&mut Subscription)) -> bool {
        let mut shard = self.shard(&id);
        let Some(subscription) = shard.get_mut(&id) else { return false };
        change(subscription);
        if !subscription.standing.is_lost() {
            return false;
        }
        if let Some(lost) = shard.remove(&id) {
            lost.peer.unsubscribed(id);
            self.tell_later(&lost.peer, id, News::Moved);
        }
        true
    }

    /// The queue is no more that of the service whose connection has it here on demand.
    pub fn lost_by(&self, id: RecipientId, service: ServiceId) {
        let mut shard = self.shard(&id);
        if shard.get(&id).is_some_and(|subscription| subscription.source.service == Some(service))
            && let Some(lost) = shard.remove(&id)
        {
            lost.peer.unsubscribed(id);
        }
    }

    /// All queues that are subscribed here, with their claims.
    #[must_use]
    pub fn all(&self) -> Vec<(Topic, Option<Claim>)> {
        let held = |shard: &Mutex<HashMap<RecipientId, Subscription>>| -> Vec<(Topic, Option<Claim>)> {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.iter().map(|(id, one)| (Topic::Queue(*id), one.standing.claim())).collect()
        };
        self.shards.iter().flat_map(held).collect()
    }

    fn first_ticket(&self) -> Ticket {
        Ticket::after(self.tickets.fetch_add(TICKETS_PER_SUBSCRIPTION, Ordering::Relaxed))
    }

    /// Removes a queue that `by` deleted. Another connection that subscribed to it hears so later. Gives the claim that
    /// ends with the subscription.
    pub fn remove(&self, id: RecipientId, by: Option<PeerId>) -> Option<(Topic, Claim)> {
        let subscription = self.shard(&id).remove(&id)?;
        subscription.peer.unsubscribed(id);
        if Some(subscription.peer.id()) != by {
            self.tell_later(&subscription.peer, id, News::Deleted);
        }
        subscription.standing.claim().map(|claim| (Topic::Queue(id), claim))
    }

    /// The operator blocked a queue: its subscriber hears so at once, and stays the subscriber.
    pub fn blocked(&self, id: RecipientId, info: BlockingInfo) {
        if let Some(subscription) = self.shard(&id).get(&id) {
            subscription.peer.add_news(Topic::Queue(id), News::Blocked(info));
            subscription.peer.release_news();
        }
    }

    /// Removes what a connection subscribed to: it is gone. Gives the claims that end with it.
    pub fn disconnect(&self, peer: &Peer) -> Vec<(Topic, Claim)> {
        let mut claims = Vec::new();
        for id in peer.take_subscriptions() {
            let mut shard = self.shard(&id);
            if shard.get(&id).is_some_and(|subscription| subscription.peer.id() == peer.id())
                && let Some(claim) = shard.remove(&id).and_then(|removed| removed.standing.claim())
            {
                claims.push((Topic::Queue(id), claim));
            }
        }
        claims
    }

    /// Whether `peer` is the subscriber, and with which message outstanding.
    #[must_use]
    pub fn state_for(&self, id: RecipientId, peer: &Peer) -> Option<Delivery> {
        let shard = self.shard(&id);
        shard.get(&id).filter(|subscription| subscription.peer.id() == peer.id()).map(|s| s.delivery)
    }

    /// A message was stored in the queue. Whether anybody is subscribed.
    pub fn arrived(&self, id: RecipientId) -> bool {
        let mut shard = self.shard(&id);
        let Some(subscription) = shard.get_mut(&id) else { return false };
        if subscription.delivery.arrived() {
            subscription.peer.ready(id);
        }
        true
    }

    /// What kept the head from being read is gone: whoever waits for it looks again.
    pub fn look_again(&self, id: RecipientId) {
        let mut shard = self.shard(&id);
        if let Some(subscription) = shard.get_mut(&id) {
            subscription.delivery.arrived();
            if subscription.delivery == Delivery::Ready {
                subscription.peer.ready(id);
            }
        }
    }

    /// Begins to read the head for `peer`, if it is still the subscriber and something is ready.
    pub fn take(&self, id: RecipientId, peer: &Peer) -> Option<Reading> {
        let mut shard = self.shard(&id);
        let subscription = shard.get_mut(&id).filter(|subscription| subscription.peer.id() == peer.id())?;
        let ticket = subscription.ticket.draw();
        subscription.delivery.take(ticket).then(|| subscription.reading(id, ticket, Delivery::Ready))
    }

    /// Makes the head ready once more: the recipient subscribed again.
    pub fn ready_again(&self, id: RecipientId, peer: &Peer) {
        let mut shard = self.shard(&id);
        if let Some(subscription) =
            shard.get_mut(&id).filter(|subscription| subscription.peer.id() == peer.id())
        {
            subscription.delivery = Delivery::Ready;
        }
    }

    /// The recipient acknowledges on this connection. Nothing when that message is not outstanding here.
    pub fn acknowledge(&self, id: RecipientId, peer: &Peer, message_id: &[u8]) -> Option<Acknowledged> {
        let mut shard = self.shard(&id);
        let subscription = shard.get_mut(&id).filter(|subscription| subscription.peer.id() == peer.id())?;
        let ticket = subscription.ticket.draw();
        let message_id = subscription.delivery.acknowledge(message_id, ticket)?;
        let reading = subscription.reading(id, ticket, Delivery::Outstanding(message_id));
        Some(Acknowledged { message_id, reading })
    }

    /// A reading ended with this message at the head.
    pub fn read(&self, reading: &Reading, peer: &Peer, found: Option<MessageId>) -> AfterReading {
        let mut shard = self.shard(&reading.recipient_id);
        let Some(subscription) = shard.get_mut(&reading.recipient_id) else { return AfterReading::Stale };
        if subscription.peer.id() != peer.id() {
            return AfterReading::Stale;
        }
        let after = subscription.delivery.read(reading.ticket, found);
        if subscription.on_demand && subscription.delivery == Delivery::Idle {
            shard.remove(&reading.recipient_id);
            peer.unsubscribed(reading.recipient_id);
        }
        after
    }

    /// A reading failed.
    pub fn failed(&self, reading: &Reading, peer: &Peer) {
        let mut shard = self.shard(&reading.recipient_id);
        if let Some(subscription) = shard.get_mut(&reading.recipient_id)
            && subscription.peer.id() == peer.id()
        {
            subscription.delivery.failed(reading.ticket, reading.before);
        }
    }

    /// Lets all waiting news go out; called by the timer.
    pub fn release_news(&self) {
        for peer in self.told_later.take() {
            peer.release_news();
        }
    }

    fn tell_later(&self, peer: &Arc<Peer>, id: RecipientId, news: News) {
        if peer.add_news(Topic::Queue(id), news) {
            self.told_later.add(peer);
        }
    }
}

impl Subscription {
    fn reading(&self, recipient_id: RecipientId, ticket: Ticket, before: Delivery) -> Reading {
        Reading { recipient_id, source: self.source.clone(), ticket, before }
    }
}

#[cfg(test)]
mod tests {
    use protocol::timestamp::Timestamp;

    use super::*;

    const QUEUE: RecipientId = RecipientId([7; 24]);
    const MESSAGE: MessageId = MessageId([1; 24]);

    fn peer(id: u64) -> Arc<Peer> {
        Arc::new(Peer::new(PeerId(id), Timestamp(0)))
    }

    fn source() -> Source {
        Source { queue: QueueNumber(1), dh_secret: DhSecret([0; 32]), service: None }
    }

    #[test]
    fn a_moved_subscription_is_told_by_the_timer_and_takes_its_state_along() {
        let (all, first, second) = (Subscriptions::default(), peer(1), peer(2));
        all.subscribe(QUEUE, &first, source(), Delivery::Outstanding(MESSAGE));
        all.subscribe(QUEUE, &second, source(), Delivery::Ready);
        assert!(all.acknowledge(QUEUE, &first, &MESSAGE.0).is_none());
        assert!(first.take_news().is_empty());
        all.release_news();
        assert_eq!(first.take_news(), [(Topic::Queue(QUEUE), News::Moved)].into());
        all.remove(QUEUE, Some(first.id()));
        all.release_news();
        assert_eq!(second.take_news(), [(Topic::Queue(QUEUE), News::Deleted)].into());
        assert!(first.take_news().is_empty());
    }

    #[test]
    fn the_later_claim_holds_in_whichever_order_it_is_heard_of() {
        for (own, rival, stays) in [(5, 6, false), (6, 5, true)] {
            for own_first in [true, false] {
                let (all, one) = (Subscriptions::default(), peer(1));
                all.subscribe(QUEUE, &one, source(), Delivery::Idle);
                if own_first {
                    all.claimed(QUEUE, &one, Claim(own));
                }
                assert_eq!(all.moved_away(QUEUE, Claim(rival)), own_first && !stays);
                assert!(own_first || all.state_for(QUEUE, &one).is_some(), "its own claim is on its way");
                if !own_first {
                    all.claimed(QUEUE, &one, Claim(own));
                }
                assert_eq!(all.state_for(QUEUE, &one).is_some(), stays);
                all.release_news();
                assert_eq!(one.take_news().len(), usize::from(!stays));
            }
        }
    }

    #[test]
    fn a_reading_that_finds_another_node_in_its_place_ends_the_subscription_or_is_repeated() {
        let (all, one) = (Subscriptions::default(), peer(1));
        all.subscribe(QUEUE, &one, source(), Delivery::Ready);
        let reading = all.take(QUEUE, &one).unwrap();
        assert!(!all.read_elsewhere(&reading, &one, Claim(5)), "its own claim is on its way");
        assert!(one.take_ready(1).is_empty(), "the response will deliver");
        let reading = all.take(QUEUE, &one).unwrap();
        all.claimed(QUEUE, &one, Claim(6));
        assert!(!all.read_elsewhere(&reading, &one, Claim(5)));
        assert_eq!(one.take_ready(9), [QUEUE]);
        let reading = all.take(QUEUE, &one).unwrap();
        assert!(all.read_elsewhere(&reading, &one, Claim(7)));
        assert_eq!((all.state_for(QUEUE, &one), all.count()), (None, 0));
        assert_eq!(all.disconnect(&one), []);
    }

    #[test]
    fn claims_end_with_their_connection() {
        let (all, first, second) = (Subscriptions::default(), peer(1), peer(2));
        all.subscribe(QUEUE, &first, source(), Delivery::Idle);
        all.claimed(QUEUE, &first, Claim(1));
        all.subscribe(QUEUE, &second, source(), Delivery::Idle);
        all.claimed(QUEUE, &second, Claim(2));
        assert_eq!(all.all(), [(Topic::Queue(QUEUE), Some(Claim(2)))]);
        assert_eq!(all.disconnect(&first), []);
        assert_eq!(all.disconnect(&second), [(Topic::Queue(QUEUE), Claim(2))]);
    }

    #[test]
    fn a_result_for_a_former_subscriber_is_stale() {
        let (all, first, second) = (Subscriptions::default(), peer(1), peer(2));
        all.subscribe(QUEUE, &first, source(), Delivery::Ready);
        let reading = all.take(QUEUE, &first).unwrap();
        all.subscribe(QUEUE, &second, source(), Delivery::Ready);
        assert_eq!(all.read(&reading, &first, Some(MESSAGE)), AfterReading::Stale);
        all.subscribe(QUEUE, &first, source(), Delivery::Ready);
        assert!(all.take(QUEUE, &first).is_some());
        assert_eq!(all.read(&reading, &first, Some(MESSAGE)), AfterReading::Stale);
    }

    #[test]
    fn a_failed_acknowledgement_can_be_repeated() {
        let (all, first) = (Subscriptions::default(), peer(1));
        all.subscribe(QUEUE, &first, source(), Delivery::Outstanding(MESSAGE));
        let acknowledged = all.acknowledge(QUEUE, &first, &MESSAGE.0).unwrap();
        assert!(all.acknowledge(QUEUE, &first, &MESSAGE.0).is_none(), "in progress");
        all.failed(&acknowledged.reading, &first);
        assert!(all.acknowledge(QUEUE, &first, &MESSAGE.0).is_some());
    }

    #[test]
    fn a_connection_that_ends_leaves_what_others_took() {
        let (all, first, second) = (Subscriptions::default(), peer(1), peer(2));
        let other = RecipientId([8; 24]);
        all.subscribe(QUEUE, &first, source(), Delivery::Idle);
        all.subscribe(other, &first, source(), Delivery::Idle);
        all.subscribe(other, &second, source(), Delivery::Idle);
        all.disconnect(&first);
        assert_eq!(all.state_for(QUEUE, &first), None);
        assert_eq!(all.state_for(other, &second), Some(Delivery::Idle));
        all.arrived(other);
        assert_eq!(second.take_ready(10), [other]);
    }
}
