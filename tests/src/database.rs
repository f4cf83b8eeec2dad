//! A PostgreSQL server of a test's own, stopped when dropped.

use std::path::Path;
use std::process::Command;

use anyhow::ensure;

/// A server on a socket in a temporary directory.
#[derive(Debug)]
pub struct Database {
    place: tempfile::TempDir,
    connection: String,
}

impl Database {
    /// Nothing when tests with PostgreSQL are not wanted: without `TEST_POSTGRES_URL`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start() -> anyhow::Result<Option<Self>> {
        if daemon::scratch::server().is_none() {
            return Ok(None);
        }
        let place = tempfile::tempdir()?;
        let connection = script("start", place.path())?;
        Ok(Some(Self { place, connection }))
    }

    /// How to reach it.
    #[must_use]
    pub fn connection(&self) -> &str {
        &self.connection
    }

    /// Kills it and starts it again.
    ///
    /// # Errors
    /// When it does not come back.
    pub fn restart(&self) -> anyhow::Result<()> {
        script("restart", self.place.path()).map(drop)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let _ = script("stop", self.place.path());
    }
}

fn script(action: &str, place: &Path) -> anyhow::Result<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.ci/postgres");
    let output = Command::new(script).arg(action).arg(place).output()?;
    ensure!(output.status.success(), "{action}: {output:?}");
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
