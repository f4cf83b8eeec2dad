//! What is wrong with a record of the reference server, and where all of that is noted.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use serde_json::json;
use thiserror::Error;

use crate::error::CommandError;

/// Records that are told of in words; all are in the file, and are counted.
const TOLD_MAX: usize = 20;

/// Why a record is not taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Error)]
pub(super) enum Flaw {
    /// More bytes than a record can have.
    #[error("it is longer than any record")]
    TooLong,
    /// The last line, without its end.
    #[error("it is cut off")]
    CutOff,
    /// Bytes that no record has.
    #[error("it is no text")]
    NotText,
    /// A tag that no version has, or a form that the reference server does not read any more either.
    #[error("its kind is not known")]
    UnknownKind,
    /// A value that is missing or cannot be.
    #[error("its {0} is missing or damaged")]
    Value(&'static str),
    /// Something behind its end.
    #[error("it goes on behind its end")]
    Surplus,
    /// It is about a queue that no record made.
    #[error("its queue is not known")]
    NoQueue,
    /// It is about a service that no record made.
    #[error("its service is not known")]
    NoService,
    /// The queue has another key, link or the like.
    #[error("it contradicts what was recorded before: {0}")]
    Contradiction(&'static str),
    /// Two queues, or services, have this in common.
    #[error("its {0} belongs to another, too")]
    Taken(&'static str),
    /// A file of messages is not there, or too short.
    #[error("{0}")]
    Journal(&'static str),
}

/// A flaw with its place, such as `smp-server-store.log:17`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// File and line, or table and row.
    pub place: String,
    /// What is wrong, in words.
    pub flaw: String,
}

/// Collects what is left out.
pub(super) struct Damages {
    list: Option<BufWriter<File>>,
    count: u64,
    first: Vec<Damage>,
    kinds: BTreeMap<Flaw, u64>,
    /// Whether one is enough to end the import.
    ends: bool,
}

impl Damages {
    /// Damage is listed in a file that must not exist yet; without one it is only counted, and the first is kept.
    pub(super) fn listed_in(path: Option<&Path>) -> anyhow::Result<Self> {
        let open = |path: &Path| {
            let file = File::options().write(true).create_new(true).mode(0o600).open(path);
            file.map(BufWriter::new).with_context(|| {
                format!("Unable to make {}: choose a file that is not there", path.display())
            })
        };
        let list = path.map(open).transpose()?;
        Ok(Self { list, count: 0, first: Vec::new(), kinds: BTreeMap::new(), ends: false })
    }

    /// Notes one.
    pub(super) fn note(&mut self, place: String, flaw: Flaw) -> anyhow::Result<()> {
        self.count = self.count.saturating_add(1);
        let of_kind = self.kinds.entry(flaw).or_default();
        *of_kind = of_kind.saturating_add(1);
        let damage = Damage { place, flaw: flaw.to_string() };
        if let Some(list) = &mut self.list {
            writeln!(list, "{}", json!({ "place": damage.place, "flaw": damage.flaw }))
                .context("Unable to list what is damaged")?;
        }
        if self.first.len() < TOLD_MAX {
            self.first.push(damage);
        }
        self.end()
    }

    /// From now on, and with what was noted, damage ends the import.
    pub(super) fn end_the_import(&mut self) -> anyhow::Result<()> {
        self.ends = true;
        self.end()
    }

    fn end(&self) -> anyhow::Result<()> {
        match self.first.first() {
            Some(Damage { place, flaw }) if self.ends => {
                let (count, first) = (self.count, format!("{place}: {flaw}"));
                Err(CommandError::DamagedReference { count, first }.into())
            }
            _ => Ok(()),
        }
    }

    /// How much was noted.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The first of it, and how often there is which.
    pub(super) fn finish(mut self) -> anyhow::Result<(Vec<Damage>, BTreeMap<String, u64>)> {
        if let Some(list) = &mut self.list {
            list.flush()
                .and_then(|()| list.get_ref().sync_all())
                .context("Unable to list what is damaged")?;
        }
        let kinds = self.kinds.into_iter().map(|(flaw, count)| (flaw.to_string(), count)).collect();
        Ok((self.first, kinds))
    }
}
