//! LAYER 2: two-way connections made out of one-way queues (agent.md).

pub mod connection_request;
pub mod event;
pub mod invitation;
pub mod memory;
pub mod store;
pub mod store_contract;
