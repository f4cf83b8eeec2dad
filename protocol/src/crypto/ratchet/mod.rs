//! The double ratchet with header encryption, and the key agreement that starts it (agent.md §5).
//!
//! ```text
//! agreement ──▶ root key ──▶ chain key ──▶ message key ──▶ body
//!     │             │                          │
//! parameters    new X448 key            header, hidden by the chain's header key
//! ```
//!
//! X448 only, versions 2 and 3, no post-quantum KEM: a peer's proposal is read and goes unanswered.

mod agreement;
mod chain_key;
mod error;
mod header;
mod message_key;
pub mod parameters;
mod root_key;
mod secret;
mod session;
mod skipped_keys;

pub use agreement::AgreementKeys;
pub use error::RatchetError;
pub use message_key::MessageKey;
pub use session::{RATCHET_VERSIONS, Ratchet};
pub use skipped_keys::{GAP_MESSAGES_MAX, SKIPPED_KEYS_MAX};

#[cfg(test)]
mod tests;
