//! Blocks in and out of a TLS stream. Room for a block is held only while one is on its way: most connections of a
//! server are idle most of the time.

use std::io::ErrorKind;
use std::ops::Range;
use std::time::Duration;

use protocol::net::clock::now;
use protocol::smp::batch::Batch;
use protocol::smp::transmission::Transmission;
use protocol::transport::block::{BLOCK_BYTES, BlockError, BlockOpener, BlockSealer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::Client;
use super::channel::{Receiver, Sender};
use crate::limits::{Charge, Demand, Memory, TooMuch};

/// Blocks that leave in one write, to save calls without holding much.
const BLOCKS_PER_WRITE: usize = 4;

/// A received block.
#[derive(Debug)]
pub(super) struct Received {
    /// Its content, or that it could not be opened.
    pub(super) content: Result<Content, BlockError>,
    /// The memory that it takes until its commands are answered.
    pub(super) charge: Charge,
}

/// The content of a block, where it was opened.
#[derive(Debug)]
pub(super) struct Content {
    block: Box<[u8; BLOCK_BYTES]>,
    place: Range<usize>,
}

impl Content {
    pub(super) fn bytes(&self) -> &[u8] {
        self.block.get(self.place.clone()).unwrap_or_default()
    }
}

/// Reads and opens blocks until the peer ends, or sends too fast or too slowly, or nobody takes them.
pub(super) async fn read(
    mut stream: impl AsyncRead + Unpin,
    mut opener: BlockOpener,
    client: &Client,
    version: u16,
    mut contents: Sender<Received>,
) {
    let Client { server, peer, admission, .. } = client;
    loop {
        let limit = server.settings.times.read_timeout.0;
        let mut block = match next_block(&mut stream, &server.limits.memory, limit).await {
            Ok(block) => block,
            Err(error) => {
                if error.kind() == ErrorKind::TimedOut {
                    server.metrics.closed_slow_writer.one();
                }
                return;
            }
        };
        peer.touch(now());
        let charge = admission.charge(BLOCK_BYTES);
        let content = opener.open_place(&mut block).map(|place| Content { block, place });
        match admission.take(demand(content.as_ref().map_or(&[], Content::bytes), version)) {
            Ok(Duration::ZERO) => {}
            Ok(wait) => {
                server.metrics.blocks_delayed.one();
                tokio::time::sleep(wait).await;
            }
            Err(TooMuch) => {
                server.metrics.closed_too_fast.one();
                return;
            }
        }
        if contents.send(Received { content, charge }).await.is_err() {
            return;
        }
    }
}

/// What a block wants, known before anything of it is checked: checks are what costs.
fn demand(content: &[u8], version: u16) -> Demand {
    let bytes = BLOCK_BYTES as u64;
    let Ok(batch) = Batch::parse(content) else { return Demand { commands: 1, queues: 0, bytes } };
    let commands = batch.len() as u64;
    let makes_queue =
        |bytes: &&[u8]| Transmission::parse(bytes, version).is_ok_and(|one| one.command.starts_with(b"NEW "));
    Demand { commands, queues: batch.filter(makes_queue).count() as u64, bytes }
}

/// Waits for the first byte of a block, then for memory for all of it, and reads it within `limit`.
pub(super) async fn next_block(
    stream: &mut (impl AsyncRead + Unpin),
    memory: &Memory,
    limit: Duration,
) -> std::io::Result<Box<[u8; BLOCK_BYTES]>> {
    let first = stream.read_u8().await?;
    memory.room().await;
    let mut block = Box::new([0; BLOCK_BYTES]);
    let [head, tail @ ..] = block.as_mut();
    *head = first;
    timeout(limit, stream.read_exact(tail)).await??;
    Ok(block)
}

/// Seals and writes blocks until there are no more, or the peer is gone or too slow.
pub(super) async fn write(
    mut stream: impl AsyncWrite + Unpin,
    mut sealer: BlockSealer,
    client: &Client,
    mut contents: Receiver<(Vec<u8>, Charge)>,
) {
    let Client { server, peer, .. } = client;
    let limit = server.settings.times.write_timeout.0;
    loop {
        let waiting = tokio::select! {
            waiting = contents.receive_many(BLOCKS_PER_WRITE) => waiting,
            () = peer.is_cut() => return,
        };
        if waiting.is_empty() {
            break;
        }
        let mut blocks = Vec::with_capacity(waiting.len().saturating_mul(BLOCK_BYTES));
        for (content, _) in &waiting {
            if sealer.seal_into(content, &mut blocks).is_err() {
                tracing::error!("a content does not fit a block: the connection ends");
                return;
            }
        }
        let written = timeout(limit, async {
            stream.write_all(&blocks).await?;
            stream.flush().await
        });
        tokio::select! {
            written = written => match written {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return,
                Err(_) => {
                    server.metrics.closed_slow_reader.one();
                    return;
                }
            },
            () = peer.is_cut() => return,
        }
        drop(waiting);
        peer.touch(now());
        server.metrics.blocks_sent.add((blocks.len() / BLOCK_BYTES) as u64);
    }
    super::goodbye(&mut stream).await;
}
