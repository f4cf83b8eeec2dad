//! The settings file of the reference server, smp-server.ini.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, bail};

/// A settings file is far below this.
const INI_BYTES_MAX: u64 = 1 << 20;

/// Sections with their keys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Ini(BTreeMap<String, BTreeMap<String, String>>);

impl Ini {
    /// Reads a file.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let length = std::fs::metadata(path).map(|found| found.len());
        let length = length.with_context(|| {
            format!(
                "Unable to read {}: name the directory of the reference server's settings",
                path.display()
            )
        })?;
        if length > INI_BYTES_MAX {
            bail!("{} is no settings file: it has {length} bytes", path.display());
        }
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("Unable to read {}: run this as its user", path.display()))?;
        Self::parse(&text).with_context(|| format!("Unable to understand {}", path.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut sections: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        let mut section = None;
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                section = Some(sections.entry(name.trim().to_owned()).or_default());
                continue;
            }
            // The value would be a secret if this is the line of a password.
            let wrong =
                || format!("Line {} is neither a section nor a key with its value", number.saturating_add(1));
            let (key, value) = line.split_once(['=', ':']).with_context(wrong)?;
            let section = section.as_mut().with_context(wrong)?;
            section.insert(key.trim().to_owned(), value.trim().to_owned());
        }
        Ok(Self(sections))
    }

    /// A value.
    pub(super) fn get(&self, section: &str, key: &str) -> Option<&str> {
        self.0.get(section)?.get(key).map(String::as_str)
    }

    /// A switch; nothing when the key is missing.
    pub(super) fn switch(&self, section: &str, key: &str) -> anyhow::Result<Option<bool>> {
        match self.get(section, key) {
            None => Ok(None),
            Some("on") => Ok(Some(true)),
            Some("off") => Ok(Some(false)),
            Some(_) => bail!("[{section}] {key} is neither `on` nor `off`"),
        }
    }

    /// All keys with their sections and values.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.0.iter().flat_map(|(section, keys)| {
            keys.iter().map(|(key, value)| (section.as_str(), key.as_str(), value.as_str()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_keys_and_comments() {
        let ini = Ini::parse("# c\n[A]\nx = 1\n ; y\n\n[ B ]\nx=a = b\ny: off\n").unwrap();
        let entries: Vec<_> = ini.entries().collect();
        assert_eq!(entries, [("A", "x", "1"), ("B", "x", "a = b"), ("B", "y", "off")]);
        assert_eq!(ini.switch("B", "y").unwrap(), Some(false));
        assert!(ini.switch("A", "x").is_err() && ini.switch("A", "z").unwrap().is_none());
        for wrong in ["x = 1", "[A]\nx"] {
            assert!(Ini::parse(wrong).is_err(), "{wrong}");
        }
    }
}
