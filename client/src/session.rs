//! How a command gets its work done: through a listening process, or by holding the home itself.

use std::path::Path;

use zeroize::Zeroizing;

use crate::cli::GlobalArgs;
use crate::control;
use crate::engine;
use crate::error::CommandError;
use crate::event::{Event, Reply};
use crate::home::{Home, LockOr};
use crate::network::{NetworkChange, NetworkChoice};
use crate::output::{Output, ReaderGone};
use crate::query;
use crate::request::Request;
use crate::seal::{Sealer, Secret, read_slot};
use crate::secrets::SecretSource;
use crate::store::Store;

/// One run of the program.
#[derive(Debug)]
pub(crate) struct Session {
    home: Home,
    output: Output,
    secrets: SecretSource,
}

impl Session {
    /// From the global options.
    ///
    /// # Errors
    /// When no home can be named.
    pub(crate) fn new(global: &GlobalArgs, output: Output) -> Result<Self, CommandError> {
        let home = Home::locate(global.home.clone())?;
        let secrets = SecretSource::new(global.key_file.clone(), global.passphrase_file.clone());
        Ok(Self { home, output, secrets })
    }

    /// The home.
    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    /// Where results go.
    pub(crate) fn output(&self) -> Output {
        self.output
    }

    /// The key file that was named.
    pub(crate) fn key_file(&self) -> Option<&Path> {
        self.secrets.key_file()
    }

    /// A passphrase for a new home.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn new_passphrase(&self) -> Result<Secret, CommandError> {
        self.secrets.new_passphrase()
    }

    /// The passphrase of an archive.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn archive_passphrase(&self, new: bool) -> Result<Zeroizing<String>, CommandError> {
        self.secrets.archive_passphrase(new)
    }

    /// Shows one event. A reader that went away is no failure of what was done.
    pub(crate) fn show(&self, event: &Event) {
        let _ = self.output.event(event);
    }

    /// How this home reaches servers.
    ///
    /// # Errors
    /// What the engine says.
    pub(crate) fn network(&self) -> Result<NetworkChoice, CommandError> {
        let mut choice = NetworkChoice::default();
        self.ask_with(Request::Network { change: NetworkChange::default() }, |event| {
            if let Event::NetworkSettings { proxy, direct_fallback, socks, socks_mode } = event.clone() {
                choice = NetworkChoice { proxy, direct_fallback, socks, socks_mode };
            }
            Ok(())
        })?;
        Ok(choice)
    }

    /// Does what is asked and shows what comes of it.
    ///
    /// # Errors
    /// What the engine says.
    pub(crate) fn ask(&self, request: Request) -> Result<(), CommandError> {
        self.ask_with(request, |event| self.output.event(event))
    }

    /// The same, with `show` for each event. Work goes on to its end when nobody reads any more.
    ///
    /// # Errors
    /// What the engine says.
    pub(crate) fn ask_with(
        &self,
        request: Request,
        mut show: impl FnMut(&Event) -> Result<(), ReaderGone>,
    ) -> Result<(), CommandError> {
        self.home.check()?;
        let mut reading = true;
        let mut take = |reply: Reply| match reply {
            Reply::Event(event) => {
                reading = reading && show(&event).is_ok();
                None
            }
            Reply::Success => Some(Ok(())),
            Reply::Failure(error) => Some(Err(error)),
        };
        let lock = match self.home.lock_or(|| control::connect(&self.home))? {
            LockOr::Other(stream) => return control::ask(stream, &request, take),
            LockOr::Lock(lock) => lock,
        };
        let mut store = self.open()?;
        let result = if request.needs_network() {
            engine::run_one(store, request, take)
        } else {
            query::answer(&mut store, request, &mut |event| {
                take(event.into());
            })
        };
        drop(lock);
        result
    }

    /// Follows until interrupted, and serves other commands meanwhile.
    ///
    /// # Errors
    /// When another process holds the home, or the store fails.
    pub(crate) fn listen(&self, request: Request) -> Result<(), CommandError> {
        self.home.check()?;
        match self.home.lock_or(|| control::connect(&self.home))? {
            // Two can look: the second sees the same through the first.
            LockOr::Other(stream) => control::ask(stream, &request, |reply| match reply {
                Reply::Event(event) => self.output.event(&event).is_err().then_some(Ok(())),
                Reply::Success => Some(Ok(())),
                Reply::Failure(error) => Some(Err(error)),
            }),
            LockOr::Lock(lock) => {
                let result = engine::run_listening(self.open()?, &self.home, request, self.output);
                drop(lock);
                result
            }
        }
    }

    fn open(&self) -> Result<Store, CommandError> {
        let slot = read_slot(&self.home.key_file())?;
        let sealer = Sealer::open_slot(&slot, &self.secrets.for_slot(&slot)?)?;
        Ok(Store::open(&self.home.store_file(), sealer)?)
    }
}
