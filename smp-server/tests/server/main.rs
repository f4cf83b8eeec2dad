//! The server as its clients see it: a raw client over TLS, one command at a time (smp.md §20).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod authority;
mod backups;
mod batching;
mod blocking;
mod client;
mod cluster;
mod control;
#[cfg(feature = "crash-points")]
mod crash_points;
mod damage;
mod database;
mod delivery;
mod durability;
mod expiry;
mod handshake;
mod hellos;
mod host;
mod import_database;
mod import_reference;
mod layouts;
mod limits;
mod links;
mod messages;
mod monitoring;
mod notifications;
mod packaging;
mod process;
mod program;
mod proxy;
mod queues;
mod raw;
mod reference;
mod secrecy;
mod service_programs;
mod services;
mod settings;
mod subscriptions;
mod syntax;
mod transfer;
mod web;
