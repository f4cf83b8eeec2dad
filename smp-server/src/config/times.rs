//! Lifetimes, intervals and time limits.

use serde::Deserialize;

use super::section::{none_is_instant, section};
use super::value::{Period, Switch};
use crate::error::CommandError;

section! {
    /// Lifetimes, intervals and time limits, with their unit: 500ms, 15s, 10m, 2h, 21d.
    Times / TimesLayer in "Times" {
        /// How long a message waits for its recipient.
        message_ttl ("message-ttl", "SMP_SERVER_MESSAGE_TTL"): Period = Period::hours(21 * 24),
        /// How often expired messages are removed.
        expiry_interval ("expiry-interval", "SMP_SERVER_EXPIRY_INTERVAL"): Period = Period::hours(2),
        /// Whether expired messages are removed when the server starts.
        expire_on_start ("expire-on-start", "SMP_SERVER_EXPIRE_ON_START"): Switch = Switch(true),
        /// Whether each sending removes the queue's expired messages first.
        expire_on_send ("expire-on-send", "SMP_SERVER_EXPIRE_ON_SEND"): Switch = Switch(false),
        /// How long a notification waits for its notifier.
        notification_ttl ("notification-ttl", "SMP_SERVER_NOTIFICATION_TTL"): Period = Period::hours(24),
        /// How often expired notifications are removed.
        notification_expiry_interval ("notification-expiry-interval", "SMP_SERVER_NOTIFICATION_EXPIRY_INTERVAL"): Period = Period::hours(1),
        /// How long notifications are collected before their notifiers are told.
        notification_interval ("notification-interval", "SMP_SERVER_NOTIFICATION_INTERVAL"): Period = Period::ms(1500),
        /// How long the news that a subscription moved (END) or a queue is deleted (DELD) are collected.
        event_interval ("event-interval", "SMP_SERVER_EVENT_INTERVAL"): Period = Period::seconds(15),
        /// Whether silent connections without subscriptions are closed.
        disconnect_inactive ("disconnect-inactive", "SMP_SERVER_DISCONNECT_INACTIVE"): Switch = Switch(true),
        /// Silence after which such a connection is closed.
        inactive_ttl ("inactive-ttl", "SMP_SERVER_INACTIVE_TTL"): Period = Period::hours(6),
        /// How often such connections are looked for.
        inactive_interval ("inactive-interval", "SMP_SERVER_INACTIVE_INTERVAL"): Period = Period::hours(1),
        /// Time limit of setting up TLS.
        tls_timeout ("tls-timeout", "SMP_SERVER_TLS_TIMEOUT"): Period = Period::seconds(60),
        /// Time limit of the hellos.
        handshake_timeout ("handshake-timeout", "SMP_SERVER_HANDSHAKE_TIMEOUT"): Period = Period::seconds(120),
        /// Time limit of one block's way to a slow peer.
        write_timeout ("write-timeout", "SMP_SERVER_WRITE_TIMEOUT"): Period = Period::seconds(120),
        /// Time limit of one block's way from a slow peer, once it has begun.
        read_timeout ("read-timeout", "SMP_SERVER_READ_TIMEOUT"): Period = Period::seconds(120),
        /// Longest wait of a connection that exceeds a rate; beyond that it is closed.
        limit_wait ("limit-wait", "SMP_SERVER_LIMIT_WAIT"): Period = Period::seconds(30),
        /// How often room on disk and in memory is looked at.
        room_interval ("room-interval", "SMP_SERVER_ROOM_INTERVAL"): Period = Period::seconds(1),
        /// Silence after which the system asks whether a peer is still there: a phone that vanished keeps its place and its subscriptions until then.
        keep_alive ("keep-alive", "SMP_SERVER_KEEP_ALIVE"): Period = Period::hours(1),
        /// Time that connections get to finish what they do when the server stops.
        stop_timeout ("stop-timeout", "SMP_SERVER_STOP_TIMEOUT"): Period = Period::seconds(10),
    }
}

impl Times {
    pub(super) fn check(&self) -> Result<(), CommandError> {
        none_is_instant(&[
            ("expiry_interval", self.expiry_interval),
            ("notification_expiry_interval", self.notification_expiry_interval),
            ("notification_interval", self.notification_interval),
            ("event_interval", self.event_interval),
            ("inactive_interval", self.inactive_interval),
            ("tls_timeout", self.tls_timeout),
            ("handshake_timeout", self.handshake_timeout),
            ("write_timeout", self.write_timeout),
            ("read_timeout", self.read_timeout),
            ("room_interval", self.room_interval),
            ("keep_alive", self.keep_alive),
        ])
    }
}
