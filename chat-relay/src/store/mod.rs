//! What the relay keeps, and the engine that keeps it.
//!
//! ```text
//! relay address
//! group ─┬─ invitations   owners' requests that wait for the group link to be read
//!        ├─ members       owners included; in the order in which pages serve them
//!        ├─ messages      each once, with the bytes that were signed
//!        ├─ tasks ─▶ jobs what is to be handed out, and how far it has been
//!        └─ roster        the live one, and the one being received
//! connection ── purpose   what it is for
//! ```
//!
//! Nothing here commits: the engine opens a transaction around the agent's changes and these.

#[cfg(test)]
mod contract;
#[cfg(test)]
mod contract_operation;
pub mod operation;
pub mod records;
pub mod sqlite;

use protocol::agent::store::{AgentStore, ConnectionId};
use protocol::group::identity::{MemberId, MemberRole};
use protocol::group::msg_id::SharedMessageId;
use protocol::group::profile::Profile;
use protocol::timestamp::Timestamp;
use thiserror::Error;

use crate::config::Limits;
use operation::OperationStore;
use records::{
    DeliveryJob, DeliveryJobId, DeliveryTask, Ending, GroupId, GroupKey, InvitationId, LiveRoster, Member,
    MemberNumber, NewMember, NewMessage, Purpose, Recipient, RelayAddress, ServedGroup, StoredMessage,
    StoredMessageId, TaskId, WaitingInvitation,
};

/// What can go wrong in a store. Nothing that a peer sends causes it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database failed.
    #[error("the database failed")]
    Sqlite(#[from] rusqlite::Error),
    /// A row that must be there is not, or belongs to another.
    #[error("the database misses a row that it must have")]
    Missing,
    /// The disk failed.
    #[error("the disk failed")]
    Disk(#[from] std::io::Error),
    /// What is stored does not fit together.
    #[error("the database is damaged: {0}")]
    Damaged(String),
    /// The file was written by a later version.
    #[error("the database was written by a later version of chat-relay: run that version")]
    Newer,
}

/// The relay's own rows, next to the agent's. Every method may fail when the database does.
#[expect(clippy::missing_errors_doc, reason = "said once above")]
pub trait RelayStore: AgentStore<Error = StoreError> + OperationStore {
    /// The relay's long-lived address; nothing before it is made.
    fn relay_address(&mut self) -> Result<Option<RelayAddress>, StoreError>;
    /// Stores it.
    fn set_relay_address(&mut self, address: &RelayAddress) -> Result<(), StoreError>;

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
    /// Groups whose next step is due.
    fn groups_due(&mut self, now: Timestamp, limit: usize) -> Result<Vec<ServedGroup>, StoreError>;
    /// The earliest moment at which a group's next step is due, after `now`.
    fn next_due(&mut self, now: Timestamp) -> Result<Option<Timestamp>, StoreError>;

    /// Keeps an owner's request until the group link has been read.
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
    /// Stores what has changed of a member.
    fn update_member(&mut self, member: &Member) -> Result<(), StoreError>;
    /// All who hold one of these roles, whatever their status.
    fn members_with_roles(&mut self, group: GroupId, roles: &[MemberRole])
    -> Result<Vec<Member>, StoreError>;
    /// Forgets a member of whom nothing is stored, who was never shown to anybody and is nobody's recipient.
    fn forget_stranger(&mut self, number: MemberNumber) -> Result<(), StoreError>;
    /// Forgets at most `limit` observers who left before a moment and of whom nothing else is stored.
    fn forget_left(&mut self, before: Timestamp, limit: usize) -> Result<(), StoreError>;
    /// How many are in: accepted or connected.
    fn count_members(&mut self, group: GroupId) -> Result<u32, StoreError>;

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
    /// Forgets messages older than `before`, but for the newest `keep` posts of each group and what still waits.
    fn forget_messages(&mut self, before: Timestamp, keep: u32) -> Result<(), StoreError>;

    /// Asks for a message to be handed out.
    fn add_task(
        &mut self,
        group: GroupId,
        message: StoredMessageId,
        ending: Ending,
    ) -> Result<TaskId, StoreError>;
    /// The oldest tasks of a group.
    fn tasks(&mut self, group: GroupId, limit: usize) -> Result<Vec<DeliveryTask>, StoreError>;
    /// Replaces tasks by the job that carries them.
    fn start_job(&mut self, tasks: &[TaskId], job: &DeliveryJob) -> Result<DeliveryJobId, StoreError>;
    /// Forgets tasks that no body can carry.
    fn drop_tasks(&mut self, tasks: &[TaskId]) -> Result<(), StoreError>;
    /// The oldest job of a group.
    fn job(&mut self, group: GroupId) -> Result<Option<DeliveryJob>, StoreError>;
    /// The next members of a job after its cursor: connected, reachable, and in its scope.
    fn page(&mut self, job: &DeliveryJob, limit: u32, backlog_max: u32)
    -> Result<Vec<Recipient>, StoreError>;
    /// Moves a job's cursor.
    fn move_cursor(&mut self, job: DeliveryJobId, cursor: MemberNumber) -> Result<(), StoreError>;
    /// Forgets a job that is done.
    fn finish_job(&mut self, job: DeliveryJobId) -> Result<(), StoreError>;
    /// Groups with tasks or jobs, in turn: those after one first.
    fn groups_with_deliveries(&mut self, after: GroupId, limit: usize) -> Result<Vec<GroupId>, StoreError>;
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
