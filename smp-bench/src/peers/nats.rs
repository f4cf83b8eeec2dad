//! NATS JetStream with a file store: a message is published, and its acknowledgement awaited. Before version 2.10 it
//! cannot be told to write through before it acknowledges; the name of the result says which it was.

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::PeerProcess;
use crate::measure::{Latencies, Measurement};
use crate::pair::random_body;
use crate::phases::Plan;
use crate::usage;

pub(super) async fn measure(plan: &Plan, within: Option<&Path>) -> anyhow::Result<Vec<Measurement>> {
    for (sync, name) in [
        ("sync_interval: always", "peer: NATS JetStream publish, sync always"),
        ("", "peer: NATS JetStream publish, not durable"),
    ] {
        let started = PeerProcess::start("nats-server", within, |directory, port| {
            let store = directory.display();
            let file = directory.join("nats.conf");
            let text = format!(
                "listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: \"{store}\", max_file_store: 100GB\n{sync} }}\n"
            );
            std::fs::write(&file, text)?;
            Ok(vec!["-c".to_owned(), file.display().to_string()])
        });
        match started.await {
            Ok(Some(process)) => return Ok(vec![run(&process, plan, name).await?]),
            Ok(None) => return Ok(Vec::new()),
            // An older version refuses the setting and ends.
            Err(_) if !sync.is_empty() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Vec::new())
}

async fn run(process: &PeerProcess, plan: &Plan, name: &str) -> anyhow::Result<Measurement> {
    let mut first = Publisher::open(process.connect().await?).await?;
    let stream = json!({"name": "BENCH", "subjects": ["bench.>"], "storage": "file", "retention": "limits"});
    first.publish("$JS.API.STREAM.CREATE.BENCH", stream.to_string().as_bytes()).await?;
    let answer = first.answer().await?;
    if String::from_utf8_lossy(&answer).contains("\"error\"") {
        bail!("NATS makes no stream: {}", String::from_utf8_lossy(&answer));
    }
    let cpu = usage::cpu_time(process.pid())?;
    let since = Instant::now();
    let mut tasks = JoinSet::new();
    for number in 0..plan.connections {
        let publisher = Publisher::open(process.connect().await?).await?;
        let body = random_body(plan.body_bytes);
        tasks.spawn(publish(publisher, format!("bench.{number}"), body, plan.window, plan.time));
    }
    let mut latencies = Latencies::default();
    while let Some(done) = tasks.join_next().await {
        latencies.add(&done.context("A task failed")??);
    }
    let operations = latencies.count();
    let used = usage::cpu_time(process.pid())?.saturating_sub(cpu).as_secs_f64() * 1000.0;
    Ok(Measurement {
        name: name.to_owned(),
        operations,
        seconds: since.elapsed().as_secs_f64(),
        latencies: Some(latencies),
        server_cpu_ms: Some(used / operations.max(1) as f64),
        load: usage::load(),
        ..Measurement::default()
    })
}

async fn publish(
    mut publisher: Publisher,
    subject: String,
    body: Vec<u8>,
    window: usize,
    time: Duration,
) -> anyhow::Result<Latencies> {
    let (started, mut latencies) = (Instant::now(), Latencies::default());
    let mut waiting = VecDeque::new();
    loop {
        while waiting.len() < window && started.elapsed() < time {
            publisher.publish(&subject, &body).await?;
            waiting.push_back(Instant::now());
        }
        let Some(since) = waiting.pop_front() else { return Ok(latencies) };
        let answer = publisher.answer().await?;
        if String::from_utf8_lossy(&answer).contains("\"error\"") {
            bail!("NATS refuses: {}", String::from_utf8_lossy(&answer));
        }
        latencies.record(since);
    }
}

/// One connection that publishes and hears the acknowledgements at an inbox of its own.
struct Publisher {
    socket: BufReader<TcpStream>,
    inbox: String,
}

impl Publisher {
    async fn open(socket: TcpStream) -> anyhow::Result<Self> {
        let inbox = format!("_INBOX.{}", socket.local_addr()?.port());
        let mut socket = BufReader::new(socket);
        let mut information = String::new();
        socket.read_line(&mut information).await?;
        let hello = format!("CONNECT {{\"verbose\":false,\"pedantic\":false}}\r\nSUB {inbox} 1\r\n");
        socket.write_all(hello.as_bytes()).await?;
        Ok(Self { socket, inbox })
    }

    async fn publish(&mut self, subject: &str, body: &[u8]) -> anyhow::Result<()> {
        let mut request = format!("PUB {subject} {} {}\r\n", self.inbox, body.len()).into_bytes();
        request.extend_from_slice(body);
        request.extend_from_slice(b"\r\n");
        self.socket.write_all(&request).await?;
        Ok(())
    }

    /// The next message at the inbox.
    async fn answer(&mut self) -> anyhow::Result<Vec<u8>> {
        loop {
            let mut line = String::new();
            if self.socket.read_line(&mut line).await? == 0 {
                bail!("NATS closed the connection");
            }
            if line.starts_with("PING") {
                self.socket.write_all(b"PONG\r\n").await?;
            } else if let Some(message) = line.strip_prefix("MSG ") {
                let length: usize =
                    message.split_whitespace().last().context("A message without its length")?.parse()?;
                let mut body = vec![0; length.saturating_add(2)];
                self.socket.read_exact(&mut body).await?;
                body.truncate(length);
                return Ok(body);
            } else if line.starts_with("-ERR") {
                bail!("NATS refuses: {line}");
            }
        }
    }
}
