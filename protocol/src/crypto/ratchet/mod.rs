//! The double ratchet with header encryption, and the key agreement that starts it.

pub mod parameters;
