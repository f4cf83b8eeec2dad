//! How this home's commands reach servers: through which of its own servers, and by which way out of the machine.

use anyhow::Context as _;
use protocol::net::dial::Dialer;
use protocol::net::network::{Limits, NetworkSettings, ProxyMode, Routing};
use protocol::net::socks::{SocksMode, SocksProxy};
use serde::{Deserialize, Serialize};

use crate::error::CommandError;
use crate::exit_code::ExitCode;
use crate::store::{Store, StoreError};

/// What is kept; the words are those of `conclave network`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct NetworkChoice {
    /// `always`, `unknown` or `never`.
    pub(crate) proxy: String,
    /// Whether to send directly to servers that no proxy can forward to.
    pub(crate) direct_fallback: bool,
    /// The SOCKS proxy, if there is one.
    pub(crate) socks: Option<String>,
    /// `always` or `onion`.
    pub(crate) socks_mode: String,
}

impl Default for NetworkChoice {
    fn default() -> Self {
        Self {
            proxy: ProxyMode::Unknown.to_string(),
            direct_fallback: true,
            socks: None,
            socks_mode: "always".to_owned(),
        }
    }
}

/// What is to change; absent parts stay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NetworkChange {
    /// As in [`NetworkChoice`].
    pub(crate) proxy: Option<String>,
    /// As in [`NetworkChoice`].
    pub(crate) direct_fallback: Option<bool>,
    /// As in [`NetworkChoice`]; `none` for none.
    pub(crate) socks: Option<String>,
    /// As in [`NetworkChoice`].
    pub(crate) socks_mode: Option<String>,
}

impl NetworkChange {
    /// Whether it only asks.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl NetworkChoice {
    /// The choice after a change.
    ///
    /// # Errors
    /// [`ExitCode::Usage`] when a word is not understood.
    pub(crate) fn changed(mut self, change: NetworkChange) -> Result<Self, CommandError> {
        if let Some(proxy) = change.proxy {
            self.proxy = proxy;
        }
        if let Some(direct_fallback) = change.direct_fallback {
            self.direct_fallback = direct_fallback;
        }
        if let Some(socks) = change.socks {
            self.socks = (socks != "none").then_some(socks);
        }
        if let Some(socks_mode) = change.socks_mode {
            self.socks_mode = socks_mode;
        }
        let usage = |error: anyhow::Error| CommandError::new(ExitCode::Usage, error);
        self.mode().map_err(usage)?;
        self.dialer().map_err(usage)?;
        Ok(self)
    }

    fn mode(&self) -> anyhow::Result<ProxyMode> {
        Ok(self.proxy.parse()?)
    }

    /// How connections leave this machine.
    ///
    /// # Errors
    /// When a word is not understood.
    pub(crate) fn dialer(&self) -> anyhow::Result<Dialer> {
        let mode = match self.socks_mode.as_str() {
            "always" => SocksMode::Always,
            "onion" => SocksMode::Onion,
            other => anyhow::bail!("`{other}` is neither `always` nor `onion`"),
        };
        let socks = self.socks.as_deref().map(str::parse).transpose()?;
        let socks = socks.map(|address| SocksProxy::new(address, mode));
        Ok(Dialer { socks, ..Dialer::default() })
    }
}

/// How the engine of this home begins.
///
/// # Errors
/// When what is kept cannot be read.
pub(crate) fn settings(store: &Store) -> anyhow::Result<NetworkSettings> {
    let choice = store.network().context("Unable to read how servers are reached")?;
    Ok(NetworkSettings {
        limits: Limits::INTERACTIVE,
        dialer: choice.dialer()?,
        routing: routing(store)?,
        services: None,
    })
}

/// Which commands go through which servers now.
///
/// # Errors
/// What the store says.
pub(crate) fn routing(store: &Store) -> Result<Routing, StoreError> {
    let choice = store.network()?;
    Ok(Routing {
        // kept words were checked when they were kept
        mode: choice.mode().unwrap_or_default(),
        direct_fallback: choice.direct_fallback,
        servers: store.servers()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_keeps_the_rest_and_wrong_words_are_refused() {
        let change = |text: &str| serde_json::from_str::<NetworkChange>(text).unwrap();
        let choice = NetworkChoice::default();
        let choice = choice.changed(change(r#"{"proxy":"unknown"}"#)).unwrap();
        let choice = choice.changed(change(r#"{"socks":"127.0.0.1:9050","direct_fallback":false}"#)).unwrap();
        assert_eq!((choice.proxy.as_str(), choice.direct_fallback), ("unknown", false));
        assert!(choice.dialer().unwrap().socks.is_some());
        for wrong in [r#"{"proxy":"sometimes"}"#, r#"{"socks":"nowhere"}"#, r#"{"socks_mode":"never"}"#] {
            assert_eq!(choice.clone().changed(change(wrong)).unwrap_err().kind, ExitCode::Usage, "{wrong}");
        }
        let choice = choice.changed(change(r#"{"socks":"none"}"#)).unwrap();
        assert!(choice.dialer().unwrap().socks.is_none());
    }

    #[test]
    fn the_choice_is_kept_with_the_servers() {
        let mut store = Store::in_memory();
        assert_eq!(store.network().unwrap(), NetworkChoice::default());
        let choice = NetworkChoice { proxy: "always".into(), ..NetworkChoice::default() };
        store.set_network(&choice).unwrap();
        assert_eq!(routing(&store).unwrap().mode, ProxyMode::Always);
    }
}
