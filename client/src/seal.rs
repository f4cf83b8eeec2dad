//! Secrets at rest: one random key seals everything, and a passphrase or a key file opens that key.
//!
//! ```text
//! passphrase ──Argon2id(salt)──┐
//!                              ├──▶ opening key ──XChaCha20-Poly1305──▶ sealing key ──▶ records, bodies
//! key file (32 bytes) ─────────┘
//! sealed = nonce(24) ciphertext tag(16), bound to the name of the column it lies in
//! ```

use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::Context;
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use protocol::crypto::random_bytes;
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::CommandError;
use crate::exit_code::ExitCode;

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
/// Memory that guessing one passphrase costs, in KiB: what a small computer still spares.
const ARGON2_MEMORY_KIB: u32 = 64 * 1024;
const ARGON2_PASSES: u32 = 3;
const ARGON2_LANES: u32 = 1;
/// Bounds for parameters read from a file, so that a forged one cannot eat the machine.
const ARGON2_MEMORY_KIB_MAX: u32 = 1024 * 1024;
const ARGON2_PASSES_MAX: u32 = 16;

/// What opens a home or an archive.
pub(crate) enum Secret {
    /// Something a person remembers.
    Passphrase(Zeroizing<String>),
    /// 32 random bytes from a file.
    KeyFile(Zeroizing<[u8; KEY_BYTES]>),
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Passphrase(_) => "Passphrase([scrubbed])",
            Self::KeyFile(_) => "KeyFile([scrubbed])",
        })
    }
}

/// How the sealing key is wrapped: what `key.toml` and the head of an archive hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum KeySlot {
    /// The opening key is derived from a passphrase.
    Passphrase {
        /// Salt, base64url.
        salt: String,
        /// Argon2id memory in KiB.
        memory_kib: u32,
        /// Argon2id passes.
        passes: u32,
        /// The sealed sealing key, base64url.
        wrapped: String,
    },
    /// The opening key is read from a file.
    KeyFile {
        /// The sealed sealing key, base64url.
        wrapped: String,
    },
}

/// Seals and opens bytes for the store.
pub(crate) struct Sealer {
    cipher: XChaCha20Poly1305,
    key: Zeroizing<[u8; KEY_BYTES]>,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer([scrubbed])")
    }
}

/// Sealed bytes that are not what we sealed: cut, altered, or of another place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("sealed {0} does not open: the store was altered or belongs to another key")]
pub struct SealBroken(&'static str);

impl Sealer {
    /// With a new random key, wrapped for `secret`.
    ///
    /// # Errors
    /// When the passphrase cannot be hashed (memory).
    pub(crate) fn create(secret: &Secret, rng: &mut dyn CryptoRng) -> anyhow::Result<(Self, KeySlot)> {
        let sealer = Self::from_key(Zeroizing::new(random_bytes(rng)));
        let slot = sealer.wrap(secret, rng)?;
        Ok((sealer, slot))
    }

    /// The slot by which `secret` opens this key.
    ///
    /// # Errors
    /// When the passphrase cannot be hashed (memory).
    pub(crate) fn wrap(&self, secret: &Secret, rng: &mut dyn CryptoRng) -> anyhow::Result<KeySlot> {
        Ok(match secret {
            Secret::Passphrase(passphrase) => {
                let salt: [u8; 16] = random_bytes(rng);
                let opening = derive(passphrase, &salt, ARGON2_MEMORY_KIB, ARGON2_PASSES)?;
                KeySlot::Passphrase {
                    salt: URL_SAFE_NO_PAD.encode(salt),
                    memory_kib: ARGON2_MEMORY_KIB,
                    passes: ARGON2_PASSES,
                    wrapped: URL_SAFE_NO_PAD.encode(Self::from_key(opening).seal("key", &*self.key, rng)),
                }
            }
            Secret::KeyFile(opening) => KeySlot::KeyFile {
                wrapped: URL_SAFE_NO_PAD.encode(Self::from_key(opening.clone()).seal("key", &*self.key, rng)),
            },
        })
    }

    /// Opens a slot.
    ///
    /// # Errors
    /// [`ExitCode::WrongSecret`] when the secret is of the other method or does not fit.
    pub(crate) fn open_slot(slot: &KeySlot, secret: &Secret) -> Result<Self, CommandError> {
        let (opening, wrapped) = match (slot, secret) {
            (KeySlot::Passphrase { salt, memory_kib, passes, wrapped }, Secret::Passphrase(passphrase)) => {
                if *memory_kib > ARGON2_MEMORY_KIB_MAX || *passes > ARGON2_PASSES_MAX {
                    return Err(CommandError::new(
                        ExitCode::Failure,
                        "The key slot asks for too much memory",
                    ));
                }
                let salt = URL_SAFE_NO_PAD.decode(salt).context("Unable to read the salt of the key slot")?;
                (derive(passphrase, &salt, *memory_kib, *passes)?, wrapped)
            }
            (KeySlot::KeyFile { wrapped }, Secret::KeyFile(key)) => (key.clone(), wrapped),
            (KeySlot::Passphrase { .. }, Secret::KeyFile(_)) => {
                return Err(CommandError::new(
                    ExitCode::WrongSecret,
                    "This opens with a passphrase, not a key file",
                ));
            }
            (KeySlot::KeyFile { .. }, Secret::Passphrase(_)) => {
                return Err(CommandError::new(
                    ExitCode::WrongSecret,
                    "This opens with a key file, not a passphrase",
                )
                .hint("Name the file with --key-file or CONCLAVE_KEY_FILE."));
            }
        };
        let wrapped = URL_SAFE_NO_PAD.decode(wrapped).context("Unable to read the wrapped key")?;
        let key = Self::from_key(opening)
            .open("key", &wrapped)
            .ok()
            .and_then(|key| <[u8; KEY_BYTES]>::try_from(key.as_slice()).ok())
            .ok_or_else(|| {
                CommandError::new(ExitCode::WrongSecret, "The passphrase or key file does not fit")
            })?;
        Ok(Self::from_key(Zeroizing::new(key)))
    }

    /// Seals `plain` for the place called `column`.
    pub(crate) fn seal(&self, column: &'static str, plain: &[u8], rng: &mut dyn CryptoRng) -> Vec<u8> {
        let nonce: [u8; NONCE_BYTES] = random_bytes(rng);
        let payload = Payload { msg: plain, aad: column.as_bytes() };
        let ciphertext = self
            .cipher
            .encrypt(&XNonce::from(nonce), payload)
            .expect("sealing fails only beyond 256 GiB, and nothing here is that large");
        [nonce.as_slice(), &ciphertext].concat()
    }

    /// Opens what [`Sealer::seal`] made for the same place.
    ///
    /// # Errors
    /// [`SealBroken`] when it is not that.
    pub(crate) fn open(&self, column: &'static str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealBroken> {
        let (nonce, ciphertext) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(SealBroken(column))?;
        let payload = Payload { msg: ciphertext, aad: column.as_bytes() };
        self.cipher
            .decrypt(&XNonce::from(*nonce), payload)
            .map(Zeroizing::new)
            .map_err(|_| SealBroken(column))
    }

    /// With this key.
    pub(crate) fn from_key(key: Zeroizing<[u8; KEY_BYTES]>) -> Self {
        Self { cipher: XChaCha20Poly1305::new((&*key).into()), key }
    }
}

fn derive(
    passphrase: &str,
    salt: &[u8],
    memory_kib: u32,
    passes: u32,
) -> anyhow::Result<Zeroizing<[u8; KEY_BYTES]>> {
    let params = Params::new(memory_kib, passes, ARGON2_LANES, Some(KEY_BYTES))
        .map_err(|error| anyhow::anyhow!("Unusable parameters for the passphrase: {error}"))?;
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.as_bytes(), salt, &mut *key)
        .map_err(|error| anyhow::anyhow!("Unable to derive a key from the passphrase: {error}"))?;
    Ok(key)
}

/// Reads a slot from its file.
///
/// # Errors
/// When the file cannot be read or is not a slot.
pub(crate) fn read_slot(path: &Path) -> anyhow::Result<KeySlot> {
    let text = std::fs::read_to_string(path).with_context(|| format!("Unable to read {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("{} is damaged", path.display()))
}

/// Writes a slot: whole or not at all.
///
/// # Errors
/// When the disk refuses.
pub(crate) fn write_slot(path: &Path, slot: &KeySlot) -> anyhow::Result<()> {
    let text = toml::to_string(slot).context("Unable to write down the key slot")?;
    let new = path.with_extension("new");
    write_private(&new, text.as_bytes())?;
    std::fs::rename(&new, path).with_context(|| format!("Unable to write {}", path.display()))
}

/// Reads a key file, and refuses one that others can read.
///
/// # Errors
/// As said, and when it does not hold a key.
pub(crate) fn read_key_file(path: &Path) -> Result<Secret, CommandError> {
    let metadata = std::fs::metadata(path).with_context(|| format!("Unable to read {}", path.display()))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(CommandError {
            kind: ExitCode::WrongSecret,
            message: format!("Other users can read {}", path.display()),
            hints: vec![format!("Close it with `chmod 600 {}`.", path.display())],
        });
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("Unable to read {}", path.display()))?;
    let key = URL_SAFE_NO_PAD
        .decode(text.trim())
        .ok()
        .map(Zeroizing::new)
        .and_then(|key| <[u8; KEY_BYTES]>::try_from(key.as_slice()).ok())
        .ok_or_else(|| {
            CommandError::new(ExitCode::WrongSecret, format_args!("{} does not hold a key", path.display()))
        })?;
    Ok(Secret::KeyFile(Zeroizing::new(key)))
}

/// Makes a new key file; an existing one is never overwritten.
///
/// # Errors
/// When it exists or cannot be written.
pub(crate) fn create_key_file(path: &Path, rng: &mut dyn CryptoRng) -> anyhow::Result<Secret> {
    let key = Zeroizing::new(random_bytes::<KEY_BYTES>(rng));
    write_private(path, URL_SAFE_NO_PAD.encode(*key).as_bytes())?;
    Ok(Secret::KeyFile(key))
}

/// Writes a new file that only its owner can read, durable when this returns.
///
/// # Errors
/// When it exists or cannot be written.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let write = || {
        let mut file = std::fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().with_context(|| format!("Unable to write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::net::rng::system_rng;

    fn sealer() -> Sealer {
        Sealer::from_key(Zeroizing::new([7; KEY_BYTES]))
    }

    #[test]
    fn a_passphrase_opens_what_it_closed_and_another_does_not() {
        let mut rng = system_rng();
        let secret = |text: &str| Secret::Passphrase(Zeroizing::new(text.to_owned()));
        let (sealer, slot) = Sealer::create(&secret("correct"), &mut rng).unwrap();
        let sealed = sealer.seal("record", b"hello", &mut rng);
        let again = Sealer::open_slot(&slot, &secret("correct")).unwrap();
        assert_eq!(*again.open("record", &sealed).unwrap(), b"hello");
        assert_eq!(Sealer::open_slot(&slot, &secret("wrong")).unwrap_err().kind, ExitCode::WrongSecret);
        let text = toml::to_string(&slot).unwrap();
        assert_eq!(toml::from_str::<KeySlot>(&text).unwrap(), slot);
    }

    #[test]
    fn sealed_bytes_are_bound_to_their_column_and_notice_a_flipped_bit() {
        let sealed = sealer().seal("record", b"hello", &mut system_rng());
        assert!(sealer().open("body", &sealed).is_err());
        for index in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[index] ^= 1;
            assert!(sealer().open("record", &flipped).is_err(), "byte {index}");
        }
        assert!(sealer().open("record", &sealed[..20]).is_err());
    }

    #[test]
    fn a_key_file_that_others_can_read_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("key");
        create_key_file(&path, &mut system_rng()).unwrap();
        assert!(create_key_file(&path, &mut system_rng()).is_err(), "never overwritten");
        read_key_file(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(read_key_file(&path).unwrap_err().kind, ExitCode::WrongSecret);
    }

    #[test]
    fn debug_shows_no_secret() {
        assert_eq!(format!("{:?}", sealer()), "Sealer([scrubbed])");
        assert_eq!(format!("{:?}", Secret::Passphrase(Zeroizing::new("p".into()))), "Passphrase([scrubbed])");
    }
}
