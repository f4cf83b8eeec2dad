//! The second connection to a relay: what the pure machine of [`asking`](protocol::group::bulk::asking) decides is done
//! here, in the transaction that stores it. Also what came ahead of it.

use protocol::agent::event::{Event as AgentEvent, SendFailure, SyncState};
use protocol::agent::signed_link_data::OpenedLink;
use protocol::agent::store::ConnectionId;
use protocol::group::batch::pack;
use protocol::group::bulk::asking::{AskingEffect, AskingEvent, AskingStage};
use protocol::group::bulk::joining;
use protocol::group::bulk::overtaken::Former;
use protocol::group::event::bulk::{BulkAhead, BulkEnd, BulkJoin, BulkMark};
use protocol::group::event::content::Acknowledge;
use protocol::group::event::{Event as Said, Message};
use protocol::group::identity::MemberId;
use protocol::group::msg_id::SharedMessageId;
use protocol::group::opened::OpenedRelayLink;
use protocol::group::signed::Statement;
use protocol::net::network::ReadLinkError;
use protocol::smp::short_link::ShortLink;

use super::step::{Done, Step, default_role};
use super::tag::Tag;
use crate::store::group::{Group, GroupId};
use crate::store::relay::{RelayId, RelayRow};

impl Step<'_, '_> {
    /// Something happened to the second connection to a relay.
    pub(super) fn bulk_happened(&mut self, id: RelayId, event: AskingEvent) -> Done<()> {
        let Some(relay) = self.store.relay(id)? else { return Ok(()) };
        let mut bulk = self.store.bulk(id)?;
        let before = bulk.record.asking;
        let (next, effects) = before.apply(event);
        if next == before && effects.is_empty() {
            return Ok(());
        }
        bulk.record.asking = next;
        bulk.due_at_ms = next.wait_ms().map(|wait| self.now().plus_ms(wait).0);
        let is_over = |effect: &AskingEffect| matches!(effect, AskingEffect::Close | AskingEffect::SetAside);
        let second = match effects.iter().any(is_over) {
            true => bulk.connection.take(),
            false => bulk.connection,
        };
        self.store.save_bulk(&bulk)?;
        for effect in effects {
            match effect {
                AskingEffect::ReadLink => {
                    if let Some(Ok(link)) = relay.record.link.as_deref().map(str::parse::<ShortLink>) {
                        self.read_link(&Tag::Bulk { relay: id.0 }, link);
                    }
                }
                AskingEffect::Allow => {
                    let info = Message::new(None, Said::Acknowledge(Acknowledge {})).to_json();
                    if let Some(second) = second {
                        // Refused only when it was allowed before.
                        let _ = self.ask_agent(|agent| agent.allow(second, &info))?;
                    }
                }
                AskingEffect::SayReady => {
                    self.say_on_first(&relay, Said::BulkReady(BulkMark { number: next.number }))?;
                    protocol::crash_point!("client.bulk.ready");
                }
                AskingEffect::Close => {
                    if let Some(second) = second {
                        self.end_connection(second, false)?;
                    }
                    self.flush_outbox(relay.group)?;
                }
                AskingEffect::SetAside => {
                    if let Some(second) = second {
                        self.set_aside(&relay, second)?;
                    }
                    self.flush_outbox(relay.group)?;
                }
                AskingEffect::SayEnd => {
                    self.say_on_first(&relay, Said::BulkEnd(BulkEnd { number: Some(next.number) }))?;
                }
            }
        }
        if next.stage == AskingStage::Double {
            protocol::crash_point!("client.bulk.double");
        }
        Ok(())
    }

    /// Asks for a second connection, if the first stands and the relay takes one.
    pub(super) fn want_second(&mut self, relay: &RelayRow) -> Done<()> {
        if relay.record.connected && relay.record.takes_two {
            self.bulk_happened(relay.id, AskingEvent::Offered)?;
        }
        Ok(())
    }

    /// The first connection is over. Whoever calls this closes the second one, too, if it gives one.
    pub(super) fn first_gone(&mut self, id: RelayId) -> Done<Option<ConnectionId>> {
        let mut bulk = self.store.bulk(id)?;
        let second = bulk.connection.take();
        if second.is_none() && bulk.record.asking.stage == AskingStage::Off {
            return Ok(None);
        }
        bulk.record.asking = bulk.record.asking.apply(AskingEvent::FirstGone).0;
        bulk.record.overtaken = Default::default();
        bulk.due_at_ms = None;
        self.store.save_bulk(&bulk)?;
        Ok(second)
    }

    /// The relay's link was read to ask for a second connection.
    pub(super) fn bulk_link_read(
        &mut self,
        id: RelayId,
        result: Result<OpenedLink, ReadLinkError>,
    ) -> Done<()> {
        let Some(relay) = self.store.relay(id)? else { return Ok(()) };
        let mut bulk = self.store.bulk(id)?;
        if bulk.record.asking.stage != AskingStage::Wanted {
            return Ok(());
        }
        // What does not work now is tried again when it is due; the first connection serves meanwhile.
        let Ok(opened) = result else { return Ok(()) };
        let Ok(checked) = OpenedRelayLink::read(&opened) else { return Ok(()) };
        let is_same = relay.record.member_id.as_ref() == Some(&checked.member_id)
            && relay.record.key.as_ref() == Some(&checked.key);
        if !is_same {
            return Ok(());
        }
        let group = self.store.group(relay.group)?;
        // Above all before, also above those that a backup does not know.
        let number = bulk.record.asking.number.saturating_add(1).max(self.now().0);
        let join = BulkJoin { member_id: group.member_id.clone(), via_relay: checked.member_id, number };
        let info = joining::request(&group.key.key(), &group.public_id, join);
        let Ok(connection) = self.request(&opened.request, &info)? else { return Ok(()) };
        self.store.add_relay_connection(id, connection)?;
        bulk.connection = Some(connection);
        bulk.record.asking.number = number;
        self.store.save_bulk(&bulk)?;
        self.bulk_happened(id, AskingEvent::Requested)?;
        protocol::crash_point!("client.bulk.asked");
        Ok(())
    }

    /// The agent tells of the second connection to a relay.
    pub(super) fn bulk_event(
        &mut self,
        relay: &RelayRow,
        connection: ConnectionId,
        event: AgentEvent,
    ) -> Done<()> {
        match event {
            AgentEvent::Confirmation { info } => {
                let said = Statement::parse(&info).ok().and_then(|said| said.message().ok());
                let accepted = said.is_some_and(|said| matches!(said.event, Said::Acknowledge(_)));
                let answer = if accepted { AskingEvent::Accepted } else { AskingEvent::Refused };
                self.bulk_happened(relay.id, answer)
            }
            AgentEvent::Connected => self.bulk_happened(relay.id, AskingEvent::Connected),
            AgentEvent::Message { server_time, body, .. } => self.receive(connection, server_time, &body),
            AgentEvent::Failed { .. } => {
                self.bulk_happened(relay.id, AskingEvent::Gone)?;
                // Nothing is heard on it.
                self.end_connection(connection, false)
            }
            AgentEvent::RatchetSync(SyncState::Ok) | AgentEvent::QuotaResumed => {
                self.flush_outbox(relay.group)
            }
            AgentEvent::RatchetSync(SyncState::Required | SyncState::Allowed) => {
                // Refused only while it is under way already.
                let _ = self.ask_agent(|agent| agent.resync(connection))?;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A message was not taken. When the queue of a second connection is gone, what is said goes by the first.
    pub(super) fn bulk_refused(&mut self, connection: ConnectionId, reason: SendFailure) -> Done<()> {
        if reason != SendFailure::NoQueue {
            return Ok(());
        }
        let Some(relay) = self.store.relay_of_connection(connection)? else { return Ok(()) };
        if self.store.bulk(relay.id)?.connection == Some(connection) {
            self.bulk_happened(relay.id, AskingEvent::Gone)?;
        }
        Ok(())
    }

    /// The relay says something about the second connection.
    pub(super) fn bulk_said(&mut self, relay: &RelayRow, said: &Said) -> Done<()> {
        let number = self.store.bulk(relay.id)?.record.asking.number;
        let event = match said {
            Said::BulkBegin(mark) if mark.number == number => AskingEvent::Begin,
            Said::BulkGo(mark) if mark.number == number => AskingEvent::Go,
            Said::BulkEnd(end) if end.ends(number) => AskingEvent::Ended,
            _ => return Ok(()),
        };
        self.bulk_happened(relay.id, event)
    }

    /// A copy of a change came ahead of its turn and is about to count: how its subject stood until then is kept.
    pub(super) fn overtakes(
        &mut self,
        relay: &RelayRow,
        group: &Group,
        change: &SharedMessageId,
        about: &MemberId,
        event: &Said,
    ) -> Done<()> {
        let known = self.store.member(relay.group, about)?;
        let erases = matches!(event, Said::MemberDelete(delete) if delete.messages);
        let mut bulk = self.store.bulk(relay.id)?;
        bulk.record.overtaken.note(Former {
            change: change.clone(),
            member: about.clone(),
            role: known.as_ref().map_or_else(|| default_role(group), |member| member.role),
            blocked: known.is_some_and(|member| member.blocked),
            erases,
            came_ms: self.now().0,
        });
        Ok(self.store.save_bulk(&bulk)?)
    }

    /// A change came in its turn.
    pub(super) fn comes_in_turn(&mut self, relay: &RelayRow, change: &SharedMessageId) -> Done<()> {
        let mut bulk = self.store.bulk(relay.id)?;
        let Some(former) = bulk.record.overtaken.arrived(change) else { return Ok(()) };
        self.store.save_bulk(&bulk)?;
        if former.erases { self.delete_messages_of(relay.group, &former.member) } else { Ok(()) }
    }

    /// Whether a statement of ours goes ahead of what else we say.
    pub(super) fn goes_ahead(&self, id: GroupId, element: &[u8]) -> Done<bool> {
        let said = Statement::parse(element).ok().and_then(|said| said.message().ok());
        let Some(said) = said.filter(|said| said.event.tag().goes_ahead()) else { return Ok(false) };
        let relays = self.store.relays(id)?;
        let is_relay =
            |member: &MemberId| relays.iter().any(|relay| relay.record.member_id.as_ref() == Some(member));
        Ok(said.event.goes_ahead_about(is_relay).is_some())
    }

    fn say_on_first(&mut self, relay: &RelayRow, event: Said) -> Done<()> {
        relay.connection.map_or(Ok(()), |first| self.say_to(first, event))
    }
}

/// The body of a copy that goes ahead; nothing when it does not fit.
pub(super) fn ahead(element: &[u8]) -> Option<Vec<u8>> {
    let mark = Message::new(None, Said::BulkAhead(BulkAhead {})).to_json();
    let (mut bodies, too_large) = pack([&mark[..], element]);
    if bodies.len() == 1 && too_large.is_empty() { bodies.pop() } else { None }
}
