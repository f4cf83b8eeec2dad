//! A queue server for the SimpleX Messaging Protocol, versions 15 to 18.
//!
//! ```text
//! server ── accepts ──▶ connection ── authorize ──▶ commands ──▶ store        what is durable
//!   └ timers                 ▲                         ├──────▶ subscriptions  who is told of messages
//!                            │                         └──────▶ notifications  who is told that there are some
//!                            └──────── messages, news ───────────────┘
//! ```
//!
//! Every `OK` stands for something that is on disk; every queue, list and wait has a bound.

pub mod authorize;
pub mod cli;
mod cluster;
pub mod commands;
pub mod config;
pub mod connection;
pub mod control;
mod credentials;
mod daily;
pub mod delivery;
pub mod directory;
pub mod error;
mod expiration;
mod hashes;
pub mod identity;
pub mod import_reference;
pub mod limits;
pub mod metrics;
pub mod moderation;
mod monitoring;
pub mod news;
pub mod notifications;
pub mod peer;
mod proxy;
mod reload;
pub mod rotation;
pub mod saved_notifications;
pub mod server;
pub mod services;
pub mod shutdown;
mod standing;
pub mod store;
pub mod subscriptions;
mod totals;
mod web;

/// Every point at which a test build can be made to abort.
pub const CRASH_POINTS: &[&str] = &[
    "server.new.written",
    "server.new.committed",
    "server.secure.written",
    "server.secure.committed",
    "server.send.written",
    "server.send.committed",
    "server.ack.written",
    "server.ack.committed",
    "server.link.written",
    "server.link.committed",
    "server.delete.written",
    "server.delete.committed",
    "server.notifier.written",
    "server.notifier.committed",
];
