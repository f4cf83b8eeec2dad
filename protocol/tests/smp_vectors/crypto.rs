//! Cases with keys in them.

use protocol::crypto::dh::{X25519PrivateKey, X25519PublicKey};
use protocol::crypto::secretbox::BoxKey;
use protocol::crypto::sign::Ed25519PrivateKey;
use protocol::crypto::{hash, kdf, padding};
use protocol::smp::authorize::{AuthorizedBy, Authorizer, Verifier};
use protocol::smp::error::ErrorType;
use protocol::smp::ids::{MessageId, SenderId};
use protocol::smp::key::{AuthPrivateKey, Authenticator};
use protocol::smp::message::{NotificationMetadata, ReceivedMessage, seal_message, seal_quota};
use protocol::smp::transmission::{Transmission, authorized_bytes};
use protocol::timestamp::Timestamp;
use protocol::transport::block::BlockCipher;
use protocol::transport::certified_key::{CertificateKey, SignedKey};

use crate::case::{Case, bytes};

fn private(case: &Case, name: &str) -> X25519PrivateKey {
    X25519PrivateKey::from_bytes(case.array(name))
}

pub(crate) fn dh(case: &Case) {
    let shared = private(case, "private").diffie_hellman(&X25519PublicKey(case.array("public")));
    case.assert_eq(shared, case.array("shared"));
}

pub(crate) fn sealed_box(case: &Case) {
    let key = BoxKey::new(&case.array("secret"));
    let (nonce, message, sealed) = (case.array("nonce"), case.bytes("message"), case.bytes("sealed"));
    let size = case.maybe("size").map(|size| size.parse::<usize>().unwrap());
    let opened = match size {
        None => key.open(&nonce, &sealed),
        Some(_) => key.open_padded(&nonce, &sealed),
    };
    if let Some(opened) = case.expect(opened) {
        case.assert_eq(opened, message.clone());
        let ours = match size {
            None => key.seal(&nonce, &message),
            Some(size) => key.seal_padded(&nonce, &message, size).unwrap(),
        };
        case.assert_eq(ours, sealed);
    }
}

pub(crate) fn pad(case: &Case) {
    if let Some(padded) = case.expect(padding::pad(&case.bytes("message"), case.number("size"))) {
        case.assert_eq(padded, case.bytes("padded"));
    }
}

pub(crate) fn unpad(case: &Case) {
    if let Some(message) = case.expect(padding::unpad(&case.bytes("padded"))) {
        case.assert_eq(message, &case.bytes("message"));
    }
}

pub(crate) fn hkdf(case: &Case) {
    let info = String::from_utf8(case.bytes("info")).unwrap();
    case.assert_eq(kdf::hkdf::<56>(b"", &case.bytes("key"), &info).to_vec(), case.bytes("derived"));
}

pub(crate) fn authorized(case: &Case) {
    let (session, corr) = (case.bytes("session"), case.bytes("corr"));
    let ours = authorized_bytes(&session, &corr, &case.bytes("entity"), &case.bytes("command"));
    case.assert_eq(&ours, &case.bytes("authorized"));
    case.assert_eq(hash::sha512(&ours), case.array("sha512"));
}

/// Makes the authenticator where the case says it is right, and checks it either way.
pub(crate) fn authenticator(case: &Case) {
    let key = match case.text("algorithm") {
        "X25519" => AuthPrivateKey::X25519(private(case, "private")),
        _ => AuthPrivateKey::Ed25519(Ed25519PrivateKey::from_seed(&case.array("private"))),
    };
    if let Some(public) = case.maybe_bytes("public") {
        case.assert_eq(key.public_key().to_der(), public);
    }
    let server = private(case, "server_private");
    let (session, corr, entity) = (case.bytes("session"), case.bytes("corr"), case.bytes("entity"));
    let command = case.bytes("command");
    let given = Authenticator::try_from(&case.bytes("authenticator")[..]).unwrap();

    let verifier = Verifier { session_id: &session, own_key: &server, service: None };
    let transmission =
        Transmission { authenticator: given.clone(), ..Transmission::unauthorized(&corr, &entity, &command) };
    let verified = verifier.verify(&transmission, AuthorizedBy::Keys(&[key.public_key()]));
    assert_eq!(verified.checks, 1, "{}", case.name);
    let outcome = if verified.is_authorized { Ok(()) } else { Err("AUTH") };
    if case.expect(outcome).is_some() {
        let server_key = server.public_key();
        let authorizer = Authorizer { session_id: &session, server_key: &server_key };
        let ours = authorizer.authorize(&key, &corr, &entity, &command).authenticator;
        case.assert_eq(ours, given);
    }
}

pub(crate) fn block(case: &Case) {
    let (client, server) = (private(case, "client_private"), private(case, "server_private"));
    let (session, shared) = (case.bytes("session"), case.bytes("shared"));
    let chains = kdf::hkdf::<64>(&session, &shared, "SimpleXSbChainInit");
    let to_server = case.bytes("chain_to_server");
    case.assert_eq(chains.to_vec(), [case.bytes("chain_to_client"), to_server.clone()].concat());
    let mut chain = to_server;
    for expected in case.all("step") {
        let step = kdf::hkdf::<88>(b"", &chain, "SimpleXSbChain");
        case.assert_eq(step.to_vec(), bytes(expected));
        chain = step[..32].to_vec();
    }

    let mut sender = BlockCipher::client(&session, &client, &server.public_key());
    let mut receiver = BlockCipher::server(&session, &server, &client.public_key());
    let content = case.bytes("content");
    let mut block: [u8; 16_384] = sender.send.seal(&content).unwrap().try_into().unwrap();
    assert!(block.starts_with(&case.bytes("block_start")), "{}", case.name);
    case.assert_eq(hash::sha256(&block), case.array("block_sha256"));
    case.assert_eq(receiver.receive.open(&mut block), Ok(&content[..]));
}

pub(crate) fn sender_id(case: &Case) {
    case.assert_eq(SenderId::for_correlation(&case.bytes("corr")), SenderId(case.array("sender_id")));
}

pub(crate) fn signed_key(case: &Case) {
    let object = case.bytes("object");
    let signer = Ed25519PrivateKey::from_seed(&case.array("seed"));
    let leaf = CertificateKey::Ed25519(signer.public_key());
    let parsed = match SignedKey::from_der(&object) {
        Ok(parsed) => parsed,
        Err(_) => return assert_eq!(case.text("expect"), "malformed", "{}", case.name),
    };
    case.assert_eq(parsed.to_der(), object);
    if let Some(key) = case.expect(parsed.verify_x25519(&leaf)) {
        case.assert_eq(key, X25519PublicKey(case.array("key")));
        case.assert_eq(SignedKey::sign_x25519(&key, &signer.clone().into()), parsed);
        let signed = case.bytes("signed_bytes");
        let signature = signer.sign(&signed);
        assert!(case.bytes("object").ends_with(&signature), "{}", case.name);
    }
}

pub(crate) fn message_body(case: &Case) {
    let (key, id, time) = sealed_by(case);
    let body = case.bytes("body");
    let notify = case.text("notify") == "T";
    let sealed = seal_message(&key, &id, time, notify, &body).unwrap();
    assert_sealed(case, &sealed);
    let expected = ReceivedMessage::Message { received_at: time, notify, body };
    case.assert_eq(ReceivedMessage::open(&key, &id, &sealed), Ok(expected));
}

pub(crate) fn message_quota(case: &Case) {
    let (key, id, time) = sealed_by(case);
    let sealed = seal_quota(&key, &id, time).unwrap();
    assert_sealed(case, &sealed);
    let expected = ReceivedMessage::Quota { refused_at: time };
    case.assert_eq(ReceivedMessage::open(&key, &id, &sealed), Ok(expected));
}

pub(crate) fn notification(case: &Case) {
    let (key, message_id, received_at) = sealed_by(case);
    let metadata = NotificationMetadata { message_id, received_at };
    let sealed = metadata.seal(&key, &case.array("nonce")).unwrap();
    case.assert_eq(&sealed, &case.bytes("sealed"));
    case.assert_eq(NotificationMetadata::open(&key, &case.array("nonce"), &sealed), Ok(metadata));
}

fn sealed_by(case: &Case) -> (BoxKey, MessageId, Timestamp) {
    let time = Timestamp::from_seconds(case.number("seconds"));
    (BoxKey::new(&case.array("shared")), MessageId(case.array("id")), time)
}

fn assert_sealed(case: &Case, sealed: &[u8]) {
    case.assert_eq(sealed.len(), case.number("length"));
    assert!(sealed.starts_with(&case.bytes("start")), "{}", case.name);
    case.assert_eq(hash::sha256(sealed), case.array("sha256"));
}

/// The texts that cases expect of refused credentials.
pub(crate) fn wire_text(error: &ErrorType) -> String {
    let mut out = Vec::new();
    error.encode(18, &mut out);
    String::from_utf8(out).unwrap()
}
