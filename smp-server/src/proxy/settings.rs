//! The way out of this machine, from the settings.

use std::net::IpAddr;

use protocol::net::dial::{Dialer, HostMode};
use protocol::net::public_address::is_public;
use protocol::net::socks::{SocksMode, SocksProxy};
use protocol::smp::host::Host;

use crate::config::{PreferredHosts, PrivateDestinations, Settings, SocksHosts};

impl From<&Settings> for Dialer {
    fn from(settings: &Settings) -> Self {
        let proxy = &settings.proxy;
        let mode = match proxy.socks_mode {
            SocksHosts::Onion => SocksMode::Onion,
            SocksHosts::Always => SocksMode::Always,
        };
        Self {
            socks: proxy.socks_proxy.0.clone().map(|address| SocksProxy::new(address, mode)),
            host_mode: match proxy.host_mode {
                PreferredHosts::Public => HostMode::Public,
                PreferredHosts::Onion => HostMode::Onion,
            },
            host_mode_required: proxy.required_host_mode.0,
            public_only: match proxy.private_destinations {
                PrivateDestinations::Auto => is_public_server(settings),
                PrivateDestinations::On => false,
                PrivateDestinations::Off => true,
            },
        }
    }
}

/// Whether this server is there for the public network: then it has no business with its neighbours.
fn is_public_server(settings: &Settings) -> bool {
    let bind = settings.listen.bind;
    let listens_to_public = bind.is_unspecified() || is_public(bind);
    listens_to_public && settings.listen.hosts.0.iter().any(is_public_host)
}

fn is_public_host(host: &Host) -> bool {
    match host {
        Host::Ipv4(address) => is_public(IpAddr::V4(*address)),
        Host::Ipv6(address) => is_public(IpAddr::V6(*address)),
        Host::Onion(_) => true,
        Host::Domain(name) => {
            let top = name.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
            let is_reserved =
                ["localhost", "local", "internal", "lan", "home", "test", "invalid"].contains(&top);
            name.contains('.') && !is_reserved
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_public_only(bind: &str, hosts: &str, private: PrivateDestinations) -> bool {
        let mut settings = Settings::default();
        settings.listen.bind = bind.parse().unwrap();
        settings.listen.hosts = hosts.parse().unwrap();
        settings.proxy.private_destinations = private;
        Dialer::from(&settings).public_only
    }

    #[test]
    fn a_public_server_does_not_connect_to_its_neighbours_unless_it_is_told_to() {
        let auto = PrivateDestinations::Auto;
        for hosts in ["smp.example.org", "8.8.8.8", "localhost,smp.example.org", "abc.onion"] {
            assert!(is_public_only("::", hosts, auto), "{hosts}");
            assert!(!is_public_only("127.0.0.1", hosts, auto), "{hosts} at loopback");
            assert!(!is_public_only("::", hosts, PrivateDestinations::On), "{hosts}");
        }
        for hosts in ["localhost", "127.0.0.1", "192.168.1.2", "relay", "smp.lan", "a.test"] {
            assert!(!is_public_only("::", hosts, auto), "{hosts}");
            assert!(is_public_only("::", hosts, PrivateDestinations::Off), "{hosts}");
        }
    }
}
