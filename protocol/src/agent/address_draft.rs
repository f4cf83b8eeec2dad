//! A contact address that is known before it is created (agent.md §3.8).
//!
//! ```text
//! random correlation id ─▶ sender id = SHA3-384(correlation id)[0..24] ─▶ connection request ─▶ fixed data
//!   ─▶ link key ─▶ link id ─▶ the link, to be shown and to be put into the user data that it leads to
//!   ─▶ one NEW, some time later, with that correlation id
//! ```
//!
//! A draft is data: an application keeps it from the moment it shows the link. `NEW` must reuse its correlation
//! id and keys, and all later updates its sealed fixed part byte by byte; so a draft lives as long as its address.

use rand_core::CryptoRng;

use super::connection_request::{AGENT_VERSIONS, ConnectionRequest, RequestData};
use super::link_data::{FixedLinkData, UserLinkData};
use super::signed_link_data::{WriteLinkError, seal_fixed_data, seal_user_data};
use crate::crypto::dh::X25519PrivateKey;
use crate::crypto::sign::Ed25519PrivateKey;
use crate::encoding::{Decode, DecodeError, Encode, Reader, put_large};
use crate::smp::address::ServerAddressWithAuth;
use crate::smp::ids::{CorrelationId, LinkId, SenderId};
use crate::smp::link_key::{FIXED_BLOB_BYTES, LinkKey};
use crate::smp::queue_uri::{QueueAddress, QueueMode, QueueUri};
use crate::smp::short_link::{LinkType, ShortLink};

/// What an application decides about an address.
#[derive(Debug, Clone)]
pub struct AddressPlan {
    /// Where the queue will be.
    pub server: ServerAddressWithAuth,
    /// The letter of the link.
    pub link_type: LinkType,
    /// Signs the link's data. Groups and relays use it as an identity; otherwise draw one.
    pub root_key: Ed25519PrivateKey,
    /// What is bound to the link for ever.
    pub link_entity_id: Option<Vec<u8>>,
    /// What requesters send back, such as a group's link id.
    pub client_data: Option<String>,
}

/// A contact address with its keys, before and after its creation. Holds secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressDraft {
    server: ServerAddressWithAuth,
    link_type: LinkType,
    correlation_id: CorrelationId,
    dh_key: X25519PrivateKey,
    root_key: Ed25519PrivateKey,
    link_key: LinkKey,
    fixed_blob: Vec<u8>,
}

impl AddressDraft {
    /// Prepares an address. Nothing is sent.
    ///
    /// # Errors
    /// When the entity id or the client data is too long.
    pub fn new(plan: AddressPlan, rng: &mut dyn CryptoRng) -> Result<Self, WriteLinkError> {
        let AddressPlan { server, link_type, root_key, link_entity_id, client_data } = plan;
        if link_entity_id.as_ref().is_some_and(|id| id.len() > 255) {
            return Err(WriteLinkError::TooLong);
        }
        let correlation_id = CorrelationId::generate(rng);
        let dh_key = X25519PrivateKey::generate(rng);
        let queue = QueueUri::new(QueueAddress {
            server: server.server.clone(),
            sender_id: SenderId::for_correlation(correlation_id.as_bytes()),
            dh_key: dh_key.public_key(),
            mode: Some(QueueMode::Contact),
        });
        let request = RequestData::new(queue, client_data).map_err(|_| WriteLinkError::TooLong)?;
        let fixed = FixedLinkData {
            versions: AGENT_VERSIONS,
            root_key: root_key.public_key(),
            request: ConnectionRequest::Contact(request),
            link_entity_id,
        };
        let (link_key, fixed_blob) = seal_fixed_data(&fixed, &root_key, rng)?;
        Ok(Self { server, link_type, correlation_id, dh_key, root_key, link_key, fixed_blob })
    }

    /// The link to show. It works once the address is created.
    #[must_use]
    pub fn short_link(&self) -> ShortLink {
        ShortLink::Contact {
            link_type: self.link_type,
            server: self.server.server.clone(),
            link_key: self.link_key.clone(),
        }
    }

    /// Where the queue is created.
    #[must_use]
    pub fn server(&self) -> &ServerAddressWithAuth {
        &self.server
    }

    /// The correlation id that `NEW` must have.
    #[must_use]
    pub fn correlation_id(&self) -> CorrelationId {
        self.correlation_id
    }

    /// The sender id that the server must answer with.
    #[must_use]
    pub fn sender_id(&self) -> SenderId {
        SenderId::for_correlation(self.correlation_id.as_bytes())
    }

    /// The link id for `NEW` and `LSET`.
    #[must_use]
    pub fn link_id(&self) -> LinkId {
        self.link_key.contact().0
    }

    /// The key for the end-to-end box of requests.
    #[must_use]
    pub fn dh_key(&self) -> &X25519PrivateKey {
        &self.dh_key
    }

    /// The key that signs the link's data.
    #[must_use]
    pub fn root_key(&self) -> &Ed25519PrivateKey {
        &self.root_key
    }

    /// The sealed fixed part, for `NEW` and for each `LSET`.
    #[must_use]
    pub fn fixed_blob(&self) -> &[u8] {
        &self.fixed_blob
    }

    /// Signs user data by the root key and seals it, for `NEW` and `LSET`.
    ///
    /// # Errors
    /// When it does not fit, or readers would refuse it.
    pub fn seal_user_data(
        &self,
        data: &UserLinkData,
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<u8>, WriteLinkError> {
        seal_user_data(data, &self.link_key, &self.root_key.public_key(), &self.root_key, rng)
    }
}

/// For records at rest only.
impl Encode for AddressDraft {
    fn encode(&self, out: &mut Vec<u8>) {
        self.server.encode(out);
        self.link_type.encode(out);
        self.correlation_id.encode(out);
        self.dh_key.encode(out);
        self.root_key.encode(out);
        self.link_key.encode(out);
        put_large(out, &self.fixed_blob);
    }
}

impl Decode for AddressDraft {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let draft = Self {
            server: Decode::decode(reader)?,
            link_type: Decode::decode(reader)?,
            correlation_id: Decode::decode(reader)?,
            dh_key: Decode::decode(reader)?,
            root_key: Decode::decode(reader)?,
            link_key: Decode::decode(reader)?,
            fixed_blob: reader.large()?.to_vec(),
        };
        if draft.fixed_blob.len() != FIXED_BLOB_BYTES {
            return Err(DecodeError::Invalid("address draft"));
        }
        Ok(draft)
    }
}
