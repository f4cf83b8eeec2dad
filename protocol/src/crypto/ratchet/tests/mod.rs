//! The ratchet against known answers (agent.md Appendix A) and against itself.

mod agreement_and_messages;
mod known_answers;

use std::convert::Infallible;

use rand_core::{TryCryptoRng, TryRng};

use super::AgreementKeys;
use crate::crypto::dh::X448PrivateKey;
use crate::crypto::hash::sha512;

/// Gives out the bytes it was made of, and nothing after them.
struct Script(std::collections::VecDeque<u8>);

impl Script {
    fn new(parts: &[&[u8]]) -> Self {
        Self(parts.concat().into())
    }
}

impl TryRng for Script {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        unreachable!("keys are drawn as bytes")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        unreachable!("keys are drawn as bytes")
    }

    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Infallible> {
        for byte in to {
            *byte = self.0.pop_front().expect("the script gives what the test needs");
        }
        Ok(())
    }
}

impl TryCryptoRng for Script {}

/// The private key that a vector names by a label.
fn private(label: &str) -> X448PrivateKey {
    X448PrivateKey::from_bytes(sha512(label.as_bytes())[..56].try_into().unwrap())
}

fn keys(first: &str, second: &str) -> AgreementKeys {
    AgreementKeys::new(private(first), private(second))
}
