//! This process as one of several nodes: its number, its lease, its ear (LISTEN) and its voice (NOTIFY).
//!
//! Nothing here is worth a wait for the disk: subscriptions end with connections, and what was told and lost is made
//! good by [`NodeEvent::Missed`]. PostgreSQL lets one transaction at a time commit that notifies; so groups of steps
//! never do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use postgres::Client;
use postgres::fallible_iterator::FallibleIterator as _;

use super::news::{EVENTS_PER_NOTIFICATION, events, kind, text, topic_of};
use super::rows::{column, fixed};
use super::session::{Access, Session};
use crate::store::{
    Claim, Failure, FailureKind, NodeEar, NodeEvent, NodeVoice, Result, Seen, StoreError, Topic,
};

/// The number of this node, shared with those that write and read; 0 while it is none.
#[derive(Debug, Clone, Default)]
pub(super) struct NodeNumber(Arc<AtomicI64>);

impl NodeNumber {
    pub(super) fn get(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Acquire)).filter(|number| *number != 0)
    }
}

/// Topics as the database names them: their kinds, and their ids.
pub(super) fn named<'t>(topics: impl Iterator<Item = &'t Topic>) -> (Vec<&'static str>, Vec<&'t [u8]>) {
    topics.map(|topic| (kind(topic), topic.entity_id())).unzip()
}

/// The ear of one node. A lease that is not renewed for its whole length ends: other nodes then forget this one.
pub(super) struct PostgresEar {
    access: Access,
    number: NodeNumber,
    lease: Duration,
    listening: Option<Listening>,
}

struct Listening {
    client: Client,
    renewed: Instant,
}

impl PostgresEar {
    pub(super) fn new(access: Access, number: NodeNumber, lease: Duration) -> Self {
        Self { access: access.forgetful(), number, lease, listening: None }
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
        client.execute("SELECT forget_dead_nodes()", &[])?;
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
        let mut heard = Vec::new();
        {
            let mut notifications = listening.client.notifications();
            let first = notifications.timeout_iter(patience).next()?;
            heard.extend(first.iter().flat_map(|notification| events(notification.payload())));
            let mut more = notifications.iter();
            while let Some(notification) = more.next()? {
                heard.extend(events(notification.payload()));
            }
        }
        if listening.client.is_closed() {
            return Err(lost());
        }
        self.listening = Some(listening);
        Ok(heard)
    }
}

impl NodeEar for PostgresEar {
    fn events(&mut self, patience: Duration) -> Result<Vec<NodeEvent>> {
        self.hear(patience)
    }

    fn look_again(&mut self, held: &[(Topic, Option<Claim>)]) -> Result<Vec<Seen>> {
        let Listening { client, .. } = self.listening.as_mut().ok_or_else(lost)?;
        let node = self.number.get();
        let claimed: Vec<(&Topic, i64)> =
            held.iter().filter_map(|(topic, claim)| claim.map(|claim| (topic, claim.0))).collect();
        let (kinds, ids) = named(claimed.iter().map(|(topic, _)| *topic));
        let claims: Vec<i64> = claimed.iter().map(|(_, claim)| *claim).collect();
        client.execute("SELECT restore_subscriptions($1, $2, $3, $4)", &[&kinds, &ids, &claims, &node])?;
        let (kinds, ids) = named(held.iter().map(|(topic, _)| topic));
        let rows = client.query(
            "SELECT given.rival, given.kind = 'S' OR queues.number IS NOT NULL AS is_there,
                    given.kind = 'Q' AND EXISTS (SELECT 1 FROM messages WHERE queue = queues.number) AS is_waiting
             FROM unnest($1::text[], $2::bytea[], rival_claims($1, $2, $3))
                  WITH ORDINALITY AS given (kind, id, rival, turn)
             LEFT JOIN queues ON CASE given.kind WHEN 'Q' THEN queues.recipient_id = given.id
                                                 WHEN 'N' THEN queues.notifier_id = given.id END
             ORDER BY given.turn",
            &[&kinds, &ids, &node],
        )?;
        let seen = rows.iter().map(|row| {
            let rival: Option<i64> = column(row, "rival")?;
            Ok(match (column(row, "is_there")?, rival) {
                (false, _) => Seen::Gone,
                (true, Some(claim)) => Seen::Elsewhere(Claim(claim)),
                (true, None) => Seen::Here { waiting: column(row, "is_waiting")? },
            })
        });
        seen.collect()
    }
}

/// The voice of one node.
pub(super) struct PostgresVoice {
    session: Session,
    number: NodeNumber,
}

impl PostgresVoice {
    pub(super) fn new(access: Access, number: NodeNumber) -> Self {
        Self { session: Session::new(access.forgetful()), number }
    }

    /// Sends events, each to a channel, as few notifications as hold them.
    fn send(&mut self, events: BTreeMap<String, Vec<String>>) -> Result<()> {
        let mut channels = Vec::new();
        let mut payloads = Vec::new();
        for (channel, events) in events {
            for some in events.chunks(EVENTS_PER_NOTIFICATION) {
                channels.push(channel.clone());
                payloads.push(some.join(";"));
            }
        }
        if channels.is_empty() {
            return Ok(());
        }
        let sql = "SELECT pg_notify(channel, payload) FROM unnest($1::text[], $2::text[]) AS sent (channel, payload)";
        self.session.read(sql, &[&channels, &payloads]).map(drop)
    }

    /// Where other nodes listen, by their numbers.
    fn channels(&mut self) -> Result<BTreeMap<i64, String>> {
        let sql = "SELECT number, channel FROM nodes WHERE number IS DISTINCT FROM $1";
        let rows = self.session.read(sql, &[&self.number.get()])?;
        rows.iter().map(|row| Ok((column(row, "number")?, column(row, "channel")?))).collect()
    }
}

impl NodeVoice for PostgresVoice {
    fn claim(&mut self, topics: &[Topic]) -> Result<Vec<Claim>> {
        let (kinds, ids) = named(topics.iter());
        let rows = self.session.read(
            "SELECT kind, id, claim, former FROM claim_subscriptions($1, $2, $3)",
            &[&kinds, &ids, &self.number.get()],
        )?;
        let mut claims: BTreeMap<Topic, Claim> = BTreeMap::new();
        let mut moved: Vec<(Topic, Claim, Option<i64>)> = Vec::new();
        for row in &rows {
            let topic = topic_of(column(row, "kind")?, fixed(row, "id")?);
            let topic = topic.ok_or(StoreError::Damaged("subscription"))?;
            let claim = Claim(column(row, "claim")?);
            claims.insert(topic, claim);
            moved.push((topic, claim, column(row, "former")?));
        }
        // Notifications may wait for it anywhere.
        let for_all = |topic: &Topic| !matches!(topic, Topic::Queue(_));
        if moved.iter().any(|(topic, _, former)| for_all(topic) || former.is_some()) {
            let mut news: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for (number, channel) in self.channels()? {
                let told =
                    moved.iter().filter(|(topic, _, former)| for_all(topic) || *former == Some(number));
                let told: Vec<String> =
                    told.map(|(topic, claim, _)| text(&NodeEvent::Moved(*topic, *claim))).collect();
                news.insert(channel, told);
            }
            self.send(news)?;
        }
        let claims = topics.iter().map(|topic| claims.get(topic).copied());
        claims.collect::<Option<_>>().ok_or_else(forgotten)
    }

    fn release(&mut self, held: &[(Topic, Claim)]) -> Result<()> {
        let (kinds, ids) = named(held.iter().map(|(topic, _)| topic));
        let claims: Vec<i64> = held.iter().map(|(_, claim)| claim.0).collect();
        let sql = "DELETE FROM subscriptions USING unnest($1::text[], $2::bytea[], $3::bigint[]) AS given (kind, id, claim)
             WHERE subscriptions.kind = given.kind AND subscriptions.id = given.id
               AND subscriptions.claim = given.claim";
        self.session.read(sql, &[&kinds, &ids, &claims]).map(drop)
    }

    fn tell(&mut self, news: &[(Topic, NodeEvent)]) -> Result<Vec<bool>> {
        let (kinds, ids) = named(news.iter().map(|(topic, _)| topic));
        let rows = self.session.read(
            "SELECT nodes.channel FROM unnest($1::text[], $2::bytea[]) WITH ORDINALITY AS given (kind, id, turn)
             LEFT JOIN subscriptions ON subscriptions.kind = given.kind AND subscriptions.id = given.id
             LEFT JOIN nodes ON nodes.number = subscriptions.node AND nodes.number IS DISTINCT FROM $3
             ORDER BY given.turn",
            &[&kinds, &ids, &self.number.get()],
        )?;
        let mut heard = Vec::with_capacity(news.len());
        let mut to_send: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (row, (_, event)) in rows.iter().zip(news) {
            let channel: Option<String> = column(row, "channel")?;
            heard.push(channel.is_some());
            if let Some(channel) = channel {
                to_send.entry(channel).or_default().push(text(event));
            }
        }
        self.send(to_send)?;
        Ok(heard)
    }

    fn tell_missed(&mut self) -> Result<()> {
        let missed = vec![text(&NodeEvent::Missed)];
        let news = self.channels()?.into_values().map(|channel| (channel, missed.clone())).collect();
        self.send(news)
    }

    fn leave(&mut self) {
        // Should this fail, the lease ends by itself.
        let _ = self.session.read(
            "WITH gone AS (DELETE FROM nodes WHERE number = $1 RETURNING number)
             DELETE FROM subscriptions USING gone WHERE node = gone.number",
            &[&self.number.get()],
        );
    }
}

fn lost() -> StoreError {
    Failure::new(FailureKind::Transient, "the connection to PostgreSQL was lost").into()
}

fn forgotten() -> StoreError {
    Failure::new(FailureKind::Transient, "other servers take this one for dead: it joins them again").into()
}
