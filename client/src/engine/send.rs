//! Own events: signed, stored, handed to every relay that is connected, and followed until its server has them.
//!
//! ```text
//! post ──▶ outbox ──▶ a delivery per connected relay ──Sent──▶ durable: done for the author
//!            ▲                      │
//!            └── no relay, or all given up: waits for the next relay
//! ```

use protocol::agent::Body;
use protocol::agent::event::SendFailure;
use protocol::agent::store::{AgentStore as _, ConnectionId};
use protocol::group::bulk::asking::AskingEvent;
use protocol::group::constants::STATEMENT_BYTES_MAX;
use protocol::group::event::content::{Content, MessageNew, MessageReference, Quote};
use protocol::group::event::{Event as Said, Message};
use protocol::group::msg_id::SharedMessageId;
use protocol::group::permissions::Actor;
use protocol::group::signed;
use protocol::group::signing::Signing;

use super::bulk::ahead;
use super::step::{Done, Step, Stop, too_large};
use crate::error::CommandError;
use crate::event::{DeliveryState, Event, Signature};
use crate::exit_code::ExitCode;
use crate::query;
use crate::rows;
use crate::store::copy::{HeldCopy, OURSELVES};
use crate::store::group::{Group, GroupId, GroupStatus};
use crate::store::message;
use crate::store::outbox::{EndedDelivery, OutboxId};
use crate::store::relay::RelayRow;

impl Step<'_, '_> {
    /// Posts one message and gives its id.
    pub(super) fn post(&mut self, id: GroupId, text: &str, reply_to: Option<&str>) -> Done<SharedMessageId> {
        let group = self.store.group(id)?;
        let mut new = MessageNew::new(Content::text(text));
        let answered = reply_to.map(|wanted| query::find_message(self.store, id, wanted)).transpose()?;
        if let Some(answered) = &answered {
            new.quote = Some(Quote {
                msg_ref: MessageReference {
                    msg_id: Some(answered.shared_id.clone()),
                    sent_at: rows::iso(answered.sent_at),
                    sent: answered.record.own,
                    member_id: answered.author.clone(),
                },
                content: Content::text(&answered.record.text),
            });
        }
        let shared_id = self.send_event(id, &group, Said::MessageNew(Box::new(new)))?;
        let record = message::Message {
            text: text.to_owned(),
            signature: Signature::Own,
            own: true,
            edited: false,
            deleted: false,
            reply_to: answered.map(|answered| answered.shared_id),
            delivered: false,
        };
        let now = self.now();
        let place = message::Place { shown: true, ..Default::default() };
        self.store.add_message(id, &shared_id, Some(&group.member_id), now, place, &record)?;
        if let Some(row) = self.store.message(id, &shared_id)? {
            let row = rows::message_row(self.store, id, &group, &row)?;
            self.tell(Event::Message(row));
        }
        protocol::crash_point!("client.send.stored");
        Ok(shared_id)
    }

    /// Sends an event of ours to all connected relays, signed unless it never is, after checking that we may.
    pub(super) fn send_event(&mut self, id: GroupId, group: &Group, event: Said) -> Done<SharedMessageId> {
        self.check_may(id, group, &event)?;
        self.send_unchecked(id, group, event, |_| true)
    }

    /// The same to chosen relays, without asking.
    pub(super) fn send_unchecked(
        &mut self,
        id: GroupId,
        group: &Group,
        event: Said,
        to: impl Fn(&RelayRow) -> bool,
    ) -> Done<SharedMessageId> {
        let signing = event.tag().signing();
        let shared_id = SharedMessageId::generate(self.context.rng());
        let message = self.chain(id, Message::new(Some(shared_id.clone()), event))?;
        let json = message.to_json();
        let element = match signing {
            Signing::Never => json,
            Signing::Must | Signing::May => {
                signed::sign(&group.key.key(), &group.public_id, &group.member_id, &json)
            }
        };
        if element.len() > STATEMENT_BYTES_MAX {
            return Err(too_large(element.len(), STATEMENT_BYTES_MAX));
        }
        if message.chain.is_some() {
            self.has_said(id, group, &element)?;
        }
        // A copy that comes back must be this one.
        let copy = HeldCopy {
            author: Some(group.member_id.clone()),
            signature: Signature::Own,
            verbatim: element.clone(),
        };
        self.store.hold_copy(id, &shared_id, OURSELVES, self.context.now(), &copy)?;
        // What was said before goes before.
        let is_next = self.flush_outbox_to(id, |_| true)?;
        let item = self.store.push_outbox(id, &shared_id, &element)?;
        if is_next {
            self.deliver(id, item, &element, to)?;
        }
        Ok(shared_id)
    }

    /// Hands what waits to the relays that are connected now.
    pub(super) fn flush_outbox(&mut self, id: GroupId) -> Done<()> {
        self.flush_outbox_to(id, |_| true).map(drop)
    }

    /// The same to chosen relays, in order. Says whether nothing waits any more.
    fn flush_outbox_to(&mut self, id: GroupId, to: impl Fn(&RelayRow) -> bool) -> Done<bool> {
        while let Some(item) = self.store.first_waiting(id)? {
            if !self.deliver(id, item.id, &item.container, &to)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The connection to a relay for what is said in turn.
    pub(super) fn in_turn(&self, relay: &RelayRow) -> Done<Option<ConnectionId>> {
        Ok(self.store.bulk(relay.id)?.in_use().or(relay.connection))
    }

    /// A relay's server has an event of ours.
    pub(super) fn sent(&mut self, connection: ConnectionId, number: i64) -> Done<()> {
        let Some(ended) = self.store.end_delivery(connection, number, true)? else { return Ok(()) };
        if ended.first
            && let Some(mut message) = self.store.message(ended.group, &ended.shared_id)?
        {
            message.record.delivered = true;
            self.store.save_message(message.row, &message.record)?;
        }
        protocol::crash_point!("client.send.durable");
        self.tell_delivery(&ended, DeliveryState::Durable, None)
    }

    /// The agent has given up an event of ours at one relay.
    pub(super) fn send_failed(
        &mut self,
        connection: ConnectionId,
        number: i64,
        reason: SendFailure,
    ) -> Done<()> {
        let Some(ended) = self.store.end_delivery(connection, number, false)? else { return Ok(()) };
        if !ended.is_over {
            return Ok(());
        }
        self.tell_delivery(&ended, DeliveryState::Failed, Some(reason.to_string()))?;
        // Who refuses it would refuse it again.
        let is_refused = matches!(reason, SendFailure::Refused | SendFailure::NoQueue);
        self.flush_outbox_to(ended.group, |relay| !is_refused || relay.id != ended.relay).map(drop)
    }

    /// Whether our own role and the group's state allow an event of ours.
    pub(super) fn check_may(&self, id: GroupId, group: &Group, event: &Said) -> Done<()> {
        match group.status {
            GroupStatus::Deleted => {
                return Err(Stop::refuse(ExitCode::GroupDeleted, "The owner has ended this group"));
            }
            GroupStatus::Left => return Err(Stop::refuse(ExitCode::NotAllowed, "You have left this group")),
            GroupStatus::Removed => {
                return Err(Stop::refuse(ExitCode::NotAllowed, "You were removed from this group"));
            }
            GroupStatus::Refused => {
                return Err(Stop::refuse(
                    ExitCode::JoinRefused,
                    "The relays refused to let you into this group",
                ));
            }
            GroupStatus::Creating | GroupStatus::Joining | GroupStatus::Active => {}
        }
        let blocked = self.store.member(id, &group.member_id)?.is_some_and(|me| me.blocked);
        let actor = Actor { role: group.role, blocked };
        self.judge(id, group, &group.member_id, actor, event)?.map_err(|reason| {
            Stop::refuse(ExitCode::NotAllowed, format_args!("This is not allowed: {reason}"))
        })
    }

    /// Hands an event to chosen relays that are connected. Says whether one of their connections takes it.
    fn deliver(
        &mut self,
        id: GroupId,
        item: OutboxId,
        element: &[u8],
        to: impl Fn(&RelayRow) -> bool,
    ) -> Done<bool> {
        let relays = self.store.relays(id)?;
        let mut targets = Vec::new();
        for relay in relays.into_iter().filter(|relay| relay.record.connected && to(relay)) {
            let second = self.store.bulk(relay.id)?.in_use();
            targets.extend(relay.connection.map(|first| (relay, first, second)));
        }
        let goes_ahead = self.goes_ahead(id, element)?;
        // One stored body serves all; it lives as long as a job names it.
        let shared = if targets.len() > 1 { Some(self.store.put_body(element)?) } else { None };
        let body = shared.map_or(Body::Inline(element), Body::Shared);
        let mut is_taken = false;
        for (relay, first, second) in &targets {
            let in_turn = second.unwrap_or(*first);
            if let Some(number) = self.send_to(in_turn, body, true)? {
                self.store.add_delivery(item, relay.id, in_turn, number)?;
                is_taken = true;
            }
            match second {
                None => self.bulk_happened(relay.id, AskingEvent::Said)?,
                Some(_) if !goes_ahead => {}
                Some(_) => {
                    if let Some(ahead) = ahead(element)
                        && let Some(number) = self.send_to(*first, Body::Inline(&ahead), true)?
                    {
                        self.store.add_delivery(item, relay.id, *first, number)?;
                        is_taken = true;
                    }
                }
            }
        }
        if let (false, Some(shared)) = (is_taken, shared) {
            self.store.drop_unused_body(shared)?;
        }
        Ok(is_taken)
    }

    fn tell_delivery(
        &mut self,
        ended: &EndedDelivery,
        state: DeliveryState,
        reason: Option<String>,
    ) -> Done<()> {
        let group = self.store.group(ended.group)?.alias;
        let relay = self.store.relay(ended.relay)?.map(|relay| relay.record.name).unwrap_or_default();
        let message_id = ended.shared_id.to_string();
        self.tell(Event::Delivery { group, message_id, relay, state, reason });
        Ok(())
    }
}

/// What cannot be changed any more.
pub(super) fn expired(what: &str) -> Stop {
    CommandError::new(ExitCode::MessageExpired, format_args!("The time for {what} this message has passed"))
        .into()
}
