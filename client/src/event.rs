//! What the engine tells: rows of an answer and things that happen. With `--json` each is one line.

use protocol::group::entrance::Entrance;
use protocol::group::identity::MemberKey;
use serde::{Deserialize, Serialize};

/// One fact. The shapes are a promise to scripts: fields are added, never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Event {
    /// A kept server.
    Server { address: String, password: bool },
    /// How servers are reached.
    NetworkSettings { proxy: String, direct_fallback: bool, socks: Option<String>, socks_mode: String },
    /// A kept relay.
    Relay { name: String, link: String },
    /// One thing that was looked at by `doctor` or a test.
    Check { name: String, ok: bool, detail: String },
    /// Something was added, forgotten or written; says what.
    Done { what: String, name: String },
    /// A group.
    Group(GroupRow),
    /// A group's link.
    GroupLink { group: String, link: String },
    /// A group's profile.
    GroupProfile(ProfileRow),
    /// A relay of a group and how far it is.
    GroupRelay(GroupRelayRow),
    /// A relay of a group tells its owner what it refuses: a stable word, words for people, how many since the last time.
    RelayNotice {
        group: String,
        relay: String,
        notice: String,
        text: String,
        count: u64,
        about: Option<String>,
    },
    /// A member of a group.
    Member(MemberRow),
    /// A group asks something of those who join: see `docs/protocol.md`.
    Entrance { group: String, public_id: String, member_key: MemberKey, asks: Entrance },
    /// Somebody waits to be let in.
    Knock { group: String, member_id: String, name: String, relay: String },
    /// Somebody waits no more: `accepted`, `rejected` or `gone`; by whom, where a moderator decided.
    KnockEnded {
        group: String,
        member_id: String,
        name: String,
        outcome: String,
        by: Option<String>,
        reason: Option<String>,
        relay: String,
    },
    /// A message, from history or just now.
    Message(MessageRow),
    /// A message has another text now.
    Edited {
        group: String,
        message_id: String,
        author: String,
        author_id: String,
        text: String,
        signature: Signature,
    },
    /// A message is gone.
    Deleted { group: String, message_id: String, by: String, by_id: String, signature: Signature },
    /// A reaction was put on a message or taken back.
    Reaction { group: String, message_id: String, emoji: String, by: String, by_id: String, added: bool },
    /// What became of an own message at one relay.
    Delivery {
        group: String,
        message_id: String,
        relay: String,
        state: DeliveryState,
        reason: Option<String>,
    },
    /// Own messages that no relay's server has yet.
    Waiting { group: String, messages: u64 },
    /// End of an answer to `history`.
    HistoryEnd { group: String, messages: u64, duplicates_dropped: u64, conflicts: u64 },
    /// Statements of an author did not come, or have not yet.
    Gap(GapRow),
    /// A statement came after some that its author made later.
    Late {
        group: String,
        author: String,
        author_id: String,
        number: u64,
        message_id: String,
        relay: String,
        skipped_by: Vec<String>,
    },
    /// An author's numbers begin anew: after a restore from a backup, or on another device.
    Restarted { group: String, author: String, author_id: String, relay: String },
    /// Messages that were not read yet.
    Unread { group: String, unread: u64 },
    /// Copies of one message from two relays differ, or a relay sent what its author did not sign.
    Evidence { group: String, message_id: Option<String>, relay: String, kind: EvidenceKind, detail: String },
    /// Something that was kept against a relay, with its bytes as base64url.
    KeptEvidence {
        group: String,
        message_id: Option<String>,
        relay: String,
        kind: EvidenceKind,
        detail: String,
        kept_at: String,
        bytes: String,
    },
    /// The group was joined: the first relay connected.
    Joined { group: String, relay: String },
    /// A group's owner ended it, or we left.
    GroupEnded { group: String, status: String },
    /// Something went wrong that people should know and that no command waits for.
    Warning { group: Option<String>, text: String },
    /// The engine is ready to follow; `servers` are subscribed.
    Listening { servers: u64, connections: u64 },
    /// A server became reachable or unreachable.
    Network { server: String, up: bool, reason: Option<String> },
}

/// A group as `group list` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GroupRow {
    /// The name by which commands know it: unique here.
    pub(crate) group: String,
    /// The name that everybody sees.
    pub(crate) display_name: String,
    /// The group's identity, base64url.
    pub(crate) public_id: String,
    /// Our role.
    pub(crate) role: String,
    /// Our member id, base64url.
    pub(crate) member_id: String,
    /// `creating`, `joining`, `active`, `deleted`, `left`, `removed`, `refused`.
    pub(crate) status: String,
    /// Relays connected and active.
    pub(crate) relays_active: u64,
    /// All relays known.
    pub(crate) relays: u64,
    /// Members known, with us.
    pub(crate) members: u64,
    /// Messages here.
    pub(crate) messages: u64,
    /// Messages not shown yet.
    pub(crate) unread: u64,
    /// Own messages that wait.
    pub(crate) waiting: u64,
    /// Second copies that were dropped.
    pub(crate) duplicates_dropped: u64,
    /// Copies that differed.
    pub(crate) conflicts: u64,
}

/// A group's profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProfileRow {
    /// The local name.
    pub(crate) group: String,
    /// The name that everybody sees.
    pub(crate) display_name: String,
    /// The longer name.
    pub(crate) full_name: String,
    /// For those who join.
    pub(crate) description: Option<String>,
    /// Whether posts are to be signed.
    pub(crate) sign_messages: bool,
    /// Whether joiners wait for a moderator.
    #[serde(default)]
    pub(crate) review: bool,
    /// What is asked of joiners.
    #[serde(default)]
    pub(crate) entrance: Option<Entrance>,
    /// The link that the profile names.
    pub(crate) link: String,
    /// Version of the link data that we know.
    pub(crate) link_counter: Option<u64>,
    /// How many of the newest posts relays keep and give; 0 for none.
    #[serde(default)]
    pub(crate) history_items: u32,
    /// How old those posts may be, in seconds; any age when none.
    #[serde(default)]
    pub(crate) history_age_seconds: Option<u32>,
    /// How many bytes they may have together; any number when none.
    #[serde(default)]
    pub(crate) history_bytes: Option<u64>,
}

/// A relay of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GroupRelayRow {
    /// The group.
    pub(crate) group: String,
    /// The relay's name.
    pub(crate) relay: String,
    /// Its member id, base64url; empty while it is not known.
    pub(crate) member_id: String,
    /// `new`, `invited`, `accepted`, `acknowledged_roster`, `active`, `inactive`, `rejected`; on a member's side
    /// `new`, `invited`, `accepted`, `pending_review`, `active`, `inactive`, `rejected`, `put_off`.
    pub(crate) status: String,
    /// Whether messages can be sent to it.
    pub(crate) connected: bool,
    /// Whether there are two connections, so that nothing urgent waits behind messages.
    pub(crate) two_connections: bool,
    /// Why, where there is a reason to tell.
    pub(crate) reason: Option<String>,
    /// When it ended, RFC 3339: when the relay said so, as far as it did.
    pub(crate) ended_at: Option<String>,
    /// The relay's link for this group, when known.
    pub(crate) link: Option<String>,
    /// What it last told its owner that it refuses.
    #[serde(default)]
    pub(crate) notice: Option<String>,
    /// When, ISO 8601.
    #[serde(default)]
    pub(crate) notice_at: Option<String>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MemberRow {
    /// The group.
    pub(crate) group: String,
    /// Member id, base64url.
    pub(crate) member_id: String,
    /// Name from the profile, or the beginning of the id.
    pub(crate) name: String,
    /// Role word.
    pub(crate) role: String,
    /// `active`, `left`, `removed`; at moderators also `pending_review`, `rejected`.
    pub(crate) status: String,
    /// Whether blocked for everybody.
    pub(crate) blocked: bool,
    /// Whether the key is known, so that signatures can be checked.
    pub(crate) key_known: bool,
    /// Whether this is us.
    pub(crate) me: bool,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MessageRow {
    /// The group.
    pub(crate) group: String,
    /// The message's id, base64url.
    pub(crate) message_id: String,
    /// Author's name.
    pub(crate) author: String,
    /// Author's member id, base64url; empty for a post in the group's name.
    pub(crate) author_id: String,
    /// Whether it is ours.
    pub(crate) own: bool,
    /// The text; empty when deleted.
    pub(crate) text: String,
    /// Broker's time of the original, ISO 8601.
    pub(crate) sent_at: String,
    /// How far the author is proven.
    pub(crate) signature: Signature,
    /// Relays that brought it, in order.
    pub(crate) relays: Vec<String>,
    /// Further copies that were dropped.
    pub(crate) duplicates: u64,
    /// Whether copies differed.
    pub(crate) conflict: bool,
    /// Whether the text was changed.
    pub(crate) edited: bool,
    /// Whether it was deleted.
    pub(crate) deleted: bool,
    /// The message that it answers.
    pub(crate) reply_to: Option<String>,
    /// Reactions with their number.
    pub(crate) reactions: Vec<ReactionRow>,
    /// For own messages: whether some relay's server has it.
    pub(crate) delivered: bool,
    /// Its number by its author's count; none for own ones and for those whose author does not count.
    pub(crate) number: Option<u64>,
    /// Whether it came after some that its author made later.
    pub(crate) late: bool,
}

/// Statements of one author that are missing: posts, edits and whatever else all members get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GapRow {
    /// The group.
    pub(crate) group: String,
    /// Author's name.
    pub(crate) author: String,
    /// Author's member id, base64url.
    pub(crate) author_id: String,
    /// The lowest number, by the author's own count.
    pub(crate) from: u64,
    /// The highest number.
    pub(crate) to: u64,
    /// Relays that brought lower and higher numbers and left these out.
    pub(crate) skipped_by: Vec<String>,
    /// Connected relays that brought none of these numbers, nor a higher one.
    pub(crate) silent: Vec<String>,
    /// Relays that are being asked for what is missing.
    #[serde(default)]
    pub(crate) asked: Vec<String>,
}

/// How often one reaction was put on a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReactionRow {
    /// The emoji.
    pub(crate) emoji: String,
    /// How many members.
    pub(crate) count: u64,
}

/// How far the author of something is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Signature {
    /// Signed by the author's known key.
    Verified,
    /// Signed, but the key is not known here.
    KeyUnknown,
    /// Not signed: the relay could have written it.
    Unsigned,
    /// Our own.
    Own,
}

/// What became of an own message at one relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DeliveryState {
    /// Persisted here, not yet on the relay's server.
    Waiting,
    /// The relay's server has it on disk.
    Durable,
    /// It will not get there.
    Failed,
}

/// What kind of proof is kept against a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EvidenceKind {
    /// Another copy of the message had other bytes.
    DifferentCopies,
    /// A signature did not fit.
    BadSignature,
    /// A signature is missing where one is needed.
    MissingSignature,
    /// A post came unsigned in a group that prefers signed ones.
    UnsignedPost,
    /// Somebody did what their role does not allow.
    NotAllowed,
    /// A server showed older link data than was seen before.
    RolledBackLink,
    /// The author signed two statements that contradict each other. The relays are innocent.
    AuthorForked,
    /// Bytes that are no message at all.
    Malformed,
}

/// What comes back for a request, in order; the last is `Success` or `Failure`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", content = "value", rename_all = "snake_case")]
pub(crate) enum Reply {
    /// Something to show.
    Event(Box<Event>),
    /// The request is done.
    Success,
    /// The request failed.
    Failure(crate::error::CommandError),
}

impl From<Event> for Reply {
    fn from(event: Event) -> Self {
        Self::Event(Box::new(event))
    }
}
