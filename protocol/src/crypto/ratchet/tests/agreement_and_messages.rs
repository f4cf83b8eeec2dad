use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::super::parameters::{KemElement, RatchetOffer, RatchetParameters};
use super::super::{AgreementKeys, GAP_MESSAGES_MAX, MessageKey, Ratchet, RatchetError, SKIPPED_KEYS_MAX};
use crate::encoding::{Decode, Encode};

const PADDED: u16 = 64;

/// A joiner and an initiator that have not exchanged anything.
fn parties(rng: &mut StdRng) -> (Ratchet, Ratchet) {
    let (joiner, initiator) = (AgreementKeys::generate(rng), AgreementKeys::generate(rng));
    (
        Ratchet::new_joiner(&joiner, &initiator.parameters(3), rng).unwrap(),
        Ratchet::new_initiator(&initiator, &joiner.parameters(3)).unwrap(),
    )
}

/// A joiner and an initiator that have received one message each.
fn established(rng: &mut StdRng) -> (Ratchet, Ratchet) {
    let (mut joiner, mut initiator) = parties(rng);
    let first = send(&mut joiner, b"first");
    initiator.decrypt(&first, rng).unwrap();
    let second = send(&mut initiator, b"second");
    joiner.decrypt(&second, rng).unwrap();
    (joiner, initiator)
}

fn send(ratchet: &mut Ratchet, message: &[u8]) -> Vec<u8> {
    ratchet.encrypt_header(message.len(), PADDED).unwrap().encrypt_body(message).unwrap()
}

#[test]
fn too_large_a_message_spends_nothing() {
    let mut rng = StdRng::seed_from_u64(1);
    let (mut alice, _) = parties(&mut rng);
    let before = alice.clone();
    assert!(alice.clone().encrypt_header(62, PADDED).is_ok());
    assert_eq!(alice.encrypt_header(63, PADDED), Err(RatchetError::TooLarge));
    assert_eq!(alice, before);
}

#[test]
fn a_gap_of_512_is_bridged_and_one_of_513_is_not() {
    let mut rng = StdRng::seed_from_u64(2);
    let (mut alice, mut bob) = established(&mut rng);
    let messages: Vec<_> = (0..=514).map(|_| send(&mut alice, b"m")).collect();
    let mut other = bob.clone();
    assert_eq!(other.decrypt(&messages[512], &mut rng).unwrap(), b"m");
    assert_eq!(other.skipped_keys(), 512);
    assert_eq!(
        bob.clone().decrypt(&messages[513], &mut rng),
        Err(RatchetError::TooManySkipped { missing: 514 })
    );
    // the step of the ratchet was taken all the same: its header was good
    let mut moved = bob.clone();
    let _ = moved.decrypt(&messages[513], &mut rng);
    assert_ne!(moved, bob);
    assert_eq!(moved.decrypt(&messages[0], &mut rng).unwrap(), b"m");
    assert_eq!(bob.decrypt(&messages[0], &mut rng).unwrap(), b"m");
}

#[test]
fn a_damaged_header_spends_nothing_and_a_damaged_body_spends_its_key() {
    let mut rng = StdRng::seed_from_u64(3);
    let (mut alice, mut bob) = established(&mut rng);
    let (first, second) = (send(&mut alice, b"one"), send(&mut alice, b"two"));

    let mut damaged = first.clone();
    damaged[50] ^= 1;
    let before = bob.clone();
    assert_eq!(bob.decrypt(&damaged, &mut rng), Err(RatchetError::Header));
    assert_eq!(bob, before);

    let mut damaged = first.clone();
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(bob.decrypt(&damaged, &mut rng), Err(RatchetError::Body));
    assert_eq!(bob.decrypt(&first, &mut rng), Err(RatchetError::Duplicate));
    assert_eq!(bob.decrypt(&second, &mut rng).unwrap(), b"two");
    assert_eq!(bob.decrypt(&first, &mut rng), Err(RatchetError::Earlier { behind: 1 }));
    assert_eq!(bob.decrypt(&second, &mut rng), Err(RatchetError::Duplicate));
}

#[test]
fn a_damaged_overtaken_body_spends_its_key_too() {
    let mut rng = StdRng::seed_from_u64(4);
    let (mut alice, mut bob) = established(&mut rng);
    let (first, second) = (send(&mut alice, b"one"), send(&mut alice, b"two"));
    bob.decrypt(&second, &mut rng).unwrap();
    let mut damaged = first.clone();
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(bob.decrypt(&damaged, &mut rng), Err(RatchetError::Body));
    assert_eq!(bob.skipped_keys(), 0);
    assert_eq!(bob.decrypt(&first, &mut rng), Err(RatchetError::Earlier { behind: 1 }));
}

#[test]
fn a_message_of_an_old_chain_that_is_not_waited_for_is_a_header_error() {
    let mut rng = StdRng::seed_from_u64(5);
    let (mut alice, mut bob) = established(&mut rng);
    let (lost, old, late) = (send(&mut alice, b"0"), send(&mut alice, b"1"), send(&mut alice, b"2"));
    bob.decrypt(&old, &mut rng).unwrap();
    let answer = send(&mut bob, b"answer");
    alice.decrypt(&answer, &mut rng).unwrap();
    let next = send(&mut alice, b"3");
    bob.decrypt(&next, &mut rng).unwrap();
    // 0 and 2 were skipped; 1 was read
    assert_eq!(bob.skipped_keys(), 2);
    assert_eq!(bob.decrypt(&old, &mut rng), Err(RatchetError::Header));
    assert_eq!(bob.decrypt(&late, &mut rng).unwrap(), b"2");
    assert_eq!(bob.decrypt(&lost, &mut rng).unwrap(), b"0");
    assert_eq!(bob.skipped_keys(), 0);
}

#[test]
fn kept_keys_are_bounded_and_the_oldest_go() {
    let mut rng = StdRng::seed_from_u64(6);
    let (mut alice, mut bob) = established(&mut rng);
    let mut first_of_gap = Vec::new();
    for _ in 0..6 {
        let gap: Vec<_> = (0..=GAP_MESSAGES_MAX).map(|_| send(&mut alice, b"m")).collect();
        bob.decrypt(gap.last().unwrap(), &mut rng).unwrap();
        first_of_gap.push(gap[0].clone());
        assert!(bob.skipped_keys() <= SKIPPED_KEYS_MAX);
        assert_eq!(Ratchet::from_bytes(&bob.to_bytes()).unwrap(), bob);
        let answer = send(&mut bob, b"answer");
        alice.decrypt(&answer, &mut rng).unwrap();
    }
    assert_eq!(bob.skipped_keys(), SKIPPED_KEYS_MAX);
    assert_eq!(bob.decrypt(&first_of_gap[0], &mut rng), Err(RatchetError::Header));
    assert_eq!(bob.decrypt(&first_of_gap[5], &mut rng).unwrap(), b"m");
}

#[test]
fn secrets_do_not_show() {
    let mut rng = StdRng::seed_from_u64(7);
    let (mut alice, _) = established(&mut rng);
    let key = alice.encrypt_header(1, PADDED).unwrap();
    let shown = format!("{alice:?} {key:?} {:?}", AgreementKeys::generate(&mut rng));
    assert!(shown.contains("RootKey([scrubbed])") && shown.contains("BodyKey([scrubbed])"), "{shown}");
    let secret = format!("{:?}", &alice.root.0[..4]);
    assert!(!shown.contains(secret.trim_matches(['[', ']'])));
}

/// What two parties may do to each other.
#[derive(Debug, Clone, Copy)]
enum Act {
    Send {
        by_joiner: bool,
    },
    /// Delivers the waiting message at this place (modulo how many wait).
    Deliver {
        to_joiner: bool,
        place: usize,
        again: bool,
    },
    Restart,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        3 => any::<bool>().prop_map(|by_joiner| Act::Send { by_joiner }),
        4 => (any::<bool>(), 0..4_usize, any::<bool>())
            .prop_map(|(to_joiner, place, again)| Act::Deliver { to_joiner, place, again }),
        1 => Just(Act::Restart),
    ];
    proptest::collection::vec(act, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is lost, reordered or repeated: what arrives is what was sent, and it arrives once.
    #[test]
    fn messages_arrive_once_and_intact(seed in any::<u64>(), acts in acts()) {
        let mut rng = StdRng::seed_from_u64(seed);
        let (mut joiner, mut initiator) = established(&mut rng);
        let mut waiting: [Vec<(u32, Vec<u8>)>; 2] = [Vec::new(), Vec::new()];
        let mut seen = std::collections::BTreeSet::new();
        let mut count = 0_u32;
        for act in acts {
            match act {
                Act::Send { by_joiner } => {
                    count += 1;
                    let sender = if by_joiner { &mut joiner } else { &mut initiator };
                    let sealed = send(sender, &count.to_be_bytes());
                    waiting[usize::from(by_joiner)].push((count, sealed));
                }
                Act::Deliver { to_joiner, place, again } => {
                    let queue = &mut waiting[usize::from(!to_joiner)];
                    if queue.is_empty() {
                        continue;
                    }
                    let place = place % queue.len();
                    let (number, sealed) = if again { queue[place].clone() } else { queue.remove(place) };
                    let receiver = if to_joiner { &mut joiner } else { &mut initiator };
                    match receiver.decrypt(&sealed, &mut rng) {
                        Ok(body) => {
                            prop_assert_eq!(body, number.to_be_bytes());
                            prop_assert!(seen.insert(number), "delivered twice");
                        }
                        Err(_) => prop_assert!(seen.contains(&number), "lost though it was waited for"),
                    }
                }
                Act::Restart => {
                    joiner = Ratchet::from_bytes(&joiner.to_bytes()).unwrap();
                    initiator = Ratchet::from_bytes(&initiator.to_bytes()).unwrap();
                }
            }
        }
    }

    /// No bytes make the ratchet panic, and none but the peer's are taken.
    #[test]
    fn foreign_bytes_are_refused(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        cut in any::<u8>(),
        flip in any::<u16>(),
    ) {
        let mut rng = StdRng::seed_from_u64(8);
        let (mut alice, mut bob) = established(&mut rng);
        let before = bob.clone();
        prop_assert!(bob.decrypt(&bytes, &mut rng).is_err());
        prop_assert_eq!(&bob, &before);
        let good = send(&mut alice, b"good");
        let cut_short = &good[..usize::from(cut) % good.len()];
        prop_assert!(bob.clone().decrypt(cut_short, &mut rng).is_err());
        let mut flipped = good.clone();
        let bit = usize::from(flip) % (good.len() * 8);
        flipped[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(bob.decrypt(&flipped, &mut rng).is_err());
    }

    /// Every form: reads back, and cut or changed input fails softly.
    #[test]
    fn forms_read_back(seed in any::<u64>(), kem in 0..3_u8, cut in any::<u16>(), flip in any::<u16>()) {
        let mut rng = StdRng::seed_from_u64(seed);
        let own = AgreementKeys::generate(&mut rng);
        let public_key = vec![7; 1158];
        let kem = match kem {
            0 => None,
            1 => Some(KemElement::Proposed { public_key }),
            _ => Some(KemElement::Accepted { ciphertext: vec![8; 1039], public_key }),
        };
        let parameters = RatchetParameters { kem: kem.clone(), ..own.parameters(3) };
        let offer = RatchetOffer { kem, ..own.offer(super::super::RATCHET_VERSIONS) };
        prop_assert_eq!(offer.to_string().parse(), Ok(offer.clone()));
        let (mut alice, mut bob) = established(&mut rng);
        let skipped = (0..3).map(|_| send(&mut alice, b"m")).next_back().unwrap();
        bob.decrypt(&skipped, &mut rng).unwrap();
        fn check<T: Encode + Decode + PartialEq + std::fmt::Debug>(value: &T, cut: u16, flip: u16) {
            let bytes = value.to_bytes();
            assert_eq!(T::from_bytes(&bytes).as_ref(), Ok(value));
            assert!(T::from_bytes(&bytes[..usize::from(cut) % bytes.len()]).is_err());
            assert!(T::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
            let mut flipped = bytes.clone();
            let bit = usize::from(flip) % (bytes.len() * 8);
            flipped[bit / 8] ^= 1 << (bit % 8);
            let _ = T::from_bytes(&flipped);
        }
        check(&parameters, cut, flip);
        check(&offer, cut, flip);
        check(&bob, cut, flip);
        check(&own, cut, flip);
        check::<MessageKey>(&alice.encrypt_header(3, PADDED).unwrap(), cut, flip);
    }
}
