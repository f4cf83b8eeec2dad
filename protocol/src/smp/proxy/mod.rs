//! Commands on their way through a second server, the proxy (smp.md §14): the destination server does not see who
//! sends, and the proxy does not see what and to which queue.
//!
//! ```text
//! client ──PRXY──▶ proxy                          the proxy's session with the destination server:
//!        ◀─PKEY──                                 session id, versions, certificates and session key
//!        ──PFWD──▶       ──RFWD──▶ destination    T1 inside T2
//!        ◀─PRES──        ◀─RRES──                 R1 inside R2
//!
//! Kc = X25519(client's key for this command, destination's session key)     Kp = X25519(both session keys)
//! T1 = box(Kc, n, pad(content, 16226))             content = 1 large(transmission of version v')
//! T2 = box(Kp, m, short(n) v'(2) short(SPKI of the client's key) T1)
//! R1 = box(Kc, reverse(n), pad(content, 16226))    R2 = box(Kp, reverse(m), short(n) R1)
//! ```
//!
//! `n` and `m` are the correlation ids of `PFWD` and `RFWD`. Three parties, three files: [`client`], [`forward`],
//! [`destination`].

pub mod client;
pub mod destination;
pub mod forward;

use crate::smp::batch::BlockWriter;
use crate::version::VersionRange;

/// The versions of forwarded commands that a proxy offers (smp.md §4.7).
pub const PROXIED_VERSIONS: VersionRange = match VersionRange::new(8, 17) {
    Some(range) => range,
    None => panic!("the range is not empty"),
};

/// The versions that a proxy speaks with destination servers. What it forwards is opaque to it, so it speaks
/// more than clients and servers of this code do.
pub const PROXY_SESSION_VERSIONS: VersionRange = match VersionRange::new(8, 18) {
    Some(range) => range,
    None => panic!("the range is not empty"),
};

/// What the content of a forwarded command or of its answer is padded to, in bytes.
pub const FORWARDED_PADDED_BYTES: usize = 16_226;

/// The content that has one transmission.
///
/// # Errors
/// [`crate::smp::batch::TransmissionTooLarge`].
pub fn single(put: impl FnOnce(&mut Vec<u8>)) -> Result<Vec<u8>, crate::smp::batch::TransmissionTooLarge> {
    // the most that fits when the content is padded
    let mut writer = BlockWriter::new(FORWARDED_PADDED_BYTES.saturating_sub(2));
    writer.push(put)?;
    Ok(writer.take().unwrap_or_default())
}

#[cfg(test)]
mod tests;
