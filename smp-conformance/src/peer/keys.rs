//! Keys that authorise commands, of all three kinds (smp.md §5.3).

use protocol::crypto::dh::{X25519PrivateKey, X25519PublicKey};
use protocol::crypto::hash::sha512;
use protocol::crypto::secretbox::nonce_from;
use protocol::crypto::sign::{Ed448PrivateKey, Ed25519PrivateKey};
use protocol::net::rng::system_rng;

use super::wire::{ed448_spki, ed25519_spki, x25519_spki};

/// The kind of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// Signs; the usual one.
    Ed25519,
    /// Signs; of older clients.
    Ed448,
    /// Authenticates to the server alone.
    X25519,
}

impl KeyKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Ed25519, Self::Ed448, Self::X25519];
}

/// A private key.
#[derive(Debug, Clone)]
pub enum Key {
    /// Signs.
    Ed25519(Ed25519PrivateKey),
    /// Signs.
    Ed448(Box<Ed448PrivateKey>),
    /// Authenticates.
    X25519(X25519PrivateKey),
}

impl Key {
    /// A new Ed25519 key.
    #[must_use]
    pub fn new() -> Self {
        Self::Ed25519(Ed25519PrivateKey::generate(&mut system_rng()))
    }

    /// A new key of this kind.
    #[must_use]
    pub fn of(kind: KeyKind) -> Self {
        match kind {
            KeyKind::Ed25519 => Self::new(),
            KeyKind::X25519 => Self::X25519(X25519PrivateKey::generate(&mut system_rng())),
            KeyKind::Ed448 => {
                // PKCS#8 of version 1: the only form in which these keys are taken in.
                let raw: [u8; 57] = random();
                let der =
                    [&[0x30, 0x47, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x71, 4, 0x3b, 4, 0x39][..], &raw]
                        .concat();
                Ed448PrivateKey::from_der(&der).map_or_else(|_| Self::new(), |key| Self::Ed448(Box::new(key)))
            }
        }
    }

    /// The public key as it stands on the wire.
    #[must_use]
    pub fn public(&self) -> Vec<u8> {
        match self {
            Self::Ed25519(key) => ed25519_spki(&key.public_key().0),
            Self::Ed448(key) => ed448_spki(&key.public_key().0),
            Self::X25519(key) => x25519_spki(&key.public_key().0),
        }
    }

    /// The authenticator of `authorized`, in a session of this server key.
    #[must_use]
    pub fn authenticator(
        &self,
        server_key: &X25519PublicKey,
        correlation_id: &[u8],
        authorized: &[u8],
    ) -> Vec<u8> {
        match self {
            Self::Ed25519(key) => key.sign(authorized).to_vec(),
            Self::Ed448(key) => key.sign(authorized).to_vec(),
            Self::X25519(key) => {
                key.box_key(server_key).seal(&nonce_from(correlation_id), &sha512(authorized))
            }
        }
    }
}

impl Default for Key {
    fn default() -> Self {
        Self::new()
    }
}

/// Random bytes.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    protocol::crypto::random_bytes(&mut system_rng())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_every_kind_make_authenticators_of_their_length() {
        let server = X25519PrivateKey::generate(&mut system_rng()).public_key();
        for (kind, public, authenticator) in
            [(KeyKind::Ed25519, 45, 64), (KeyKind::Ed448, 70, 114), (KeyKind::X25519, 45, 80)]
        {
            let key = Key::of(kind);
            assert_eq!(key.public().len(), public);
            assert_eq!(key.authenticator(&server, b"corr", b"what").len(), authenticator);
        }
    }
}
