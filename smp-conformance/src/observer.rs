//! What the connections of one case have in common: the queues that it must not leave behind, and, to test the
//! cases themselves, one answer that is falsified on its way.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::peer::Answer;
use crate::peer::keys::Key;

/// Sees every answer of a case.
#[derive(Debug, Default)]
pub struct Observer {
    password: Option<Vec<u8>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    queues: Vec<(Key, Vec<u8>)>,
    answers: usize,
    falsified: Option<usize>,
    last: Option<Vec<u8>>,
    notes: Vec<String>,
}

impl Observer {
    /// One of connections that create queues with this password.
    #[must_use]
    pub fn new(password: Option<Vec<u8>>) -> Self {
        Self { password, state: Mutex::default() }
    }

    /// The same, which falsifies the answer with this number, counted from 0.
    #[must_use]
    pub fn falsifying(self, number: usize) -> Self {
        self.state().falsified = Some(number);
        self
    }

    /// The password for creating queues, if there is one.
    #[must_use]
    pub fn password(&self) -> Option<&[u8]> {
        self.password.as_deref()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees an answer: it is given back, unless it is the one to falsify.
    pub(crate) fn observe(&self, mut answer: Answer) -> Answer {
        let mut state = self.state();
        if state.falsified == Some(state.answers) {
            state.last = Some(answer.message.clone());
            let other: &[u8] = if answer.message == b"ERR INTERNAL" { b"OK" } else { b"ERR INTERNAL" };
            answer.message = other.to_vec();
        }
        state.answers += 1;
        answer
    }

    /// A queue was made that must be deleted in the end.
    pub(crate) fn keep(&self, key: &Key, recipient_id: &[u8]) {
        self.state().queues.push((key.clone(), recipient_id.to_vec()));
    }

    /// Another key for a queue that was made.
    pub(crate) fn keep_key(&self, key: &Key, recipient_id: &[u8]) {
        self.keep(key, recipient_id);
    }

    /// Something to tell about a case that is not a failure.
    pub(crate) fn note(&self, note: String) {
        let mut state = self.state();
        if !state.notes.contains(&note) {
            state.notes.push(note);
        }
    }

    /// The queues that were made.
    pub(crate) fn take_queues(&self) -> Vec<(Key, Vec<u8>)> {
        std::mem::take(&mut self.state().queues)
    }

    /// What was noted.
    pub(crate) fn take_notes(&self) -> Vec<String> {
        std::mem::take(&mut self.state().notes)
    }

    /// How many answers there were.
    #[must_use]
    pub fn answers(&self) -> usize {
        self.state().answers
    }

    /// What the falsified answer was.
    #[must_use]
    pub fn falsified(&self) -> Option<Vec<u8>> {
        self.state().last.clone()
    }
}
