//! Whether the reference server still runs: it locks nothing, so this is seen by what it does.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// A file as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    inode: u64,
    length: u64,
    changed_at: (i64, i64),
}

/// Files that must not change while they are read.
#[derive(Debug)]
pub(super) struct Watch(Vec<(PathBuf, Option<Seen>)>);

impl Watch {
    /// Notes how they are.
    pub(super) fn begin(paths: &[&Path]) -> anyhow::Result<Self> {
        let seen = paths.iter().map(|path| Ok(((*path).to_owned(), seen(path)?)));
        seen.collect::<anyhow::Result<Vec<_>>>().map(Self)
    }

    /// The first of them that is not as it was.
    pub(super) fn changed(&self) -> anyhow::Result<Option<&Path>> {
        for (path, before) in &self.0 {
            if seen(path)? != *before {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }
}

fn seen(path: &Path) -> anyhow::Result<Option<Seen>> {
    match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        found => {
            let found = found.with_context(|| format!("Unable to read {}", path.display()))?;
            let changed_at = (found.ctime(), found.ctime_nsec());
            Ok(Some(Seen { inode: found.ino(), length: found.len(), changed_at }))
        }
    }
}

/// The process that has a file open, as far as this user may see: all processes of its own, and of everybody for root.
pub(super) fn holder(path: &Path) -> Option<u32> {
    let path = path.canonicalize().ok()?;
    let own = std::process::id();
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    numbers.filter(|number| *number != own).find(|number| {
        let Ok(open) = fs::read_dir(format!("/proc/{number}/fd")) else { return false };
        open.flatten().any(|entry| fs::read_link(entry.path()).is_ok_and(|open| open == path))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_grows_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let (one, other) = (directory.path().join("one"), directory.path().join("other"));
        fs::write(&one, "a").unwrap();
        let watch = Watch::begin(&[&one, &other]).unwrap();
        assert_eq!(watch.changed().unwrap(), None);
        fs::write(&other, "").unwrap();
        assert_eq!(watch.changed().unwrap(), Some(other.as_path()));
        fs::write(&one, "ab").unwrap();
        assert_eq!(watch.changed().unwrap(), Some(one.as_path()));
    }

    #[test]
    fn a_process_that_has_a_file_open_is_seen() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(holder(file.path()), None, "our own does not count");
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .stdout(fs::File::options().append(true).open(file.path()).unwrap())
            .spawn()
            .unwrap();
        assert_eq!(holder(file.path()), Some(child.id()));
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
