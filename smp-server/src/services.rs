//! Services: clients that present a certificate and take back all their queues with one command (smp.md §13).
//!
//! ```text
//! hello ──▶ admit ──▶ service id, for good
//! SUB, NSUB, NEW ──▶ the queue is the service's, in the store; the connection is told of all the service's queues
//! SUBS, NSUBS    ──▶ the connection is told of all the service's queues, and gets what waits in them
//! ```
//!
//! A service has one subscribed connection. Its queues have no entries here: a message that is stored in a queue of a
//! service finds the connection by the service. So a million queues cost nothing until a message comes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::net::clock::now;
use protocol::net::rng::system_rng;
use protocol::smp::error::BlockingInfo;
use protocol::smp::ids::{NotifierId, RecipientId, ServiceId};
use protocol::transport::handshake::PendingService;

use crate::delivery::Delivery;
use crate::limits::{Admission, Demand, TooMuch};
use crate::news::{News, Topic, Waiting};
use crate::notifications::{Arrival, Away, Notification};
use crate::peer::{Peer, PeerId};
use crate::server::Server;
use crate::standing::Standing;
use crate::store::{self, Claim, DhSecret, NewService, NodeEvent, QueueRecord};
use crate::subscriptions::Source;

/// The id of a service that presents itself: the one that it had, or a new one. Nothing when it is known in another
/// role.
///
/// # Errors
/// Those of the store.
pub(crate) async fn admit(
    server: &Server,
    admission: &Admission,
    pending: &PendingService,
) -> store::Result<Option<ServiceId>> {
    let (fingerprint, role) = (pending.fingerprint, pending.role);
    let known = server.store.read(move |reader| reader.service(&fingerprint)).await?;
    let record = match known {
        Some(record) => record,
        None => {
            // A service stays for good, like a queue, and is as quickly made.
            match admission.take(Demand { queues: 1, ..Demand::default() }) {
                Ok(wait) => tokio::time::sleep(wait).await,
                Err(TooMuch) => return Ok(None),
            }
            let id = ServiceId::generate(&mut system_rng());
            let new = NewService { id, fingerprint, role, created_at: now().seconds() };
            server.store.write_beside_records(move |store| store.add_service(&new)).await?
        }
    };
    Ok((record.role == role).then_some(record.id))
}

/// Which connection is told of the queues of a service.
#[derive(Debug, Default)]
pub struct Services {
    subscribers: Mutex<HashMap<ServiceId, Subscriber>>,
    /// Connections for which news wait.
    told_later: Waiting,
}

#[derive(Debug)]
struct Subscriber {
    peer: Arc<Peer>,
    /// Of how many queues it is told, as far as it said: of all after `SUBS`.
    queues: i64,
    /// Whether it said `SUBS` or `NSUBS`.
    of_all: bool,
    /// Where it stands among the nodes of a cluster.
    standing: Standing,
}

/// How many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServiceCounts {
    /// Services with a subscribed connection.
    pub services: usize,
    /// Queues and notifiers that those connections are told of.
    pub queues: usize,
}

/// What a connection becomes by `SUBS` or `NSUBS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscribed {
    /// Of how many queues it is told.
    pub queues: i64,
    /// Whether this is the first time on this connection.
    pub is_first: bool,
}

impl Services {
    fn lock(&self) -> MutexGuard<'_, HashMap<ServiceId, Subscriber>> {
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many services are subscribed, and to how much.
    #[must_use]
    pub fn counts(&self) -> ServiceCounts {
        let subscribers = self.lock();
        let queues = subscribers.values().map(|subscriber| subscriber.queues).fold(0, i64::saturating_add);
        ServiceCounts { services: subscribers.len(), queues: usize::try_from(queues).unwrap_or_default() }
    }

    /// The connection that is told of a service's queues.
    #[must_use]
    pub fn subscriber(&self, service: ServiceId) -> Option<Arc<Peer>> {
        self.lock().get(&service).map(|subscriber| subscriber.peer.clone())
    }

    /// Whether `peer` is that connection.
    #[must_use]
    pub fn is_subscriber(&self, service: ServiceId, peer: &Peer) -> bool {
        self.lock().get(&service).is_some_and(|subscriber| subscriber.peer.id() == peer.id())
    }

    /// Whether `peer` said `SUBS` or `NSUBS` and is told of how many queues.
    #[must_use]
    pub fn subscribed_to_all(&self, service: ServiceId, peer: &Peer) -> Option<i64> {
        let subscribers = self.lock();
        let subscriber = subscribers.get(&service)?;
        (subscriber.of_all && subscriber.peer.id() == peer.id()).then_some(subscriber.queues)
    }

    /// `peer` subscribed to one queue of the service, which may be new to the service. Gives the connection that was
    /// told before, if it was another: it is told no more.
    pub fn subscribe_to_one(&self, service: ServiceId, peer: &Arc<Peer>, is_new: bool) -> Option<Arc<Peer>> {
        let mut subscribers = self.lock();
        match subscribers.get_mut(&service) {
            Some(subscriber) if subscriber.peer.id() == peer.id() => {
                if is_new || subscriber.queues == 0 {
                    subscriber.queues = subscriber.queues.saturating_add(1);
                }
                None
            }
            _ => {
                let subscriber = Subscriber {
                    peer: peer.clone(),
                    queues: 1,
                    of_all: false,
                    standing: Standing::default(),
                };
                self.replace(&mut subscribers, service, subscriber)
            }
        }
    }

    /// `peer` subscribed to all `queues` of the service. Gives the connection that was told before, if it was another.
    pub fn subscribe_to_all(&self, service: ServiceId, peer: &Arc<Peer>, queues: i64) -> Option<Arc<Peer>> {
        let mut subscribers = self.lock();
        let subscriber =
            Subscriber { peer: peer.clone(), queues, of_all: true, standing: Standing::default() };
        self.replace(&mut subscribers, service, subscriber)
    }

    fn replace(
        &self,
        subscribers: &mut HashMap<ServiceId, Subscriber>,
        service: ServiceId,
        mut subscriber: Subscriber,
    ) -> Option<Arc<Peer>> {
        subscriber.peer.set_serving(true);
        subscriber.standing = Standing::after(subscribers.get(&service).map(|former| former.standing));
        let former = subscribers.insert(service, subscriber)?;
        if subscribers.get(&service).is_some_and(|present| present.peer.id() == former.peer.id()) {
            return None;
        }
        former.peer.set_serving(false);
        self.tell_later(&former.peer, Topic::Service(service), News::ServiceMoved(former.queues));
        Some(former.peer)
    }

    /// Whether `peer` is the connection of the service and has not claimed that yet.
    #[must_use]
    pub fn needs_claim(&self, service: ServiceId, peer: &Peer) -> bool {
        self.lock()
            .get(&service)
            .is_some_and(|one| one.peer.id() == peer.id() && one.standing.claim().is_none())
    }

    /// The store gave the subscription of `peer` its place among those of other nodes. Gives the connection whose
    /// subscription is lost by that.
    pub fn claimed(&self, service: ServiceId, peer: &Peer, claim: Claim) -> Option<Arc<Peer>> {
        self.stand(service, |subscriber| {
            if subscriber.peer.id() == peer.id() {
                subscriber.standing.claimed(claim);
            }
        })
    }

    /// The service subscribed at another node. Gives the connection that was told before, which hears so later.
    pub fn moved_away(&self, service: ServiceId, rival: Claim) -> Option<Arc<Peer>> {
        self.stand(service, |subscriber| subscriber.standing.heard_of(rival))
    }

    fn stand(&self, service: ServiceId, change: impl FnOnce(&mut Subscriber)) -> Option<Arc<Peer>> {
        let mut subscribers = self.lock();
        let subscriber = subscribers.get_mut(&service)?;
        change(subscriber);
        if !subscriber.standing.is_lost() {
            return None;
        }
        let lost = subscribers.remove(&service)?;
        lost.peer.set_serving(false);
        self.tell_later(&lost.peer, Topic::Service(service), News::ServiceMoved(lost.queues));
        Some(lost.peer)
    }

    /// All services that are subscribed here, with their claims.
    #[must_use]
    pub fn all(&self) -> Vec<(Topic, Option<Claim>)> {
        self.lock().iter().map(|(id, one)| (Topic::Service(*id), one.standing.claim())).collect()
    }

    /// The operator blocked a queue of the service: its connection hears so at once.
    pub fn blocked(&self, service: ServiceId, id: RecipientId, info: BlockingInfo) {
        if let Some(peer) = self.subscriber(service) {
            peer.add_news(Topic::Queue(id), News::Blocked(info));
            peer.release_news();
        }
    }

    /// Messages may have arrived in the service's queues of which its connection was not told.
    pub fn look_again(&self, service: ServiceId) {
        if let Some(peer) = self.subscriber(service) {
            peer.look_again();
        }
    }

    /// A queue is the service's no more: its connection hears so later, unless it is the cause.
    pub fn lost(&self, service: ServiceId, topic: Topic, news: News, by: Option<PeerId>) {
        let mut subscribers = self.lock();
        let Some(subscriber) = subscribers.get_mut(&service) else { return };
        subscriber.queues = subscriber.queues.saturating_sub(1).max(0);
        if Some(subscriber.peer.id()) != by {
            self.tell_later(&subscriber.peer, topic, news);
        }
    }

    /// Removes a connection that is gone. Gives the claim that ends with it.
    pub fn disconnect(&self, service: ServiceId, peer: &Peer) -> Option<(Topic, Claim)> {
        let mut subscribers = self.lock();
        subscribers.get(&service).filter(|subscriber| subscriber.peer.id() == peer.id())?;
        let removed = subscribers.remove(&service)?;
        removed.standing.claim().map(|claim| (Topic::Service(service), claim))
    }

    /// Lets all waiting news go out; called by the timer.
    pub fn release_news(&self) {
        for peer in self.told_later.take() {
            peer.release_news();
        }
    }

    fn tell_later(&self, peer: &Arc<Peer>, topic: Topic, news: News) {
        if peer.add_news(topic, news) {
            self.told_later.add(peer);
        }
    }
}

impl Server {
    /// A message was stored in the queue: whoever subscribed to it, or to all queues of its service, gets it.
    pub fn arrived(&self, queue: &QueueRecord) {
        if self.subscriptions.arrived(queue.recipient_id) {
            return;
        }
        if let Some(service) = queue.recipient_service {
            let source =
                Source { queue: queue.number, dh_secret: queue.dh_secret.clone(), service: Some(service) };
            if let Some(peer) = self.subscribe_for_service(service, queue.recipient_id, source) {
                peer.ready(queue.recipient_id);
                return;
            }
        }
        if let Some(cluster) = self.cluster() {
            let subscriber = queue.recipient_service.map_or(Topic::Queue(queue.recipient_id), Topic::Service);
            cluster.tell(subscriber, NodeEvent::Arrived(queue.recipient_id));
        }
    }

    /// A message was stored whose sender wants the notifier to be told, if the queue has one.
    pub(crate) fn notify(&self, queue: &QueueRecord, notification: Notification) {
        let Some(notifier) = &queue.notifier else { return };
        self.metrics.notifications_created.one();
        let service = queue.notifier_service;
        let is_here = self.notifications.has_subscriber(notifier.id)
            || service.is_some_and(|service| self.services.subscriber(service).is_some());
        let (id, secret) = (notifier.id, &notifier.dh_secret);
        match self.cluster() {
            Some(cluster) if !is_here => {
                cluster.notify(Away { notifier: id, secret: secret.clone(), service, notification });
            }
            Some(_) | None => self.keep(id, secret, service, notification),
        }
    }

    /// A notification waits here for its subscriber.
    pub(crate) fn keep(
        &self,
        notifier: NotifierId,
        secret: &DhSecret,
        service: Option<ServiceId>,
        notification: Notification,
    ) {
        let service = service.map(|service| (service, self.services.subscriber(service)));
        if self.notifications.arrived(notifier, secret, service, notification) == Arrival::Displaced {
            self.metrics.notifications_lost.one();
        }
    }

    /// Makes the connection of a service the subscriber of one of its queues, in which a message waits, unless somebody
    /// is. Gives the connection if it is new to this queue.
    pub(crate) fn subscribe_for_service(
        &self,
        service: ServiceId,
        id: RecipientId,
        source: Source,
    ) -> Option<Arc<Peer>> {
        loop {
            let peer = self.services.subscriber(service)?;
            if !self.subscriptions.subscribe_on_demand(id, &peer, source.clone(), Delivery::Ready) {
                return None;
            }
            // The service may have moved to another connection, which took this one's subscriptions away: before
            // this one was added, or after.
            if self.services.is_subscriber(service, &peer) {
                return Some(peer);
            }
            self.subscriptions.forget(id, &peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::timestamp::Timestamp;

    use super::*;

    const SERVICE: ServiceId = ServiceId([7; 24]);

    fn peer(id: u64) -> Arc<Peer> {
        Arc::new(Peer::new(PeerId(id), Timestamp(0)))
    }

    fn moved(peer: &Peer) -> Vec<News> {
        peer.take_news().into_values().collect()
    }

    #[test]
    fn a_service_moves_with_one_piece_of_news() {
        let (all, first, second) = (Services::default(), peer(1), peer(2));
        assert!(all.subscribe_to_one(SERVICE, &first, true).is_none());
        assert!(all.subscribe_to_one(SERVICE, &first, false).is_none(), "a repetition");
        assert!(all.subscribe_to_one(SERVICE, &first, true).is_none());
        assert_eq!(all.subscribed_to_all(SERVICE, &first), None);
        let former = all.subscribe_to_one(SERVICE, &second, false).unwrap();
        assert_eq!(former.id(), first.id());
        assert!(moved(&first).is_empty(), "before the timer");
        all.release_news();
        assert_eq!(moved(&first), [News::ServiceMoved(2)]);
        assert!(all.subscribe_to_all(SERVICE, &second, 5).is_none());
        assert_eq!(all.subscribed_to_all(SERVICE, &second), Some(5));
        assert_eq!(all.counts(), ServiceCounts { services: 1, queues: 5 });
        all.lost(SERVICE, Topic::Queue(RecipientId([1; 24])), News::Deleted, Some(second.id()));
        assert!(all.subscribe_to_all(SERVICE, &first, 4).is_some());
        all.release_news();
        assert_eq!(moved(&second), [News::ServiceMoved(4)]);
    }

    #[test]
    fn a_connection_that_ends_leaves_a_service_that_moved() {
        let (all, first, second) = (Services::default(), peer(1), peer(2));
        all.subscribe_to_all(SERVICE, &first, 1);
        all.subscribe_to_all(SERVICE, &second, 1);
        all.disconnect(SERVICE, &first);
        assert!(all.is_subscriber(SERVICE, &second));
        all.disconnect(SERVICE, &second);
        assert!(all.subscriber(SERVICE).is_none());
    }
    #[test]
    fn a_service_that_moves_to_another_node_is_told_so_by_its_number_of_queues() {
        let (all, first, second) = (Services::default(), peer(1), peer(2));
        all.subscribe_to_all(SERVICE, &first, 7);
        assert!(all.needs_claim(SERVICE, &first) && !all.needs_claim(SERVICE, &second));
        assert!(all.claimed(SERVICE, &first, Claim(4)).is_none());
        assert!(!all.needs_claim(SERVICE, &first));
        assert!(all.moved_away(SERVICE, Claim(3)).is_none(), "a former one");
        assert_eq!(all.all(), [(Topic::Service(SERVICE), Some(Claim(4)))]);
        let lost = all.moved_away(SERVICE, Claim(5)).unwrap();
        assert_eq!(lost.id(), first.id());
        assert!(all.subscriber(SERVICE).is_none());
        all.release_news();
        assert_eq!(moved(&first), [News::ServiceMoved(7)]);
        // Its own claim is on its way while it hears of the other.
        all.subscribe_to_all(SERVICE, &second, 7);
        assert!(all.moved_away(SERVICE, Claim(9)).is_none());
        assert!(all.claimed(SERVICE, &second, Claim(8)).is_some());
        assert_eq!(all.disconnect(SERVICE, &second), None);
        all.subscribe_to_all(SERVICE, &second, 7);
        all.claimed(SERVICE, &second, Claim(10));
        assert_eq!(all.disconnect(SERVICE, &second), Some((Topic::Service(SERVICE), Claim(10))));
    }
}
