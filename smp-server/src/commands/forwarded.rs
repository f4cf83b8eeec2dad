//! `RFWD`: a command of somebody whom only the proxy sees. It is checked and executed as a direct one of its version,
//! and answered inside the answer (smp.md §14.2).

use protocol::smp::error::BrokerError;
use protocol::smp::error::{ErrorType, ProxyError, TransportError};
use protocol::smp::proxy::destination::ForwardedCommand;
use protocol::smp::proxy::single;
use protocol::smp::response::BrokerMessage;

use super::{Outcome, execute};
use crate::authorize::{ForwardedRefusal, Refused, authorize_forwarded};
use crate::connection::Client;
use crate::server::Server;

pub(super) async fn execute_inside(client: &Client, correlation_id: &[u8], sealed: &[u8]) -> Outcome {
    let keys = &client.keys;
    let proxy_key = keys
        .proxy_key()
        .ok_or_else(|| ErrorType::from(ProxyError::Broker(BrokerError::Transport(TransportError::NoAuth))))?;
    let forwarded = ForwardedCommand::open(&keys.own_key, proxy_key, correlation_id, sealed)?;
    let (version, verifier) = (forwarded.version, keys.verifier());
    let Server { hashes, store, .. } = &*client.server;
    let authorized = authorize_forwarded(&forwarded.content, version, &verifier, hashes, store).await;
    let (correlation_id, entity_id, message) = match authorized {
        Ok(accepted) => {
            let (correlation_id, entity_id) = (accepted.correlation_id.clone(), accepted.entity_id.clone());
            // boxed: this is itself part of an execution
            let reply = Box::pin(execute(client, accepted)).await;
            (correlation_id, entity_id, reply.message)
        }
        Err(ForwardedRefusal::Sender(Refused { correlation_id, entity_id, error })) => {
            (correlation_id, entity_id, BrokerMessage::Err(error))
        }
        Err(ForwardedRefusal::Proxy(error)) => return Err(error.into()),
    };
    let content = |message: &BrokerMessage<'_>| {
        single(|out| message.encode_transmission(version, &correlation_id, &entity_id, out))
    };
    // Only ids that no honest client sends make an answer too long.
    let content = content(&message)
        .or_else(|_| content(&BrokerMessage::Err(ErrorType::LargeMessage)))
        .map_err(|_| ErrorType::LargeMessage)?;
    let answer = forwarded.seal_answer(&content).map_err(|_| ErrorType::Crypto)?;
    Ok(BrokerMessage::Rres(answer.into()))
}
