//! smp.md §20.1, and what cannot be read at all.

use protocol::crypto::dh::X25519PrivateKey;
use protocol::encoding::Encode as _;
use protocol::smp::command::Command;
use protocol::smp::error::{BrokerError, CommandError, ErrorType, ProxyError, TransportError};
use protocol::smp::response::BrokerMessage;

use crate::client::{Client, MESSAGING, Received, ed25519, message};
use crate::host::Host;

/// A queue that is not there.
const UNKNOWN: &[u8] = &[9; 24];

fn command_error(error: CommandError) -> BrokerMessage<'static> {
    BrokerMessage::Err(ErrorType::Command(error))
}

const AUTH: BrokerMessage<'static> = BrokerMessage::Err(ErrorType::Auth);

#[tokio::test]
async fn commands_are_checked_by_form_then_credentials_then_authority() {
    use CommandError::{HasAuth, NoAuth, NoEntity, Syntax, Unknown};
    let host = Host::start("").await;
    let mut client = Client::connect(&host).await;
    let key = ed25519();
    let signed = Some(&key);
    let parameter = key.public_key().to_bytes();
    let command = |tag: &str, rest: &[u8]| [tag.as_bytes(), rest].concat();
    let with_key = |tag: &str| [tag.as_bytes(), b" ", parameter.as_slice()].concat();

    let new = [with_key("NEW"), client_dh_key(), b"0S1M000".to_vec()].concat();
    let cases: Vec<(Option<_>, &[u8], Vec<u8>, BrokerMessage<'static>)> = vec![
        (None, b"", command("HELLO", b""), command_error(Unknown)),
        (None, b"", command("OK", b""), command_error(Unknown)),
        (signed, UNKNOWN, command("SUB=", b""), command_error(Unknown)),
        (None, b"", Vec::new(), command_error(Unknown)),
        (signed, b"", command("NEW", b""), command_error(Syntax)),
        (signed, b"", [b"NEW \x01A", &new[4..]].concat(), command_error(Syntax)),
        (None, b"", new[..new.len() - 1].to_vec(), command_error(NoAuth)),
        (signed, UNKNOWN, new[..new.len() - 1].to_vec(), command_error(HasAuth)),
        (signed, b"", new.clone(), command_error(Syntax)),
        (signed, UNKNOWN, with_key("KEY"), AUTH),
        (signed, UNKNOWN, command("KEY", b""), command_error(Syntax)),
        (signed, UNKNOWN, [with_key("KEY"), b"x".to_vec()].concat(), command_error(Syntax)),
        (None, UNKNOWN, with_key("KEY"), command_error(NoAuth)),
        (signed, b"", with_key("KEY"), command_error(NoAuth)),
        (signed, UNKNOWN, command("SUB ", b""), command_error(Syntax)),
        (signed, UNKNOWN, command("SEND", b" T hello"), AUTH),
        (None, UNKNOWN, command("SEND", b" T hello"), AUTH),
        (None, UNKNOWN, command("SEND", b""), command_error(Syntax)),
        (None, b"", command("SEND", b" T hello"), command_error(NoEntity)),
        (signed, UNKNOWN, command("ACK", b" \x041234"), AUTH),
        (signed, UNKNOWN, command("ACK", b""), command_error(Syntax)),
        (signed, b"", command("ACK", b" \x041234"), command_error(NoAuth)),
        (None, UNKNOWN, command("ACK", b" \x041234"), command_error(NoAuth)),
        (signed, UNKNOWN, command("LGET", b""), command_error(HasAuth)),
        (None, b"", command("LGET", b""), command_error(NoEntity)),
        (None, UNKNOWN, command("LGET", b""), AUTH),
        (signed, b"", command("PING", b""), command_error(HasAuth)),
        (None, UNKNOWN, command("PING", b""), command_error(HasAuth)),
        (None, b"", command("PING", b""), BrokerMessage::Pong),
        (signed, b"short", command("GET", b""), AUTH),
    ];
    for (key, entity, bytes, expected) in cases {
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        assert_eq!(client.ask_raw(key, entity, &bytes).await, expected, "{shown}");
    }
    for tag in ["SUB", "OFF", "DEL", "QUE", "GET", "LDEL", "NDEL"] {
        assert_eq!(client.ask_raw(signed, UNKNOWN, tag.as_bytes()).await, AUTH, "{tag}");
        assert_eq!(client.ask_raw(None, UNKNOWN, tag.as_bytes()).await, command_error(NoAuth), "{tag}");
        assert_eq!(client.ask_raw(signed, b"", tag.as_bytes()).await, command_error(NoAuth), "{tag}");
    }
}

fn client_dh_key() -> Vec<u8> {
    X25519PrivateKey::from_bytes([5; 32]).public_key().to_bytes()
}

#[tokio::test]
async fn commands_of_later_servers_are_refused_so_that_clients_go_on() {
    let host = Host::start("[proxy]\nforward = \"off\"").await;
    let mut client = Client::connect(&host).await;
    let queue = client.create(MESSAGING, true).await;
    let key = Some(&queue.key);
    assert_eq!(client.ask(key, [1; 24], &Command::Nsub).await, AUTH);
    let service = BrokerMessage::Err(ErrorType::Service);
    assert_eq!(client.ask(key, [1; 24], &Command::Nsubs).await, service);
    assert_eq!(client.ask(key, [1; 24], &Command::Subs).await, service);
    let server = [b"PRXY \x01\x09localhost\x0452230", &[7_u8; 47][..]].concat();
    assert!(matches!(client.ask_raw(None, b"", &server).await, BrokerMessage::Err(ErrorType::Command(_))));
    let server = [b"PRXY \x01\x09localhost\x045223\x20", &[7_u8; 32][..], b"0"].concat();
    let of_proxy = |error| BrokerMessage::Err(ErrorType::Proxy(error));
    assert_eq!(client.ask_raw(None, b"", &server).await, of_proxy(ProxyError::BasicAuth));
    let no_key = ProxyError::Broker(BrokerError::Transport(TransportError::NoAuth));
    assert_eq!(client.ask_raw(None, b"", b"RFWD sealed").await, of_proxy(no_key), "no key in the hello");
    let pfwd = [b"PFWD \x00\x11".as_slice(), &client_dh_key(), b"sealed"].concat();
    assert_eq!(client.ask_raw(None, b"session", &pfwd).await, of_proxy(ProxyError::NoSession));
}

#[tokio::test]
async fn what_cannot_be_read_is_answered_block_and_the_session_goes_on() {
    let host = Host::start("").await;
    let unreadable = |correlation_id: &[u8], block| Received {
        correlation_id: correlation_id.to_vec(),
        entity_id: Vec::new(),
        message: BrokerMessage::Err(ErrorType::Block),
        block,
    };
    for encrypted in [false, true] {
        let mut client = Client::connect_as(&host, 18, encrypted).await;
        for (block, content) in [&b""[..], b"\x00", b"\x01\x00\x05abc", b"\x01\x00\x01ab"].iter().enumerate()
        {
            client.send_content(content).await;
            assert_eq!(client.receive().await, unreadable(b"", block));
        }
        // One bad transmission of two: the other is answered, bad ones first.
        let ping = client.transmission(None, b"good", b"", b"PING");
        client.send(&[vec![0, 4, b'x'], ping.clone()]).await;
        assert_eq!(client.receive().await, unreadable(b"", 4));
        assert_eq!(client.receive().await.message, BrokerMessage::Pong);
        // An authenticator of a length that is none: its correlation id is known, the entity is not shown.
        let mut odd = vec![3, 1, 2, 3, b'0', 4];
        odd.extend_from_slice(b"corr\x02idPING");
        client.send(&[odd]).await;
        assert_eq!(client.receive().await, unreadable(b"corr", 6));
        // No service signature field after an authenticator.
        let mut bare = vec![64];
        bare.extend_from_slice(&[1; 64]);
        bare.extend_from_slice(b"\x04corr\x02idSUB");
        client.send(&[bare]).await;
        assert_eq!(client.receive().await, unreadable(b"", 7));
        client.nothing_else().await;
    }
    let mut client = Client::connect_as(&host, 18, true).await;
    client.send_block(&[7; 16_384]).await;
    assert_eq!(client.receive().await, unreadable(b"", 0));
}

#[tokio::test]
async fn correlation_ids_of_any_length_come_back() {
    let host = Host::start("").await;
    let mut client = Client::connect(&host).await;
    let queue = client.create(MESSAGING, false).await;
    for length in [0, 1, 24, 255] {
        let correlation = vec![8; length];
        assert_eq!(client.ask_with(&correlation, None, b"", b"PING").await, BrokerMessage::Pong);
    }
    // A response that no block can hold with such an id: the client hears of it, and the message stays.
    client.send_message(&queue, b"hello").await;
    let got = client.ask_with(&[8; 255], Some(&queue.key), queue.recipient_id().as_bytes(), b"GET").await;
    assert_eq!(got, BrokerMessage::Err(ErrorType::LargeMessage));
    let got = client.ask(Some(&queue.key), queue.recipient_id(), &Command::Get).await;
    assert_eq!(crate::client::body(queue.open(&got).1), b"hello");
    client.ok(None, queue.ids.sender_id, &message(b"second")).await;
}

#[tokio::test]
async fn changed_and_cut_blocks_do_no_harm() {
    let host = Host::start("").await;
    let mut client = Client::connect(&host).await;
    let queue = client.create(MESSAGING, true).await;
    let (key, recipient_id) = (Some(&queue.key), queue.recipient_id());
    let sub = client.transmission(key, b"one", recipient_id.as_ref(), b"SUB");
    let send = client.transmission(None, b"two", queue.ids.sender_id.as_ref(), b"SEND T hello");
    let mut content = vec![2];
    for transmission in [sub, send] {
        content.extend_from_slice(&u16::try_from(transmission.len()).unwrap().to_be_bytes());
        content.extend_from_slice(&transmission);
    }
    for position in 0..content.len() {
        let mut changed = content.clone();
        changed[position] ^= 0x41;
        client.send_content(&changed).await;
        client.send_content(&content[..position]).await;
        // Whatever it answered: it goes on.
        client.forget_messages().await;
    }
    client.subscribe(&queue).await;
}
