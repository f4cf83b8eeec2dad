//! The cases, by area.

mod authority;
mod batching;
mod blocking;
mod links;
mod messages;
mod notifications;
mod proxy;
mod queues;
mod services;
mod settings;
mod syntax;
mod timing;
mod transport;
mod web;

use crate::case::Case;

/// Every case.
#[must_use]
pub fn all() -> Vec<Case> {
    [
        transport::CASES,
        syntax::CASES,
        authority::CASES,
        timing::CASES,
        queues::CASES,
        messages::CASES,
        links::CASES,
        batching::CASES,
        notifications::CASES,
        services::CASES,
        proxy::CASES,
        blocking::CASES,
        settings::CASES,
        web::CASES,
    ]
    .concat()
}
