//! Private routing, as the proxy: commands of our clients reach other servers in sessions of ours, so that those
//! servers do not see who sends (smp.md §14).
//!
//! ```text
//! PRXY ─▶ one session per destination, shared by all clients ─▶ PKEY
//! PFWD ─▶ session by its id ─▶ RFWD ─▶ destination ─▶ RRES ─▶ PRES
//! ```
//!
//! What is forwarded is opaque here. The part of the destination server is in `commands/forwarded.rs`.

mod destinations;
mod failure;
mod settings;

use protocol::net::dial::Dialer;
use protocol::net::network::Limits;
use protocol::smp::address::ServerAddress;
use protocol::smp::error::{BrokerError, ErrorType, ProxyError};
use protocol::smp::proxy::forward::Forward;
use protocol::smp::response::BrokerMessage;
use tokio::time::timeout;

use crate::config::{Forwarding, Settings};
use destinations::{Destinations, Opening};

/// The sessions with destination servers.
#[derive(Debug)]
pub(crate) struct Proxy {
    is_on: bool,
    limits: Limits,
    destinations: Destinations,
}

impl Proxy {
    pub(crate) fn new(settings: &Settings) -> Self {
        let Forwarding { forward, .. } = &settings.proxy;
        let limits = Limits {
            connect: settings.proxy.destination_connect_timeout.0,
            answer: settings.proxy.destination_answer_timeout.0,
            silence: Limits::SILENCE,
        };
        let opening = Opening {
            dialer: Dialer::from(settings),
            limits,
            idle: settings.proxy.destination_idle.0,
            failure_memory: settings.proxy.destination_failure_memory.0,
            sessions_max: usize::try_from(settings.proxy.destination_sessions).unwrap_or(usize::MAX),
        };
        Self { is_on: forward.0, limits, destinations: Destinations::new(opening) }
    }

    /// Whether this server forwards at all.
    pub(crate) fn is_on(&self) -> bool {
        self.is_on
    }

    /// Sessions with destination servers that are open.
    pub(crate) fn session_count(&self) -> usize {
        self.destinations.count()
    }

    /// `PKEY` of the session with a destination server, which is made when there is none.
    pub(crate) async fn connect(&self, server: &ServerAddress) -> Result<BrokerMessage<'static>, ErrorType> {
        let session = self.destinations.session(server).await.map_err(ProxyError::Broker)?;
        let offer = session.session.offer();
        Ok(BrokerMessage::Pkey {
            session_id: offer.session_id.to_vec().into(),
            versions: offer.versions,
            certified_key: offer.certified_key.clone(),
        })
    }

    /// Forwards a command in a session; gives what the destination server sealed for the client.
    pub(crate) async fn forward(
        &self,
        session_id: &[u8],
        forward: &Forward<'_>,
    ) -> Result<Vec<u8>, ErrorType> {
        let session = self.destinations.by_id(session_id).ok_or(ProxyError::NoSession)?;
        let _use = session.begin_use();
        match timeout(self.limits.answer, session.session.forward(forward)).await {
            Ok(answer) => answer.map_err(|error| failure::of_forwarding(&error)),
            // also when the destination reads so slowly that the command could not even be sent
            Err(_) => Err(ProxyError::Broker(BrokerError::Timeout).into()),
        }
    }
}
