//! The queues that shall be subscribed at one server.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use crate::agent::Lane;
use crate::net::backoff::Backoff;
use crate::net::window::Window;
use crate::smp::ids::RecipientId;
use crate::smp::key::AuthPrivateKey;
use crate::timestamp::Timestamp;

use super::{Subscription, Ticket};

/// Queues that are asked for at a time, from what fills a block up to a page (agent.md §6.7): other commands wait behind
/// them.
const ASKED: RangeInclusive<usize> = 135..=1350;

/// What shall be subscribed, and what of it has yet to be asked for in this session.
#[derive(Debug)]
pub struct Subscriptions {
    wanted: BTreeMap<RecipientId, Wanted>,
    due: Due,
    /// Of those that are asked for first, which have no answer in this session yet.
    unheard: BTreeSet<RecipientId>,
    /// Whether it was told in this session that there are none.
    is_listening: bool,
    /// Of the last queues that were wanted.
    newest: Option<Ticket>,
    /// Queues that are being asked for.
    asked: usize,
    window: Window,
    /// Whether as many are asked for as may be: then some have to be answered first, so that others fill a block.
    is_full: bool,
    /// The server did not say yes or no; to be asked again.
    unanswered: Vec<RecipientId>,
    /// Those that the server refused when it was asked last, though they are there, in whatever session.
    refused: BTreeMap<RecipientId, Refused>,
    /// When each of them is asked for again in this session.
    refused_until: BTreeSet<(Instant, RecipientId)>,
    /// Commands on their way that subscribe to a queue, create or delete one.
    in_flight: usize,
    /// How many queues more the server has of our service than are wanted here; less is a negative number.
    surplus: i64,
    /// The queues are asked for one by one, since the server's number is another; then it is asked once more.
    is_recounting: bool,
}

/// How a queue is wanted.
#[derive(Debug)]
struct Wanted {
    key: AuthPrivateKey,
    lane: Lane,
}

/// How a refused queue is asked for again.
#[derive(Debug)]
struct Refused {
    pauses: Backoff,
    /// The end of the last one.
    until: Instant,
    /// Whether whoever wants it knows.
    is_told: bool,
}

/// What has yet to be asked for.
#[derive(Debug, Default)]
struct Due {
    control: VecDeque<RecipientId>,
    bulk: VecDeque<RecipientId>,
}

impl Due {
    fn push(&mut self, queue: RecipientId, lane: Lane) {
        match lane {
            Lane::Control => self.control.push_back(queue),
            Lane::Bulk => self.bulk.push_back(queue),
        }
    }

    fn pop(&mut self) -> Option<RecipientId> {
        self.control.pop_front().or_else(|| self.bulk.pop_front())
    }

    fn is_empty(&self) -> bool {
        self.control.is_empty() && self.bulk.is_empty()
    }
}

impl Subscriptions {
    /// Nothing yet; the server has so many queues of our service more than we know.
    #[must_use]
    pub fn new(surplus: i64) -> Self {
        Self {
            wanted: BTreeMap::new(),
            due: Due::default(),
            unheard: BTreeSet::new(),
            is_listening: false,
            newest: None,
            asked: 0,
            window: Window::new(ASKED),
            is_full: false,
            unanswered: Vec::new(),
            refused: BTreeMap::new(),
            refused_until: BTreeSet::new(),
            in_flight: 0,
            surplus,
            is_recounting: false,
        }
    }

    /// Wants queues, and asks for them. Whoever wants one anew has yet to be told that it is refused.
    pub fn want(&mut self, queues: Vec<Subscription>, ticket: Ticket) {
        self.newest = self.newest.max(Some(ticket));
        for Subscription { queue, key, lane } in queues {
            if let Some(refused) = self.refused.get_mut(&queue) {
                refused.is_told = false;
            }
            self.wanted.insert(queue, Wanted { key, lane });
            self.ask(queue, lane);
        }
    }

    /// Wants a queue, and asks for it after a while. One that is wanted already stays in its lane.
    pub fn want_later(&mut self, subscription: Subscription) {
        let Subscription { queue, key, lane } = subscription;
        self.wanted.entry(queue).or_insert(Wanted { key, lane });
        self.unanswered.push(queue);
    }

    /// A queue was created with a subscription.
    pub fn has(&mut self, Subscription { queue, key, lane }: Subscription) {
        self.wanted.insert(queue, Wanted { key, lane });
    }

    fn ask(&mut self, queue: RecipientId, lane: Lane) {
        self.due.push(queue, lane);
        if lane == Lane::Control {
            self.unheard.insert(queue);
            self.is_listening = false;
        }
    }

    /// A command leaves that changes what the server has of us.
    pub fn sent(&mut self) {
        self.in_flight = self.in_flight.saturating_add(1);
    }

    /// It is answered.
    pub fn answered(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// The server subscribed us to so many queues of our service, which are all that we want if the number is right.
    pub fn counted(&mut self, queues: i64) {
        let is_right = self.expected() == queues;
        if is_right {
            self.due = Due::default();
            self.unheard.clear();
            // whether those are taken now is not said
            self.due.bulk.extend(self.refused.keys());
        }
        self.is_recounting = !is_right;
    }

    /// So many queues are our service's when each was asked for. Gives the surplus if it is another now.
    pub fn recounted(&mut self, queues: i64) -> Option<i64> {
        self.is_recounting = false;
        let difference = queues.saturating_sub(self.expected());
        self.surplus = self.surplus.saturating_add(difference);
        (difference != 0).then_some(self.surplus)
    }

    /// The server says no number.
    pub fn give_up_count(&mut self) {
        self.is_recounting = false;
    }

    fn expected(&self) -> i64 {
        i64::try_from(self.wanted.len()).unwrap_or(i64::MAX).saturating_add(self.surplus)
    }

    /// Whether the server is to be asked for its number once nothing is on its way that changes it.
    #[must_use]
    pub fn is_recount_near(&self) -> bool {
        self.is_recounting && self.due.is_empty() && self.unanswered.is_empty()
    }

    /// Whether it is to be asked now.
    #[must_use]
    pub fn is_recount_due(&self) -> bool {
        self.is_recount_near() && self.in_flight == 0
    }

    /// Somebody else has all queues. Gives those that the server refused.
    pub fn forget_all(&mut self) -> Vec<RecipientId> {
        let nothing = Self { newest: self.newest, ..Self::new(self.surplus) };
        let former = std::mem::replace(self, nothing);
        former.refused.into_keys().collect()
    }

    /// The queue is gone, or somebody else has it. Says whether it was wanted.
    pub fn forget(&mut self, queue: &RecipientId) -> bool {
        self.unheard.remove(queue);
        self.wanted.remove(queue).is_some()
    }

    /// The server refuses the queue, which is there: it is asked for again, ever more seldom. Says whether it was taken
    /// before.
    pub fn refuse(&mut self, queue: RecipientId, now: Instant) -> bool {
        if !self.wanted.contains_key(&queue) {
            return false;
        }
        self.unheard.remove(&queue);
        let fresh = || Refused { pauses: Backoff::new(), until: now, is_told: false };
        let refused = self.refused.entry(queue).or_insert_with(fresh);
        let is_new = !std::mem::replace(&mut refused.is_told, true);
        self.refused_until.remove(&(refused.until, queue));
        refused.until = now + refused.pauses.next();
        self.refused_until.insert((refused.until, queue));
        is_new
    }

    /// Asks for those again that were refused for long enough. Gives the moment of the next one.
    pub fn ask_refused(&mut self, now: Instant) -> Option<Instant> {
        while let Some((moment, queue)) = self.refused_until.first().copied() {
            if moment > now {
                return Some(moment);
            }
            self.refused_until.pop_first();
            self.due.push(queue, Lane::Bulk);
        }
        None
    }

    /// The server takes the queue. Says whether it refused it before.
    pub fn take(&mut self, queue: &RecipientId) -> bool {
        let Some(refused) = self.refused.remove(queue) else { return false };
        self.refused_until.remove(&(refused.until, *queue));
        true
    }

    /// Asks again later.
    pub fn retry(&mut self, queue: RecipientId) {
        self.unanswered.push(queue);
    }

    /// Whether something waits for another attempt.
    #[must_use]
    pub fn has_unanswered(&self) -> bool {
        !self.unanswered.is_empty()
    }

    /// The time for another attempt has come.
    pub fn ask_again(&mut self) {
        for queue in std::mem::take(&mut self.unanswered) {
            if let Some(wanted) = self.wanted.get(&queue) {
                self.due.push(queue, wanted.lane);
            }
        }
    }

    /// A session begins, in which nothing is subscribed yet.
    pub fn begin(&mut self) {
        self.unanswered.clear();
        self.refused_until.clear();
        (self.in_flight, self.is_recounting) = (0, false);
        (self.due, self.unheard, self.is_listening) = (Due::default(), BTreeSet::new(), false);
        (self.asked, self.window, self.is_full) = (0, Window::new(ASKED), false);
        let wanted: Vec<_> = self.wanted.iter().map(|(queue, wanted)| (*queue, wanted.lane)).collect();
        for (queue, lane) in wanted {
            self.ask(queue, lane);
        }
    }

    /// The next queue to ask for, while there is room for it.
    pub fn next_due(&mut self) -> Option<(RecipientId, AuthPrivateKey)> {
        while self.may_ask()
            && let Some(queue) = self.due.pop()
        {
            if let Some(wanted) = self.wanted.get(&queue) {
                let key = wanted.key.clone();
                self.asked = self.asked.saturating_add(1);
                self.is_full = self.asked >= self.window.size();
                return Some((queue, key));
            }
        }
        None
    }

    /// The server subscribed us to a queue.
    pub fn subscribed(&mut self, queue: &RecipientId) {
        self.unheard.remove(queue);
    }

    /// One that was asked for is on its way no more, after so long, whether it was answered or not.
    pub fn returned(&mut self, took: Duration, now: Timestamp) {
        self.window.answered(took, self.is_full, now);
        self.asked = self.asked.saturating_sub(1);
        if self.asked <= self.window.size() / 2 {
            self.is_full = false;
        }
    }

    /// Whether [`Self::next_due`] may have something.
    #[must_use]
    pub fn may_ask(&self) -> bool {
        !self.due.is_empty() && !self.is_full
    }

    /// Whether what is asked for first is answered by now. Says so once, until more of it is asked for.
    pub fn begins_to_listen(&mut self) -> bool {
        let begins = self.unheard.is_empty() && !self.is_listening;
        self.is_listening |= begins;
        begins
    }

    /// Up to which queues [`Self::begins_to_listen`] says it.
    #[must_use]
    pub fn newest(&self) -> Option<Ticket> {
        self.newest
    }

    /// Whether nothing is wanted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::sign::Ed25519PrivateKey;

    fn subscription(number: u8) -> Subscription {
        let key = AuthPrivateKey::Ed25519(Ed25519PrivateKey::from_seed(&[number; 32]));
        Subscription { queue: RecipientId([number; 24]), key, lane: Lane::Bulk }
    }

    fn due(subscriptions: &mut Subscriptions) -> Vec<u8> {
        std::iter::from_fn(|| subscriptions.next_due()).map(|(queue, _)| queue.0[0]).collect()
    }

    #[test]
    fn all_that_is_wanted_is_asked_for_in_each_session() {
        let mut subscriptions = Subscriptions::new(0);
        subscriptions.want(vec![subscription(1), subscription(2)], Ticket(0));
        assert_eq!(due(&mut subscriptions), [1, 2]);
        subscriptions.has(subscription(3));
        subscriptions.has(Subscription { lane: Lane::Control, ..subscription(4) });
        assert!(due(&mut subscriptions).is_empty(), "creating them subscribed them");
        assert!(subscriptions.forget(&RecipientId([1; 24])));
        subscriptions.want_later(subscription(4));
        subscriptions.begin();
        assert_eq!(due(&mut subscriptions), [4, 2, 3]);
    }

    fn wants(number: u8, surplus: i64) -> Subscriptions {
        let mut subscriptions = Subscriptions::new(surplus);
        subscriptions.want((1..=number).map(subscription).collect(), Ticket(0));
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
        subscriptions.refuse(RecipientId([2; 24]), Instant::now());
        assert_eq!(subscriptions.forget_all(), [RecipientId([2; 24])]);
        assert!(subscriptions.is_empty() && due(&mut subscriptions).is_empty());
    }

    #[test]
    fn what_was_not_answered_is_asked_again_unless_it_is_not_wanted_any_more() {
        let mut subscriptions = Subscriptions::new(0);
        subscriptions.want(vec![subscription(1), subscription(2)], Ticket(0));
        due(&mut subscriptions);
        subscriptions.retry(RecipientId([1; 24]));
        subscriptions.retry(RecipientId([2; 24]));
        subscriptions.forget(&RecipientId([1; 24]));
        assert!(subscriptions.has_unanswered());
        subscriptions.ask_again();
        assert_eq!(due(&mut subscriptions), [2]);
    }

    #[test]
    fn a_refused_queue_is_asked_for_ever_more_seldom_until_it_is_taken() {
        let (mut subscriptions, start) = (wants(2, 0), Instant::now());
        due(&mut subscriptions);
        assert!(subscriptions.refuse(RecipientId([1; 24]), start));
        let mut waits = Vec::new();
        let mut now = start;
        while waits.len() < 8 {
            let next = subscriptions.ask_refused(now).unwrap();
            assert!(due(&mut subscriptions).is_empty(), "not before its time");
            assert_eq!(subscriptions.ask_refused(next), None);
            assert_eq!(due(&mut subscriptions), [1]);
            waits.push(next - now);
            now = next;
            assert!(!subscriptions.refuse(RecipientId([1; 24]), now), "it was told of before");
        }
        assert!(waits.is_sorted() && waits.first() < waits.last(), "{waits:?}");
        subscriptions.begin();
        assert_eq!(due(&mut subscriptions), [1, 2], "a new session asks for all");
        assert!(subscriptions.take(&RecipientId([1; 24])) && !subscriptions.take(&RecipientId([1; 24])));
        assert_eq!(subscriptions.ask_refused(now + Duration::from_secs(3600)), None);
    }

    #[test]
    fn whoever_wants_a_refused_queue_anew_is_told_so() {
        let (mut subscriptions, now) = (wants(1, 0), Instant::now());
        due(&mut subscriptions);
        assert!(subscriptions.refuse(RecipientId([1; 24]), now));
        subscriptions.want(vec![subscription(1)], Ticket(0));
        assert_eq!(due(&mut subscriptions), [1]);
        assert!(subscriptions.refuse(RecipientId([1; 24]), now));
        assert!(!subscriptions.refuse(RecipientId([1; 24]), now));
        subscriptions.want(vec![subscription(1)], Ticket(0));
        assert!(subscriptions.take(&RecipientId([1; 24])), "who was told before hears that it is over");
    }

    #[test]
    fn what_is_not_wanted_is_not_refused() {
        let (mut subscriptions, now) = (wants(1, 0), Instant::now());
        assert!(!subscriptions.refuse(RecipientId([2; 24]), now));
        assert!(subscriptions.refuse(RecipientId([1; 24]), now));
        subscriptions.forget(&RecipientId([1; 24]));
        assert_eq!(subscriptions.ask_refused(now + Duration::from_secs(3600)), None);
        assert!(due(&mut subscriptions).is_empty());
    }

    #[test]
    fn a_service_still_asks_for_what_was_refused() {
        let mut subscriptions = wants(3, 0);
        due(&mut subscriptions);
        subscriptions.refuse(RecipientId([2; 24]), Instant::now());
        subscriptions.begin();
        subscriptions.counted(3);
        assert_eq!(due(&mut subscriptions), [2]);
    }

    #[test]
    fn control_is_asked_for_first_in_each_session_and_its_answers_are_told_once() {
        let mut subscriptions = wants(2, 0);
        assert!(subscriptions.begins_to_listen(), "there is none");
        assert!(!subscriptions.begins_to_listen());
        let first = [8, 9].map(|number| Subscription { lane: Lane::Control, ..subscription(number) });
        subscriptions.want(first.to_vec(), Ticket(0));
        subscriptions.begin();
        assert_eq!(due(&mut subscriptions), [8, 9, 1, 2]);
        let mut hear = |number: u8| {
            subscriptions.subscribed(&RecipientId([number; 24]));
            subscriptions.begins_to_listen()
        };
        assert_eq!([9, 1, 8, 2].map(&mut hear), [false, false, true, false]);
        subscriptions.begin();
        subscriptions.counted(4);
        assert!(subscriptions.begins_to_listen(), "all are subscribed at once");
    }

    #[test]
    fn who_is_gone_is_not_waited_for() {
        let mut subscriptions = Subscriptions::new(0);
        subscriptions.want(vec![Subscription { lane: Lane::Control, ..subscription(1) }], Ticket(0));
        assert!(!subscriptions.begins_to_listen());
        subscriptions.forget(&RecipientId([1; 24]));
        assert!(subscriptions.begins_to_listen());
    }

    #[test]
    fn who_did_not_answer_is_not_heard() {
        let mut subscriptions = Subscriptions::new(0);
        let queue = RecipientId([1; 24]);
        subscriptions.want(vec![Subscription { lane: Lane::Control, ..subscription(1) }], Ticket(0));
        assert_eq!(due(&mut subscriptions), [1]);
        subscriptions.returned(Duration::from_secs(30), Timestamp(1));
        subscriptions.retry(queue);
        assert!(!subscriptions.begins_to_listen());
        subscriptions.ask_again();
        assert_eq!(due(&mut subscriptions), [1]);
        subscriptions.subscribed(&queue);
        assert!(subscriptions.begins_to_listen());
        subscriptions.begin();
        subscriptions.refuse(queue, Instant::now());
        assert!(subscriptions.begins_to_listen(), "a refusal is an answer");
    }

    #[test]
    fn no_more_is_asked_for_at_a_time_than_has_room_and_half_of_it_makes_room_again() {
        let mut subscriptions = wants(200, 0);
        let asked = due(&mut subscriptions);
        assert_eq!((asked.len(), subscriptions.may_ask()), (*ASKED.start(), false));
        let (mut returned, mut left) = (0, 200 - asked.len());
        while !subscriptions.may_ask() {
            returned += 1;
            subscriptions.returned(Duration::from_millis(1), Timestamp(1));
        }
        assert!((1..=asked.len() / 2 + 1).contains(&returned), "{returned}");
        left -= due(&mut subscriptions).len();
        assert_eq!(left, 0, "the window has grown meanwhile");
    }
}
