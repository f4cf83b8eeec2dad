//! smp.md §20.2: making, securing, suspending and deleting queues.

use protocol::smp::SENT_BODY_BYTES_MAX;
use protocol::smp::command::Command;
use protocol::smp::error::ErrorType;
use protocol::smp::ids::MessageId;
use protocol::smp::key::AuthPrivateKey;
use protocol::smp::queue_uri::QueueMode;
use protocol::smp::response::BrokerMessage;

use crate::client::{CONTACT, CORRELATION, Client, MESSAGING, ack, body, ed25519, message};
use crate::host::Host;

#[tokio::test]
async fn a_queue_carries_a_message() {
    let host = Host::start("").await;
    for (version, encrypted) in [(15, false), (15, true), (16, true), (17, false), (18, false), (18, true)] {
        let mut client = Client::connect_as(&host, version, encrypted).await;
        let queue = client.create(MESSAGING, true).await;
        assert_eq!((queue.ids.mode, queue.ids.link_id), (Some(QueueMode::Messaging), None));
        client.ok(None, queue.ids.sender_id, &message(b"hello")).await;
        let (id, content) = client.message(&queue).await;
        assert_eq!(body(content), b"hello");
        client.ok(Some(&queue.key), queue.recipient_id(), &ack(&id)).await;
        let repeated = client.error(Some(&queue.key), queue.recipient_id(), &ack(&id)).await;
        assert_eq!(repeated, ErrorType::NoMessage);
        let signed = client.error(Some(&ed25519()), queue.ids.sender_id, &message(b"hello")).await;
        assert_eq!(signed, ErrorType::Auth);
        client.nothing_else().await;
    }
}

#[tokio::test]
async fn key_secures_a_queue_once() {
    let host = Host::start("").await;
    let mut client = Client::connect(&host).await;
    let queue = client.create(MESSAGING, true).await;
    let (sender, other) = (ed25519(), ed25519());
    let secure = |key: &AuthPrivateKey| Command::Key { sender_key: key.public_key() };
    let (recipient_id, sender_id) = (queue.recipient_id(), queue.ids.sender_id);
    assert_eq!(client.error(Some(&other), recipient_id, &secure(&sender)).await, ErrorType::Auth);
    assert_eq!(client.error(Some(&queue.key), sender_id, &secure(&sender)).await, ErrorType::Auth);
    client.ok(Some(&queue.key), recipient_id, &secure(&sender)).await;
    client.ok(Some(&queue.key), recipient_id, &secure(&sender)).await;
    assert_eq!(client.error(Some(&queue.key), recipient_id, &secure(&other)).await, ErrorType::Auth);

    client.ok(Some(&sender), sender_id, &message(b"signed")).await;
    assert_eq!(client.take(&queue).await, b"signed");
    assert_eq!(client.error(None, sender_id, &message(b"bare")).await, ErrorType::Auth);
    assert_eq!(client.error(Some(&other), sender_id, &message(b"forged")).await, ErrorType::Auth);
    client.nothing_else().await;
}

#[tokio::test]
async fn skey_lets_the_sender_secure_a_messaging_queue() {
    let host = Host::start("").await;
    let mut client = Client::connect(&host).await;
    let queue = client.create(MESSAGING, true).await;
    let (sender, other) = (ed25519(), ed25519());
    let secure = |key: &AuthPrivateKey| Command::Skey { sender_key: key.public_key() };
    let (recipient_id, sender_id) = (queue.recipient_id(), queue.ids.sender_id);
    assert_eq!(client.error(Some(&other), sender_id, &secure(&sender)).await, ErrorType::Auth);
    assert_eq!(client.error(Some(&sender), recipient_id, &secure(&sender)).await, ErrorType::Auth);
    client.ok(Some(&sender), sender_id, &secure(&sender)).await;
    assert_eq!(client.error(Some(&other), sender_id, &secure(&other)).await, ErrorType::Auth);
    client.ok(Some(&sender), sender_id, &secure(&sender)).await;
    client.ok(Some(&sender), sender_id, &message(b"signed")).await;
    assert_eq!(client.take(&queue).await, b"signed");
    assert_eq!(client.error(None, sender_id, &message(b"bare")).await, ErrorType::Auth);

    for request in [CONTACT, None] {
        let contact = client.create(request, true).await;
        assert_eq!(
            client.error(Some(&sender), contact.ids.sender_id, &secure(&sender)).await,
            ErrorType::Auth
        );
    }
}

#[tokio::test]
async fn x25519_keys_authorise_as_well() {
    let host = Host::start("").await;
    for encrypted in [false, true] {
        let mut client = Client::connect_as(&host, 18, encrypted).await;
        let x25519 = || AuthPrivateKey::generate_x25519(&mut protocol::net::rng::system_rng());
        let queue = client.create_with(x25519(), b"once", MESSAGING, true).await.unwrap();
        let sender = x25519();
        let secure = Command::Skey { sender_key: sender.public_key() };
        client.ok(Some(&sender), queue.ids.sender_id, &secure).await;
        let wrong = client.error(Some(&x25519()), queue.ids.sender_id, &message(b"forged")).await;
        assert_eq!(wrong, ErrorType::Auth);
        let wrong_kind = client.error(Some(&ed25519()), queue.ids.sender_id, &message(b"forged")).await;
        assert_eq!(wrong_kind, ErrorType::Auth);
        client.ok(Some(&sender), queue.ids.sender_id, &message(b"hello")).await;
        assert_eq!(client.take(&queue).await, b"hello");
    }
}

#[tokio::test]
async fn bodies_are_limited() {
    let host = Host::start("").await;
    for encrypted in [false, true] {
        let mut client = Client::connect_as(&host, 18, encrypted).await;
        let queue = client.create(MESSAGING, true).await;
        let sender = ed25519();
        let longest = vec![b'x'; SENT_BODY_BYTES_MAX];
        client.ok(None, queue.ids.sender_id, &message(&longest)).await;
        assert_eq!(client.take(&queue).await, longest);
        let too_long = vec![b'x'; SENT_BODY_BYTES_MAX + 1];
        let error = client.error(None, queue.ids.sender_id, &message(&too_long)).await;
        assert_eq!(error, ErrorType::LargeMessage);
        let secure = Command::Skey { sender_key: sender.public_key() };
        client.ok(Some(&sender), queue.ids.sender_id, &secure).await;
        client.ok(Some(&sender), queue.ids.sender_id, &message(&longest)).await;
        assert_eq!(client.take(&queue).await, longest);
        client.ok(Some(&queue.key), queue.recipient_id(), &Command::Off).await;
        let error = client.error(Some(&sender), queue.ids.sender_id, &message(&too_long)).await;
        assert_eq!(error, ErrorType::LargeMessage, "the length is checked first");
        client.ok(Some(&queue.key), queue.recipient_id(), &Command::Del).await;
    }
    let mut client = Client::connect(&host).await;
    let queue = client.create(MESSAGING, true).await;
    client.ok(None, queue.ids.sender_id, &message(b"")).await;
    assert_eq!(client.take(&queue).await, b"");
}

#[tokio::test]
async fn recipient_keys_of_a_contact_queue_can_be_replaced() {
    let host = Host::start("").await;
    let mut client = Client::connect(&host).await;
    let queue = client.create(CONTACT, true).await;
    let (first, second) = (&queue.key, ed25519());
    let keys = |keys: &[&AuthPrivateKey]| Command::Rkey {
        recipient_keys: keys.iter().map(|key| key.public_key()).collect(),
    };
    let id = queue.recipient_id();
    client.ok(Some(first), id, &keys(&[first, &second])).await;
    for key in [first, &second] {
        assert!(matches!(client.ask(Some(key), id, &Command::Que).await, BrokerMessage::Info(_)));
    }
    client.ok(Some(first), id, &keys(&[&second])).await;
    assert_eq!(client.error(Some(first), id, &Command::Que).await, ErrorType::Auth);
    client.ok(Some(&second), id, &keys(&[first, &second])).await;
    assert!(matches!(client.ask(Some(first), id, &Command::Que).await, BrokerMessage::Info(_)));

    let messaging = client.create(MESSAGING, true).await;
    let refused = client.error(Some(&messaging.key), messaging.recipient_id(), &keys(&[&second])).await;
    assert_eq!(refused, ErrorType::Auth);
}

#[tokio::test]
async fn a_suspended_queue_refuses_senders_and_keeps_its_messages() {
    let host = Host::start("").await;
    let mut client = Client::connect(&host).await;
    let queue = client.create(MESSAGING, true).await;
    let (recipient_id, sender_id) = (queue.recipient_id(), queue.ids.sender_id);
    client.ok(None, sender_id, &message(b"one")).await;
    let (first, _) = client.message(&queue).await;
    client.ok(None, sender_id, &message(b"two")).await;
    client.nothing_else().await;
    assert_eq!(client.error(Some(&ed25519()), recipient_id, &Command::Off).await, ErrorType::Auth);
    assert_eq!(client.error(Some(&queue.key), sender_id, &Command::Off).await, ErrorType::Auth);
    client.ok(Some(&queue.key), recipient_id, &Command::Off).await;
    assert_eq!(client.error(None, sender_id, &message(b"three")).await, ErrorType::Auth);
    assert_eq!(client.error(Some(&ed25519()), sender_id, &message(b"three")).await, ErrorType::Auth);
    client.ok(Some(&queue.key), recipient_id, &Command::Off).await;
    client.subscribe(&queue).await;
    let (again, content) = client.message(&queue).await;
    assert_eq!((again, body(content)), (first, b"one".to_vec()));
    let next = client.acknowledge(&queue, &first).await;
    assert_eq!(body(queue.open(&next).1), b"two");
}

#[tokio::test]
async fn a_deleted_queue_is_unknown() {
    let host = Host::start("").await;
    let mut client = Client::connect(&host).await;
    let queue = client.create(MESSAGING, true).await;
    let (recipient_id, sender_id) = (queue.recipient_id(), queue.ids.sender_id);
    client.ok(None, sender_id, &message(b"one")).await;
    let (id, _) = client.message(&queue).await;
    assert_eq!(client.error(Some(&ed25519()), recipient_id, &Command::Del).await, ErrorType::Auth);
    assert_eq!(client.error(Some(&queue.key), sender_id, &Command::Del).await, ErrorType::Auth);
    client.ok(Some(&queue.key), recipient_id, &Command::Del).await;
    for (key, entity, command) in [
        (None, sender_id.as_ref(), message(b"two")),
        (Some(&queue.key), sender_id.as_ref(), message(b"two")),
        (Some(&queue.key), recipient_id.as_ref(), ack(&id)),
        (Some(&queue.key), recipient_id.as_ref(), Command::Off),
        (Some(&queue.key), recipient_id.as_ref(), Command::Sub),
        (Some(&queue.key), recipient_id.as_ref(), Command::Del),
    ] {
        assert_eq!(client.error(key, entity, &command).await, ErrorType::Auth, "{command:?}");
    }
    client.nothing_else().await;
}

#[tokio::test]
async fn new_queues_can_be_turned_off_and_need_the_password() {
    let host = Host::start("[access]\nnew_queues = false").await;
    let mut client = Client::connect(&host).await;
    let refused = client.create_with(ed25519(), CORRELATION, MESSAGING, true).await;
    assert_eq!(refused.err(), Some(ErrorType::Auth));
}

#[tokio::test]
async fn que_shows_the_state_of_a_queue() {
    let host = Host::start("").await;
    let mut client = Client::connect(&host).await;
    let queue = client.create(MESSAGING, false).await;
    let shown = |message: BrokerMessage<'static>| match message {
        BrokerMessage::Info(details) => details,
        other => panic!("{other:?}"),
    };
    let key = Some(&queue.key);
    let details = shown(client.ask(key, queue.recipient_id(), &Command::Que).await);
    assert_eq!((details.secured, details.messages, details.subscription), (false, 0, None));
    assert!(details.first_message.is_none());
    client.ok(None, queue.ids.sender_id, &message(b"one")).await;
    client.subscribe(&queue).await;
    let (id, _) = client.message(&queue).await;
    let details = shown(client.ask(key, queue.recipient_id(), &Command::Que).await);
    let first = details.first_message.unwrap();
    assert_eq!(details.messages, 1);
    assert_eq!(details.subscription.unwrap().delivered, Some(first.id.clone()));
    assert_eq!(first.id, base64_of(&id));
    assert!(first.received_at.ends_with('Z'), "{}", first.received_at);
}

fn base64_of(id: &MessageId) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(id.as_bytes())
}
