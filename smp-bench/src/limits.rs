//! What the machine itself can do, measured in the same run: the disk, and one core of the ciphers.

use std::hint::black_box;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use protocol::crypto::hash::sha512;
use protocol::crypto::secretbox::BoxKey;
use protocol::transport::block::BLOCK_BYTES;
use rustls::crypto::cipher::{AeadKey, Iv, OutboundPlainMessage};
use rustls::{ContentType, ProtocolVersion};

use crate::measure::Measurement;
use crate::phases::Plan;
use crate::usage;

/// Bytes of the ciphers' keys.
const KEY_BYTES: usize = 32;
/// Blocks that share one write to disk.
const GROUP: usize = 64;
/// The file is used again from its start after so many groups, which are allocated before: as a log does it.
const GROUPS_MAX: u64 = 256;

pub(crate) fn measure(plan: &Plan, within: Option<&Path>) -> anyhow::Result<Vec<Measurement>> {
    let time = plan.time / 4;
    let mut results = vec![disk(time, within)?];
    let key = BoxKey::new(&[7; 32]);
    let mut block = vec![0; BLOCK_BYTES];
    results.push(repeated("limit: box around 16 KiB, one core", time, || {
        key.seal_in_place(&[1; 24], &mut block);
    })?);
    let bytes = vec![0; BLOCK_BYTES];
    results.push(repeated("limit: SHA-512 of 16 KiB, one core", time, || {
        black_box(sha512(&bytes));
    })?);
    for suite in rustls::crypto::aws_lc_rs::ALL_CIPHER_SUITES {
        // Keys of other sizes cannot be made from outside rustls; AES-128 is a little faster than AES-256.
        let Some(suite) = suite.tls13().filter(|suite| suite.aead_alg.key_len() == KEY_BYTES) else {
            continue;
        };
        let iv = Iv::from([3; 12]);
        let mut encrypter = suite.aead_alg.encrypter(AeadKey::from([7; KEY_BYTES]), iv);
        let mut number = 0;
        results.push(repeated(
            format!("limit: TLS record of 16 KiB, one core, {:?}", suite.common.suite),
            time,
            || {
                number += 1;
                let message = OutboundPlainMessage {
                    typ: ContentType::ApplicationData,
                    version: ProtocolVersion::TLSv1_3,
                    payload: bytes.as_slice().into(),
                };
                // Only a key of the wrong size fails, and then the record is small: the rate shows it.
                black_box(encrypter.encrypt(message, number).ok());
            },
        )?);
    }
    Ok(results)
}

/// Groups of 16 KiB blocks, each group made durable.
fn disk(time: Duration, within: Option<&Path>) -> anyhow::Result<Measurement> {
    let mut file = match within {
        Some(within) => tempfile::tempfile_in(within),
        None => tempfile::tempfile(),
    }
    .context("Unable to make a file")?;
    let group = vec![7; BLOCK_BYTES * GROUP];
    // No more than can be written in the time, at some 100 groups a second and more.
    let groups_max = u64::try_from(time.as_millis() / 10)?.clamp(1, GROUPS_MAX);
    for _ in 0..groups_max {
        file.write_all(&group)?;
    }
    file.sync_all()?;
    let (started, mut groups) = (Instant::now(), 0u64);
    while started.elapsed() < time {
        if groups % groups_max == 0 {
            file.seek(SeekFrom::Start(0))?;
        }
        file.write_all(&group)?;
        file.sync_data()?;
        groups = groups.saturating_add(1);
    }
    Ok(Measurement {
        name: format!("limit: fdatasync of {GROUP} x 16 KiB, one thread"),
        operations: groups.saturating_mul(GROUP as u64),
        seconds: started.elapsed().as_secs_f64(),
        load: usage::load(),
        ..Measurement::default()
    })
}

/// Repeats something that only computes. Its time is that of the processor: other work of the machine does not count.
fn repeated(name: impl Into<String>, time: Duration, mut once: impl FnMut()) -> anyhow::Result<Measurement> {
    let own = std::process::id();
    let (used, started, mut operations) = (usage::cpu_time(own)?, Instant::now(), 0);
    while started.elapsed() < time {
        once();
        operations += 1;
    }
    Ok(Measurement {
        name: name.into(),
        operations,
        seconds: usage::cpu_time(own)?.saturating_sub(used).as_secs_f64(),
        load: usage::load(),
        ..Measurement::default()
    })
}
