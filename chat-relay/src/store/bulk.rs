//! What the store keeps for members with two connections: statements that go ahead of bulk.

use protocol::agent::store::ConnectionId;

use super::StoreError;
use super::records::{GroupId, MemberNumber, StoredMessage, StoredMessageId};

/// A statement of which copies are being handed out ahead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AheadRound {
    /// Its row.
    pub id: i64,
    /// The statement.
    pub message: StoredMessage,
    /// The last member that was given it.
    pub cursor: MemberNumber,
}

/// Rows of statements that go ahead. Every method may fail when the database does.
#[expect(clippy::missing_errors_doc, reason = "said once above")]
pub trait BulkStore {
    /// A stored statement came ahead: it is applied, and not in its group's stream.
    fn set_ahead(&mut self, message: StoredMessageId, author: MemberNumber) -> Result<(), StoreError>;
    /// It comes in its turn. Says whether it came ahead and had not come in its turn yet.
    fn take_turn(&mut self, message: StoredMessageId) -> Result<bool, StoreError>;
    /// The statements of an author that came ahead and not in their turn, oldest first.
    fn ahead_of(&mut self, author: MemberNumber) -> Result<Vec<StoredMessage>, StoreError>;

    /// Begins to hand out copies of a statement.
    fn begin_ahead(&mut self, group: GroupId, message: StoredMessageId) -> Result<(), StoreError>;
    /// The oldest of a group's rounds of copies.
    fn ahead_round(&mut self, group: GroupId) -> Result<Option<AheadRound>, StoreError>;
    /// Members up to this one were given it; all were when none is named.
    fn move_ahead(&mut self, round: i64, cursor: Option<MemberNumber>) -> Result<(), StoreError>;
    /// Members after one with both connections in use, by number, with the first connection.
    fn members_ahead(
        &mut self,
        group: GroupId,
        after: MemberNumber,
        limit: usize,
    ) -> Result<Vec<(MemberNumber, ConnectionId)>, StoreError>;
    /// Whether at least `count` requests of a connection wait.
    fn has_waiting(&mut self, connection: ConnectionId, count: u32) -> Result<bool, StoreError>;
}
