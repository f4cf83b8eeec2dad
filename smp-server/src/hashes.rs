//! Hashes of what authenticators cover. One of a message takes longer than all ciphers around it, and four at a time hardly
//! longer than one: so those of several connections are taken together.
//!
//! ```text
//! text ─▶ first:  lets everybody who is ready have a turn, then hashes what gathered
//!      ├▶ others: wait for it
//!      └▶ fourth: hashes all four
//! ```

use std::sync::{Mutex, MutexGuard, PoisonError};

use protocol::crypto::hash;
use tokio::sync::oneshot;

/// Shorter texts are hashed sooner than others would come.
const BYTES_MIN: usize = 2048;
/// Texts that are hashed together.
const TOGETHER: usize = 4;

/// Where texts gather.
#[derive(Debug, Default)]
pub struct Hashes(Mutex<Gathered>);

#[derive(Debug, Default)]
struct Gathered {
    texts: Vec<Text>,
    /// Rises with each group that was hashed.
    group: u64,
}

#[derive(Debug)]
struct Text {
    bytes: Vec<u8>,
    asker: oneshot::Sender<[u8; 64]>,
}

impl Hashes {
    /// SHA-512 of a text.
    pub(crate) async fn sha512(&self, bytes: Vec<u8>) -> [u8; 64] {
        if bytes.len() < BYTES_MIN {
            return hash::sha512(&bytes);
        }
        let (asker, answer) = oneshot::channel();
        if let Some(turn) = self.gather(Text { bytes, asker }) {
            tokio::task::yield_now().await;
            drop(turn);
        }
        answer.await.expect("the first of a group hashes it, or the fourth")
    }

    /// Adds a text, and hashes the group when that makes it whole. The first of a group gets its turn.
    fn gather(&self, text: Text) -> Option<Turn<'_>> {
        let mut gathered = self.lock();
        gathered.texts.push(text);
        match gathered.texts.len() {
            1 => return Some(Turn { hashes: self, group: gathered.group }),
            TOGETHER => {
                let group = gathered.take();
                drop(gathered);
                answer(group);
            }
            _ => {}
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, Gathered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gathered {
    fn take(&mut self) -> Vec<Text> {
        self.group = self.group.wrapping_add(1);
        std::mem::take(&mut self.texts)
    }
}

/// Sees to it that a group is hashed, also when its first text is not wanted any more.
struct Turn<'a> {
    hashes: &'a Hashes,
    group: u64,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut gathered = self.hashes.lock();
        // Else it was whole before, and the next one has a first of its own.
        if gathered.group == self.group {
            let group = gathered.take();
            drop(gathered);
            answer(group);
        }
    }
}

fn answer(group: Vec<Text>) {
    let texts: Vec<&[u8]> = group.iter().map(|text| text.bytes.as_slice()).collect();
    let hashes = hash::sha512_each(&texts);
    for (text, hash) in group.into_iter().zip(hashes) {
        // A connection that is gone needs no answer.
        let _ = text.asker.send(hash);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn text(seed: u8) -> Vec<u8> {
        vec![seed; BYTES_MIN + usize::from(seed)]
    }

    #[tokio::test]
    async fn each_gets_the_hash_of_its_own_text() {
        for count in [1, 2, 3, 4, 5, 11] {
            let hashes = std::sync::Arc::new(Hashes::default());
            let mut tasks = tokio::task::JoinSet::new();
            for seed in 0..count {
                let hashes = hashes.clone();
                tasks.spawn(
                    async move { assert_eq!(hashes.sha512(text(seed)).await, hash::sha512(&text(seed))) },
                );
            }
            tasks.join_all().await;
        }
        assert_eq!(Hashes::default().sha512(b"short".to_vec()).await, hash::sha512(b"short"));
    }

    #[tokio::test]
    async fn a_group_is_hashed_though_its_first_went_away() {
        let hashes = Hashes::default();
        let mut others = pin!(async { tokio::join!(hashes.sha512(text(2)), hashes.sha512(text(3))) });
        let mut context = Context::from_waker(Waker::noop());
        {
            let mut first = pin!(hashes.sha512(text(1)));
            assert_eq!(first.as_mut().poll(&mut context), Poll::Pending);
            assert!(others.as_mut().poll(&mut context).is_pending());
        }
        assert_eq!(others.await, (hash::sha512(&text(2)), hash::sha512(&text(3))));
    }
}
