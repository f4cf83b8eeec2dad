//! What the relay keeps, and the engine that keeps it.
//!
//! ```text
//! relay address
//! group ─┬─ invitations   owners' requests that wait for the group link to be read
//!        ├─ members       owners included; in the order in which pages serve them
//!        ├─ messages      each once, with the bytes that were signed
//!        ├─ stream        what is passed on, in order, and where each member stands in it
//!        └─ roster        the live one, and the one being received
//! connection ── purpose   what it is for
//! ```
//!
//! Nothing here commits: the engine opens a transaction around the agent's changes and these.

pub mod bulk;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod contract_bulk;
#[cfg(test)]
mod contract_gaps;
#[cfg(test)]
mod contract_operation;
pub mod operation;
pub mod records;
pub mod sql;
pub mod workers;

use protocol::agent::store::{AgentStore, BodyId, ConnectionId};
use protocol::group::identity::{MemberId, MemberRole};
use protocol::group::msg_id::SharedMessageId;
use protocol::group::profile::{HistoryKept, Profile};
use protocol::net::network::Services;
use protocol::smp::address::ServerAddress;
use protocol::timestamp::Timestamp;
use thiserror::Error;

use crate::config::Limits;
use bulk::BulkStore;
use operation::OperationStore;
use records::{
    Bounds, Delivery, DeliveryId, Forgotten, GroupId, GroupKey, InvitationId, LiveRoster, Member,
    MemberNumber, NewDelivery, NewMember, NewMessage, PassedOver, Piece, Purpose, Reader, RelayAddress,
    ServedGroup, StoredMessage, StoredMessageId, Stream, WaitingInvitation, Welcomed,
};
use workers::WorkerStore;

/// What can go wrong in a store. Nothing that a peer sends causes it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database failed.
    #[error("the database failed")]
    Sqlite(#[from] rusqlite::Error),
    /// PostgreSQL failed, or is not reached. What it says is told without its details, which may name ids.
    #[error("PostgreSQL: {0}")]
    Postgres(String),
    /// A row that must be there is not, or belongs to another.
    #[error("the database misses a row that it must have")]
    Missing,
    /// The disk failed.
    #[error("the disk failed")]
    Disk(#[from] std::io::Error),
    /// What is stored does not fit together.
    #[error("the database is damaged: {0}")]
    Damaged(String),
    /// Other workers took this one for dead, and its groups with it.
    #[error("other workers took this one for dead: it begins anew")]
    Dispossessed,
    /// The file was written by a later version.
    #[error("the database was written by a later version of chat-relay: run that version")]
    Newer,
}

impl From<postgres::Error> for StoreError {
    fn from(error: postgres::Error) -> Self {
        let cause = || std::error::Error::source(&error).map(ToString::to_string);
        Self::Postgres(match error.as_db_error() {
            Some(said) => said.message().to_owned(),
            None => [Some(error.to_string()), cause()].into_iter().flatten().collect::<Vec<_>>().join(": "),
        })
    }
}

/// The relay's own rows, next to the agent's. Every method may fail when the database does.
#[expect(clippy::missing_errors_doc, reason = "said once above")]
pub trait RelayStore: AgentStore<Error = StoreError> + OperationStore + WorkerStore + BulkStore {
    /// The relay's long-lived address; nothing before it is made.
    fn relay_address(&mut self) -> Result<Option<RelayAddress>, StoreError>;
    /// Stores it.
    fn set_relay_address(&mut self, address: &RelayAddress) -> Result<(), StoreError>;

    /// As whom the relay presents itself to servers that have its queues: made with the store, and anew when it is a copy.
    fn services(&mut self) -> Result<Services, StoreError>;
    /// Keeps how many queues more a server has of us than we know.
    fn set_service_surplus(&mut self, server: &ServerAddress, queues: i64) -> Result<(), StoreError>;

    /// Remembers a request at an address by its digest; says whether it is new.
    fn is_new_request(&mut self, digest: &[u8; 32], now: Timestamp) -> Result<bool, StoreError>;
    /// Forgets requests remembered before `moment`.
    fn forget_requests(&mut self, moment: Timestamp) -> Result<(), StoreError>;

    /// What a connection is for; nothing for one that is gone.
    fn purpose(&mut self, connection: ConnectionId) -> Result<Option<Purpose>, StoreError>;
    /// Says what a connection is for. It is closed after `until`, if given.
    fn set_purpose(
        &mut self,
        connection: ConnectionId,
        purpose: Purpose,
        until: Option<Timestamp>,
    ) -> Result<(), StoreError>;
    /// All connections of a group, its relay link included.
    fn connections_of_group(&mut self, group: GroupId) -> Result<Vec<(ConnectionId, Purpose)>, StoreError>;
    /// The connections of a group with its other relays, oldest first. Costs the same with any number of members.
    fn connections_with_peers(&mut self, group: GroupId) -> Result<Vec<(ConnectionId, Purpose)>, StoreError>;
    /// Connections whose time is over.
    fn expired_connections(
        &mut self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<(ConnectionId, Purpose)>, StoreError>;
    /// The earliest moment at which a connection's time is over.
    fn next_expiry(&mut self) -> Result<Option<Timestamp>, StoreError>;

    /// The group that an invitation is about, and whether it is new; nothing when there are as many as the
    /// limits allow.
    fn group_for_invitation(
        &mut self,
        key: &GroupKey,
        now: Timestamp,
        limits: &Limits,
    ) -> Result<Option<(ServedGroup, bool)>, StoreError>;
    /// A served group.
    fn group(&mut self, id: GroupId) -> Result<Option<ServedGroup>, StoreError>;
    /// Stores what has changed of a group; its key never does.
    fn update_group(&mut self, group: &ServedGroup) -> Result<(), StoreError>;
    /// Forgets a group with all that belongs to it. Its connections must have other purposes by then.
    fn delete_group(&mut self, id: GroupId) -> Result<(), StoreError>;
    /// Groups whose next step is due, or the reading of somebody's history.
    fn groups_due(&mut self, now: Timestamp, limit: usize) -> Result<Vec<ServedGroup>, StoreError>;
    /// The earliest moment at which either is due, after `now`.
    fn next_due(&mut self, now: Timestamp) -> Result<Option<Timestamp>, StoreError>;

    /// Keeps an owner's request until the group link has been read. The worker that has the group hears of it.
    fn add_invitation(
        &mut self,
        group: GroupId,
        invitation: &[u8],
        profile: &Profile,
    ) -> Result<InvitationId, StoreError>;
    /// All of one group, oldest first.
    fn invitations_of(&mut self, group: GroupId) -> Result<Vec<WaitingInvitation>, StoreError>;
    /// Forgets one.
    fn delete_invitation(&mut self, id: InvitationId) -> Result<(), StoreError>;

    /// Adds a member.
    fn insert_member(
        &mut self,
        group: GroupId,
        member: &NewMember,
        now: Timestamp,
    ) -> Result<Member, StoreError>;
    /// A member by its row.
    fn member(&mut self, number: MemberNumber) -> Result<Option<Member>, StoreError>;
    /// A member by its id.
    fn member_by_id(&mut self, group: GroupId, id: &MemberId) -> Result<Option<Member>, StoreError>;
    /// Stores what has changed of a member. Whoever is connected and can be reached stands in the group's stream from now
    /// on, at its end if it did not before; nobody else does.
    fn update_member(&mut self, member: &Member) -> Result<(), StoreError>;
    /// All who hold one of these roles, whatever their status.
    fn members_with_roles(&mut self, group: GroupId, roles: &[MemberRole])
    -> Result<Vec<Member>, StoreError>;
    /// All connections with members of all groups who hold one of these roles. Costs the same with any number of others.
    fn connections_with_roles(&mut self, roles: &[MemberRole]) -> Result<Vec<ConnectionId>, StoreError>;
    /// Forgets a member of whom nothing is stored, who was never shown to anybody and is nobody's recipient.
    fn forget_stranger(&mut self, number: MemberNumber) -> Result<(), StoreError>;
    /// Forgets at most `limit` observers who left before a moment and of whom nothing else is stored.
    fn forget_left(&mut self, before: Timestamp, limit: usize) -> Result<(), StoreError>;
    /// How many are in: accepted or connected. Asked at each join: costs the same with any number of them.
    fn count_members(&mut self, group: GroupId) -> Result<u32, StoreError>;
    /// How many knock and were not decided on. Costs the same with any number of them.
    fn count_knocks(&mut self, group: GroupId) -> Result<u32, StoreError>;
    /// How many have not asked here themselves since others told of them; looks at no more than `up_to`.
    fn count_strangers(&mut self, group: GroupId, up_to: u32) -> Result<u32, StoreError>;
    /// The first `limit` who wait for a moderator, in the order in which they came.
    fn waiting_members(&mut self, group: GroupId, limit: u32) -> Result<Vec<Member>, StoreError>;

    /// Stores a message once; nothing when its id is known in the group.
    fn store_message(
        &mut self,
        group: GroupId,
        message: &NewMessage,
        now: Timestamp,
    ) -> Result<Option<StoredMessageId>, StoreError>;
    /// A stored message by its id.
    fn message_by_id(
        &mut self,
        group: GroupId,
        id: &SharedMessageId,
    ) -> Result<Option<StoredMessage>, StoreError>;
    /// Takes a message and its edits out of history.
    fn hide_message(&mut self, group: GroupId, id: &SharedMessageId) -> Result<(), StoreError>;
    /// Takes all messages of an author out of history.
    fn hide_messages_of(&mut self, author: MemberNumber) -> Result<(), StoreError>;
    /// The newest `limit` posts of the main scope, oldest first, each with its last edit and with where its file is
    /// when that was said after `files_since`.
    fn history(
        &mut self,
        group: GroupId,
        limit: u32,
        files_since: Timestamp,
    ) -> Result<Vec<StoredMessage>, StoreError>;
    /// The oldest message that a group's history reaches: that of the lowest id when there are not so many.
    fn oldest_kept(
        &mut self,
        group: GroupId,
        kept: &HistoryKept,
        now: Timestamp,
    ) -> Result<StoredMessageId, StoreError>;
    /// Everything that members were to get, of the main scope and by authors who are not blocked, newest first: at most
    /// `limit` messages older than `before`, from `oldest` on. Where files are is given when that was said after
    /// `files_since`. What somebody was `welcomed` with is left out.
    fn history_page(
        &mut self,
        group: GroupId,
        before: Option<StoredMessageId>,
        oldest: StoredMessageId,
        limit: u32,
        files_since: Timestamp,
        welcomed: Option<Welcomed>,
    ) -> Result<Vec<StoredMessage>, StoreError>;
    /// Stores a message that was said before all that came by itself, once; nothing when its id is known in the group.
    /// It stands next below `newer`, or below everything. Whatever is below it is given another number.
    fn fill_message(
        &mut self,
        group: GroupId,
        message: &NewMessage,
        newer: Option<StoredMessageId>,
        now: Timestamp,
    ) -> Result<Option<StoredMessageId>, StoreError>;
    /// Forgets a message that [`Self::fill_message`] stored: its author sends it after all.
    fn forget_filled(&mut self, id: StoredMessageId) -> Result<(), StoreError>;
    /// Forgets messages older than `before`, but for each group's history as its owner wants it, of at most `items_max`
    /// posts, and what still waits.
    fn forget_messages(
        &mut self,
        before: Timestamp,
        now: Timestamp,
        items_max: u32,
    ) -> Result<(), StoreError>;

    /// Puts something at the end of a group's stream, for all members who can be reached now; a round over them begins,
    /// or follows the present one.
    fn add_delivery(&mut self, delivery: &NewDelivery) -> Result<DeliveryId, StoreError>;
    /// How far a group's stream has been handed out; nothing before its first message.
    fn stream(&mut self, group: GroupId) -> Result<Option<Stream>, StoreError>;
    /// Stores where the round is.
    fn update_stream(&mut self, group: GroupId, stream: &Stream) -> Result<(), StoreError>;
    /// Groups whose stream may have something to hand out.
    fn groups_with_deliveries(&mut self) -> Result<Vec<GroupId>, StoreError>;
    /// The next members of a round after `after` who have not been given everything up to `head`, by number.
    fn round(
        &mut self,
        group: GroupId,
        after: MemberNumber,
        head: DeliveryId,
        limit: usize,
    ) -> Result<Vec<Reader>, StoreError>;
    /// Members who are to be served besides the rounds.
    fn readers_due(&mut self, group: GroupId, limit: usize) -> Result<Vec<Reader>, StoreError>;
    /// Where a member stands; nothing when it cannot be reached.
    fn reader(&mut self, group: GroupId, number: MemberNumber) -> Result<Option<Reader>, StoreError>;
    /// Stores where a member stands.
    fn update_reader(&mut self, reader: &Reader) -> Result<(), StoreError>;
    /// The next of a stream after a position.
    fn deliveries(
        &mut self,
        group: GroupId,
        after: DeliveryId,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError>;
    /// Keeps the introduction of a delivery's author, the same for all who need it.
    fn set_introduction(&mut self, delivery: DeliveryId, element: &[u8]) -> Result<(), StoreError>;
    /// A shared body that is made of these pieces whenever it is asked for. The same pieces are the same body.
    fn body_of(&mut self, group: GroupId, pieces: &[Piece]) -> Result<BodyId, StoreError>;
    /// Forgets at most `limit` of a stream that all members have.
    fn forget_delivered(&mut self, group: GroupId, limit: usize) -> Result<Forgotten, StoreError>;
    /// Forgets shared bodies that no request names: whoever was to get them could not take them.
    fn forget_unsent(&mut self) -> Result<(), StoreError>;
    /// Takes content out of a stream that members have waited for beyond all bounds, once it is noted for all of them
    /// that they were passed over, and from where on. What is not content stays until all have it.
    fn pass_over(&mut self, group: GroupId, bounds: &Bounds) -> Result<PassedOver, StoreError>;
    /// The first message of content in a part of a stream.
    fn first_content(
        &mut self,
        group: GroupId,
        after: DeliveryId,
        through: DeliveryId,
    ) -> Result<Option<StoredMessageId>, StoreError>;
    /// What is on its way to a member will not come: the authors whom it introduces are introduced again.
    fn forget_introduced(&mut self, reader: &Reader) -> Result<(), StoreError>;
    /// How many members' servers have not all that was passed on. Costs little, however many there are.
    fn members_behind(&mut self) -> Result<u64, StoreError>;
    /// Whether a member was told about another.
    fn has_met(&mut self, author: MemberNumber, recipient: MemberNumber) -> Result<bool, StoreError>;
    /// Remembers that a member was told about another.
    fn introduce(&mut self, author: MemberNumber, recipient: MemberNumber) -> Result<(), StoreError>;

    /// The roster being served.
    fn roster(&mut self, group: GroupId) -> Result<Option<LiveRoster>, StoreError>;
    /// Replaces the roster being served, and forgets the transfer.
    fn set_roster(&mut self, group: GroupId, roster: &LiveRoster) -> Result<(), StoreError>;
    /// The roster being received, as its own record.
    fn roster_transfer(&mut self, group: GroupId) -> Result<Option<Vec<u8>>, StoreError>;
    /// Stores or forgets the roster being received.
    fn set_roster_transfer(&mut self, group: GroupId, record: Option<&[u8]>) -> Result<(), StoreError>;
}
