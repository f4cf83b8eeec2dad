//! One command for one server, ready to be authorised and sent by whoever has a session.

use crate::smp::address::ServerAddress;
use crate::smp::command::Command;
use crate::smp::ids::CorrelationId;
use crate::smp::key::AuthPrivateKey;

/// A command on its way to a server. It is authorised when it is sent: the session is part of what is signed.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// Where it goes.
    pub server: ServerAddress,
    /// The correlation id, where it matters beyond the session (`NEW` with link data); drawn when absent.
    pub correlation_id: Option<CorrelationId>,
    /// The queue or link that it is about, at most 255 bytes; empty for `NEW` and `PING`.
    pub entity_id: Vec<u8>,
    /// What authorises it, unless the command goes unauthorised.
    pub key: Option<AuthPrivateKey>,
    /// The command.
    pub command: Command<'static>,
}

/// Bodies and keys stay out of logs.
impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Request({} to {})", self.command.tag(), self.server.first_host())
    }
}
