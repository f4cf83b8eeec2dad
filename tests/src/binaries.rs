//! Builds the programs under test.
//!
//! `cargo test` does not build other packages' binaries, so that a test could run stale ones. The first caller in a
//! process builds them; cargo itself keeps concurrent callers apart.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context as _, bail};

/// Whether the programs have their crash points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Build {
    /// As users run them.
    Plain,
    /// With the feature `crash-points`: for tests alone.
    CrashPoints,
}

/// Where the three programs are.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// `smp-server`
    pub server: PathBuf,
    /// `chat-relay`
    pub relay: PathBuf,
    /// `conclave`
    pub client: PathBuf,
}

/// The programs with crash points, built at the first call in this process.
///
/// # Panics
/// When they do not build: nothing can be tested then.
pub fn tested() -> &'static Binaries {
    static BINARIES: OnceLock<Binaries> = OnceLock::new();
    BINARIES.get_or_init(|| build(Build::CrashPoints).expect("the programs under test build"))
}

/// Builds the programs and says where they are.
///
/// # Errors
/// When cargo fails; its own words go to stderr.
pub fn build(build: Build) -> anyhow::Result<Binaries> {
    let mut arguments = vec!["-p", "smp-server", "-p", "chat-relay", "-p", "client"];
    if build == Build::CrashPoints {
        arguments.extend(["--features", "crash-points"]);
    }
    let mut executables = executables(&arguments)?;
    let mut take = |name: &str| executables.remove(name).with_context(|| format!("cargo built no {name}"));
    let built =
        Binaries { server: take("smp-server")?, relay: take("chat-relay")?, client: take("conclave")? };
    if build == Build::CrashPoints { keep(&built) } else { Ok(built) }
}

/// Links the test builds beside the plain ones, so that a later plain build does not replace them under a test.
fn keep(built: &Binaries) -> anyhow::Result<Binaries> {
    let link = |path: &PathBuf| -> anyhow::Result<PathBuf> {
        let directory = path.with_file_name("with-crash-points");
        std::fs::create_dir_all(&directory)?;
        let kept = directory.join(path.file_name().context("An executable has a name")?);
        let fresh = kept.with_extension(std::process::id().to_string());
        std::fs::copy(path, &fresh)?;
        std::fs::rename(&fresh, &kept)?;
        Ok(kept)
    };
    Ok(Binaries { server: link(&built.server)?, relay: link(&built.relay)?, client: link(&built.client)? })
}

/// Builds the queue server alone, as users run it.
///
/// # Errors
/// As [`build`].
pub fn server() -> anyhow::Result<PathBuf> {
    executables(&["-p", "smp-server"])?.remove("smp-server").context("cargo built no smp-server")
}

/// Builds programs; name to path of every executable that cargo reports.
fn executables(arguments: &[&str]) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root).args([
        "build",
        "--quiet",
        "--bins",
        "--message-format=json-render-diagnostics",
    ]);
    let output = command.args(arguments).stderr(Stdio::inherit()).output().context("Unable to run cargo")?;
    if !output.status.success() {
        bail!("cargo build of the programs failed");
    }
    Ok(String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|message| {
            let path = message.get("executable")?.as_str()?.to_owned();
            let name = message.get("target")?.get("name")?.as_str()?.to_owned();
            Some((name, PathBuf::from(path)))
        })
        .collect())
}
