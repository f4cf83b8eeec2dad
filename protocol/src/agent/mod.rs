//! Layer 2: two-way connections out of one-way queues.

pub mod event;
pub mod invitation;
