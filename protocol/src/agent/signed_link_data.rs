//! Writing and opening a link's data: signed, sealed, and checked in a fixed order (smp.md §15.2,
//! agent.md §3.7).
//!
//! ```text
//! signed = short(Ed25519 signature over data) ‖ data
//!
//! open:  decrypt both ─▶ read both ─▶ hash of fixed = link key ─▶ fixed signed by the root key
//!        ─▶ owners valid, user part signed by the root key or an owner ─▶ same queue and host
//! ```

use rand_core::CryptoRng;
use thiserror::Error;

use super::connection_request::ConnectionRequest;
use super::link_data::{FixedLinkData, InvitationLinkData, UserLinkData};
use super::owner_auth::{OwnerAuth, OwnerChainError, check_owner_chain};
use crate::crypto::random_bytes;
use crate::crypto::sign::{Ed25519PrivateKey, Ed25519PublicKey};
use crate::encoding::{Decode, DecodeError, Encode, Reader, put_short};
use crate::smp::ids::SenderId;
use crate::smp::link_key::{BlobKey, LinkKey, Part};
use crate::smp::short_link::ShortLink;

/// Bytes that a signature takes in front of the data.
const SIGNATURE_FIELD_BYTES: usize = 65;
/// Most bytes of encoded user link data.
pub const USER_LINK_DATA_BYTES_MAX: usize = Part::User.signed_bytes_max() - SIGNATURE_FIELD_BYTES;
/// Most bytes of encoded fixed link data.
pub const FIXED_LINK_DATA_BYTES_MAX: usize = Part::Fixed.signed_bytes_max() - SIGNATURE_FIELD_BYTES;

/// Why link data cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WriteLinkError {
    /// The data is longer than its blob.
    #[error(
        "the link data takes {bytes} bytes and {bytes_max} fit: shorten the profile, or list fewer relays"
    )]
    TooLarge {
        /// What the encoded data takes.
        bytes: usize,
        /// What fits.
        bytes_max: usize,
    },
    /// A list in the link data is longer than its count can say.
    #[error("the link data lists more than 255 owners or relays")]
    TooMany,
    /// An id or text of the fixed part is longer than its length can say.
    #[error("the link's entity id or client data is too long")]
    TooLong,
    /// Readers would refuse the owners.
    #[error("the owners of the link are not valid")]
    Owners(#[from] OwnerChainError),
    /// Readers would refuse the signature.
    #[error("the signing key is neither the root key of the link nor the key of one of its owners")]
    NotOwner,
    /// Only contact links can be relays.
    #[error("a one-time link is listed as a relay; list the link that the relay made for this group")]
    RelayIsInvitation,
}

/// Why a link's data is refused. In the order of the checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OpenLinkError {
    /// The blob is not sealed by the key of this link.
    #[error("the link data cannot be decrypted: ask for the link again")]
    Decrypt(Part),
    /// The content is not link data of this kind.
    #[error("the link data cannot be read ({1}): ask its owner to update")]
    Malformed(Part, DecodeError),
    /// The fixed part is not the one that the link was made for.
    #[error("the link data does not belong to this link: the server may have replaced it")]
    Hash,
    /// The fixed part is not signed by its root key.
    #[error("the fixed link data is not signed by its root key")]
    FixedSignature,
    /// The list of owners is not valid.
    #[error("the owners of the link are not valid")]
    Owners(#[from] OwnerChainError),
    /// The user part is signed neither by the root key nor by an owner.
    #[error("the user link data is not signed by an owner of the link")]
    UserSignature,
    /// The queue is another one than the server says, or on another host than the link.
    #[error("the link leads to a different address than its data says")]
    DifferentAddress,
}

/// A contact link's data that has passed all checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedLink {
    /// How to reach the link's creator, at the address by which the link was found.
    pub request: ConnectionRequest,
    /// The key of the link's creator.
    pub root_key: Ed25519PublicKey,
    /// What the application has bound to the link.
    pub link_entity_id: Option<Vec<u8>>,
    /// The mutable part.
    pub data: UserLinkData,
}

impl OpenedLink {
    /// Opens the data of a contact link, as `LNK` brings it.
    ///
    /// # Errors
    /// For the first check that fails. A one-time link is malformed here.
    pub fn open(
        link: &ShortLink,
        sender_id: &SenderId,
        fixed_blob: &[u8],
        user_blob: &[u8],
    ) -> Result<Self, OpenLinkError> {
        let (_, key) = link.link_key().contact();
        let fixed_signed = open_blob(&key, Part::Fixed, fixed_blob)?;
        let user_signed = open_blob(&key, Part::User, user_blob)?;
        let fixed = Signed::<FixedLinkData>::read(&fixed_signed, Part::Fixed)?;
        let user = Signed::<UserLinkData>::read(&user_signed, Part::User)?;
        if !matches!(fixed.value.request, ConnectionRequest::Contact(_)) {
            return Err(OpenLinkError::Malformed(Part::Fixed, DecodeError::Invalid("contact request")));
        }
        fixed.check_fixed(link.link_key())?;
        let root_key = &fixed.value.root_key;
        check_owner_chain(&user.value.owners, root_key)?;
        let mut signers = std::iter::once(root_key).chain(user.value.owners.iter().map(OwnerAuth::owner_key));
        if !signers.any(|key| user.is_signed_by(key)) {
            return Err(OpenLinkError::UserSignature);
        }
        let FixedLinkData { request, root_key, link_entity_id, .. } = fixed.value;
        let request = at_address_of_link(request, link, sender_id)?;
        Ok(Self { request, root_key, link_entity_id, data: user.value })
    }
}

/// Who made a contact link, as the fixed part of its data says: what the link itself is the hash of, so that whoever
/// shows that part proves it to all who know the link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkCreator {
    /// The key of the link's creator.
    pub root_key: Ed25519PublicKey,
    /// What the application has bound to the link.
    pub link_entity_id: Option<Vec<u8>>,
}

impl LinkCreator {
    /// Opens the fixed part of a contact link's data, wherever it came from.
    ///
    /// # Errors
    /// For the first check that fails.
    pub fn open(link: &ShortLink, fixed_blob: &[u8]) -> Result<Self, OpenLinkError> {
        let (_, key) = link.link_key().contact();
        let signed = open_blob(&key, Part::Fixed, fixed_blob)?;
        let fixed = Signed::<FixedLinkData>::read(&signed, Part::Fixed)?;
        fixed.check_fixed(link.link_key())?;
        let FixedLinkData { root_key, link_entity_id, .. } = fixed.value;
        Ok(Self { root_key, link_entity_id })
    }
}

/// A one-time link's data that has passed all checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedInvitation {
    /// How to reach the link's creator, at the address by which the link was found.
    pub request: ConnectionRequest,
    /// The key of the link's creator.
    pub root_key: Ed25519PublicKey,
    /// What the application has bound to the link.
    pub link_entity_id: Option<Vec<u8>>,
    /// The mutable part.
    pub data: InvitationLinkData,
}

impl OpenedInvitation {
    /// Opens the data of a one-time link, as `LNK` brings it.
    ///
    /// # Errors
    /// For the first check that fails. A contact link is malformed here.
    pub fn open(
        link: &ShortLink,
        sender_id: &SenderId,
        fixed_blob: &[u8],
        user_blob: &[u8],
    ) -> Result<Self, OpenLinkError> {
        let key = link.link_key().invitation();
        let fixed_signed = open_blob(&key, Part::Fixed, fixed_blob)?;
        let user_signed = open_blob(&key, Part::User, user_blob)?;
        let fixed = Signed::<FixedLinkData>::read(&fixed_signed, Part::Fixed)?;
        let user = Signed::<InvitationLinkData>::read(&user_signed, Part::User)?;
        if !matches!(fixed.value.request, ConnectionRequest::Invitation { .. }) {
            return Err(OpenLinkError::Malformed(Part::Fixed, DecodeError::Invalid("invitation")));
        }
        fixed.check_fixed(link.link_key())?;
        if !user.is_signed_by(&fixed.value.root_key) {
            return Err(OpenLinkError::UserSignature);
        }
        let FixedLinkData { request, root_key, link_entity_id, .. } = fixed.value;
        let request = at_address_of_link(request, link, sender_id)?;
        Ok(Self { request, root_key, link_entity_id, data: user.value })
    }
}

/// A value with the exact bytes that were signed.
struct Signed<'a, T> {
    signature: &'a [u8],
    bytes: &'a [u8],
    value: T,
}

impl<'a, T: Decode> Signed<'a, T> {
    fn read(signed: &'a [u8], part: Part) -> Result<Self, OpenLinkError> {
        let mut reader = Reader::new(signed);
        let mut read = || {
            let signature = reader.short()?;
            let bytes = reader.tail();
            Ok(Self { signature, bytes, value: T::from_bytes(bytes)? })
        };
        read().map_err(|error| OpenLinkError::Malformed(part, error))
    }

    fn is_signed_by(&self, key: &Ed25519PublicKey) -> bool {
        key.verify(self.bytes, self.signature).is_ok()
    }
}

impl Signed<'_, FixedLinkData> {
    fn check_fixed(&self, link_key: &LinkKey) -> Result<(), OpenLinkError> {
        if LinkKey::of(self.bytes) != *link_key {
            return Err(OpenLinkError::Hash);
        }
        if !self.is_signed_by(&self.value.root_key) {
            return Err(OpenLinkError::FixedSignature);
        }
        Ok(())
    }
}

fn open_blob(key: &BlobKey, part: Part, blob: &[u8]) -> Result<Vec<u8>, OpenLinkError> {
    key.open(blob).map_err(|_| OpenLinkError::Decrypt(part))
}

/// The queue must be the one whose data the server gave, and its server must know the link's host by name. Where
/// both addresses differ otherwise, the link's is used: it is the one that just worked.
fn at_address_of_link(
    mut request: ConnectionRequest,
    link: &ShortLink,
    sender_id: &SenderId,
) -> Result<ConnectionRequest, OpenLinkError> {
    let queue = &request.data().queue().address;
    if queue.sender_id != *sender_id || !queue.server.hosts().contains(link.server().first_host()) {
        return Err(OpenLinkError::DifferentAddress);
    }
    if !queue.server.is_same_place(link.server()) {
        request.data_mut().set_server(link.server().clone());
    }
    Ok(request)
}

/// Signs and seals the fixed part; gives the link's key and the blob. The blob holds a random nonce, and a server
/// takes updates only with the very same one: keep it.
///
/// # Errors
/// When it does not fit.
pub(crate) fn seal_fixed_data(
    data: &FixedLinkData,
    root_key: &Ed25519PrivateKey,
    rng: &mut dyn CryptoRng,
) -> Result<(LinkKey, Vec<u8>), WriteLinkError> {
    let bytes = data.to_bytes();
    let link_key = LinkKey::of(&bytes);
    let blob_key = match data.request {
        ConnectionRequest::Invitation { .. } => link_key.invitation(),
        ConnectionRequest::Contact(_) => link_key.contact().1,
    };
    let blob = seal(&blob_key, Part::Fixed, &bytes, root_key, rng)?;
    Ok((link_key, blob))
}

/// Signs and seals the user part of a contact link, by the link's root key or by the key of a listed owner.
///
/// # Errors
/// When it does not fit, or readers would refuse it.
pub fn seal_user_data(
    data: &UserLinkData,
    link_key: &LinkKey,
    root_key: &Ed25519PublicKey,
    signer: &Ed25519PrivateKey,
    rng: &mut dyn CryptoRng,
) -> Result<Vec<u8>, WriteLinkError> {
    if data.owners.len() > 255 || data.relays.len() > 255 {
        return Err(WriteLinkError::TooMany);
    }
    if data.user_data.len() > USER_LINK_DATA_BYTES_MAX {
        let bytes = data.user_data.len();
        return Err(WriteLinkError::TooLarge { bytes, bytes_max: USER_LINK_DATA_BYTES_MAX });
    }
    if data.relays.iter().any(|relay| matches!(relay, ShortLink::Invitation { .. })) {
        return Err(WriteLinkError::RelayIsInvitation);
    }
    check_owner_chain(&data.owners, root_key)?;
    let signer_key = signer.public_key();
    if signer_key != *root_key && data.owners.iter().all(|owner| *owner.owner_key() != signer_key) {
        return Err(WriteLinkError::NotOwner);
    }
    seal(&link_key.contact().1, Part::User, &data.to_bytes(), signer, rng)
}

fn seal(
    key: &BlobKey,
    part: Part,
    data: &[u8],
    signer: &Ed25519PrivateKey,
    rng: &mut dyn CryptoRng,
) -> Result<Vec<u8>, WriteLinkError> {
    let mut signed = Vec::with_capacity(SIGNATURE_FIELD_BYTES + data.len());
    put_short(&mut signed, &signer.sign(data));
    signed.extend_from_slice(data);
    let bytes_max = part.signed_bytes_max() - SIGNATURE_FIELD_BYTES;
    key.seal(part, &random_bytes(rng), &signed)
        .map_err(|_| WriteLinkError::TooLarge { bytes: data.len(), bytes_max })
}
