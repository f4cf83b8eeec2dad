//! This process as one of several nodes: its number, its lease, and its ear (LISTEN).

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use postgres::fallible_iterator::FallibleIterator as _;
use postgres::{Client, Notification};
use protocol::smp::ids::{MessageId, RecipientId};
use protocol::timestamp::Timestamp;

use super::rows::{column, fixed};
use super::session::Access;
use crate::store::{
    Claim, Failure, FailureKind, NodeEvent, NodeLink, QueueNumber, Result, SubscribedQueue, SubscriberNode,
};

/// The number of this node, shared with the writer; 0 while it is none.
#[derive(Debug, Clone, Default)]
pub(super) struct NodeNumber(Arc<AtomicI64>);

impl NodeNumber {
    pub(super) fn get(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Acquire)).filter(|number| *number != 0)
    }
}

/// The link of one node. A lease that is not renewed for its whole length ends: other nodes then forget this one.
pub(super) struct PostgresNodes {
    access: Access,
    number: NodeNumber,
    lease: Duration,
    listening: Option<Listening>,
}

struct Listening {
    client: Client,
    renewed: Instant,
}

impl PostgresNodes {
    pub(super) fn new(access: Access, number: NodeNumber, lease: Duration) -> Self {
        Self { access, number, lease, listening: None }
    }

    /// Connects, listens, and becomes a node or stays the one that it was.
    fn listen(&self) -> Result<Listening> {
        let mut client = self.access.connect()?;
        let lease = self.lease.as_secs_f64();
        let renewed = client.query(
            "UPDATE nodes SET lease_until = now() + $2 * interval '1 second' WHERE number = $1
             RETURNING number, channel",
            &[&self.number.get(), &lease],
        )?;
        let rows = if renewed.is_empty() {
            client.query(
                "INSERT INTO nodes (channel, lease_until)
                 VALUES ('smp_' || replace(gen_random_uuid()::text, '-', ''), now() + $1 * interval '1 second')
                 RETURNING number, channel",
                &[&lease],
            )?
        } else {
            renewed
        };
        let row = rows.first().ok_or_else(lost)?;
        let channel: String = column(row, "channel")?;
        client.batch_execute(&format!("LISTEN {channel}"))?;
        self.number.0.store(column(row, "number")?, Ordering::Release);
        Ok(Listening { client, renewed: Instant::now() })
    }

    /// Renews the lease and forgets nodes whose own one ended. Whether this node is still one.
    fn renew(&self, client: &mut Client) -> Result<bool> {
        let renewed = client.execute(
            "UPDATE nodes SET lease_until = now() + $2 * interval '1 second' WHERE number = $1",
            &[&self.number.get(), &self.lease.as_secs_f64()],
        )?;
        client.execute(
            "WITH gone AS (DELETE FROM nodes WHERE lease_until < now() RETURNING number)
             DELETE FROM subscribers USING gone WHERE node = gone.number",
            &[],
        )?;
        Ok(renewed == 1)
    }

    fn hear(&mut self, patience: Duration) -> Result<Vec<NodeEvent>> {
        let Some(mut listening) = self.listening.take() else {
            self.listening = Some(self.listen()?);
            return Ok(vec![NodeEvent::Missed]);
        };
        if listening.renewed.elapsed() > self.lease / 3 {
            if !self.renew(&mut listening.client)? {
                return Ok(Vec::new()); // becomes a node again with the next call
            }
            listening.renewed = Instant::now();
        }
        let mut events = Vec::new();
        {
            let mut heard = listening.client.notifications();
            let first = heard.timeout_iter(patience).next()?;
            events.extend(first.as_ref().and_then(event_from));
            let mut more = heard.iter();
            while let Some(notification) = more.next()? {
                events.extend(event_from(&notification));
            }
        }
        if listening.client.is_closed() {
            return Err(lost());
        }
        self.listening = Some(listening);
        Ok(events)
    }
}

impl NodeLink for PostgresNodes {
    fn events(&mut self, patience: Duration) -> Result<Vec<NodeEvent>> {
        self.hear(patience)
    }

    fn subscribed(&mut self, queues: &[RecipientId]) -> Result<Vec<SubscribedQueue>> {
        let listening = self.listening.as_mut().ok_or_else(lost)?;
        let ids: Vec<&[u8]> = queues.iter().map(|id| id.as_bytes().as_slice()).collect();
        let rows = listening.client.query(
            "SELECT recipient_id, number, node, claim FROM queues
             LEFT JOIN subscribers ON subscribers.queue = queues.number
             WHERE recipient_id = ANY ($1)",
            &[&ids],
        )?;
        rows.iter()
            .map(|row| {
                let node: Option<i64> = column(row, "node")?;
                let subscriber = match node {
                    None => SubscriberNode::Unknown,
                    Some(_) if node == self.number.get() => SubscriberNode::Here,
                    Some(_) => SubscriberNode::Elsewhere(Claim(column(row, "claim")?)),
                };
                let (recipient_id, number) =
                    (RecipientId(fixed(row, "recipient_id")?), column(row, "number")?);
                Ok(SubscribedQueue { recipient_id, number: QueueNumber(number), subscriber })
            })
            .collect()
    }

    fn leave(&mut self) {
        if let Some(Listening { mut client, .. }) = self.listening.take() {
            // Should this fail, the lease ends by itself.
            let _ = client.execute(
                "WITH gone AS (DELETE FROM nodes WHERE number = $1 RETURNING number)
                 DELETE FROM subscribers USING gone WHERE node = gone.number",
                &[&self.number.get()],
            );
        }
    }
}

fn lost() -> crate::store::StoreError {
    Failure::new(FailureKind::Transient, "the connection to PostgreSQL was lost").into()
}

/// What a notification says; nothing when another program uses the channel.
fn event_from(notification: &Notification) -> Option<NodeEvent> {
    let mut words = notification.payload().split(' ');
    let what = words.next()?;
    // A claim stands between the word and the queue.
    let claim = if what == "moved" { Some(Claim(words.next()?.parse().ok()?)) } else { None };
    let queue = RecipientId(id_from(words.next()?)?);
    match (what, claim) {
        ("arrived", _) => Some(NodeEvent::Arrived(queue)),
        ("deleted", _) => Some(NodeEvent::Deleted(queue)),
        ("blocked", _) => Some(NodeEvent::Blocked(queue)),
        ("moved", Some(claim)) => Some(NodeEvent::Moved(queue, claim)),
        ("notify", _) => {
            let message = MessageId(id_from(words.next()?)?);
            Some(NodeEvent::Notify(queue, message, Timestamp(words.next()?.parse().ok()?)))
        }
        _ => None,
    }
}

fn id_from(hex: &str) -> Option<[u8; 24]> {
    let mut id = [0; 24];
    if hex.len() != 48 || !hex.is_ascii() {
        return None;
    }
    for (position, byte) in id.iter_mut().enumerate() {
        let at = position.checked_mul(2)?;
        *byte = u8::from_str_radix(hex.get(at..at.checked_add(2)?)?, 16).ok()?;
    }
    Some(id)
}
