//! The control socket: while one process listens, others get their work done through it.
//!
//! ```text
//! command ── one line: Request ──▶ listening process
//!         ◀── lines: Reply … ────  the last is `success` or `failure`
//! ```
//!
//! The socket lies in the home, which only its user can enter; that is all the authorisation there is.

mod server;

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::error::CommandError;
use crate::event::Reply;
use crate::exit_code::ExitCode;
use crate::home::Home;
use crate::request::Request;

pub(crate) use server::Server;

/// The longest path that fits into a socket address, with its end.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Connects to a listening process, if there is one.
pub(crate) fn connect(home: &Home) -> Option<UnixStream> {
    let path = SocketPath::of(&home.socket_file()).ok()?;
    UnixStream::connect(&path.path).ok()
}

/// Sends a request and hands each reply to `take`, until that gives a result.
///
/// # Errors
/// That result, or that the other process went away.
pub(crate) fn ask(
    mut stream: UnixStream,
    request: &Request,
    mut take: impl FnMut(Reply) -> Option<Result<(), CommandError>>,
) -> Result<(), CommandError> {
    let mut line =
        zeroize::Zeroizing::new(serde_json::to_string(request).context("Unable to write the request")?);
    line.push('\n');
    stream.write_all(line.as_bytes()).context("Unable to reach the listening process")?;
    for line in BufReader::new(stream).lines() {
        let line = line.context("Unable to hear the listening process")?;
        let reply = serde_json::from_str(&line).context("The listening process speaks another version")?;
        if let Some(result) = take(reply) {
            return result;
        }
    }
    Err(CommandError::new(ExitCode::Failure, "The listening process ended before it answered")
        .hint("Run the command again; what it had begun goes on."))
}

/// A path that fits into a socket address: the file's own, or one through an open directory.
#[derive(Debug)]
struct SocketPath {
    path: PathBuf,
    _directory: Option<std::fs::File>,
}

impl SocketPath {
    fn of(socket: &Path) -> std::io::Result<Self> {
        if socket.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
            return Ok(Self { path: socket.to_owned(), _directory: None });
        }
        let (Some(directory), Some(name)) = (socket.parent(), socket.file_name()) else {
            return Err(std::io::ErrorKind::InvalidInput.into());
        };
        let directory = std::fs::File::open(directory)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name);
        Ok(Self { path, _directory: Some(directory) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_path_is_reached_through_its_directory() {
        let place = tempfile::tempdir().unwrap();
        let deep = place.path().join("d".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        let socket = deep.join("control.sock");
        let listener =
            std::os::unix::net::UnixListener::bind(&SocketPath::of(&socket).unwrap().path).unwrap();
        UnixStream::connect(&SocketPath::of(&socket).unwrap().path).unwrap();
        listener.accept().unwrap();
    }
}
