//! `smp-server cert`

use std::path::{Path, PathBuf};

use clap::Args;
use protocol::base64url;
use serde_json::json;

use super::{Place, identity, say};
use crate::config::SettingsLayer;
use crate::identity::CA_KEY_FILE;

/// Issue a new certificate and key for the server; its identity and its address stay.
///
/// It needs the key of the identity, ca.key: bring it back for as long as this takes. A running server takes the new
/// certificate for its next connections after `smp-server ctl reload` or SIGHUP.
#[derive(Debug, Args)]
pub(super) struct CertArgs {
    /// Where the key of the identity is, when it is not ca.key in the directory.
    #[arg(long, value_name = "FILE")]
    ca_key: Option<PathBuf>,
    #[command(flatten)]
    settings: SettingsLayer,
}

pub(super) fn run(place: &Place, args: CertArgs) -> anyhow::Result<()> {
    let CertArgs { ca_key, settings } = args;
    let directory = place.directory();
    let settings = place.settings(settings)?;
    let ca_key = ca_key.unwrap_or_else(|| directory.join(Path::new(CA_KEY_FILE)));
    let renewed = identity(&settings, &directory)?.renew(&ca_key, &settings.listen.hosts.to_string())?;
    let (chain, key) = (
        directory.join(&settings.identity.certificate_chain),
        directory.join(&settings.identity.private_key),
    );
    renewed.replace(&chain, &key)?;
    let fingerprint = base64url::encode(&renewed.key_hash());
    if place.json {
        say(json!({
            "type": "certificate", "fingerprint": fingerprint, "certificate_chain": chain, "private_key": key,
        }))?;
    } else {
        say(format_args!("New certificate: {}", chain.display()))?;
        say(format_args!("New key: {}", key.display()))?;
        say(format_args!("Fingerprint, as before: {fingerprint}"))?;
    }
    eprintln!(
        "A running server takes it up by `smp-server ctl reload` or SIGHUP. Move {} off this machine again.",
        ca_key.display()
    );
    Ok(())
}
