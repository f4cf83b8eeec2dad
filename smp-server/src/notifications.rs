//! Who is notified of messages, and what waits to be told to them (smp.md §12).
//!
//! ```text
//! SEND T ──▶ waiting, per notifier ──pass, every 1.5 s──▶ released to the subscriber ──room──▶ NMSG, 80 per block
//!                │  (bounded: the oldest gives way)                                    └─none─▶ waits here
//!                └── 24 h ──▶ forgotten
//! ```
//!
//! Notifications live in memory: they say that a message is there, which the message itself says as well. A server
//! that stops saves them ([`crate::saved_notifications`]); one that is killed forgets those that were not told.
//!
//! Locks are taken in one order: a shard, then a peer's state.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::crypto::random_bytes;
use protocol::net::rng::system_rng;
use protocol::smp::ids::{MessageId, NotifierId, ServiceId};
use protocol::smp::message::NotificationMetadata;
use protocol::smp::response::BrokerMessage;
use protocol::timestamp::Timestamp;

use crate::config::Limits;
use crate::news::{News, Topic, Waiting};
use crate::peer::{Peer, PeerId};
use crate::standing::Standing;
use crate::store::{Claim, DhSecret};

/// More shards than cores, so that connections seldom wait for each other.
const SHARDS: usize = 64;

/// All notifiers that somebody subscribed to or that have something waiting.
#[derive(Debug)]
pub struct Notifications {
    hasher: RandomState,
    shards: Vec<Mutex<HashMap<NotifierId, Entry>>>,
    /// Connections that the next pass releases notifications to.
    passed_next: Waiting,
    /// Connections for which news wait.
    told_later: Waiting,
    /// Notifications that wait, in all.
    count: AtomicUsize,
    /// Notifiers with a subscriber.
    subscribers: AtomicUsize,
    count_max: usize,
    per_notifier_max: usize,
}

/// Boxed apart: most notifiers of a subscribed connection have nothing waiting.
#[derive(Debug, Default)]
struct Entry {
    subscriber: Option<Arc<Peer>>,
    /// Where the subscriber stands among the nodes of a cluster.
    standing: Standing,
    queue: Option<Box<Queue>>,
}

#[derive(Debug)]
struct Queue {
    secret: DhSecret,
    /// The service that is told of it when nobody else is.
    service: Option<ServiceId>,
    notifications: VecDeque<Notification>,
}

/// That a message was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notification {
    /// Which message.
    pub message_id: MessageId,
    /// When.
    pub received_at: Timestamp,
}

impl Notification {
    /// As the notifier is told, who cannot read it: it is for the recipient.
    #[must_use]
    pub fn event(&self, secret: &DhSecret) -> BrokerMessage<'static> {
        let nonce = random_bytes(&mut system_rng());
        let metadata = NotificationMetadata { message_id: self.message_id, received_at: self.received_at };
        let sealed = metadata.seal(&secret.box_key(), &nonce).expect("metadata are short");
        BrokerMessage::Nmsg { nonce, metadata: sealed.into() }
    }
}

/// A notification that is told at another node.
#[derive(Debug)]
pub struct Away {
    /// Who is to be told.
    pub notifier: NotifierId,
    /// Encrypts it to the recipient.
    pub secret: DhSecret,
    /// The service that is told of it when nobody else is.
    pub service: Option<ServiceId>,
    /// What of.
    pub notification: Notification,
}

/// Notifications that are told now.
#[derive(Debug)]
pub struct Told {
    /// Encrypts them to the recipient.
    pub secret: DhSecret,
    /// In the order of their messages.
    pub notifications: Vec<Notification>,
    /// Whether more wait.
    pub more: bool,
}

/// What became of those that wait when one more arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// All of them wait.
    Waits,
    /// One of them is lost: too many wait.
    Displaced,
}

impl Notifications {
    /// None yet, with these bounds.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self {
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            passed_next: Waiting::default(),
            told_later: Waiting::default(),
            count: AtomicUsize::new(0),
            subscribers: AtomicUsize::new(0),
            count_max: usize::try_from(limits.notifications).unwrap_or(usize::MAX),
            per_notifier_max: usize::try_from(limits.notifier_quota).unwrap_or(usize::MAX),
        }
    }

    fn shard(&self, id: &NotifierId) -> MutexGuard<'_, HashMap<NotifierId, Entry>> {
        let count = self.shards.len() as u64;
        let index = usize::try_from(self.hasher.hash_one(id) % count).unwrap_or_default();
        let shard = self.shards.get(index).expect("an index modulo the count lies within");
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes `peer` the subscriber of a notifier. Another connection that was it hears so later.
    pub fn subscribe(&self, id: NotifierId, peer: &Arc<Peer>) {
        let mut shard = self.shard(&id);
        let entry = shard.entry(id).or_default();
        match entry.subscriber.replace(peer.clone()) {
            Some(former) if former.id() != peer.id() => {
                former.stop_notifying(id);
                self.tell_later(&former, id, News::Moved);
            }
            Some(_) => {}
            None => {
                self.subscribers.fetch_add(1, Ordering::Relaxed);
            }
        }
        entry.standing = Standing::after(Some(entry.standing));
        peer.notifies(id);
        if let Some(queue) = &mut entry.queue {
            queue.service = None;
            self.pass_next(peer, id);
        }
    }

    /// The store gave the subscription of `peer` its place among those of other nodes. Whether `peer` has it still.
    pub fn claimed(&self, id: NotifierId, peer: &Peer, claim: Claim) -> bool {
        let mut is_its_own = false;
        let is_lost = self.stand(id, |entry| {
            is_its_own = entry.is_subscribed_by(peer);
            if is_its_own {
                entry.standing.claimed(claim);
            }
        });
        is_its_own && !is_lost
    }

    /// Somebody subscribed at another node. Who is the subscriber here since before that hears so later.
    pub fn moved_away(&self, id: NotifierId, rival: Claim) {
        self.stand(id, |entry| entry.standing.heard_of(rival));
    }

    /// Whether another node's claim came after that of the subscriber, which is then one no more.
    fn stand(&self, id: NotifierId, change: impl FnOnce(&mut Entry)) -> bool {
        let mut shard = self.shard(&id);
        let Some(entry) = shard.get_mut(&id) else { return false };
        change(entry);
        if !entry.standing.is_lost() {
            return false;
        }
        entry.standing = Standing::default();
        if let Some(former) = entry.subscriber.take() {
            self.subscribers.fetch_sub(1, Ordering::Relaxed);
            former.stop_notifying(id);
            self.tell_later(&former, id, News::Moved);
        }
        if entry.queue.is_none() {
            shard.remove(&id);
        }
        true
    }

    /// Removes the subscription of `peer`, which hears nothing of it.
    pub fn forget(&self, id: NotifierId, peer: &Peer) {
        let mut shard = self.shard(&id);
        if let Some(entry) = shard.get_mut(&id)
            && entry.is_subscribed_by(peer)
        {
            peer.stop_notifying(id);
            entry.subscriber = None;
            self.subscribers.fetch_sub(1, Ordering::Relaxed);
            if entry.queue.is_none() {
                shard.remove(&id);
            }
        }
    }

    /// All notifiers that are subscribed here, with their claims.
    #[must_use]
    pub fn all(&self) -> Vec<(Topic, Option<Claim>)> {
        let held = |shard: &Mutex<HashMap<NotifierId, Entry>>| -> Vec<(Topic, Option<Claim>)> {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let subscribed = shard.iter().filter(|(_, entry)| entry.subscriber.is_some());
            subscribed.map(|(id, entry)| (Topic::Notifier(*id), entry.standing.claim())).collect()
        };
        self.shards.iter().flat_map(held).collect()
    }

    /// Takes what waits for the subscriber of a notifier, or for a service, which is at another node now.
    pub fn take_for(&self, topic: &Topic) -> Vec<Away> {
        let mut away = Vec::new();
        let mut take = |shard: &mut HashMap<NotifierId, Entry>, id: NotifierId| {
            let Some(entry) = shard.get_mut(&id).filter(|entry| entry.subscriber.is_none()) else { return };
            let Some(queue) = entry.queue.take() else { return };
            self.count.fetch_sub(queue.notifications.len(), Ordering::Relaxed);
            let Queue { secret, service, notifications } = *queue;
            let each = notifications.into_iter().map(|notification| Away {
                notifier: id,
                secret: secret.clone(),
                service,
                notification,
            });
            away.extend(each);
            shard.remove(&id);
        };
        match topic {
            Topic::Queue(_) => {}
            Topic::Notifier(id) => take(&mut self.shard(id), *id),
            Topic::Service(service) => {
                for shard in &self.shards {
                    let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
                    let its_own: Vec<NotifierId> = shard
                        .iter()
                        .filter(|(_, entry)| entry.is_for(Some(*service)))
                        .map(|(id, _)| *id)
                        .collect();
                    for id in its_own {
                        take(&mut shard, id);
                    }
                }
            }
        }
        away
    }

    /// Whether anybody is the subscriber.
    #[must_use]
    pub fn has_subscriber(&self, id: NotifierId) -> bool {
        self.shard(&id).get(&id).is_some_and(|entry| entry.subscriber.is_some())
    }

    /// Whether `peer` is the subscriber.
    #[must_use]
    pub fn is_subscriber(&self, id: NotifierId, peer: &Peer) -> bool {
        self.shard(&id).get(&id).is_some_and(|entry| entry.is_subscribed_by(peer))
    }

    /// Makes the service of `peer` the one that is told of a notifier. Another connection that was the subscriber hears
    /// so later.
    pub fn give_to_service(&self, id: NotifierId, service: ServiceId, peer: &Arc<Peer>) {
        let mut shard = self.shard(&id);
        let Some(entry) = shard.get_mut(&id) else { return };
        entry.standing = Standing::default();
        if let Some(former) = entry.subscriber.take() {
            self.subscribers.fetch_sub(1, Ordering::Relaxed);
            former.stop_notifying(id);
            if former.id() != peer.id() {
                self.tell_later(&former, id, News::Moved);
            }
        }
        match &mut entry.queue {
            Some(queue) => {
                queue.service = Some(service);
                self.pass_next(peer, id);
            }
            None => drop(shard.remove(&id)),
        }
    }

    /// Lets everything that waits for a service go out to the connection that it has now.
    pub fn pass_to_service(&self, service: ServiceId, peer: &Arc<Peer>) {
        for shard in &self.shards {
            for (id, entry) in shard.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                if entry.is_for(Some(service)) {
                    self.pass_next(peer, *id);
                }
            }
        }
    }

    /// A message was stored whose sender wants the notifier to be told: its subscriber, or else the connection of its
    /// service, if it has one.
    pub fn arrived(
        &self,
        notifier: NotifierId,
        secret: &DhSecret,
        service: Option<(ServiceId, Option<Arc<Peer>>)>,
        notification: Notification,
    ) -> Arrival {
        let (service, serving) = service.unzip();
        let mut shard = self.shard(&notifier);
        let entry = shard.entry(notifier).or_default();
        let queue = entry.queue.get_or_insert_with(|| {
            Box::new(Queue { secret: secret.clone(), service, notifications: VecDeque::new() })
        });
        queue.service = service;
        let mut arrival = Arrival::Waits;
        if queue.notifications.len() >= self.per_notifier_max {
            // The latest is the one worth telling.
            queue.notifications.pop_front();
            arrival = Arrival::Displaced;
        } else if self.count.fetch_add(1, Ordering::Relaxed) >= self.count_max {
            self.count.fetch_sub(1, Ordering::Relaxed);
            tracing::debug!("a notification was left out: too many wait");
            if queue.notifications.is_empty() {
                entry.queue = None;
                if entry.subscriber.is_none() {
                    shard.remove(&notifier);
                }
            }
            return Arrival::Displaced;
        }
        queue.notifications.push_back(notification);
        if let Some(peer) = entry.subscriber.as_ref().or(serving.flatten().as_ref()) {
            self.pass_next(peer, notifier);
        }
        arrival
    }

    /// Removes a notifier that `by` deleted or replaced, with what waits. Another connection that subscribed to it
    /// hears so later. Gives the claim that ends with the subscription.
    pub fn remove(&self, id: NotifierId, by: Option<PeerId>) -> Option<(Topic, Claim)> {
        let entry = self.shard(&id).remove(&id)?;
        self.count.fetch_sub(entry.len(), Ordering::Relaxed);
        if let Some(peer) = entry.subscriber {
            self.subscribers.fetch_sub(1, Ordering::Relaxed);
            peer.stop_notifying(id);
            if Some(peer.id()) != by {
                self.tell_later(&peer, id, News::Deleted);
            }
        }
        entry.standing.claim().map(|claim| (Topic::Notifier(id), claim))
    }

    /// Removes what a connection subscribed to: it is gone. What waits goes on waiting. Gives the claims that end with
    /// it.
    pub fn disconnect(&self, peer: &Peer) -> Vec<(Topic, Claim)> {
        let mut claims = Vec::new();
        for id in peer.take_notifiers() {
            let mut shard = self.shard(&id);
            if let Some(entry) = shard.get_mut(&id)
                && entry.is_subscribed_by(peer)
            {
                claims.extend(entry.standing.claim().map(|claim| (Topic::Notifier(id), claim)));
                entry.subscriber = None;
                self.subscribers.fetch_sub(1, Ordering::Relaxed);
                entry.standing = Standing::default();
                if entry.queue.is_none() {
                    shard.remove(&id);
                }
            }
        }
        claims
    }

    /// Takes at most `count` notifications to tell `peer`, if it is still the subscriber, or the connection of this
    /// service to which they go, and some wait.
    pub fn take(
        &self,
        id: NotifierId,
        peer: &Peer,
        service: Option<ServiceId>,
        count: usize,
    ) -> Option<Told> {
        let mut shard = self.shard(&id);
        let entry =
            shard.get_mut(&id).filter(|entry| entry.is_subscribed_by(peer) || entry.is_for(service))?;
        let queue = entry.queue.as_mut()?;
        let count = count.min(queue.notifications.len());
        let notifications: Vec<Notification> = queue.notifications.drain(..count).collect();
        self.count.fetch_sub(notifications.len(), Ordering::Relaxed);
        let (secret, more) = (queue.secret.clone(), !queue.notifications.is_empty());
        if !more {
            entry.queue = None;
            if entry.subscriber.is_none() {
                shard.remove(&id);
            }
        }
        Some(Told { secret, notifications, more })
    }

    /// A pass: lets what waits go out to whoever subscribed. Called by a timer.
    pub fn pass(&self) {
        for peer in self.passed_next.take() {
            peer.release_notifications();
        }
    }

    /// Lets all waiting news go out. Called by a timer.
    pub fn release_news(&self) {
        for peer in self.told_later.take() {
            peer.release_news();
        }
    }

    /// Forgets notifications of messages received before `moment`. Says how many.
    pub fn expire(&self, moment: Timestamp) -> usize {
        let mut expired = 0_usize;
        for shard in &self.shards {
            shard.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, entry| {
                let before = entry.len();
                if let Some(queue) = &mut entry.queue {
                    queue.notifications.retain(|notification| notification.received_at >= moment);
                    if queue.notifications.is_empty() {
                        entry.queue = None;
                    }
                }
                expired = expired.saturating_add(before.saturating_sub(entry.len()));
                entry.subscriber.is_some() || entry.queue.is_some()
            });
        }
        self.count.fetch_sub(expired, Ordering::Relaxed);
        expired
    }

    /// How many notifiers have a subscriber.
    #[must_use]
    pub fn subscriber_count(&self) -> usize {
        self.subscribers.load(Ordering::Relaxed)
    }

    /// How many notifications wait.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Everything that waits, for saving it.
    #[must_use]
    pub fn waiting(&self) -> Vec<(NotifierId, Notification)> {
        let mut all = Vec::new();
        for shard in &self.shards {
            for (id, entry) in shard.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                let waiting = entry.queue.iter().flat_map(|queue| &queue.notifications);
                all.extend(waiting.map(|notification| (*id, *notification)));
            }
        }
        all
    }

    fn pass_next(&self, peer: &Arc<Peer>, id: NotifierId) {
        if peer.add_notification(id) {
            self.passed_next.add(peer);
        }
    }

    fn tell_later(&self, peer: &Arc<Peer>, id: NotifierId, news: News) {
        if peer.add_news(Topic::Notifier(id), news) {
            self.told_later.add(peer);
        }
    }
}

impl Entry {
    fn is_subscribed_by(&self, peer: &Peer) -> bool {
        self.subscriber.as_ref().is_some_and(|subscriber| subscriber.id() == peer.id())
    }

    /// Whether a service is told of it, and it is this one.
    fn is_for(&self, service: Option<ServiceId>) -> bool {
        let own = self.queue.as_ref().filter(|_| self.subscriber.is_none()).and_then(|queue| queue.service);
        own.is_some() && own == service
    }

    fn len(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.notifications.len())
    }
}

#[cfg(test)]
mod tests {
    use protocol::smp::ids::RecipientId;

    use super::*;

    const ID: NotifierId = NotifierId([7; 24]);
    const SECRET: DhSecret = DhSecret([2; 32]);

    fn all(per_notifier: u32, in_all: u32) -> Notifications {
        let limits = Limits { notifier_quota: per_notifier, notifications: in_all, ..Limits::default() };
        Notifications::new(&limits)
    }

    fn notification(seconds: i64) -> Notification {
        let received_at = Timestamp::from_seconds(seconds);
        Notification { message_id: MessageId([u8::try_from(seconds).unwrap(); 24]), received_at }
    }

    fn peer(id: u64) -> Arc<Peer> {
        Arc::new(Peer::new(PeerId(id), Timestamp(0)))
    }

    fn seconds(told: Option<Told>) -> Vec<i64> {
        let told = told.map(|told| told.notifications).unwrap_or_default();
        told.iter().map(|notification| notification.received_at.seconds()).collect()
    }

    #[test]
    fn what_waits_is_released_by_a_pass_in_order() {
        let (all, peer) = (all(10, 10), peer(1));
        all.subscribe(ID, &peer);
        for at in 1..=3 {
            all.arrived(ID, &SECRET, None, notification(at));
        }
        assert!(peer.take_notified(10).is_empty(), "before the pass");
        all.pass();
        assert_eq!(peer.take_notified(10), [ID]);
        let told = all.take(ID, &peer, None, 2);
        assert!(told.as_ref().is_some_and(|told| told.more));
        assert_eq!((seconds(told), seconds(all.take(ID, &peer, None, 2))), (vec![1, 2], vec![3]));
        assert_eq!((seconds(all.take(ID, &peer, None, 2)), all.count()), (vec![], 0));
    }

    #[test]
    fn what_nobody_subscribed_to_waits_for_the_subscription() {
        let (all, first, second) = (all(10, 10), peer(1), peer(2));
        all.arrived(ID, &SECRET, None, notification(1));
        all.pass();
        all.subscribe(ID, &first);
        all.disconnect(&first);
        all.subscribe(ID, &second);
        all.pass();
        assert_eq!(second.take_notified(10), [ID]);
        assert_eq!(seconds(all.take(ID, &first, None, 10)), [0; 0], "not the subscriber");
        assert_eq!(seconds(all.take(ID, &second, None, 10)), [1]);
    }

    #[test]
    fn the_oldest_of_a_notifier_gives_way_and_the_newest_in_all() {
        let (all, peer) = (all(2, 3), peer(1));
        for at in 1..=3 {
            all.arrived(ID, &SECRET, None, notification(at));
        }
        let (second, third) = (NotifierId([8; 24]), NotifierId([9; 24]));
        all.arrived(second, &SECRET, None, notification(4));
        all.arrived(third, &SECRET, None, notification(5));
        assert_eq!(all.count(), 3);
        for id in [ID, second, third] {
            all.subscribe(id, &peer);
        }
        assert_eq!(seconds(all.take(ID, &peer, None, 10)), [2, 3]);
        assert_eq!(seconds(all.take(second, &peer, None, 10)), [4]);
        assert_eq!(seconds(all.take(third, &peer, None, 10)), [0; 0]);
    }

    #[test]
    fn a_removed_notifier_leaves_nothing_and_its_subscriber_hears_so() {
        let (all, first, second) = (all(10, 10), peer(1), peer(2));
        all.subscribe(ID, &first);
        all.subscribe(ID, &second);
        all.arrived(ID, &SECRET, None, notification(1));
        all.remove(ID, Some(first.id()));
        assert_eq!((all.count(), all.waiting()), (0, vec![]));
        assert!(!all.is_subscriber(ID, &second));
        assert!(first.take_news().is_empty(), "before the timer");
        all.release_news();
        assert_eq!(first.take_news(), [(Topic::Notifier(ID), News::Moved)].into());
        assert_eq!(second.take_news(), [(Topic::Notifier(ID), News::Deleted)].into());
        all.subscribe(ID, &first);
        all.remove(ID, Some(first.id()));
        all.release_news();
        assert!(first.take_news().is_empty(), "who deletes it knows");
    }

    #[test]
    fn expired_notifications_are_forgotten() {
        let (all, peer) = (all(10, 10), peer(1));
        for at in 1..=3 {
            all.arrived(ID, &SECRET, None, notification(at));
        }
        all.arrived(NotifierId([8; 24]), &SECRET, None, notification(1));
        assert_eq!(all.expire(Timestamp::from_seconds(3)), 3);
        assert_eq!(all.waiting(), [(ID, notification(3))]);
        assert_eq!(all.count(), 1);
        all.subscribe(ID, &peer);
        assert_eq!(all.expire(Timestamp::from_seconds(4)), 1);
        assert!(all.is_subscriber(ID, &peer), "a subscription does not expire");
    }

    #[test]
    fn a_service_is_told_of_what_nobody_else_subscribed_to() {
        let (all, direct, first, second) = (all(10, 10), peer(1), peer(2), peer(3));
        let service = ServiceId([5; 24]);
        let to = |peer: &Arc<Peer>| Some((service, Some(peer.clone())));
        all.subscribe(ID, &direct);
        all.give_to_service(ID, service, &first);
        all.release_news();
        assert_eq!(direct.take_news(), [(Topic::Notifier(ID), News::Moved)].into());
        all.arrived(ID, &SECRET, to(&first), notification(1));
        all.pass();
        assert_eq!(first.take_notified(10), [ID]);
        assert_eq!(seconds(all.take(ID, &first, None, 10)), [0; 0], "the service moved on");
        all.pass_to_service(service, &second);
        all.pass();
        assert_eq!(second.take_notified(10), [ID]);
        assert_eq!(seconds(all.take(ID, &second, Some(service), 10)), [1]);
        assert!(all.shard(&ID).is_empty(), "a service costs nothing until something is told");
        all.arrived(ID, &SECRET, Some((service, None)), notification(2));
        all.subscribe(ID, &direct);
        assert_eq!(seconds(all.take(ID, &second, Some(service), 10)), [0; 0]);
        assert_eq!(seconds(all.take(ID, &direct, None, 10)), [2]);
    }
    #[test]
    fn what_waits_goes_where_its_subscriber_is() {
        let (all, one) = (all(10, 10), peer(1));
        let (service, other) = (ServiceId([5; 24]), NotifierId([8; 24]));
        all.arrived(ID, &SECRET, None, notification(1));
        all.arrived(ID, &SECRET, None, notification(2));
        all.arrived(other, &SECRET, Some((service, None)), notification(3));
        let taken = |topic| -> Vec<i64> {
            let away = all.take_for(&topic);
            away.iter().map(|one| one.notification.received_at.seconds()).collect()
        };
        assert_eq!(taken(Topic::Queue(RecipientId(ID.0))), [0; 0]);
        assert_eq!(taken(Topic::Service(ServiceId([6; 24]))), [0; 0]);
        assert_eq!(taken(Topic::Notifier(ID)), [1, 2]);
        assert_eq!(all.count(), 1);
        assert_eq!(taken(Topic::Service(service)), [3]);
        assert_eq!((all.count(), taken(Topic::Notifier(ID))), (0, vec![]));
        all.subscribe(ID, &one);
        all.arrived(ID, &SECRET, None, notification(4));
        assert_eq!(taken(Topic::Notifier(ID)), [0; 0], "the subscriber is here");
        all.claimed(ID, &one, Claim(1));
        assert_eq!(all.all(), [(Topic::Notifier(ID), Some(Claim(1)))]);
        all.moved_away(ID, Claim(2));
        all.release_news();
        assert_eq!(one.take_news(), [(Topic::Notifier(ID), News::Moved)].into());
        assert_eq!(taken(Topic::Notifier(ID)), [4]);
    }
}
