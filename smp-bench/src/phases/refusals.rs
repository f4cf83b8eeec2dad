//! Whether a refusal tells by its time if there is such a queue (smp.md §5.6): the wrong key on a queue that exists
//! against the same on one that does not, for each kind of key the queue may have and each the stranger may use.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use protocol::net::rng::system_rng;
use protocol::smp::command::Command;
use protocol::smp::ids::RecipientId;
use protocol::smp::response::BrokerMessage;

use super::Plan;
use crate::connection::{Connection, Target};
use crate::measure::Measurement;
use crate::queue::{KeyKind, Keys, Signer, create_secured};

/// Commands of each question: many, so that the time of the check stands out of the time of the way.
const COMMANDS: usize = 64;

pub(super) async fn measure(target: &Target, plan: &Plan) -> anyhow::Result<Vec<Measurement>> {
    let mut results = Vec::new();
    for queue_kind in [KeyKind::Ed25519, KeyKind::X25519] {
        let mut connection = Connection::open(target).await?;
        let keys = Keys::generate(queue_kind, target.place.password.clone());
        let queues = create_secured(&mut connection, &keys, 1, false).await?;
        let existing = queues.first().context("There is no queue")?.recipient_id;
        for stranger_kind in [KeyKind::Ed25519, KeyKind::X25519] {
            let mut stranger = Connection::open(target).await?;
            let signer = Signer::new(&stranger_kind.generate(), stranger.server_key());
            let (mut there, mut missing) = (Vec::new(), Vec::new());
            // In turns, so that whatever else the machine does meets both alike.
            for _ in 0..plan.refusals {
                there.push(refused(&mut stranger, &signer, &existing).await?);
                let nowhere = RecipientId::generate(&mut system_rng());
                missing.push(refused(&mut stranger, &signer, &nowhere).await?);
            }
            let (there, missing) = (median(there), median(missing));
            let difference = (there.as_secs_f64() / missing.as_secs_f64() - 1.0).abs();
            let each = |time: Duration| time.as_secs_f64() * 1e6 / COMMANDS as f64;
            results.push(Measurement::of_figures(
                format!("refusals: queue {queue_kind:?}, stranger {stranger_kind:?}"),
                vec![
                    ("difference_percent".to_owned(), difference * 100.0),
                    ("there_us".to_owned(), each(there)),
                    ("missing_us".to_owned(), each(missing)),
                ],
            ));
        }
    }
    Ok(results)
}

/// The time that a block of refusals takes.
async fn refused(connection: &mut Connection, signer: &Signer, id: &RecipientId) -> anyhow::Result<Duration> {
    let command = Command::Sub.encode(connection.version());
    for _ in 0..COMMANDS {
        connection.push(signer, id.as_bytes(), &command)?;
    }
    let since = Instant::now();
    for received in connection.exchange(COMMANDS).await? {
        match received.message {
            BrokerMessage::Err(_) => {}
            other => bail!("a stranger is not refused: {other:?}"),
        }
    }
    Ok(since.elapsed())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
