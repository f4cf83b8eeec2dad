//! Blocks in and out of a TLS stream.

use std::time::Duration;

use protocol::net::clock::now;
use protocol::transport::block::{BLOCK_BYTES, BlockError, BlockOpener, BlockSealer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::timeout;

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
    let mut block = Box::new([0; BLOCK_BYTES]);
    while stream.read_exact(block.as_mut_slice()).await.is_ok() {
        peer.touch(now());
        let content = opener.open(&mut block).map(<[u8]>::to_vec);
        if contents.send(content).await.is_err() {
            return;
        }
    }
}

/// Seals and writes blocks until there are no more, or the peer is gone or too slow.
pub(super) async fn write(
    mut stream: impl AsyncWrite + Unpin,
    mut sealer: BlockSealer,
    peer: &Peer,
    mut contents: mpsc::Receiver<Vec<u8>>,
    limit: Duration,
) {
    let mut waiting = Vec::new();
    let mut blocks = Vec::new();
    while contents.recv_many(&mut waiting, BLOCKS_PER_WRITE).await > 0 {
        blocks.clear();
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
    }
    super::goodbye(&mut stream).await;
}
