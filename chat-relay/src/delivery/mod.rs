//! From a stored message to the queues of all members (channels.md §16).
//!
//! ```text
//! message ─▶ task ──┐
//! message ─▶ task ──┼─▶ job: one body ─▶ page of members ─▶ cursor ─▶ page … ─▶ done
//! message ─▶ task ──┘      task.rs            job.rs (pure)      worker.rs
//! ```
//!
//! Requests to send and the cursor move in one transaction, so a crash neither loses nor repeats a page.

pub mod job;
pub mod task;
pub mod worker;
