//! The listening side of the control socket.

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use super::SocketPath;
use crate::error::CommandError;
use crate::event::Reply;
use crate::exit_code::ExitCode;
use crate::home::Home;
use crate::request::Request;

/// A request holds at most the messages of one file, see `commands/send.rs`, in JSON.
const REQUEST_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// A bound control socket; it is gone with this value.
#[derive(Debug)]
pub(crate) struct Server {
    listener: UnixListener,
    path: std::path::PathBuf,
}

impl Server {
    /// Binds the socket. The caller holds the home's lock, so that one left behind by a crash can go.
    ///
    /// # Errors
    /// When the directory does not allow it.
    pub(crate) fn bind(home: &Home) -> std::io::Result<Self> {
        let path = home.socket_file();
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&SocketPath::of(&path)?.path)?;
        Ok(Self { listener, path })
    }

    /// Serves until dropped: each request is handed to `submit` with a place for its replies.
    pub(crate) async fn serve<F: Future<Output = ()> + Send + 'static>(
        &self,
        submit: impl Fn(Request, mpsc::UnboundedSender<Reply>) -> F + Clone + Send + Sync + 'static,
    ) {
        let mut peers = tokio::task::JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => { peers.spawn(serve_one(stream, submit.clone())); }
                    // Out of descriptors: others end and free some.
                    Err(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
                },
                Some(_) = peers.join_next() => {}
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A socket that stays behind is removed by the next process that listens.
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn serve_one<F: Future<Output = ()>>(
    stream: UnixStream,
    submit: impl Fn(Request, mpsc::UnboundedSender<Reply>) -> F,
) {
    let (from, mut to) = stream.into_split();
    let mut from = BufReader::new(from.take(REQUEST_BYTES_MAX));
    let mut line = zeroize::Zeroizing::new(String::new());
    if from.read_line(&mut line).await.is_err() {
        return;
    }
    let (replies, mut answers) = mpsc::unbounded_channel();
    match serde_json::from_str(&line) {
        Ok(request) => submit(request, replies).await,
        Err(error) => {
            let refusal =
                CommandError::new(ExitCode::Usage, format_args!("The request is not understood: {error}"))
                    .hint("The listening process is of another version: start it again.");
            // Cannot fail: the receiver is below.
            let _ = replies.send(Reply::Failure(refusal));
        }
    }
    let mut rest = [0; 1];
    loop {
        let reply = tokio::select! {
            reply = answers.recv() => reply,
            // The command was interrupted: nobody reads any more.
            _ = from.read(&mut rest) => return,
        };
        let Some(reply) = reply else { return };
        let last = !matches!(reply, Reply::Event(_));
        let mut line = serde_json::to_string(&reply).expect("replies hold nothing that JSON cannot say");
        line.push('\n');
        if to.write_all(line.as_bytes()).await.is_err() || last {
            return;
        }
    }
}
