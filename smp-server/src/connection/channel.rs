//! What the parts of a connection hand each other: a bounded channel that takes no room while nothing is in it. Those
//! of tokio take two kilobytes each from the start, and most connections of a server are idle.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The other end is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Closed;

/// Puts in. There is one of it.
#[derive(Debug)]
pub(super) struct Sender<T>(Arc<Shared<T>>);

/// Takes out. There is one of it.
#[derive(Debug)]
pub(super) struct Receiver<T>(Arc<Shared<T>>);

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    depth: usize,
    /// Something was put in, or nothing more comes.
    filled: Notify,
    /// Something was taken out, or nobody takes any more.
    drained: Notify,
}

#[derive(Debug)]
struct State<T> {
    waiting: VecDeque<T>,
    is_closed: bool,
}

/// A channel in which so many may wait.
pub(super) fn channel<T>(depth: usize) -> (Sender<T>, Receiver<T>) {
    let state = Mutex::new(State { waiting: VecDeque::new(), is_closed: false });
    let shared = Arc::new(Shared { state, depth, filled: Notify::new(), drained: Notify::new() });
    (Sender(shared.clone()), Receiver(shared))
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.lock().is_closed = true;
        self.filled.notify_one();
        self.drained.notify_one();
    }

    fn put(&self, item: T) -> Result<(), Closed> {
        let mut state = self.lock();
        if state.is_closed {
            return Err(Closed);
        }
        state.waiting.push_back(item);
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// Whether something can be put in, or nothing ever again.
    fn is_drained(&self) -> bool {
        let state = self.lock();
        state.is_closed || state.waiting.len() < self.depth
    }

    /// What waits; nothing when more may come, and empty at the end.
    fn take(&self, most: usize) -> Option<Vec<T>> {
        let mut state = self.lock();
        if state.waiting.is_empty() && !state.is_closed {
            return None;
        }
        let count = most.min(state.waiting.len());
        let taken = state.waiting.drain(..count).collect();
        drop(state);
        self.drained.notify_one();
        Some(taken)
    }
}

impl<T> Sender<T> {
    /// Puts something in once there is room. When this is given up, nothing was put in.
    pub(super) async fn send(&mut self, item: T) -> Result<(), Closed> {
        self.room().await;
        self.0.put(item)
    }

    /// Whether there is room now.
    pub(super) fn has_room(&self) -> bool {
        self.0.lock().waiting.len() < self.0.depth
    }

    /// Waits until there is room, or nobody takes any more. Only the sender fills it, so that the room stays.
    pub(super) async fn room(&self) {
        while !self.0.is_drained() {
            self.0.drained.notified().await;
        }
    }
}

impl<T> Receiver<T> {
    /// Takes the next one; nothing when no more come. When this is given up, nothing was taken.
    pub(super) async fn receive(&mut self) -> Option<T> {
        self.receive_many(1).await.pop()
    }

    /// Takes what waits, at least one and at most so many; none when no more come. When this is given up, nothing was
    /// taken.
    pub(super) async fn receive_many(&mut self, most: usize) -> Vec<T> {
        loop {
            if let Some(taken) = self.0.take(most) {
                return taken;
            }
            self.0.filled.notified().await;
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// What a future says when it is asked once.
    fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
        pin!(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn it_keeps_order_and_its_bound() {
        let (mut sender, mut receiver) = channel(2);
        assert!(poll_once(receiver.receive()).is_pending());
        for item in [1, 2] {
            assert!(sender.has_room());
            assert_eq!(poll_once(sender.send(item)), Poll::Ready(Ok(())));
        }
        assert!(!sender.has_room() && poll_once(sender.room()).is_pending());
        assert!(poll_once(sender.send(3)).is_pending(), "given up: nothing was put in");
        assert_eq!(poll_once(receiver.receive()), Poll::Ready(Some(1)));
        assert_eq!(poll_once(sender.send(4)), Poll::Ready(Ok(())));
        assert_eq!(poll_once(receiver.receive_many(9)), Poll::Ready(vec![2, 4]));
    }

    #[test]
    fn what_was_put_in_is_taken_after_the_end() {
        let (mut sender, mut receiver) = channel(2);
        assert_eq!(poll_once(sender.send(1)), Poll::Ready(Ok(())));
        drop(sender);
        assert_eq!(poll_once(receiver.receive_many(2)), Poll::Ready(vec![1]));
        assert_eq!(poll_once(receiver.receive()), Poll::Ready(None));
    }

    #[test]
    fn nothing_is_put_in_when_nobody_takes() {
        let (mut sender, receiver) = channel(1);
        assert_eq!(poll_once(sender.send(1)), Poll::Ready(Ok(())));
        drop(receiver);
        assert_eq!(poll_once(sender.room()), Poll::Ready(()));
        assert_eq!(poll_once(sender.send(2)), Poll::Ready(Err(Closed)));
    }

    #[tokio::test]
    async fn whoever_waits_is_woken() {
        let (mut sender, mut receiver) = channel(1);
        let sending = async move {
            for item in 0..100 {
                sender.send(item).await.unwrap();
            }
        };
        let receiving = async move {
            let mut next = 0;
            while let Some(item) = receiver.receive().await {
                assert_eq!(item, next);
                next += 1;
            }
            next
        };
        let ((), count) = tokio::join!(sending, receiving);
        assert_eq!(count, 100);
    }
}
