//! The client without command line, home and socket: for programs that drive its engine themselves, as the simulation
//! does. Requests and replies are what the control socket carries, a JSON value each.

use std::sync::{Arc, OnceLock};

use rusqlite::Connection;
use serde_json::Value;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

pub use crate::engine::{Ask, Client};
use crate::event::Reply;
use crate::seal::Sealer;
pub use crate::store::{Store, StoreError};

/// What comes back for a request.
#[derive(Debug)]
pub struct Replies(mpsc::UnboundedReceiver<Reply>);

impl Replies {
    /// What has come since the last look; the last of all is `success` or `failure`.
    pub fn take(&mut self) -> Vec<Value> {
        let mut taken = Vec::new();
        while let Ok(reply) = self.0.try_recv() {
            taken.push(serde_json::to_value(reply).unwrap_or_default());
        }
        taken
    }
}

/// A client on its database, whose secrets are sealed with this key. An empty database is that of a new client, known to
/// others by `name`.
///
/// # Errors
/// When the database cannot be used.
pub fn open(database: Connection, sealing_key: [u8; 32], name: &str) -> anyhow::Result<Client> {
    let mut store = Store::prepare(database, Sealer::from_key(Zeroizing::new(sealing_key)))?;
    if store.own_name()?.is_none() {
        store.set_own_name(name)?;
    }
    Ok(Client::new(store, Arc::new(OnceLock::new())))
}

/// A command for the client's engine, and where its replies come.
///
/// # Errors
/// When there is no such request.
pub fn ask(request: Value) -> Result<(Ask, Replies), serde_json::Error> {
    let (replies, taken) = mpsc::unbounded_channel();
    Ok((Ask { request: serde_json::from_value(request)?, replies }, Replies(taken)))
}

/// What the client's store alone answers, between two batches.
///
/// # Errors
/// When there is no such request, or it is refused.
pub fn look(client: &mut Client, request: Value) -> anyhow::Result<Vec<Value>> {
    let rows =
        client.look(serde_json::from_value(request)?).map_err(|error| anyhow::anyhow!(error.message))?;
    Ok(rows.into_iter().map(|row| serde_json::to_value(row).unwrap_or_default()).collect())
}
