//! Where the server listens, who it is, and who may create queues.

use std::net::IpAddr;

use protocol::version::VersionRange;
use serde::Deserialize;

use super::section::{quoted, section};
use super::value::{FilePath, Hosts, Ports, Switch};

section! {
    /// Where the server listens and how it is found.
    Listen / ListenLayer in "Listening" {
        /// Address to listen at. `::` is every address, of IPv4 too.
        bind ("bind", "SMP_SERVER_BIND"): IpAddr = IpAddr::from([0u16; 8]),
        /// Ports to listen at, joined by commas. 0 takes a free one and prints it.
        ports ("port", "SMP_SERVER_PORT"): Ports = Ports(vec![5223]),
        /// Names or addresses by which clients find the server, joined by commas. Printed in its address.
        hosts ("host", "SMP_SERVER_HOST"): Hosts = "localhost".parse().expect("a host name"),
        /// Versions of the protocol to offer, within 15-18.
        versions ("versions", "SMP_SERVER_VERSIONS"): Versions = Versions(SUPPORTED_VERSIONS),
    }
}

section! {
    /// Who the server is: PEM files, relative to its directory.
    Identity / IdentityLayer in "Identity" {
        /// Certificates, the server's own first, the identity (CA) certificate after it.
        certificate_chain ("certificate-chain", "SMP_SERVER_CERTIFICATE_CHAIN"): FilePath = "server.crt".into(),
        /// Private key of the server's own certificate: Ed25519 or Ed448, PKCS#8.
        private_key ("private-key", "SMP_SERVER_PRIVATE_KEY"): FilePath = "server.key".into(),
    }
}

section! {
    /// Who may create queues.
    Access / AccessLayer in "Access" {
        /// Whether new queues can be created.
        new_queues ("new-queues", "SMP_SERVER_NEW_QUEUES"): Switch = Switch(true),
        /// File with the password for creating queues, relative to the directory; empty for no password. The variable SMP_SERVER_CREATE_PASSWORD gives the password itself and wins.
        create_password_file ("create-password-file", "SMP_SERVER_CREATE_PASSWORD_FILE"): FilePath = "".into(),
        /// Whether clients with certificates may be services: programs that take back all their queues at once.
        accept_service_credentials ("accept-service-credentials", "SMP_SERVER_ACCEPT_SERVICE_CREDENTIALS"): Switch = Switch(true),
    }
}

/// The versions of the protocol that this server can speak.
pub const SUPPORTED_VERSIONS: VersionRange = VersionRange::new(15, 18).expect("15 is below 18");

quoted! { Versions: |value| value.0.to_string() }

/// A range of protocol versions to offer, within [`SUPPORTED_VERSIONS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions(pub VersionRange);

impl std::str::FromStr for Versions {
    type Err = UnsupportedVersions;

    fn from_str(text: &str) -> Result<Self, UnsupportedVersions> {
        let wrong = || UnsupportedVersions(text.to_owned());
        let range: VersionRange = text.parse().map_err(|_| wrong())?;
        if range.meet(SUPPORTED_VERSIONS) == Some(range) { Ok(Self(range)) } else { Err(wrong()) }
    }
}

/// Versions that this server cannot speak.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a range of versions within {SUPPORTED_VERSIONS}")]
pub struct UnsupportedVersions(String);

impl<'de> Deserialize<'de> for Versions {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
