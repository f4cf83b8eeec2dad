//! Two connections between a relay and one owner or member, so that control never waits behind bulk (docs/protocol.md
//! §5). The founding document's steps 11* and 15b*.
//!
//! ```text
//!               first connection: joins, introductions, rosters, requests, history, copies that go ahead
//! member, owner ═══════════════════════════════════════════════════════════════════════════════════════ relay
//!               bulk connection: everything that is passed on, in the order in which the relay took it
//! ```
//!
//! The bulk connection carries the whole stream. What must not wait ([`EventTag::goes_ahead`]) is sent on both: the copy
//! on the first connection acts at once, the one on the bulk connection says where it stands among all the rest. So
//! nothing is lost when either is late, and with one connection all is as it was.
//!
//! | order | kept by |
//! |---|---|
//! | of the stream, and of each author's chain | the bulk connection, one queue |
//! | of rosters, and of the changes that follow them | an owner sends a roster on both connections, ahead of the change on each |
//! | a change that goes ahead, and the posts before it | readers judge posts by the author's [former standing](overtaken) until the change comes on the bulk connection |
//! | a removed member gets nothing more | the relay closes both connections |
//! | before and after the second connection is there | `begin` and `ready` on the first one: nothing of bulk goes out between them |
//!
//! [`asking`] is an owner's or member's side, [`serving`] the relay's; [`joining`] is what the relay demands of a request.

pub mod asking;
pub mod joining;
pub mod overtaken;
pub mod serving;

use super::event::{Event, EventTag};
use super::identity::MemberId;

impl EventTag {
    /// Whether a copy of this event goes ahead of bulk: roles, restrictions and removals.
    #[must_use]
    pub const fn goes_ahead(self) -> bool {
        matches!(self, Self::MemberRole | Self::MemberRestrict | Self::MemberDelete)
    }
}

impl Event {
    /// Whose standing a statement that goes ahead changes. Nothing for all others, and for the removal of one of
    /// `relays`: what ends a relay's service stays behind everything that was said before it.
    #[must_use]
    pub fn goes_ahead_about(&self, is_relay: impl FnOnce(&MemberId) -> bool) -> Option<&MemberId> {
        if !self.tag().goes_ahead() {
            return None;
        }
        match self {
            Self::MemberRole(change) => Some(&change.member_id),
            Self::MemberRestrict(restrict) => Some(&restrict.member_id),
            Self::MemberDelete(delete) => Some(&delete.member_id).filter(|member| !is_relay(member)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::event::content::{Content, MessageNew};
    use crate::group::event::members::MemberDelete;

    #[test]
    fn roles_restrictions_and_removals_go_ahead_and_nothing_else() {
        let ahead: Vec<_> = EventTag::ALL.iter().filter(|tag| tag.goes_ahead()).collect();
        assert_eq!(ahead, [&EventTag::MemberRole, &EventTag::MemberRestrict, &EventTag::MemberDelete]);
        assert!(ahead.iter().all(|tag| tag.is_forwardable() && tag.is_chained()));
    }

    #[test]
    fn the_removal_of_a_relay_waits_for_its_turn() {
        let member_id = MemberId::new([1; 12]).unwrap();
        let delete = MemberDelete {
            member_id: member_id.clone(),
            messages: false,
            member_key: None,
            roster_version: None,
        };
        let delete = Event::MemberDelete(delete);
        assert_eq!(delete.goes_ahead_about(|_| false), Some(&member_id));
        assert_eq!(delete.goes_ahead_about(|_| true), None);
        let post = Event::MessageNew(Box::new(MessageNew::new(Content::text("hi"))));
        assert_eq!(post.goes_ahead_about(|_| false), None);
    }
}
