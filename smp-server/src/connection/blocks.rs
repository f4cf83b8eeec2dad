//! Blocks in and out of a TLS stream. Room for a block is held only while one is on its way: most connections of a
//! server are idle most of the time.

use std::time::Duration;

use protocol::net::clock::now;
use protocol::transport::block::{BLOCK_BYTES, BlockError, BlockOpener, BlockSealer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::metrics::Count;
use crate::peer::Peer;

/// Blocks that leave in one write, to save calls without holding much.
const BLOCKS_PER_WRITE: usize = 4;

/// The content of a received block, or that it could not be opened.
pub(super) type Received = Result<Vec<u8>, BlockError>;

/// Reads and opens blocks until the peer ends or nobody takes them.
pub(super) async fn read(
    mut stream: impl AsyncRead + Unpin,
    mut opener: BlockOpener,
    peer: &Peer,
    contents: mpsc::Sender<Received>,
) {
    while let Ok(mut block) = next_block(&mut stream).await {
        peer.touch(now());
        let content = opener.open(&mut block).map(<[u8]>::to_vec);
        if contents.send(content).await.is_err() {
            return;
        }
    }
}

/// Waits for the first byte of a block, then makes room for all of it.
pub(super) async fn next_block(
    stream: &mut (impl AsyncRead + Unpin),
) -> std::io::Result<Box<[u8; BLOCK_BYTES]>> {
    let first = stream.read_u8().await?;
    let mut block = Box::new([0; BLOCK_BYTES]);
    let [head, tail @ ..] = block.as_mut();
    *head = first;
    stream.read_exact(tail).await?;
    Ok(block)
}

/// Seals and writes blocks until there are no more, or the peer is gone or too slow.
pub(super) async fn write(
    mut stream: impl AsyncWrite + Unpin,
    mut sealer: BlockSealer,
    peer: &Peer,
    mut contents: mpsc::Receiver<Vec<u8>>,
    limit: Duration,
    sent: &Count,
) {
    let mut waiting = Vec::new();
    while contents.recv_many(&mut waiting, BLOCKS_PER_WRITE).await > 0 {
        let mut blocks = Vec::with_capacity(waiting.len().saturating_mul(BLOCK_BYTES));
        for content in waiting.drain(..) {
            if sealer.seal_into(&content, &mut blocks).is_err() {
                tracing::error!("a content does not fit a block: the connection ends");
                return;
            }
        }
        let written = timeout(limit, async {
            stream.write_all(&blocks).await?;
            stream.flush().await
        });
        if !matches!(written.await, Ok(Ok(()))) {
            return;
        }
        peer.touch(now());
        sent.add((blocks.len() / BLOCK_BYTES) as u64);
    }
    super::goodbye(&mut stream).await;
}
