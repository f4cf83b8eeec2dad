//! `relay test`: whether a relay's address can be read, and whether the relay answers and holds the key of it.
//!
//! ```text
//! address read ──▶ challenge sent over a connection made for it ──▶ answer checked ──▶ connection deleted
//! ```
//!
//! Tests are not kept over a restart: a connection that is left of one is deleted at the next start.

use std::collections::BTreeMap;

use protocol::agent::event::Event as AgentEvent;
use protocol::agent::signed_link_data::OpenedLink;
use protocol::agent::store::{AgentStore as _, ConnectionId};
use protocol::crypto::sign::Ed25519PublicKey;
use protocol::group::constants::RELAY_TEST_MS_MAX;
use protocol::group::event::owner_relay::RelayTest;
use protocol::group::event::{Event as Said, Message};
use protocol::group::opened::OpenedRelayAddress;
use protocol::group::relay_test::{challenge, check};
use protocol::group::signed::Statement;
use protocol::net::network::ReadLinkError;
use protocol::smp::short_link::LinkType;
use protocol::timestamp::Timestamp;

use super::app::QUEUES_PER_PAGE;
use super::join::call_error_kind;
use super::step::{Done, Step, Stop, chain};
use super::tag::Tag;
use crate::error::CommandError;
use crate::event::Event;
use crate::exit_code::ExitCode;
use crate::query;

/// Tests under way, and the ends of those that commands do not know yet.
#[derive(Debug, Default)]
pub(super) struct RelayTests {
    reading: BTreeMap<u64, Reading>,
    under_way: BTreeMap<ConnectionId, UnderWay>,
    ended: Vec<(u64, Result<Event, CommandError>)>,
}

/// The address is being read.
#[derive(Debug)]
struct Reading {
    link: String,
    deadline: Timestamp,
}

/// The relay's answer is awaited.
#[derive(Debug)]
struct UnderWay {
    request: u64,
    link: String,
    relay: String,
    sent: RelayTest,
    key: Ed25519PublicKey,
    deadline: Timestamp,
}

impl RelayTests {
    /// When the next test is too late.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let reading = self.reading.values().map(|reading| reading.deadline);
        reading.chain(self.under_way.values().map(|test| test.deadline)).min()
    }

    /// Takes what has come out, by request.
    pub(super) fn take_ended(&mut self) -> Vec<(u64, Result<Event, CommandError>)> {
        std::mem::take(&mut self.ended)
    }
}

impl Step<'_, '_> {
    /// Begins a test.
    pub(super) fn test_relay(&mut self, request: u64, link: &str, timeout_ms: u64) -> Done<()> {
        let address = query::parse_link(link, LinkType::Relay)?;
        self.own_server()?;
        let timeout_ms = i64::try_from(timeout_ms).unwrap_or(i64::MAX).min(RELAY_TEST_MS_MAX);
        let deadline = self.now().plus_ms(timeout_ms);
        self.tests.reading.insert(request, Reading { link: link.to_owned(), deadline });
        self.read_link(&Tag::Test { request }, address);
        Ok(())
    }

    /// The address was read: the relay is asked to prove itself.
    pub(super) fn tested_address_read(
        &mut self,
        request: u64,
        result: Result<OpenedLink, ReadLinkError>,
    ) -> Done<()> {
        let Some(reading) = self.tests.reading.remove(&request) else { return Ok(()) };
        match self.challenge_relay(request, reading, result) {
            Err(Stop::Refused(error)) => {
                self.tests.ended.push((request, Err(error)));
                Ok(())
            }
            done => done,
        }
    }

    fn challenge_relay(
        &mut self,
        request: u64,
        reading: Reading,
        result: Result<OpenedLink, ReadLinkError>,
    ) -> Done<()> {
        let opened = result.map_err(|error| {
            let kind = match &error {
                ReadLinkError::Call(error) => call_error_kind(error),
                _ => ExitCode::WrongLink,
            };
            CommandError::new(kind, chain(&error))
        })?;
        let address = OpenedRelayAddress::read(&opened)
            .map_err(|problem| CommandError::new(ExitCode::WrongLink, problem))?;
        let sent = challenge(self.context.rng());
        let info = Message::new(None, Said::RelayTest(sent.clone())).to_json();
        let connection = self
            .request(&opened.request, &info)?
            .map_err(|reason| CommandError::new(ExitCode::WrongLink, reason))?;
        let Reading { link, deadline } = reading;
        let relay = address.profile.display_name.to_string();
        let test = UnderWay { request, link, relay, sent, key: address.key, deadline };
        self.tests.under_way.insert(connection, test);
        Ok(())
    }

    /// Something came over a connection that was made for a test. Whether it was.
    pub(super) fn test_event(&mut self, connection: ConnectionId, event: &AgentEvent) -> Done<bool> {
        if !self.tests.under_way.contains_key(&connection) {
            return Ok(false);
        }
        let result = match event {
            AgentEvent::Confirmation { info } => self.tests.judge(connection, info),
            AgentEvent::Failed { reason } => Err(CommandError::new(ExitCode::Unreachable, reason)),
            _ => return Ok(true),
        };
        self.end_test(connection, result).map(|()| true)
    }

    /// Relays that have not answered in time have failed.
    pub(super) fn end_late_tests(&mut self) -> Done<()> {
        let now = self.now();
        for (request, _) in self.tests.reading.extract_if(.., |_, reading| reading.deadline <= now) {
            let text = "The server of the relay's address does not answer";
            self.tests.ended.push((request, Err(CommandError::new(ExitCode::Unreachable, text))));
        }
        let under_way = self.tests.under_way.iter();
        let late: Vec<_> =
            under_way.filter(|(_, test)| test.deadline <= now).map(|(connection, _)| *connection).collect();
        for connection in late {
            let text = "The relay's address can be read, but the relay does not answer";
            let error = CommandError::new(ExitCode::Unreachable, text)
                .hint("Ask its operator whether it runs, and try again.");
            self.end_test(connection, Err(error))?;
        }
        Ok(())
    }

    fn end_test(&mut self, connection: ConnectionId, result: Result<Event, CommandError>) -> Done<()> {
        if let Some(test) = self.tests.under_way.remove(&connection) {
            self.tests.ended.push((test.request, result));
        }
        self.end_connection(connection, false)
    }

    /// Deletes connections that belong to no group: what a test left that was cut short.
    pub(super) fn delete_stray_connections(&mut self) -> Done<()> {
        let mut after = None;
        loop {
            let page = self.store.queues_after(after, QUEUES_PER_PAGE)?;
            let Some((last, _, queue)) = page.last() else { return Ok(()) };
            after = Some((*last, *queue));
            for (connection, _, _) in page {
                let of_group = self.store.group_of_link(connection)?.is_some()
                    || self.store.relay_of_connection(connection)?.is_some();
                if !of_group {
                    self.end_connection(connection, true)?;
                }
            }
        }
    }
}

impl RelayTests {
    /// What a relay's answer proves.
    fn judge(&self, connection: ConnectionId, info: &[u8]) -> Result<Event, CommandError> {
        let failed = |problem: &str| CommandError::new(ExitCode::RelayRefused, problem);
        let Some(test) = self.under_way.get(&connection) else { return Err(failed("the test is over")) };
        let message = Statement::parse(info).ok().and_then(|statement| statement.message().ok());
        let Some(Said::RelayTest(answer)) = message.map(|message| message.event) else {
            return Err(failed("What the relay answered is no answer to a test"));
        };
        check(&test.sent, &answer, &test.key)
            .map_err(|problem| CommandError::new(ExitCode::RelayRefused, problem))?;
        let detail = format!("relay \"{}\" answers and holds the key of its address", test.relay);
        Ok(Event::Check { name: test.link.clone(), ok: true, detail })
    }
}
