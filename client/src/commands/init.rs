//! `conclave init`

use clap::Args;

use crate::error::CommandError;
use crate::event::Event;
use crate::seal::{Sealer, create_key_file, read_key_file, write_slot};
use crate::session::Session;
use crate::store::Store;
use protocol::net::rng::system_rng;

/// Make a home: the directory with your keys, groups and messages.
///
/// Everything secret is sealed with a passphrase, which is asked for (or taken from CONCLAVE_PASSPHRASE), or with a
/// key file: with --key-file, an existing file is used and a missing one is made. Keep it apart from the home.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  conclave init --name Alice
  conclave init --name Alice --key-file ~/.conclave.key
  conclave --home /srv/news init --name 'City news'")]
pub(crate) struct InitArgs {
    /// The name that groups see.
    #[arg(long, value_name = "NAME")]
    name: String,
}

impl InitArgs {
    /// Makes the home.
    ///
    /// # Errors
    /// When one is there already or the disk refuses.
    pub(crate) fn run(self, session: &Session) -> Result<(), CommandError> {
        let name = crate::engine::checked_name(&self.name)?;
        let home = session.home();
        home.create()?;
        let mut rng = system_rng();
        let secret = match session.key_file() {
            Some(path) if path.exists() => read_key_file(path)?,
            Some(path) => create_key_file(path, &mut rng)?,
            None => session.new_passphrase()?,
        };
        let _lock = home.lock_or(|| None::<()>)?;
        let (sealer, slot) = Sealer::create(&secret, &mut rng)?;
        let mut store = Store::open(&home.store_file(), sealer)?;
        store.set_own_name(&name)?;
        drop(store);
        // Last, because its presence says that the home is whole.
        write_slot(&home.key_file(), &slot)?;
        session
            .show(&Event::Done { what: "home made at".into(), name: home.directory().display().to_string() });
        session
            .output()
            .talk("Next: `conclave server add ADDRESS`, then `conclave group create` or `conclave join`.");
        Ok(())
    }
}
