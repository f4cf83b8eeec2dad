//! What is read again while the server runs: certificates, and what everybody is told about the server.

use anyhow::Context as _;

use crate::config::Settings;
use crate::directory::Directory;
use crate::identity::Identity;
use crate::server::Server;
use crate::web::Renewed;

/// Where everything is read from.
pub(crate) struct Reload {
    directory: Directory,
    settings: Box<dyn Fn() -> anyhow::Result<Settings> + Send + Sync>,
    address: String,
}

impl Reload {
    /// From `directory`; `settings` reads the settings again, and `address` is what clients are given.
    pub(crate) fn new(
        directory: Directory,
        settings: impl Fn() -> anyhow::Result<Settings> + Send + Sync + 'static,
        address: String,
    ) -> Self {
        Self { directory, settings: Box::new(settings), address }
    }

    /// Takes up the certificates that the settings name, and the information that they give, for connections that begin
    /// from now on. Other settings stay as they were at the start.
    ///
    /// # Errors
    /// When anything of it cannot be read or used: then nothing changes.
    pub(crate) fn run(&self, server: &Server) -> anyhow::Result<()> {
        daemon::supervision::reloading();
        let reloaded = self.take_up(server);
        daemon::supervision::ready();
        match &reloaded {
            Ok(()) => tracing::info!("certificates and information were read again"),
            Err(error) => tracing::error!("what is in use stays: {error:#}"),
        }
        reloaded
    }

    fn take_up(&self, server: &Server) -> anyhow::Result<()> {
        let named = &server.settings.identity;
        let identity = Identity::read(
            &self.directory.join(&named.certificate_chain),
            &self.directory.join(&named.private_key),
        )?;
        let renewed = match server.web() {
            Some(web) => {
                let settings = (self.settings)().context("Unable to read the information again")?;
                let read = Renewed::read(server, &self.directory, &settings.information, &self.address)?;
                Some((web, read))
            }
            None => None,
        };
        server.renew_certificates(&identity)?;
        if let Some((web, renewed)) = renewed {
            web.replace(renewed);
        }
        Ok(())
    }
}
