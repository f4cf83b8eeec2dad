//! Who this relay is to others: its profile, and where its queues are.

use protocol::agent::link_data::UserLinkData;
use protocol::group::link::RelayLinkData;
use protocol::group::profile::Profile;
use protocol::smp::address::ServerAddressWithAuth;
use protocol::smp::password::BasicAuth;

use crate::config::{JoinerRole, Settings};
use crate::error::CommandError;

/// What owners and members see, and where we are found.
#[derive(Debug, Clone)]
pub struct RelayIdentity {
    /// The server on which our queues are made, with its password.
    pub server: ServerAddressWithAuth,
    /// Our profile.
    pub profile: Profile,
    /// The role that joiners get; by the kind of group when not set.
    pub joiner_role: Option<JoinerRole>,
}

impl RelayIdentity {
    /// From the settings.
    ///
    /// # Errors
    /// When the server's address or password cannot be read.
    pub fn from_settings(settings: &Settings) -> Result<Self, CommandError> {
        let setting = |name, error: &dyn std::fmt::Display| CommandError::Setting {
            name,
            reason: format!("cannot be used: {error}"),
        };
        let mut server: ServerAddressWithAuth =
            settings.server.parse().map_err(|error| setting("server", &error))?;
        if let Some(password) = &settings.server_password {
            let password = BasicAuth::new(password.as_bytes());
            server.password = Some(password.map_err(|error| setting("server_password_file", &error))?);
        }
        let mut profile = Profile::named(settings.display_name.clone());
        profile.short_descr.clone_from(&settings.description);
        Ok(Self { server, profile, joiner_role: settings.joiner_role })
    }

    /// The link data of our address and of our relay links.
    #[must_use]
    pub fn link_data(&self) -> UserLinkData {
        UserLinkData::direct(RelayLinkData { relay_profile: self.profile.clone() }.to_blob())
    }
}
