//! What the server holds and does at most.

use serde::Deserialize;

use super::section::{none_is_zero, section};
use super::value::Switch;
use crate::error::CommandError;

section! {
    /// Bounds of what the server holds and does.
    Limits / LimitsLayer in "Limits" {
        /// Messages that a queue holds before its senders are told to wait.
        queue_quota ("queue-quota", "SMP_SERVER_QUEUE_QUOTA"): u32 = 128,
        /// Notifications that wait for one notifier; the oldest gives way to a further one.
        notifier_quota ("notifier-quota", "SMP_SERVER_NOTIFIER_QUOTA"): u32 = 128,
        /// Notifications that wait for all notifiers; further ones are left out. Each takes about 100 bytes of memory.
        notifications ("notifications", "SMP_SERVER_NOTIFICATIONS"): u32 = 1_000_000,
        /// Queues that the operator may block on one day (UTC); 0 for none.
        blocks_per_day ("blocks-per-day", "SMP_SERVER_BLOCKS_PER_DAY"): u32 = 20,
        /// Blocks that wait in each direction of a connection.
        connection_blocks ("connection-blocks", "SMP_SERVER_CONNECTION_BLOCKS"): u32 = 128,
        /// Commands of one connection that are in progress at a time.
        connection_commands ("connection-commands", "SMP_SERVER_CONNECTION_COMMANDS"): u32 = 1024,
        /// Queues that one connection may subscribe.
        connection_subscriptions ("connection-subscriptions", "SMP_SERVER_CONNECTION_SUBSCRIPTIONS"): u32 = 1_000_000,
        /// Connections at a time; further ones are closed at once.
        connections ("connections", "SMP_SERVER_CONNECTIONS"): u32 = 10_000,
        /// Connections of one address (IPv4, or /64 of IPv6) at a time; further ones are closed at once. 0 for no limit, as in what follows.
        address_connections ("address-connections", "SMP_SERVER_ADDRESS_CONNECTIONS"): u32 = 2000,
        /// Connections without a session at a time; the oldest gives way to a further one.
        handshakes ("handshakes", "SMP_SERVER_HANDSHAKES"): u32 = 6000,
        /// The same of one address; further ones are closed at once.
        address_handshakes ("address-handshakes", "SMP_SERVER_ADDRESS_HANDSHAKES"): u32 = 500,
        /// New connections per second, five seconds' worth at once; further ones wait to be accepted.
        handshakes_per_second ("handshakes-per-second", "SMP_SERVER_HANDSHAKES_PER_SECOND"): u32 = 4000,
        /// The same of one address; further ones are closed at once.
        address_handshakes_per_second ("address-handshakes-per-second", "SMP_SERVER_ADDRESS_HANDSHAKES_PER_SECOND"): u32 = 200,
        /// Commands per second, five seconds' worth at once; connections that send faster are read more slowly.
        commands_per_second ("commands-per-second", "SMP_SERVER_COMMANDS_PER_SECOND"): u32 = 200_000,
        /// The same of one address.
        address_commands_per_second ("address-commands-per-second", "SMP_SERVER_ADDRESS_COMMANDS_PER_SECOND"): u32 = 20_000,
        /// New queues per minute, a minute's worth at once; connections that make more are read more slowly.
        queues_per_minute ("queues-per-minute", "SMP_SERVER_QUEUES_PER_MINUTE"): u32 = 600_000,
        /// The same of one address.
        address_queues_per_minute ("address-queues-per-minute", "SMP_SERVER_ADDRESS_QUEUES_PER_MINUTE"): u32 = 6000,
        /// Mebibytes per second, five seconds' worth at once; connections that send faster are read more slowly.
        mib_per_second ("mib-per-second", "SMP_SERVER_MIB_PER_SECOND"): u32 = 0,
        /// The same of one address.
        address_mib_per_second ("address-mib-per-second", "SMP_SERVER_ADDRESS_MIB_PER_SECOND"): u32 = 100,
        /// Whether this machine counts as an address: with a Tor service or a proxy in front of the server everybody comes from here.
        limit_loopback ("limit-loopback", "SMP_SERVER_LIMIT_LOOPBACK"): Switch = Switch(false),
        /// Mebibytes that the server's files may take; then senders are told to wait.
        stored_mib ("stored-mib", "SMP_SERVER_STORED_MIB"): u32 = 0,
        /// Mebibytes that stay free on the disk; then senders are told to wait.
        free_mib ("free-mib", "SMP_SERVER_FREE_MIB"): u32 = 256,
        /// Mebibytes of memory for connections and what is on its way; then no connection is taken and none read, and those that hold most are closed. 0 for three quarters of the machine's.
        memory_mib ("memory-mib", "SMP_SERVER_MEMORY_MIB"): u32 = 0,
    }
}

impl Limits {
    pub(super) fn check(&self) -> Result<(), CommandError> {
        none_is_zero(&[
            ("queue_quota", self.queue_quota),
            ("notifier_quota", self.notifier_quota),
            ("connection_blocks", self.connection_blocks),
            ("connection_commands", self.connection_commands),
            ("connection_subscriptions", self.connection_subscriptions),
            ("connections", self.connections),
        ])
    }
}
