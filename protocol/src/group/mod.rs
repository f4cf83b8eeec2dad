//! LAYER 3: groups with owners, relays and members (channels.md; docs/protocol.md, "Groups").
//!
//! ```text
//! event      what people and programs say: one JSON message      batch, forward, container   how it is packed
//! signed     who said it, and the rule that accepts or drops it  permissions                 who may say it
//! profile, link      what the group link shows                   roster                      who holds which role
//! relay_status       an owner's view of one relay                served_group                a relay's view of one group
//! membership         one person in one group                     dedup, moderation, removal  what is shown once, edited, ended
//! ```
//!
//! Everything here is pure: bytes, moments and keys come in as arguments; records and effects go out.

pub mod batch;
pub mod chunk;
pub mod compress;
pub mod constants;
pub mod container;
pub mod dedup;
pub mod event;
pub mod forward;
pub mod identity;
pub mod introduction;
pub mod joining;
mod json_bytes;
pub mod link;
pub mod membership;
pub mod moderation;
pub mod msg_id;
pub mod opened;
pub mod permissions;
pub mod profile;
pub mod relay_end;
pub mod relay_status;
pub mod relay_test;
pub mod removal;
pub mod roster;
pub mod roster_transfer;
pub mod served_end;
pub mod served_group;
pub mod signed;
pub mod signing;
