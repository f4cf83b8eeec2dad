//! Control by a unix socket that only the owner of the process may open: a line is a request, a line is its answer.
//!
//! ```text
//! ctl ──"…\n"──▶ socket (0600) ──▶ handler
//!     ◀─"…\n"──
//! ```
//!
//! What the lines say is the program's affair.

use std::io::{self, BufRead as _, BufReader as LineReader, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Longest request, bytes, with the end of its line.
pub const REQUEST_BYTES_MAX: u64 = 4096;
/// Longest answer, bytes: what a client of this socket reads at most.
pub const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// People and scripts: a few at a time.
const CONNECTIONS_MAX: usize = 16;
/// Silence after which a client of the socket is left.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// What a request is answered with.
pub struct Answer {
    /// The line.
    pub text: String,
    /// What is done once the line is written: such as ending the process.
    pub afterwards: Option<Box<dyn FnOnce() + Send>>,
}

impl From<String> for Answer {
    fn from(text: String) -> Self {
        Self { text, afterwards: None }
    }
}

/// An open control socket; its file goes with it.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ControlSocket {
    /// Opens the socket at `path`. One that a dead process left is replaced: the caller knows that no other process
    /// uses the place.
    ///
    /// # Errors
    /// When it cannot be made there; a path of more than 107 bytes cannot be a socket.
    pub fn open(path: &Path) -> io::Result<Self> {
        // Made in a directory that nobody else enters, so that at no moment others may open it.
        let mut nursery = path.as_os_str().to_owned();
        nursery.push(".d");
        let nursery = PathBuf::from(nursery);
        remove_if_there(std::fs::remove_dir_all(&nursery))?;
        std::fs::DirBuilder::new().mode(0o700).create(&nursery)?;
        let opened = Self::open_within(&nursery, path);
        remove_if_there(std::fs::remove_dir_all(&nursery))?;
        opened
    }

    fn open_within(nursery: &Path, path: &Path) -> io::Result<Self> {
        let born = nursery.join("s");
        let listener = UnixListener::bind(&born)?;
        std::fs::set_permissions(&born, std::fs::Permissions::from_mode(0o600))?;
        std::fs::rename(&born, path)?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Answers requests by `handler` until the future is dropped.
    pub async fn serve<F, A>(self, handler: F)
    where
        F: Fn(String) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Answer> + Send,
    {
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut clients = tokio::task::JoinSet::new();
        loop {
            let permit = permits.clone().acquire_owned().await.expect("nobody closes the semaphore");
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let handler = handler.clone();
                        clients.spawn(async move {
                            // A client that is gone needs no answer.
                            let _ = converse(stream, handler).await;
                            drop(permit);
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a control client could not be accepted");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
                Some(_) = clients.join_next() => {}
            }
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // A file that stays is replaced by the next start.
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn converse<A: Future<Output = Answer>>(
    stream: UnixStream,
    handler: impl Fn(String) -> A,
) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = String::new();
        let mut limited = (&mut reader).take(REQUEST_BYTES_MAX);
        let read = timeout(SILENCE_MAX, limited.read_line(&mut line)).await??;
        if read == 0 || !line.ends_with('\n') {
            // The end, half a request, or one that is too long.
            return Ok(());
        }
        let Answer { text, afterwards } = handler(line.trim_end().to_owned()).await;
        let written = timeout(SILENCE_MAX, writer.write_all((text + "\n").as_bytes())).await;
        if let Some(afterwards) = afterwards {
            afterwards();
        }
        written??;
    }
}

/// Asks the process behind the socket at `path`, and waits so long for its answer.
///
/// # Errors
/// [`io::ErrorKind::NotFound`] and [`io::ErrorKind::ConnectionRefused`] when no process listens there, others when it
/// does not answer.
pub fn ask(path: &Path, request: &str, patience: Duration) -> io::Result<String> {
    let mut stream = BlockingStream::connect(path)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    stream.write_all(format!("{request}\n").as_bytes())?;
    let mut answer = String::new();
    LineReader::new(stream.take(ANSWER_BYTES_MAX)).read_line(&mut answer)?;
    if answer.ends_with('\n') {
        Ok(answer.trim_end().to_owned())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

fn remove_if_there(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    async fn asked(path: &Path, request: String) -> io::Result<String> {
        let path = path.to_owned();
        tokio::task::spawn_blocking(move || ask(&path, &request, PATIENCE)).await.unwrap()
    }

    #[tokio::test]
    async fn requests_are_answered_by_the_owner_alone_and_the_file_goes() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("control");
        std::fs::write(&path, "left by a dead process").unwrap();
        let socket = ControlSocket::open(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1);
        let serving = tokio::spawn(socket.serve(async |line: String| line.to_uppercase().into()));
        assert_eq!(asked(&path, "hello".into()).await.unwrap(), "HELLO");
        serving.abort();
        let _ = serving.await;
        assert!(!path.exists());
        assert_eq!(asked(&path, "hello".into()).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn a_request_that_is_too_long_ends_the_connection() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("control");
        let serving =
            tokio::spawn(ControlSocket::open(&path).unwrap().serve(async |line: String| line.into()));
        let long = "x".repeat(usize::try_from(REQUEST_BYTES_MAX).unwrap());
        assert!(asked(&path, long).await.is_err());
        assert_eq!(asked(&path, "short".into()).await.unwrap(), "short");
        serving.abort();
    }
}
