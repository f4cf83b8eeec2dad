//! `NEW`: creates a queue.

use protocol::crypto::dh::X25519PrivateKey;
use protocol::net::clock::now;
use protocol::net::rng::system_rng;
use protocol::smp::command::{LinkData, NewQueue as NewCommand, QueueRequest};
use protocol::smp::error::{CommandError, ErrorType};
use protocol::smp::ids::{LinkId, RecipientId, SenderId};
use protocol::smp::queue_uri::QueueMode;
use protocol::smp::response::{BrokerMessage, QueueIds};

use super::{CommandFailure, Outcome, notifier, service};
use crate::cluster;
use crate::connection::Client;
use crate::delivery::Delivery;
use crate::news::Topic;
use crate::store::{Created, DhSecret, NewQueue, day_of};
use crate::subscriptions::Source;

/// Attempts to draw ids that no queue has yet.
pub(super) const ATTEMPTS_MAX: u32 = 3;

/// What the client chose of the new queue.
struct Chosen {
    mode: Option<QueueMode>,
    sender_id: Option<SenderId>,
    link_id: Option<LinkId>,
    data: Option<LinkData<'static>>,
}

pub(super) async fn create(client: &Client, correlation_id: &[u8], command: NewCommand<'static>) -> Outcome {
    if !may_create(client, &command) {
        return Err(ErrorType::Auth.into());
    }
    let NewCommand { recipient_key, dh_key, subscribe, request, notifier, .. } = command;
    let service_id = client.service.map(|service| service.service_id);
    if subscribe {
        client.check_room_for_subscription()?;
    } else if service_id.is_some() {
        return Err(CommandError::Prohibited.into());
    }
    if client.server.limits.storage.is_used_up() {
        client.server.metrics.storage_refusals.one();
        return Err(ErrorType::Store("the server has no room for more queues".to_owned()).into());
    }
    let chosen = Chosen::from_request(correlation_id, request)?;
    let server_key = X25519PrivateKey::generate(&mut system_rng());
    let dh_secret = DhSecret(server_key.diffie_hellman(&dh_key));

    for _ in 0..ATTEMPTS_MAX {
        let mut rng = system_rng();
        let link_id =
            chosen.data.as_ref().map(|_| chosen.link_id.unwrap_or_else(|| LinkId::generate(&mut rng)));
        let (notifier, notifier_ids) = notifier.as_ref().map(notifier::draw).unzip();
        let new = NewQueue {
            recipient_id: RecipientId::generate(&mut rng),
            sender_id: chosen.sender_id.unwrap_or_else(|| SenderId::generate(&mut rng)),
            recipient_key,
            dh_secret: dh_secret.clone(),
            mode: chosen.mode,
            link: link_id.zip(chosen.data.clone()),
            notifier,
            used_on: day_of(now()),
            recipient_service: service_id,
        };
        let (recipient_id, sender_id) = (new.recipient_id, new.sender_id);
        match client.server.store.create(new).await? {
            Created::Stored(queue) => {
                protocol::crash_point!("server.new.committed");
                service::subscribe_to_one(client, true);
                if subscribe {
                    let source = Source { queue, dh_secret, service: service_id };
                    // Ready: who knew the sender id beforehand may have sent since the commit.
                    client.server.subscriptions.subscribe(
                        recipient_id,
                        &client.peer,
                        source,
                        Delivery::Ready,
                    );
                    // Nobody else has a subscription to it yet that could be of another service or of none.
                    let topic = service_id.is_none().then_some(Topic::Queue(recipient_id));
                    cluster::claim(client, topic).await?;
                }
                return Ok(BrokerMessage::Ids(QueueIds {
                    recipient_id,
                    sender_id,
                    server_dh_key: server_key.public_key(),
                    mode: chosen.mode,
                    link_id,
                    service_id,
                    notifier: notifier_ids,
                }));
            }
            // The client chose an id that is taken: another attempt would choose the same.
            Created::IdTaken if chosen.sender_id.is_some() => return Err(ErrorType::Auth.into()),
            Created::IdTaken => {}
        }
    }
    Err(ErrorType::Internal.into())
}

/// Whether new queues are allowed, and the password is right if there is one.
fn may_create(client: &Client, command: &NewCommand<'_>) -> bool {
    let password = client.server.is_create_password(command.password.as_ref());
    client.server.settings.access.new_queues.0 && password
}

impl Chosen {
    /// The sender id of a queue with link data must be made from the correlation id, which is checked before anything
    /// is looked up, so that nobody can find out which ids exist.
    fn from_request(
        correlation_id: &[u8],
        request: Option<QueueRequest<'static>>,
    ) -> Result<Self, CommandFailure> {
        let expected = SenderId::for_correlation(correlation_id);
        let sender_id = |given: &[u8]| {
            if given == expected.as_bytes() { Ok(Some(expected)) } else { Err(CommandError::Prohibited) }
        };
        let mode = match &request {
            None => None,
            Some(QueueRequest::Messaging(_)) => Some(QueueMode::Messaging),
            Some(QueueRequest::Contact(_)) => Some(QueueMode::Contact),
        };
        match request {
            Some(QueueRequest::Messaging(Some(link))) => {
                let sender_id = sender_id(&link.sender_id)?;
                Ok(Self { mode, sender_id, link_id: None, data: Some(link.data) })
            }
            Some(QueueRequest::Contact(Some(link))) => {
                let sender_id = sender_id(&link.sender_id)?;
                // Link ids come out of a key derivation with 24 bytes; another can be nobody's.
                let link_id = LinkId::try_from(&*link.link_id).map_err(|_| ErrorType::Auth)?;
                Ok(Self { mode, sender_id, link_id: Some(link_id), data: Some(link.data) })
            }
            _ => Ok(Self { mode, sender_id: None, link_id: None, data: None }),
        }
    }
}
