//! The protocol of Conclave in three layers, without I/O.
//!
//! ```text
//! group      owners, relays, members: signed messages, roster, link data       (docs/protocol.md, layer 3)
//! agent      two-way connections out of queues: handshake, ratchet, integrity  (layer 2)
//! smp        one-way queues: commands, responses, link data                    (layer 1)
//! transport  fixed blocks and hellos        crypto  keys, boxes, ratchet        encoding  bytes
//! ```
//!
//! Nothing here opens a socket, reads a clock or a file, or draws randomness by itself: bytes, time and an RNG
//! come in as arguments. The `net` feature adds the TLS seam that the programs share.

pub mod agent;
pub mod base64url;
pub mod crash;
pub mod crypto;
pub mod encoding;
pub mod group;
#[cfg(feature = "net")]
pub mod net;
pub mod sanitize;
pub mod sensitive;
pub mod smp;
pub mod timestamp;
pub mod transport;
pub mod version;

/// Where test builds may abort, see [`crash`]: before the commit of each step that an agent takes, when the server
/// has done its part, and around the commit of a batch of the engine.
pub const CRASH_POINTS: &[&str] = &[
    "agent.queue.created",
    "agent.queue.deleted",
    "agent.peer.secured",
    "agent.link.written",
    "agent.request.sent",
    "agent.request.received",
    "agent.confirmation.sent",
    "agent.confirmation.received",
    "agent.message.sent",
    "agent.message.received",
    "engine.message.handled",
    "engine.message.committed",
    "engine.answer.handled",
    "engine.request.committed",
];
