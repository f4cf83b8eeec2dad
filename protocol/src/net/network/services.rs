//! The program as a service of its servers (smp.md §13): all its queues at a server are subscribed by one command.
//!
//! ```text
//! session as a service ── SUBS ──▶ as many queues as we know and a surplus ──▶ all are subscribed
//!                           └────▶ another number, or no ──▶ SUB for each queue ──▶ SUBS: the surplus now
//! ```
//!
//! A queue that is created or subscribed in such a session is the service's from then on. The surplus is what the server
//! has of the service and we do not know: queues whose `IDS` was lost. It is told as an event, to be kept over a
//! restart: without it one more round of `SUB` follows a restart, and nothing worse. Up to version 18 the server's
//! answer is a number alone: queues that were exchanged for as many others between two sessions are not noticed by it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tracing::warn;

use crate::net::error::ConnectError;
use crate::net::service::{ServiceIdentity, ServiceSeed};
use crate::smp::address::ServerAddress;
use crate::transport::handshake::HandshakeError;

/// Attempts in a row that fail in a way for which our certificate may be the reason, before one is made without it.
const DOUBTS_MAX: u32 = 2;
/// A server that does not take services is asked again after this time.
const REFUSAL_MEMORY: Duration = Duration::from_secs(6 * 3600);

/// As whom a program presents itself to the servers that have its queues.
#[derive(Debug, Clone)]
pub struct Services {
    /// What its certificates are derived from.
    pub seed: ServiceSeed,
    /// The last [`NetworkEvent::Surplus`](super::NetworkEvent::Surplus) of each server.
    pub surplus: BTreeMap<ServerAddress, i64>,
}

/// The same while the program runs.
#[derive(Debug)]
pub(super) struct Taking {
    services: Services,
    has_begun: watch::Sender<bool>,
}

impl Taking {
    pub(super) fn new(services: Services) -> Self {
        Self { services, has_begun: watch::Sender::new(false) }
    }

    /// All queues are known.
    pub(super) fn begin(&self) {
        self.has_begun.send_replace(true);
    }

    /// Waits until all queues are known.
    pub(super) async fn begun(&self) {
        let mut begun = self.has_begun.subscribe();
        // the sender is ours: it is not gone
        let _begun = begun.wait_for(|begun| *begun).await;
    }

    /// The surplus that was kept.
    pub(super) fn surplus(&self, server: &ServerAddress) -> i64 {
        self.services.surplus.get(server).copied().unwrap_or_default()
    }

    fn identity(&self, server: &ServerAddress) -> Option<ServiceIdentity> {
        match self.services.seed.identity(server) {
            Ok(identity) => Some(identity),
            Err(error) => {
                warn!(%error, "no certificate could be made for a server");
                None
            }
        }
    }
}

/// Whether a server takes our certificate.
#[derive(Debug, Default)]
pub(super) struct Acceptance {
    identity: Option<ServiceIdentity>,
    doubts: u32,
    refused_at: Option<Instant>,
}

impl Acceptance {
    /// The certificate to present, unless the server does not take any.
    pub(super) fn identity(&mut self, taking: &Taking, server: &ServerAddress) -> Option<ServiceIdentity> {
        if self.doubts >= DOUBTS_MAX {
            if self.refused_at.is_none_or(|moment| moment.elapsed() < REFUSAL_MEMORY) {
                return None;
            }
            (self.doubts, self.refused_at) = (0, None);
        }
        if self.identity.is_none() {
            self.identity = taking.identity(server);
        }
        self.identity.clone()
    }

    /// A session with the certificate could not be made. Says whether one without it is to be tried at once.
    pub(super) fn failed(&mut self, error: &ConnectError) -> bool {
        match error {
            ConnectError::Hello(HandshakeError::ServiceRefused(_)) => self.doubts = DOUBTS_MAX,
            ConnectError::Hello(_) | ConnectError::Tls(_) | ConnectError::Closed => {
                self.doubts = self.doubts.saturating_add(1);
            }
            _ => return false,
        }
        self.doubts >= DOUBTS_MAX
    }

    /// There is a session, with the certificate or without it.
    pub(super) fn succeeded(&mut self, as_service: bool) {
        match as_service {
            true => *self = Self { identity: self.identity.take(), ..Self::default() },
            false if self.doubts >= DOUBTS_MAX && self.refused_at.is_none() => {
                self.refused_at = Some(Instant::now());
            }
            false => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::error::{HandshakeFailure, TransportError};

    fn server() -> ServerAddress {
        format!("smp://{}@a.example", crate::base64url::encode(&[1; 32])).parse().unwrap()
    }

    fn taking() -> Taking {
        Taking::new(Services { seed: ServiceSeed::new([1; 32]), surplus: BTreeMap::from([(server(), 3)]) })
    }

    #[test]
    fn a_server_that_refuses_is_used_without_a_certificate() {
        let (taking, mut acceptance) = (taking(), Acceptance::default());
        assert!(acceptance.identity(&taking, &server()).is_some());
        let refusal = TransportError::Handshake(HandshakeFailure::BadService);
        assert!(acceptance.failed(&HandshakeError::ServiceRefused(refusal).into()));
        assert!(acceptance.identity(&taking, &server()).is_none());
        acceptance.succeeded(false);
        assert!(acceptance.identity(&taking, &server()).is_none());
        acceptance.refused_at = Instant::now().checked_sub(REFUSAL_MEMORY);
        if acceptance.refused_at.is_some() {
            assert!(acceptance.identity(&taking, &server()).is_some(), "it may take services by now");
        }
    }

    #[test]
    fn one_broken_greeting_is_no_refusal() {
        let (taking, mut acceptance) = (taking(), Acceptance::default());
        assert!(!acceptance.failed(&ConnectError::Closed));
        assert!(acceptance.identity(&taking, &server()).is_some());
        acceptance.succeeded(true);
        assert!(!acceptance.failed(&ConnectError::Closed), "counted anew");
        assert!(!acceptance.failed(&ConnectError::TimedOut), "says nothing about certificates");
        assert!(acceptance.failed(&ConnectError::Closed));
        assert!(acceptance.identity(&taking, &server()).is_none());
    }

    #[test]
    fn the_surplus_that_was_kept_is_of_its_server() {
        assert_eq!(taking().surplus(&server()), 3);
        let other = format!("smp://{}@a.example", crate::base64url::encode(&[2; 32])).parse().unwrap();
        assert_eq!(taking().surplus(&other), 0);
    }
}
