//! What every SMP queue server does, seen from outside: a suite of black-box cases, and the clients that they use.
//!
//! ```text
//! cases ──trial──▶ peer (one connection, any bytes) ──▶ the server under test
//!   │                └─▶ spawn (servers with other settings, by the operator's command)
//!   └──▶ suite (several at a time, queues deleted at the end) ──▶ report (lines, JSON, JUnit)
//! ```
//!
//! Cases are written from the specification by hand: no codec of this project stands between them and the bytes.
//! [`client`] and [`raw`] are clients for tests of this project, which panic when an answer is another than wanted.

pub mod case;
pub mod cases;
pub mod cli;
pub mod client;
pub mod destination;
pub mod failure;
pub mod observer;
pub mod peer;
pub mod place;
pub mod raw;
pub mod report;
pub mod spawn;
pub mod suite;
pub mod tls;
pub mod trial;
