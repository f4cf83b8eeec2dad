//! Sealed files: a whole home, or what the owner of one group needs to go on elsewhere.
//!
//! ```text
//! file  = "conclave archive 1" LF  kind LF  key slot as JSON LF  1*piece
//! piece = length(4, BE) sealed( number(8, BE) last(1) bytes )          at most 64 KiB of bytes each
//! ```
//!
//! Pieces are numbered and the last one says so, so that none can be cut off, swapped or left out.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use zeroize::Zeroizing;

use crate::error::CommandError;
use crate::exit_code::ExitCode;
use crate::home::Home;
use crate::seal::{KeySlot, Sealer, Secret, write_private, write_slot};
use crate::store::Store;
use crate::store::group::GroupId;
use protocol::net::rng::system_rng;

const MAGIC: &str = "conclave archive 1";
const PIECE_BYTES_MAX: usize = 64 * 1024;
/// Nonce, tag, number and end mark.
const PIECE_OVERHEAD_BYTES: usize = 24 + 16 + 8 + 1;
/// The head's lines are short; more is no archive.
const HEAD_LINE_BYTES_MAX: u64 = 4096;
/// Owner keys are small; a larger file is none.
const OWNER_BYTES_MAX: usize = 16 * 1024 * 1024;
const COLUMN: &str = "archive";

/// What an archive holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Home,
    Owner,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Home => "home",
            Self::Owner => "owner",
        }
    }
}

/// A path that means the same to the process that holds the home.
///
/// # Errors
/// When the path is not text.
pub(crate) fn absolute(path: &Path) -> Result<String, CommandError> {
    let path = std::path::absolute(path).with_context(|| format!("Unable to use {}", path.display()))?;
    path.into_os_string()
        .into_string()
        .map_err(|path| CommandError::new(ExitCode::Usage, format_args!("{} is not text", path.display())))
}

/// Writes the whole home. The copy knows that it is one, so that its connections agree on new keys.
///
/// # Errors
/// When the file exists or the disk refuses.
pub(crate) fn export_home(
    store: &Store,
    path: &Path,
    passphrase: Zeroizing<String>,
) -> Result<(), CommandError> {
    let slot_file = store.home_directory()?.join("key.toml");
    let slot =
        std::fs::read(&slot_file).with_context(|| format!("Unable to read {}", slot_file.display()))?;
    let copy = store.home_directory()?.join("export.db");
    remove_if_there(&copy)?;
    store.copy_to_as_backup(&copy)?;
    let write = || -> anyhow::Result<()> {
        let mut pieces = PieceWriter::create(path, Kind::Home, passphrase)?;
        let length = u32::try_from(slot.len()).context("The key slot is too long")?;
        pieces.write_all(&length.to_be_bytes())?;
        pieces.write_all(&slot)?;
        let mut file =
            std::fs::File::open(&copy).with_context(|| format!("Unable to read {}", copy.display()))?;
        std::io::copy(&mut file, &mut pieces)
            .with_context(|| format!("Unable to write {}", path.display()))?;
        pieces.finish()
    };
    let written = write();
    remove_if_there(&copy)?;
    Ok(written?)
}

/// Makes a home out of an archive.
///
/// # Errors
/// When a home is there already, the file is no archive of a home, or the passphrase is wrong.
pub(crate) fn import_home(
    home: &Home,
    path: &Path,
    passphrase: Zeroizing<String>,
) -> Result<(), CommandError> {
    let mut pieces = PieceReader::open(path, Kind::Home, passphrase)?;
    home.create()?;
    let _lock = home.lock_or(|| None::<()>)?;
    let mut length = [0; 4];
    pieces.read_exact(&mut length).context("The archive is cut")?;
    let length = u64::from(u32::from_be_bytes(length));
    if length > HEAD_LINE_BYTES_MAX {
        return Err(CommandError::new(ExitCode::Failure, "The archive is damaged"));
    }
    let mut slot = String::new();
    pieces.by_ref().take(length).read_to_string(&mut slot).context("The archive is cut")?;
    let slot: KeySlot = toml::from_str(&slot).context("The archive is damaged")?;
    remove_if_there(&home.store_file())?;
    let mut file = std::fs::OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(home.store_file())
        .context("Unable to write the store")?;
    std::io::copy(&mut pieces, &mut file).context("Unable to take over the archive")?;
    file.sync_all().context("Unable to write the store")?;
    // Last, because its presence says that the home is whole.
    write_slot(&home.key_file(), &slot)?;
    Ok(())
}

/// Writes what the owner of a group needs to go on elsewhere.
///
/// # Errors
/// When the group is not ours, the file exists, or the disk refuses.
pub(crate) fn export_group(
    store: &mut Store,
    group: GroupId,
    path: &Path,
    passphrase: Zeroizing<String>,
) -> Result<(), CommandError> {
    let bytes = Zeroizing::new(
        serde_json::to_vec(&store.owner_archive(group)?).context("Unable to write down the keys")?,
    );
    let mut pieces = PieceWriter::create(path, Kind::Owner, passphrase)?;
    pieces.write_all(&bytes).with_context(|| format!("Unable to write {}", path.display()))?;
    Ok(pieces.finish()?)
}

/// Reads what [`export_group`] wrote.
///
/// # Errors
/// When the file is none of that, or the passphrase is wrong.
pub(crate) fn read_group(
    path: &Path,
    passphrase: Zeroizing<String>,
) -> Result<crate::store::owner_archive::OwnerArchive, CommandError> {
    let mut pieces = PieceReader::open(path, Kind::Owner, passphrase)?;
    let mut bytes = Zeroizing::new(Vec::new());
    pieces.by_ref().take(OWNER_BYTES_MAX as u64).read_to_end(&mut bytes).context("The archive is damaged")?;
    Ok(serde_json::from_slice(&bytes).context("The archive is damaged, or of another version")?)
}

fn remove_if_there(path: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("Unable to remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Seals what is written to it, piece by piece.
struct PieceWriter {
    file: std::fs::File,
    sealer: Sealer,
    number: u64,
    pending: Zeroizing<Vec<u8>>,
}

impl PieceWriter {
    fn create(path: &Path, kind: Kind, passphrase: Zeroizing<String>) -> Result<Self, CommandError> {
        if path.exists() {
            return Err(CommandError::new(
                ExitCode::AlreadyThere,
                format_args!("{} exists already", path.display()),
            )
            .hint("Name another file."));
        }
        let (sealer, slot) = Sealer::create(&Secret::Passphrase(passphrase), &mut system_rng())?;
        let slot = serde_json::to_string(&slot).context("Unable to write down the key slot")?;
        write_private(path, format!("{MAGIC}\n{}\n{slot}\n", kind.word()).as_bytes())?;
        let file = std::fs::OpenOptions::new()
            .append(true)
            .open(path)
            .with_context(|| format!("Unable to write {}", path.display()))?;
        Ok(Self { file, sealer, number: 0, pending: Zeroizing::new(Vec::new()) })
    }

    fn finish(mut self) -> anyhow::Result<()> {
        self.put(true).context("Unable to write the archive")?;
        self.file.sync_all().context("Unable to write the archive")
    }

    fn put(&mut self, last: bool) -> std::io::Result<()> {
        let mut plain = Zeroizing::new(self.number.to_be_bytes().to_vec());
        plain.push(u8::from(last));
        plain.append(&mut self.pending);
        let sealed = self.sealer.seal(COLUMN, &plain, &mut system_rng());
        let length = u32::try_from(sealed.len()).map_err(std::io::Error::other)?;
        self.file.write_all(&length.to_be_bytes())?;
        self.file.write_all(&sealed)?;
        self.number = self.number.saturating_add(1);
        Ok(())
    }
}

impl Write for PieceWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.pending.len() >= PIECE_BYTES_MAX {
            self.put(false)?;
        }
        let room = PIECE_BYTES_MAX.saturating_sub(self.pending.len());
        let (now, _) = bytes.split_at(room.min(bytes.len()));
        self.pending.extend_from_slice(now);
        Ok(now.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// Opens what [`PieceWriter`] sealed.
struct PieceReader {
    file: BufReader<std::fs::File>,
    sealer: Sealer,
    number: u64,
    last: bool,
    pending: Zeroizing<Vec<u8>>,
    taken: usize,
}

impl PieceReader {
    fn open(path: &Path, kind: Kind, passphrase: Zeroizing<String>) -> Result<Self, CommandError> {
        let file = std::fs::File::open(path).with_context(|| format!("Unable to open {}", path.display()))?;
        let mut file = BufReader::new(file);
        let mut line = || -> anyhow::Result<String> {
            let mut line = String::new();
            file.by_ref().take(HEAD_LINE_BYTES_MAX).read_line(&mut line)?;
            Ok(line.trim_end().to_owned())
        };
        let head = || -> anyhow::Result<(String, KeySlot)> {
            if line()? != MAGIC {
                bail!("it does not begin like one");
            }
            Ok((line()?, serde_json::from_str(&line()?)?))
        };
        let (found, slot) = { head }().map_err(|error| {
            CommandError::new(
                ExitCode::Usage,
                format_args!("{} is not an archive: {error:#}", path.display()),
            )
            .hint("Name a file that `conclave export` wrote.")
        })?;
        if found != kind.word() {
            let hint = match kind {
                Kind::Home => "Take it over with `conclave import --group`.",
                Kind::Owner => "Take it over without --group.",
            };
            return Err(CommandError::new(ExitCode::Usage, "The archive holds something else").hint(hint));
        }
        let sealer =
            Sealer::open_slot(&slot, &Secret::Passphrase(passphrase)).map_err(|error| match error {
                CommandError { kind: ExitCode::WrongSecret, .. } => CommandError {
                    kind: ExitCode::WrongSecret,
                    message: "The passphrase does not fit this archive".into(),
                    hints: vec![
                        "It is the one given at `conclave export`; check CONCLAVE_ARCHIVE_PASSPHRASE.".into(),
                    ],
                },
                other => other,
            })?;
        Ok(Self { file, sealer, number: 0, last: false, pending: Zeroizing::new(Vec::new()), taken: 0 })
    }

    fn next_piece(&mut self) -> std::io::Result<()> {
        let damaged =
            || std::io::Error::new(std::io::ErrorKind::InvalidData, "the archive is damaged or cut");
        let mut length = [0; 4];
        self.file.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > PIECE_BYTES_MAX + PIECE_OVERHEAD_BYTES {
            return Err(damaged());
        }
        let mut sealed = vec![0; length];
        self.file.read_exact(&mut sealed)?;
        let plain = self.sealer.open(COLUMN, &sealed).map_err(|_| damaged())?;
        let (number, rest) = plain.split_first_chunk::<8>().ok_or_else(damaged)?;
        let (last, bytes) = rest.split_first().ok_or_else(damaged)?;
        if u64::from_be_bytes(*number) != self.number {
            return Err(damaged());
        }
        self.number = self.number.saturating_add(1);
        self.last = *last == 1;
        self.pending = Zeroizing::new(bytes.to_vec());
        self.taken = 0;
        Ok(())
    }
}

impl Read for PieceReader {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        while self.taken == self.pending.len() {
            if self.last {
                return Ok(0);
            }
            self.next_piece()?;
        }
        let rest = self.pending.get(self.taken..).unwrap_or_default();
        let count = rest.len().min(into.len());
        for (to, from) in into.iter_mut().zip(rest) {
            *to = *from;
        }
        self.taken = self.taken.saturating_add(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passphrase() -> Zeroizing<String> {
        Zeroizing::new("archive".to_owned())
    }

    fn write(path: &Path, bytes: &[u8]) {
        let mut pieces = PieceWriter::create(path, Kind::Owner, passphrase()).unwrap();
        pieces.write_all(bytes).unwrap();
        pieces.finish().unwrap();
    }

    fn read(path: &Path) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        PieceReader::open(path, Kind::Owner, passphrase()).unwrap().read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    #[test]
    fn what_is_written_is_read_and_a_cut_is_noticed() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("archive");
        let bytes: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        write(&path, &bytes);
        assert_eq!(read(&path).unwrap(), bytes);
        assert_eq!(
            PieceWriter::create(&path, Kind::Owner, passphrase()).err().unwrap().kind,
            ExitCode::AlreadyThere
        );
        let wrong = PieceReader::open(&path, Kind::Owner, Zeroizing::new("other".into())).err().unwrap();
        assert_eq!(wrong.kind, ExitCode::WrongSecret);
        assert_eq!(PieceReader::open(&path, Kind::Home, passphrase()).err().unwrap().kind, ExitCode::Usage);

        let file = std::fs::read(&path).unwrap();
        std::fs::write(&path, &file[..file.len() - 100]).unwrap();
        assert!(read(&path).is_err(), "cut");
        // Without its last piece the file ends at a boundary; only the missing mark tells.
        let last = 4 + PIECE_OVERHEAD_BYTES + bytes.len() % PIECE_BYTES_MAX;
        std::fs::write(&path, &file[..file.len() - last]).unwrap();
        assert!(read(&path).is_err(), "without its end");
    }
}
