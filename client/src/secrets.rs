//! Where secrets come from: a file, the environment, or a prompt; never an argument, which every process sees.

use std::path::{Path, PathBuf};

use anyhow::Context;
use zeroize::Zeroizing;

use crate::error::CommandError;
use crate::exit_code::ExitCode;
use crate::seal::{KeySlot, Secret, read_key_file};

const PASSPHRASE: &str = "CONCLAVE_PASSPHRASE";
const ARCHIVE_PASSPHRASE: &str = "CONCLAVE_ARCHIVE_PASSPHRASE";

/// How this run gets at secrets.
#[derive(Debug, Clone)]
pub(crate) struct SecretSource {
    key_file: Option<PathBuf>,
    passphrase_file: Option<PathBuf>,
}

impl SecretSource {
    /// From the global options.
    pub(crate) fn new(key_file: Option<PathBuf>, passphrase_file: Option<PathBuf>) -> Self {
        Self { key_file, passphrase_file }
    }

    /// The key file that was named.
    pub(crate) fn key_file(&self) -> Option<&Path> {
        self.key_file.as_deref()
    }

    /// What opens this slot.
    ///
    /// # Errors
    /// When it was not given and cannot be asked for.
    pub(crate) fn for_slot(&self, slot: &KeySlot) -> Result<Secret, CommandError> {
        match (slot, &self.key_file) {
            (KeySlot::KeyFile { .. }, Some(path)) => read_key_file(path),
            (KeySlot::KeyFile { .. }, None) => {
                Err(CommandError::new(ExitCode::WrongSecret, "This home opens with a key file")
                    .hint("Name it with --key-file or CONCLAVE_KEY_FILE."))
            }
            (KeySlot::Passphrase { .. }, _) => {
                Ok(Secret::Passphrase(self.passphrase(PASSPHRASE, "Passphrase: ", false)?))
            }
        }
    }

    /// A passphrase for a new home; at a prompt it is asked for twice.
    ///
    /// # Errors
    /// When there is none, or the two differ.
    pub(crate) fn new_passphrase(&self) -> Result<Secret, CommandError> {
        self.passphrase(PASSPHRASE, "New passphrase: ", true).map(Secret::Passphrase)
    }

    /// The passphrase of an archive.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn archive_passphrase(&self, new: bool) -> Result<Zeroizing<String>, CommandError> {
        match from_environment(ARCHIVE_PASSPHRASE) {
            Some(passphrase) => not_empty(passphrase),
            None => prompt("Passphrase of the archive: ", new, ARCHIVE_PASSPHRASE),
        }
    }

    fn passphrase(
        &self,
        variable: &str,
        question: &str,
        new: bool,
    ) -> Result<Zeroizing<String>, CommandError> {
        if let Some(path) = &self.passphrase_file {
            return secret_in(path);
        }
        match from_environment(variable) {
            Some(passphrase) => not_empty(passphrase),
            None => prompt(question, new, variable),
        }
    }
}

/// The secret in a file, without the end of its line.
///
/// # Errors
/// When the file cannot be read, or holds nothing.
fn secret_in(path: &Path) -> Result<Zeroizing<String>, CommandError> {
    let text = std::fs::read_to_string(path).with_context(|| format!("Unable to read {}", path.display()))?;
    let text = Zeroizing::new(text);
    not_empty(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}

/// The invitation code of a relay in a file, if one is named.
///
/// # Errors
/// As [`secret_in`].
pub(crate) fn code_in(path: Option<&Path>) -> Result<Option<String>, CommandError> {
    path.map(|path| Ok(secret_in(path)?.to_string())).transpose()
}

fn from_environment(variable: &str) -> Option<Zeroizing<String>> {
    std::env::var(variable).ok().map(Zeroizing::new)
}

fn prompt(question: &str, twice: bool, variable: &str) -> Result<Zeroizing<String>, CommandError> {
    let ask = |question: &str| {
        rpassword::prompt_password(question).map(Zeroizing::new).map_err(|error| CommandError {
            kind: ExitCode::WrongSecret,
            message: format!("Unable to ask for the passphrase: {error}"),
            hints: vec![match variable {
                PASSPHRASE => format!("Without a terminal, give it by {variable} or --passphrase-file."),
                _ => format!("Without a terminal, give it by {variable}."),
            }],
        })
    };
    let passphrase = not_empty(ask(question)?)?;
    if twice && *ask("Again: ")? != *passphrase {
        return Err(CommandError {
            kind: ExitCode::Usage,
            message: "The two passphrases differ".into(),
            hints: vec!["Nothing was made; try again.".into()],
        });
    }
    Ok(passphrase)
}

fn not_empty(secret: Zeroizing<String>) -> Result<Zeroizing<String>, CommandError> {
    if secret.is_empty() {
        return Err(CommandError::new(
            ExitCode::WrongSecret,
            "The passphrase or code that was given is empty",
        ));
    }
    Ok(secret)
}
