//! One step of the engine: everything that happens within one transaction, with what it wants told afterwards.

use std::error::Error;

use protocol::agent::connection_request::ConnectionRequest;
use protocol::agent::error::AgentError;
use protocol::agent::store::ConnectionId;
use protocol::agent::{Agent, Body, Outcome};
use protocol::group::event::{Event as Said, Message};
use protocol::group::identity::MemberRole;
use protocol::group::profile::{GroupType, Profile};
use protocol::net::engine::{Context, Fatal, LinkTag};
use protocol::smp::address::ServerAddressWithAuth;
use protocol::smp::short_link::ShortLink;
use protocol::timestamp::Timestamp;

use super::aside::Asides;
use super::relay_test::RelayTests;
use super::tag::Tag;
use crate::error::CommandError;
use crate::event::{Event, EvidenceKind};
use crate::exit_code::ExitCode;
use crate::rows;
use crate::store::evidence::Evidence;
use crate::store::group::{Group, GroupId};
use crate::store::relay::RelayRow;
use crate::store::{Store, StoreError};

/// Evidence is kept whole up to this size: no message is longer.
const EVIDENCE_BYTES_MAX: usize = 16_384;

/// Why a step ends early.
#[derive(Debug)]
pub(super) enum Stop {
    /// The store or an invariant: the engine stops.
    Fatal(Fatal),
    /// The person asked for something that cannot be: the command fails, the engine goes on.
    Refused(CommandError),
}

/// What a step gives.
pub(super) type Done<T> = Result<T, Stop>;

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Fatal(Box::new(error))
    }
}

impl From<Fatal> for Stop {
    fn from(error: Fatal) -> Self {
        Self::Fatal(error)
    }
}

impl From<CommandError> for Stop {
    fn from(error: CommandError) -> Self {
        Self::Refused(error)
    }
}

impl Stop {
    /// The command may not do this.
    pub(super) fn refuse(kind: ExitCode, message: impl std::fmt::Display) -> Self {
        Self::Refused(CommandError::new(kind, message))
    }
}

/// The store, the network and the tidings of one step.
pub(super) struct Step<'a, 'c> {
    pub(super) store: &'a mut Store,
    pub(super) context: &'a mut Context<'c>,
    pub(super) tidings: &'a mut Vec<Event>,
    pub(super) tests: &'a mut RelayTests,
    pub(super) asides: &'a mut Asides,
    /// Whether somebody follows, so that new messages count as shown.
    pub(super) followed: &'a dyn Fn(&str) -> bool,
}

impl Step<'_, '_> {
    /// Does `act` within the step, all of it or nothing.
    pub(super) fn attempt<T>(&mut self, act: impl FnOnce(&mut Step<'_, '_>) -> Done<T>) -> Done<T> {
        let (context, tidings, followed) = (&mut *self.context, &mut *self.tidings, self.followed);
        let (tests, asides) = (&mut *self.tests, &mut *self.asides);
        self.store.attempt(|store| act(&mut Step { store, context, tidings, tests, asides, followed }))
    }

    /// When this step happens.
    pub(super) fn now(&self) -> Timestamp {
        self.context.now()
    }

    /// Has something told after the commit.
    pub(super) fn tell(&mut self, event: Event) {
        self.tidings.push(event);
    }

    /// Asks the agent; what it refuses for the connection's state is given back, everything else is fatal.
    pub(super) fn ask_agent<T>(
        &mut self,
        ask: impl FnOnce(&mut Agent<'_, Store>) -> Outcome<T, Store>,
    ) -> Done<Result<T, AgentError<StoreError>>> {
        let mut agent = self.context.agent(self.store);
        match ask(&mut agent) {
            Err(error @ (AgentError::Store(_) | AgentError::Record(_) | AgentError::NoBody)) => {
                Err(Stop::Fatal(Box::new(error)))
            }
            result => Ok(result),
        }
    }

    /// Sends a container to one relay; gives the message's number, or nothing when the connection takes none now.
    pub(super) fn send_to(
        &mut self,
        connection: ConnectionId,
        body: Body<'_>,
        notify: bool,
    ) -> Done<Option<i64>> {
        match self.ask_agent(|agent| agent.send(connection, body, notify))? {
            Ok(number) => Ok(Some(number)),
            Err(AgentError::TooLarge { bytes, bytes_max }) => Err(too_large(bytes, bytes_max)),
            Err(_) => Ok(None),
        }
    }

    /// Says something to one relay alone, unsigned.
    pub(super) fn say_to(&mut self, connection: ConnectionId, event: Said) -> Done<()> {
        let json = Message::new(None, event).to_json();
        self.send_to(connection, Body::Inline(&json), false).map(drop)
    }

    /// Ends a connection; unknown ones are gone already.
    pub(super) fn end_connection(&mut self, connection: ConnectionId, after_pending_sends: bool) -> Done<()> {
        if !after_pending_sends {
            self.store.end_deliveries_of(connection)?;
        }
        // What it refuses is to delete what is not there.
        let _ = self.ask_agent(|agent| agent.delete(connection, after_pending_sends))?;
        Ok(())
    }

    /// Asks for a connection at an address; our queue will be on the first kept server.
    pub(super) fn request(
        &mut self,
        to: &ConnectionRequest,
        info: &[u8],
    ) -> Done<Result<ConnectionId, String>> {
        let server = self.own_server()?;
        let asked = self.ask_agent(|agent| agent.request(to, &server, info))?;
        Ok(asked.map_err(|error| chain(&error)))
    }

    /// Reads a link; the answer comes as `on_link` with this tag.
    pub(super) fn read_link(&mut self, tag: &Tag, link: ShortLink) {
        self.context.read_link(LinkTag(tag.to_bytes()), link);
    }

    /// The server for new queues.
    pub(super) fn own_server(&self) -> Done<ServerAddressWithAuth> {
        let servers = self.store.servers()?;
        servers.into_iter().next().ok_or_else(|| {
            CommandError::new(ExitCode::NotFound, "No queue server is kept")
                .hint("Keep one with `conclave server add ADDRESS`.")
                .into()
        })
    }

    /// `server` with the password under which it is kept, if it is.
    pub(super) fn known_server(&self, server: ServerAddressWithAuth) -> Done<ServerAddressWithAuth> {
        let kept = self.store.servers()?.into_iter().find(|kept| kept.server == server.server);
        Ok(kept.unwrap_or(server))
    }

    /// What others see of us.
    pub(super) fn own_profile(&self) -> Done<Profile> {
        let name = self.store.own_name()?.ok_or(StoreError::Missing)?;
        Ok(Profile::named(name))
    }

    /// Tells how a relay stands now.
    pub(super) fn tell_relay(&mut self, relay: &RelayRow) -> Done<()> {
        let group = self.store.group(relay.group)?;
        self.tell(Event::GroupRelay(rows::relay_row(&group.alias, relay)));
        Ok(())
    }

    /// Stores a relay and tells how it stands now.
    pub(super) fn save_relay(&mut self, relay: &RelayRow) -> Done<()> {
        self.store.save_relay(relay)?;
        self.tell_relay(relay)
    }

    /// Keeps something against a relay and tells of it.
    pub(super) fn accuse(
        &mut self,
        relay: &RelayRow,
        kind: EvidenceKind,
        id: Option<String>,
        detail: &str,
        bytes: &[u8],
    ) -> Done<()> {
        let group = self.store.group(relay.group)?;
        let kept = bytes.get(..EVIDENCE_BYTES_MAX).unwrap_or(bytes).to_vec();
        let evidence = Evidence {
            kind,
            relay: relay.record.name.clone(),
            message_id: id,
            detail: detail.to_owned(),
            bytes: kept,
        };
        self.hold_against(relay.group, group.alias, evidence)
    }

    /// Keeps evidence, and tells of it if it is new.
    pub(super) fn hold_against(&mut self, group: GroupId, alias: String, evidence: Evidence) -> Done<()> {
        let now = self.now();
        if self.store.keep_evidence(group, now, &evidence)? {
            let Evidence { kind, relay, message_id, detail, .. } = evidence;
            self.tell(Event::Evidence { group: alias, message_id, relay, kind, detail });
        }
        Ok(())
    }

    /// Tells of something that no command waits for.
    pub(super) fn warn(&mut self, group: Option<GroupId>, text: impl Into<String>) -> Done<()> {
        let group = group.map(|group| self.store.group(group)).transpose()?.map(|group| group.alias);
        self.tell(Event::Warning { group, text: text.into() });
        Ok(())
    }
}

/// The role of those who are on no roster.
pub(super) fn default_role(group: &Group) -> MemberRole {
    match group.profile.public_group.as_ref().map(|public| public.group_type) {
        Some(GroupType::Group) => MemberRole::Member,
        _ => MemberRole::Observer,
    }
}

/// An error with all its causes, for people.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// A message that does not fit.
pub(super) fn too_large(bytes: usize, bytes_max: usize) -> Stop {
    CommandError::new(ExitCode::Usage, format_args!("The message takes {bytes} bytes; {bytes_max} fit"))
        .hint("Send it in several parts.")
        .into()
}
