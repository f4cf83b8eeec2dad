//! A way to the server that counts bytes in both directions.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use protocol::smp::address::ServerAddressWithAuth;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use crate::server;

/// Bytes that are passed on at a time.
const CHUNK_BYTES: usize = 65_536;

/// The server at another port, whose bytes are counted.
pub(crate) struct Counter {
    pub(crate) address: ServerAddressWithAuth,
    bytes: Arc<AtomicU64>,
}

impl Counter {
    /// Runs on `runtime` as long as that does.
    pub(crate) fn start(runtime: &Runtime, to: &ServerAddressWithAuth) -> anyhow::Result<Self> {
        let port = to.server.port_or_default();
        let target = SocketAddr::from(([127, 0, 0, 1], port));
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0)))?;
        let address = server::at(to, listener.local_addr().context("A listener has an address")?)?;
        let bytes = Arc::new(AtomicU64::new(0));
        let counted = bytes.clone();
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, target, counted.clone()));
            }
        });
        Ok(Self { address, bytes })
    }

    /// Bytes in both directions until now.
    pub(crate) fn bytes(&self) -> f64 {
        self.bytes.load(Ordering::Relaxed) as f64
    }
}

async fn pass(client: TcpStream, target: SocketAddr, bytes: Arc<AtomicU64>) -> io::Result<()> {
    let server = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let ((client_read, client_write), (server_read, server_write)) =
        (client.into_split(), server.into_split());
    tokio::try_join!(one_way(client_read, server_write, &bytes), one_way(server_read, client_write, &bytes))?;
    Ok(())
}

async fn one_way(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    bytes: &AtomicU64,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = from.read(&mut chunk).await?;
        let Some(part) = chunk.get(..read).filter(|part| !part.is_empty()) else {
            return to.shutdown().await;
        };
        bytes.fetch_add(read as u64, Ordering::Relaxed);
        to.write_all(part).await?;
    }
}
