//! What the long-running programs of this workspace share beside their protocols.
//!
//! ```text
//! operator ──unix socket──▶ control        one request per line, one answer per line
//! Prometheus, browsers ───▶ http           a bounded side listener for an axum router
//! PostgreSQL ◀───────────── postgres       its connection string, TLS to it
//! Prometheus ◀───────────── process        memory and open files of the program itself
//! service manager ◀──────── supervision    ready, reloading, stopping
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

pub mod control;
pub mod exit_code;
pub mod http;
pub mod monitoring;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod process;
#[cfg(feature = "scratch")]
pub mod scratch;
pub mod supervision;
