//! One post from an owner by two relays to a member, on the group layer alone: said, signed, packed, forwarded, unpacked,
//! judged, compared. One relay is honest; the other does what a hostile relay can do.
#![allow(clippy::unwrap_used)]

use protocol::crypto::sign::Ed25519PrivateKey;
use protocol::group::batch::{Element, pack};
use protocol::group::container::{elements, unfold};
use protocol::group::dedup::{Comparison, Copy, Finding, compare};
use protocol::group::event::content::{Content, MessageNew, MessageUpdate};
use protocol::group::event::members::MemberDelete;
use protocol::group::event::{Event, Message};
use protocol::group::forward::{Forward, ForwardSender, forward};
use protocol::group::identity::{MemberId, MemberKey, MemberRole, PublicGroupId};
use protocol::group::moderation::{Change, ChangeRefused, Item, permit_change};
use protocol::group::msg_id::SharedMessageId;
use protocol::group::permissions::{Actor, judge};
use protocol::group::profile::GroupPreferences;
use protocol::group::signed::Statement;
use protocol::group::signing::{Author, DropReason, Reception, Verdict, expects_signature, verdict};
use protocol::timestamp::Timestamp;

const SENT_AT: Timestamp = Timestamp::from_seconds(1_767_225_600);

struct Group {
    id: PublicGroupId,
    owner: MemberId,
    owner_key: Ed25519PrivateKey,
    relays: [MemberId; 2],
    preferences: GroupPreferences,
}

impl Group {
    fn new() -> Self {
        let member = |byte| MemberId::new([byte; 12]).unwrap();
        let root_key = Ed25519PrivateKey::from_seed(&[1; 32]).public_key();
        Self {
            id: PublicGroupId::of_root_key(&root_key),
            owner: member(1),
            owner_key: Ed25519PrivateKey::from_seed(&[2; 32]),
            relays: [member(8), member(9)],
            preferences: GroupPreferences::of_new_group(),
        }
    }

    fn say(&self, message_id: &str, event: Event) -> Vec<u8> {
        let author = Author { key: &self.owner_key, group: &self.id, member: &self.owner };
        author.say(&Message::new(Some(id(message_id)), event)).unwrap()
    }

    fn role(&self, member: &MemberId) -> MemberRole {
        match member {
            member if *member == self.owner => MemberRole::Owner,
            member if self.relays.contains(member) => MemberRole::Relay,
            _ => MemberRole::Observer,
        }
    }

    /// What anybody who holds the group link makes of a statement by `author`.
    fn judge(&self, statement: &Statement<'_>, author: Option<&MemberId>) -> (Message, Verdict) {
        let message = statement.message().unwrap();
        let key = MemberKey(self.owner_key.public_key());
        let role = author.map_or(MemberRole::Owner, |author| self.role(author));
        let key = author.filter(|author| **author == self.owner).map(|_| &key);
        let reception = Reception {
            event: message.event.tag(),
            signature: statement.check(&self.id, author.unwrap_or(&self.owner), key),
            as_channel: author.is_none(),
            author_role: role,
            receiver_role: MemberRole::Observer,
        };
        let author = author.unwrap_or(&self.owner);
        let actor = Actor { role, blocked: false };
        judge(&message.event, author, actor, &self.preferences, |member| Some(self.role(member))).unwrap();
        (message, verdict(reception))
    }

    fn sender(&self) -> ForwardSender {
        ForwardSender::Member { id: self.owner.clone(), name: "Ann".to_owned() }
    }
}

fn id(text: &str) -> SharedMessageId {
    SharedMessageId::new(text).unwrap()
}

fn post(text: &str) -> Event {
    Event::MessageNew(Box::new(MessageNew::new(Content::text(text))))
}

/// What an honest relay does: take the statement as it came, check it, forward it.
fn relay(group: &Group, body: &[u8]) -> Vec<u8> {
    let unfolded = unfold(body).unwrap();
    let elements = elements(&unfolded).unwrap();
    let [Ok(Element::Statement(statement))] = &elements[..] else { panic!("one statement") };
    let (message, verdict) = group.judge(statement, Some(&group.owner));
    assert!(message.event.is_forwarded());
    assert_eq!(verdict, Verdict::Verified);
    pack([&forward(&group.sender(), SENT_AT, statement)[..]]).0.remove(0)
}

/// A body of one forward, as the relay pleases.
fn forged(sender: &ForwardSender, statement: &[u8]) -> Vec<u8> {
    let statement = Statement::parse(statement).unwrap();
    pack([&forward(sender, SENT_AT, &statement)[..]]).0.remove(0)
}

fn received(body: &[u8]) -> Forward<'_> {
    match elements(body).unwrap().remove(0) {
        Ok(Element::Forward(forward)) => forward,
        other => panic!("{other:?}"),
    }
}

/// What a member makes of a copy by an honest relay, and then of one by the other.
fn second_copy(group: &Group, honest: &[u8], other: &[u8]) -> (Verdict, Comparison) {
    let (first, second) = (received(honest), received(other));
    let (_, first_verdict) = group.judge(&first.statement, first.sender.member());
    let (message, second_verdict) = group.judge(&second.statement, second.sender.member());
    assert!(expects_signature(message.event.tag(), &group.preferences));
    let [honest_relay, other_relay] = &group.relays;
    let held = Copy {
        relay: honest_relay,
        author: first.sender.member(),
        verdict: first_verdict,
        verbatim: first.statement.verbatim(),
    };
    let new = Copy {
        relay: other_relay,
        author: second.sender.member(),
        verdict: second_verdict,
        verbatim: second.statement.verbatim(),
    };
    (second_verdict, compare(&held, &new))
}

#[test]
fn two_honest_relays_make_one_post() {
    let group = Group::new();
    let said = group.say("post", post("hello"));
    let (one, two) = (relay(&group, &said), relay(&group, &said));
    assert_eq!(received(&one).statement.verbatim(), said, "the bytes that the owner signed");
    assert_eq!(second_copy(&group, &one, &two), (Verdict::Verified, Comparison::Same));
}

#[test]
fn a_relay_that_strips_alters_or_disowns_is_found_out() {
    let group = Group::new();
    let said = group.say("post", post("hello"));
    let honest = relay(&group, &said);
    let body = Statement::parse(&said).unwrap().body().to_vec();

    let stripped = forged(&group.sender(), &body);
    let found = (Verdict::Unsigned, Comparison::Keep(Finding::NewWasStripped));
    assert_eq!(second_copy(&group, &honest, &stripped), found);

    let disowned = forged(&ForwardSender::Channel, &said);
    assert_eq!(
        second_copy(&group, &honest, &disowned).0,
        Verdict::Unsigned,
        "no signature counts for a channel"
    );

    let altered = String::from_utf8_lossy(&body).replace("hello", "howdy").into_bytes();
    let altered = [&said[..said.len() - body.len()], &altered].concat();
    let found = (Verdict::Drop(DropReason::BadSignature), Comparison::Keep(Finding::NewWasChanged));
    assert_eq!(second_copy(&group, &honest, &forged(&group.sender(), &altered)), found);

    let other_post = group.say("other", post("howdy"));
    let found = second_copy(&group, &honest, &forged(&group.sender(), &other_post));
    assert_eq!(found.0, Verdict::Verified, "a replay verifies, under its own id");
}

#[test]
fn a_verified_post_is_edited_by_its_author_alone() {
    let group = Group::new();
    let edit = |text: &str| {
        Event::MessageUpdate(Box::new(MessageUpdate {
            msg_id: id("post"),
            content: Content::text(text),
            mentions: Default::default(),
            ttl: None,
            live: None,
            scope: None,
            as_group: None,
            prefs: None,
        }))
    };
    let item = Item {
        author: Some(group.owner.clone()),
        verdict: Verdict::Verified,
        sent_at: SENT_AT,
        deleted: false,
    };
    let by_owner = group.say("edit", edit("hello!"));
    let by_relay = Message::new(Some(id("edit")), edit("buy!")).to_json();
    for (said, wanted) in [(by_owner, Ok(())), (by_relay, Err(ChangeRefused::BadSignature))] {
        let body = forged(&group.sender(), &said);
        let forward = received(&body);
        let (_, verdict) = group.judge(&forward.statement, forward.sender.member());
        let author = forward.sender.member();
        assert_eq!(permit_change(Some(&item), Change::Edit, author, verdict, SENT_AT), wanted);
    }
}

#[test]
fn a_relays_removal_is_proven_by_the_owners_own_bytes() {
    let group = Group::new();
    let [_, removed] = &group.relays;
    let removal =
        MemberDelete { member_id: removed.clone(), messages: false, member_key: None, roster_version: None };
    let said = group.say("removal", Event::MemberDelete(removal.clone()));
    // The removed relay itself passes it on, as its last words.
    let last_words = relay(&group, &said);
    let forward = received(&last_words);
    let (message, verdict) = group.judge(&forward.statement, forward.sender.member());
    assert_eq!((message.event, verdict), (Event::MemberDelete(removal), Verdict::Verified));
}
