//! HKDF with SHA-512, the only key derivation of the wire (smp.md §2.3).

/// Derives `N` bytes (RFC 5869, extract then expand). An empty salt is the RFC's default.
///
/// # Panics
/// Never for the sizes used here: HKDF-SHA512 gives up to 16,320 bytes.
#[must_use]
pub fn hkdf<const N: usize>(salt: &[u8], key_material: &[u8], info: &str) -> [u8; N] {
    let mut out = [0; N];
    hkdf::Hkdf::<sha2::Sha512>::new(Some(salt), key_material)
        .expand(info.as_bytes(), &mut out)
        .expect("all derived sizes are below HKDF's limit");
    out
}
