//! The operating system's randomness and clock, handed to the pure core.

use std::convert::Infallible;
use std::time::{SystemTime, UNIX_EPOCH};

use protocol::timestamp::Timestamp;
use rand_core::{TryCryptoRng, TryRng};

/// Randomness of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SystemRng;

impl TryRng for SystemRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        getrandom::fill(bytes).expect("without randomness there is no key that could be trusted");
        Ok(())
    }
}

impl TryCryptoRng for SystemRng {}

/// The time now.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
