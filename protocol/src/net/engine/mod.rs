//! The loop that programs share: one thread owns the application and its store.
//!
//! ```text
//! inputs (messages, answers, commands, link data, timers)
//!   └─▶ a batch: begin ▶ agent and application handle each ▶ commit
//!                                                              └─▶ ACKs, next requests, link reads, after_commit
//! ```
//!
//! Nothing leaves before the commit, so a message is acknowledged only when its effects are durable, and every step
//! can be repeated after a crash.

mod application;
mod context;

pub use application::{Application, Fatal, NetworkChange, Transactional};
pub use context::Context;
