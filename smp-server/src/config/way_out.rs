//! Values that say how the server reaches others.

use std::fmt;
use std::str::FromStr;

use protocol::net::socks::{SocksAddress, SocksAddressError};
use serde::{Deserialize, Deserializer};

/// Words of a setting: each a variant.
macro_rules! words {
    ($(#[doc = $about:literal])+ $name:ident { $( $(#[doc = $doc:literal])+ $variant:ident = $word:literal, )+ }) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
        #[serde(rename_all = "lowercase")]
        pub enum $name { $( $(#[doc = $doc])+ $variant, )+ }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $( Self::$variant => $word, )+ })
            }
        }
    };
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
