//! What a refusal tells by the time it takes (smp.md §5.6, §20.3).

use std::time::{Duration, Instant};

use crate::case::{Case, case};
use crate::failure::{At as _, Failure, Outcome};
use crate::peer::commands::{Draft, send, with_key};
use crate::peer::keys::{Key, KeyKind, random};
use crate::peer::{Peer, same};
use crate::trial::Trial;

pub(super) const CASES: &[Case] =
    &[case!("timing/refusals-take-the-same-time", "§5.6, §20.3.11", refusals).once().alone()];

/// The kind of the queue's keys, and of the stranger's.
const KINDS: [(KeyKind, KeyKind); 7] = [
    (KeyKind::Ed25519, KeyKind::Ed25519),
    (KeyKind::Ed448, KeyKind::Ed25519),
    (KeyKind::Ed448, KeyKind::Ed448),
    (KeyKind::Ed448, KeyKind::X25519),
    (KeyKind::X25519, KeyKind::Ed25519),
    (KeyKind::X25519, KeyKind::Ed448),
    (KeyKind::X25519, KeyKind::X25519),
];

/// Commands that are timed together: the check is to stand out of the way to the server and back, and yet be over before
/// a busy machine does something else.
const fn together(stranger: KeyKind) -> usize {
    match stranger {
        KeyKind::Ed25519 | KeyKind::X25519 => 4,
        KeyKind::Ed448 => 1,
    }
}

/// After as many rounds the shortest times are compared: whatever else a machine does makes times longer, never shorter, so
/// that more rounds bring them closer to what the check takes.
const ROUNDS: [usize; 4] = [20, 60, 180, 540];

/// How much longer one kind of refusal may take than the other.
const TOLERANCE: f64 = 0.3;

async fn refusals(trial: Trial) -> Outcome {
    let mut peer = trial.connect().await?;
    for (of_queue, of_stranger) in KINDS {
        let queue = peer.create_of(&Draft::messaging().unsubscribed().with_key(Key::of(of_queue))).await?;
        peer.recipient(&queue, &with_key("KEY", &Key::of(of_queue)), "OK").await?;
        let stranger = Key::of(of_stranger);
        let questions =
            [("SUB", b"SUB".to_vec(), &queue.recipient_id), ("SEND", send(b"x"), &queue.sender_id)];
        for (tag, command, there) in questions {
            let compared = compare(&mut peer, (&stranger, together(of_stranger)), there, &command).await;
            compared.at(format!("{tag}, queue {of_queue:?}, stranger {of_stranger:?}"))?;
        }
    }
    Ok(())
}

async fn compare(peer: &mut Peer, stranger: (&Key, usize), there: &[u8], command: &[u8]) -> Outcome {
    let (mut of_queue, mut of_nothing) = (Duration::MAX, Duration::MAX);
    let mut done = 0;
    for rounds in ROUNDS {
        for _ in done..rounds {
            of_queue = of_queue.min(refused(peer, stranger, there, command).await?);
            of_nothing = of_nothing.min(refused(peer, stranger, &random::<24>(), command).await?);
        }
        done = rounds;
        let (shorter, longer) = (of_queue.min(of_nothing), of_queue.max(of_nothing));
        if longer.as_secs_f64() <= shorter.as_secs_f64() * (1.0 + TOLERANCE) {
            return Ok(());
        }
    }
    let got = format!("{of_queue:?} for a queue that is there and {of_nothing:?} for none");
    Err(Failure::differs(format!("times within {} % of each other", TOLERANCE * 100.0), got))
}

/// The time that some refusals take together.
async fn refused(
    peer: &mut Peer,
    (stranger, count): (&Key, usize),
    id: &[u8],
    command: &[u8],
) -> Outcome<Duration> {
    let ids: Vec<[u8; 24]> = (0..count).map(|_| random()).collect();
    let block: Vec<Vec<u8>> = ids
        .iter()
        .map(|correlation_id| peer.transmission(stranger.into(), correlation_id, id, command))
        .collect();
    let since = Instant::now();
    peer.send(&block).await?;
    for correlation_id in &ids {
        same(&peer.answer(correlation_id).await?.message, b"ERR AUTH")?;
    }
    Ok(since.elapsed())
}
