//! Certificates read again while the server runs.

use crate::directory::Directory;
use crate::identity::Identity;
use crate::server::Server;

/// Takes up the certificates that the settings name for connections that begin from now on.
///
/// # Errors
/// When they cannot be read or used: then those in use stay.
pub(crate) fn reload(server: &Server, directory: &Directory) -> anyhow::Result<()> {
    daemon::supervision::reloading();
    let named = &server.settings.identity;
    let reloaded =
        Identity::read(&directory.join(&named.certificate_chain), &directory.join(&named.private_key))
            .and_then(|identity| server.renew_certificates(&identity));
    daemon::supervision::ready();
    match &reloaded {
        Ok(()) => tracing::info!("certificates were read again"),
        Err(error) => tracing::error!("the certificates in use stay: {error:#}"),
    }
    reloaded
}
