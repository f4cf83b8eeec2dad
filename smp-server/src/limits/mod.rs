//! What one origin, and all together, may take of the server, so that those who mean it ill leave room for the others.
//!
//! ```text
//! accept ──▶ room for connections, handshakes, memory? ──no──▶ closed at once, before TLS
//!   └─▶ handshake: the oldest gives way when there are too many
//!         └─▶ each block: commands, new queues and bytes at a rate ──too fast──▶ the connection is read later
//!                                                                  └─far too fast─▶ it is closed
//! ```
//!
//! Established connections come first: new ones are taken from the system no faster than at a rate. An origin is an
//! IPv4 address or an IPv6 network (/64); this machine is none, since a Tor service or a proxy in front of the server
//! makes everybody come from here.

mod address;
mod bucket;
mod handshakes;
mod memory;
mod storage;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::config::{Limits as Settings, Times};
use address::{Origin, Source};
use bucket::{Clock, Rate};
use handshakes::Handshakes;
use memory::{CONNECTION_BYTES, HANDSHAKE_BYTES};
use storage::StorageBounds;

pub use bucket::TooMuch;
pub use handshakes::Slot;
pub use memory::{Charge, Memory};
pub use storage::StorageRoom;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// Seconds of handshakes, commands and bytes that may come at once after a rest.
const BURST_SECONDS: u64 = 5;
const MEBIBYTE: u64 = 1 << 20;

/// All limits and what is done within them.
#[derive(Debug)]
pub struct Limits {
    /// Memory that peers make grow.
    pub memory: Arc<Memory>,
    /// Room on disk.
    pub storage: StorageRoom,
    clock: Clock,
    all: Bounds,
    each: Bounds,
    together: Source,
    origins: Mutex<HashMap<Origin, Arc<Source>>>,
    handshakes: Arc<Handshakes>,
    storage_bounds: StorageBounds,
    limits_loopback: bool,
    wait_max: Duration,
}

/// What an origin, or all together, may do; 0 for no limit.
#[derive(Debug)]
struct Bounds {
    connections: u32,
    handshakes: u32,
    handshake_rate: Rate,
    command_rate: Rate,
    queue_rate: Rate,
    byte_rate: Rate,
}

/// Why a connection is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// There are too many.
    Connections,
    /// There are too many of this origin.
    OriginConnections,
    /// This origin opens too many in too short a time.
    OriginHandshakes,
    /// There is no memory for it.
    Memory,
}

/// What a block wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Demand {
    /// Commands.
    pub commands: u64,
    /// Those of them that make queues.
    pub queues: u64,
    /// Bytes on the wire.
    pub bytes: u64,
}

/// A connection that was taken; dropping it gives back its place.
#[derive(Debug)]
pub struct Admission {
    limits: Arc<Limits>,
    source: Option<Arc<Source>>,
    /// What the connection holds of memory.
    pub(crate) held: Arc<AtomicUsize>,
    _memory: Charge,
}

/// The handshake of a connection; dropping it ends it, well or not.
#[derive(Debug)]
pub struct Greeting {
    source: Option<Arc<Source>>,
    slot: Slot,
    _memory: Charge,
}

impl Limits {
    /// The limits of these settings.
    #[must_use]
    pub fn new(settings: &Settings, times: &Times) -> Arc<Self> {
        let per_second = |units: u32| Rate::new(units.into(), SECOND).with_burst(BURST_SECONDS);
        let per_minute = |units: u32| Rate::new(units.into(), MINUTE);
        let mebibytes = |units: u32| {
            Rate::new(u64::from(units).saturating_mul(MEBIBYTE), SECOND).with_burst(BURST_SECONDS)
        };
        Arc::new(Self {
            memory: Arc::new(Memory::new(settings.memory_mib)),
            storage: StorageRoom::default(),
            clock: Clock::default(),
            all: Bounds {
                connections: settings.connections,
                handshakes: settings.handshakes,
                handshake_rate: per_second(settings.handshakes_per_second),
                command_rate: per_second(settings.commands_per_second),
                queue_rate: per_minute(settings.queues_per_minute),
                byte_rate: mebibytes(settings.mib_per_second),
            },
            each: Bounds {
                connections: settings.address_connections,
                handshakes: settings.address_handshakes,
                handshake_rate: per_second(settings.address_handshakes_per_second),
                command_rate: per_second(settings.address_commands_per_second),
                queue_rate: per_minute(settings.address_queues_per_minute),
                byte_rate: mebibytes(settings.address_mib_per_second),
            },
            together: Source::default(),
            origins: Mutex::default(),
            handshakes: Arc::new(Handshakes::new(settings.handshakes)),
            storage_bounds: StorageBounds {
                stored_max: u64::from(settings.stored_mib).saturating_mul(MEBIBYTE),
                free_min: u64::from(settings.free_mib).saturating_mul(MEBIBYTE),
            },
            limits_loopback: settings.limit_loopback.0,
            wait_max: times.limit_wait.0,
        })
    }

    fn origins(&self) -> MutexGuard<'_, HashMap<Origin, Arc<Source>>> {
        self.origins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until one more connection may be taken from the system.
    pub(crate) async fn turn(&self) {
        loop {
            let wait =
                self.together.lock().buckets.handshakes.wait(self.all.handshake_rate, self.clock.now());
            if wait.is_zero() {
                return;
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Takes a connection from `address`, which begins its handshake. Whether another handshake had to give way.
    ///
    /// # Errors
    /// [`Refusal`]: close it.
    pub fn admit(self: &Arc<Self>, address: IpAddr) -> Result<(Admission, Greeting, bool), Refusal> {
        let now = self.clock.now();
        if self.memory.is_full() {
            return Err(Refusal::Memory);
        }
        let source = self.source(address);
        if let Some(source) = &source {
            let mut doing = source.lock();
            if reaches(doing.connections, self.each.connections) {
                return Err(Refusal::OriginConnections);
            }
            let rate = self.each.handshake_rate;
            let is_slow = doing.buckets.handshakes.take(rate, 1, now, Duration::ZERO).is_ok();
            if !is_slow || reaches(doing.handshakes, self.each.handshakes) {
                return Err(Refusal::OriginHandshakes);
            }
        }
        let mut together = self.together.lock();
        if reaches(together.connections, self.all.connections) {
            return Err(Refusal::Connections);
        }
        // Whoever accepts has waited for this.
        let _ = together.buckets.handshakes.take(self.all.handshake_rate, 1, now, Duration::MAX);
        together.connections = together.connections.saturating_add(1);
        drop(together);
        if let Some(source) = &source {
            let mut doing = source.lock();
            doing.connections = doing.connections.saturating_add(1);
            doing.handshakes = doing.handshakes.saturating_add(1);
        }
        let held = Arc::default();
        let (slot, displaced) = self.handshakes.begin();
        let greeting =
            Greeting { source: source.clone(), slot, _memory: self.memory.charge(HANDSHAKE_BYTES, &held) };
        let memory = self.memory.charge(CONNECTION_BYTES, &held);
        Ok((Admission { limits: self.clone(), source, held, _memory: memory }, greeting, displaced))
    }

    /// A connection that is not limited by its origin: it has none.
    #[must_use]
    pub fn admit_internal(self: &Arc<Self>) -> Admission {
        let mut together = self.together.lock();
        together.connections = together.connections.saturating_add(1);
        drop(together);
        let held = Arc::default();
        let memory = self.memory.charge(CONNECTION_BYTES, &held);
        Admission { limits: self.clone(), source: None, held, _memory: memory }
    }

    fn source(&self, address: IpAddr) -> Option<Arc<Source>> {
        if address.to_canonical().is_loopback() && !self.limits_loopback {
            return None;
        }
        Some(self.origins().entry(Origin::of(address)).or_default().clone())
    }

    /// Forgets origins that do nothing. Called by a timer.
    pub(crate) fn tidy(&self) {
        let now = self.clock.now();
        self.origins().retain(|_, source| Arc::strong_count(source) > 1 || !source.lock().is_at_rest(now));
    }

    /// Looks how much room there is on disk. Called by a timer, where it may take its time.
    pub(crate) fn look_at_storage(&self) {
        self.storage.look(self.storage_bounds);
    }
}

fn reaches(count: u32, most: u32) -> bool {
    most > 0 && count >= most
}

impl Admission {
    /// Takes what a block wants. Says how long to wait before it is looked at.
    ///
    /// # Errors
    /// [`TooMuch`] when that is too long: close the connection.
    pub fn take(&self, demand: Demand) -> Result<Duration, TooMuch> {
        let Limits { together, all, each, clock, wait_max, .. } = &*self.limits;
        let now = clock.now();
        let take = |source: &Source, bounds: &Bounds| {
            let buckets = &mut source.lock().buckets;
            let commands = buckets.commands.take(bounds.command_rate, demand.commands, now, *wait_max)?;
            let queues = buckets.queues.take(bounds.queue_rate, demand.queues, now, *wait_max)?;
            let bytes = buckets.bytes.take(bounds.byte_rate, demand.bytes, now, *wait_max)?;
            Ok(commands.max(queues).max(bytes))
        };
        let own = self.source.as_ref().map_or(Ok(Duration::ZERO), |source| take(source, each))?;
        Ok(own.max(take(together, all)?))
    }

    /// Counts memory that the connection holds.
    #[must_use]
    pub fn charge(&self, bytes: usize) -> Charge {
        self.limits.memory.charge(bytes, &self.held)
    }
}

impl Greeting {
    /// Waits until this handshake is to give way to a newer one.
    pub(crate) async fn gives_way(&self) {
        self.slot.gives_way().await;
    }
}

impl Drop for Greeting {
    fn drop(&mut self) {
        if let Some(source) = &self.source {
            let mut doing = source.lock();
            doing.handshakes = doing.handshakes.saturating_sub(1);
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        for source in self.source.as_deref().into_iter().chain([&self.limits.together]) {
            let mut doing = source.lock();
            doing.connections = doing.connections.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Switch;

    const ADDRESS: [u8; 4] = [192, 0, 2, 1];
    const OTHER: [u8; 4] = [192, 0, 2, 2];

    fn limits(change: impl FnOnce(&mut Settings)) -> Arc<Limits> {
        let mut settings = Settings::default();
        change(&mut settings);
        Limits::new(&settings, &Times::default())
    }

    fn refusal(limits: &Arc<Limits>, address: [u8; 4]) -> Option<Refusal> {
        limits.admit(address.into()).err()
    }

    #[test]
    fn connections_are_counted_by_origin_and_in_all() {
        let limits = limits(|limits| (limits.address_connections, limits.connections) = (2, 3));
        let first = limits.admit(ADDRESS.into()).unwrap();
        let _second = limits.admit(ADDRESS.into()).unwrap();
        assert_eq!(refusal(&limits, ADDRESS), Some(Refusal::OriginConnections));
        let _other = limits.admit(OTHER.into()).unwrap();
        assert_eq!(refusal(&limits, OTHER), Some(Refusal::Connections));
        drop(first);
        assert_eq!(refusal(&limits, ADDRESS), None);
    }

    #[test]
    fn handshakes_of_an_origin_are_few_at_a_time_and_not_too_fast() {
        let settings = limits(|limits| limits.address_handshakes = 1);
        let (_connection, greeting, _) = settings.admit(ADDRESS.into()).unwrap();
        assert_eq!(refusal(&settings, ADDRESS), Some(Refusal::OriginHandshakes));
        assert_eq!(refusal(&settings, OTHER), None);
        drop(greeting);
        assert_eq!(refusal(&settings, ADDRESS), None);

        let limits = limits(|limits| limits.address_handshakes_per_second = 1);
        let taken = (0..=BURST_SECONDS + 1).filter(|_| refusal(&limits, ADDRESS).is_none()).count() as u64;
        assert!((BURST_SECONDS..=BURST_SECONDS + 1).contains(&taken), "{taken}");
    }

    #[test]
    fn this_machine_is_no_origin_unless_it_is_to_be() {
        let localhost = [127, 0, 0, 1];
        let free = limits(|limits| limits.address_connections = 1);
        let _two = (free.admit(localhost.into()).unwrap(), free.admit(localhost.into()).unwrap());
        let bound = limits(|limits| (limits.address_connections, limits.limit_loopback) = (1, Switch(true)));
        let _one = bound.admit(localhost.into()).unwrap();
        assert_eq!(refusal(&bound, localhost), Some(Refusal::OriginConnections));
    }

    #[test]
    fn what_a_block_wants_is_taken_from_all_buckets() {
        let limits = limits(|limits| {
            (limits.address_commands_per_second, limits.commands_per_second) = (100, 150);
        });
        let (first, ..) = limits.admit(ADDRESS.into()).unwrap();
        let (other, ..) = limits.admit(OTHER.into()).unwrap();
        let commands = |commands| Demand { commands, ..Demand::default() };
        assert_eq!(first.take(commands(500)), Ok(Duration::ZERO));
        assert!(!first.take(commands(100)).unwrap().is_zero());
        assert!(other.take(commands(100)).unwrap().is_zero());
        assert!(!other.take(commands(150)).unwrap().is_zero(), "all together are too fast");
        assert_eq!(first.take(commands(100_000)), Err(TooMuch));

        let limits = self::limits(|limits| limits.address_queues_per_minute = 60);
        let (maker, ..) = limits.admit(ADDRESS.into()).unwrap();
        let queues = |queues| Demand { queues, ..Demand::default() };
        assert_eq!(maker.take(queues(60)), Ok(Duration::ZERO));
        assert!(!maker.take(queues(10)).unwrap().is_zero());
    }

    #[test]
    fn origins_at_rest_are_forgotten() {
        let limits = limits(|limits| limits.address_handshakes_per_second = 0);
        let connection = limits.admit(ADDRESS.into()).unwrap();
        limits.tidy();
        assert_eq!(limits.origins().len(), 1);
        drop(connection);
        limits.tidy();
        assert_eq!(limits.origins().len(), 0);
    }

    #[test]
    fn without_memory_nobody_is_taken() {
        let limits = limits(|limits| limits.memory_mib = 1);
        let (connection, ..) = limits.admit(ADDRESS.into()).unwrap();
        let block = connection.charge(1 << 20);
        assert_eq!(refusal(&limits, OTHER), Some(Refusal::Memory));
        drop(block);
        assert_eq!(refusal(&limits, OTHER), None);
    }
}
