//! Where a connection comes from, and what everybody there does together.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::bucket::Bucket;

/// An IPv4 address, or the 64 bits of an IPv6 address that name a network: whoever has one has all its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Origin {
    V4(Ipv4Addr),
    V6([u8; 8]),
}

impl Origin {
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

/// What is done at a rate.
#[derive(Debug, Default)]
pub(super) struct Buckets {
    pub(super) handshakes: Bucket,
    pub(super) commands: Bucket,
    pub(super) queues: Bucket,
    pub(super) bytes: Bucket,
}

/// What comes from one origin, or from all together.
#[derive(Debug, Default)]
pub(super) struct Source(Mutex<Doing>);

#[derive(Debug, Default)]
pub(super) struct Doing {
    pub(super) connections: u32,
    /// Those of them that have no session yet.
    pub(super) handshakes: u32,
    pub(super) buckets: Buckets,
}

impl Source {
    pub(super) fn lock(&self) -> MutexGuard<'_, Doing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Doing {
    /// Whether nothing of it needs to be remembered.
    pub(super) fn is_at_rest(&self, now: u64) -> bool {
        let Buckets { handshakes, commands, queues, bytes } = &self.buckets;
        self.connections == 0
            && [handshakes, commands, queues, bytes].iter().all(|bucket| bucket.is_full(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_an_address_of_ipv4_and_a_network_of_ipv6() {
        let origin = |text: &str| Origin::of(text.parse().unwrap());
        assert_eq!(origin("192.0.2.1"), origin("::ffff:192.0.2.1"));
        assert_ne!(origin("192.0.2.1"), origin("192.0.2.2"));
        assert_eq!(origin("2001:db8:1:2::1"), origin("2001:db8:1:2:ffff::9"));
        assert_ne!(origin("2001:db8:1:2::1"), origin("2001:db8:1:3::1"));
    }
}
