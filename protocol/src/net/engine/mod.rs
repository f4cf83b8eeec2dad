//! The loop that programs share: one thread owns the application and its store.
//!
//! ```text
//! inputs (messages, answers, commands, link data, timers)
//!   └─▶ a batch: begin ▶ agent and application handle each ▶ next requests are made ▶ commit
//!                                           ACKs, requests, link reads, after_commit ◀──┘
//! ```
//!
//! `core` decides, `shell` is the thread with its clock, its randomness and its network.
//!
//! Nothing leaves before the commit, so a message is acknowledged only when its effects are durable, and every step
//! can be repeated after a crash. If the store fails, the engine stops: nothing of the batch was acknowledged.

mod application;
mod context;
mod core;
mod handle;
mod jobs;
mod shell;

pub use self::core::{Core, Effects, Input, LinkResult, Submission};
pub use application::{Application, Fatal, NetworkChange, Transactional};
pub use context::{AgentAccess, Context, LinkTag};
pub use handle::{EngineError, EngineHandle, EngineStopped, start};
