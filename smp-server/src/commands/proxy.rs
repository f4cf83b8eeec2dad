//! `PRXY` and `PFWD`: a client reaches another server through this one.

use protocol::smp::address::ServerAddress;
use protocol::smp::error::{ErrorType, ProxyError};
use protocol::smp::password::BasicAuth;
use protocol::smp::proxy::forward::Forward;
use protocol::smp::response::BrokerMessage;

use super::Outcome;
use crate::connection::Client;

pub(super) async fn connect(
    client: &Client,
    server: &ServerAddress,
    password: Option<&BasicAuth>,
) -> Outcome {
    let proxy = &client.server.proxy;
    if !proxy.is_on() || !client.server.is_create_password(password) {
        return Err(ErrorType::from(ProxyError::BasicAuth).into());
    }
    Ok(proxy.connect(server).await?)
}

pub(super) async fn forward(client: &Client, session_id: &[u8], forward: &Forward<'_>) -> Outcome {
    let sealed = client.server.proxy.forward(session_id, forward).await?;
    Ok(BrokerMessage::Pres(sealed.into()))
}
