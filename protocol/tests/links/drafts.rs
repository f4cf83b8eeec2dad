//! Addresses that are known before they are created: agent.md §3.8.

use protocol::agent::address_draft::{AddressDraft, AddressPlan};
use protocol::agent::link_data::UserLinkData;
use protocol::agent::owner_auth::OwnerAuth;
use protocol::agent::signed_link_data::{
    OpenLinkError, OpenedLink, USER_LINK_DATA_BYTES_MAX, WriteLinkError, seal_user_data,
};
use protocol::encoding::{Decode, Encode};
use protocol::smp::address::ServerAddressWithAuth;
use protocol::smp::link_key::{FIXED_BLOB_BYTES, USER_BLOB_BYTES};
use protocol::smp::short_link::{LinkType, ShortLink};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::vectors::{LINK_DATA, Script, ed25519, label, server};

pub(crate) fn plan() -> AddressPlan {
    AddressPlan {
        server: ServerAddressWithAuth::from(server()),
        link_type: LinkType::Channel,
        root_key: ed25519("root"),
        link_entity_id: Some(label::<32>("group").to_vec()),
        client_data: Some(r#"{"type":"group"}"#.into()),
    }
}

pub(crate) fn draft() -> AddressDraft {
    AddressDraft::new(plan(), &mut StdRng::seed_from_u64(1)).unwrap()
}

pub(crate) fn owner(number: u8, signer: &str) -> OwnerAuth {
    let key = ed25519(&format!("owner{number}")).public_key();
    OwnerAuth::issue(&[number; 12], key, &ed25519(signer)).unwrap()
}

/// With the vectors' random values a draft makes the vectors' link.
#[test]
fn a_draft_is_made_as_the_reference_makes_it() {
    let correlation_id = LINK_DATA.bytes("corrId (NEW nonce)");
    let mut rng = Script::new(&[&correlation_id, &label::<32>("qdh"), &label::<24>("n1")]);
    let plan = AddressPlan { link_entity_id: Some(b"entityId".to_vec()), client_data: None, ..plan() };
    let draft = AddressDraft::new(plan, &mut rng).unwrap();
    assert_eq!(draft.correlation_id().as_bytes()[..], correlation_id);
    assert_eq!(draft.sender_id().as_bytes()[..], LINK_DATA.bytes("sndId = sha3-384(corrId)[0..24]"));
    assert_eq!(draft.link_id().as_bytes()[..], LINK_DATA.bytes("link id"));
    LINK_DATA.assert_is("enc fixed", draft.fixed_blob());
}

#[test]
fn the_link_opens_to_what_was_planned() {
    let (draft, mut rng) = (draft(), StdRng::seed_from_u64(2));
    let relay = ShortLink::Contact {
        link_type: LinkType::Group,
        server: server(),
        link_key: label::<32>("relay").into(),
    };
    let data = UserLinkData::group(vec![owner(1, "root")], vec![relay], b"{}".to_vec());
    let user_blob = draft.seal_user_data(&data, &mut rng).unwrap();
    assert_eq!((draft.fixed_blob().len(), user_blob.len()), (FIXED_BLOB_BYTES, USER_BLOB_BYTES));
    let link = draft.short_link();
    assert!(link.to_string().starts_with("https://smp.example.com/c#"), "{link}");
    assert_eq!(link.link_id(), draft.link_id());
    let opened = OpenedLink::open(&link, &draft.sender_id(), draft.fixed_blob(), &user_blob).unwrap();
    assert_eq!((opened.data, opened.link_entity_id), (data, plan().link_entity_id));
    assert_eq!(opened.root_key, draft.root_key().public_key());
    let queue = &opened.request.data().queue().address;
    assert_eq!((queue.sender_id, queue.dh_key), (draft.sender_id(), draft.dh_key().public_key()));
    assert_eq!(opened.request.data().client_data(), plan().client_data.as_deref());
}

/// Trap: the sealed fixed part holds a random nonce, so that it is kept and not made again.
#[test]
fn a_draft_is_kept_byte_by_byte() {
    let draft = draft();
    let kept = AddressDraft::from_bytes(&draft.to_bytes()).unwrap();
    assert_eq!(kept, draft);
    assert_eq!(kept.fixed_blob(), draft.fixed_blob());
    let bytes = draft.to_bytes();
    for cut in [0, 1, bytes.len() / 2, bytes.len() - 1] {
        assert!(AddressDraft::from_bytes(&bytes[..cut]).is_err());
    }
}

#[test]
fn a_draft_does_not_show_its_secrets() {
    let shown = format!("{:?}", draft());
    assert!(!shown.contains(&format!("{:?}", draft().dh_key().as_bytes())));
    assert_eq!(shown.matches("[scrubbed]").count(), 3, "two private keys and the link key: {shown}");
}

#[test]
fn what_readers_would_refuse_is_not_written() {
    let (draft, mut rng) = (draft(), StdRng::seed_from_u64(3));
    let mut seal = |data: &UserLinkData| draft.seal_user_data(data, &mut rng).map(|blob| blob.len());
    let group = |owners| UserLinkData::group(owners, vec![], vec![]);
    assert_eq!(seal(&group(vec![owner(1, "root"), owner(2, "owner1")])), Ok(USER_BLOB_BYTES));
    assert!(matches!(seal(&group(vec![owner(2, "owner1")])), Err(WriteLinkError::Owners(_))));
    assert_eq!(seal(&group(vec![owner(1, "root"); 256])), Err(WriteLinkError::TooMany));
    let invitation = ShortLink::Invitation {
        server: server(),
        link_id: draft.link_id(),
        link_key: draft.short_link().link_key().clone(),
    };
    let data = UserLinkData::group(vec![], vec![invitation], vec![]);
    assert_eq!(seal(&data), Err(WriteLinkError::RelayIsInvitation));
}

#[test]
fn an_owner_may_sign_and_nobody_else() {
    let draft = draft();
    let data = UserLinkData::group(vec![owner(1, "root"), owner(2, "owner1")], vec![], b"new".to_vec());
    let link = draft.short_link();
    let seal = |signer: &str| {
        let mut rng = StdRng::seed_from_u64(4);
        let root_key = draft.root_key().public_key();
        seal_user_data(&data, link.link_key(), &root_key, &ed25519(signer), &mut rng)
    };
    for signer in ["root", "owner1", "owner2"] {
        let blob = seal(signer).unwrap();
        let opened = OpenedLink::open(&link, &draft.sender_id(), draft.fixed_blob(), &blob);
        assert_eq!(opened.unwrap().data, data);
    }
    assert_eq!(seal("stranger"), Err(WriteLinkError::NotOwner));
}

#[test]
fn data_that_does_not_fit_is_refused_with_its_size() {
    let (draft, mut rng) = (draft(), StdRng::seed_from_u64(5));
    assert_eq!(USER_LINK_DATA_BYTES_MAX, 13_717, "agent.md §8");
    let overhead = UserLinkData::direct(vec![0; 255]).to_bytes().len() - 255;
    let fits = UserLinkData::direct(vec![0; USER_LINK_DATA_BYTES_MAX - overhead]);
    let blob = draft.seal_user_data(&fits, &mut rng).unwrap();
    let opened = OpenedLink::open(&draft.short_link(), &draft.sender_id(), draft.fixed_blob(), &blob);
    assert_eq!(opened.unwrap().data, fits);
    for longer in [1, 10_000, 60_000] {
        let data = UserLinkData::direct(vec![0; USER_LINK_DATA_BYTES_MAX - overhead + longer]);
        let error = draft.seal_user_data(&data, &mut rng).unwrap_err();
        let WriteLinkError::TooLarge { bytes, bytes_max } = error else { panic!("{error}") };
        assert!(bytes > bytes_max, "{error}");
    }
    let long = |link_entity_id: usize, client_data: usize| AddressPlan {
        link_entity_id: Some(vec![1; link_entity_id]),
        client_data: Some("x".repeat(client_data)),
        ..plan()
    };
    let mut new = |plan| AddressDraft::new(plan, &mut rng).map(|_| ());
    assert_eq!(new(long(255, 1000)), Ok(()));
    assert_eq!(new(long(256, 0)), Err(WriteLinkError::TooLong));
    assert_eq!(new(long(0, 70_000)), Err(WriteLinkError::TooLong));
    assert!(matches!(new(long(0, 2000)), Err(WriteLinkError::TooLarge { .. })));
}

#[test]
fn another_sender_id_is_a_different_address() {
    let draft = draft();
    let blob = draft.seal_user_data(&UserLinkData::direct(vec![]), &mut StdRng::seed_from_u64(6)).unwrap();
    let mut sender_id = draft.sender_id();
    sender_id.0[0] ^= 1;
    let opened = OpenedLink::open(&draft.short_link(), &sender_id, draft.fixed_blob(), &blob);
    assert_eq!(opened, Err(OpenLinkError::DifferentAddress));
}
