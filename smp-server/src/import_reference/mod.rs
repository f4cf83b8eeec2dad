//! A server of the reference implementation (simplexmq's smp-server), taken over with its address and its queues
//! (smp.md §18.2, §18.3).
//!
//! ```text
//! smp-server.ini ──settings──▶ smp-server.toml          ca.*, server.* ──checked──▶ the same identity
//! store log or PostgreSQL ──records──▶ staging ──queues as they are at the end──▶ ┐
//! message log, journals or PostgreSQL ──messages, in the order of each queue──▶   ├──▶ store that holds nothing yet
//! notifications log ──────────────────────────────────────────────────────────▶   ┘
//! ```
//!
//! What is read is never changed. A record is taken as it is or not at all: a damaged one is told with its place, and
//! ends the import unless the operator wants the rest without it. Memory holds a page of queues and a message at a
//! time.

mod certificates;
mod database;
mod flaw;
mod ini;
mod journal;
mod lines;
mod message;
mod message_log;
mod messages;
mod notifications;
mod settings;
mod staging;
mod store_log;
#[cfg(test)]
mod tests;
mod watch;
mod words;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

pub use flaw::Damage;
pub use settings::Left;

use crate::config::SettingsLayer;
use crate::store::{Created, QueueStore, Totals};
use certificates::Certificates;
use database::Database;
use flaw::{Damages, Flaw};
use ini::Ini;
use lines::Lines;
use messages::Messages;
use settings::{Messages as MessagesIn, Stores, Translated};
use staging::{Applied, Staging};
use watch::Watch;

/// Queues that are stored by one commit.
const QUEUES_PER_COMMIT: u32 = 256;
/// How many records or messages lie between two signs of progress.
const TOLD_EVERY: u64 = 4096;
/// The variable that gives the connection string of the reference server's database, in place of the ini file's.
const POSTGRES_VARIABLE: &str = "SMP_SERVER_REFERENCE_POSTGRES";

/// A reference server, as its settings and certificates tell of it.
pub struct Reference {
    data: PathBuf,
    stores: Stores,
    settings: Translated,
    certificates: Certificates,
}

impl std::fmt::Debug for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reference").field("data", &self.data).finish_non_exhaustive()
    }
}

/// Where what is stored goes.
pub struct Target<'a> {
    /// Holds nothing yet.
    pub store: &'a mut (dyn QueueStore + 'static),
    /// A file that does not exist yet, for as long as the import lasts.
    pub staging: &'a Path,
    /// A file that does not exist yet, for notifications.
    pub notifications: &'a Path,
}

impl std::fmt::Debug for Target<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target").field("notifications", &self.notifications).finish_non_exhaustive()
    }
}

/// What was taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Services, queues and messages.
    pub totals: Totals,
    /// Notifications.
    pub notifications: u64,
    /// Records and messages that count no more, since their queue is deleted.
    pub late: u64,
    /// How many records are damaged, and left out.
    pub damaged: u64,
    /// The first of them.
    pub damages: Vec<Damage>,
    /// How many there are of each kind.
    pub flaws: BTreeMap<String, u64>,
    /// What else the operator should know.
    pub notes: Vec<String>,
}

/// How far it is.
pub struct Progress {
    totals: Totals,
    records: u64,
    late: u64,
    told: u64,
    hear: Box<dyn FnMut(u64, Totals)>,
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Progress").field("totals", &self.totals).finish_non_exhaustive()
    }
}

impl Progress {
    /// `hear` is told now and then of the records read and of what is stored.
    #[must_use]
    pub fn new(hear: Box<dyn FnMut(u64, Totals)>) -> Self {
        Self { totals: Totals::default(), records: 0, late: 0, told: 0, hear }
    }

    fn tell(&mut self) {
        self.told = self.told.saturating_add(1);
        if self.told.is_multiple_of(TOLD_EVERY) {
            (self.hear)(self.records, self.totals);
        }
    }
}

impl Reference {
    /// Reads the settings and certificates in one directory; what is stored is in the other.
    ///
    /// # Errors
    /// When they cannot be read, or the certificates are not those of one server.
    pub fn open(settings: &Path, data: &Path) -> anyhow::Result<Self> {
        let ini = Ini::read(&settings.join("smp-server.ini"))?;
        let mut stores = settings::stores(&ini)?;
        if let (Stores::Database { connection, .. }, Ok(other)) =
            (&mut stores, std::env::var(POSTGRES_VARIABLE))
        {
            *connection = other;
        }
        let certificates = Certificates::read(settings)?;
        Ok(Self { data: data.to_owned(), stores, settings: settings::translate(&ini)?, certificates })
    }

    /// Its settings, as far as they have a counterpart.
    #[must_use]
    pub fn layer(&self) -> SettingsLayer {
        self.settings.layer.clone()
    }

    /// Its settings without a counterpart.
    #[must_use]
    pub fn left(&self) -> &[Left] {
        &self.settings.left
    }

    /// The password for creating queues.
    #[must_use]
    pub fn create_password(&self) -> Option<&str> {
        self.settings.create_password.as_deref()
    }

    /// The key hash of its address.
    #[must_use]
    pub fn key_hash(&self) -> [u8; 32] {
        self.certificates.identity.key_hash()
    }

    /// Whether the key of its identity is among its certificates.
    #[must_use]
    pub fn has_ca_key(&self) -> bool {
        self.certificates.has_ca_key()
    }

    /// Writes certificates and keys into a directory that has none.
    ///
    /// # Errors
    /// When a file exists or cannot be written.
    pub fn write_identity(&self, directory: &Path) -> anyhow::Result<()> {
        self.certificates.write(directory)
    }

    /// Takes over all that is stored; without a target it only looks. What is damaged is listed in the file and left
    /// out; without a file it ends the import.
    ///
    /// # Errors
    /// [`CommandError::DamagedReference`](crate::error::CommandError::DamagedReference), or when something cannot be read or stored, or changes meanwhile. What was
    /// committed until then stays in the target.
    pub fn take_over(
        &self,
        mut target: Option<Target<'_>>,
        leave_out: Option<&Path>,
        mut progress: Progress,
    ) -> anyhow::Result<Taken> {
        let is_check = target.is_none();
        let files = self.files()?;
        let watch = Watch::begin(&[&files.store_log, &files.messages, &files.notifications])?;
        let mut notes = Vec::new();
        let mut damages = Damages::listed_in(leave_out)?;
        let mut database = self.expect_stopped(&files, is_check, &mut notes)?;
        let mut staging = Staging::begin(target.as_ref().map(|target| target.staging))?;
        self.read_queues(&files, database.as_mut(), &mut staging, &mut damages, &mut progress, &mut notes)?;
        if !is_check && leave_out.is_none() {
            damages.end_the_import()?;
        }
        match &mut target {
            Some(target) => store_queues(target.store, &staging, &mut progress)?,
            None => progress.totals = staging.totals()?,
        }
        let store = target.as_mut().map(|target| &mut *target.store);
        let mut messages = Messages::into(store, &staging, &mut damages, &mut progress)?;
        self.read_messages(&files, database.as_mut(), &mut messages, &mut notes)?;
        messages.finish()?;
        let into = target.as_ref().map(|target| target.notifications);
        let notifications = take_notifications(&files.notifications, into, &mut damages)?;
        if let Some(path) = watch.changed()? {
            let changed = format!("{} changed while it was read", path.display());
            if !is_check {
                bail!("{changed}: stop the reference server, and import once more");
            }
            notes.push(format!("{changed}: the reference server runs"));
        }
        if let Some(target) = &mut target {
            let counts = target.store.open_reader()?.counts()?;
            ensure!(
                (counts.queues, counts.messages) == (progress.totals.queues, progress.totals.messages),
                "{:?} were read but {counts:?} are stored",
                progress.totals
            );
        }
        let damaged = damages.count();
        let (damages, flaws) = damages.finish()?;
        let (totals, late) = (progress.totals, progress.late);
        Ok(Taken { totals, notifications, late, damaged, damages, flaws, notes })
    }

    /// Connects to its database, if it has one. Fails when the reference server runs, as far as that can be seen; in a
    /// check it may.
    fn expect_stopped(
        &self,
        files: &Files,
        is_check: bool,
        notes: &mut Vec<String>,
    ) -> anyhow::Result<Option<Database>> {
        let holder = watch::holder(&files.store_log)
            .map(|process| format!("process {process} has {} open", files.store_log.display()));
        let mut database = match &self.stores {
            Stores::Database { connection, schema, .. } => Some(Database::connect(connection, schema)?),
            Stores::Nowhere | Stores::Files(_) => None,
        };
        let sessions = match &mut database {
            Some(database) => database.other_sessions()?,
            None => 0,
        };
        let sessions =
            (sessions > 0).then(|| format!("{sessions} other sessions of its user are open in the database"));
        for sign in [holder, sessions].into_iter().flatten() {
            if !is_check {
                bail!("{sign}: stop the reference server first; `--check` looks at one that runs");
            }
            notes.push(format!("{sign}: what is found now may change"));
        }
        Ok(database)
    }

    fn read_queues(
        &self,
        files: &Files,
        database: Option<&mut Database>,
        staging: &mut Staging,
        damages: &mut Damages,
        progress: &mut Progress,
        notes: &mut Vec<String>,
    ) -> anyhow::Result<()> {
        match (&self.stores, database) {
            (Stores::Database { .. }, Some(database)) => {
                database.read_queues(staging, damages, progress)?;
                staging.settle(damages, &database::queue_row)
            }
            (Stores::Files(_), _) => {
                if files.is_compaction_unfinished {
                    notes.push(format!(
                        "the compaction of the store log was interrupted: {} is read, as it would be at a start",
                        files.store_log.display()
                    ));
                }
                read_store_log(&files.store_log, staging, damages, progress)?;
                staging.settle(damages, &|line| at(&files.store_log, line))
            }
            (Stores::Nowhere | Stores::Database { .. }, _) => {
                notes.push("the store log is off: there are no queues to take over".to_owned());
                Ok(())
            }
        }
    }

    fn read_messages(
        &self,
        files: &Files,
        database: Option<&mut Database>,
        messages: &mut Messages<'_>,
        notes: &mut Vec<String>,
    ) -> anyhow::Result<()> {
        match (self.messages_in(), database) {
            (MessagesIn::Database, Some(database)) => database.read_messages(messages),
            (MessagesIn::Journals, _) if files.journals.exists() => journal::read(&files.journals, messages),
            (MessagesIn::File, _) if files.messages.exists() => message_log::read(&files.messages, messages),
            (MessagesIn::File, _) => messages.damages.note(
                files.messages.display().to_string(),
                Flaw::Journal(
                    "there is no such file: the server did not end by itself, so that its messages are not on disk; \
                     start it and stop it by SIGINT",
                ),
            ),
            (MessagesIn::Journals | MessagesIn::Database, _) => Ok(()),
            (MessagesIn::Nowhere, _) => {
                notes.push("this server does not keep messages: there are none to take over".to_owned());
                Ok(())
            }
        }
    }

    fn messages_in(&self) -> MessagesIn {
        match &self.stores {
            Stores::Nowhere => MessagesIn::Nowhere,
            Stores::Files(messages) | Stores::Database { messages, .. } => *messages,
        }
    }

    /// Its files, after a look at whether they fit the settings.
    fn files(&self) -> anyhow::Result<Files> {
        let at = |name: &str| self.data.join(name);
        let unfinished = at("smp-server-store.log.start");
        let is_compaction_unfinished = unfinished.exists();
        let store_log = if is_compaction_unfinished { unfinished } else { at("smp-server-store.log") };
        let (messages, journals) = (at("smp-server-messages.log"), at("messages"));
        if matches!(self.stores, Stores::Files(_)) && !store_log.exists() {
            bail!(
                "There is no {}: name the directory of the reference server's data, or run this as its user",
                store_log.display()
            );
        }
        let other = match self.messages_in() {
            MessagesIn::File => Some(&journals),
            MessagesIn::Journals => Some(&messages),
            MessagesIn::Nowhere | MessagesIn::Database => None,
        };
        if let Some(other) = other.filter(|other| other.exists()) {
            bail!(
                "{} is there, but store_messages of the ini file says that messages are elsewhere: the reference \
                 server does not start like this; move away what is not in use",
                other.display()
            );
        }
        let notifications = at("smp-server-ntfs.log");
        Ok(Files { store_log, is_compaction_unfinished, messages, journals, notifications })
    }
}

/// Where the reference server keeps what it stores.
struct Files {
    store_log: PathBuf,
    is_compaction_unfinished: bool,
    messages: PathBuf,
    journals: PathBuf,
    notifications: PathBuf,
}

fn read_store_log(
    path: &Path,
    staging: &mut Staging,
    damages: &mut Damages,
    progress: &mut Progress,
) -> anyhow::Result<()> {
    let mut lines = Lines::new(BufReader::new(open(path)?));
    while let Some((number, line)) =
        lines.next().with_context(|| format!("Unable to read {}", path.display()))?
    {
        let applied = match line.and_then(store_log::record) {
            Ok(record) => staging.apply(number, &record)?,
            Err(flaw) => Err(flaw),
        };
        match applied {
            Ok(Applied::Done) => {}
            Ok(Applied::Late) => progress.late = progress.late.saturating_add(1),
            Err(flaw) => damages.note(at(path, number), flaw)?,
        }
        progress.records = progress.records.saturating_add(1);
        progress.tell();
    }
    Ok(())
}

/// Stores all services and queues.
fn store_queues(
    store: &mut (dyn QueueStore + 'static),
    staging: &Staging,
    progress: &mut Progress,
) -> anyhow::Result<()> {
    store.begin()?;
    for service in &staging.services()? {
        store.add_service(service)?;
        progress.totals.services = progress.totals.services.saturating_add(1);
    }
    store.commit()?;
    let mut after = 0;
    loop {
        let page = staging.queues_after(after, QUEUES_PER_COMMIT)?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = *last;
        store.begin()?;
        for (row, queue) in &page {
            let Created::Stored(number) = store.restore_queue(queue)? else {
                bail!("A queue has an id of another one in the store: is anybody else writing to it?")
            };
            staging.stored(*row, number)?;
            progress.totals.queues = progress.totals.queues.saturating_add(1);
            progress.tell();
        }
        store.commit()?;
    }
}

/// Takes notifications over into a file; without one they are only read. How many there are.
fn take_notifications(from: &Path, into: Option<&Path>, damages: &mut Damages) -> anyhow::Result<u64> {
    match into {
        _ if !from.exists() => Ok(0),
        None => notifications::convert(from, &mut std::io::sink(), damages),
        Some(path) => {
            let context = || format!("Unable to write {}", path.display());
            let file = File::options().write(true).create_new(true).mode(0o600).open(path);
            let mut out = BufWriter::new(file.with_context(context)?);
            let count = notifications::convert(from, &mut out, damages)?;
            out.get_ref().sync_all().with_context(context)?;
            Ok(count)
        }
    }
}

fn open(path: &Path) -> anyhow::Result<File> {
    File::open(path).with_context(|| format!("Unable to read {}: run this as its user", path.display()))
}

/// A line of a file.
fn at(path: &Path, line: u64) -> String {
    format!("{}:{line}", path.display())
}
