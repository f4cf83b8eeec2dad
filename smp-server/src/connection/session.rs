//! The loop of one connection: blocks in, commands executed, responses and messages out.
//!
//! Order: the responses of a block leave together and in the order of its commands; blocks are answered in their
//! order. Blocks that concern different queues are executed together. Messages and news leave between them.

use std::collections::VecDeque;
use std::sync::Arc;

use protocol::smp::authorize::{AgreedKeys, Verifier};
use protocol::smp::error::ErrorType;
use protocol::smp::ids::RecipientId;
use protocol::smp::response::BrokerMessage;
use protocol::transport::handshake::Session;
use tokio::io::{AsyncRead, AsyncWrite};

use super::backlog::{Backlog, Next};
use super::blocks::{self, Received};
use super::channel::{Receiver, channel};
use super::execution::{Execution, queues_of};
use super::forwarding::Forwarding;
use super::output::{Gone, Output};
use super::{Client, SessionKeys, execution::Response};
use crate::authorize::{Refused, authorize, storage_error};
use crate::delivery::AfterReading;
use crate::limits::Admission;
use crate::peer::Peer;
use crate::server::Server;
use crate::store::StoreError;
use crate::subscriptions::Reading;

/// The first message of a subscription goes into the block of its response when that has at most so many
/// responses: with more, a message would not fit (smp.md §10.1).
const RESPONSES_WITH_MESSAGE_MAX: usize = 4;
/// Heads of queues that are read in one visit to the store; bounds the memory for messages that wait for room.
const HEADS_PER_READ: usize = 16;
/// Notifications that fit a block (smp.md §12).
const NOTIFICATIONS_PER_BLOCK: usize = 80;

/// Serves a client that has a session, to its end.
pub(super) async fn run(
    server: Arc<Server>,
    peer: Arc<Peer>,
    admission: Admission,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    session: Box<Session>,
) {
    let Session { version, session_id, cipher, own_key, peer_key, service, .. } = *session;
    let keys = SessionKeys::new(session_id, own_key, peer_key);
    let client = Arc::new(Client { server, peer, service, keys, admission });
    let limits = &client.server.settings.limits;
    let depth = usize::try_from(limits.connection_blocks).unwrap_or(usize::MAX);
    let (received, contents) = channel(depth);
    let (output, to_write) = channel(depth);
    let output = Output::new(output, client.clone(), cipher.send.content_bytes_max(), version);
    let (read_half, write_half) = tokio::io::split(stream);
    let peer = client.peer.clone();

    let conversation = async {
        let conversation = Conversation {
            client: client.clone(),
            version,
            verifier: Verifier { service: client.service.as_ref(), ..client.keys.verifier() },
            agreed: AgreedKeys::default(),
            executions: VecDeque::new(),
            forwarding: Forwarding::new(client.server.settings.proxy.client_concurrency),
            output,
            wants_room: false,
            backlog: None,
        };
        // An end is an end: which side wanted it does not matter.
        let _ = conversation.run(contents).await;
    };
    let writer = blocks::write(write_half, cipher.send, &client, to_write);
    let reader = blocks::read(read_half, cipher.receive, &client, version, received);
    tokio::pin!(conversation, writer, reader);
    // The conversation ends when the reader does, then the writer writes what is left. A writer that ends first,
    // because the peer is gone or too slow, ends the conversation by refusing its blocks.
    let (mut conversing, mut reading) = (true, true);
    loop {
        tokio::select! {
            () = &mut conversation, if conversing => conversing = false,
            () = &mut reader, if reading && conversing => reading = false,
            () = &mut writer => break,
        }
    }
    // Commands that were begun are finished, so that whoever subscribed hears of what they stored.
    if conversing {
        peer.close();
        conversation.await;
    }
    let server = &client.server;
    let service = client.service.and_then(|one| server.services.disconnect(one.service_id, &client.peer));
    let mut ended = server.subscriptions.disconnect(&client.peer);
    ended.extend(server.notifications.disconnect(&client.peer));
    ended.extend(service);
    server.release(ended);
}

struct Conversation<'s> {
    client: Arc<Client>,
    version: u16,
    verifier: Verifier<'s>,
    agreed: AgreedKeys,
    /// Blocks whose commands are being executed, the oldest first.
    executions: VecDeque<Execution>,
    /// Commands that other servers answer.
    forwarding: Forwarding,
    output: Output,
    /// Whether messages are ready that the writer has no room for.
    wants_room: bool,
    /// The queues of a service that are gone through.
    backlog: Option<Backlog>,
}

impl Conversation<'_> {
    async fn run(mut self, mut contents: Receiver<Received>) -> Result<(), Gone> {
        let mut served = self.serve(&mut contents).await;
        while let Some(mut execution) = self.executions.pop_front() {
            let responses = execution.finish().await;
            if served.is_ok() {
                served = self.respond(responses).await;
            }
        }
        if served.is_ok() {
            served = self.output.flush().await;
        }
        served
    }

    /// Until the peer ends, the connection is to be closed, or the server stops.
    async fn serve(&mut self, contents: &mut Receiver<Received>) -> Result<(), Gone> {
        let mut stop = self.client.server.stopping();
        let commands_max =
            usize::try_from(self.client.server.settings.limits.connection_commands).unwrap_or(usize::MAX);
        loop {
            let executing: usize = self.executions.iter().map(Execution::commands).sum();
            let commands = executing.saturating_add(self.forwarding.commands());
            tokio::select! {
                content = contents.receive(), if commands < commands_max => match content {
                    None => return Ok(()),
                    Some(content) => self.receive(content).await?,
                },
                responses = oldest(&mut self.executions) => {
                    self.executions.pop_front();
                    self.respond(responses).await?;
                    self.respond_to_finished().await?;
                }
                response = self.forwarding.next(&self.client) => self.respond(vec![response]).await?,
                () = self.client.peer.woken() => {}
                () = self.output.room(), if self.wants_room => {}
                () = stop.requested() => return Ok(()),
            }
            if self.client.peer.is_closing() {
                return Ok(());
            }
            if let Some(service) = self.client.service
                && self.client.peer.takes_another_look()
            {
                self.backlog = Some(Backlog::again(service.service_id, self.backlog.take()));
            }
            self.tell_news().await?;
            self.deliver_ready().await?;
            self.notify().await?;
            self.deliver_backlog().await?;
        }
    }

    /// Checks the commands of a block, answers those that fail, and begins to execute the others.
    async fn receive(&mut self, received: Received) -> Result<(), Gone> {
        let Received { content, charge } = received;
        self.client.server.metrics.blocks_received.one();
        let Ok(content) = content else {
            self.output.add(&[], &[], &BrokerMessage::Err(ErrorType::Block)).await?;
            return self.output.flush().await;
        };
        let Server { hashes, store, .. } = &*self.client.server;
        let (mut accepted, refused) =
            authorize(content.bytes(), self.version, &self.verifier, &self.agreed, hashes, store).await;
        let metrics = &self.client.server.metrics;
        metrics.refusals.add(refused.len() as u64);
        for Refused { correlation_id, entity_id, error } in refused {
            self.output.add(&correlation_id, &entity_id, &BrokerMessage::Err(error)).await?;
        }
        self.output.flush().await?;
        self.forwarding.take_from(&self.client, &mut accepted);
        if accepted.is_empty() {
            return Ok(());
        }
        let queues = queues_of(&accepted);
        while self.executions.iter().any(|execution| execution.concerns(&queues)) {
            let responses = oldest(&mut self.executions).await;
            self.executions.pop_front();
            self.respond(responses).await?;
            self.output.flush().await?;
        }
        self.executions.push_back(Execution::start(&self.client, accepted, charge));
        Ok(())
    }

    /// Responds to further blocks whose commands shared a commit with those of the oldest: such responses share a
    /// block, too.
    async fn respond_to_finished(&mut self) -> Result<(), Gone> {
        if self.executions.is_empty() {
            return Ok(());
        }
        // All of a commit are told at once, but it takes a moment until each has heard it.
        tokio::task::yield_now().await;
        while self.executions.front().is_some_and(Execution::is_finished) {
            let responses = oldest(&mut self.executions).await;
            self.executions.pop_front();
            self.respond(responses).await?;
        }
        Ok(())
    }

    /// Packs the responses of a block, and sends the first messages of what it subscribed to.
    async fn respond(&mut self, responses: Vec<Response>) -> Result<(), Gone> {
        if let Some(service) = responses.iter().find_map(|response| response.reply.backlog) {
            self.backlog = Some(Backlog::new(service));
        }
        let subscribed: Vec<RecipientId> =
            responses.iter().filter_map(|response| response.reply.deliver).collect();
        if !subscribed.is_empty() {
            // Messages share a block with nothing but these responses.
            self.output.flush().await?;
        }
        for Response { correlation_id, entity_id, reply } in &responses {
            self.output.add(correlation_id, entity_id, &reply.message).await?;
        }
        if subscribed.is_empty() {
            // They leave once nothing else is ready to go with them.
            return Ok(());
        }
        let shares_block = responses.len() <= RESPONSES_WITH_MESSAGE_MAX;
        if !shares_block {
            self.output.flush().await?;
        }
        let mut is_first = shares_block;
        let is_named_once = |queue| subscribed.iter().filter(|other| **other == queue).count() == 1;
        for queue in subscribed.iter().copied() {
            if !shares_block && is_named_once(queue) {
                self.client.peer.ready(queue);
                continue;
            }
            // A queue that is named twice is delivered twice.
            self.client.server.subscriptions.ready_again(queue, &self.client.peer);
            for (queue, message) in self.read_heads(vec![queue]).await? {
                if !is_first {
                    self.output.flush().await?;
                }
                self.output.add(&[], queue.as_bytes(), &message).await?;
                is_first = false;
            }
        }
        self.output.flush().await
    }

    /// Delivers messages that are ready, while there is room for them: one per block.
    async fn deliver_ready(&mut self) -> Result<(), Gone> {
        loop {
            self.wants_room = !self.output.has_room();
            if self.wants_room {
                return Ok(());
            }
            let ready = self.client.peer.take_ready(HEADS_PER_READ);
            if ready.is_empty() {
                return Ok(());
            }
            for (queue, message) in self.read_heads(ready).await? {
                self.output.add(&[], queue.as_bytes(), &message).await?;
                self.output.flush().await?;
            }
        }
    }

    /// Delivers what waits in the queues of a service, a few of them whenever there is room, so that other work of the
    /// connection goes on. The client hears when it is done.
    async fn deliver_backlog(&mut self) -> Result<(), Gone> {
        let Some(backlog) = &mut self.backlog else { return Ok(()) };
        if self.output.has_room() {
            match backlog.next(&self.client, HEADS_PER_READ).await.map_err(|error| store_failed(&error))? {
                Next::Deliver(queues) => {
                    for (queue, message) in self.read_heads(queues).await? {
                        self.output.add(&[], queue.as_bytes(), &message).await?;
                        self.output.flush().await?;
                    }
                }
                Next::Wait => return Ok(()),
                Next::Moved => self.backlog = None,
                Next::Done { is_announced } => {
                    self.backlog = None;
                    if is_announced {
                        self.output.add(&[], &[], &BrokerMessage::Alls).await?;
                        self.output.flush().await?;
                    }
                }
            }
        }
        self.wants_room |= self.backlog.is_some();
        Ok(())
    }

    /// Reads the heads of queues and marks them as delivered.
    async fn read_heads(
        &self,
        queues: Vec<RecipientId>,
    ) -> Result<Vec<(RecipientId, BrokerMessage<'static>)>, Gone> {
        let Client { server, peer, .. } = &*self.client;
        let mut readings: Vec<Reading> =
            queues.into_iter().filter_map(|queue| server.subscriptions.take(queue, peer)).collect();
        let mut messages = Vec::new();
        while !readings.is_empty() {
            let heads = readings.iter().map(Reading::head).collect();
            let heads = server.store.heads(heads).await.map_err(|error| store_failed(&error))?;
            let mut again = Vec::new();
            for (reading, head) in readings.into_iter().zip(heads) {
                let head = match head {
                    Ok(head) => head,
                    // One damaged message must not end what the connection has with other queues.
                    Err(error @ StoreError::Damaged(_)) => {
                        server.subscriptions.failed(&reading, peer);
                        messages.push((reading.recipient_id, BrokerMessage::Err(storage_error(&error))));
                        continue;
                    }
                    Err(StoreError::Elsewhere(rival)) => {
                        server.read_elsewhere(&reading, peer, rival);
                        continue;
                    }
                    Err(error) => return Err(store_failed(&error)),
                };
                let found = head.as_ref().map(|message| message.id);
                match server.subscriptions.read(&reading, peer, found) {
                    AfterReading::Deliver => messages.extend(head.map(|message| {
                        let message = self.client.message(&reading.source.dh_secret, &message);
                        (reading.recipient_id, message)
                    })),
                    AfterReading::ReadAgain => again.push(reading),
                    AfterReading::Stale => {}
                }
            }
            readings = again;
        }
        Ok(messages)
    }

    /// Tells what the timer released, as many as fit per block.
    async fn tell_news(&mut self) -> Result<(), Gone> {
        let news = self.client.peer.take_news();
        self.output.flush().await?;
        for (topic, news) in news {
            self.output.add(&[], topic.entity_id(), &news.event()).await?;
        }
        self.output.flush().await
    }

    /// Tells the notifications that a pass released, a block of them whenever there is room for one.
    async fn notify(&mut self) -> Result<(), Gone> {
        let Client { server, peer, service, .. } = &*self.client;
        let service = service.map(|service| service.service_id);
        let service = service.filter(|service| server.services.is_subscriber(*service, peer));
        let mut room = 0;
        loop {
            let Some(id) = peer.take_notified(1).pop() else { return self.output.flush().await };
            if room == 0 {
                self.output.flush().await?;
                if !self.output.has_room() {
                    peer.notified_again(id);
                    self.wants_room = true;
                    return Ok(());
                }
                room = NOTIFICATIONS_PER_BLOCK;
            }
            let Some(told) = server.notifications.take(id, peer, service, room) else { continue };
            room = room.saturating_sub(told.notifications.len());
            server.metrics.notifications_sent.add(told.notifications.len() as u64);
            if told.more {
                peer.notified_again(id);
            }
            for notification in &told.notifications {
                self.output.add(&[], id.as_bytes(), &notification.event(&told.secret)).await?;
            }
        }
    }
}

/// Without its messages a connection is of no use: the client comes back.
fn store_failed(error: &StoreError) -> Gone {
    tracing::error!(%error, "the store failed: a connection ends");
    Gone
}

/// The responses of the oldest block; never when there is none.
async fn oldest(executions: &mut VecDeque<Execution>) -> Vec<Response> {
    match executions.front_mut() {
        Some(execution) => execution.finish().await,
        None => std::future::pending().await,
    }
}
