//! What relays ask an owner for: all that was said here, page by page, as its authors signed it.

use protocol::agent::Body;
use protocol::group::constants::HISTORY_PAGE_ITEMS_MAX;
use protocol::group::event::history::{HistoryGet, HistoryPosition};
use protocol::group::event::members::{MemberInfo, MemberNew};
use protocol::group::event::{Event as Said, Message};
use protocol::group::forward::{ForwardSender, forward};
use protocol::group::history_answer::{Item, bodies};
use protocol::group::identity::{MemberId, MemberRole};
use protocol::group::profile::Profile;
use protocol::group::signed::Statement;

use super::step::{Done, Step, default_role};
use crate::event::Signature;
use crate::store::copy::SaidRow;
use crate::store::group::{Group, GroupId};
use crate::store::member::Member;
use crate::store::relay::RelayRow;

impl Step<'_, '_> {
    /// A relay asks for a page. It goes behind what we have said: that the relay has by then.
    pub(super) fn give_history(&mut self, relay: &RelayRow, group: &Group, get: &HistoryGet) -> Done<()> {
        let Some(connection) = self.in_turn(relay)? else { return Ok(()) };
        // A position that we never gave stands at the end.
        let before = get.before.as_ref().map(|before| before.as_str().parse().unwrap_or(0));
        let after = get.after.as_ref().and_then(|after| after.as_str().parse().ok());
        let limit = get.limit.clamp(1, HISTORY_PAGE_ITEMS_MAX);
        let said = self.store.said_between(relay.group, before, after, limit)?;
        let oldest = said.last().filter(|_| said.len() >= limit as usize);
        let next = oldest.and_then(|oldest| position(oldest).ok());
        let mut items = Vec::new();
        for said in &said {
            items.extend(self.item(relay.group, group, said)?);
        }
        for body in bodies(get.before.as_ref(), items, next.as_ref()) {
            if self.send_to(connection, Body::Inline(&body), false)?.is_none() {
                break;
            }
        }
        protocol::crash_point!("client.history.given");
        Ok(())
    }

    /// What was said, if its author is proven, and it still stands or is our own. What waits to be sent comes by itself.
    fn item(&self, id: GroupId, group: &Group, said: &SaidRow) -> Done<Option<Item>> {
        let (Some(author), Signature::Verified | Signature::Own) = (&said.copy.author, said.copy.signature)
        else {
            return Ok(None);
        };
        let (Ok(statement), Ok(position)) = (Statement::parse(&said.copy.verbatim), position(said)) else {
            return Ok(None);
        };
        let Ok(Message { event, .. }) = statement.message() else { return Ok(None) };
        if *author == group.member_id && self.store.waits(id, &said.shared_id)? {
            return Ok(None);
        }
        let is_given = match &event {
            Said::MessageNew(_) => {
                self.store.message(id, &said.shared_id)?.is_some_and(|post| !post.record.deleted)
            }
            Said::MessageUpdate(update) => self
                .store
                .message(id, &update.msg_id)?
                .is_some_and(|post| !post.record.deleted && post.author.as_ref() == Some(author)),
            event => *author == group.member_id && event.is_chained(),
        };
        if !is_given {
            return Ok(None);
        }
        let known = self.store.member(id, author)?;
        let name = known.as_ref().map_or_else(|| author.stand_in_name(), |known| known.name(author));
        let introduction = known
            .filter(|known| known.role < MemberRole::Owner)
            .map(|known| introduction(group, author, &known));
        let sender = ForwardSender::Member { id: author.clone(), name };
        let forward = forward(&sender, said.sent_at, &statement);
        Ok(Some(Item { position, author: author.clone(), introduction, forward }))
    }
}

fn position(said: &SaidRow) -> Result<HistoryPosition, protocol::encoding::DecodeError> {
    HistoryPosition::new(said.came.to_string())
}

/// A member's name and key, for relays that have not met it.
pub(super) fn introduction(group: &Group, id: &MemberId, member: &Member) -> Vec<u8> {
    let member_info = MemberInfo {
        member_id: id.clone(),
        member_role: default_role(group),
        v: None,
        profile: Profile::named(member.name(id)),
        member_key: member.key,
    };
    Message::new(None, Said::MemberNew(Box::new(MemberNew { member_info, scope: None }))).to_json()
}
