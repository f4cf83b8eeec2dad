//! Where a server is and who it is.

use std::net::SocketAddr;

/// A server as its clients find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its socket.
    pub address: SocketAddr,
    /// SHA-256 of its identity certificate.
    pub key_hash: [u8; 32],
}

impl AsRef<Self> for Place {
    fn as_ref(&self) -> &Self {
        self
    }
}
