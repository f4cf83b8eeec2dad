//! `chat-relay check-config`: reads the settings as `start` would, without starting.

use serde::Serialize;

use crate::cli::GlobalArgs;
use crate::config::{ConfigArgs, ConfigFile};
use crate::directory::Directory;
use crate::identity::RelayIdentity;
use crate::output;

#[derive(Serialize)]
struct Sound {
    r#type: &'static str,
    sound: bool,
}

pub(super) fn run(global: &GlobalArgs, args: ConfigArgs) -> anyhow::Result<()> {
    let directory = Directory::choose(global.directory.as_deref())?;
    directory.open()?;
    let settings = args.over(ConfigFile::read(&directory)?)?.settings()?;
    let identity = RelayIdentity::from_settings(&settings)?;
    settings.network.settings(super::network_limits(&settings.limits), identity.server)?;
    output::print(global.json, "The settings are sound.", &Sound { r#type: "settings", sound: true })
}
