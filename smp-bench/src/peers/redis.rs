//! Redis with `appendfsync always`: a message is a list element, sent by `RPUSH`.

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::PeerProcess;
use crate::measure::{Latencies, Measurement};
use crate::pair::random_body;
use crate::phases::Plan;
use crate::usage;

pub(super) async fn measure(plan: &Plan, within: Option<&Path>) -> anyhow::Result<Vec<Measurement>> {
    let started = PeerProcess::start("redis-server", within, |directory, port| {
        let directory = directory.to_str().context("The directory has a strange name")?;
        let port = port.to_string();
        let flags = ["--port", &port, "--bind", "127.0.0.1", "--dir", directory, "--save", ""];
        let durable =
            ["--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0"];
        Ok(flags.iter().chain(&durable).map(ToString::to_string).collect())
    });
    let Some(process) = started.await? else { return Ok(Vec::new()) };
    let cpu = usage::cpu_time(process.pid())?;
    let since = Instant::now();
    let mut tasks = JoinSet::new();
    for number in 0..plan.connections {
        let socket = process.connect().await?;
        let request = rpush(&format!("queue:{number}"), &random_body(plan.body_bytes));
        tasks.spawn(push(socket, request, plan.window, plan.time));
    }
    let mut latencies = Latencies::default();
    while let Some(done) = tasks.join_next().await {
        latencies.add(&done.context("A task failed")??);
    }
    let operations = latencies.count();
    let used = usage::cpu_time(process.pid())?.saturating_sub(cpu).as_secs_f64() * 1000.0;
    Ok(vec![Measurement {
        name: "peer: Redis RPUSH, appendfsync always".to_owned(),
        operations,
        seconds: since.elapsed().as_secs_f64(),
        latencies: Some(latencies),
        server_cpu_ms: Some(used / operations.max(1) as f64),
        load: usage::load(),
        ..Measurement::default()
    }])
}

fn rpush(key: &str, body: &[u8]) -> Vec<u8> {
    let mut request =
        format!("*3\r\n$5\r\nRPUSH\r\n${}\r\n{key}\r\n${}\r\n", key.len(), body.len()).into_bytes();
    request.extend_from_slice(body);
    request.extend_from_slice(b"\r\n");
    request
}

async fn push(
    mut socket: TcpStream,
    request: Vec<u8>,
    window: usize,
    time: Duration,
) -> anyhow::Result<Latencies> {
    let (started, mut latencies) = (Instant::now(), Latencies::default());
    let mut waiting = VecDeque::new();
    let mut answers = [0; 4096];
    loop {
        while waiting.len() < window && started.elapsed() < time {
            socket.write_all(&request).await?;
            waiting.push_back(Instant::now());
        }
        if waiting.is_empty() {
            return Ok(latencies);
        }
        let count = socket.read(&mut answers).await?;
        let answers = answers.get(..count).unwrap_or_default();
        if answers.is_empty() || answers.contains(&b'-') {
            bail!("Redis refuses");
        }
        // Every answer is one line.
        for _ in answers.iter().filter(|byte| **byte == b'\n') {
            latencies.record(waiting.pop_front().context("An answer without a question")?);
        }
    }
}
