//! What flows inside a TLS connection: blocks of one size, opened by two hellos (smp.md §4).
//!
//! ```text
//! server hello ▶   ◀ client hello   [service response ▶]   ◀ blocks ▶
//! ```

pub mod block;
pub mod certified_key;
pub mod error;
pub mod handshake;
pub mod hello;
pub mod leaf_key;
