//! What goes to the server: commands, authorised, packed into blocks, several blocks in one write.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;
use tracing::debug;

use super::{OUTSTANDING_MAX, Outgoing, Owner, SessionEnd, Shared, Waiting, WriteStream};
use crate::agent::request::Request;
use crate::crypto::dh::X25519PublicKey;
use crate::net::error::CallError;
use crate::net::network::Limits;
use crate::net::rng::system_rng;
use crate::net::service::ServiceSigner;
use crate::smp::authorize::Authorizer;
use crate::smp::batch::BlockWriter;
use crate::smp::command::Command;
use crate::smp::ids::CorrelationId;
use crate::smp::transmission::Transmission;
use crate::transport::block::{BLOCK_BYTES, BlockSealer};

/// Most commands taken from the queue for one round of writing.
const ROUND_MAX: usize = 256;
/// Blocks that are handed to TLS in one write. A write must end within the time limit of a command, so this also
/// says how slow a link may be.
const WRITE_BYTES_MAX: usize = 4 * BLOCK_BYTES;
/// Silence after which a subscribed session asks whether the server is there (smp.md §17.2).
const PING_AFTER: Duration = Duration::from_secs(600);
/// A connection is dropped after this many unanswered commands in a row, when nothing was heard for long, too.
const TIMEOUTS_MAX: u32 = 3;
/// A session without subscriptions and commands is closed after this time.
pub(super) const IDLE_AFTER: Duration = Duration::from_secs(5 * 60);

/// What authorises commands in a session.
pub(super) struct Authority {
    pub(super) session_id: Vec<u8>,
    pub(super) server_key: Option<X25519PublicKey>,
    /// In the session of a service.
    pub(super) service: Option<ServiceSigner>,
}

impl Authority {
    fn authorize<'t>(&self, request: &'t Request, id: &'t [u8], encoded: &'t [u8]) -> Transmission<'t> {
        let Request { command, entity, key, .. } = request;
        match (&self.service, key, &self.server_key) {
            (Some(service), key, _) => service.authorize(key.as_ref(), id, entity, command, encoded),
            (None, Some(key), Some(server_key)) => {
                let authorizer = Authorizer { session_id: &self.session_id, server_key };
                authorizer.authorize(key, id, entity, encoded)
            }
            (None, _, _) => Transmission::unauthorized(id, entity, encoded),
        }
    }
}

pub(super) struct Writer<'a, O: Owner> {
    shared: &'a Shared<'a, O>,
    stream: WriteStream,
    sealer: BlockSealer,
    blocks: BlockWriter,
    authority: Authority,
    limits: Limits,
    /// When anything was written last.
    wrote: Instant,
    pinged: Instant,
    /// Blocks that wait for the next write; kept for its capacity while there is something to do.
    out: Vec<u8>,
}

impl<'a, O: Owner> Writer<'a, O> {
    pub(super) fn new(
        shared: &'a Shared<'a, O>,
        stream: WriteStream,
        sealer: BlockSealer,
        authority: Authority,
        limits: Limits,
    ) -> Self {
        let blocks = BlockWriter::new(sealer.content_bytes_max());
        let now = Instant::now();
        Self { shared, stream, sealer, blocks, authority, limits, wrote: now, pinged: now, out: Vec::new() }
    }

    /// Writes until the connection breaks, is of no use, or the owner is gone.
    pub(super) async fn write(mut self, outgoing: &mut mpsc::Receiver<Outgoing<O::Tag>>) -> SessionEnd {
        let mut round = Vec::new();
        loop {
            let room = OUTSTANDING_MAX.saturating_sub(self.shared.pending().len());
            let wake = self.next_check();
            let taken = tokio::select! {
                taken = outgoing.recv_many(&mut round, room.min(ROUND_MAX)), if room > 0 => Some(taken),
                () = self.shared.room.notified(), if room == 0 => None,
                () = tokio::time::sleep_until(wake.into()) => {
                    if let Some(end) = self.check(outgoing.is_empty()).await {
                        return end;
                    }
                    None
                }
            };
            match taken {
                Some(0) => {
                    // a courtesy: the server then need not guess
                    let _gone_anyway =
                        tokio::time::timeout(Duration::from_secs(1), self.stream.shutdown()).await;
                    return SessionEnd::Closed;
                }
                Some(_) => {
                    for command in round.drain(..) {
                        self.pack(command);
                        if self.out.len() >= WRITE_BYTES_MAX && self.send().await.is_err() {
                            return SessionEnd::Lost;
                        }
                    }
                    self.close_block();
                    if self.send().await.is_err() {
                        return SessionEnd::Lost;
                    }
                }
                None => {}
            }
        }
    }

    /// When time limits must be looked at again: commands sent later than now are due later than this.
    fn next_check(&self) -> Instant {
        self.shared.pending().next_deadline().unwrap_or_else(|| Instant::now() + self.limits.answer)
    }

    /// Gives up commands that waited too long, asks a silent server for a sign, and ends what is dead or useless.
    async fn check(&mut self, nothing_to_send: bool) -> Option<SessionEnd> {
        let now = Instant::now();
        let (expired, waiting) = {
            let mut pending = self.shared.pending();
            (pending.expired(now), pending.len())
        };
        let silence = {
            let mut silence = self.shared.silence();
            let missed = u32::try_from(expired.len()).unwrap_or(u32::MAX);
            silence.timeouts = silence.timeouts.saturating_add(missed);
            *silence
        };
        for command in expired {
            self.shared.owner.answered(command.tag, Err(CallError::TimedOut));
        }
        if nothing_to_send && waiting == 0 {
            // sessions may be many and rest for long
            self.out = Vec::new();
        }
        let silent_for = now.saturating_duration_since(silence.heard);
        if silence.timeouts >= TIMEOUTS_MAX && silent_for >= self.limits.silence {
            debug!("the server does not answer any more");
            return Some(SessionEnd::Lost);
        }
        if self.shared.owner.is_subscribed() {
            if silent_for >= PING_AFTER && now.saturating_duration_since(self.pinged) >= PING_AFTER {
                if self.pinged > silence.heard {
                    let mut silence = self.shared.silence();
                    silence.timeouts = silence.timeouts.saturating_add(1);
                }
                self.pinged = now;
                self.ping();
                return self.send().await.err();
            }
        } else if nothing_to_send
            && waiting == 0
            && silent_for.min(now.saturating_duration_since(self.wrote)) >= self.shared.owner.idle_after()
        {
            return Some(SessionEnd::Idle);
        }
        None
    }

    /// Asks for a sign of life: the answer is heard, and nobody waits for it.
    fn ping(&mut self) {
        let id = CorrelationId::generate(&mut system_rng());
        let command = Command::Ping.encode(self.shared.version);
        self.push(true, &Transmission::unauthorized(id.as_bytes(), &[], &command));
    }

    /// Authorises a command and puts it into a block; from now on it waits for its answer.
    fn pack(&mut self, Outgoing { request, tag }: Outgoing<O::Tag>) {
        let id = request.correlation_id.unwrap_or_else(|| CorrelationId::generate(&mut system_rng()));
        if self.shared.pending().contains(&id) {
            self.shared.owner.answered(tag, Err(CallError::InProgress));
            return;
        }
        let command = request.command.encode(self.shared.version);
        let transmission = self.authority.authorize(&request, id.as_bytes(), &command);
        let limit = limit_of(&request.command, self.limits);
        if self.push(is_batched(&request.command), &transmission) {
            let waiting = Waiting { tag, entity_id: request.entity };
            self.shared.pending().insert(id, waiting, Instant::now() + limit);
        } else {
            self.shared.owner.answered(tag, Err(CallError::TooLarge));
        }
    }

    /// Adds a transmission to the open block, or gives it one of its own. Says whether it fits any.
    fn push(&mut self, batched: bool, transmission: &Transmission<'_>) -> bool {
        if !batched {
            self.close_block();
        }
        let version = self.shared.version;
        let pushed = self.blocks.push(|out| transmission.encode_into(version, out));
        if let Ok(Some(full)) = &pushed {
            self.seal(full);
        }
        if !batched {
            self.close_block();
        }
        pushed.is_ok()
    }

    fn close_block(&mut self) {
        if let Some(content) = self.blocks.take() {
            self.seal(&content);
        }
    }

    fn seal(&mut self, content: &[u8]) {
        self.sealer.seal_into(content, &mut self.out).expect("the block writer knows the size of contents");
    }

    async fn send(&mut self) -> Result<(), SessionEnd> {
        if self.out.is_empty() {
            return Ok(());
        }
        let writing = async {
            self.stream.write_all(&self.out).await?;
            self.stream.flush().await
        };
        let written = tokio::time::timeout(self.limits.answer, writing).await;
        self.out.clear();
        self.wrote = Instant::now();
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                debug!(%error, "connection lost");
                Err(SessionEnd::Lost)
            }
            Err(_) => {
                debug!("the server does not read any more");
                Err(SessionEnd::Lost)
            }
        }
    }
}

/// How long a command waits for its answer. A proxy has to ask another server first (smp.md §14.3).
fn limit_of(command: &Command<'_>, limits: Limits) -> Duration {
    match command {
        Command::Prxy { .. } => limits.connect.saturating_add(limits.answer),
        Command::Pfwd { .. } => limits.answer.saturating_mul(2),
        _ => limits.answer,
    }
}

/// Commands that are about many queues at a time share blocks; the others travel alone (agent.md §7.3).
fn is_batched(command: &Command<'_>) -> bool {
    matches!(command, Command::Sub | Command::Ack { .. } | Command::Del | Command::Nkey(_) | Command::Ndel)
}
