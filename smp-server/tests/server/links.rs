//! smp.md §20.5, 5 and 6: link data of invitations and of contact queues.

use protocol::smp::command::{Command, ContactLink, LinkData, MessagingLink, QueueRequest};
use protocol::smp::error::{CommandError, ErrorType};
use protocol::smp::ids::{LinkId, SenderId};
use protocol::smp::key::AuthPrivateKey;
use protocol::smp::queue_uri::QueueMode;
use protocol::smp::response::BrokerMessage;

use crate::client::{CONTACT, Client, MESSAGING, ed25519, link_data, message};
use crate::host::Host;

const LINK: LinkId = LinkId([3; 24]);

fn invitation(correlation_id: &[u8]) -> Option<QueueRequest<'static>> {
    let sender_id = SenderId::for_correlation(correlation_id).0.to_vec().into();
    Some(QueueRequest::Messaging(Some(MessagingLink { sender_id, data: link_data(b"fixed", b"user") })))
}

fn contact(correlation_id: &[u8], link_id: LinkId) -> Option<QueueRequest<'static>> {
    let sender_id = SenderId::for_correlation(correlation_id).0.to_vec().into();
    let link_id = link_id.0.to_vec().into();
    Some(QueueRequest::Contact(Some(ContactLink { link_id, sender_id, data: link_data(b"fixed", b"user") })))
}

fn set(link_id: LinkId, data: LinkData<'static>) -> Command<'static> {
    Command::Lset { link_id: link_id.0.to_vec().into(), data }
}

fn lkey(key: &AuthPrivateKey) -> Command<'static> {
    Command::Lkey { sender_key: key.public_key() }
}

#[tokio::test]
async fn an_invitation_is_read_by_one_who_secures_it() {
    let host = Host::start("").await;
    let mut owner = Client::connect(&host).await;
    let mut reader = Client::connect(&host).await;
    let prohibited = owner.create_with(ed25519(), b"other", invitation(b"corr"), true).await;
    assert_eq!(prohibited.err(), Some(ErrorType::Command(CommandError::Prohibited)));
    let queue = owner.create_with(ed25519(), b"corr", invitation(b"corr"), true).await.unwrap();
    let (sender_id, link_id) = (queue.ids.sender_id, queue.ids.link_id.unwrap());
    assert_eq!(sender_id, SenderId::for_correlation(b"corr"));
    assert_eq!(queue.ids.mode, Some(QueueMode::Messaging));
    let taken = owner.create_with(ed25519(), b"corr", invitation(b"corr"), true).await;
    assert_eq!(taken.err(), Some(ErrorType::Auth));

    let (key, other) = (ed25519(), ed25519());
    assert_eq!(reader.error(None, link_id, &Command::Lget).await, ErrorType::Auth);
    owner.ok(Some(&queue.key), queue.recipient_id(), &set(link_id, link_data(b"fixed", b"new"))).await;
    let no_auth = ErrorType::Command(CommandError::NoAuth);
    assert_eq!(reader.error(None, link_id, &lkey(&key)).await, no_auth);
    assert_eq!(reader.error(Some(&other), link_id, &lkey(&key)).await, ErrorType::Auth);
    assert_eq!(reader.error(Some(&key), queue.recipient_id(), &lkey(&key)).await, ErrorType::Auth);
    let expected = BrokerMessage::Lnk { sender_id, data: link_data(b"fixed", b"new") };
    assert_eq!(reader.ask(Some(&key), link_id, &lkey(&key)).await, expected);
    assert_eq!(reader.error(Some(&other), link_id, &lkey(&other)).await, ErrorType::Auth);
    assert_eq!(reader.ask(Some(&key), link_id, &lkey(&key)).await, expected);
    let late = owner
        .error(Some(&queue.key), queue.recipient_id(), &set(link_id, link_data(b"fixed", b"late")))
        .await;
    assert_eq!(late, ErrorType::Auth);

    // The first message of the sender takes the data away.
    reader.ok(Some(&key), sender_id, &message(b"hello")).await;
    assert_eq!(reader.error(Some(&key), link_id, &lkey(&key)).await, ErrorType::Auth);
    assert_eq!(owner.take(&queue).await, b"hello");
    owner.ok(Some(&queue.key), queue.recipient_id(), &Command::Ldel).await;
}

#[tokio::test]
async fn a_contact_link_is_read_by_anyone() {
    let host = Host::start("").await;
    let mut owner = Client::connect(&host).await;
    let mut reader = Client::connect(&host).await;
    let prohibited = owner.create_with(ed25519(), b"other", contact(b"corr", LINK), true).await;
    assert_eq!(prohibited.err(), Some(ErrorType::Command(CommandError::Prohibited)));
    let queue = owner.create_with(ed25519(), b"corr", contact(b"corr", LINK), true).await.unwrap();
    assert_eq!((queue.ids.link_id, queue.ids.mode), (Some(LINK), Some(QueueMode::Contact)));
    let taken = owner.create_with(ed25519(), b"next", contact(b"next", LINK), true).await;
    assert_eq!(taken.err(), Some(ErrorType::Auth), "the link id belongs to another queue");

    let key = ed25519();
    assert_eq!(reader.error(Some(&key), LINK, &lkey(&key)).await, ErrorType::Auth);
    let has_auth = ErrorType::Command(CommandError::HasAuth);
    assert_eq!(reader.error(Some(&key), LINK, &Command::Lget).await, has_auth);
    assert_eq!(reader.error(None, queue.recipient_id(), &Command::Lget).await, ErrorType::Auth);
    let lnk = |user| BrokerMessage::Lnk { sender_id: queue.ids.sender_id, data: link_data(b"fixed", user) };
    for _ in 0..2 {
        assert_eq!(reader.ask(None, LINK, &Command::Lget).await, lnk(b"user"));
    }
    let (recipient, id) = (Some(&queue.key), queue.recipient_id());
    owner.ok(recipient, id, &set(LINK, link_data(b"fixed", b"new"))).await;
    assert_eq!(reader.ask(None, LINK, &Command::Lget).await, lnk(b"new"));
    let other_link = set(LinkId([4; 24]), link_data(b"fixed", b"x"));
    assert_eq!(owner.error(recipient, id, &other_link).await, ErrorType::Auth);
    assert_eq!(owner.error(recipient, id, &set(LINK, link_data(b"other", b"x"))).await, ErrorType::Auth);
    for _ in 0..2 {
        owner.ok(recipient, id, &Command::Ldel).await;
    }
    assert_eq!(reader.error(None, LINK, &Command::Lget).await, ErrorType::Auth);
}

#[tokio::test]
async fn link_data_can_be_added_later() {
    let host = Host::start("").await;
    let mut client = Client::connect(&host).await;
    for request in [CONTACT, MESSAGING] {
        let queue = client.create(request, false).await;
        let (key, id) = (Some(&queue.key), queue.recipient_id());
        let odd = Command::Lset { link_id: b"short".into(), data: link_data(b"f", b"u") };
        assert_eq!(client.error(key, id, &odd).await, ErrorType::Auth);
        client.ok(key, id, &set(LINK, link_data(b"f", b"u"))).await;
        client.ok(key, id, &Command::Ldel).await;
    }
}

#[tokio::test]
async fn the_largest_link_data_pass() {
    let host = Host::start("").await;
    let mut client = Client::connect_as(&host, 18, true).await;
    let data = LinkData { fixed: vec![1; 2048].into(), user: vec![2; 13_824].into() };
    let sender_id = SenderId::for_correlation(b"corr").0.to_vec().into();
    let link = ContactLink { link_id: LINK.0.to_vec().into(), sender_id, data: data.clone() };
    let request = Some(QueueRequest::Contact(Some(link)));
    let queue = client.create_with(ed25519(), b"corr", request, true).await.unwrap();
    let lnk = BrokerMessage::Lnk { sender_id: queue.ids.sender_id, data };
    assert_eq!(client.ask(None, LINK, &Command::Lget).await, lnk);
}
