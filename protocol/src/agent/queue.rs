//! A connection's two ends: the queue that it reads and the queue that it writes (agent.md §2).

use rand_core::CryptoRng;
use zeroize::ZeroizeOnDrop;

use crate::crypto::dh::{X25519PrivateKey, X25519PublicKey};
use crate::crypto::secretbox::BoxKey;
use crate::crypto::sign::Ed25519PrivateKey;
use crate::encoding::{Decode, DecodeError, Encode, Reader, put_maybe};
use crate::smp::address::ServerAddressWithAuth;
use crate::smp::ids::{MessageId, RecipientId, SenderId};
use crate::smp::queue_uri::{QueueAddress, QueueInfo, QueueLocation, QueueMode, QueueUri};
use crate::smp::response::QueueIds;

use super::request::OwnQueue;

/// A secret shared by X25519, from which a box key is made.
#[derive(Clone, PartialEq, Eq, ZeroizeOnDrop)]
pub(super) struct QueueSecret([u8; 32]);

impl QueueSecret {
    pub(super) fn new(own: &X25519PrivateKey, peer: &X25519PublicKey) -> Self {
        Self(own.diffie_hellman(peer))
    }

    pub(super) fn box_key(&self) -> BoxKey {
        BoxKey::new(&self.0)
    }
}

impl std::fmt::Debug for QueueSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("QueueSecret([scrubbed])")
    }
}

impl Encode for QueueSecret {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }
}

impl Decode for QueueSecret {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.array().map(Self)
    }
}

/// The queue that a connection reads: its keys exist before it does, and are used again by each attempt to
/// create it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReceiveQueue {
    pub(super) server: ServerAddressWithAuth,
    /// Authorises the recipient's commands.
    pub(super) key: Ed25519PrivateKey,
    /// For the server's encryption of messages.
    pub(super) server_dh_key: X25519PrivateKey,
    /// For the sender's encryption of messages.
    pub(super) dh_key: X25519PrivateKey,
    pub(super) created: Option<CreatedQueue>,
    /// What the sender's key made; never for a contact address, where each request has its own.
    pub(super) peer: Option<PeerSecret>,
    /// The last message that was taken: the server repeats it when our acknowledgement was lost.
    pub(super) last_message: Option<MessageId>,
}

/// What the server said when it created a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CreatedQueue {
    pub(super) recipient_id: RecipientId,
    pub(super) sender_id: SenderId,
    pub(super) secret: QueueSecret,
}

/// What the queue's only sender and we share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PeerSecret {
    pub(super) secret: QueueSecret,
    pub(super) client_version: u16,
}

impl ReceiveQueue {
    /// A queue with fresh keys.
    pub(super) fn new(server: ServerAddressWithAuth, rng: &mut dyn CryptoRng) -> Self {
        let dh_key = X25519PrivateKey::generate(rng);
        Self::with_dh_key(server, dh_key, rng)
    }

    /// A queue whose key for senders is known already.
    pub(super) fn with_dh_key(
        server: ServerAddressWithAuth,
        dh_key: X25519PrivateKey,
        rng: &mut dyn CryptoRng,
    ) -> Self {
        Self {
            server,
            key: Ed25519PrivateKey::generate(rng),
            server_dh_key: X25519PrivateKey::generate(rng),
            dh_key,
            created: None,
            peer: None,
            last_message: None,
        }
    }

    /// The server has created it.
    pub(super) fn set_created(&mut self, ids: &QueueIds) {
        self.created = Some(CreatedQueue {
            recipient_id: ids.recipient_id,
            sender_id: ids.sender_id,
            secret: QueueSecret::new(&self.server_dh_key, &ids.server_dh_key),
        });
    }

    /// Where a peer sends to: with the given sender id, for what is computed before the server has named one.
    pub(super) fn address(&self, sender_id: SenderId) -> QueueAddress {
        QueueAddress {
            server: self.server.server.clone(),
            sender_id,
            dh_key: self.dh_key.public_key(),
            mode: Some(QueueMode::Messaging),
        }
    }

    /// As it stands in a link.
    pub(super) fn uri(&self, sender_id: SenderId) -> QueueUri {
        QueueUri::new(self.address(sender_id))
    }

    /// As it stands in a confirmation.
    pub(super) fn info(&self, sender_id: SenderId, version: u16) -> QueueInfo {
        QueueInfo { version, address: self.address(sender_id) }
    }

    /// How a peer names it.
    pub(super) fn location(&self) -> Option<QueueLocation> {
        let created = self.created.as_ref()?;
        Some(QueueLocation { server: self.server.server.clone(), sender_id: created.sender_id })
    }

    /// What the network needs of it.
    pub(super) fn own_queue(&self) -> Option<OwnQueue> {
        let created = self.created.as_ref()?;
        Some(OwnQueue {
            server: self.server.server.clone(),
            recipient_id: created.recipient_id,
            key: self.key.clone(),
        })
    }
}

/// The queue that a connection writes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SendQueue {
    pub(super) location: QueueLocation,
    /// Whether we may secure it ourselves.
    pub(super) mode: Option<QueueMode>,
    pub(super) client_version: u16,
    /// Authorises what we send.
    pub(super) key: Ed25519PrivateKey,
    /// Goes with the first message, or with the answer to a rotation.
    pub(super) dh_public: X25519PublicKey,
    pub(super) secret: QueueSecret,
}

impl SendQueue {
    /// With fresh keys for the queue that the peer named.
    pub(super) fn new(info: &QueueInfo, rng: &mut dyn CryptoRng) -> Self {
        let dh_key = X25519PrivateKey::generate(rng);
        Self {
            location: info.address.location(),
            mode: info.address.mode,
            client_version: info.version,
            key: Ed25519PrivateKey::generate(rng),
            dh_public: dh_key.public_key(),
            secret: QueueSecret::new(&dh_key, &info.address.dh_key),
        }
    }

    /// Whether we secure it ourselves, so that all we send is authorised from the start.
    pub(super) fn is_securable(&self) -> bool {
        self.mode == Some(QueueMode::Messaging)
    }
}

impl Encode for ReceiveQueue {
    fn encode(&self, out: &mut Vec<u8>) {
        self.server.encode(out);
        self.key.encode(out);
        self.server_dh_key.encode(out);
        self.dh_key.encode(out);
        put_maybe(out, self.created.as_ref(), |out, created| {
            created.recipient_id.encode(out);
            created.sender_id.encode(out);
            created.secret.encode(out);
        });
        put_maybe(out, self.peer.as_ref(), |out, peer| {
            peer.secret.encode(out);
            out.extend_from_slice(&peer.client_version.to_be_bytes());
        });
        put_maybe(out, self.last_message, |out, id| id.encode(out));
    }
}

impl Decode for ReceiveQueue {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            server: Decode::decode(reader)?,
            key: Decode::decode(reader)?,
            server_dh_key: Decode::decode(reader)?,
            dh_key: Decode::decode(reader)?,
            created: reader.maybe(|reader| {
                Ok(CreatedQueue {
                    recipient_id: Decode::decode(reader)?,
                    sender_id: Decode::decode(reader)?,
                    secret: Decode::decode(reader)?,
                })
            })?,
            peer: reader.maybe(|reader| {
                Ok(PeerSecret { secret: Decode::decode(reader)?, client_version: reader.u16()? })
            })?,
            last_message: reader.maybe(MessageId::decode)?,
        })
    }
}

impl Encode for SendQueue {
    fn encode(&self, out: &mut Vec<u8>) {
        self.location.encode(out);
        put_maybe(out, self.mode, |out, mode| mode.encode(out));
        out.extend_from_slice(&self.client_version.to_be_bytes());
        self.key.encode(out);
        self.dh_public.encode(out);
        self.secret.encode(out);
    }
}

impl Decode for SendQueue {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            location: Decode::decode(reader)?,
            mode: reader.maybe(QueueMode::decode)?,
            client_version: reader.u16()?,
            key: Decode::decode(reader)?,
            dh_public: Decode::decode(reader)?,
            secret: Decode::decode(reader)?,
        })
    }
}
