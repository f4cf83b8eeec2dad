//! smp.md §9.2: queues that the operator blocks, and what their parties are told.

use protocol::smp::command::{Command, ContactLink, QueueRequest};
use protocol::smp::error::{BlockingInfo, ErrorType};
use protocol::smp::ids::{LinkId, SenderId};
use protocol::smp::response::BrokerMessage;
use smp_server::moderation::{KnownId, ModerationError};
use smp_server::store::QueueStatus;

use crate::client::{CONTACT, Client, MESSAGING, ack, body, ed25519, link_data, message};
use crate::host::Host;

fn info(text: &str) -> BlockingInfo {
    text.parse().unwrap()
}

fn with_notice() -> BlockingInfo {
    info("reason=content,notice={\"ttl\":3600}")
}

/// What a client of this version is told of [`with_notice`].
fn told(version: u16) -> ErrorType {
    ErrorType::Blocked(if version < 18 { info("reason=content") } else { with_notice() })
}

#[tokio::test]
async fn a_blocked_queue_refuses_its_parties_until_it_is_unblocked() {
    let host = Host::start("").await;
    for version in [15, 17, 18] {
        let mut client = Client::connect_as(&host, version, false).await;
        let mut sender = Client::connect_as(&host, version, false).await;
        let queue = client.create(MESSAGING, true).await;
        let (key, id, sender_id) = (Some(&queue.key), queue.recipient_id(), queue.ids.sender_id);
        sender.ok(None, sender_id, &message(b"one")).await;
        let (one, _) = client.message(&queue).await;

        let known = KnownId(sender_id.0);
        assert_eq!(host.server().block(known, with_notice()).await.unwrap(), QueueStatus::Active);
        assert_eq!(client.event(id).await, BrokerMessage::Err(told(version)));
        let sender_key = ed25519();
        let skey = Command::Skey { sender_key: sender_key.public_key() };
        for (key, id, command) in [
            (None, sender_id.0, message(b"two")),
            (Some(&sender_key), sender_id.0, skey.clone()),
            (key, id.0, Command::Sub),
            (key, id.0, Command::Get),
            (key, id.0, Command::Que),
            (key, id.0, Command::Key { sender_key: sender_key.public_key() }),
            (key, id.0, Command::Ldel),
            (key, id.0, Command::Ndel),
            (key, id.0, ack(&one)),
        ] {
            assert_eq!(sender.error(key, id, &command).await, told(version), "{}", command.tag());
        }
        let large = message(&vec![0; 16_049]);
        assert_eq!(sender.error(None, sender_id, &large).await, ErrorType::LargeMessage);
        assert_eq!(sender.error(Some(&sender_key), id, &Command::Sub).await, ErrorType::Auth);

        let former = host.server().unblock(known).await.unwrap();
        assert_eq!(former, QueueStatus::Blocked { info: with_notice(), suspended: false });
        sender.ok(None, sender_id, &message(b"two")).await;
        let next = client.acknowledge(&queue, &one).await;
        assert_eq!(body(queue.open(&next).1), b"two", "the subscription stayed");
        client.nothing_else().await;
    }
}

#[tokio::test]
async fn links_of_a_blocked_queue_are_refused_and_name_it() {
    let host = Host::start("").await;
    let mut client = Client::connect(&host).await;
    let (link, correlation_id) = (LinkId([4; 24]), b"of a new queue");
    let sender_id = SenderId::for_correlation(correlation_id).0.to_vec().into();
    let request = ContactLink { link_id: link.0.to_vec().into(), sender_id, data: link_data(b"f", b"u") };
    let request = Some(QueueRequest::Contact(Some(request)));
    let contact = client.create_with(ed25519(), correlation_id, request, false).await.unwrap();
    host.server().block(KnownId(link.0), info("reason=spam")).await.unwrap();
    let spam = ErrorType::Blocked(info("reason=spam"));
    assert_eq!(client.error(None, link, &Command::Lget).await, spam);
    assert_eq!(client.error(Some(&contact.key), contact.recipient_id(), &Command::Ldel).await, spam);

    let link = LinkId([5; 24]);
    let queue = client.create(MESSAGING, false).await;
    let lset = Command::Lset { link_id: link.0.to_vec().into(), data: link_data(b"f", b"u") };
    client.ok(Some(&queue.key), queue.recipient_id(), &lset).await;
    host.server().block(KnownId(link.0), info("reason=spam")).await.unwrap();
    let key = ed25519();
    let lkey = Command::Lkey { sender_key: key.public_key() };
    assert_eq!(client.error(Some(&key), link, &lkey).await, spam);
}

#[tokio::test]
async fn what_the_recipient_wants_outlives_a_block() {
    let host = Host::start("").await;
    let mut client = Client::connect(&host).await;
    let queue = client.create(CONTACT, false).await;
    let (key, id, known) = (Some(&queue.key), queue.recipient_id(), KnownId(queue.ids.sender_id.0));
    host.server().block(known, info("reason=spam")).await.unwrap();
    client.ok(key, id, &Command::Off).await;
    let spam = ErrorType::Blocked(info("reason=spam"));
    assert_eq!(client.error(None, queue.ids.sender_id, &message(b"x")).await, spam);
    host.server().unblock(known).await.unwrap();
    assert_eq!(client.error(None, queue.ids.sender_id, &message(b"x")).await, ErrorType::Auth, "still off");
    assert_eq!(host.server().known_queue(known).await.unwrap().status, QueueStatus::Off);
    assert!(matches!(host.server().unblock(known).await, Err(ModerationError::NotBlocked)));
    host.server().block(known, info("reason=spam")).await.unwrap();
    client.ok(key, id, &Command::Del).await;
    assert!(matches!(host.server().unblock(known).await, Err(ModerationError::NoQueue)));
}

#[tokio::test]
async fn the_operator_blocks_so_many_queues_a_day() {
    let host = Host::start("[limits]\nblocks_per_day = 1").await;
    let mut client = Client::connect(&host).await;
    let (first, second) = (client.create(MESSAGING, false).await, client.create(MESSAGING, false).await);
    let (first, second) = (KnownId(first.ids.sender_id.0), KnownId(second.ids.sender_id.0));
    host.server().block(first, info("reason=spam")).await.unwrap();
    host.server().block(first, info("reason=content")).await.unwrap();
    assert!(matches!(
        host.server().block(second, info("reason=spam")).await,
        Err(ModerationError::TooMany(1))
    ));
    assert_eq!(host.server().known_queue(second).await.unwrap().status, QueueStatus::Active);
}

#[tokio::test]
async fn a_queue_that_the_operator_deletes_is_gone_and_its_subscriber_hears_so() {
    let host = Host::start("").await;
    let mut client = Client::connect(&host).await;
    let queue = client.create(MESSAGING, true).await;
    client.ok(None, queue.ids.sender_id, &message(b"one")).await;
    client.message(&queue).await;
    let deleted = host.server().delete(KnownId(queue.ids.sender_id.0)).await.unwrap();
    assert_eq!((deleted.messages, deleted.notifier), (1, None));
    assert_eq!(client.event(queue.recipient_id()).await, BrokerMessage::Deld);
    assert_eq!(client.error(None, queue.ids.sender_id, &message(b"two")).await, ErrorType::Auth);
}
