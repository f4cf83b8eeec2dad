//! `smp-server address`

use clap::Args;
use protocol::base64url;
use serde_json::json;

use super::{Place, first_port, identity, say, server_address};
use crate::config::SettingsLayer;

/// Print the server's address.
#[derive(Debug, Args)]
pub(super) struct AddressArgs {
    /// Put the password for creating queues into it, for those who may create.
    #[arg(long)]
    with_password: bool,
    /// Print the fingerprint of the server's identity alone.
    #[arg(long)]
    fingerprint: bool,
    #[command(flatten)]
    settings: SettingsLayer,
}

pub(super) fn run(place: &Place, args: AddressArgs) -> anyhow::Result<()> {
    let AddressArgs { with_password, fingerprint, settings } = args;
    let directory = place.directory();
    let settings = place.settings(settings)?;
    let key_hash = identity(&settings, &directory)?.key_hash();
    let password = if with_password { directory.create_password(&settings.access)? } else { None };
    let address = server_address(&settings, key_hash, first_port(&settings), password)?;
    let key_hash = base64url::encode(&key_hash);
    if place.json {
        say(json!({ "type": "address", "address": address.to_string(), "fingerprint": key_hash }))?;
    } else if fingerprint {
        say(key_hash)?;
    } else {
        say(address)?;
    }
    Ok(())
}
