//! What every SMP queue server does, seen from outside.
//!
//! [`client`] and [`raw`] are clients for tests: they say what a test wants said, also what no honest client would,
//! and panic when the answer is another.

pub mod client;
pub mod place;
pub mod raw;
