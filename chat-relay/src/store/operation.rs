//! What the store keeps of the operator's decisions, and what it counts for the operator.

use protocol::crypto::sign::Ed25519PublicKey;
use protocol::group::identity::{LinkText, PublicGroupId};
use protocol::timestamp::Timestamp;

use super::StoreError;
use super::records::{GroupId, Member, ServedGroup};

/// Members of one key that are looked at: owners could name any number of them.
pub const RULED_MAX: u32 = 32;

/// Names an invitation code; what operators say. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CodeId(pub i64);

/// An invitation code as it is kept: without the code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedCode {
    /// Its row.
    pub id: CodeId,
    /// The operator's words.
    pub note: String,
    /// Groups that it lets in.
    pub groups_max: u32,
    /// Groups that it let in.
    pub groups: u32,
    /// When it was issued.
    pub issued: Timestamp,
    /// When it ends; never when none.
    pub until: Option<Timestamp>,
    /// Whether the operator took it back.
    pub revoked: bool,
}

/// A group that is not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Its row; what operators say.
    pub id: i64,
    /// The link of the group.
    pub group_link: LinkText,
    /// The group, when its link was read.
    pub public_group_id: Option<PublicGroupId>,
    /// What it called itself; empty when its link was not read.
    pub group_name: String,
    /// Since when.
    pub since: Timestamp,
}

/// An owner on the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedOwner {
    /// The key with which the owner signs.
    pub key: Ed25519PublicKey,
    /// The operator's words.
    pub note: String,
    /// Since when.
    pub since: Timestamp,
}

/// What was taken for an account on a day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Taken {
    /// Messages.
    pub messages: u64,
    /// Their bytes, as signed.
    pub bytes: u64,
}

/// How much of the quotas an account uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Groups whose links were read.
    pub groups: u64,
    /// Members that are in.
    pub members: u64,
    /// What was taken on the day.
    pub taken: Taken,
}

/// A group with what an operator wants to know of it.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupOverview {
    /// The group.
    pub group: ServedGroup,
    /// Whose quota it counts for, once it is taken.
    pub account: Option<String>,
    /// Whether its messages wait for the operator.
    pub paused: bool,
    /// Members that are in: accepted or connected.
    pub members: u32,
    /// Joiners who wait for a moderator.
    pub knocks: u32,
}

/// Numbers of everything, for metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Groups by the word of their status.
    pub groups: Vec<(&'static str, u64)>,
    /// Members that are in.
    pub members: u64,
    /// Joiners who wait for a moderator of their group.
    pub knocks: u64,
    /// Groups whose messages wait for the operator.
    pub paused_groups: u64,
    /// Messages that are kept.
    pub messages: u64,
}

/// Requests to servers that wait, of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingJobs {
    /// What is asked of the server.
    pub kind: &'static str,
    /// How many wait.
    pub waiting: u64,
    /// How many of them failed and are tried again.
    pub retrying: u64,
}

/// What concerns the operator. Every method may fail when the database does.
#[expect(clippy::missing_errors_doc, reason = "said once above")]
pub trait OperationStore {
    /// All settings that the operator gave at run time.
    fn operator_settings(&mut self) -> Result<Vec<(String, String)>, StoreError>;
    /// Gives one, or takes it back.
    fn set_operator_setting(&mut self, name: &str, value: Option<&str>) -> Result<(), StoreError>;

    /// The groups of a link: one for each owner and member id of ours that invitations gave.
    fn groups_by_link(&mut self, link: &LinkText) -> Result<Vec<ServedGroup>, StoreError>;
    /// Groups after one, in the order of their numbers.
    fn group_overviews(&mut self, after: GroupId, limit: u32) -> Result<Vec<GroupOverview>, StoreError>;
    /// The groups with most members that are in, and how many these are. Costs no more with more members.
    fn largest_groups(&mut self, limit: u32) -> Result<Vec<(GroupId, u64)>, StoreError>;
    /// Counts everything.
    fn totals(&mut self) -> Result<Totals, StoreError>;
    /// Messages of a group, or of all groups, that were not handed out to everybody yet.
    fn backlog(&mut self, group: Option<GroupId>) -> Result<u64, StoreError>;
    /// Our queues by the server that has them, encoded.
    fn queues_by_server(&mut self) -> Result<Vec<(Vec<u8>, u64)>, StoreError>;
    /// Requests to servers that wait, at most so many looked at; says whether there are more.
    fn waiting_jobs(&mut self, limit: u32) -> Result<(Vec<WaitingJobs>, bool), StoreError>;

    /// Keeps a group's messages back, or lets them go.
    fn set_paused(&mut self, group: GroupId, paused: bool) -> Result<(), StoreError>;

    /// Remembers a group that is not served.
    fn reject(
        &mut self,
        link: &LinkText,
        group: Option<&PublicGroupId>,
        name: &str,
        now: Timestamp,
    ) -> Result<(), StoreError>;
    /// Whether a group is not served, by its link or by itself.
    fn is_rejected(&mut self, link: &LinkText, group: Option<&PublicGroupId>) -> Result<bool, StoreError>;
    /// All groups that are not served, oldest first.
    fn rejections(&mut self) -> Result<Vec<Rejection>, StoreError>;
    /// Forgets one by its number or its link; says whether it was there.
    fn clear_rejection(&mut self, id_or_link: &str) -> Result<bool, StoreError>;

    /// Puts an owner on the list.
    fn allow_owner(&mut self, key: &Ed25519PublicKey, note: &str, now: Timestamp) -> Result<(), StoreError>;
    /// Takes an owner off the list; says whether it was there.
    fn disallow_owner(&mut self, key: &Ed25519PublicKey) -> Result<bool, StoreError>;
    /// Whether an owner is on the list.
    fn is_owner_allowed(&mut self, key: &Ed25519PublicKey) -> Result<bool, StoreError>;
    /// The list.
    fn allowed_owners(&mut self) -> Result<Vec<AllowedOwner>, StoreError>;

    /// Issues a code by its digest.
    fn issue_code(
        &mut self,
        digest: &[u8; 32],
        note: &str,
        groups_max: u32,
        until: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<CodeId, StoreError>;
    /// A code by its digest.
    fn code(&mut self, digest: &[u8; 32]) -> Result<Option<IssuedCode>, StoreError>;
    /// A code by its number.
    fn code_by_id(&mut self, id: CodeId) -> Result<Option<IssuedCode>, StoreError>;
    /// All codes, oldest first.
    fn codes(&mut self) -> Result<Vec<IssuedCode>, StoreError>;
    /// Takes a code back; says whether it was there.
    fn revoke_code(&mut self, id: CodeId) -> Result<bool, StoreError>;
    /// Whether a code let a group in.
    fn is_code_used_for(&mut self, id: CodeId, link: &LinkText) -> Result<bool, StoreError>;
    /// Remembers that a code let a group in.
    fn use_code(&mut self, id: CodeId, link: &LinkText) -> Result<(), StoreError>;

    /// The members with this key about whom something was decided, at most [`RULED_MAX`]: first those who were removed or
    /// turned away, whom no number of others hides, and of either the last first.
    fn ruled_members(&mut self, group: GroupId, key: &Ed25519PublicKey) -> Result<Vec<Member>, StoreError>;

    /// Whose quota a group counts for.
    fn account(&mut self, group: GroupId) -> Result<Option<String>, StoreError>;
    /// Says whose quota a group counts for.
    fn set_account(&mut self, group: GroupId, account: &str) -> Result<(), StoreError>;
    /// Groups of an account whose links were read, one excepted.
    fn groups_of_account(&mut self, account: &str, but: GroupId) -> Result<u64, StoreError>;
    /// Members that are in, of all groups of an account, or of all groups. Asked at each join: costs the same with
    /// any number of members and groups.
    fn members_of_account(&mut self, account: Option<&str>) -> Result<u64, StoreError>;
    /// How much accounts use, those with most messages on the day first.
    fn usage(&mut self, day: i64, limit: u32) -> Result<Vec<(String, Usage)>, StoreError>;
    /// How much all of them use.
    fn usage_of_all(&mut self, day: i64) -> Result<Usage, StoreError>;
    /// What was taken for an account on a day; the empty account is everybody.
    fn taken(&mut self, account: &str, day: i64) -> Result<Taken, StoreError>;
    /// Adds to it.
    fn add_taken(&mut self, account: &str, day: i64, more: Taken) -> Result<(), StoreError>;
}
