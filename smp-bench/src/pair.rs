//! A sender and a recipient of the same queues, each with a connection of its own: whole cycles
//! `SEND → OK → MSG → ACK → OK`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use protocol::crypto::random_bytes;
use protocol::net::rng::system_rng;
use protocol::smp::SENT_BODY_BYTES_MAX;
use protocol::smp::command::Command;
use protocol::smp::ids::RecipientId;
use protocol::smp::message::ReceivedMessage;
use protocol::smp::response::BrokerMessage;

use crate::connection::{Connection, Received, Target, Ticket};
use crate::measure::Latencies;
use crate::queue::{KeyKind, Keys, Queue, Signer, create_secured};

/// Messages that are sent before anything is received again: whoever sends and does not read for long is cut off.
const SENT_AT_ONCE: usize = 16;

/// How messages are sent.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// So many on their way at once: as fast as the server allows.
    Window(usize),
    /// One in this time, whatever the server does. Latencies count from the moment when a message was due.
    Every(Duration),
}

/// What a pair of connections measured.
#[derive(Debug, Default)]
pub(crate) struct Cycles {
    /// From `SEND` to its `OK`.
    pub(crate) accepted: Latencies,
    /// From `SEND` until the recipient has the message open.
    pub(crate) delivered: Latencies,
    /// From `SEND` until the acknowledgement is answered.
    pub(crate) completed: Latencies,
}

impl Cycles {
    pub(crate) fn add(&mut self, other: &Self) {
        self.accepted.add(&other.accepted);
        self.delivered.add(&other.delivered);
        self.completed.add(&other.completed);
    }
}

/// Both ends of some queues.
pub(crate) struct Pair {
    sender: Connection,
    recipient: Connection,
    sender_signer: Signer,
    recipient_signer: Signer,
    queues: Vec<Queue>,
    by_recipient: BTreeMap<RecipientId, usize>,
    body: Vec<u8>,
    next_queue: usize,
    /// `SEND`s without an answer.
    sending: BTreeMap<Ticket, Instant>,
    /// `ACK`s without an answer, with the moment of their message's sending.
    acknowledging: BTreeMap<Ticket, Instant>,
    epoch: Instant,
    cycles: Cycles,
}

impl Pair {
    /// Two connections and queues between them, secured and subscribed.
    pub(crate) async fn open(
        target: &Target,
        kind: KeyKind,
        queues: usize,
        body_bytes: usize,
    ) -> anyhow::Result<Self> {
        let mut recipient = Connection::open(target).await?;
        let sender = Connection::open(target).await?;
        let keys = Keys::generate(kind, target.place.password.clone());
        let queues = create_secured(&mut recipient, &keys, queues, true).await?;
        let by_recipient =
            queues.iter().enumerate().map(|(position, queue)| (queue.recipient_id, position)).collect();
        let mut pair = Self {
            sender_signer: Signer::new(&keys.sender, sender.server_key()),
            recipient_signer: Signer::new(&keys.recipient, recipient.server_key()),
            sender,
            recipient,
            queues,
            by_recipient,
            body: random_body(body_bytes),
            next_queue: 0,
            sending: BTreeMap::new(),
            acknowledging: BTreeMap::new(),
            epoch: Instant::now(),
            cycles: Cycles::default(),
        };
        pair.first_cycle().await?;
        Ok(pair)
    }

    /// One cycle before any is measured: key agreements are for the first command of a session only.
    async fn first_cycle(&mut self) -> anyhow::Result<()> {
        self.send(Instant::now())?;
        self.sender.flush().await?;
        while self.cycles.completed.count() == 0 || !self.sending.is_empty() {
            tokio::select! {
                received = self.sender.receive() => self.hear_sender(received?)?,
                received = self.recipient.receive() => drop(self.hear_recipient(received?)?),
            }
            self.recipient.flush().await?;
        }
        self.cycles = Cycles::default();
        Ok(())
    }

    /// Sends at this pace for this time, then waits for what is on its way. At a fixed pace the first is sent after a
    /// moment of its own.
    pub(crate) async fn run(
        mut self,
        pace: Pace,
        first_after: Duration,
        time: Duration,
    ) -> anyhow::Result<Cycles> {
        let started = Instant::now();
        self.epoch = started;
        let mut due = started.checked_add(first_after).context("Time ends")?;
        let mut sent = 0u64;
        // Messages that may go out at once.
        let mut room = match pace {
            Pace::Window(window) => window,
            Pace::Every(_) => 0,
        };
        loop {
            let over = started.elapsed() >= time;
            if over && self.cycles.completed.count() >= sent {
                return Ok(self.cycles);
            }
            tokio::select! {
                received = self.sender.receive() => self.hear_sender(received?)?,
                received = self.recipient.receive() => {
                    let finished = self.hear_recipient(received?)?;
                    if matches!(pace, Pace::Window(_)) {
                        room = room.saturating_add(finished);
                    }
                }
                () = tokio::time::sleep_until(due.into()), if !over && matches!(pace, Pace::Every(_)) => {}
                () = std::future::ready(()), if !over && room > 0 => {}
            }
            self.recipient.flush().await?;
            if over {
                continue;
            }
            match pace {
                Pace::Window(_) => {
                    let now = room.min(SENT_AT_ONCE);
                    for _ in 0..now {
                        self.send(Instant::now())?;
                    }
                    sent = sent.saturating_add(now as u64);
                    room = room.saturating_sub(now);
                }
                Pace::Every(interval) => {
                    while due <= Instant::now() && due.duration_since(started) < time {
                        self.send(due)?;
                        sent = sent.saturating_add(1);
                        due = due.checked_add(interval).context("Time ends")?;
                    }
                }
            }
            self.sender.flush().await?;
        }
    }

    fn send(&mut self, due: Instant) -> anyhow::Result<()> {
        let since = u64::try_from(due.duration_since(self.epoch).as_nanos())?;
        if let Some(field) = self.body.first_chunk_mut() {
            *field = since.to_be_bytes();
        }
        let queue =
            self.queues.get(self.next_queue % self.queues.len().max(1)).context("There is no queue")?;
        self.next_queue = self.next_queue.wrapping_add(1);
        let command =
            Command::Send { notify: false, body: self.body.as_slice().into() }.encode(self.sender.version());
        let ticket = self.sender.push(&self.sender_signer, queue.sender_id.as_bytes(), &command)?;
        self.sending.insert(ticket, due);
        Ok(())
    }

    fn hear_sender(&mut self, received: Vec<Received>) -> anyhow::Result<()> {
        for Received { ticket, message, .. } in received {
            let since = ticket.and_then(|ticket| self.sending.remove(&ticket));
            match (since, message) {
                (Some(since), BrokerMessage::Ok) => self.cycles.accepted.record(since),
                (_, other) => bail!("the server does not take a message: {other:?}"),
            }
        }
        Ok(())
    }

    /// Takes messages and acknowledges them. How many cycles are finished.
    fn hear_recipient(&mut self, received: Vec<Received>) -> anyhow::Result<usize> {
        let mut finished = 0;
        for Received { ticket, entity_id, message } in received {
            if let Some(since) = ticket.and_then(|ticket| self.acknowledging.remove(&ticket)) {
                self.cycles.completed.record(since);
                finished += 1;
            }
            match message {
                BrokerMessage::Ok => {}
                BrokerMessage::Msg { message_id, body } => {
                    let id =
                        RecipientId::try_from(entity_id.as_slice()).ok().context("A queue without a name")?;
                    let queue = self.by_recipient.get(&id).and_then(|position| self.queues.get(*position));
                    let queue = queue.context("A message of an unknown queue")?;
                    let ReceivedMessage::Message { body, .. } =
                        ReceivedMessage::open(&queue.secret, &message_id, &body)?
                    else {
                        bail!("a queue is full: give it a higher quota");
                    };
                    let since =
                        u64::from_be_bytes(*body.first_chunk().context("A message without its time")?);
                    let since = self
                        .epoch
                        .checked_add(Duration::from_nanos(since))
                        .context("A message of the future")?;
                    self.cycles.delivered.record(since);
                    let command = Command::Ack { message_id: message_id.as_bytes().as_slice().into() };
                    let command = command.encode(self.recipient.version());
                    let ticket = self.recipient.push(&self.recipient_signer, id.as_bytes(), &command)?;
                    self.acknowledging.insert(ticket, since);
                }
                other => bail!("the server does not deliver: {other:?}"),
            }
        }
        Ok(finished)
    }
}

/// A body that does not compress.
pub(crate) fn random_body(bytes: usize) -> Vec<u8> {
    let mut body = vec![0; bytes.clamp(8, SENT_BODY_BYTES_MAX)];
    for piece in body.chunks_mut(64) {
        let random: [u8; 64] = random_bytes(&mut system_rng());
        for (to, from) in piece.iter_mut().zip(random) {
            *to = from;
        }
    }
    body
}
