//! How many signatures or authenticators each refusal takes, whatever the kinds of keys: exactly one, so that its time
//! tells nothing (smp.md §5.6). They are counted where they are computed.

use protocol::crypto::dh::X25519PrivateKey;
use protocol::crypto::sign::{Ed448PrivateKey, Ed25519PrivateKey};
use protocol::smp::authorize::Authorizer;
use protocol::smp::command::NewQueue;
use protocol::smp::key::{AuthPrivateKey, Authenticator};

use super::*;
use crate::store::{DhSecret, Notifier, QueueNumber, QueueStatus};

const SESSION: &[u8] = b"session";
const ENTITY: &[u8] = &[7; 24];

/// A private key of each kind.
enum Signer {
    Session(Box<AuthPrivateKey>),
    Ed448(Box<Ed448PrivateKey>),
}

impl Signer {
    fn all(seed: u8) -> [Self; 3] {
        let ed448 =
            [&[0x30, 0x47, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x71, 4, 0x3b, 4, 0x39], &[seed; 57][..]];
        [
            Self::Session(Box::new(AuthPrivateKey::Ed25519(Ed25519PrivateKey::from_seed(&[seed; 32])))),
            Self::Session(Box::new(AuthPrivateKey::X25519(X25519PrivateKey::from_bytes([seed; 32])))),
            Self::Ed448(Box::new(Ed448PrivateKey::from_der(&ed448.concat()).unwrap())),
        ]
    }

    fn public_key(&self) -> AuthPublicKey {
        match self {
            Self::Session(key) => key.public_key(),
            Self::Ed448(key) => AuthPublicKey::Ed448(key.public_key()),
        }
    }

    /// `command`, authorised.
    fn sign<'a>(&self, command: &'a [u8], own_key: &X25519PrivateKey) -> Transmission<'a> {
        let plain = Transmission::unauthorized(b"corr", ENTITY, command);
        match self {
            Self::Session(key) => {
                let authorizer = Authorizer { session_id: SESSION, server_key: &own_key.public_key() };
                authorizer.authorize(key, b"corr", ENTITY, command)
            }
            Self::Ed448(key) => {
                let signature = key.sign(&plain.authorized_bytes(SESSION));
                Transmission { authenticator: Authenticator::Ed448(Box::new(signature)), ..plain }
            }
        }
    }
}

fn queue(key: AuthPublicKey, mode: QueueMode, sender_key: Option<AuthPublicKey>) -> QueueRecord {
    QueueRecord {
        number: QueueNumber(1),
        recipient_id: RecipientId([1; 24]),
        sender_id: SenderId([2; 24]),
        recipient_keys: vec![key],
        dh_secret: DhSecret([3; 32]),
        sender_key,
        mode: Some(mode),
        recipient_service: None,
        notifier_service: None,
        notifier: Some(Notifier { id: NotifierId([4; 24]), key, dh_secret: DhSecret([5; 32]) }),
        status: QueueStatus::Active,
        used_on: 0,
    }
}

/// The outcome of the check, and how many signatures or authenticators it took.
fn checked(
    signer: &Signer,
    command: &Command<'_>,
    queue: Option<&QueueRecord>,
) -> (Result<(), ErrorType>, usize) {
    let own_key = X25519PrivateKey::from_bytes([8; 32]);
    let bytes = command.encode(18);
    let transmission = signer.sign(&bytes, &own_key);
    let verifier = Verifier { session_id: SESSION, own_key: &own_key, service: None };
    let covered = match verifier.text_to_hash(&transmission) {
        Some(text) => Covered::Hash(protocol::crypto::hash::sha512(&text)),
        None => verifier.covered_text(&transmission),
    };
    let mut checks = 0;
    let session = Session { verifier: &verifier, agreed: &AgreedKeys::default() };
    let outcome = check(&transmission, &covered, command, queue, session, &mut checks);
    (outcome, checks)
}

const REFUSED: (Result<(), ErrorType>, usize) = (Err(ErrorType::Auth), 1);
const ALLOWED: (Result<(), ErrorType>, usize) = (Ok(()), 1);

fn send() -> Command<'static> {
    Command::Send { notify: false, body: b"x"[..].into() }
}

/// The commands that a key of the queue authorises.
fn commands() -> [Command<'static>; 8] {
    let ack = Command::Ack { message_id: [9; 24][..].to_vec().into() };
    [Command::Sub, Command::Get, ack, Command::Del, Command::Off, Command::Que, send(), Command::Nsub]
}

#[test]
fn a_wrong_key_of_any_kind_and_a_missing_queue_take_one_check() {
    for owner in &Signer::all(1) {
        let key = owner.public_key();
        let queue = queue(key, QueueMode::Messaging, Some(key));
        for command in &commands() {
            assert_eq!(checked(owner, command, Some(&queue)), ALLOWED, "{} {key:?}", command.tag());
            for signer in &Signer::all(2) {
                let used = signer.public_key();
                let shown = format!("{} {key:?} {used:?}", command.tag());
                assert_eq!(checked(signer, command, Some(&queue)), REFUSED, "wrong key: {shown}");
                assert_eq!(checked(signer, command, None), REFUSED, "no queue: {shown}");
            }
        }
    }
}

#[test]
fn a_queue_whose_state_forbids_the_command_takes_one_check() {
    for signer in &Signer::all(1) {
        let (key, other) = (signer.public_key(), Signer::all(2)[0].public_key());
        let open = queue(other, QueueMode::Messaging, None);
        let taken = queue(other, QueueMode::Messaging, Some(other));
        let contact = queue(other, QueueMode::Contact, None);
        let silent = QueueRecord { notifier: None, ..open.clone() };
        assert_eq!(
            checked(signer, &send(), Some(&open)),
            REFUSED,
            "nobody signs to a queue that is not secured"
        );
        assert_eq!(checked(signer, &Command::Nsub, Some(&silent)), REFUSED);
        for command in [Command::Skey { sender_key: key }, Command::Lkey { sender_key: key }] {
            assert_eq!(checked(signer, &command, Some(&open)), ALLOWED);
            for queue in [Some(&taken), Some(&contact), None] {
                assert_eq!(checked(signer, &command, queue), REFUSED, "{}", command.tag());
            }
            // The key in the command is another than the one that signed.
            for signer in &Signer::all(3) {
                assert_eq!(checked(signer, &command, Some(&open)), REFUSED, "{}", command.tag());
            }
        }
    }
}

#[test]
fn a_new_queue_signed_by_another_key_takes_one_check() {
    for owner in &Signer::all(1) {
        let new = |recipient_key| {
            let dh_key = X25519PrivateKey::from_bytes([6; 32]).public_key();
            Command::New(Box::new(NewQueue {
                recipient_key,
                dh_key,
                password: None,
                subscribe: false,
                request: None,
                notifier: None,
            }))
        };
        assert_eq!(checked(owner, &new(owner.public_key()), None), ALLOWED);
        for signer in &Signer::all(2) {
            assert_eq!(checked(signer, &new(owner.public_key()), None), REFUSED);
        }
    }
}

#[test]
fn a_failing_store_is_told_of_once_a_second() {
    let (pace, start) = (Pace::new(), Instant::now());
    let due: Vec<u64> =
        (0..30).filter(|tenths| pace.is_due(start + Duration::from_millis(tenths * 100))).collect();
    assert_eq!(due, [0, 10, 20]);
}
