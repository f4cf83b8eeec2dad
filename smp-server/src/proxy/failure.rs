//! What a client is told when its command was not forwarded (smp.md §14.1): nothing about this server's network.

use protocol::net::error::{CallError, ConnectError};
use protocol::net::proxy::ForwardError;
use protocol::smp::error::{BrokerError, ErrorType, NetworkError, ProxyError, TransportError};

/// Why there is no session with a destination server.
pub(super) fn of_connecting(error: &ConnectError) -> BrokerError {
    match error {
        ConnectError::HostMode => BrokerError::Host,
        ConnectError::Version { .. } => BrokerError::Transport(TransportError::Version),
        ConnectError::Hello(error) => BrokerError::Transport(error.to_transport_error()),
        _ => BrokerError::Network(NetworkError::Failed),
    }
}

/// Why a forwarded command has no answer.
pub(super) fn of_forwarding(error: &ForwardError) -> ErrorType {
    let broker = |error| ErrorType::Proxy(ProxyError::Broker(error));
    match error {
        ForwardError::Call(CallError::Refused(error)) => {
            ErrorType::Proxy(ProxyError::Protocol(Box::new(error.clone())))
        }
        ForwardError::Call(CallError::TimedOut) => broker(BrokerError::Timeout),
        ForwardError::Call(CallError::UnexpectedAnswer) => {
            broker(BrokerError::Unexpected("not RRES".to_owned()))
        }
        ForwardError::Call(CallError::UnreadableAnswer) => {
            broker(BrokerError::Response("unreadable".to_owned()))
        }
        ForwardError::Call(CallError::TooLarge) => ErrorType::LargeMessage,
        ForwardError::Call(_) => broker(BrokerError::Network(NetworkError::Failed)),
        ForwardError::Crypto(_) => ErrorType::Crypto,
        _ => ErrorType::Internal,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use protocol::transport::handshake::HandshakeError;

    /// The table of smp.md §14.1.
    #[test]
    fn clients_are_told_in_the_words_of_the_wire() {
        let told = |error: ErrorType| {
            let mut out = Vec::new();
            error.encode(18, &mut out);
            String::from_utf8(out).unwrap()
        };
        let connecting = |error| told(ErrorType::Proxy(ProxyError::Broker(of_connecting(&error))));
        let refused = ConnectError::Unreachable(Arc::new(std::io::ErrorKind::ConnectionRefused.into()));
        for error in [refused, ConnectError::TimedOut, ConnectError::UnknownIdentity, ConnectError::Closed] {
            assert_eq!(connecting(error), "PROXY BROKER NETWORK");
        }
        for error in [ConnectError::NoUsableHost, ConnectError::PrivateAddress, ConnectError::NoFingerprint] {
            assert_eq!(connecting(error), "PROXY BROKER NETWORK");
        }
        assert_eq!(connecting(ConnectError::HostMode), "PROXY BROKER HOST");
        for (error, word) in [
            (HandshakeError::SessionMismatch, "SESSION"),
            (HandshakeError::Malformed, "HANDSHAKE PARSE"),
            (HandshakeError::BadAuth, "HANDSHAKE BAD_AUTH"),
            (HandshakeError::NoServerKey, "NO_AUTH"),
        ] {
            assert_eq!(connecting(error.into()), format!("PROXY BROKER TRANSPORT {word}"));
        }
        let offered = protocol::version::VersionRange::single(7);
        assert_eq!(connecting(ConnectError::Version { offered }), "PROXY BROKER TRANSPORT VERSION");

        let forwarding = |error| told(of_forwarding(&ForwardError::Call(error)));
        assert_eq!(forwarding(CallError::TimedOut), "PROXY BROKER TIMEOUT");
        assert_eq!(forwarding(CallError::Refused(ErrorType::Crypto)), "PROXY PROTOCOL CRYPTO");
        assert_eq!(forwarding(CallError::Refused(ErrorType::Block)), "PROXY PROTOCOL BLOCK");
        assert_eq!(forwarding(CallError::Disconnected), "PROXY BROKER NETWORK");
        assert_eq!(forwarding(CallError::UnexpectedAnswer), "PROXY BROKER UNEXPECTED \u{8}not RRES");
        assert_eq!(forwarding(CallError::UnreadableAnswer), "PROXY BROKER RESPONSE \nunreadable");
    }
}
