//! A bounded HTTP side listener: so many connections at a time, each for so long at most. What is served here is
//! small, so a lifetime bounds slow peers in every phase at once.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Sleep;

/// Bounds of a side listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Connections at a time; further ones wait to be accepted.
    pub connections: usize,
    /// The longest life of a connection.
    pub lifetime: Duration,
}

/// Serves `router` to who comes by `listener` until `stop`, then lets requests in progress finish.
pub async fn serve<L: Listener>(
    listener: L,
    router: Router,
    bounds: Bounds,
    stop: impl Future<Output = ()> + Send + 'static,
) where
    L::Addr: std::fmt::Debug,
{
    let permits = Arc::new(Semaphore::new(bounds.connections));
    let listener = Bounded { listener, permits, lifetime: bounds.lifetime };
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stop).await {
        tracing::warn!(%error, "a side listener ended");
    }
}

/// Connections that something else accepted, such as a listener that shares its port. When the sender is gone, no more
/// come.
#[derive(Debug)]
pub struct Handed<IO>(mpsc::Receiver<IO>);

/// A listener for connections that are handed over, of which `waiting` may wait.
#[must_use]
pub fn handed<IO>(waiting: usize) -> (mpsc::Sender<IO>, Handed<IO>) {
    let (sender, receiver) = mpsc::channel(waiting);
    (sender, Handed(receiver))
}

impl<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static> Listener for Handed<IO> {
    type Io = IO;
    type Addr = ();

    async fn accept(&mut self) -> (IO, ()) {
        match self.0.recv().await {
            Some(connection) => (connection, ()),
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

struct Bounded<L> {
    listener: L,
    permits: Arc<Semaphore>,
    lifetime: Duration,
}

impl<L: Listener> Listener for Bounded<L> {
    type Io = BoundedIo<L::Io>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let permit = self.permits.clone().acquire_owned().await.expect("nobody closes the semaphore");
        let (inner, address) = self.listener.accept().await;
        let end = Box::pin(tokio::time::sleep(self.lifetime));
        (BoundedIo { inner, end, _permit: permit }, address)
    }

    fn local_addr(&self) -> io::Result<L::Addr> {
        self.listener.local_addr()
    }
}

/// A connection that fails when its time is over.
struct BoundedIo<IO> {
    inner: IO,
    end: Pin<Box<Sleep>>,
    _permit: OwnedSemaphorePermit,
}

impl<IO> BoundedIo<IO> {
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.end.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for BoundedIo<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for BoundedIo<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

    fn router() -> Router {
        Router::new().route("/", get(async || "hello"))
    }

    #[tokio::test]
    async fn connections_that_are_handed_over_are_served() {
        let (sender, listener) = handed(1);
        let bounds = Bounds { connections: 1, lifetime: Duration::from_secs(60) };
        let serving = tokio::spawn(serve(listener, router(), bounds, std::future::pending()));
        // One at a time: the second is served when the first is gone.
        for _ in 0..2 {
            let (mut ours, theirs) = tokio::io::duplex(1024);
            sender.send(theirs).await.unwrap();
            ours.write_all(REQUEST).await.unwrap();
            let mut answer = String::new();
            ours.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"), "{answer}");
        }
        serving.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_says_nothing_is_cut_off() {
        let (sender, listener) = handed(1);
        let bounds = Bounds { connections: 1, lifetime: Duration::from_secs(5) };
        let serving = tokio::spawn(serve(listener, router(), bounds, std::future::pending()));
        let (mut ours, theirs) = tokio::io::duplex(1024);
        sender.send(theirs).await.unwrap();
        ours.write_all(b"GET / HT").await.unwrap();
        let mut answer = Vec::new();
        // The paused clock moves on when everything waits.
        let _ = ours.read_to_end(&mut answer).await;
        assert!(!String::from_utf8_lossy(&answer).contains("hello"));
        serving.abort();
    }
}
