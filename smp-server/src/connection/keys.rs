//! The keys of a session, for commands that other servers forward in it (smp.md §14.2).

use std::sync::OnceLock;

use protocol::crypto::dh::{X25519PrivateKey, X25519PublicKey};
use protocol::crypto::secretbox::BoxKey;
use protocol::smp::authorize::Verifier;

/// What both sides of a session agreed on in their hellos.
#[derive(Debug)]
pub(crate) struct SessionKeys {
    pub(crate) session_id: Vec<u8>,
    pub(crate) own_key: X25519PrivateKey,
    peer_key: Option<X25519PublicKey>,
    /// Made when it is needed: most peers forward nothing.
    proxy_key: OnceLock<BoxKey>,
}

impl SessionKeys {
    pub(super) fn new(
        session_id: Vec<u8>,
        own_key: X25519PrivateKey,
        peer_key: Option<X25519PublicKey>,
    ) -> Self {
        Self { session_id, own_key, peer_key, proxy_key: OnceLock::new() }
    }

    /// The key that the peer has in common with us as a proxy; nothing when it showed none in its hello.
    pub(crate) fn proxy_key(&self) -> Option<&BoxKey> {
        let peer_key = self.peer_key.as_ref()?;
        Some(self.proxy_key.get_or_init(|| self.own_key.box_key(peer_key)))
    }

    /// Checks commands that were forwarded in this session: they are authorised for it, and by no service.
    pub(crate) fn verifier(&self) -> Verifier<'_> {
        Verifier { session_id: &self.session_id, own_key: &self.own_key, service: None }
    }
}
