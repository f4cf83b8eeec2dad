//! The one signal that the server stops.

use tokio::sync::watch;

/// Gives the signal. It is given once, and heard also by those who start to listen later.
#[derive(Debug)]
pub struct Shutdown(watch::Sender<bool>);

/// Hears the signal.
#[derive(Debug, Clone)]
pub struct Stop(watch::Receiver<bool>);

impl Default for Shutdown {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Shutdown {
    /// Gives the signal.
    pub fn request(&self) {
        self.0.send_replace(true);
    }

    /// Whether it was given.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }

    /// Somebody who hears it.
    #[must_use]
    pub fn listener(&self) -> Stop {
        Stop(self.0.subscribe())
    }
}

impl Stop {
    /// Returns when the server stops.
    pub async fn requested(&mut self) {
        // An error means that the server is gone, so it has stopped.
        let _ = self.0.wait_for(|stopping| *stopping).await;
    }
}
