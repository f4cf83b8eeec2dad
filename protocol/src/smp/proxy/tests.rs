//! The three parties against each other, and the sizes of smp.md §14.4.

use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::client::{AnswerError, AnswerKey, DestinationSession};
use super::destination::ForwardedCommand;
use super::forward::{Forward, open_response};
use super::{PROXIED_VERSIONS, single};
use crate::crypto::dh::X25519PrivateKey;
use crate::crypto::secretbox::BoxKey;
use crate::smp::authorize::{AuthorizedBy, Verifier};
use crate::smp::batch::{Batch, TransmissionTooLarge};
use crate::smp::command::Command;
use crate::smp::error::{CommandError, ErrorType};
use crate::smp::ids::CorrelationId;
use crate::smp::key::AuthPrivateKey;
use crate::smp::response::BrokerMessage;
use crate::smp::transmission::Transmission;
use crate::smp::{SENT_BODY_BYTES_MAX, SMP_VERSIONS, sent_body_bytes_max};
use crate::version::VersionRange;

const ENTITY: [u8; 24] = [7; 24];
const N: CorrelationId = CorrelationId([1; 24]);
const M: [u8; 24] = [2; 24];

struct Three {
    rng: StdRng,
    session: DestinationSession,
    destination_key: X25519PrivateKey,
    /// The same on both sides of the proxy's session.
    proxy_key: BoxKey,
}

impl Three {
    fn new() -> Self {
        let mut rng = StdRng::seed_from_u64(1);
        let destination_key = X25519PrivateKey::generate(&mut rng);
        let proxy = X25519PrivateKey::generate(&mut rng);
        let server_key = destination_key.public_key();
        let session = DestinationSession { session_id: vec![9; 32], version: 17, server_key };
        Self { rng, session, proxy_key: proxy.box_key(&server_key), destination_key }
    }

    fn open(&self, sealed: &[u8]) -> Result<ForwardedCommand, ErrorType> {
        ForwardedCommand::open(&self.destination_key, &self.proxy_key, &M, sealed)
    }
}

fn send(bytes: usize) -> Command<'static> {
    Command::Send { notify: true, body: vec![5; bytes].into() }
}

fn transmission_bytes(corr: &[u8], entity: &[u8], command: &Command<'_>) -> usize {
    let command = command.encode(18);
    let mut out = Vec::new();
    Transmission::unauthorized(corr, entity, &command).encode_into(18, &mut out);
    out.len()
}

/// smp.md §14.4.
#[test]
fn a_full_message_has_the_sizes_that_all_writers_have() {
    let mut three = Three::new();
    for key in [
        None,
        Some(AuthPrivateKey::generate_ed25519(&mut three.rng)),
        Some(AuthPrivateKey::generate_x25519(&mut three.rng)),
    ] {
        let sealed = three
            .session
            .seal(N, key.as_ref(), &ENTITY, &send(SENT_BODY_BYTES_MAX), &mut three.rng)
            .expect("it fits");
        let Command::Pfwd { version, client_key, sealed: t1 } = &sealed.command else { panic!("not PFWD") };
        assert_eq!((t1.len(), *version), (16_242, 17));
        assert_eq!(transmission_bytes(&N.0, &three.session.session_id, &sealed.command), 16_353);

        let forward = Forward {
            correlation_id: N.0[..].into(),
            version: 17,
            client_key: *client_key,
            sealed: t1.clone(),
        };
        let t2 = forward.seal(&three.proxy_key, &M);
        assert_eq!(t2.len(), 16_330);
        let rfwd = Command::Rfwd { sealed: t2.clone().into() };
        assert_eq!(transmission_bytes(&M, &[], &rfwd), 16_362);

        let forwarded = three.open(&t2).expect("it opens");
        assert_eq!(forwarded.version, 17);
        let bytes = Batch::parse(&forwarded.content).unwrap().next().unwrap();
        let inner = Transmission::parse(bytes, 17).unwrap();
        assert_eq!(Command::parse(inner.command, 17), Ok(send(SENT_BODY_BYTES_MAX)));
        let public = key.as_ref().map(|key| [key.public_key()]);
        let by = public.as_ref().map_or(AuthorizedBy::Nobody, |key| AuthorizedBy::Keys(key));
        let verifier = Verifier {
            session_id: &three.session.session_id,
            own_key: &three.destination_key,
            service: None,
        };
        assert!(verifier.verify(&inner, by).is_authorized, "authorised for the proxy's session");

        let ok = BrokerMessage::Ok.encode(17);
        let content =
            single(|out| Transmission::unauthorized(&N.0, &ENTITY, &ok).encode_into(17, out)).unwrap();
        let r2 = forwarded.seal_answer(&content).unwrap();
        let r1 = open_response(&three.proxy_key, &M, &r2).unwrap();
        assert_eq!(r1.len(), 16_242);
        assert_eq!(sealed.answer.open(&r1, &ENTITY), Ok(BrokerMessage::Ok));
        assert_eq!(sealed.answer.open(&r1, &[8; 24]), Err(AnswerError::Unexpected), "of another queue");
        assert!(sealed.answer.open(t1, &ENTITY).is_err(), "a command is not its own answer");
    }
}

#[test]
fn what_does_not_fit_is_not_sealed() {
    let mut three = Three::new();
    let key = AuthPrivateKey::generate_ed25519(&mut three.rng);
    let sealed = three.session.seal(N, Some(&key), &ENTITY, &send(16_200), &mut three.rng);
    assert_eq!(sealed.err(), Some(TransmissionTooLarge));
    assert!(sent_body_bytes_max(17) == 16_048 && sent_body_bytes_max(11) == 16_048);
    assert!(sent_body_bytes_max(10) == 16_064 && sent_body_bytes_max(8) == 16_064);
    assert_eq!(sent_body_bytes_max(7), 16_088);
}

#[test]
fn the_destination_tells_the_proxy_what_does_not_open() {
    let mut three = Three::new();
    let sealed = three.session.seal(N, None, &ENTITY, &send(1), &mut three.rng).unwrap();
    let Command::Pfwd { client_key, sealed: t1, .. } = sealed.command else { panic!("not PFWD") };
    let forward = Forward { correlation_id: N.0[..].into(), version: 17, client_key, sealed: t1 };
    let t2 = forward.seal(&three.proxy_key, &M);
    let mut flipped = t2.clone();
    flipped[40] ^= 1;
    assert_eq!(three.open(&flipped).err(), Some(ErrorType::Crypto));
    let mut inside = forward.clone();
    inside.sealed.to_mut()[40] ^= 1;
    assert_eq!(three.open(&inside.seal(&three.proxy_key, &M)).err(), Some(ErrorType::Crypto));
    let cut = three.proxy_key.seal(&M, b"\x02nn\x00");
    assert_eq!(three.open(&cut).err(), Some(ErrorType::Command(CommandError::Syntax)));
    assert_eq!(
        ForwardedCommand::open(&three.destination_key, &three.proxy_key, &[3; 24], &t2).err(),
        Some(ErrorType::Crypto)
    );
}

#[test]
fn only_a_senders_commands_are_forwarded() {
    let key = AuthPrivateKey::generate_ed25519(&mut StdRng::seed_from_u64(2)).public_key();
    for command in
        [send(1), Command::Skey { sender_key: key }, Command::Lkey { sender_key: key }, Command::Lget]
    {
        assert!(ForwardedCommand::may_be(&command), "{}", command.tag());
    }
    for command in
        [Command::Ping, Command::Sub, Command::Key { sender_key: key }, Command::Del, Command::Nsub]
    {
        assert!(!ForwardedCommand::may_be(&command), "{}", command.tag());
    }
}

#[test]
fn forwarded_commands_have_the_highest_common_version() {
    assert_eq!(SMP_VERSIONS.agree(PROXIED_VERSIONS), Some(17));
    assert_eq!(SMP_VERSIONS.agree(VersionRange::new(8, 10).unwrap()), None);
}

#[test]
fn contents_of_strangers_open_or_fail_softly() {
    let three = Three::new();
    let client_key = X25519PrivateKey::from_bytes([4; 32]);
    let answer = AnswerKey::new(&client_key, &three.session.server_key, b"short", 17);
    for length in [0, 15, 16, 17, 300] {
        assert!(answer.open(&vec![0; length], &ENTITY).is_err());
        assert!(three.open(&vec![0; length]).is_err());
    }
}

/// smp.md §8: versions that only forwarded commands have.
#[test]
fn old_versions_are_not_told_that_a_queue_is_blocked() {
    use crate::smp::error::{BlockingInfo, BlockingReason};
    let blocked =
        BrokerMessage::Err(ErrorType::Blocked(BlockingInfo { reason: BlockingReason::Spam, notice: None }));
    assert_eq!(blocked.encode(11), b"ERR AUTH");
    assert_eq!(blocked.encode(12), b"ERR BLOCKED reason=spam");
}
