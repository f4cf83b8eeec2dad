//! What can go wrong in the ratchet.

use thiserror::Error;

use crate::encoding::DecodeError;

/// Why the ratchet refuses. Says nothing about secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RatchetError {
    /// Not a ratchet message at all: nothing was tried.
    #[error("not a ratchet message: {0}")]
    Malformed(#[from] DecodeError),
    /// No key opens the header, or the header says nonsense.
    #[error("no key of this ratchet opens the message's header")]
    Header,
    /// The message's key was used, or given up, `behind` messages before the last one.
    #[error("the message is {behind} before the last one, and its key is gone")]
    Earlier {
        /// How far before the last message of its chain.
        behind: u32,
    },
    /// The last message of its chain again.
    #[error("the last message again")]
    Duplicate,
    /// More messages are missing than keys may be kept for.
    #[error("{missing} messages are missing, too many to wait for")]
    TooManySkipped {
        /// How many, this one included.
        missing: u32,
    },
    /// The body does not decrypt. Its key is spent.
    #[error("the message's body does not decrypt")]
    Body,
    /// Nothing can be sent before the first message of the peer arrived.
    #[error("the ratchet has not received anything yet, so it cannot send")]
    NoSendingChain,
    /// The message does not fit its padded size. Nothing was spent.
    #[error("the message is too large")]
    TooLarge,
    /// A KEM answer to a proposal that was never made.
    #[error("the peer answers a post-quantum key that was not offered")]
    UnexpectedKem,
    /// A ratchet version that is not spoken here, or a public key that is none.
    #[error("the peer's ratchet parameters cannot be used")]
    Parameters,
    /// A chain ran out of numbers.
    #[error("a chain of the ratchet ran out of numbers")]
    Exhausted,
}
