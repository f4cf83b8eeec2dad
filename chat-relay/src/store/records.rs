//! The rows of the store as the relay's code sees them.

use protocol::agent::store::ConnectionId;
use protocol::crypto::sign::Ed25519PublicKey;
use protocol::group::bulk::serving::ServedBulk;
use protocol::group::catch_up::CatchUp;
use protocol::group::identity::{LinkText, MemberId, MemberRole, PublicGroupId};
use protocol::group::knocking::KnockStatus;
use protocol::group::msg_id::SharedMessageId;
use protocol::group::peer_reading::PeerReading;
use protocol::group::profile::{GroupProfile, Profile};
use protocol::group::ruling::Ruling;
use protocol::group::served_group::ServedLife;
use protocol::timestamp::Timestamp;

pub use crate::delivery::stage::Stage;

/// Declares an enum that is stored as a word.
macro_rules! stored_words {
    ($(#[doc = $doc:literal])* $name:ident { $($(#[doc = $variant_doc:literal])* $variant:ident = $word:literal,)* }) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name {
            $($(#[doc = $variant_doc])* $variant,)*
        }

        impl $name {
            /// The word in the database.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// Reads [`Self::word`].
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

macro_rules! row_ids {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {$(
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub i64);
    )*};
}

row_ids! {
    /// Names a served group. Never reused.
    GroupId,
    /// Names a member of any group; also the order in which members are served. Never reused.
    MemberNumber,
    /// Names a stored message, in the order in which they came. Never reused.
    StoredMessageId,
    /// Names an owner's invitation that waits. Never reused.
    InvitationId,
    /// Names something that is passed on, in the order in which it came. Never reused.
    DeliveryId,
}

/// The relay's long-lived address.
#[derive(Debug, Clone, PartialEq)]
pub struct RelayAddress {
    /// The agent's draft, which makes the link and holds its keys.
    pub draft: Vec<u8>,
    /// The profile that its link data shows.
    pub profile: Profile,
    /// The connection of it, once creation was asked for.
    pub connection: Option<ConnectionId>,
}

/// What makes a served group one: the same three again are the same invitation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupKey {
    /// In its canonical form.
    pub group_link: LinkText,
    /// Who says to be the owner.
    pub owner: MemberId,
    /// What this owner calls us.
    pub relay: MemberId,
}

/// A group that the relay was asked to serve.
#[derive(Debug, Clone, PartialEq)]
pub struct ServedGroup {
    /// Its row.
    pub id: GroupId,
    /// Who asked for what.
    pub key: GroupKey,
    /// Where it stands in its life cycle.
    pub life: ServedLife,
    /// When its next step is due, with the jitter that was drawn for it; never when none.
    pub due_at: Option<Timestamp>,
    /// What its link says, once read and found valid.
    pub identity: Option<GroupIdentity>,
    /// The agent's draft of the relay link, once made.
    pub draft: Option<Vec<u8>>,
    /// How far we are in the owner's history; nothing when the owner's client gives none.
    pub fill: Option<CatchUp>,
    /// How far we are in the history of the group's other relays.
    pub peers: PeerReading,
}

impl ServedGroup {
    /// When a reading of history is to be looked at.
    #[must_use]
    pub fn history_due_at(&self) -> Option<Timestamp> {
        let owners = self.fill.as_ref().and_then(CatchUp::deadline);
        [owners, self.peers.deadline()].into_iter().flatten().min()
    }
}

/// What the group link says of a group.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupIdentity {
    /// Its name for good.
    pub public_group_id: PublicGroupId,
    /// The key at the root of its owner chain.
    pub root_key: Ed25519PublicKey,
    /// What it shows.
    pub profile: GroupProfile,
    /// The highest version seen of its signed link data; none when the writer does not count.
    pub link_version: Option<u64>,
    /// The relays that it lists.
    pub relays: Vec<LinkText>,
}

/// An owner's request that waits for its answer.
#[derive(Debug, Clone, PartialEq)]
pub struct WaitingInvitation {
    /// Its row.
    pub id: InvitationId,
    /// What it is about.
    pub group: GroupId,
    /// What the agent accepts.
    pub invitation: Vec<u8>,
    /// The owner's profile as the owner gave it.
    pub profile: Profile,
}

stored_words! {
    /// How far a member is in.
    MemberStatus {
        /// Known from link or roster, without a connection.
        Known = "known",
        /// Let in; the connection is being made.
        Accepted = "accepted",
        /// Connected.
        Connected = "connected",
        /// Left by itself.
        Left = "left",
        /// Removed by an owner or admin.
        Removed = "removed",
        /// Knocks; the connection is being made.
        Asking = "asking",
        /// Knocks, and waits for a moderator.
        PendingReview = "pending_review",
        /// Knocked, and was accepted before its connection stands.
        Approved = "approved",
        /// Knocked, and was not let in.
        Rejected = "rejected",
    }
}

impl MemberStatus {
    /// Whether the member has asked to join here itself, as of now.
    #[must_use]
    pub const fn has_asked(self) -> bool {
        match self {
            Self::Asking | Self::PendingReview | Self::Approved | Self::Accepted | Self::Connected => true,
            Self::Known | Self::Rejected | Self::Left | Self::Removed => false,
        }
    }

    /// Where its knock stands; nothing for those who do not knock.
    #[must_use]
    pub const fn knock(self) -> Option<KnockStatus> {
        match self {
            Self::Asking => Some(KnockStatus::Asking),
            Self::PendingReview => Some(KnockStatus::Waiting),
            Self::Approved => Some(KnockStatus::Approved),
            Self::Rejected => Some(KnockStatus::Rejected),
            Self::Known | Self::Accepted | Self::Connected | Self::Left | Self::Removed => None,
        }
    }
}

stored_words! {
    /// Whether messages get through to a member.
    LinkState {
        /// Yes.
        Open = "open",
        /// Its queue is full; messages wait.
        Full = "full",
        /// No more: its queue is gone or the connection failed.
        Broken = "broken",
    }
}

/// A member of a served group; owners are members.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// Its row.
    pub number: MemberNumber,
    /// Of which group.
    pub group: GroupId,
    /// Its name in the group.
    pub id: MemberId,
    /// What it may do.
    pub role: MemberRole,
    /// How far it is in.
    pub status: MemberStatus,
    /// What it shows of itself, if known.
    pub profile: Option<Profile>,
    /// What it signs with, if known. Pinned at first sight.
    pub key: Option<Ed25519PublicKey>,
    /// Whether it is blocked for all.
    pub blocked: bool,
    /// The newest that was said about that.
    pub restriction: Option<Ruling>,
    /// The newest that was said about its role.
    pub appointment: Option<Ruling>,
    /// The highest chat version it told.
    pub chat_version: u16,
    /// Its connection, if any.
    pub connection: Option<ConnectionId>,
    /// Whether messages get through.
    pub link: LinkState,
    /// Whether messages were passed over.
    pub passed_over: bool,
    /// What of the group's messages was passed over, until the member was told so.
    pub gap: Option<Gap>,
    /// The roster version last served to it; −1 for none.
    pub roster_served: i64,
    /// Its second connection.
    pub bulk: Bulk,
    /// When its status last changed.
    pub since: Timestamp,
    /// Why it was not let in.
    pub reason: Option<String>,
}

/// Messages that a member was not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// All of them are newer than this place in the history.
    pub after: StoredMessageId,
    /// The number of the agent's message that tells the member.
    pub told: Option<i64>,
}

impl Member {
    /// Where what is passed on goes to.
    #[must_use]
    pub fn stream_connection(&self) -> Option<ConnectionId> {
        let bulk = self.bulk.connection.filter(|_| self.bulk.stage.carries_bulk());
        self.connection.map(|first| bulk.unwrap_or(first))
    }

    /// Whether it uses this connection now; another one was its own earlier.
    #[must_use]
    pub fn uses(&self, connection: ConnectionId) -> bool {
        [self.connection, self.bulk.connection].contains(&Some(connection))
    }

    /// Whether this connection of its own is older than its first, so that it came again since. Servers and we do not have the
    /// same clock, so no time says that; a second connection is made after the first that it belongs to.
    #[must_use]
    pub fn came_again_after(&self, connection: ConnectionId) -> bool {
        self.connection.is_some_and(|first| connection < first)
    }

    /// Notes that it was not given a message, and perhaps others after it.
    pub fn note_gap(&mut self, first: StoredMessageId) {
        let after = StoredMessageId(first.0.saturating_sub(1));
        let before = self.gap.map_or(after, |gap| gap.after.min(after));
        self.gap = Some(Gap { after: before, told: None });
    }
}

/// The second connection of a member, for what is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bulk {
    /// How far it is.
    pub stage: ServedBulk,
    /// The connection, from its request on.
    pub connection: Option<ConnectionId>,
    /// The number of the member's last request; 0 before the first.
    pub number: i64,
}

/// A member as it is first stored.
#[derive(Debug, Clone, PartialEq)]
pub struct NewMember {
    /// Its name in the group.
    pub id: MemberId,
    /// What it may do.
    pub role: MemberRole,
    /// How far it is in.
    pub status: MemberStatus,
    /// What it shows of itself, if known.
    pub profile: Option<Profile>,
    /// What it signs with, if known.
    pub key: Option<Ed25519PublicKey>,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Owners ask here.
    Address,
    /// Joiners of a group ask here.
    RelayLink(GroupId),
    /// A member of a group; the connection that messages go to.
    Member(GroupId, MemberNumber),
    /// Somebody who says to be the owner of a group that already has its owner: only what the owner signed counts.
    Claimant(GroupId, MemberNumber),
    /// The second connection of a member: what is passed on goes to it. Also one that was the first or second and is only read.
    Bulk(GroupId, MemberNumber),
    /// Another relay of a group reads its history here.
    Reader(GroupId),
    /// We read a group's history at another relay.
    Source(GroupId),
    /// Carries one answer and is deleted then.
    Answer,
    /// Is being deleted; whatever comes is ignored.
    Closing,
}

impl Purpose {
    /// Of which group it is.
    #[must_use]
    pub const fn group(self) -> Option<GroupId> {
        match self {
            Self::RelayLink(group)
            | Self::Member(group, _)
            | Self::Claimant(group, _)
            | Self::Bulk(group, _)
            | Self::Reader(group)
            | Self::Source(group) => Some(group),
            Self::Address | Self::Answer | Self::Closing => None,
        }
    }
}

stored_words! {
    /// What kind of message it is, as far as history cares.
    MessageKind {
        /// A post: stands in history.
        Post = "post",
        /// Changes a post.
        Edit = "edit",
        /// Says where the file of a post is.
        File = "file",
        /// Says what somebody feels about a post.
        Reaction = "reaction",
        /// Anything else.
        Other = "other",
    }
}

/// A message as it is first stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    /// Under which copies are one.
    pub message_id: SharedMessageId,
    /// Who said it.
    pub author: MemberNumber,
    /// When the author's message reached our server.
    pub broker_time: Timestamp,
    /// What history makes of it.
    pub kind: MessageKind,
    /// What an edit changes.
    pub target: Option<SharedMessageId>,
    /// Whose conversation with the moderators it belongs to.
    pub support_of: Option<MemberId>,
    /// Whether it is forwarded in the group's name.
    pub as_channel: bool,
    /// Whether its signature was checked.
    pub verified: bool,
    /// Its bytes as they came: a signed element or JSON.
    pub element: Vec<u8>,
}

/// What a member was given unasked: posts from one on, of others, with their last edits and their files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Welcomed {
    /// The oldest of them.
    pub from: StoredMessageId,
    /// Whom.
    pub member: MemberNumber,
    /// What came at this time or later, even if it was said long before, was not among them.
    pub at: Timestamp,
}

/// A stored message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMessage {
    /// Its row.
    pub id: StoredMessageId,
    /// What was stored.
    pub message: NewMessage,
}

/// What may be taken out of a stream though members wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Whatever came before this moment.
    pub before: Timestamp,
    /// What more messages of the stream than this follow, if history gives it back.
    pub backlog_max: u32,
    /// From here on history gives back what was said.
    pub oldest_kept: StoredMessageId,
    /// So many members are noted, and so many messages taken out, at most.
    pub limit: usize,
}

/// Members for whom content was taken out of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PassedOver {
    /// How many were noted.
    pub members: usize,
    /// Whether the limit was reached: the rest is to be asked for.
    pub has_more: bool,
}

/// What was forgotten of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forgotten {
    /// Up to where all members have it.
    pub all_have: DeliveryId,
    /// Whether the limit was reached: the rest is to be asked for.
    pub has_more: bool,
}

/// What is passed on next in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDelivery {
    /// Whose members get it.
    pub group: GroupId,
    /// Who does not get it back.
    pub author: MemberNumber,
    /// Only moderators and this member get it.
    pub support_of: Option<MemberId>,
    /// Whether members meet its author by messages: the profile goes ahead for those who have not.
    pub introduces: bool,
    /// What it is.
    pub content: Content,
    /// Whether the group ends when all have it.
    pub ends_group: bool,
}

/// What is passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A stored message, and the head of its forward element. May share a body with others.
    Message(StoredMessageId, Vec<u8>),
    /// A body that goes by itself.
    Body(Vec<u8>),
}

/// Something that is passed on, without its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its row.
    pub id: DeliveryId,
    /// Who does not get it back.
    pub author: MemberNumber,
    /// Only moderators and this member get it.
    pub support_of: Option<MemberId>,
    /// Whether the author's profile goes ahead for those who have not met it.
    pub introduces: bool,
    /// Whether it goes by itself.
    pub is_alone: bool,
    /// How long it is as an element, or by itself.
    pub bytes: usize,
    /// How long the author's introduction is, once made.
    pub introduction_bytes: Option<usize>,
}

/// A part of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Piece {
    /// The introduction of a delivery's author.
    Introduction(DeliveryId),
    /// What is delivered.
    Content(DeliveryId),
}

/// How far a group's messages have been handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    /// The last message.
    pub head: DeliveryId,
    /// The last member that the round over all members has served; none between two rounds.
    pub cursor: Option<MemberNumber>,
    /// Whether another round follows: something came for those whom this one has passed.
    pub again: bool,
    /// The message after which the group ends.
    pub ends_at: Option<DeliveryId>,
    /// Whether the operator has it kept back.
    pub is_paused: bool,
}

/// Where a member stands who can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reader {
    /// In which group.
    pub group: GroupId,
    /// Who.
    pub number: MemberNumber,
    /// Where to.
    pub connection: ConnectionId,
    /// The last message that its server has.
    pub position: DeliveryId,
    /// How it is served.
    pub stage: Stage,
    /// What is on its way to its server.
    pub given: Option<Given>,
}

/// What is on its way to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Given {
    /// The last message in it.
    pub through: DeliveryId,
    /// The agent's number of it.
    pub number: i64,
}

/// The roster that a relay serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveRoster {
    /// Its version.
    pub version: i64,
    /// The owner who signed it.
    pub author: MemberNumber,
    /// When it reached our server.
    pub broker_time: Timestamp,
    /// The id of its header, which its chunks name.
    pub message_id: SharedMessageId,
    /// The signed element, as it came.
    pub header: Vec<u8>,
    /// The entries, as they came.
    pub blob: Vec<u8>,
}
