//! Peers that do not keep to the form: the server drops them, or says so, and goes on serving others.

use e2e::process::PATIENCE;
use e2e::stage::{GROUP, Stage, has};
use e2e::world::Server;
use protocol::encoding::Encode as _;
use protocol::net::tls;
use protocol::smp::address::ServerAddress;
use protocol::smp::batch::{Batch, BlockWriter};
use protocol::smp::error::ErrorType;
use protocol::smp::response::BrokerMessage;
use protocol::smp::transmission::Transmission;
use protocol::transport::block::{BLOCK_BYTES, BlockOpener, BlockSealer};
use protocol::transport::hello::ClientHello;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

const VERSION: u16 = 18;

/// TLS, with the server's hello read.
async fn greet(server: &Server) -> anyhow::Result<(impl AsyncRead + AsyncWrite + Unpin + use<>, [u8; 32])> {
    let address: ServerAddress = server.address().parse()?;
    let key_hash: [u8; 32] = address.key_hash().as_bytes().try_into()?;
    let socket = TcpStream::connect(("127.0.0.1", server.port())).await?;
    let mut stream = tls::connect(socket, key_hash).await?.stream;
    stream.read_exact(&mut [0; BLOCK_BYTES]).await?;
    Ok((stream, key_hash))
}

async fn say(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> anyhow::Result<()> {
    stream.write_all(bytes).await?;
    Ok(stream.flush().await?)
}

/// Whether the server hangs up without another word.
async fn hangs_up(stream: &mut (impl AsyncRead + Unpin)) -> anyhow::Result<bool> {
    Ok(matches!(timeout(PATIENCE, stream.read(&mut [0])).await?, Ok(0) | Err(_)))
}

fn hello(key_hash: [u8; 32], version: u16) -> Vec<u8> {
    let hello = ClientHello {
        version,
        key_hash: key_hash.to_vec(),
        session_key: None,
        is_proxy: false,
        service: None,
    };
    hello.to_bytes()
}

fn block(content: &[u8]) -> Vec<u8> {
    BlockSealer::plain().seal(content).unwrap()
}

/// Hellos that are none: too long, too short, cut, for another server, of another time.
async fn hellos(server: &Server) -> anyhow::Result<()> {
    let (_, key_hash) = greet(server).await?;
    let good = hello(key_hash, VERSION);
    let mut longer_than_the_block = block(&good);
    longer_than_the_block[..2].copy_from_slice(&u16::MAX.to_be_bytes());
    let blocks = [
        vec![0xff; BLOCK_BYTES],
        vec![0; BLOCK_BYTES],
        longer_than_the_block,
        block(&good[..good.len() / 2]),
        block(&hello([7; 32], VERSION)),
        block(&hello(key_hash, VERSION + 1)),
        block(&hello(key_hash, 0)),
        block(&[0xff; 16_000]),
        // More than a hello in one go.
        [vec![0xff; BLOCK_BYTES], vec![0xff; 4 * BLOCK_BYTES]].concat(),
    ];
    for (number, bytes) in blocks.iter().enumerate() {
        let (mut stream, _) = greet(server).await?;
        // The server may hang up in the middle of what is too much.
        let _ = say(&mut stream, bytes).await;
        assert!(hangs_up(&mut stream).await?, "hello {number}");
    }
    // A part of a hello, and then nothing: the peer goes, and so does the connection.
    let (mut stream, _) = greet(server).await?;
    say(&mut stream, &block(&good)[..1000]).await?;
    stream.shutdown().await?;
    assert!(hangs_up(&mut stream).await?);
    // No TLS at all.
    let mut socket = TcpStream::connect(("127.0.0.1", server.port())).await?;
    say(&mut socket, &[0x17; 4096]).await?;
    let mut answer = Vec::new();
    // An alert at most.
    let _ = timeout(PATIENCE, socket.read_to_end(&mut answer)).await?;
    assert!(answer.len() < 100);
    Ok(())
}

/// Blocks that are none are answered, and the session goes on.
async fn blocks(server: &Server) -> anyhow::Result<()> {
    let (mut stream, key_hash) = greet(server).await?;
    say(&mut stream, &block(&hello(key_hash, VERSION))).await?;
    let contents: [&[u8]; 5] = [
        b"",                 // no transmission
        b"\x00",             // none, counted
        b"\x01\x00\x05abc",  // cut
        b"\xff\xff\xff\xff", // many, each long
        &[0xff; 16_000],
    ];
    for content in contents {
        say(&mut stream, &block(content)).await?;
        assert_eq!(
            answer(&mut stream).await?,
            BrokerMessage::Err(ErrorType::Block),
            "{:?}",
            content.get(..8)
        );
    }
    say(&mut stream, &vec![0xff; BLOCK_BYTES]).await?;
    assert_eq!(answer(&mut stream).await?, BrokerMessage::Err(ErrorType::Block), "a length beyond the block");
    let mut writer = BlockWriter::new(BlockSealer::plain().content_bytes_max());
    let full =
        writer.push(|out| Transmission::unauthorized(b"corr", b"", b"PING").encode_into(VERSION, out))?;
    assert_eq!(full, None);
    say(&mut stream, &block(&writer.take().unwrap())).await?;
    assert_eq!(answer(&mut stream).await?, BrokerMessage::Pong);
    // Cut off in the middle of a block.
    say(&mut stream, &[0; 100]).await?;
    stream.shutdown().await?;
    assert!(hangs_up(&mut stream).await?);
    Ok(())
}

async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> anyhow::Result<BrokerMessage<'static>> {
    let mut block = [0; BLOCK_BYTES];
    timeout(PATIENCE, stream.read_exact(&mut block)).await??;
    let content = BlockOpener::plain().open(&mut block)?;
    let first = Batch::parse(content)?.next().expect("a transmission");
    let transmission = Transmission::parse(first, VERSION).expect("a transmission that can be read");
    let message = BrokerMessage::parse(transmission.command, VERSION).expect("a response that can be read");
    Ok(message.into_owned())
}

#[test]
fn malformed_hellos_and_blocks_disturb_nobody_else() -> anyhow::Result<()> {
    let stage = Stage::set(1, 1, 1, "observer")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(hellos(&stage.servers[0]))?;
    stage.owner.ok(&["send", GROUP, "after the hellos"])?;
    runtime.block_on(blocks(&stage.servers[0]))?;
    // Those who say nothing at all hold a connection, and nothing more.
    let silent = runtime.block_on(async {
        let mut silent = Vec::new();
        for _ in 0..50 {
            silent.push(greet(&stage.servers[0]).await?);
        }
        anyhow::Ok(silent)
    })?;
    stage.owner.ok(&["send", GROUP, "after the blocks"])?;
    has(stage.member(0)?, &["after the hellos", "after the blocks"])?;
    drop(silent);
    Ok(())
}
