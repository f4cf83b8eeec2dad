//! A destination server that is not one: what a proxy tells of it stands in smp.md §14.1.

use std::sync::Arc;

use protocol::crypto::dh::X25519PrivateKey;
use protocol::crypto::hash::sha256;
use protocol::net::rng::system_rng;
use protocol::net::tls::{self, Secured, ServerTls};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::failure::{Failure, Outcome};
use crate::peer::service::ServiceIdentity;
use crate::peer::wire::{BLOCK_BYTES, Fields, batch, large, short};
use crate::place::Place;

/// What such a server does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Closes the connection at once.
    Closes,
    /// Says something that is no TLS.
    NoTls,
    /// Closes after TLS.
    ClosesBeforeHello,
    /// Names another session in its hello.
    OtherSession,
    /// Offers these versions.
    Versions(u16, u16),
    /// Says a hello that cannot be read.
    Unreadable,
    /// Shows a session key that its leaf did not sign.
    WrongSignature,
    /// Shows no session key.
    NoKey,
    /// Answers each command with these bytes.
    Answers(&'static [u8]),
    /// Says nothing, not even in TLS.
    Silent,
    /// Says no hello after TLS.
    SilentAfterTls,
    /// Answers no command.
    AnswersNothing,
    /// Closes the connection when it gets a command.
    ClosesOnCommand,
}

/// One that runs, on a port of the loopback; it ends when dropped.
#[derive(Debug)]
pub struct FakeDestination {
    /// Where it is.
    pub place: Place,
    running: JoinHandle<()>,
    hellos: mpsc::UnboundedReceiver<Vec<u8>>,
}

impl FakeDestination {
    /// Starts one.
    ///
    /// # Errors
    /// When it cannot be started here.
    pub async fn start(behaviour: Behaviour) -> Outcome<Self> {
        let failed = |error: &dyn std::fmt::Display| {
            Failure::differs("a server of the suite's own", error.to_string())
        };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(|error| failed(&error))?;
        let address = listener.local_addr().map_err(|error| failed(&error))?;
        let identity = Arc::new(ServiceIdentity::new()?);
        let key_hash = identity.chain.get(1).map(|certificate| sha256(certificate)).unwrap_or_default();
        let (chain, key) = identity.tls();
        let tls = tls::server_config_der(chain, key).map_err(|error| failed(&error))?;
        let (tell, hellos) = mpsc::unbounded_channel();
        let running = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (tls, identity, tell) = (tls.clone(), identity.clone(), tell.clone());
                tokio::spawn(async move { serve(socket, behaviour, &tls, &identity, &tell).await });
            }
        });
        Ok(Self { place: Place { address, key_hash }, running, hellos })
    }

    /// The content of the next client hello.
    ///
    /// # Errors
    /// When there is none.
    pub async fn hello(&mut self) -> Outcome<Vec<u8>> {
        match tokio::time::timeout(crate::peer::PATIENCE, self.hellos.recv()).await {
            Ok(Some(hello)) => Ok(hello),
            _ => Err(Failure::differs("a hello of the proxy", "none")),
        }
    }
}

impl Drop for FakeDestination {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// Serves one connection, as long as the other side goes on.
async fn serve(
    mut socket: TcpStream,
    behaviour: Behaviour,
    tls: &ServerTls,
    identity: &ServiceIdentity,
    tell: &mpsc::UnboundedSender<Vec<u8>>,
) -> Option<()> {
    match behaviour {
        Behaviour::Closes => return None,
        Behaviour::Silent => std::future::pending::<()>().await,
        Behaviour::NoTls => {
            socket.write_all(b"220 mail.example.org ESMTP\r\n").await.ok()?;
            let mut rest = Vec::new();
            socket.take(1 << 16).read_to_end(&mut rest).await.ok()?;
            return None;
        }
        _ => {}
    }
    let Secured { mut stream, tls_unique, .. } = tls.accept(socket).await.ok()?;
    match behaviour {
        Behaviour::ClosesBeforeHello => return None,
        Behaviour::SilentAfterTls => std::future::pending::<()>().await,
        _ => {}
    }
    let own_key = X25519PrivateKey::generate(&mut system_rng());
    let hello = hello(behaviour, tls_unique.as_bytes(), identity, &own_key.public_key().0)?;
    write(&mut stream, &hello).await?;
    tell.send(read(&mut stream).await?).ok()?;
    loop {
        let content = read(&mut stream).await?;
        let answer = match behaviour {
            Behaviour::Answers(answer) => answer,
            Behaviour::AnswersNothing => continue,
            _ => return None,
        };
        let mut fields = Fields::of(&content);
        fields.take(1).ok()?;
        let mut command = Fields::of(fields.large().ok()?);
        command.expect(&[0]).ok()?;
        let correlation_id = short(command.short().ok()?);
        write(&mut stream, &batch(&[[&[0], correlation_id.as_slice(), &[0], answer].concat()])).await?;
    }
}

fn hello(
    behaviour: Behaviour,
    session_id: &[u8],
    identity: &ServiceIdentity,
    key: &[u8; 32],
) -> Option<Vec<u8>> {
    let (first, last) =
        if let Behaviour::Versions(first, last) = behaviour { (first, last) } else { (6, 18) };
    let session_id = if behaviour == Behaviour::OtherSession { &[7; 32] } else { session_id };
    if behaviour == Behaviour::Unreadable {
        return Some(vec![0, 18, 0, 6, 200]);
    }
    let mut content = [first.to_be_bytes(), last.to_be_bytes()].concat();
    content.extend(short(session_id));
    if behaviour != Behaviour::NoKey {
        content.push(u8::try_from(identity.chain.len()).ok()?);
        content.extend(identity.chain.iter().flat_map(|certificate| large(certificate)));
        let mut object = identity.signed(0x6e, key);
        if behaviour == Behaviour::WrongSignature {
            *object.last_mut()? ^= 1;
        }
        content.extend(large(&object));
    }
    Some(content)
}

type Stream = tokio_rustls::TlsStream<TcpStream>;

async fn write(stream: &mut Stream, content: &[u8]) -> Option<()> {
    let mut block = large(content);
    block.resize(BLOCK_BYTES, b'#');
    stream.write_all(&block).await.ok()?;
    stream.flush().await.ok()
}

async fn read(stream: &mut Stream) -> Option<Vec<u8>> {
    let mut block = vec![0; BLOCK_BYTES];
    stream.read_exact(&mut block).await.ok()?;
    Fields::of(&block).large().ok().map(<[u8]>::to_vec)
}
