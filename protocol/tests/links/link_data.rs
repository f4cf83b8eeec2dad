//! Derivations and the two parts of link data: agent.md A.9, smp.md §21.5.

use protocol::agent::connection_request::{AGENT_VERSIONS, ConnectionRequest, RequestData};
use protocol::agent::link_data::{FixedLinkData, InvitationLinkData, UserLinkData};
use protocol::agent::owner_auth::{OwnerAuth, check_owner_chain};
use protocol::agent::signed_link_data::{OpenedInvitation, OpenedLink, seal_user_data};
use protocol::crypto::secretbox::BoxKey;
use protocol::encoding::{Decode, Encode, Reader};
use protocol::smp::ids::{LinkId, SenderId};
use protocol::smp::link_key::{LinkKey, Part};
use protocol::smp::queue_uri::{QueueMode, QueueUri};
use protocol::smp::short_link::{LinkType, ShortLink};

use crate::vectors::{
    DERIVATION, LINK_DATA, Script, ed25519, label, offer, queue, server, server_with_two_hosts,
};

/// Checks a derived blob key by what it opens.
fn assert_blob_key(key: &protocol::smp::link_key::BlobKey, expected: &[u8]) {
    let expected = BoxKey::new(expected.try_into().unwrap());
    let blob = key.seal(Part::Fixed, &[9; 24], b"data").unwrap();
    assert_eq!(expected.open_padded(&[9; 24], &blob[24..]), Ok(b"data".to_vec()));
}

#[test]
fn keys_and_ids_are_derived() {
    let link_key = LinkKey::try_from(DERIVATION.bytes("linkKey").as_slice()).unwrap();
    let (link_id, key) = link_key.contact();
    assert_eq!(link_id.as_bytes()[..], DERIVATION.bytes("contact linkId"));
    assert_blob_key(&key, &DERIVATION.bytes("contact key"));
    assert_blob_key(&link_key.invitation(), &DERIVATION.bytes("invitation key"));
    let sender_id = SenderId::for_correlation(&DERIVATION.bytes("corrId"));
    assert_eq!(sender_id.as_bytes()[..], DERIVATION.bytes("sndId"), "SHA3-384, not SHA3-256");
}

/// Splits signed data.
fn unsigned(signed: &[u8]) -> (&[u8], &[u8]) {
    let mut reader = Reader::new(signed);
    let signature = reader.short().unwrap();
    (signature, reader.tail())
}

fn owners() -> Vec<OwnerAuth> {
    let owner = |id: &str, key: &str, signer: &str| {
        OwnerAuth::issue(&label::<12>(id), ed25519(key).public_key(), &ed25519(signer)).unwrap()
    };
    vec![owner("ownerId1", "owner1", "root"), owner("ownerId2", "owner2", "owner1")]
}

/// The user data of the vectors; the relay is known from them only.
fn user_data() -> UserLinkData {
    let signed = LINK_DATA.bytes("user data signed (root)");
    let data = UserLinkData::from_bytes(unsigned(&signed).1).unwrap();
    assert!(matches!(data.relays[..], [ShortLink::Contact { link_type: LinkType::Relay, .. }]));
    assert_eq!(
        (data.versions, &data.owners, data.user_data.as_slice()),
        (AGENT_VERSIONS, &owners(), &b"user data"[..])
    );
    data
}

#[test]
fn a_contact_link() {
    let root_key = ed25519("root");
    let signed = LINK_DATA.bytes("fixed data (signed: 40 len + sig64 + FixedLinkData)");
    let (signature, bytes) = unsigned(&signed);
    root_key.public_key().verify(bytes, signature).unwrap();
    let fixed = FixedLinkData::from_bytes(bytes).unwrap();
    assert_eq!(fixed.to_bytes(), bytes);
    assert_eq!(fixed.root_key, root_key.public_key());
    assert!(fixed.link_entity_id.is_some());

    let link_key = LinkKey::of(bytes);
    assert_eq!(link_key.as_bytes()[..], LINK_DATA.bytes("link key = sha3-256(FixedLinkData)"));
    let (link_id, blob_key) = link_key.contact();
    assert_eq!(link_id.as_bytes()[..], LINK_DATA.bytes("link id"));
    assert_blob_key(&blob_key, &LINK_DATA.bytes("sb key"));
    let fixed_blob = blob_key.seal(Part::Fixed, &label("n1"), &signed).unwrap();
    LINK_DATA.assert_is("enc fixed", &fixed_blob);

    assert_eq!(owners()[0].to_bytes(), LINK_DATA.bytes("OwnerAuth 1 smp"));
    check_owner_chain(&owners(), &root_key.public_key()).unwrap();
    let data = user_data();
    let mut rng = Script::new(&[&label::<24>("n2")]);
    let user_blob = seal_user_data(&data, &link_key, &root_key.public_key(), &root_key, &mut rng).unwrap();
    LINK_DATA.assert_is("enc user", &user_blob);

    let queue = &fixed.request.data().queue().address;
    let link = ShortLink::Contact { link_type: LinkType::Channel, server: queue.server.clone(), link_key };
    let opened = OpenedLink::open(&link, &queue.sender_id, &fixed_blob, &user_blob).unwrap();
    assert_eq!((opened.request, opened.link_entity_id), (fixed.request, fixed.link_entity_id));
    assert_eq!((opened.root_key, opened.data), (fixed.root_key, data));
}

#[test]
fn user_data_lengths() {
    let field = |data: &[u8]| UserLinkData::direct(data.to_vec()).to_bytes()[8..].to_vec();
    assert_eq!(field(b"user data"), LINK_DATA.bytes("UserLinkData short"));
    LINK_DATA.assert_is("UserLinkData 300", &field(&[b'x'; 300]));
}

#[test]
fn a_one_time_link() {
    let signed_fixed = LINK_DATA.bytes("inv fixed data signed");
    let (_, bytes) = unsigned(&signed_fixed);
    let fixed = FixedLinkData::from_bytes(bytes).unwrap();
    let uri = QueueUri::new(queue(server(), Some(QueueMode::Messaging)));
    let data = RequestData::new(uri, None).unwrap();
    let request = ConnectionRequest::Invitation { data, offer: offer() };
    let root_key = ed25519("root").public_key();
    let expected = FixedLinkData { versions: AGENT_VERSIONS, root_key, request, link_entity_id: None };
    assert_eq!((fixed.to_bytes(), &fixed), (bytes.to_vec(), &expected));

    let link_key = LinkKey::of(bytes);
    assert_eq!(link_key.as_bytes()[..], LINK_DATA.bytes("inv link key"));
    let blob_key = link_key.invitation();
    assert_blob_key(&blob_key, &LINK_DATA.bytes("inv sb key"));
    let signed_user = LINK_DATA.bytes("inv user data signed");
    let data = InvitationLinkData { versions: AGENT_VERSIONS, user_data: b"user data".to_vec() };
    assert_eq!(unsigned(&signed_user).1, data.to_bytes());

    let link = ShortLink::Invitation { server: server_with_two_hosts(), link_id: LinkId([1; 24]), link_key };
    let fixed_blob = blob_key.seal(Part::Fixed, &[1; 24], &signed_fixed).unwrap();
    let user_blob = blob_key.seal(Part::User, &[2; 24], &signed_user).unwrap();
    let sender_id = SenderId(label("sndId"));
    let opened = OpenedInvitation::open(&link, &sender_id, &fixed_blob, &user_blob).unwrap();
    assert_eq!(opened.data, data);
    let server = &opened.request.data().queue().address.server;
    assert_eq!(server, link.server(), "the link's address replaces one with fewer hosts");
    assert!(OpenedLink::open(&link, &sender_id, &fixed_blob, &user_blob).is_err(), "it is no contact link");
}
