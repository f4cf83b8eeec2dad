//! A bounded HTTP side listener: so many connections at a time, each for so long at most. What is served here is
//! small, so a lifetime bounds slow peers in every phase at once.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// What a connection may hold of requests that are not complete, bytes: nothing that is served here needs more.
const REQUEST_BYTES_MAX: u32 = 16 * 1024;
/// Requests of one HTTP/2 connection at a time.
const STREAMS_MAX: u32 = 16;
/// What HTTP/2 may hold of answers that a slow peer does not take, bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Time limit of the head of a request.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);

/// Bounds of a side listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Connections at a time; further ones wait to be accepted.
    pub connections: usize,
    /// The longest life of a connection.
    pub lifetime: Duration,
}

/// Serves `router` to who comes by `listener` until `stop`, then lets requests in progress finish.
#[expect(clippy::manual_async_fn, reason = "that it is `Send` is proven here, once for all listeners")]
pub fn serve<L: Listener>(
    mut listener: L,
    router: Router,
    bounds: Bounds,
    stop: impl Future<Output = ()> + Send,
) -> impl Future<Output = ()> + Send {
    async move {
        let permits = Arc::new(Semaphore::new(bounds.connections));
        let mut permit = None;
        let mut connections = JoinSet::new();
        let (open, closing) = watch::channel(());
        let mut stop = std::pin::pin!(stop);
        loop {
            tokio::select! {
                // Nobody closes the semaphore.
                given = permits.clone().acquire_owned(), if permit.is_none() => permit = given.ok(),
                (stream, companion) = listener.accept(), if permit.is_some() => {
                    let (permit, router, closing) = (permit.take(), router.clone(), closing.clone());
                    connections.spawn(async move {
                        // Too long a life ends it as it is.
                        let _ = timeout(bounds.lifetime, converse(stream, router, closing)).await;
                        drop((permit, companion));
                    });
                }
                Some(_) = connections.join_next() => {}
                () = &mut stop => break,
            }
        }
        drop((listener, open));
        while connections.join_next().await.is_some() {}
    }
}

/// Serves one connection to its end, or to the end of what is in progress when `closing` says so.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    mut closing: watch::Receiver<()>,
) {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(REQUEST_BYTES_MAX as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(REQUEST_BYTES_MAX)
        .initial_stream_window_size(REQUEST_BYTES_MAX)
        .initial_connection_window_size(REQUEST_BYTES_MAX)
        .max_send_buf_size(ANSWER_BYTES_MAX);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        // The sender says nothing: it goes.
        _ = closing.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection of the side listener ended");
    }
}

/// Connections that something else accepted, such as a listener that shares its port, each with a companion that is
/// dropped when it ends. When the sender is gone, no more come.
#[derive(Debug)]
pub struct Handed<IO, C>(mpsc::Receiver<(IO, C)>);

/// A listener for connections that are handed over, of which `waiting` may wait.
#[must_use]
pub fn handed<IO, C>(waiting: usize) -> (mpsc::Sender<(IO, C)>, Handed<IO, C>) {
    let (sender, receiver) = mpsc::channel(waiting);
    (sender, Handed(receiver))
}

impl<IO, C> Listener for Handed<IO, C>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    C: Send + 'static,
{
    type Io = IO;
    type Addr = C;

    async fn accept(&mut self) -> (IO, C) {
        match self.0.recv().await {
            Some(connection) => connection,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<C> {
        Err(io::ErrorKind::Unsupported.into())
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
            sender.send((theirs, ())).await.unwrap();
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
        sender.send((theirs, ())).await.unwrap();
        ours.write_all(b"GET / HT").await.unwrap();
        let mut answer = Vec::new();
        // The paused clock moves on when everything waits.
        let _ = ours.read_to_end(&mut answer).await;
        assert!(!String::from_utf8_lossy(&answer).contains("hello"));
        serving.abort();
    }

    #[tokio::test]
    async fn what_is_in_progress_is_finished_and_what_is_silent_is_not_waited_for() {
        let (sender, listener) = handed(2);
        let bounds = Bounds { connections: 2, lifetime: Duration::from_secs(3600) };
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let stopped = async {
            let _ = stopped.await;
        };
        let serving = tokio::spawn(serve(listener, router(), bounds, stopped));
        let (mut ours, theirs) = tokio::io::duplex(1024);
        let (companion, end) = tokio::sync::oneshot::channel::<()>();
        sender.send((theirs, Some(companion))).await.unwrap();
        ours.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut first = [0; 12];
        ours.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        let (_silent, theirs) = tokio::io::duplex(1024);
        sender.send((theirs, None)).await.unwrap();
        stop.send(()).unwrap();
        let mut rest = String::new();
        ours.read_to_string(&mut rest).await.unwrap();
        assert!(rest.ends_with("hello"), "{rest}");
        serving.await.unwrap();
        assert!(end.await.is_err(), "the companion went with its connection");
    }
}
