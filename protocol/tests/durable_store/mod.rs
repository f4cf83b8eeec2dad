//! A memory store with transactions and a disk that survives its program.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use protocol::agent::memory::{MemoryStore, MemoryStoreError};
use protocol::agent::store::{AgentStore, BodyId, ConnectionId, JobId};
use protocol::net::engine::{Fatal, Transactional};
use protocol::smp::address::ServerAddress;
use protocol::smp::ids::RecipientId;
use protocol::timestamp::Timestamp;

/// What is durable.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    stored: Arc<Mutex<MemoryStore>>,
    is_broken: Arc<AtomicBool>,
}

impl Disk {
    /// From now on commits fail, or succeed again.
    pub(crate) fn break_down(&self, is_broken: bool) {
        self.is_broken.store(is_broken, Ordering::SeqCst);
    }
}

/// A program's view of its disk.
pub(crate) struct DurableStore {
    disk: Disk,
    /// Only inside a transaction.
    working: Option<MemoryStore>,
}

impl DurableStore {
    pub(crate) fn open(disk: Disk) -> Self {
        Self { disk, working: None }
    }

    fn working(&mut self) -> &mut MemoryStore {
        self.working.as_mut().expect("the store is used inside of transactions only")
    }
}

impl Transactional for DurableStore {
    fn begin(&mut self) -> Result<(), Fatal> {
        assert!(self.working.is_none(), "transactions do not nest");
        self.working = Some(self.disk.stored.lock().unwrap().clone());
        Ok(())
    }

    fn commit(&mut self) -> Result<(), Fatal> {
        let working = self.working.take().expect("a transaction was begun");
        if self.disk.is_broken.load(Ordering::SeqCst) {
            return Err("the disk is broken".into());
        }
        *self.disk.stored.lock().unwrap() = working;
        Ok(())
    }

    fn rollback(&mut self) -> Result<(), Fatal> {
        self.working = None;
        Ok(())
    }
}

macro_rules! delegate {
    ($($name:ident($($argument:ident: $kind:ty),*) -> $result:ty;)+) => {
        impl AgentStore for DurableStore {
            type Error = MemoryStoreError;

            $(fn $name(&mut self, $($argument: $kind),*) -> Result<$result, MemoryStoreError> {
                self.working().$name($($argument),*)
            })+
        }
    };
}

delegate! {
    insert_connection(record: &[u8]) -> ConnectionId;
    connection(id: ConnectionId) -> Option<Vec<u8>>;
    update_connection(id: ConnectionId, record: &[u8]) -> ();
    delete_connection(id: ConnectionId) -> ();
    add_queue(id: ConnectionId, server: &ServerAddress, queue: &RecipientId) -> ();
    remove_queue(server: &ServerAddress, queue: &RecipientId) -> ();
    connection_of_queue(server: &ServerAddress, queue: &RecipientId) -> Option<ConnectionId>;
    queues_after(after: Option<(ConnectionId, RecipientId)>, limit: usize)
        -> Vec<(ConnectionId, ServerAddress, RecipientId)>;
    push_job(id: ConnectionId, job: &[u8], body: Option<BodyId>) -> JobId;
    first_job(id: ConnectionId) -> Option<(JobId, Vec<u8>)>;
    update_job(job: JobId, bytes: &[u8]) -> ();
    delete_job(job: JobId) -> ();
    connections_with_jobs() -> Vec<ConnectionId>;
    put_body(body: &[u8]) -> BodyId;
    body(id: BodyId) -> Option<Vec<u8>>;
    remember_hash(id: ConnectionId, hash: &[u8; 32], now: Timestamp) -> ();
    knows_hash(id: ConnectionId, hash: &[u8; 32]) -> bool;
    forget_before(moment: Timestamp) -> ();
}
