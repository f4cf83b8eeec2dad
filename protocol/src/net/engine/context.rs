//! What an application can do while it handles something.

use rand_core::CryptoRng;

use crate::timestamp::Timestamp;

/// The moment, randomness, and wishes that come true after the commit.
pub struct Context<'a> {
    now: Timestamp,
    rng: &'a mut dyn CryptoRng,
    wishes: &'a mut Wishes,
}

/// What handlers of a batch asked for.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    pub(super) wake_at: Option<Timestamp>,
}

impl Context<'_> {
    /// The moment at which the batch began.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The operating system's randomness.
    pub fn rng(&mut self) -> &mut dyn CryptoRng {
        self.rng
    }

    /// Asks for [`on_timer`](super::Application::on_timer) at `moment`, or earlier if that was asked for already.
    /// One timer, not kept over a restart: set it again each time, and in `on_start`.
    pub fn wake_at(&mut self, moment: Timestamp) {
        let earlier = self.wishes.wake_at.map_or(moment, |set| set.min(moment));
        self.wishes.wake_at = Some(earlier);
    }
}
