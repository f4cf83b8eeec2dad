//! `smp-server init`

use clap::Args;
use protocol::base64url;
use protocol::crypto::random_bytes;
use protocol::net::rng::system_rng;
use protocol::smp::password::BasicAuth;
use serde_json::json;

use super::{Place, ask, first_port, say, server_address};
use crate::config::SettingsLayer;
use crate::directory::{CREATE_PASSWORD_FILE, Directory};
use crate::identity::{CA_KEY_FILE, Identity, create_directory, write_new};

/// Make keys, certificates and a settings file.
///
/// Settings given as flags or SMP_SERVER_* variables are written into the file. Nothing that exists is overwritten.
#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// Draw a password that clients need for creating queues, and put it into the address.
    #[arg(long)]
    create_password: bool,
    /// Ask for what matters most, with what the flags say as proposals.
    #[arg(long)]
    ask: bool,
    #[command(flatten)]
    settings: SettingsLayer,
}

pub(super) fn run(place: &Place, args: InitArgs) -> anyhow::Result<()> {
    let InitArgs { mut create_password, ask, settings: mut layer } = args;
    let directory = place.directory();
    if ask {
        directory.refuse_used(&place.config.clone().unwrap_or_else(|| directory.settings_file()))?;
        let answers = ask::ask(layer, create_password, &mut std::io::stdin().lock(), &mut std::io::stderr())?;
        (layer, create_password) = (answers.settings, answers.create_password);
    }
    if create_password {
        layer = layer.with_create_password_file(CREATE_PASSWORD_FILE.into());
    }
    let settings = layer.clone().settle()?;
    let settings_file = place.config.clone().unwrap_or_else(|| directory.settings_file());
    directory.refuse_used(&settings_file)?;

    create_directory(directory.path())?;
    let made = Identity::generate(&settings.listen.hosts.to_string())?;
    made.write(directory.path())?;
    let password = create_password.then(|| draw_password(&directory)).transpose()?;
    // Last, so that an interrupted `init` is seen as unfinished.
    write_new(&settings_file, layer.example().as_bytes(), 0o600)?;

    let key_hash = made.identity.key_hash();
    let address = server_address(&settings, key_hash, first_port(&settings), password)?;
    let ca_key = directory.join(CA_KEY_FILE.as_ref());
    if place.json {
        let line = json!({
            "type": "initialised",
            "address": address.to_string(),
            "fingerprint": base64url::encode(&key_hash),
            "directory": directory.path(),
            "settings": settings_file,
            "ca_key": ca_key,
        });
        say(line)?;
    } else {
        say(format_args!("Server address: {address}"))?;
        say(format_args!("Fingerprint: {}", base64url::encode(&key_hash)))?;
        eprintln!("Settings: {}", settings_file.display());
    }
    if first_port(&settings) == 0 {
        eprintln!(
            "With port 0, `smp-server start` takes a free port each time and prints the address that holds."
        );
    }
    eprintln!(
        "Move {} to a safe place off this machine now: whoever has it can pose as this server, and you need it \
         only to renew the server's certificate.",
        ca_key.display()
    );
    Ok(())
}

/// A password of 256 random bits, written where the settings name it.
fn draw_password(directory: &Directory) -> anyhow::Result<BasicAuth> {
    let text = base64url::encode_unpadded(&random_bytes::<32>(&mut system_rng()));
    write_new(&directory.join(CREATE_PASSWORD_FILE.as_ref()), text.as_bytes(), 0o600)?;
    Ok(BasicAuth::new(text.as_bytes())?)
}
