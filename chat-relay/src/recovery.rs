//! What a relay does first when its store was brought back from a backup.
//!
//! A ratchet that is set back encrypts with keys that it used before, for other words: whoever has both learns both. So
//! nothing is encrypted on a connection of such a store until its peer has agreed on new keys (agent.md §6.4). What
//! waited to be sent goes out as it was; members drop what they have.

use protocol::agent::error::AgentError;
use protocol::agent::store::ConnectionId;
use protocol::agent::{Agent, store::AgentStore as _};
use protocol::net::engine::{Fatal, Transactional as _};
use protocol::net::{clock, rng::system_rng};

use crate::store::sql::SqlStore;

/// Connections that one transaction takes.
const PAGE: usize = 500;

/// Starts the agreement on new keys of every connection of a copy, before the network is there. Repeated after a crash
/// without harm. Gives how many connections there are.
///
/// # Errors
/// When the store fails.
pub fn renew_keys(store: &mut SqlStore) -> Result<u64, Fatal> {
    if !store.is_copy()? {
        return Ok(0);
    }
    let (mut renewed, mut after, mut last) = (0_u64, None, None);
    loop {
        let page = store.queues_after(after, PAGE)?;
        let Some((connection, _, queue)) = page.last() else { break };
        after = Some((*connection, *queue));
        store.begin()?;
        for (connection, _, _) in &page {
            // One that is moving has two queues in a row.
            if last.replace(*connection) != Some(*connection) {
                renewed = renewed.saturating_add(renew(store, *connection)?.into());
            }
        }
        store.commit()?;
    }
    store.forget_that_it_is_a_copy()?;
    Ok(renewed)
}

fn renew(store: &mut SqlStore, connection: ConnectionId) -> Result<bool, Fatal> {
    let mut rng = system_rng();
    match Agent::new(store, &mut rng, clock::now()).restored(connection) {
        Ok(()) => Ok(true),
        // An address, or a connection without a ratchet.
        Err(AgentError::NotAllowedNow(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
