//! What the encryption of one copy costs by itself, so that it can be told from all else that a relay does.

use std::hint::black_box;
use std::time::Instant;

use protocol::crypto::aead::encrypt_padded;
use protocol::crypto::hash::sha256;
use protocol::crypto::secretbox::BoxKey;
use protocol::crypto::sign::Ed25519PrivateKey;

/// Rounds in a row; the quickest of several rows counts, in which nobody else had the processor.
const ROUNDS: u32 = 10;
const ROWS: usize = 30;
/// What the ratchet pads to, the queue's box holds, and a block is.
const RATCHET_BYTES: usize = 15_840;
const BOX_BYTES: usize = 16_000;
const BLOCK_BYTES: usize = 16_384;

/// Microseconds for one copy: the ratchet's cipher, the queue's box, the signature of the command, and the block.
/// TLS comes on top in both.
pub(crate) fn micros_per_copy() -> anyhow::Result<f64> {
    let key = Ed25519PrivateKey::from_seed(&[1; 32]);
    let boxed = BoxKey::new(&[2; 32]);
    let (text, buffer) = (vec![3; 1000], vec![4; BOX_BYTES]);
    let mut block = vec![5; BLOCK_BYTES];
    let mut least = f64::MAX;
    for _ in 0..ROWS {
        let started = Instant::now();
        for _ in 0..ROUNDS {
            black_box(sha256(&text));
            let sealed = encrypt_padded(&[6; 32], &[7; 16], &[8; 256], &text, RATCHET_BYTES)
                .map_err(|error| anyhow::anyhow!("the cipher failed: {error}"))?;
            black_box(sealed);
            black_box(boxed.seal(&[9; 24], &buffer));
            black_box(key.sign(&buffer));
            boxed.seal_in_place(&[10; 24], black_box(&mut block));
        }
        least = least.min(started.elapsed().as_secs_f64());
    }
    Ok(least * 1e6 / f64::from(ROUNDS))
}
