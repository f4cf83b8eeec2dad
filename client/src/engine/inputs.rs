//! What the network and the clock bring, led to the part that acts on it.

use std::collections::BTreeSet;

use protocol::agent::event::{Event as AgentEvent, Failure, SyncState};
use protocol::agent::signed_link_data::OpenedLink;
use protocol::agent::store::{AgentStore as _, ConnectionId};
use protocol::group::bulk::asking::AskingEvent;
use protocol::group::relay_status::RelayEvent;
use protocol::net::network::ReadLinkError;
use protocol::smp::address::ServerAddress;
use protocol::smp::error::ErrorType;

use super::owner_relays::PACE;
use super::step::{Done, Step};
use super::tag::Tag;
use crate::store::group::GroupId;
use crate::store::relay::{RelayId, Side};

impl Step<'_, '_> {
    /// The engine starts: what was on its way goes on, and every group's link is read again.
    pub(super) fn start(&mut self) -> Done<()> {
        let restored = self.store.is_restored()?;
        if restored {
            self.resync_all()?;
            self.store.forget_own_chains()?;
            self.store.forget_restored()?;
        }
        self.delete_stray_connections()?;
        let now = self.now();
        for group in self.store.groups()? {
            if group.record.status.is_over() {
                continue;
            }
            if group.record.owner.is_none() || restored {
                self.store.change_group(group.id, |group| {
                    group.restore.due_at_ms = Some(now.0);
                    group.restore.tries = 0;
                })?;
            }
            for mut relay in self.store.relays(group.id)? {
                // What was to be read before the program ended is read again at once.
                let is_to_be_read = relay.due_at_ms.is_none() && !relay.record.is_settled();
                if is_to_be_read {
                    relay.due_at_ms = Some(now.0);
                }
                // Whether its queue is refused turns out anew.
                if relay.record.unheard.take().is_some() || is_to_be_read {
                    self.store.save_relay(&relay)?;
                }
                self.invite_again(&relay)?;
            }
            self.flush_outbox(group.id)?;
        }
        self.timer()
    }

    /// Old keys must not be used twice: every connection agrees on new ones. A write of link data that waited when the
    /// copy was made would bring back old data.
    fn resync_all(&mut self) -> Done<()> {
        let mut connections = BTreeSet::new();
        for group in self.store.groups()? {
            let created = group.record.owner.as_ref().is_some_and(|owner| owner.link_created);
            if let (true, Some(link)) = (created, self.store.link_of_group(group.id)?) {
                while let Some((job, _)) = self.store.first_job(link)? {
                    self.store.delete_job(job)?;
                }
                self.forget_write(group.id)?;
            }
            for relay in self.store.relays(group.id)? {
                connections.extend(relay.connection);
                // Its relay may know a later one. It is made anew.
                self.bulk_happened(relay.id, AskingEvent::Gone)?;
            }
        }
        for connection in connections {
            // One that was not established yet has nothing to agree on.
            let _ = self.ask_agent(|agent| agent.restored(connection))?;
        }
        self.warn(None, "this home was restored from a backup: its connections agree on new keys")
    }

    pub(super) fn timer(&mut self) -> Done<()> {
        let now = self.now();
        for mut relay in self.store.relays_due(now.0)? {
            match relay.record.side {
                Side::Owner(life) if life.deadline(&PACE).is_some_and(|deadline| deadline <= now) => {
                    self.relay_event(relay.id, RelayEvent::Timeout)?;
                }
                Side::Owner(_) if relay.record.is_active() && relay.connection.is_none() => {
                    self.connect_again(relay)?;
                }
                Side::Owner(life) => {
                    relay.due_at_ms = life.deadline(&PACE).map(|deadline| deadline.0);
                    self.store.save_relay(&relay)?;
                }
                Side::Member { .. } => self.joining_due(relay)?,
            }
        }
        self.histories_due()?;
        for relay in self.store.bulks_due(now.0)? {
            self.bulk_happened(relay, AskingEvent::Due)?;
        }
        self.end_quiet_asides()?;
        self.end_late_tests()?;
        self.restore_due()
    }

    pub(super) fn link_read(
        &mut self,
        tag: &Tag,
        result: Result<OpenedLink, ReadLinkError>,
    ) -> Done<Option<GroupId>> {
        match tag {
            Tag::Join { link, .. } => self.join_link_read(link, result).map(Some),
            Tag::Test { request } => self.tested_address_read(*request, result).map(|()| None),
            Tag::Group { group } => self.group_link_read(GroupId(*group), result).map(|()| None),
            Tag::Address { relay } => self.address_read(RelayId(*relay), result).map(|()| None),
            Tag::Offered { relay } => self.offered_read(RelayId(*relay), result).map(|()| None),
            Tag::Bulk { relay } => self.bulk_link_read(RelayId(*relay), result).map(|()| None),
            Tag::Relay { relay } => self.relay_link_read(RelayId(*relay), result).map(|()| None),
        }
    }

    pub(super) fn agent_event(&mut self, connection: ConnectionId, event: AgentEvent) -> Done<()> {
        let event = match event {
            // Another connection is made, by which we hear.
            AgentEvent::QueueGone => AgentEvent::Failed { reason: Failure::QueueGone },
            event => event,
        };
        match event {
            AgentEvent::Sent { number } => return self.sent(connection, number),
            AgentEvent::SendFailed { number, reason } => {
                self.bulk_refused(connection, reason)?;
                return self.send_failed(connection, number, reason);
            }
            AgentEvent::Deleted => return self.connection_deleted(connection),
            AgentEvent::Ignored(reason) => {
                tracing::debug!(%reason, connection = connection.0, "ignored");
                return Ok(());
            }
            _ => {}
        }
        if self.test_event(connection, &event)? {
            return Ok(());
        }
        if let Some(group) = self.store.group_of_link(connection)? {
            return self.link_event(group, event);
        }
        let Some(relay) = self.store.relay_of_connection(connection)? else { return Ok(()) };
        if self.store.bulk(relay.id)?.connection == Some(connection) {
            return self.bulk_event(&relay, connection, event);
        }
        if self.store.is_aside(connection)? {
            return self.aside_event(connection, event);
        }
        let invited = matches!(relay.record.side, Side::Owner(_));
        match event {
            AgentEvent::Confirmation { info } if invited => {
                self.invitation_answered(relay, connection, &info)
            }
            AgentEvent::Confirmation { info } => self.request_answered(relay, connection, &info),
            AgentEvent::Connected if invited => self.invited_connected(relay),
            AgentEvent::Connected => self.joined_connected(relay, connection),
            AgentEvent::Message { server_time, body, .. } => self.receive(connection, server_time, &body),
            AgentEvent::Failed { reason } if invited => self.invited_failed(relay, connection, reason),
            AgentEvent::Failed { reason } => self.joined_failed(relay, connection, reason),
            AgentEvent::RatchetSync(SyncState::Ok) => {
                let group = relay.group;
                if invited {
                    // It may have come back from a backup.
                    self.send_rulings_to(&relay)?;
                }
                self.returned(relay)?;
                self.flush_outbox(group)
            }
            AgentEvent::QuotaResumed => self.flush_outbox(relay.group),
            AgentEvent::RatchetSync(SyncState::Required | SyncState::Allowed) => {
                // Refused only while it is under way already.
                let _ = self.ask_agent(|agent| agent.resync(connection))?;
                Ok(())
            }
            AgentEvent::QuotaExceeded => {
                let text = format!(
                    "the queue of relay {} is full or blocked; what you send waits",
                    relay.record.name
                );
                self.warn(Some(relay.group), text)
            }
            // Nothing for us to do; addresses and requests belong to the group link.
            _ => Ok(()),
        }
    }

    /// The server of a connection's own queue does not let us hear it, as when its operator has blocked it, or does again.
    /// It is tried by itself, and what others send waits at their side.
    pub(super) fn queue_refused(
        &mut self,
        connection: ConnectionId,
        server: &ServerAddress,
        error: Option<&ErrorType>,
    ) -> Done<()> {
        let what_to_do = error.map(|error| {
            format!(
                "{} refuses its queue ({error}): it is tried again; ask the server's operator to unblock it",
                server.first_host()
            )
        });
        if let Some(group) = self.store.group_of_link(connection)? {
            return match what_to_do {
                Some(what_to_do) => self.warn(
                    Some(group),
                    format!("nobody can read the group link, so nobody can join: {what_to_do}"),
                ),
                None => self.warn(Some(group), "the group link can be read again"),
            };
        }
        if self.store.is_aside(connection)? {
            return self.aside_refused(connection, error.is_some());
        }
        let Some(mut relay) = self.store.relay_of_connection(connection)? else { return Ok(()) };
        relay.record.unheard =
            what_to_do.map(|what_to_do| format!("nothing is heard of it for now: {what_to_do}"));
        self.save_relay(&relay)
    }

    fn link_event(&mut self, group: GroupId, event: AgentEvent) -> Done<()> {
        match event {
            AgentEvent::AddressCreated => self.link_created(group),
            AgentEvent::LinkDataSet => self.link_written(group),
            AgentEvent::Request { .. } => self.stranger_at_link(group),
            AgentEvent::Failed { reason: Failure::LinkDataRefused } => self.link_refused(group),
            AgentEvent::Failed { reason: Failure::AnswerLost } => self.link_lost(group),
            AgentEvent::Failed { reason: Failure::QueueGone } => self.link_gone(group),
            AgentEvent::Failed { reason } => self.warn(Some(group), format!("the group link: {reason}")),
            _ => Ok(()),
        }
    }

    fn connection_deleted(&mut self, connection: ConnectionId) -> Done<()> {
        if let Some(group) = self.store.group_of_link(connection)? {
            return Ok(self.store.drop_link_of_group(group)?);
        }
        let relay = self.store.relay_of_connection(connection)?;
        self.store.end_deliveries_of(connection)?;
        self.store.drop_relay_connection(connection)?;
        relay.map_or(Ok(()), |relay| self.flush_outbox(relay.group))
    }
}
