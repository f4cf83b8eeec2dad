//! Private routing, and how the server reaches others for it.

use std::fmt;
use std::str::FromStr;

use protocol::net::socks::{SocksAddress, SocksAddressError};
use serde::{Deserialize, Deserializer};

use super::section::{none_is_instant, none_is_zero, quoted, section, words};
use super::value::{Period, Switch};
use crate::error::CommandError;

section! {
    /// Private routing: forwarding commands of clients to other servers, which then do not see who sends.
    Forwarding / ForwardingLayer in "Private routing" {
        /// Whether this server forwards. Clients need the password for creating queues, if there is one.
        forward ("proxy", "SMP_SERVER_PROXY"): Switch = Switch(true),
        /// Commands of one client that are on their way to other servers at a time; further ones wait.
        client_concurrency ("proxy-client-concurrency", "SMP_SERVER_PROXY_CLIENT_CONCURRENCY"): u32 = 32,
        /// Servers that are connected to at a time; then those used least recently make room.
        destination_sessions ("proxy-destination-sessions", "SMP_SERVER_PROXY_DESTINATION_SESSIONS"): u32 = 1000,
        /// Time limit of connecting to another server.
        destination_connect_timeout ("proxy-connect-timeout", "SMP_SERVER_PROXY_CONNECT_TIMEOUT"): Period = Period::seconds(45),
        /// Time limit of another server's answer.
        destination_answer_timeout ("proxy-answer-timeout", "SMP_SERVER_PROXY_ANSWER_TIMEOUT"): Period = Period::seconds(30),
        /// How long a failed attempt to connect answers for the next ones.
        destination_failure_memory ("proxy-failure-memory", "SMP_SERVER_PROXY_FAILURE_MEMORY"): Period = Period::seconds(30),
        /// How long an unused connection with another server is kept.
        destination_idle ("proxy-idle", "SMP_SERVER_PROXY_IDLE"): Period = Period::seconds(10 * 60),
        /// Whether to connect to loopback and private addresses when clients ask for it: `auto` if this server is itself at such an address, else not; `on`; `off`. On a public server `on` lets strangers try the ports of its neighbours.
        private_destinations ("proxy-private-destinations", "SMP_SERVER_PROXY_PRIVATE_DESTINATIONS"): PrivateDestinations = PrivateDestinations::Auto,
        /// Which hosts of other servers are preferred: `public` or `onion`.
        host_mode ("proxy-host-mode", "SMP_SERVER_PROXY_HOST_MODE"): PreferredHosts = PreferredHosts::Public,
        /// Whether servers without such a host are refused.
        required_host_mode ("proxy-required-host-mode", "SMP_SERVER_PROXY_REQUIRED_HOST_MODE"): Switch = Switch(false),
        /// SOCKS5 proxy for connections with other servers, such as 127.0.0.1:9050; empty for none.
        socks_proxy ("socks-proxy", "SMP_SERVER_SOCKS_PROXY"): SocksAt = SocksAt(None),
        /// What is reached through the SOCKS proxy: `onion` hosts, or `always` all.
        socks_mode ("socks-mode", "SMP_SERVER_SOCKS_MODE"): SocksHosts = SocksHosts::Onion,
    }
}

words! {
    /// Whether clients may have commands forwarded to loopback and private addresses.
    PrivateDestinations {
        /// If this server is itself at such an address.
        Auto = "auto",
        /// Always.
        On = "on",
        /// Never.
        Off = "off",
    }
}

words! {
    /// Which hosts of other servers are preferred.
    PreferredHosts {
        /// Public ones.
        Public = "public",
        /// Tor services.
        Onion = "onion",
    }
}

words! {
    /// What is reached through the SOCKS proxy.
    SocksHosts {
        /// Tor services.
        Onion = "onion",
        /// Everything.
        Always = "always",
    }
}

/// Where the SOCKS proxy listens, if there is one; written empty when there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocksAt(pub Option<SocksAddress>);

impl FromStr for SocksAt {
    type Err = SocksAddressError;

    fn from_str(text: &str) -> Result<Self, SocksAddressError> {
        if text.is_empty() { Ok(Self(None)) } else { text.parse().map(|address| Self(Some(address))) }
    }
}

impl fmt::Display for SocksAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |address| address.fmt(f))
    }
}

impl<'de> Deserialize<'de> for SocksAt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

quoted! {
    SocksAt: |value| value.to_string(),
    PrivateDestinations: |value| value.to_string(),
    PreferredHosts: |value| value.to_string(),
    SocksHosts: |value| value.to_string(),
}

impl Forwarding {
    pub(super) fn check(&self) -> Result<(), CommandError> {
        none_is_zero(&[
            ("client_concurrency", self.client_concurrency),
            ("destination_sessions", self.destination_sessions),
        ])?;
        none_is_instant(&[
            ("destination_connect_timeout", self.destination_connect_timeout),
            ("destination_answer_timeout", self.destination_answer_timeout),
            ("destination_idle", self.destination_idle),
        ])
    }
}
