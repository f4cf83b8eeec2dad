//! Second connections to relays that have ended: what waits in our queues of them is read. What their relays' servers have
//! taken nobody says again.
//!
//! ```text
//! in use ──ended──▶ aside ──nothing came for so long, in one session with its server──▶ deleted
//! ```
//!
//! Which they are is stored; how long nothing has come is counted anew in each session.

use std::collections::{BTreeMap, BTreeSet};

use protocol::agent::event::Event as AgentEvent;
use protocol::agent::store::{AgentStore as _, ConnectionId};
use protocol::smp::address::ServerAddress;
use protocol::timestamp::Timestamp;

use super::step::{Done, Step};
use crate::store::relay::{RelayId, RelayRow};

/// So many of one relay are read at a time; of more, the oldest is deleted.
const ASIDES_MAX: usize = 4;
/// Nothing has to come between so many looks at the clock: a clock that leaps, as after a machine's sleep, counts as one.
const LOOKS: u32 = 10;
/// The time between two of them, in milliseconds.
const LOOK_MS: i64 = 60_000;

/// What is known of the servers of those connections since the start.
#[derive(Debug, Default)]
pub(super) struct Asides {
    /// Servers with which there is a session.
    reached: BTreeSet<ServerAddress>,
    /// Connections whose queues their servers refuse.
    refused: BTreeSet<ConnectionId>,
    quiet: BTreeMap<ConnectionId, Quiet>,
}

/// A connection that is heard, and on which nothing comes.
#[derive(Debug)]
struct Quiet {
    server: ServerAddress,
    looks: u32,
    next: Timestamp,
}

impl Asides {
    /// When it is looked at next.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.quiet.values().map(|quiet| quiet.next).min()
    }

    /// Nothing comes from now on, if anything could.
    fn listen(&mut self, connection: ConnectionId, server: ServerAddress, now: Timestamp) {
        if self.reached.contains(&server) && !self.refused.contains(&connection) {
            self.quiet.insert(connection, Quiet { server, looks: 0, next: now.plus_ms(LOOK_MS) });
        }
    }

    /// There is no session with this server.
    pub(super) fn lose(&mut self, server: &ServerAddress) {
        self.reached.remove(server);
        self.quiet.retain(|_, quiet| quiet.server != *server);
    }

    /// Takes out what nothing has come on for long.
    fn take_ended(&mut self, now: Timestamp) -> Vec<ConnectionId> {
        for quiet in self.quiet.values_mut().filter(|quiet| quiet.next <= now) {
            (quiet.looks, quiet.next) = (quiet.looks.saturating_add(1), now.plus_ms(LOOK_MS));
        }
        self.quiet.extract_if(.., |_, quiet| quiet.looks >= LOOKS).map(|(connection, _)| connection).collect()
    }
}

impl Step<'_, '_> {
    /// A connection is only read from now on.
    pub(super) fn set_aside(&mut self, relay: &RelayRow, connection: ConnectionId) -> Done<()> {
        self.store.end_deliveries_of(connection)?;
        while let Some((job, _)) = self.store.first_job(connection)? {
            self.store.delete_job(job)?;
        }
        self.store.set_aside(connection)?;
        for surplus in self.store.asides(Some(relay.id))?.into_iter().skip(ASIDES_MAX) {
            self.end_connection(surplus, false)?;
        }
        self.listen_aside(connection)
    }

    /// The agent tells of a connection that is only read.
    pub(super) fn aside_event(&mut self, connection: ConnectionId, event: AgentEvent) -> Done<()> {
        match event {
            AgentEvent::Message { server_time, body, .. } => {
                self.listen_aside(connection)?;
                self.receive(connection, server_time, &body)
            }
            AgentEvent::Failed { .. } => self.end_connection(connection, false),
            // What cannot be read is lost; the rest is about writing.
            _ => Ok(()),
        }
    }

    /// There is a session with a server.
    pub(super) fn reached_for_asides(&mut self, server: &ServerAddress) -> Done<()> {
        self.asides.reached.insert(server.clone());
        for connection in self.store.asides(None)? {
            self.listen_aside(connection)?;
        }
        Ok(())
    }

    /// A server does not let us hear the queue of a connection that is only read, or does again.
    pub(super) fn aside_refused(&mut self, connection: ConnectionId, is_refused: bool) -> Done<()> {
        if is_refused {
            self.asides.refused.insert(connection);
            self.asides.quiet.remove(&connection);
            return Ok(());
        }
        self.asides.refused.remove(&connection);
        self.listen_aside(connection)
    }

    /// Connections are deleted on which nothing came for long.
    pub(super) fn end_quiet_asides(&mut self) -> Done<()> {
        let now = self.now();
        for connection in self.asides.take_ended(now) {
            if self.store.is_aside(connection)? {
                self.end_connection(connection, false)?;
            }
        }
        Ok(())
    }

    /// Deletes all of a relay.
    pub(super) fn end_asides(&mut self, relay: RelayId) -> Done<()> {
        for connection in self.store.asides(Some(relay))? {
            self.asides.quiet.remove(&connection);
            self.end_connection(connection, false)?;
        }
        Ok(())
    }

    fn listen_aside(&mut self, connection: ConnectionId) -> Done<()> {
        if let Ok(Some(queue)) = self.ask_agent(|agent| agent.own_queue(connection))? {
            let now = self.now();
            self.asides.listen(connection, queue.server, now);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONNECTION: ConnectionId = ConnectionId(1);

    fn server(port: u16) -> ServerAddress {
        format!("smp://AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=@localhost:{port}").parse().unwrap()
    }

    fn listening(now: Timestamp) -> Asides {
        let mut asides = Asides::default();
        asides.listen(CONNECTION, server(1), now);
        assert_eq!(asides.deadline(), None, "the server may have much to say");
        asides.reached.insert(server(1));
        asides.listen(CONNECTION, server(1), now);
        asides
    }

    /// How often it is looked, each time when it is due.
    fn looks(asides: &mut Asides) -> u32 {
        let mut looks = 0;
        while let Some(due) = asides.deadline() {
            assert!(asides.take_ended(due.plus_ms(-1)).is_empty(), "not before its time");
            looks += 1;
            if asides.take_ended(due) == [CONNECTION] {
                return looks;
            }
        }
        looks
    }

    #[test]
    fn it_ends_when_nothing_came_for_long() {
        let mut asides = listening(Timestamp(0));
        assert_eq!((looks(&mut asides), asides.deadline()), (LOOKS, None));
    }

    #[test]
    fn whatever_comes_begins_the_time_anew_and_a_leap_of_the_clock_is_one_look() {
        let mut asides = listening(Timestamp(0));
        let leap = Timestamp(0).plus_ms(LOOK_MS * 1000);
        assert!(asides.take_ended(leap).is_empty());
        assert_eq!(asides.deadline(), Some(leap.plus_ms(LOOK_MS)));
        asides.listen(CONNECTION, server(1), leap);
        assert_eq!(looks(&mut asides), LOOKS);
    }

    #[test]
    fn nothing_ends_without_its_server() {
        let mut asides = listening(Timestamp(0));
        asides.lose(&server(2));
        assert!(asides.deadline().is_some());
        asides.lose(&server(1));
        assert_eq!(asides.deadline(), None);
        asides.reached.insert(server(1));
        asides.refused.insert(CONNECTION);
        asides.listen(CONNECTION, server(1), Timestamp(0));
        assert_eq!(asides.deadline(), None, "its server does not let us hear it");
    }
}
