//! Commands by hand (smp.md §6).

use protocol::crypto::dh::X25519PrivateKey;
use protocol::net::rng::system_rng;

use super::keys::{Key, random};
use super::wire::{large, maybe, short, x25519_spki};

/// A queue to be made.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The recipient's key.
    pub key: Key,
    /// The recipient's key for the encryption of messages by the server.
    pub dh_key: X25519PrivateKey,
    /// The server's password.
    pub password: Option<Vec<u8>>,
    /// Whether to subscribe at once.
    pub subscribe: bool,
    /// `queueReq`, without the tag of its `maybe`.
    pub request: Option<Vec<u8>>,
    /// The notifier's key, and the recipient's key for the encryption of notifications by the server.
    pub notifier: Option<(Key, X25519PrivateKey)>,
    /// The correlation id, from which a sender id is derived.
    pub correlation_id: Vec<u8>,
}

impl Draft {
    fn request(request: &[u8]) -> Self {
        Self {
            key: Key::new(),
            dh_key: X25519PrivateKey::generate(&mut system_rng()),
            password: None,
            subscribe: true,
            request: Some(request.to_vec()),
            notifier: None,
            correlation_id: random::<24>().to_vec(),
        }
    }

    /// A messaging queue with a subscription.
    #[must_use]
    pub fn messaging() -> Self {
        Self::request(b"M0")
    }

    /// A contact queue with a subscription.
    #[must_use]
    pub fn contact() -> Self {
        Self::request(b"C0")
    }

    /// A messaging queue with link data.
    #[must_use]
    pub fn invitation(fixed: &[u8], user: &[u8]) -> Self {
        let mut draft = Self::messaging();
        let sender_id = sender_id_of(&draft.correlation_id);
        draft.request = Some([b"M1", short(&sender_id).as_slice(), &large(fixed), &large(user)].concat());
        draft
    }

    /// A contact queue with link data under this id.
    #[must_use]
    pub fn address(link_id: &[u8], fixed: &[u8], user: &[u8]) -> Self {
        let mut draft = Self::contact();
        let sender_id = sender_id_of(&draft.correlation_id);
        let ids = [short(link_id), short(&sender_id)].concat();
        draft.request = Some([b"C1", ids.as_slice(), &large(fixed), &large(user)].concat());
        draft
    }

    /// The same without a subscription.
    #[must_use]
    pub fn unsubscribed(self) -> Self {
        Self { subscribe: false, ..self }
    }

    /// The same with a key of the recipient's.
    #[must_use]
    pub fn with_key(self, key: Key) -> Self {
        Self { key, ..self }
    }

    /// The same with notifier credentials, from version 17 on.
    #[must_use]
    pub fn with_notifier(self, key: Key) -> Self {
        Self { notifier: Some((key, X25519PrivateKey::generate(&mut system_rng()))), ..self }
    }

    /// The `NEW` of this version.
    #[must_use]
    pub fn command(&self, version: u16) -> Vec<u8> {
        let mut out = b"NEW ".to_vec();
        out.extend(self.key.public());
        out.extend(x25519_spki(&self.dh_key.public_key().0));
        out.extend(maybe(self.password.as_deref().map(short)));
        out.push(if self.subscribe { b'S' } else { b'C' });
        out.extend(maybe(self.request.clone()));
        if version >= 17 {
            out.extend(maybe(
                self.notifier
                    .as_ref()
                    .map(|(key, dh_key)| [key.public(), x25519_spki(&dh_key.public_key().0)].concat()),
            ));
        }
        out
    }
}

/// The only sender id that a client may choose: the first 24 bytes of SHA3-384 of the correlation id (smp.md §2.3).
#[must_use]
pub fn sender_id_of(correlation_id: &[u8]) -> Vec<u8> {
    protocol::crypto::hash::sha3_384(correlation_id).iter().take(24).copied().collect()
}

/// `KEY`, `SKEY` or `LKEY` with this key.
#[must_use]
pub fn with_key(tag: &str, key: &Key) -> Vec<u8> {
    [tag.as_bytes(), b" ", &key.public()].concat()
}

/// `RKEY`.
#[must_use]
pub fn rkey(keys: &[&Key]) -> Vec<u8> {
    let mut out = b"RKEY ".to_vec();
    out.push(u8::try_from(keys.len()).unwrap_or(u8::MAX));
    out.extend(keys.iter().flat_map(|key| key.public()));
    out
}

/// `NKEY`.
#[must_use]
pub fn nkey(key: &Key, dh_key: &X25519PrivateKey) -> Vec<u8> {
    [b"NKEY ", key.public().as_slice(), &x25519_spki(&dh_key.public_key().0)].concat()
}

/// `LSET`.
#[must_use]
pub fn lset(link_id: &[u8], fixed: &[u8], user: &[u8]) -> Vec<u8> {
    [b"LSET ", short(link_id).as_slice(), &large(fixed), &large(user)].concat()
}

/// `SEND` without notification.
#[must_use]
pub fn send(body: &[u8]) -> Vec<u8> {
    [b"SEND F ", body].concat()
}

/// `SEND` with notification.
#[must_use]
pub fn send_notifying(body: &[u8]) -> Vec<u8> {
    [b"SEND T ", body].concat()
}

/// `ACK`.
#[must_use]
pub fn ack(message_id: &[u8]) -> Vec<u8> {
    [b"ACK ", short(message_id).as_slice()].concat()
}
