//! `smp-server check-config`

use anyhow::bail;
use clap::Args;
use serde_json::json;

use super::{Place, identity, say};
use crate::config::SettingsLayer;
use crate::identity::CA_KEY_FILE;
use crate::web;

/// Check the settings, and what they name, without starting.
///
/// Reads the settings as `start` does: flags over variables over the file. Ends with 0 when a server would start with
/// them, and with 2 when a setting is wrong.
#[derive(Debug, Args)]
pub(super) struct CheckConfigArgs {
    #[command(flatten)]
    settings: SettingsLayer,
}

pub(super) fn run(place: &Place, args: CheckConfigArgs) -> anyhow::Result<()> {
    let directory = place.directory();
    if let Some(file) = place.config.as_deref().filter(|file| !file.exists()) {
        bail!("There is no settings file at {}: `smp-server example-config` prints one", file.display());
    }
    let settings = place.settings(args.settings)?;
    identity(&settings, &directory)?.check()?;
    directory.create_password(&settings.access)?;
    web::read_tls(&settings.web, &directory)?;

    let mut advice: Vec<String> = web::advice(&settings).into_iter().collect();
    let ca_key = directory.join(CA_KEY_FILE.as_ref());
    if ca_key.exists() {
        advice.push(format!(
            "{} is still on this machine: keep it elsewhere, whoever has it can pose as this server",
            ca_key.display()
        ));
    }
    if place.json {
        say(json!({ "type": "settings", "sound": true, "advice": advice }))?;
    } else {
        say("The settings are sound.")?;
        for line in &advice {
            eprintln!("advice: {line}");
        }
    }
    Ok(())
}
