//! The queues that shall be subscribed at one server.

use std::collections::{BTreeMap, VecDeque};

use crate::smp::ids::RecipientId;
use crate::smp::key::AuthPrivateKey;

use super::Subscription;

/// What shall be subscribed, and what of it has yet to be asked for in this session.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    wanted: BTreeMap<RecipientId, AuthPrivateKey>,
    due: VecDeque<RecipientId>,
    /// The server did not say yes or no; to be asked again.
    unanswered: Vec<RecipientId>,
    /// Commands on their way that subscribe to a queue, create or delete one.
    in_flight: usize,
    /// How many queues more the server has of our service than are wanted here; less is a negative number.
    surplus: i64,
    /// The queues are asked for one by one, since the server's number is another; then it is asked once more.
    is_recounting: bool,
}

impl Subscriptions {
    pub(super) fn new(surplus: i64) -> Self {
        Self { surplus, ..Self::default() }
    }

    /// Wants queues, and asks for them.
    pub(super) fn want(&mut self, queues: Vec<Subscription>) {
        for Subscription { queue, key } in queues {
            self.wanted.insert(queue, key);
            self.due.push_back(queue);
        }
    }

    /// Wants a queue, and asks for it after a while.
    pub(super) fn want_later(&mut self, subscription: Subscription) {
        self.wanted.insert(subscription.queue, subscription.key);
        self.unanswered.push(subscription.queue);
    }

    /// A queue was created with a subscription.
    pub(super) fn has(&mut self, queue: RecipientId, key: AuthPrivateKey) {
        self.wanted.insert(queue, key);
    }

    /// A command leaves that changes what the server has of us.
    pub(super) fn sent(&mut self) {
        self.in_flight = self.in_flight.saturating_add(1);
    }

    /// It is answered.
    pub(super) fn answered(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// The server subscribed us to so many queues of our service, which are all that we want if the number is right.
    pub(super) fn counted(&mut self, queues: i64) {
        let is_right = self.expected() == queues;
        if is_right {
            self.due.clear();
        }
        self.is_recounting = !is_right;
    }

    /// So many queues are our service's when each was asked for. Gives the surplus if it is another now.
    pub(super) fn recounted(&mut self, queues: i64) -> Option<i64> {
        self.is_recounting = false;
        let difference = queues.saturating_sub(self.expected());
        self.surplus = self.surplus.saturating_add(difference);
        (difference != 0).then_some(self.surplus)
    }

    /// The server says no number.
    pub(super) fn give_up_count(&mut self) {
        self.is_recounting = false;
    }

    fn expected(&self) -> i64 {
        i64::try_from(self.wanted.len()).unwrap_or(i64::MAX).saturating_add(self.surplus)
    }

    /// Whether the server is to be asked for its number once nothing is on its way that changes it.
    pub(super) fn is_recount_near(&self) -> bool {
        self.is_recounting && self.due.is_empty() && self.unanswered.is_empty()
    }

    /// Whether it is to be asked now.
    pub(super) fn is_recount_due(&self) -> bool {
        self.is_recount_near() && self.in_flight == 0
    }

    /// Somebody else has all queues.
    pub(super) fn forget_all(&mut self) {
        *self = Self::new(self.surplus);
    }

    /// The queue is gone, or somebody else has it. Says whether it was wanted.
    pub(super) fn forget(&mut self, queue: &RecipientId) -> bool {
        self.wanted.remove(queue).is_some()
    }

    /// Asks again later.
    pub(super) fn retry(&mut self, queue: RecipientId) {
        self.unanswered.push(queue);
    }

    /// Whether something waits for another attempt.
    pub(super) fn has_unanswered(&self) -> bool {
        !self.unanswered.is_empty()
    }

    /// The time for another attempt has come.
    pub(super) fn ask_again(&mut self) {
        self.due.extend(self.unanswered.drain(..));
    }

    /// A session begins, in which nothing is subscribed yet.
    pub(super) fn begin(&mut self) {
        self.unanswered.clear();
        (self.in_flight, self.is_recounting) = (0, false);
        self.due = self.wanted.keys().copied().collect();
    }

    /// The next queue to ask for.
    pub(super) fn next_due(&mut self) -> Option<(RecipientId, AuthPrivateKey)> {
        while let Some(queue) = self.due.pop_front() {
            if let Some(key) = self.wanted.get(&queue) {
                return Some((queue, key.clone()));
            }
        }
        None
    }

    pub(super) fn has_due(&self) -> bool {
        !self.due.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::sign::Ed25519PrivateKey;

    fn subscription(number: u8) -> Subscription {
        let key = AuthPrivateKey::Ed25519(Ed25519PrivateKey::from_seed(&[number; 32]));
        Subscription { queue: RecipientId([number; 24]), key }
    }

    fn due(subscriptions: &mut Subscriptions) -> Vec<u8> {
        std::iter::from_fn(|| subscriptions.next_due()).map(|(queue, _)| queue.0[0]).collect()
    }

    #[test]
    fn all_that_is_wanted_is_asked_for_in_each_session() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.want(vec![subscription(1), subscription(2)]);
        assert_eq!(due(&mut subscriptions), [1, 2]);
        let new = subscription(3);
        subscriptions.has(new.queue, new.key);
        assert!(due(&mut subscriptions).is_empty(), "creating it subscribed it");
        assert!(subscriptions.forget(&RecipientId([1; 24])));
        subscriptions.begin();
        assert_eq!(due(&mut subscriptions), [2, 3]);
    }

    fn wants(number: u8, surplus: i64) -> Subscriptions {
        let mut subscriptions = Subscriptions::new(surplus);
        subscriptions.want((1..=number).map(subscription).collect());
        subscriptions.begin();
        subscriptions
    }

    #[test]
    fn a_service_whose_number_is_right_asks_for_no_queue() {
        for surplus in [0, 2, -1] {
            let mut subscriptions = wants(3, surplus);
            subscriptions.counted(3 + surplus);
            assert!(due(&mut subscriptions).is_empty() && !subscriptions.is_recount_near(), "{surplus}");
        }
    }

    #[test]
    fn a_number_that_drifted_is_asked_for_again_after_all_queues() {
        let mut subscriptions = wants(2, 0);
        subscriptions.counted(1);
        assert!(!subscriptions.is_recount_near(), "queues are due");
        subscriptions.sent();
        assert_eq!(due(&mut subscriptions), [1, 2]);
        assert!(subscriptions.is_recount_near() && !subscriptions.is_recount_due(), "one is on its way");
        subscriptions.answered();
        assert!(subscriptions.is_recount_due());
        assert_eq!(subscriptions.recounted(5), Some(3));
        assert!(!subscriptions.is_recount_near());
        subscriptions.begin();
        subscriptions.counted(5);
        assert!(due(&mut subscriptions).is_empty(), "as many as expected now");
        subscriptions.begin();
        subscriptions.counted(6);
        due(&mut subscriptions);
        assert_eq!(subscriptions.recounted(5), None, "the surplus is the same again");
    }

    #[test]
    fn what_somebody_else_has_is_not_wanted_any_more() {
        let mut subscriptions = wants(2, 1);
        subscriptions.forget_all();
        assert!(subscriptions.is_empty() && due(&mut subscriptions).is_empty());
    }

    #[test]
    fn what_was_not_answered_is_asked_again_unless_it_is_not_wanted_any_more() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.want(vec![subscription(1), subscription(2)]);
        due(&mut subscriptions);
        subscriptions.retry(RecipientId([1; 24]));
        subscriptions.retry(RecipientId([2; 24]));
        subscriptions.forget(&RecipientId([1; 24]));
        assert!(subscriptions.has_unanswered());
        subscriptions.ask_again();
        assert_eq!(due(&mut subscriptions), [2]);
    }
}
