//! Who may do what, and how many checks every "no" takes (smp.md §5.3, §5.4, §5.6).
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use ed448_goldilocks_plus::{ScalarBytes, SigningKey as Ed448Key};
use protocol::crypto::CryptoError;
use protocol::crypto::dh::X25519PrivateKey;
use protocol::crypto::sign::{Ed448PublicKey, Ed25519PrivateKey, Ed25519PublicKey};
use protocol::smp::authorize::{AgreedKeys, AuthorizedBy, Authorizer, DUMMY_KEYS, Verification, Verifier};
use protocol::smp::command::Command;
use protocol::smp::error::{CommandError, ErrorType};
use protocol::smp::ids::ServiceId;
use protocol::smp::key::{AuthPrivateKey, AuthPublicKey, Authenticator};
use protocol::smp::transmission::Transmission;
use protocol::transport::handshake::AcceptedService;
use protocol::transport::hello::ServiceRole;

const SESSION: &[u8] = &[0x11; 32];
const CORRELATION: &[u8] = &[0x22; 24];
const ENTITY: &[u8] = &[0x33; 24];
const FINGERPRINT: [u8; 32] = [0x44; 32];

fn server_key() -> X25519PrivateKey {
    X25519PrivateKey::from_bytes([5; 32])
}

fn ed25519(seed: u8) -> AuthPrivateKey {
    AuthPrivateKey::Ed25519(Ed25519PrivateKey::from_seed(&[seed; 32]))
}

fn x25519(seed: u8) -> AuthPrivateKey {
    AuthPrivateKey::X25519(X25519PrivateKey::from_bytes([seed; 32]))
}

fn ed448(seed: u8) -> Ed448Key {
    Ed448Key::from(ScalarBytes::from([seed; 57]))
}

fn authorize<'t>(key: &AuthPrivateKey, command: &'t [u8]) -> Transmission<'t> {
    let server_key = server_key().public_key();
    Authorizer { session_id: SESSION, server_key: &server_key }.authorize(key, CORRELATION, ENTITY, command)
}

fn sign_ed448(key: &Ed448Key, command: &'static [u8]) -> Transmission<'static> {
    let unsigned = Transmission::unauthorized(CORRELATION, ENTITY, command);
    let signature = key.sign_raw(&unsigned.authorized_bytes(SESSION)).to_bytes();
    Transmission { authenticator: Authenticator::Ed448(Box::new(signature)), ..unsigned }
}

fn verify(transmission: &Transmission<'_>, by: AuthorizedBy<'_>) -> Verification {
    Verifier { session_id: SESSION, own_key: &server_key(), service: None }.verify(transmission, by)
}

/// One key of each kind, and a transmission that each authorised.
fn kinds() -> [(AuthPublicKey, Transmission<'static>); 3] {
    let ed448_public = Ed448PublicKey(ed448(1).verifying_key().to_bytes());
    [
        (ed25519(1).public_key(), authorize(&ed25519(1), b"SUB")),
        (x25519(1).public_key(), authorize(&x25519(1), b"SUB")),
        (AuthPublicKey::Ed448(ed448_public), sign_ed448(&ed448(1), b"SUB")),
    ]
}

const ALLOWED: Verification = Verification { is_authorized: true, checks: 1 };
const REFUSED: Verification = Verification { is_authorized: false, checks: 1 };

#[test]
fn every_kind_of_key_authorises_with_one_check() {
    for (key, transmission) in kinds() {
        assert_eq!(verify(&transmission, AuthorizedBy::Keys(&[key])), ALLOWED, "{key:?}");
    }
}

#[test]
fn only_keys_that_authorised_something_are_remembered() {
    let (own_key, agreed) = (server_key(), AgreedKeys::default());
    let verifier = Verifier { session_id: SESSION, own_key: &own_key, service: None };
    let (mine, other) = (x25519(1), x25519(2).public_key());
    let transmission = authorize(&mine, b"SUB");
    let check = |transmission: &Transmission<'_>, keys: &[AuthPublicKey]| {
        verifier.verify_remembering(transmission, AuthorizedBy::Keys(keys), &agreed)
    };
    assert_eq!(check(&transmission, &[other]), REFUSED);
    assert_eq!(verifier.verify_remembering(&transmission, AuthorizedBy::Impossible, &agreed), REFUSED);
    assert_eq!(agreed.count(), 0, "else the next refusal would be faster where there is a queue");
    for _ in 0..2 {
        assert_eq!(check(&transmission, &[mine.public_key()]), ALLOWED);
        assert_eq!(agreed.count(), 1);
    }
    let forged = Transmission { command: b"DEL", ..transmission.clone() };
    assert_eq!(check(&forged, &[mine.public_key()]), REFUSED);
    for seed in 0..=AgreedKeys::COUNT_MAX {
        let mut bytes = [0; 32];
        bytes[8..16].copy_from_slice(&seed.to_le_bytes());
        let key = AuthPrivateKey::X25519(X25519PrivateKey::from_bytes(bytes));
        assert_eq!(check(&authorize(&key, b"SUB"), &[key.public_key()]), ALLOWED);
        assert!(agreed.count() <= AgreedKeys::COUNT_MAX);
    }
}

#[test]
fn every_refusal_takes_exactly_one_check() {
    let wrong_ed448 = AuthPublicKey::Ed448(Ed448PublicKey(ed448(9).verifying_key().to_bytes()));
    let wrong = [ed25519(9).public_key(), x25519(9).public_key(), wrong_ed448];
    for (_, transmission) in kinds() {
        assert_eq!(verify(&transmission, AuthorizedBy::Impossible), REFUSED, "no such queue");
        assert_eq!(verify(&transmission, AuthorizedBy::Nobody), REFUSED, "a queue that is not secured");
        assert_eq!(verify(&transmission, AuthorizedBy::Keys(&[])), REFUSED, "no key");
        // A wrong key of the same kind, or a key of another kind.
        for key in wrong {
            assert_eq!(verify(&transmission, AuthorizedBy::Keys(&[key])), REFUSED, "{key:?}");
        }
    }
}

/// Who secures a queue names the key: one that is no point must not be refused faster than a missing queue.
#[test]
fn a_key_that_is_no_point_takes_the_check_of_a_dummy() {
    let no_ed25519 = AuthPublicKey::Ed25519(Ed25519PublicKey([2; 32]));
    let no_ed448 = AuthPublicKey::Ed448(Ed448PublicKey([0xff; 57]));
    assert!(
        Ed25519PublicKey([2; 32]).verify(b"", &[0; 64]) == Err(CryptoError::Key),
        "no point of the curve"
    );
    assert_eq!(Ed448PublicKey([0xff; 57]).verify(b"", &[0; 114]), Err(CryptoError::Key));
    for (key, transmission) in
        [(no_ed25519, authorize(&ed25519(1), b"SUB")), (no_ed448, sign_ed448(&ed448(1), b"SUB"))]
    {
        assert_eq!(verify(&transmission, AuthorizedBy::Keys(&[key])), REFUSED);
    }
    // The dummies themselves are points, so that checking against them takes its time.
    for dummy in DUMMY_KEYS {
        match dummy {
            AuthPublicKey::Ed25519(key) => assert_eq!(key.verify(b"", &[0; 64]), Err(CryptoError::Signature)),
            AuthPublicKey::Ed448(key) => assert_eq!(key.verify(b"", &[0; 114]), Err(CryptoError::Signature)),
            AuthPublicKey::X25519(_) => {}
        }
    }
}

#[test]
fn a_command_without_authenticator_takes_no_check_whether_or_not_there_is_a_queue() {
    let unsigned = Transmission::unauthorized(CORRELATION, ENTITY, b"SEND F x");
    let refused = Verification { is_authorized: false, checks: 0 };
    assert_eq!(verify(&unsigned, AuthorizedBy::Impossible), refused);
    assert_eq!(verify(&unsigned, AuthorizedBy::Keys(&[ed25519(1).public_key()])), refused);
    assert!(verify(&unsigned, AuthorizedBy::Nobody).is_authorized);
}

#[test]
fn any_of_several_recipient_keys_authorises() {
    let keys = [x25519(1).public_key(), ed25519(1).public_key(), ed25519(2).public_key()];
    for key in [x25519(1), ed25519(1), ed25519(2)] {
        assert!(verify(&authorize(&key, b"SUB"), AuthorizedBy::Keys(&keys)).is_authorized);
    }
    assert!(!verify(&authorize(&ed25519(3), b"SUB"), AuthorizedBy::Keys(&keys)).is_authorized);
}

#[test]
fn every_part_of_a_transmission_is_authorised() {
    for (key, good) in kinds() {
        let entity = Transmission { entity_id: &[0x34; 24], ..good.clone() };
        let correlation = Transmission { correlation_id: &[0x23; 24], ..good.clone() };
        let command = Transmission { command: b"DEL", ..good.clone() };
        for changed in [entity, correlation, command] {
            assert_eq!(verify(&changed, AuthorizedBy::Keys(&[key])), REFUSED, "{key:?}");
        }
        let other = Verifier { session_id: &[0x12; 32], own_key: &server_key(), service: None };
        assert_eq!(other.verify(&good, AuthorizedBy::Keys(&[key])), REFUSED, "{key:?} in another session");
    }
}

#[test]
fn the_dummy_keys_are_those_of_every_server() {
    // smp.md §5.6: an authenticator made with a dummy key's owner would still be refused; here, that a key which is
    // no point is not used instead, because its check would end early.
    let spki = |text: &str| AuthPublicKey::from_der(&base64(text)).unwrap();
    for text in [
        "MCowBQYDK2VwAyEA139Oqs4QgpqbAmB0o7rZf6T19ryl7E65k4AYe0kE3Qs=",
        "MEMwBQYDK2VxAzoA6ibQc9XpkSLtwrf7PLvp81qW/etiumckVFImCMRdftcG/XopbOSaq9qyLhrgJWKOLyNrQPNVvpMA",
        "MCowBQYDK2VuAyEA4JGSMYht18H4mas/jHeBwfcM7jLwNYJNOAhi2/g4RXg=",
    ] {
        assert!(protocol::smp::authorize::DUMMY_KEYS.contains(&spki(text)), "{text}");
    }
    let [AuthPublicKey::Ed25519(ed25519), AuthPublicKey::Ed448(ed448), _] =
        protocol::smp::authorize::DUMMY_KEYS
    else {
        panic!()
    };
    assert!(ed25519_dalek::VerifyingKey::from_bytes(&ed25519.0).is_ok());
    assert!(ed448_goldilocks_plus::VerifyingKey::from_bytes(&ed448.0).is_ok());
}

fn base64(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).unwrap()
}

fn service_key() -> Ed25519PrivateKey {
    Ed25519PrivateKey::from_seed(&[8; 32])
}

fn service(role: ServiceRole) -> AcceptedService {
    AcceptedService {
        role,
        service_id: ServiceId([6; 24]),
        fingerprint: FINGERPRINT,
        session_key: service_key().public_key(),
    }
}

#[test]
fn roles_bound_what_a_service_sends() {
    let commands: [(&[u8], &[ServiceRole]); 5] = [
        (b"SUB", &[ServiceRole::Messaging]),
        (b"SEND F x", &[ServiceRole::Messaging]),
        (b"NSUB", &[ServiceRole::Notifier]),
        (b"RFWD x", &[ServiceRole::Proxy]),
        (b"PING", &[ServiceRole::Messaging, ServiceRole::Notifier, ServiceRole::Proxy]),
    ];
    for (bytes, allowed) in commands {
        let command = Command::parse(bytes, 18).unwrap();
        for role in [ServiceRole::Messaging, ServiceRole::Notifier, ServiceRole::Proxy] {
            let service = service(role);
            let verifier = Verifier { session_id: SESSION, own_key: &server_key(), service: Some(&service) };
            let expected = if allowed.contains(&role) { Ok(()) } else { Err(CommandError::Prohibited) };
            assert_eq!(verifier.check_role(&command), expected, "{role:?} {command:?}");
        }
        let verifier = Verifier { session_id: SESSION, own_key: &server_key(), service: None };
        assert_eq!(verifier.check_role(&command), Ok(()));
    }
}

#[test]
fn service_signatures_are_wanted_exactly_where_they_belong() {
    let service = service(ServiceRole::Notifier);
    let own_key = server_key();
    let in_service = Verifier { session_id: SESSION, own_key: &own_key, service: Some(&service) };
    let outside = Verifier { service: None, ..in_service };
    let server_public = own_key.public_key();
    let authorizer = Authorizer { session_id: SESSION, server_key: &server_public };
    let check = |verifier: &Verifier<'_>, transmission: &Transmission<'_>| {
        verifier.check_service(&Command::parse(transmission.command, 18).unwrap(), transmission)
    };

    for key in [ed25519(1), x25519(1)] {
        let keys = [key.public_key()];
        let plain = authorizer.authorize(&key, CORRELATION, ENTITY, b"NSUB");
        let signed = authorizer.authorize_with_service(
            &key,
            &FINGERPRINT,
            &service_key(),
            CORRELATION,
            ENTITY,
            b"NSUB",
        );
        assert_eq!(check(&in_service, &signed), Ok(()));
        assert_eq!(in_service.verify(&signed, AuthorizedBy::Keys(&keys)), ALLOWED);
        assert_eq!(check(&in_service, &plain), Err(ErrorType::Service));
        assert_eq!(check(&outside, &plain), Ok(()));
        assert_eq!(check(&outside, &signed), Err(ErrorType::Service));

        // The entity's key covers the service's fingerprint, the service's signature does not.
        let unbound = Transmission { authenticator: plain.authenticator.clone(), ..signed.clone() };
        assert_eq!(check(&in_service, &unbound), Ok(()));
        assert_eq!(in_service.verify(&unbound, AuthorizedBy::Keys(&keys)), REFUSED);

        let forged = Transmission { service_signature: Some([0; 64]), ..signed.clone() };
        assert_eq!(check(&in_service, &forged), Err(ErrorType::Service));
    }
    let ndel = authorizer.authorize(&ed25519(1), CORRELATION, ENTITY, b"NDEL");
    assert_eq!(check(&in_service, &ndel), Ok(()), "other commands have no service signature");
    let signed = Transmission { service_signature: Some(service_key().sign(b"")), ..ndel };
    assert_eq!(check(&in_service, &signed), Err(ErrorType::Service));
}

#[test]
fn commands_for_all_queues_are_signed_by_the_session_key_of_their_service() {
    let service = service(ServiceRole::Notifier);
    let own_key = server_key();
    let verifier = Verifier { session_id: SESSION, own_key: &own_key, service: Some(&service) };
    let server_public = own_key.public_key();
    let authorizer = Authorizer { session_id: SESSION, server_key: &server_public };
    let session_key = AuthPrivateKey::Ed25519(service_key());
    let id = [6; 24];
    for command in [&b"NSUBS"[..], b"SUBS"] {
        let parsed = Command::parse(command, 18).unwrap();
        let good = authorizer.authorize(&session_key, CORRELATION, &id, command);
        assert_eq!(verifier.check_service(&parsed, &good), Ok(()));
        let other_id = authorizer.authorize(&session_key, CORRELATION, ENTITY, command);
        let other_key = authorizer.authorize(&ed25519(1), CORRELATION, &id, command);
        let twice = Transmission { service_signature: Some(service_key().sign(b"")), ..good.clone() };
        for bad in [other_id, other_key, twice] {
            assert_eq!(verifier.check_service(&parsed, &bad), Err(ErrorType::Service));
        }
        let outside = Verifier { service: None, ..verifier };
        assert_eq!(outside.check_service(&parsed, &good), Err(ErrorType::Service));
    }
}
