//! What comes from the server: blocks, the transmissions in them, and whom they concern.

use std::time::Instant;

use tokio::io::AsyncReadExt as _;
use tracing::debug;

use super::{Owner, ReadStream, SessionEnd, Shared, Silence};
use crate::net::error::CallError;
use crate::smp::batch::Batch;
use crate::smp::ids::CorrelationId;
use crate::smp::response::BrokerMessage;
use crate::smp::transmission::Transmission;
use crate::transport::block::{BLOCK_BYTES, BlockOpener};

/// Reads until the connection breaks or the server breaks the protocol.
pub(super) async fn read<O: Owner>(
    shared: &Shared<'_, O>,
    mut stream: ReadStream,
    mut opener: BlockOpener,
) -> SessionEnd {
    let mut block = Box::new([0; BLOCK_BYTES]);
    loop {
        if let Err(error) = stream.read_exact(block.as_mut_slice()).await {
            debug!(%error, "connection lost");
            return SessionEnd::Lost;
        }
        *shared.silence() = Silence { heard: Instant::now(), timeouts: 0 };
        // later blocks would not open either
        let Ok(content) = opener.open(&mut block) else {
            debug!("a block does not open");
            return SessionEnd::Lost;
        };
        let Ok(batch) = Batch::parse(content) else {
            debug!("a block is malformed");
            return SessionEnd::Lost;
        };
        for bytes in batch {
            match Transmission::parse(bytes, shared.version) {
                Ok(transmission) => dispatch(shared, &transmission).await,
                Err(_) => debug!("a transmission is malformed"),
            }
        }
        shared.room.notify_one();
    }
}

async fn dispatch<O: Owner>(shared: &Shared<'_, O>, transmission: &Transmission<'_>) {
    let Transmission { correlation_id, entity_id, command, .. } = *transmission;
    let message = BrokerMessage::parse(command, shared.version);
    let waiting = CorrelationId::try_from(correlation_id).ok().and_then(|id| shared.pending().take(&id));
    match (waiting, message) {
        (Some(waiting), Ok(message)) => {
            let result = check_answer(&message, entity_id, &waiting.entity_id).map(|()| message.into_owned());
            shared.owner.answered(waiting.tag, result.and_then(refusal));
        }
        (Some(waiting), Err(_)) => shared.owner.answered(waiting.tag, Err(CallError::UnreadableAnswer)),
        // an event; or a message that answers a command which was given up: it is outstanding all the same
        (None, Ok(message)) if correlation_id.is_empty() || matches!(message, BrokerMessage::Msg { .. }) => {
            shared.owner.told(entity_id, message).await;
        }
        (None, Ok(message)) => debug!(tag = message.tag(), "an answer that nobody waits for"),
        (None, Err(_)) => debug!("an event is malformed"),
    }
}

/// The answer must be about the same entity; `IDS`, `PONG` and errors name none or any (smp.md §5.4).
fn check_answer(message: &BrokerMessage<'_>, entity_id: &[u8], asked: &[u8]) -> Result<(), CallError> {
    let fits = match message {
        BrokerMessage::Ids(_) | BrokerMessage::Err(_) => true,
        _ => message.check_entity(!entity_id.is_empty()).is_ok() && entity_id == asked,
    };
    if fits { Ok(()) } else { Err(CallError::UnexpectedAnswer) }
}

fn refusal(message: BrokerMessage<'static>) -> Result<BrokerMessage<'static>, CallError> {
    match message {
        BrokerMessage::Err(error) => Err(CallError::Refused(error)),
        message => Ok(message),
    }
}
