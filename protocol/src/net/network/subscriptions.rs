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
}

impl Subscriptions {
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
