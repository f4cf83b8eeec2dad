//! Word to the service manager, when there is one: systemd's `NOTIFY_SOCKET` (sd_notify(3)). Without one nothing is
//! said.

use sd_notify::NotifyState;

/// Everything is open: dependents may start.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// What runs is being changed, until [`ready`].
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "the clock for the service manager failed"),
    }
}

/// The end has begun, and may take this long at most.
pub fn stopping(at_most: std::time::Duration) {
    let more = u32::try_from(at_most.as_micros()).unwrap_or(u32::MAX);
    tell(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(more)]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager could not be told");
    }
}
