//! The operating system's randomness, the only source that programs hand to the core.

use rand_core::{CryptoRng, UnwrapErr};

/// A source of randomness backed by the operating system.
///
/// # Panics
/// Drawing panics when the operating system refuses: no key may be made without randomness.
#[must_use]
pub fn system_rng() -> impl CryptoRng + Clone + Send + Sync + 'static {
    UnwrapErr(getrandom::SysRng)
}
