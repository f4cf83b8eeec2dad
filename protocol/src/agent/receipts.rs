//! Receipts: the peer's application has our message (agent.md §6.3).
//!
//! What was sent is remembered by number and hash, among the connection's hashes and as long as they; only for
//! connections whose application wants to know, since it costs a row per message.

use crate::crypto::hash::sha256;

use super::error::AgentError;
use super::event::{Event, Receipt};
use super::job::Purpose;
use super::message::{MessageBody, MessageReceipt};
use super::record::Connection;
use super::store::{AgentStore, ConnectionId};
use super::{Agent, Outcome};

/// The first agent version with receipts.
const RECEIPTS_VERSION: u16 = 4;

impl<S: AgentStore> Agent<'_, S> {
    pub(super) fn queue_receipt(
        &mut self,
        id: ConnectionId,
        connection: &mut Connection,
        number: i64,
        hash: &[u8; 32],
    ) -> Outcome<(), S> {
        if connection.agent_version < RECEIPTS_VERSION {
            return Ok(());
        }
        let receipt = MessageReceipt { number, hash: hash.to_vec(), info: Vec::new() };
        self.queue_service_message(id, connection, Purpose::Receipt, MessageBody::Receipts(vec![receipt]))
    }

    pub(super) fn remember_sent(&mut self, id: ConnectionId, number: i64, hash: &[u8; 32]) -> Outcome<(), S> {
        for name in [of_message(b"sent", number, hash), of_message(b"number", number, &[])] {
            self.store.remember_hash(id, &name, self.now).map_err(AgentError::Store)?;
        }
        Ok(())
    }

    /// Tells the application of receipts that are new and of messages that are known. Others are passed over: a
    /// peer may say what it wants.
    pub(super) fn receipts_received(
        &mut self,
        id: ConnectionId,
        receipts: &[MessageReceipt],
    ) -> Outcome<(), S> {
        let mut news = Vec::new();
        for MessageReceipt { number, hash, .. } in receipts {
            let received = of_message(b"received", *number, hash);
            if !self.knows(id, &of_message(b"number", *number, &[]))? || self.knows(id, &received)? {
                continue;
            }
            self.store.remember_hash(id, &received, self.now).map_err(AgentError::Store)?;
            let intact = self.knows(id, &of_message(b"sent", *number, hash))?;
            news.push(Receipt { number: *number, intact });
        }
        if !news.is_empty() {
            self.tell(id, Event::Receipts(news));
        }
        Ok(())
    }
}

/// The name of a fact about a message, among hashes of other things.
fn of_message(fact: &[u8], number: i64, hash: &[u8]) -> [u8; 32] {
    sha256(&[b"receipt:", fact, &number.to_be_bytes(), hash].concat())
}
