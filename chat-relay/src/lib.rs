//! The chat relay: it accepts groups from their owners, serves their members, and forwards what is signed without
//! touching a byte of it.
//!
//! ```text
//! main ── cli, config ── commands ── relay (one engine, one thread, one database)
//!                                      ├─ invitation   an owner's request: read the group link, validate, answer
//!                                      ├─ admission    a member's request at the relay link; introductions
//!                                      ├─ receive      messages: verify, apply, store once, make a delivery task
//!                                      ├─ delivery     task → job → pages of members, resumed by a cursor
//!                                      └─ link_watch   is our relay link still in the group link?
//! store  (trait RelayStore; SQLite)
//! ```

#![forbid(unsafe_code)]

mod address;
pub mod admission;
mod cleaning;
pub mod cli;
pub mod closing;
pub mod commands;
pub mod config;
pub mod delivery;
pub mod directory;
pub mod duration;
pub mod error;
pub mod exit_code;
pub mod identity;
pub mod invitation;
pub mod lifecycle;
pub mod link_watch;
pub mod logging;
pub mod output;
pub mod receive;
pub mod relay;
pub mod roster;
pub mod steps;
pub mod store;
pub mod turn;
pub mod validation;

pub use steps::CRASH_POINTS;
