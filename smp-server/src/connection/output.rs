//! Responses and events packed into blocks.

use std::sync::Arc;

use protocol::smp::batch::{BlockWriter, TransmissionTooLarge};
use protocol::smp::error::ErrorType;
use protocol::smp::response::BrokerMessage;

use super::Client;
use super::channel::Sender;
use crate::limits::Charge;

/// The writer is gone: so is the connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gone;

/// Packs transmissions and hands full blocks to the writer, waiting while its queue is full.
#[derive(Debug)]
pub(super) struct Output {
    contents: Sender<(Vec<u8>, Charge)>,
    client: Arc<Client>,
    block: BlockWriter,
    version: u16,
}

impl Output {
    pub(super) fn new(
        contents: Sender<(Vec<u8>, Charge)>,
        client: Arc<Client>,
        content_bytes_max: usize,
        version: u16,
    ) -> Self {
        Self { contents, client, block: BlockWriter::new(content_bytes_max), version }
    }

    /// Adds a response, or an event when the correlation id is empty.
    pub(super) async fn add(
        &mut self,
        correlation_id: &[u8],
        entity_id: &[u8],
        message: &BrokerMessage<'_>,
    ) -> Result<(), Gone> {
        let full = match self.push(correlation_id, entity_id, message) {
            Ok(full) => full,
            // Only a correlation id that no honest client sends makes a message too long for a block.
            Err(TransmissionTooLarge) => {
                let error = BrokerMessage::Err(ErrorType::LargeMessage);
                self.push(correlation_id, entity_id, &error).unwrap_or_default()
            }
        };
        match full {
            Some(content) => self.send(content).await,
            None => Ok(()),
        }
    }

    /// Sends the block that is being packed, if anything is in it.
    pub(super) async fn flush(&mut self) -> Result<(), Gone> {
        match self.block.take() {
            Some(content) => self.send(content).await,
            None => Ok(()),
        }
    }

    /// Whether the writer takes a block at once.
    pub(super) fn has_room(&self) -> bool {
        self.contents.has_room()
    }

    /// Waits until the writer takes a block at once, or is gone.
    pub(super) async fn room(&self) {
        self.contents.room().await;
    }

    fn push(
        &mut self,
        correlation_id: &[u8],
        entity_id: &[u8],
        message: &BrokerMessage<'_>,
    ) -> Result<Option<Vec<u8>>, TransmissionTooLarge> {
        let version = self.version;
        self.block.push(|out| message.encode_transmission(version, correlation_id, entity_id, out))
    }

    async fn send(&mut self, mut content: Vec<u8>) -> Result<(), Gone> {
        // It may wait for a slow peer: then it holds no more than it says.
        content.shrink_to_fit();
        let charge = self.client.admission.charge(content.len());
        self.contents.send((content, charge)).await.map_err(|_| Gone)
    }
}
