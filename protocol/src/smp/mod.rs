//! Layer 1: one-way queues on a server (smp.md §5–§8, §11).
//!
//! ```text
//! block content = count(1) count × large(transmission)                        transmission
//! transmission  = authenticator corrId entityId  command | broker message     authorize
//!                                                command   broker message     command  response  error
//! ```
//!
//! Clients and servers share every type here: each format is read and written, for versions 15 to 18.
//!
//! ```
//! use protocol::smp::batch::{Batch, BlockWriter};
//! use protocol::smp::command::Command;
//! use protocol::smp::transmission::Transmission;
//!
//! let version = 18;
//! let ping = Command::Ping.encode(version);
//! let mut writer = BlockWriter::new(16_366);
//! writer.push(|out| Transmission::unauthorized(b"corr", b"", &ping).encode_into(version, out))?;
//! let content = writer.take().ok_or("one transmission was written")?;
//! assert_eq!(content, b"\x01\0\x0b\0\x04corr\0PING");
//!
//! for bytes in Batch::parse(&content)? {
//!     let transmission = Transmission::parse(bytes, version).map_err(|_| "malformed")?;
//!     let command = Command::parse(transmission.command, version)?;
//!     command.check_credentials(!transmission.authenticator.is_none(), !transmission.entity_id.is_empty())?;
//!     assert_eq!(command, Command::Ping);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod address;
pub mod authorize;
pub mod batch;
pub mod blocking;
pub mod command;
pub mod error;
pub mod host;
pub mod ids;
pub mod key;
pub mod known_servers;
pub mod link_key;
pub mod message;
pub mod new_queue;
pub mod password;
pub mod proxy;
pub mod proxy_error;
pub(crate) mod query_string;
pub mod queue_details;
pub mod queue_uri;
pub mod response;
pub mod short_link;
pub mod transmission;
pub(crate) mod words;

use crate::version::VersionRange;

/// The versions of the queue protocol that we speak. 15 brought link data, 18 the notice of a blocked queue.
pub const SMP_VERSIONS: VersionRange = match VersionRange::new(15, 18) {
    Some(range) => range,
    None => panic!("the range is not empty"),
};

/// From here on authorised transmissions have a service signature field, and `SOK` replaces `OK`.
pub(crate) const SERVICES_VERSION: u16 = 16;
/// From here on `NEW` and `IDS` carry notifier credentials.
pub(crate) const NOTIFIER_IN_NEW_VERSION: u16 = 17;
/// From here on `ERR BLOCKED` carries a notice for the client.
pub(crate) const BLOCKING_NOTICE_VERSION: u16 = 18;

/// The longest body that a `SEND` may have, in bytes.
pub const SENT_BODY_BYTES_MAX: usize = 16_048;

/// The longest body that a `SEND` of this version may have, in bytes: later versions need the room for encryption.
#[must_use]
pub const fn sent_body_bytes_max(version: u16) -> usize {
    match version {
        0..=7 => 16_088,
        8..=10 => 16_064,
        _ => SENT_BODY_BYTES_MAX,
    }
}
