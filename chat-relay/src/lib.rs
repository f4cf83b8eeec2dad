//! The chat relay: it accepts groups from their owners, serves their members, and forwards what is signed without
//! touching a byte of it.
//!
//! ```text
//! main ── cli, config ── commands ── relay (one engine, one thread, one database)
//!                                      ├─ invitation   an owner's request: check it, make the relay link, answer
//!                                      ├─ lifecycle    drives each group's life; validation, link_watch (pure)
//!                                      ├─ admission    a member's request at the relay link; introductions, history
//!                                      ├─ knocking     joiners who wait for a moderator
//!                                      ├─ roster       taken from the owner, acknowledged, served
//!                                      ├─ receive      messages: verify, judge, store once, apply, pass on
//!                                      ├─ delivery     a stream per group, a position per member
//!                                      ├─ closing      members are told, then all of a group is deleted
//!                                      └─ control      the operator: looks, pauses, rejects, issues codes
//! access, intake     who may use the relay, and how much; notices  what owners are told        metrics, monitoring   what is told of it
//! recovery           what a copy that was brought back does first
//! turn   what a handler works with      steps   where a crash must be survived      store   trait RelayStore; SQLite, PostgreSQL
//! sharing            several workers on one database: whose each group is
//! ```

#![forbid(unsafe_code)]

pub mod access;
mod address;
pub mod admission;
pub mod bulk;
mod cleaning;
pub mod cli;
pub mod closing;
pub mod commands;
pub mod config;
pub mod control;
pub mod delivery;
pub mod directory;
pub mod duration;
pub mod error;
pub mod history;
pub mod identity;
pub mod intake;
pub mod invitation;
pub mod knocking;
mod lanes;
pub mod lifecycle;
pub mod link_watch;
pub mod logging;
pub mod metrics;
pub mod monitoring;
pub mod network_config;
pub mod notices;
pub mod operation;
pub mod output;
pub mod receive;
pub mod recovery;
pub mod relay;
pub mod roster;
pub mod rulings;
mod sharing;
pub mod steps;
pub mod store;
pub mod store_config;
mod strangers;
pub mod turn;
pub mod validation;
pub mod welcome;

pub use steps::CRASH_POINTS;
