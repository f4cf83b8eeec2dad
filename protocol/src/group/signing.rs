//! Which events are signed, which are forwarded, and what a receiver makes of a signature (channels.md §8, §9.5).
//!
//! ```text
//!                    event must be signed      need not be
//! verified           accept, verified          accept, verified
//! bad                drop                      drop
//! key unknown        drop, except leave/info   accept as signed, key unknown
//!                    among those below moderator
//! absent, or as "C"  drop                      accept, unsigned
//! ```

use thiserror::Error;

use super::constants::STATEMENT_BYTES_MAX;
use super::event::{EventTag, Message};
use super::identity::{MemberId, MemberRole, PublicGroupId};
use super::profile::GroupPreferences;
use super::signed::{SignatureState, sign};
use crate::crypto::sign::Ed25519PrivateKey;

/// Whether an event is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signing {
    /// Without a signature it is dropped.
    Must,
    /// The author's choice. Our clients always sign these.
    May,
    /// Not signed by anybody.
    Never,
}

impl EventTag {
    /// Whether this event is signed when it is sent within a relay group (§8).
    #[must_use]
    pub const fn signing(self) -> Signing {
        match self {
            Self::GroupDelete
            | Self::GroupInfo
            | Self::GroupPreferences
            | Self::MemberDelete
            | Self::MemberRole
            | Self::MemberRestrict
            | Self::Leave
            | Self::Info
            | Self::RelayNew
            | Self::Roster => Signing::Must,
            Self::MessageNew
            | Self::MessageUpdate
            | Self::MessageDelete
            | Self::Join
            | Self::BulkJoin
            | Self::HistoryPeer
            | Self::LinkReject
            | Self::LinkAccept
            | Self::RelayNotice => Signing::May,
            Self::RelayInvite
            | Self::RelayAccept
            | Self::RelayReject
            | Self::RelayCapabilities
            | Self::RelayTest
            | Self::RosterAck
            | Self::LinkInvitation
            | Self::LinkMember
            | Self::Contact
            | Self::MemberNew
            | Self::MemberIntro
            | Self::MemberRulings
            | Self::RosterRequest
            | Self::HistoryGet
            | Self::HistoryPage
            | Self::HistoryGap
            | Self::BulkBegin
            | Self::BulkReady
            | Self::BulkGo
            | Self::BulkEnd
            | Self::BulkAhead
            | Self::MessageReact
            | Self::FileDescription
            | Self::FileCancel
            | Self::Deleted
            | Self::JsonForward
            | Self::Acknowledge
            | Self::Unknown => Signing::Never,
        }
    }

    /// Whether a relay passes this event on, and a member takes it inside a forward. A deletion with
    /// `onlyHistory` is the exception that depends on a parameter: see
    /// [`Event::is_forwarded`](super::event::Event::is_forwarded).
    #[must_use]
    pub const fn is_forwardable(self) -> bool {
        matches!(
            self,
            Self::MessageNew
                | Self::FileDescription
                | Self::MessageUpdate
                | Self::MessageDelete
                | Self::MessageReact
                | Self::FileCancel
                | Self::Info
                | Self::RelayNew
                | Self::MemberNew
                | Self::MemberRole
                | Self::MemberRestrict
                | Self::MemberDelete
                | Self::Leave
                | Self::GroupDelete
                | Self::GroupInfo
                | Self::GroupPreferences
                | Self::Roster
        )
    }

    /// Whether a forward of this event may come without a message id: so do stock relays tell joiners where the files of
    /// their history are.
    #[must_use]
    pub const fn may_lack_id(self) -> bool {
        matches!(self, Self::FileDescription)
    }
}

impl super::event::Event {
    /// Whether a relay makes a delivery task for this event.
    #[must_use]
    pub fn is_forwarded(&self) -> bool {
        match self {
            Self::MessageDelete(delete) => !delete.only_history.unwrap_or(false),
            other => other.tag().is_forwardable(),
        }
    }

    /// Whether our clients number this statement: see [`EventTag::is_chained`]. What stays at the relays is not missed
    /// by members.
    #[must_use]
    pub fn is_chained(&self) -> bool {
        self.tag().is_chained() && self.is_forwarded()
    }
}

/// Whether a reader expects `event` to be signed in a group with these preferences. A statement that lacks an expected
/// signature, and is not dropped, is shown as unsigned with the relay's name, and kept as evidence.
#[must_use]
pub fn expects_signature(event: EventTag, preferences: &GroupPreferences) -> bool {
    match event.signing() {
        Signing::Must => true,
        Signing::May => preferences.signs_messages(),
        Signing::Never => false,
    }
}

/// Speaks in a group as one member.
#[derive(Debug, Clone, Copy)]
pub struct Author<'a> {
    /// The member key.
    pub key: &'a Ed25519PrivateKey,
    /// The group.
    pub group: &'a PublicGroupId,
    /// The member.
    pub member: &'a MemberId,
}

/// What is said does not fit into one message, even before a relay forwards it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the message takes {bytes} bytes and {STATEMENT_BYTES_MAX} fit: shorten it")]
pub struct TooLong {
    /// What it takes.
    pub bytes: usize,
}

impl Author<'_> {
    /// The statement to send: signed, unless the event is one that nobody signs.
    ///
    /// # Errors
    /// [`TooLong`].
    pub fn say(&self, message: &Message) -> Result<Vec<u8>, TooLong> {
        let json = message.to_json();
        let statement = match message.event.tag().signing() {
            Signing::Must | Signing::May => sign(self.key, self.group, self.member, &json),
            Signing::Never => json,
        };
        if statement.len() <= STATEMENT_BYTES_MAX {
            Ok(statement)
        } else {
            Err(TooLong { bytes: statement.len() })
        }
    }
}

/// What a receiver knows of a statement before it looks at what is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reception {
    /// What is said.
    pub event: EventTag,
    /// What the signatures are worth, as those of the author: the named member of a forward, else the sender.
    pub signature: SignatureState,
    /// Whether the relay named the group itself as the author (`C`): then no signature counts.
    pub as_channel: bool,
    /// The author's role, [`MemberRole::Unknown`] when there is no record.
    pub author_role: MemberRole,
    /// The receiver's own role.
    pub receiver_role: MemberRole,
}

/// What becomes of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Accept: the author said it.
    Verified,
    /// Accept, shown as signed by a key that is not known.
    KeyUnknown,
    /// Accept, shown as unsigned where signatures are expected.
    Unsigned,
    /// Do not act on it.
    Drop(DropReason),
}

/// Why a statement is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Error)]
pub enum DropReason {
    /// Somebody changed it, or it is not the author's: shown as "bad signature".
    #[error("the signature is not the author's")]
    BadSignature,
    /// It must be signed, and is not.
    #[error("this must be signed and is not")]
    Missing,
    /// It must be signed, and the author's key is not known.
    #[error("this must be signed by a known key, and the author's key is not known")]
    KeyUnknown,
}

/// The receiver's rule (§8): total over every [`Reception`].
#[must_use]
pub fn verdict(reception: Reception) -> Verdict {
    let Reception { event, signature, as_channel, author_role, receiver_role } = reception;
    let must = matches!(event.signing(), Signing::Must);
    let signature = if as_channel { SignatureState::Absent } else { signature };
    match (signature, must) {
        (SignatureState::Verified, _) => Verdict::Verified,
        (SignatureState::Bad, _) => Verdict::Drop(DropReason::BadSignature),
        (SignatureState::KeyUnknown, false) => Verdict::KeyUnknown,
        (SignatureState::KeyUnknown, true) if may_lack_key(event, author_role, receiver_role) => {
            Verdict::KeyUnknown
        }
        (SignatureState::KeyUnknown, true) => Verdict::Drop(DropReason::KeyUnknown),
        (SignatureState::Absent, false) => Verdict::Unsigned,
        (SignatureState::Absent, true) => Verdict::Drop(DropReason::Missing),
    }
}

/// Among those below moderator keys are not handed around yet, so their leaving and renaming is taken on trust.
fn may_lack_key(event: EventTag, author_role: MemberRole, receiver_role: MemberRole) -> bool {
    matches!(event, EventTag::Leave | EventTag::Info)
        && author_role < MemberRole::Moderator
        && receiver_role < MemberRole::Moderator
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reception(event: EventTag, signature: SignatureState) -> Reception {
        let role = MemberRole::Observer;
        Reception { event, signature, as_channel: false, author_role: role, receiver_role: role }
    }

    /// The table of §8, for every event and every state of signatures.
    #[test]
    fn the_receivers_table() {
        for &event in EventTag::ALL {
            let must = event.signing() == Signing::Must;
            let low = matches!(event, EventTag::Leave | EventTag::Info);
            let expect = |signature| verdict(reception(event, signature));
            assert_eq!(expect(SignatureState::Verified), Verdict::Verified);
            assert_eq!(expect(SignatureState::Bad), Verdict::Drop(DropReason::BadSignature));
            let unknown =
                if must && !low { Verdict::Drop(DropReason::KeyUnknown) } else { Verdict::KeyUnknown };
            assert_eq!(expect(SignatureState::KeyUnknown), unknown);
            let absent = if must { Verdict::Drop(DropReason::Missing) } else { Verdict::Unsigned };
            assert_eq!(expect(SignatureState::Absent), absent);
            for signature in [
                SignatureState::Verified,
                SignatureState::Bad,
                SignatureState::KeyUnknown,
                SignatureState::Absent,
            ] {
                let as_channel = Reception { as_channel: true, ..reception(event, signature) };
                assert_eq!(verdict(as_channel), absent, "what comes as the channel counts as unsigned");
            }
        }
    }

    #[test]
    fn only_where_a_file_is_may_come_without_an_id() {
        let json = br#"{"v":"1-21","event":"x.msg.file.descr","params":{"msgId":"AQID",
            "fileDescr":{"fileDescrText":"name: a","fileDescrPartNo":1,"fileDescrComplete":true}}}"#;
        let message = Message::parse(json).unwrap();
        assert_eq!((message.message_id, message.event.tag().may_lack_id()), (None, true));
        let others = EventTag::ALL.iter().filter(|tag| tag.may_lack_id());
        assert_eq!(others.count(), 1);
    }

    #[test]
    fn a_moderator_does_not_take_leaving_on_trust() {
        for (author_role, receiver_role) in
            [(MemberRole::Moderator, MemberRole::Member), (MemberRole::Member, MemberRole::Moderator)]
        {
            let reception = Reception {
                author_role,
                receiver_role,
                ..reception(EventTag::Leave, SignatureState::KeyUnknown)
            };
            assert_eq!(verdict(reception), Verdict::Drop(DropReason::KeyUnknown));
        }
    }

    #[test]
    fn the_lists_of_the_specification() {
        let named = |wanted: fn(EventTag) -> bool| {
            let mut names: Vec<_> =
                EventTag::ALL.iter().filter(|tag| wanted(**tag)).map(|tag| tag.name()).collect();
            names.sort_unstable();
            names
        };
        assert_eq!(
            named(|tag| tag.signing() == Signing::Must),
            [
                "x.grp.del",
                "x.grp.info",
                "x.grp.leave",
                "x.grp.mem.del",
                "x.grp.mem.restrict",
                "x.grp.mem.role",
                "x.grp.prefs",
                "x.grp.relay.new",
                "x.grp.roster",
                "x.info"
            ]
        );
        assert_eq!(
            named(|tag| tag.signing() == Signing::May),
            [
                "x.grp.history.peer",
                "x.grp.link.acpt",
                "x.grp.link.reject",
                "x.grp.relay.notice",
                "x.member",
                "x.member.bulk",
                "x.msg.del",
                "x.msg.new",
                "x.msg.update"
            ]
        );
        assert_eq!(named(EventTag::is_forwardable).len(), 17);
    }

    #[test]
    fn our_statements_are_signed_where_they_may_be() {
        use crate::group::event::Event;
        use crate::group::event::content::{Acknowledge, Content, MessageNew};
        use crate::group::forward::{ForwardSender, forward};
        use crate::group::identity::MemberKey;
        use crate::group::signed::Statement;
        use crate::timestamp::Timestamp;

        let key = Ed25519PrivateKey::from_seed(&[1; 32]);
        let (group, member) = (PublicGroupId::new([2; 32]).unwrap(), MemberId::new([3; 12]).unwrap());
        let author = Author { key: &key, group: &group, member: &member };
        let post = |length| {
            let content = Content::text("x".repeat(length));
            Message::new(None, Event::MessageNew(Box::new(MessageNew::new(content))))
        };
        let said = author.say(&post(1)).unwrap();
        let public = MemberKey(key.public_key());
        let state = Statement::parse(&said).unwrap().check(&group, &member, Some(&public));
        assert_eq!(state, SignatureState::Verified);
        let plain = author.say(&Message::new(None, Event::Acknowledge(Acknowledge {}))).unwrap();
        assert_eq!(plain.first(), Some(&b'{'));

        let overhead = said.len() - 1;
        let longest = author.say(&post(STATEMENT_BYTES_MAX - overhead)).unwrap();
        let name = "ααααααααααααααααα😀".repeat(3);
        let sender = ForwardSender::Member { id: member.clone(), name };
        let forwarded = forward(&sender, Timestamp(0), &Statement::parse(&longest).unwrap());
        let (bodies, too_large) = crate::group::batch::pack([&forwarded[..]]);
        assert_eq!((bodies.len(), too_large.len()), (1, 0), "a relay can forward the longest statement");
        assert!(author.say(&post(STATEMENT_BYTES_MAX - overhead + 1)).is_err());
    }

    #[test]
    fn signatures_are_expected_where_the_group_says_so() {
        let signing = GroupPreferences::of_new_group();
        assert!(expects_signature(EventTag::MessageNew, &signing));
        assert!(!expects_signature(EventTag::MessageNew, &GroupPreferences::default()));
        assert!(!expects_signature(EventTag::MessageReact, &signing));
        assert!(expects_signature(EventTag::Leave, &GroupPreferences::default()));
    }

    #[test]
    fn a_deletion_at_relays_only_is_not_forwarded() {
        use crate::group::event::{Event, content::MessageDelete};
        use crate::group::msg_id::SharedMessageId;
        let delete = |only_history| {
            Event::MessageDelete(MessageDelete {
                msg_id: SharedMessageId::new(*b"id").unwrap(),
                member_id: None,
                scope: None,
                only_history,
            })
        };
        assert!(delete(None).is_forwarded() && delete(Some(false)).is_forwarded());
        assert!(!delete(Some(true)).is_forwarded());
    }
}
