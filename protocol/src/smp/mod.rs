//! Layer 1: one-way queues on a server (smp.md §5–§8, §11).

pub mod address;
pub mod host;
pub mod ids;
pub mod link_key;
pub mod password;
pub(crate) mod query_string;
pub mod queue_uri;
pub mod short_link;
