//! What a reader of a link refuses, and in which order: smp.md §15.2, agent.md §3.7.

use protocol::agent::link_data::{FixedLinkData, UserLinkData};
use protocol::agent::owner_auth::OwnerChainError;
use protocol::agent::signed_link_data::{OpenLinkError, OpenedLink};
use protocol::crypto::sign::Ed25519PrivateKey;
use protocol::encoding::{Decode, DecodeError, Encode, Reader, put_short};
use protocol::smp::address::ServerAddress;
use protocol::smp::ids::SenderId;
use protocol::smp::link_key::{LinkKey, Part};
use protocol::smp::short_link::{LinkType, ShortLink};

use crate::drafts::{draft, owner};
use crate::vectors::{ed25519, server};

/// A link's parts, open to be spoiled and sealed again.
struct Parts {
    link_key: LinkKey,
    server: ServerAddress,
    sender_id: SenderId,
    fixed: Vec<u8>,
    fixed_signer: Ed25519PrivateKey,
    user: Vec<u8>,
    user_signer: Ed25519PrivateKey,
}

impl Parts {
    fn new() -> Self {
        let draft = draft();
        let link_key = draft.short_link().link_key().clone();
        let (_, key) = link_key.contact();
        let signed = key.open(draft.fixed_blob()).unwrap();
        let mut reader = Reader::new(&signed);
        reader.short().unwrap();
        let owners = vec![owner(1, "root"), owner(2, "owner1")];
        Self {
            link_key,
            server: server(),
            sender_id: draft.sender_id(),
            fixed: reader.tail().to_vec(),
            fixed_signer: ed25519("root"),
            user: UserLinkData::group(owners, vec![], b"profile".to_vec()).to_bytes(),
            user_signer: ed25519("root"),
        }
    }

    fn change_user(mut self, change: impl FnOnce(&mut UserLinkData)) -> Self {
        let mut data = UserLinkData::from_bytes(&self.user).unwrap();
        change(&mut data);
        self.user = data.to_bytes();
        self
    }

    /// Changes the fixed part and makes the link fit it.
    fn change_fixed(mut self, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        change(&mut self.fixed);
        self.link_key = LinkKey::of(&self.fixed);
        self
    }

    fn link(&self) -> ShortLink {
        ShortLink::Contact {
            link_type: LinkType::Channel,
            server: self.server.clone(),
            link_key: self.link_key.clone(),
        }
    }

    fn blobs(&self) -> (Vec<u8>, Vec<u8>) {
        let (_, key) = self.link_key.contact();
        let seal = |part, signer: &Ed25519PrivateKey, data: &[u8]| {
            let mut signed = Vec::new();
            put_short(&mut signed, &signer.sign(data));
            signed.extend_from_slice(data);
            key.seal(part, &[3; 24], &signed).unwrap()
        };
        (seal(Part::Fixed, &self.fixed_signer, &self.fixed), seal(Part::User, &self.user_signer, &self.user))
    }

    fn open(&self) -> Result<OpenedLink, OpenLinkError> {
        let (fixed, user) = self.blobs();
        OpenedLink::open(&self.link(), &self.sender_id, &fixed, &user)
    }
}

#[test]
fn good_data_of_any_signer_opens() {
    for signer in ["root", "owner1", "owner2"] {
        let parts = Parts { user_signer: ed25519(signer), ..Parts::new() };
        assert_eq!(parts.open().unwrap().data.user_data, b"profile");
    }
}

#[test]
fn blobs_that_do_not_decrypt() {
    let parts = Parts::new();
    let (fixed, user) = parts.blobs();
    let changed = |blob: &[u8]| {
        let mut blob = blob.to_vec();
        *blob.last_mut().unwrap() ^= 1;
        blob
    };
    let open = |fixed: &[u8], user: &[u8]| OpenedLink::open(&parts.link(), &parts.sender_id, fixed, user);
    assert_eq!(open(&changed(&fixed), &user), Err(OpenLinkError::Decrypt(Part::Fixed)));
    assert_eq!(open(&fixed, &changed(&user)), Err(OpenLinkError::Decrypt(Part::User)));
    assert_eq!(open(&[], &user), Err(OpenLinkError::Decrypt(Part::Fixed)));
    assert_eq!(open(&fixed, &user[..20]), Err(OpenLinkError::Decrypt(Part::User)));
    assert!(open(&user, &fixed).is_err(), "swapped");
}

#[test]
fn data_that_does_not_read() {
    let parts = Parts::new().change_fixed(|fixed| fixed.truncate(20));
    assert!(matches!(parts.open(), Err(OpenLinkError::Malformed(Part::Fixed, _))));
    let parts = Parts { user: b"X".to_vec(), ..Parts::new() };
    let invalid = DecodeError::Invalid("contact link data");
    assert_eq!(parts.open(), Err(OpenLinkError::Malformed(Part::User, invalid)));
}

/// The reading comes before the hash, the hash before the signature, and so on.
#[test]
fn a_replaced_fixed_part() {
    let other = Parts::new().change_fixed(|fixed| fixed.push(b'!'));
    let parts = Parts { link_key: Parts::new().link_key, ..other };
    assert_eq!(parts.open(), Err(OpenLinkError::Hash));
    let parts = Parts { fixed_signer: ed25519("stranger"), ..parts };
    assert_eq!(parts.open(), Err(OpenLinkError::Hash), "before the signature is looked at");
}

#[test]
fn a_fixed_part_that_its_root_key_did_not_sign() {
    let parts = Parts { fixed_signer: ed25519("stranger"), ..Parts::new() };
    let spoilt = Parts { user_signer: ed25519("stranger"), ..parts };
    assert_eq!(spoilt.open(), Err(OpenLinkError::FixedSignature), "before the user part is looked at");
}

#[test]
fn owners_that_nobody_authorised() {
    let parts = Parts::new().change_user(|data| data.owners.reverse());
    assert_eq!(parts.open(), Err(OpenLinkError::Owners(OwnerChainError::NotAuthorised(0))));
    let parts = Parts::new().change_user(|data| data.owners.push(owner(1, "root")));
    assert_eq!(parts.open(), Err(OpenLinkError::Owners(OwnerChainError::Duplicate(2))));
}

#[test]
fn user_data_that_no_owner_signed() {
    let parts = Parts { user_signer: ed25519("owner3"), ..Parts::new() };
    assert_eq!(parts.open(), Err(OpenLinkError::UserSignature));
    let parts = Parts { sender_id: SenderId([0; 24]), ..parts };
    assert_eq!(parts.open(), Err(OpenLinkError::UserSignature), "before the address is looked at");
    let without = Parts::new().change_user(|data| data.owners.clear());
    let parts = Parts { user_signer: ed25519("owner1"), ..without };
    assert_eq!(parts.open(), Err(OpenLinkError::UserSignature), "an owner of before");
}

#[test]
fn another_queue_or_host() {
    let parts = Parts { sender_id: SenderId([0; 24]), ..Parts::new() };
    assert_eq!(parts.open(), Err(OpenLinkError::DifferentAddress));
    let elsewhere = "smp://1234-w@other.example,smp.example.com".parse().unwrap();
    let parts = Parts { server: elsewhere, ..Parts::new() };
    assert_eq!(parts.open(), Err(OpenLinkError::DifferentAddress), "the first host is the link's");
}

#[test]
fn the_address_of_the_link_replaces_that_of_the_queue() {
    let longer: ServerAddress = "smp://1234-w@smp.example.com,other.example:443".parse().unwrap();
    let parts = Parts { server: longer.clone(), ..Parts::new() };
    let opened = parts.open().unwrap();
    assert_eq!(opened.request.data().queue().address.server, longer);
    let other_key: ServerAddress = "smp://1234-w@smp.example.com".parse().unwrap();
    let opened = Parts { server: other_key, ..Parts::new() }.open().unwrap();
    let kept = &opened.request.data().queue().address.server;
    assert_eq!(kept, &server(), "the key hash alone makes no difference");
}

#[test]
fn later_versions_may_add_to_both_parts() {
    let mut parts = Parts::new().change_fixed(|fixed| fixed.extend_from_slice(b"later"));
    parts.user.extend_from_slice(b"later");
    let opened = parts.open().unwrap();
    assert_eq!(opened.link_entity_id, FixedLinkData::from_bytes(&parts.fixed).unwrap().link_entity_id);
    assert_eq!(opened.data.user_data, b"profile");
}
