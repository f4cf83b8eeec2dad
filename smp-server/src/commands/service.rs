//! `SUBS` and `NSUBS`: make the connection the subscriber of all queues of its service. And what a service adds to the commands
//! about one queue: whoever subscribes in its session gives it the queue (smp.md §13).

use protocol::smp::error::ErrorType;
use protocol::smp::ids::ServiceId;
use protocol::smp::response::BrokerMessage;
use protocol::transport::handshake::AcceptedService;
use protocol::transport::hello::ServiceRole;

use super::{CommandFailure, Reply};
use crate::cluster;
use crate::connection::Client;
use crate::news::{News, Topic};
use crate::store::{NodeEvent, QueueRecord, ServiceRecord, Stream};

/// The messages that wait follow the response, once in a session; then `ALLS`.
pub(super) async fn subscribe(client: &Client) -> Result<Reply, CommandFailure> {
    let (service, queues, is_first) = subscribe_to_all(client).await?;
    let backlog = is_first.then_some(service);
    Ok(Reply { message: BrokerMessage::Soks(queues), deliver: None, backlog })
}

/// What waits to be notified goes out with the next pass.
pub(super) async fn subscribe_notifications(client: &Client) -> Result<Reply, CommandFailure> {
    let (_, queues, _) = subscribe_to_all(client).await?;
    Ok(Reply { message: BrokerMessage::Soks(queues), deliver: None, backlog: None })
}

/// The connection is told of all queues of its service from now on. Says which service, how many queues, and whether
/// this is new.
async fn subscribe_to_all(client: &Client) -> Result<(ServiceId, i64, bool), CommandFailure> {
    let AcceptedService { service_id, role, .. } = client.service.ok_or(ErrorType::Service)?;
    let services = &client.server.services;
    if let Some(queues) = services.subscribed_to_all(service_id, &client.peer) {
        return Ok((service_id, queues, false));
    }
    let record = ServiceRecord { id: service_id, role };
    let queues = client.server.store.read(move |reader| reader.service_queue_count(record)).await?;
    let queues = i64::try_from(queues).unwrap_or(i64::MAX);
    let former = services.subscribe_to_all(service_id, &client.peer, queues);
    if let Some(former) = former {
        client.server.release(client.server.subscriptions.disconnect(&former));
    }
    cluster::claim(client, None).await?;
    if role == ServiceRole::Notifier {
        client.server.notifications.pass_to_service(service_id, &client.peer);
    }
    Ok((service_id, queues, true))
}

/// Gives a stream of a queue, which is `stored`'s, to the service of the session, or to none in another session.
pub(super) async fn associate(
    client: &Client,
    queue: &QueueRecord,
    stream: Stream,
    stored: Option<ServiceId>,
) -> Result<Option<ServiceId>, CommandFailure> {
    let own = client.service.map(|service| service.service_id);
    let mut former = stored;
    if stored != own {
        let number = queue.number;
        former =
            client.server.store.write_to(queue, move |store| store.associate(number, stream, own)).await?;
    }
    if let Some(other) = former.filter(|_| former != own) {
        let topic = match stream {
            Stream::Messages => Topic::Queue(queue.recipient_id),
            Stream::Notifications(notifier) => Topic::Notifier(notifier),
        };
        client.server.services.lost(other, topic, News::Moved, Some(client.peer.id()));
        if let Some(cluster) = client.server.cluster() {
            cluster.tell(Topic::Service(other), NodeEvent::Lost(other, topic));
        }
    }
    if own.is_some() {
        subscribe_to_one(client, former != own);
    }
    Ok(own)
}

/// The connection subscribed to a queue of its service, which may be new to the service.
pub(super) fn subscribe_to_one(client: &Client, is_new: bool) {
    let Some(AcceptedService { service_id, role, .. }) = client.service else { return };
    let former = client.server.services.subscribe_to_one(service_id, &client.peer, is_new);
    if let Some(former) = former {
        client.server.release(client.server.subscriptions.disconnect(&former));
        if role == ServiceRole::Notifier {
            client.server.notifications.pass_to_service(service_id, &client.peer);
        }
    }
}
