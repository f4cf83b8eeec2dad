//! The cases, by area.

mod authority;
mod batching;
mod links;
mod messages;
mod queues;
mod syntax;
mod transport;

use crate::case::Case;

/// Every case.
#[must_use]
pub fn all() -> Vec<Case> {
    [
        transport::CASES,
        syntax::CASES,
        authority::CASES,
        queues::CASES,
        messages::CASES,
        links::CASES,
        batching::CASES,
    ]
    .concat()
}
