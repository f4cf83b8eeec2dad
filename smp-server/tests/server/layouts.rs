//! smp.md §4.7, §5.2, §6 and §7 by the byte: what each version writes, and which ids a response bears.

use protocol::crypto::dh::{X25519PrivateKey, X25519PublicKey};
use protocol::crypto::hash::sha3_384;
use protocol::crypto::secretbox::BoxKey;
use protocol::crypto::sign::Ed25519PrivateKey;

use crate::host::Host;
use crate::raw::{Bytes, Raw, RawClient, ed25519_key, key, large, short, x25519_key};

const LINK_ID: [u8; 24] = [3; 24];

/// The parameters of `NEW` up to the queue request. The recipient's X25519 key is that of seed 5.
fn new(recipient: &Ed25519PrivateKey, password: &[u8], subscribe: u8) -> Vec<u8> {
    [b"NEW ", &ed25519_key(recipient)[..], &x25519_key(5), password, &[subscribe]].concat()
}

fn derived(correlation_id: &[u8]) -> Vec<u8> {
    sha3_384(correlation_id)[..24].to_vec()
}

fn data() -> Vec<u8> {
    [large(b"fixed"), large(b"user")].concat()
}

struct Created {
    recipient_id: Vec<u8>,
    sender_id: Vec<u8>,
    link_id: Option<Vec<u8>>,
    key: Ed25519PrivateKey,
    secret: BoxKey,
}

/// Reads `IDS` to its last byte.
fn ids(raw: &Raw, version: u16, mode: Option<u8>, with_link: bool, key: Ed25519PrivateKey) -> Created {
    assert_eq!(raw.entity_id, b"");
    let mut bytes = Bytes(&raw.message);
    bytes.expect(b"IDS ");
    let (recipient_id, sender_id) = (bytes.short().to_vec(), bytes.short().to_vec());
    assert_eq!((recipient_id.len(), sender_id.len()), (24, 24));
    bytes.expect(&x25519_key(5)[..13]);
    let server_key = X25519PublicKey(bytes.take(32).try_into().unwrap());
    match mode {
        Some(mode) => bytes.expect(&[b'1', mode]),
        None => bytes.expect(b"0"),
    }
    let link_id = with_link.then(|| {
        bytes.expect(b"1");
        bytes.short().to_vec()
    });
    if !with_link {
        bytes.expect(b"0");
    }
    if version >= 16 {
        bytes.expect(b"0"); // no service
    }
    if version >= 17 {
        bytes.expect(b"0"); // no notifier
    }
    assert!(bytes.0.is_empty(), "nothing more: {:?}", bytes.0);
    let secret = X25519PrivateKey::from_bytes([5; 32]).box_key(&server_key);
    Created { recipient_id, sender_id, link_id, key, secret }
}

async fn create(client: &mut RawClient, version: u16, rest: &[u8], correlation_id: &[u8]) -> (Raw, Created) {
    let (mode, with_link) = match rest {
        [b'0', ..] => (None, false),
        [b'1', mode, link, ..] => (Some(*mode), *link == b'1'),
        _ => panic!("no queue request"),
    };
    let key = key();
    let command = [new(&key, b"0", b'S'), rest.to_vec()].concat();
    let raw = client.ask(client.signed(&key, correlation_id, b"", &command)).await;
    let created = ids(&raw, version, mode, with_link, key);
    (raw, created)
}

#[tokio::test]
async fn new_and_ids_have_the_layout_of_their_version() {
    let host = Host::start("").await;
    for version in 15..=18_u16 {
        let mut client = RawClient::connect(&host, version).await;
        let notifier = if version >= 17 { &b"0"[..] } else { b"" };
        for request in [&b"0"[..], b"1M0", b"1C0"] {
            let (raw, _) = create(&mut client, version, &[request, notifier].concat(), b"corr").await;
            assert_eq!(raw.correlation_id, b"corr");
        }
        let correlation_id = [u8::try_from(version).unwrap(); 24];
        let invitation = [b"1M1", &short(&derived(&correlation_id))[..], &data(), notifier].concat();
        let (_, created) = create(&mut client, version, &invitation, &correlation_id).await;
        assert_eq!(created.sender_id, derived(&correlation_id));
        assert_eq!(created.link_id.unwrap().len(), 24);

        let correlation_id = [version.to_be_bytes()[1].wrapping_add(100); 24];
        let link_id = [u8::try_from(version).unwrap(); 24];
        let ids = [short(&link_id), short(&derived(&correlation_id))].concat();
        let contact = [b"1C1", &ids[..], &data(), notifier].concat();
        let (_, created) = create(&mut client, version, &contact, &correlation_id).await;
        assert_eq!(created.sender_id, derived(&correlation_id));
        assert_eq!(created.link_id.unwrap(), link_id);
        let lnk = [b"LNK ", &short(&created.sender_id)[..], &data()].concat();
        assert_eq!(client.bare_answer(&link_id, b"LGET").await, lnk);
    }
}

#[tokio::test]
async fn layouts_of_other_versions_are_syntax_errors() {
    let host = Host::start("").await;
    for version in 15..=18_u16 {
        let mut client = RawClient::connect(&host, version).await;
        let key = key();
        let start = |password: &[u8], subscribe| new(&key, password, subscribe);
        let notifier = [b"1", &ed25519_key(&key)[..], &x25519_key(6)].concat();
        let wrong_notifier = [b"1", &ed25519_key(&key)[..], &ed25519_key(&key)].concat();
        let modern = version >= 17;
        let end = if modern { &b"0"[..] } else { b"" };
        let cases: Vec<(Vec<u8>, bool)> = vec![
            ([start(b"0", b'S'), b"1M0".to_vec()].concat(), !modern),
            ([start(b"0", b'S'), b"1M00".to_vec()].concat(), modern),
            ([start(b"0", b'C'), b"1M0".to_vec(), notifier].concat(), modern),
            ([start(b"0", b'C'), b"1M0".to_vec(), wrong_notifier].concat(), false),
            ([start(b"0", b'S'), b"1M000".to_vec()].concat(), false),
            ([start(b"0", b'S'), b"T".to_vec()].concat(), false),
            ([start(b"0", b'X'), b"1M0".to_vec(), end.to_vec()].concat(), false),
            ([start(b"0", b'S'), b"1X0".to_vec(), end.to_vec()].concat(), false),
            ([start(b"1\x03a@b", b'S'), b"1M0".to_vec(), end.to_vec()].concat(), false),
            ([start(b"1\x03a b", b'S'), b"1M0".to_vec(), end.to_vec()].concat(), false),
            ([start(b"1\x00", b'S'), b"1M0".to_vec(), end.to_vec()].concat(), true),
            ([start(b"1\x04p\xa1\xffx", b'S'), b"1M0".to_vec(), end.to_vec()].concat(), true),
            ([start(b"A\x01p", b'S'), b"1M0".to_vec(), end.to_vec()].concat(), false),
        ];
        for (command, is_good) in cases {
            let raw = client.ask(client.signed(&key, b"corr", b"", &command)).await;
            let shown = String::from_utf8_lossy(&command[94..]).into_owned();
            if is_good {
                assert!(raw.message.starts_with(b"IDS "), "{version} {shown}");
            } else {
                assert_eq!(raw.message, b"ERR CMD SYNTAX", "{version} {shown}");
            }
        }
    }
}

#[tokio::test]
async fn notifications_have_the_form_of_their_version() {
    let host = Host::start("[times]\nnotification_interval = \"5ms\"").await;
    for (version, sok) in [(15, &b"OK"[..]), (16, b"SOK 0"), (17, b"SOK 0"), (18, b"SOK 0")] {
        let mut client = RawClient::connect(&host, version).await;
        let notifier = if version >= 17 { &b"0"[..] } else { b"" };
        let (_, queue) = create(&mut client, version, &[b"1M0", notifier].concat(), b"corr").await;
        let notifier_key = key();
        let nkey = [b"NKEY ", &ed25519_key(&notifier_key)[..], &x25519_key(6)].concat();
        let nid = client.answer(&queue.key, &queue.recipient_id, &nkey).await;
        let mut bytes = Bytes(&nid);
        bytes.expect(b"NID ");
        let notifier_id = bytes.short().to_vec();
        let server_key = bytes.short();
        assert_eq!((notifier_id.len(), server_key.len(), bytes.0), (24, 44, &b""[..]));
        let server_key: [u8; 32] = server_key[12..].try_into().unwrap();
        let secret = X25519PrivateKey::from_bytes([6; 32]).box_key(&X25519PublicKey(server_key));
        assert_eq!(client.answer(&notifier_key, &notifier_id, b"NSUB").await, sok);
        let mut sender = RawClient::connect(&host, version).await;
        assert_eq!(sender.bare_answer(&queue.sender_id, b"SEND T hello").await, b"OK");
        let message = client.one().await.message;
        assert!(message.starts_with(b"MSG "));
        let event = client.one().await;
        assert_eq!((event.correlation_id, event.entity_id), (Vec::new(), notifier_id));
        let mut bytes = Bytes(&event.message);
        bytes.expect(b"NMSG ");
        let nonce = bytes.take(24).try_into().unwrap();
        let metadata = bytes.short();
        assert_eq!((metadata.len(), bytes.0), (144, &b""[..]));
        let plain = secret.open_padded(nonce, metadata).unwrap();
        assert_eq!((&plain[..25], plain.len()), (&message[4..29], 33));
    }
}

#[tokio::test]
async fn messages_are_one_size_and_their_flags_are_one_letter() {
    let host = Host::start("").await;
    for version in 15..=18_u16 {
        let mut client = RawClient::connect(&host, version).await;
        let mut sender = RawClient::connect(&host, version).await;
        let notifier = if version >= 17 { &b"0"[..] } else { b"" };
        let (_, queue) = create(&mut client, version, &[b"1M0", notifier].concat(), b"corr").await;
        let large = vec![b'x'; 16_048];
        for (flags, body, shown) in [
            (&b"T"[..], &b"hello"[..], b'T'),
            (b"F", b"", b'F'),
            (b"T", b" spaces  inside ", b'T'),
            (b"Tlater", b"flags of a later version", b'T'),
            (b"F", &large, b'F'),
        ] {
            let send = [b"SEND ", flags, b" ", body].concat();
            assert_eq!(sender.bare_answer(&queue.sender_id, &send).await, b"OK");
            let event = client.one().await;
            assert_eq!((event.correlation_id, event.entity_id), (Vec::new(), queue.recipient_id.clone()));
            let mut bytes = Bytes(&event.message);
            bytes.expect(b"MSG ");
            let id = bytes.short().to_vec();
            assert_eq!((id.len(), bytes.0.len()), (24, 16_122));
            let plain = queue.secret.open_padded(id.as_slice().try_into().unwrap(), bytes.0).unwrap();
            assert_eq!(plain[8..], [&[shown, b' '], body].concat());
            let ack = [b"ACK ", &short(&id)[..]].concat();
            assert_eq!(client.answer(&queue.key, &queue.recipient_id, &ack).await, b"OK");
        }
        let too_large = [b"SEND T ", &vec![b'x'; 16_049][..]].concat();
        assert_eq!(sender.bare_answer(&queue.sender_id, &too_large).await, b"ERR LARGE_MSG");
        for malformed in [&b"SEND T"[..], b"SEND X body", b"SEND  T body", b"SEND", b"SEND "] {
            assert_eq!(sender.bare_answer(&queue.sender_id, malformed).await, b"ERR CMD SYNTAX");
        }
    }
}

#[tokio::test]
async fn the_marker_of_a_full_queue_has_its_own_form() {
    let host = Host::start("[limits]\nqueue_quota = 1").await;
    let mut client = RawClient::connect(&host, 18).await;
    let (_, queue) = create(&mut client, 18, b"1M00", b"corr").await;
    let (id, entity) = (queue.recipient_id.clone(), queue.sender_id.clone());
    assert_eq!(client.answer(&queue.key, &id, b"OFF").await, b"OK");
    assert_eq!(client.bare_answer(&entity, b"SEND T x").await, b"ERR AUTH");

    let (_, queue) = create(&mut client, 18, b"1M00", b"corr").await;
    let (id, entity) = (queue.recipient_id.clone(), queue.sender_id.clone());
    let mut sender = RawClient::connect(&host, 18).await;
    assert_eq!(sender.bare_answer(&entity, b"SEND T x").await, b"OK");
    assert_eq!(sender.bare_answer(&entity, b"SEND T y").await, b"ERR QUOTA");
    let event = client.one().await;
    let message_id = event.message[4..29].to_vec();
    let next = client.answer(&queue.key, &id, &[b"ACK ", &message_id[..]].concat()).await;
    let mut bytes = Bytes(&next);
    bytes.expect(b"MSG ");
    let marker = bytes.short();
    let plain = queue.secret.open_padded(marker.try_into().unwrap(), bytes.0).unwrap();
    assert_eq!((&plain[..6], plain.len()), (&b"QUOTA "[..], 14));
}

#[tokio::test]
async fn subscriptions_and_events_have_the_form_of_their_version() {
    let host = Host::start("").await;
    for (version, sok) in [(15, &b"OK"[..]), (16, b"SOK 0"), (17, b"SOK 0"), (18, b"SOK 0")] {
        let mut first = RawClient::connect(&host, version).await;
        let mut second = RawClient::connect(&host, version).await;
        let notifier = if version >= 17 { &b"0"[..] } else { b"" };
        let (_, queue) = create(&mut first, version, &[b"1M0", notifier].concat(), b"corr").await;
        let id = &queue.recipient_id;
        assert_eq!(second.answer(&queue.key, id, b"SUB").await, sok);
        let event = |message: &[u8]| Raw {
            correlation_id: Vec::new(),
            entity_id: id.clone(),
            message: message.to_vec(),
        };
        assert_eq!(first.one().await, event(b"END"));
        assert_eq!(first.answer(&queue.key, id, b"DEL").await, b"OK");
        assert_eq!(second.one().await, event(b"DELD"));
        assert_eq!(second.answer(&queue.key, id, b"DEL").await, b"ERR AUTH");
    }
}

/// smp.md §5.2: the ids of the command come back, and `NEW` and `PING` have no entity.
#[tokio::test]
async fn responses_bear_the_ids_of_their_commands() {
    let host = Host::start("").await;
    let mut client = RawClient::connect(&host, 18).await;
    let correlation_id = [9; 24];
    let ids = [short(&LINK_ID), short(&derived(&correlation_id))].concat();
    let contact = [b"1C1", &ids[..], &data(), b"0"].concat();
    let (raw, queue) = create(&mut client, 18, &contact, &correlation_id).await;
    assert_eq!(raw.correlation_id, correlation_id);
    let (id, owner) = (&queue.recipient_id, &queue.key);
    let sender = key();
    let link = |user: &[u8]| [b"LSET ", &short(&LINK_ID)[..], &large(b"fixed"), &large(user)].concat();
    for (command, expected) in [
        ([b"KEY ", &ed25519_key(&sender)[..]].concat(), &b"OK"[..]),
        ([b"RKEY \x01", &ed25519_key(owner)[..]].concat(), b"OK"),
        (b"RKEY \x00".to_vec(), b"ERR CMD SYNTAX"),
        (link(b"changed"), b"OK"),
        (b"SUB".to_vec(), b"SOK 0"),
        (b"GET".to_vec(), b"ERR CMD PROHIBITED"),
        (b"ACK \x00".to_vec(), b"ERR NO_MSG"),
        (b"ACK \x03abc".to_vec(), b"ERR NO_MSG"),
        (b"QUE extra".to_vec(), b"ERR CMD SYNTAX"),
        (b"NDEL".to_vec(), b"OK"),
        (b"OFF".to_vec(), b"OK"),
        (b"LDEL".to_vec(), b"OK"),
        (b"FOO".to_vec(), b"ERR CMD UNKNOWN"),
        (b"NEW".to_vec(), b"ERR CMD SYNTAX"),
    ] {
        assert_eq!(
            client.answer(owner, id, &command).await,
            expected,
            "{}",
            String::from_utf8_lossy(&command)
        );
    }
    assert_eq!(client.bare_answer(b"", b"PING").await, b"PONG");
    assert_eq!(client.bare_answer(b"", b"SEND T x").await, b"ERR CMD NO_ENTITY");
    assert_eq!(client.bare_answer(b"some id", b"PING").await, b"ERR CMD HAS_AUTH");
    let info = client.answer(owner, id, b"QUE").await;
    let expected = br#"INFO {"qiSnd":true,"qiNtf":false,"qiSub":{"qSubThread":"noSub"},"qiSize":0}"#;
    assert_eq!(String::from_utf8_lossy(&info), String::from_utf8_lossy(expected));
}

/// An unsigned response of a client that sends nothing else: `01`, length, `00`, ids, words.
#[tokio::test]
async fn a_response_block_is_as_the_vectors_say() {
    let host = Host::start("").await;
    let mut client = RawClient::connect(&host, 18).await;
    let nonce: Vec<u8> = (0..24).collect();
    let ping = [b"\x01\x00\x1f\x00\x18", &nonce[..], b"\x00PING"].concat();
    client.send_content(&ping).await;
    let pong = [b"\x01\x00\x1f\x00\x18", &nonce[..], b"\x00PONG"].concat();
    assert_eq!(client.content().await.unwrap(), pong);
}
