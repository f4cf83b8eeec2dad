//! `PRXY` and `PFWD`: a client reaches another server through this one.

use protocol::smp::address::ServerAddress;
use protocol::smp::error::{BrokerError, ErrorType, ProxyError};
use protocol::smp::password::BasicAuth;
use protocol::smp::proxy::forward::Forward;
use protocol::smp::response::BrokerMessage;

use super::Outcome;
use crate::connection::Client;
use crate::metrics::Count;

pub(super) async fn connect(
    client: &Client,
    server: &ServerAddress,
    password: Option<&BasicAuth>,
) -> Outcome {
    let proxy = &client.server.proxy;
    if !proxy.is_on() || !client.server.is_create_password(password) {
        return Err(ErrorType::from(ProxyError::BasicAuth).into());
    }
    let connected = proxy.connect(server).await;
    let metrics = &client.server.metrics;
    count(
        &connected,
        [
            &metrics.proxy_sessions_done,
            &metrics.proxy_sessions_unreachable,
            &metrics.proxy_sessions_incompatible,
            &metrics.proxy_sessions_other,
        ],
    );
    Ok(connected?)
}

pub(super) async fn forward(client: &Client, session_id: &[u8], forward: &Forward<'_>) -> Outcome {
    let forwarded = client.server.proxy.forward(session_id, forward).await;
    let metrics = &client.server.metrics;
    count(
        &forwarded,
        [
            &metrics.proxy_commands_done,
            &metrics.proxy_commands_unreachable,
            &metrics.proxy_commands_incompatible,
            &metrics.proxy_commands_other,
        ],
    );
    Ok(BrokerMessage::Pres(forwarded?.into()))
}

/// Counts how it went with another server: done, out of reach, too old or too new, or something else.
fn count<T>(outcome: &Result<T, ErrorType>, by: [&Count; 4]) {
    let [done, unreachable, incompatible, other] = by;
    let counted = match outcome {
        Ok(_) => done,
        Err(ErrorType::Proxy(ProxyError::Broker(error))) => match error {
            BrokerError::Network(_) | BrokerError::Timeout => unreachable,
            BrokerError::Transport(_) | BrokerError::Host => incompatible,
            _ => other,
        },
        Err(_) => other,
    };
    counted.one();
}
