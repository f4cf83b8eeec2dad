//! Every stored form reads back, and what is cut or changed fails softly.

use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::world::{Name, World, server};
use crate::agent::address_draft::{AddressDraft, AddressPlan};
use crate::agent::connection::Phase;
use crate::agent::event::SyncState;
use crate::agent::invitation::Invitation;
use crate::agent::job::{Job, OutgoingBody, OutgoingMessage, Purpose, Task};
use crate::agent::queue::{PeerSecret, QueueSecret, ReceiveQueue, SendQueue};
use crate::agent::record::{Connection, Opening, Position, Replacement};
use crate::agent::store::BodyId;
use crate::crypto::dh::X25519PrivateKey;
use crate::crypto::ratchet::AgreementKeys;
use crate::crypto::sign::Ed25519PrivateKey;
use crate::encoding::{Decode, Encode};
use crate::smp::ids::{MessageId, SenderId};
use crate::smp::key::AuthPublicKey;
use crate::smp::short_link::LinkType;
use crate::timestamp::Timestamp;

pub(super) fn draft(rng: &mut StdRng) -> AddressDraft {
    let plan = AddressPlan {
        server: server(),
        link_type: LinkType::Group,
        root_key: Ed25519PrivateKey::generate(rng),
        link_entity_id: Some(vec![5; 32]),
        client_data: None,
    };
    AddressDraft::new(plan, rng).unwrap()
}

fn send_queue(rng: &mut StdRng) -> SendQueue {
    let other = ReceiveQueue::new(server(), rng);
    SendQueue::new(&other.info(SenderId::generate(rng), 4), rng)
}

/// A record with everything in it.
fn full_record(rng: &mut StdRng, opening: Opening) -> Connection {
    let mut world = World::new(51);
    let (alice, _) = world.connect();
    let mut record = world.alice.record(alice);
    record.address = Some(draft(rng));
    record.keys = Some(AgreementKeys::generate(rng));
    record.replacement = Some(Replacement { queue: send_queue(rng), is_secured: true });
    record.opening = opening;
    record.sync = SyncState::Agreed;
    record.is_agreement_in_doubt = true;
    record.receive.last_message = Some(MessageId::generate(rng));
    record.received = Position { number: 7, hash: None };
    record.phase = Phase::Allowing { secures: true };
    record
}

fn openings(rng: &mut StdRng) -> Vec<Opening> {
    vec![
        Opening::Nothing,
        Opening::Request { to: Box::new(send_queue(rng)), agent_version: 7, info: b"info".to_vec() },
        Opening::Join { ratchet_version: 3, info: Vec::new() },
        Opening::Key(AuthPublicKey::Ed25519(Ed25519PrivateKey::generate(rng).public_key())),
    ]
}

fn tasks(rng: &mut StdRng) -> Vec<Task> {
    let mut world = World::new(52);
    let (alice, _) = world.connect();
    let mut ratchet = world.alice.record(alice).ratchet.unwrap();
    let mut key = || ratchet.encrypt_header(10, 100).unwrap();
    let parameters = AgreementKeys::generate(rng).parameters(3);
    let mut tasks = vec![
        Task::CreateQueue { user_data: None },
        Task::CreateQueue { user_data: Some(vec![1; 13_824]) },
        Task::SetLinkData { user_data: vec![2; 13_824] },
        Task::SecurePeerQueue,
        Task::SecureOwnQueue { key: AuthPublicKey::X25519(X25519PrivateKey::generate(rng).public_key()) },
        Task::Invite,
        Task::Confirm { parameters: Some(parameters.clone()), key: key(), plain: vec![3; 14_830] },
        Task::Confirm { parameters: None, key: key(), plain: Vec::new() },
        Task::RatchetKey { parameters },
        Task::DeleteQueue,
    ];
    for purpose in [
        Purpose::Application { notify: true },
        Purpose::Application { notify: false },
        Purpose::Hello,
        Purpose::Receipt,
        Purpose::QuotaContinue,
        Purpose::QueueKey,
        Purpose::QueueTest,
        Purpose::Ready,
    ] {
        for body in [OutgoingBody::Inline(vec![4; 15_795]), OutgoingBody::Shared(BodyId(8))] {
            let message = OutgoingMessage { purpose, number: 3, key: key(), head: vec![5; 43], body };
            tasks.push(Task::Message(message));
        }
    }
    tasks
}

fn reads_back<T: Encode + Decode + PartialEq + std::fmt::Debug>(value: &T, cut: usize, flip: usize) {
    let bytes = value.to_bytes();
    assert_eq!(T::from_bytes(&bytes).as_ref(), Ok(value));
    assert!(T::from_bytes(&bytes[..cut % bytes.len()]).is_err());
    assert!(T::from_bytes(&[&bytes[..], b"0"].concat()).is_err());
    let mut flipped = bytes.clone();
    flipped[flip / 8 % bytes.len()] ^= 1 << (flip % 8);
    let _ = T::from_bytes(&flipped);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn records_and_jobs(seed in any::<u64>(), cut in any::<usize>(), flip in any::<usize>()) {
        let mut rng = StdRng::seed_from_u64(seed);
        for opening in openings(&mut rng) {
            reads_back(&full_record(&mut rng, opening), cut, flip);
        }
        let receive = ReceiveQueue::new(server(), &mut rng);
        reads_back(&Connection::new(Phase::Creating, 7, receive), cut, flip);
        for task in tasks(&mut rng) {
            let mut job = Job::new(task, Timestamp(5));
            job.attempts = 3;
            job.retry.put_off(crate::agent::retry::Pace::Slow, Timestamp(9), 0);
            reads_back(&job, cut, flip);
        }
        reads_back(&Invitation { agent_version: 7, link: "simplex:/invitation".to_owned() }, cut, flip);
    }

    #[test]
    fn any_bytes_are_read_softly(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        let _ = Connection::from_bytes(&bytes);
        let _ = Connection::from_bytes(&[&[1, 3][..], &bytes].concat());
        let _ = Job::from_bytes(&bytes);
        let _ = Invitation::from_bytes(&bytes);
    }
}

#[test]
fn a_record_of_another_form_is_refused() {
    let mut rng = StdRng::seed_from_u64(1);
    let mut bytes = Connection::new(Phase::Creating, 7, ReceiveQueue::new(server(), &mut rng)).to_bytes();
    bytes[0] = 2;
    assert!(Connection::from_bytes(&bytes).is_err());
}

#[test]
fn records_do_not_show_secrets() {
    let mut rng = StdRng::seed_from_u64(2);
    let own = X25519PrivateKey::generate(&mut rng);
    let mut record = full_record(&mut rng, Opening::Nothing);
    let secret = QueueSecret::new(&own, &own.public_key());
    record.receive.peer = Some(PeerSecret { secret, client_version: 4 });
    let shown = format!("{record:?}");
    for key in [own.as_bytes(), record.receive.dh_key.as_bytes(), record.receive.key.seed()] {
        let digits = format!("{:?}", &key[..4]);
        assert!(!shown.contains(digits.trim_matches(['[', ']'])), "{shown}");
    }
    assert!(shown.contains("QueueSecret([scrubbed])"));
}

/// Messages wait as keys and references, not as ciphertext.
#[test]
fn a_job_of_a_shared_body_is_small() {
    let mut world = World::new(53);
    let (alice, _) = world.connect();
    use crate::agent::store::AgentStore as _;
    let id = world.with(Name::Alice, |agent| {
        let body = agent.store.put_body(&[7; 15_000]).unwrap();
        agent.send(alice, crate::agent::Body::Shared(body), false).unwrap();
        agent.store.first_job(alice).unwrap().unwrap()
    });
    assert!(id.1.len() < 500, "{}", id.1.len());
}
