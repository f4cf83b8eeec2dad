//! LAYER 3: groups with owners, relays and members (channels.md; docs/protocol.md, "Groups").
//!
//! ```text
//! event         what is said: one JSON message          signed, forward, chunk, batch, container   how it travels
//! signing       must it be signed, what is it worth     permissions, moderation                    who may say it
//! profile       what a group or person shows            link, opened                               what links say
//! roster, roster_transfer    who holds which role       introduction, joining, entrance, knocking  who comes in
//! relay_status  an owner's view of one relay            served_group                               a relay's view of one group
//! dedup         copies of several relays, compared      author_chain  what of an author did not come
//! history_answer             what was said, in pages    catch_up      reading them
//! history_peer  which relay another lets read it        peer_reading  a new relay reads the others'
//! bulk          two connections to one relay, so that control never waits behind bulk
//! ```
//!
//! Everything here is pure: bytes, moments and keys come in as arguments; records and effects go out.

pub mod author_chain;
pub mod batch;
pub mod bulk;
pub mod catch_up;
pub mod chunk;
pub mod compress;
pub mod constants;
pub mod container;
pub mod dedup;
pub mod entrance;
pub mod event;
pub mod forward;
pub mod history_answer;
pub mod history_peer;
pub mod identity;
pub mod introduction;
pub mod joining;
mod json_bytes;
pub mod knocking;
pub mod link;
pub mod moderation;
pub mod msg_id;
pub mod opened;
pub mod peer_reading;
pub mod permissions;
pub mod profile;
pub mod relay_end;
pub mod relay_status;
pub mod relay_test;
pub mod roster;
pub mod roster_transfer;
pub mod ruling;
pub mod served_end;
pub mod served_group;
pub mod signed;
pub mod signing;
