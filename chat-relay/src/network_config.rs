//! The way to servers: through which of them commands go, and how connections leave this machine.

use clap::Args;
use protocol::net::dial::Dialer;
use protocol::net::network::{Limits, NetworkSettings, ProxyMode, Routing};
use protocol::net::socks::{SocksMode, SocksProxy};
use protocol::smp::address::ServerAddressWithAuth;
use serde::{Deserialize, Serialize};

use crate::error::CommandError;

/// What goes through a proxy when nothing is said: nothing, since owners and members know where their relay is.
const PROXY_DEFAULT: ProxyMode = ProxyMode::Never;
/// Whether a relay sends directly to servers that no proxy can forward to when nothing is said.
const DIRECT_FALLBACK_DEFAULT: bool = true;

/// The section `[network]` of `relay.toml`, and the same as flags and environment variables.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkConfig {
    /// Which servers are sent to through another one, which hides this relay's address from them: `always` all,
    /// `unknown` those that are neither this relay's nor in --proxy-servers, `never` none [default: never]
    #[arg(long = "proxy", env = "CHAT_RELAY_PROXY", value_name = "MODE", help_heading = "Network")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// Servers that forward, joined by `;`, beside the relay's own: `smp://fingerprint@host[:port]`
    #[arg(long, env = "CHAT_RELAY_PROXY_SERVERS", value_name = "ADDRESSES", help_heading = "Network")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_servers: Option<String>,
    /// Whether to send directly to servers that no proxy can forward to: `true` or `false` [default: true]
    #[arg(long, env = "CHAT_RELAY_DIRECT_FALLBACK", value_name = "SWITCH", help_heading = "Network")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direct_fallback: Option<bool>,
    /// The SOCKS5 proxy of connections with servers, such as 127.0.0.1:9050
    #[arg(long, env = "CHAT_RELAY_SOCKS_PROXY", value_name = "ADDRESS", help_heading = "Network")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socks_proxy: Option<String>,
    /// What goes through the SOCKS proxy: `always` all, or `onion` hosts only [default: always]
    #[arg(long, env = "CHAT_RELAY_SOCKS_MODE", value_name = "MODE", help_heading = "Network")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socks_mode: Option<String>,
}

impl NetworkConfig {
    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// These values where given, else those of `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            proxy: self.proxy.or(other.proxy),
            proxy_servers: self.proxy_servers.or(other.proxy_servers),
            direct_fallback: self.direct_fallback.or(other.direct_fallback),
            socks_proxy: self.socks_proxy.or(other.socks_proxy),
            socks_mode: self.socks_mode.or(other.socks_mode),
        }
    }

    /// How the relay's network begins.
    ///
    /// # Errors
    /// [`CommandError::Setting`] naming what cannot be used.
    pub fn settings(
        &self,
        limits: Limits,
        own: ServerAddressWithAuth,
    ) -> Result<NetworkSettings, CommandError> {
        let wrong =
            |name, error: &dyn std::fmt::Display| CommandError::Setting { name, reason: error.to_string() };
        let mode = self.proxy.as_deref().map(str::parse).transpose();
        let mode: Option<ProxyMode> = mode.map_err(|error| wrong("proxy", &error))?;
        let mut servers = vec![own];
        let others = self.proxy_servers.iter().flat_map(|text| text.split(';'));
        for address in others.map(str::trim).filter(|address| !address.is_empty()) {
            let server: ServerAddressWithAuth =
                address.parse().map_err(|error| wrong("proxy_servers", &error))?;
            servers.push(server);
        }
        let socks_mode = match self.socks_mode.as_deref() {
            None | Some("always") => SocksMode::Always,
            Some("onion") => SocksMode::Onion,
            Some(_) => return Err(wrong("socks_mode", &"is neither `always` nor `onion`")),
        };
        let socks = self.socks_proxy.as_deref().filter(|text| !text.is_empty()).map(str::parse).transpose();
        let socks = socks.map_err(|error| wrong("socks_proxy", &error))?;
        let socks = socks.map(|address| SocksProxy::new(address, socks_mode));
        Ok(NetworkSettings {
            limits,
            dialer: Dialer { socks, ..Dialer::default() },
            routing: Routing {
                mode: mode.unwrap_or(PROXY_DEFAULT),
                direct_fallback: self.direct_fallback.unwrap_or(DIRECT_FALLBACK_DEFAULT),
                servers,
            },
            services: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> ServerAddressWithAuth {
        server(1).parse().unwrap()
    }

    fn server(number: u8) -> String {
        format!("smp://{}@a.example", protocol::base64url::encode(&[number; 32]))
    }

    fn settings(config: &NetworkConfig) -> Result<NetworkSettings, CommandError> {
        config.settings(Limits::BACKGROUND, own())
    }

    #[test]
    fn the_relays_own_server_is_known_and_forwards() {
        let direct = settings(&NetworkConfig::default()).unwrap();
        assert_eq!(direct.routing.mode, ProxyMode::Never);
        assert!(direct.dialer.socks.is_none());
        let config = NetworkConfig {
            proxy: Some("unknown".into()),
            proxy_servers: Some(format!("{}; {}", server(2), server(3))),
            socks_proxy: Some("127.0.0.1:9050".into()),
            ..NetworkConfig::default()
        };
        let routed = settings(&config).unwrap();
        assert_eq!((routed.routing.mode, routed.routing.servers.len()), (ProxyMode::Unknown, 3));
        assert!(routed.routing.direct_fallback && routed.dialer.socks.is_some());
    }

    #[test]
    fn wrong_values_are_refused_with_their_name() {
        let some = |text: &str| Some(text.to_owned());
        for (config, name) in [
            (NetworkConfig { proxy: some("often"), ..Default::default() }, "proxy"),
            (NetworkConfig { proxy_servers: some("here"), ..Default::default() }, "proxy_servers"),
            (NetworkConfig { socks_proxy: some("here"), ..Default::default() }, "socks_proxy"),
            (NetworkConfig { socks_mode: some("often"), ..Default::default() }, "socks_mode"),
        ] {
            let error = settings(&config).unwrap_err();
            assert!(matches!(error, CommandError::Setting { name: wrong, .. } if wrong == name), "{error}");
        }
    }
}
