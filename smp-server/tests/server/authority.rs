//! smp.md §5.3, §5.4, §5.6: which keys and signatures a command may come with, and in which order it is refused.

use ed448_goldilocks_plus::{ScalarBytes, SigningKey as Ed448Key};
use protocol::crypto::sign::Ed25519PrivateKey;

use crate::host::Host;
use crate::raw::{RawClient, ed25519_key, key, large, short, x25519_key};

fn ed448(seed: u8) -> Ed448Key {
    Ed448Key::from(ScalarBytes::from([seed; 57]))
}

fn ed448_key(key: &Ed448Key) -> Vec<u8> {
    let raw = key.verifying_key().to_bytes();
    short(&[&[0x30, 0x43, 0x30, 5, 6, 3, 0x2b, 0x65, 0x71, 3, 0x3a, 0], &raw[..]].concat())
}

fn signed_448(
    client: &RawClient,
    key: &Ed448Key,
    correlation_id: &[u8],
    entity_id: &[u8],
    command: &[u8],
) -> Vec<u8> {
    let signature = key.sign_raw(&client.authorized(correlation_id, entity_id, command)).to_bytes();
    client.transmission(&signature, correlation_id, entity_id, command)
}

/// With a good entity signature, and this in place of the tag of a missing service signature.
fn with_service(
    client: &RawClient,
    key: &Ed25519PrivateKey,
    entity_id: &[u8],
    command: &[u8],
    service: &[u8],
) -> Vec<u8> {
    let signature = key.sign(&client.authorized(b"corr", entity_id, command));
    [&short(&signature)[..], service, &short(b"corr"), &short(entity_id), command].concat()
}

fn new(recipient_key: &[u8], rest: &[u8]) -> Vec<u8> {
    [b"NEW ", recipient_key, &x25519_key(5), rest].concat()
}

/// A new queue: recipient id and sender id.
async fn create(client: &mut RawClient, owner: &Ed25519PrivateKey, rest: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let command = new(&ed25519_key(owner), rest);
    let ids = client.ask(client.signed(owner, b"corr", b"", &command)).await.message;
    assert!(ids.starts_with(b"IDS "), "{}", String::from_utf8_lossy(&ids));
    (ids[5..29].to_vec(), ids[30..54].to_vec())
}

#[tokio::test]
async fn ed448_keys_authorise_recipients_and_senders() {
    let host = Host::start("").await;
    for version in [15, 18] {
        let mut client = RawClient::connect(&host, version).await;
        let (owner, other, sender) = (ed448(1), ed448(2), ed448(3));
        let rest = if version >= 17 { &b"0S1M00"[..] } else { b"0S1M0" };
        let command = new(&ed448_key(&owner), rest);
        let forged = client.ask(signed_448(&client, &other, b"corr", b"", &command)).await;
        assert_eq!(forged.message, b"ERR AUTH");
        let ids = client.ask(signed_448(&client, &owner, b"corr", b"", &command)).await.message;
        let (id, sender_id) = (ids[5..29].to_vec(), ids[30..54].to_vec());
        let secure = [b"KEY ", &ed448_key(&sender)[..]].concat();
        for (key, expected) in [(&other, &b"ERR AUTH"[..]), (&owner, b"OK"), (&owner, b"OK")] {
            let answer = client.ask(signed_448(&client, key, b"corr", &id, &secure)).await;
            assert_eq!(answer.message, expected);
        }
        for (key, expected) in [(&owner, &b"ERR AUTH"[..]), (&sender, b"OK")] {
            let mut connection = RawClient::connect(&host, version).await;
            let send = signed_448(&connection, key, b"corr", &sender_id, b"SEND F hello");
            assert_eq!(connection.ask(send).await.message, expected);
        }
        assert!(client.one().await.message.starts_with(b"MSG "));
    }
}

#[tokio::test]
async fn an_x448_key_authorises_nothing() {
    let host = Host::start("").await;
    let mut client = RawClient::connect(&host, 18).await;
    let owner = key();
    let x448 = short(&[&[0x30, 0x42, 0x30, 5, 6, 3, 0x2b, 0x65, 0x6f, 3, 0x39, 0], &[7; 56][..]].concat());
    let long = short(&[&ed25519_key(&owner)[1..], b"x"].concat());
    for bad in [x448, long, short(b"")] {
        let command = new(&bad, b"0S1M00");
        let answer = client.ask(client.signed(&owner, b"corr", b"", &command)).await;
        assert_eq!(answer.message, b"ERR CMD SYNTAX");
        let secure = [b"KEY ", &bad[..]].concat();
        assert_eq!(client.answer(&owner, &[1; 24], &secure).await, b"ERR CMD SYNTAX");
    }
}

#[tokio::test]
async fn a_session_without_a_service_has_no_service_signatures() {
    let host = Host::start("").await;
    let mut client = RawClient::connect(&host, 18).await;
    let owner = key();
    let (id, sender_id) = create(&mut client, &owner, b"0C1M00").await;
    let service = [b"1", &short(&[7; 64])[..]].concat();
    let fresh = new(&ed25519_key(&key()), b"0C1M00");
    for (entity, command, expected) in [
        (&id[..], &b"SUB"[..], &b"ERR SERVICE"[..]),
        (&id, b"QUE", b"ERR SERVICE"),
        (&id, b"NDEL", b"ERR SERVICE"),
        (&sender_id, b"SEND T x", b"ERR SERVICE"),
        (b"", &fresh, b"ERR SERVICE"),
        // An unknown entity is found first, and form and credentials before it.
        (&[1; 24], b"SUB", b"ERR AUTH"),
        (&[1; 24], b"NSUB", b"ERR AUTH"),
        (b"", b"SUB", b"ERR CMD NO_AUTH"),
        (b"", b"PING", b"ERR CMD HAS_AUTH"),
        (&id, b"SUB ", b"ERR CMD SYNTAX"),
    ] {
        let answer = client.ask(with_service(&client, &owner, entity, command, &service)).await;
        assert_eq!((answer.entity_id.as_slice(), answer.message.as_slice()), (entity, expected));
        assert_eq!(answer.correlation_id, b"corr");
    }
    // What is no service signature makes the transmission unreadable.
    for odd in [&b"2"[..], b"", &[b"1", &short(&[7; 63])[..]].concat(), b"1\x00"] {
        let answer = client.ask(with_service(&client, &owner, &id, b"SUB", odd)).await;
        assert_eq!((answer.entity_id, answer.message), (Vec::new(), b"ERR BLOCK".to_vec()), "{odd:?}");
    }
    assert_eq!(client.answer(&owner, &id, b"SUB").await, b"SOK 0");

    // Version 15 has no such field.
    let mut old = RawClient::connect(&host, 15).await;
    let with_field = with_service(&old, &owner, &id, b"SUB", b"0");
    old.send(&[with_field]).await;
    assert_eq!(old.one().await.message, b"ERR BLOCK");
    let without = with_service(&old, &owner, &id, b"SUB", b"");
    assert_eq!(old.ask(without).await.message, b"OK");
}

#[tokio::test]
async fn services_and_proxies_are_refused_as_the_specification_says() {
    let host = Host::start("[proxy]\nforward = \"off\"").await;
    let mut client = RawClient::connect(&host, 18).await;
    let someone = key();
    for command in [&b"SUBS"[..], b"NSUBS"] {
        assert_eq!(client.answer(&someone, &[1; 24], command).await, b"ERR SERVICE");
        assert_eq!(client.bare_answer(&[1; 24], command).await, b"ERR CMD NO_AUTH");
        assert_eq!(client.answer(&someone, b"", command).await, b"ERR CMD NO_AUTH");
    }
    let server = [b"\x01\x09localhost\x045223", &short(&[7; 32])[..]].concat();
    for password in [&b"0"[..], b"1\x03abc"] {
        let prxy = [b"PRXY ", &server[..], password].concat();
        assert_eq!(client.bare_answer(b"", &prxy).await, b"ERR PROXY BASIC_AUTH");
        assert_eq!(client.answer(&someone, b"", &prxy).await, b"ERR CMD HAS_AUTH");
        assert_eq!(client.bare_answer(b"x", &prxy).await, b"ERR CMD HAS_AUTH");
        assert_eq!(client.bare_answer(b"", &[&prxy[..], b"x"].concat()).await, b"ERR CMD SYNTAX");
    }
    let pfwd = [b"PFWD \x00\x11", &x25519_key(5)[..], b"sealed"].concat();
    assert_eq!(client.bare_answer(b"session", &pfwd).await, b"ERR PROXY NO_SESSION");
    assert_eq!(client.bare_answer(b"", &pfwd).await, b"ERR CMD NO_ENTITY");
    assert_eq!(client.answer(&someone, b"session", &pfwd).await, b"ERR CMD HAS_AUTH");
    assert_eq!(client.bare_answer(b"", b"RFWD sealed").await, b"ERR PROXY BROKER TRANSPORT NO_AUTH");
    assert_eq!(client.bare_answer(b"x", b"RFWD sealed").await, b"ERR CMD HAS_AUTH");
    assert_eq!(client.bare_answer(b"", b"PING").await, b"PONG");
}

/// smp.md §9.3: authorisation, then size, then status.
#[tokio::test]
async fn send_is_refused_in_order() {
    let host = Host::start("").await;
    let mut client = RawClient::connect(&host, 18).await;
    let (owner, sender) = (key(), key());
    let (id, sender_id) = create(&mut client, &owner, b"0C1M00").await;
    let large = [b"SEND T ", &vec![b'x'; 16_049][..]].concat();
    assert_eq!(client.answer(&sender, &sender_id, &large).await, b"ERR AUTH", "signed, but not secured");
    assert_eq!(client.bare_answer(&sender_id, &large).await, b"ERR LARGE_MSG");
    let secure = [b"SKEY ", &ed25519_key(&sender)[..]].concat();
    assert_eq!(client.answer(&sender, &sender_id, &secure).await, b"OK");
    assert_eq!(client.bare_answer(&sender_id, &large).await, b"ERR AUTH");
    assert_eq!(client.answer(&sender, &sender_id, &large).await, b"ERR LARGE_MSG");
    assert_eq!(client.answer(&owner, &id, b"OFF").await, b"OK");
    assert_eq!(client.answer(&sender, &sender_id, &large).await, b"ERR LARGE_MSG");
    assert_eq!(client.answer(&sender, &sender_id, b"SEND T x").await, b"ERR AUTH");
    assert_eq!(client.answer(&sender, &sender_id, &secure).await, b"OK", "off, and still to be secured");
}

/// smp.md §9.3: signature, then permission, then the ids that the client chose.
#[tokio::test]
async fn new_is_refused_in_order() {
    let open = Host::start("").await;
    let closed = Host::start("[access]\nnew_queues = false").await;
    let chosen = [b"0S1M1", &short(&[1; 24])[..], &large(b"fixed"), &large(b"user"), b"0"].concat();
    let (owner, other) = (key(), key());
    let command = new(&ed25519_key(&owner), &chosen);
    for (host, mine) in [(&open, &b"ERR CMD PROHIBITED"[..]), (&closed, b"ERR AUTH")] {
        let mut client = RawClient::connect(host, 18).await;
        assert_eq!(client.answer(&owner, b"", &command).await, mine);
        assert_eq!(client.answer(&other, b"", &command).await, b"ERR AUTH");
        assert_eq!(client.bare_answer(b"", &command).await, b"ERR CMD NO_AUTH");
        assert_eq!(client.bare_answer(b"x", &command).await, b"ERR CMD NO_AUTH");
        assert_eq!(client.answer(&owner, b"x", &command).await, b"ERR CMD HAS_AUTH");
    }
}

#[tokio::test]
async fn a_queue_without_a_mode_is_for_whoever_comes_until_it_is_secured() {
    let host = Host::start("").await;
    let mut client = RawClient::connect(&host, 18).await;
    let (owner, sender) = (key(), key());
    let (id, sender_id) = create(&mut client, &owner, b"0C00").await;
    let link_id = [4; 24];
    let set = |user: &[u8]| [b"LSET ", &short(&link_id)[..], &large(b"fixed"), &large(user)].concat();
    let lnk = |user: &[u8]| [b"LNK ", &short(&sender_id)[..], &large(b"fixed"), &large(user)].concat();
    assert_eq!(client.answer(&owner, &id, &set(b"one")).await, b"OK");
    assert_eq!(client.bare_answer(&link_id, b"LGET").await, lnk(b"one"));
    for tag in ["SKEY ", "LKEY "] {
        let entity = if tag == "SKEY " { &sender_id[..] } else { &link_id };
        let secure = [tag.as_bytes(), &ed25519_key(&sender)].concat();
        assert_eq!(client.answer(&sender, entity, &secure).await, b"ERR AUTH", "{tag}");
    }
    let keys = [b"RKEY \x01", &ed25519_key(&owner)[..]].concat();
    assert_eq!(client.answer(&owner, &id, &keys).await, b"ERR AUTH");
    let secure = [b"KEY ", &ed25519_key(&sender)[..]].concat();
    assert_eq!(client.answer(&owner, &id, &secure).await, b"OK");
    assert_eq!(client.bare_answer(&link_id, b"LGET").await, b"ERR AUTH");
    assert_eq!(client.answer(&owner, &id, &set(b"two")).await, b"ERR AUTH");
    assert_eq!(client.answer(&owner, &id, b"LDEL").await, b"OK");
}

#[tokio::test]
async fn a_secured_contact_queue_keeps_its_link() {
    let host = Host::start("").await;
    let mut client = RawClient::connect(&host, 18).await;
    let (owner, sender) = (key(), key());
    let (id, sender_id) = create(&mut client, &owner, b"0C1C00").await;
    let link_id = [4; 24];
    let set = |user: &[u8]| [b"LSET ", &short(&link_id)[..], &large(b"fixed"), &large(user)].concat();
    let lnk = |user: &[u8]| [b"LNK ", &short(&sender_id)[..], &large(b"fixed"), &large(user)].concat();
    let secure = [b"KEY ", &ed25519_key(&sender)[..]].concat();
    assert_eq!(client.answer(&owner, &id, &secure).await, b"OK");
    assert_eq!(client.answer(&owner, &id, &set(b"one")).await, b"OK");
    assert_eq!(client.answer(&sender, &sender_id, b"SEND T x").await, b"OK");
    assert_eq!(client.answer(&owner, &id, &set(b"two")).await, b"OK");
    assert_eq!(client.bare_answer(&link_id, b"LGET").await, lnk(b"two"));
    // A link that was deleted makes room for another.
    assert_eq!(client.answer(&owner, &id, b"LDEL").await, b"OK");
    let other = [b"LSET ", &short(&[5; 24])[..], &large(b"other"), &large(b"x")].concat();
    assert_eq!(client.answer(&owner, &id, &other).await, b"OK");
    assert_eq!(client.bare_answer(&link_id, b"LGET").await, b"ERR AUTH");
}

#[tokio::test]
async fn what_is_signed_binds_session_ids_and_command() {
    let host = Host::start("").await;
    let mut client = RawClient::connect(&host, 18).await;
    let mut other = RawClient::connect(&host, 18).await;
    let owner = key();
    let (id, _) = create(&mut client, &owner, b"0C1M00").await;
    assert_ne!(client.session_id(), other.session_id());
    let replayed = client.signed(&owner, b"corr", &id, b"QUE");
    assert_eq!(other.ask(replayed.clone()).await.message, b"ERR AUTH");
    assert!(client.ask(replayed).await.message.starts_with(b"INFO "));
    let signature = owner.sign(&client.authorized(b"corr", &id, b"QUE"));
    for (correlation_id, command) in [(&b"co"[..], &b"QUE"[..]), (b"corr", b"DEL"), (b"", b"QUE")] {
        let altered = client.transmission(&signature, correlation_id, &id, command);
        assert_eq!(client.ask(altered).await.message, b"ERR AUTH");
    }
}
