//! Statements that go ahead of bulk: see `migrations/sqlite/0013_bulk.sql`.

use protocol::agent::store::ConnectionId;
use rusqlite::params;

use super::SqlStore;
use crate::store::StoreError;
use crate::store::bulk::{AheadRound, BulkStore};
use crate::store::records::{GroupId, MemberNumber, StoredMessage, StoredMessageId};

impl BulkStore for SqlStore {
    fn set_ahead(&mut self, message: StoredMessageId, author: MemberNumber) -> Result<(), StoreError> {
        let sql = "INSERT INTO ahead (message_number, author) VALUES (?1, ?2)";
        self.change_one(sql, params![message.0, author.0])
    }

    fn take_turn(&mut self, message: StoredMessageId) -> Result<bool, StoreError> {
        Ok(self.run("DELETE FROM ahead WHERE message_number = ?1", params![message.0])? == 1)
    }

    fn ahead_of(&mut self, author: MemberNumber) -> Result<Vec<StoredMessage>, StoreError> {
        let condition = "JOIN ahead a ON a.message_number = m.message_number WHERE a.author = ?1
                         ORDER BY m.message_number";
        self.messages(condition, params![author.0])
    }

    fn begin_ahead(&mut self, group: GroupId, message: StoredMessageId) -> Result<(), StoreError> {
        let sql = "INSERT INTO ahead_rounds (group_id, message_number) VALUES (?1, ?2)";
        self.change_one(sql, params![group.0, message.0])
    }

    fn ahead_round(&mut self, group: GroupId) -> Result<Option<AheadRound>, StoreError> {
        let sql = "SELECT round_id, message_number, cursor FROM ahead_rounds WHERE group_id = ?1
                   ORDER BY round_id LIMIT 1";
        let found: Option<(i64, i64, i64)> =
            self.one(sql, params![group.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let Some((id, message, cursor)) = found else { return Ok(None) };
        let message = self.messages("WHERE m.message_number = ?1", params![message])?.pop();
        let message = message.ok_or(StoreError::Missing)?;
        Ok(Some(AheadRound { id, message, cursor: MemberNumber(cursor) }))
    }

    fn move_ahead(&mut self, round: i64, cursor: Option<MemberNumber>) -> Result<(), StoreError> {
        match cursor {
            Some(cursor) => {
                let sql = "UPDATE ahead_rounds SET cursor = ?2 WHERE round_id = ?1";
                self.change_one(sql, params![round, cursor.0])
            }
            None => self.change_one("DELETE FROM ahead_rounds WHERE round_id = ?1", params![round]),
        }
    }

    fn members_ahead(
        &mut self,
        group: GroupId,
        after: MemberNumber,
        limit: usize,
    ) -> Result<Vec<(MemberNumber, ConnectionId)>, StoreError> {
        self.all(
            "SELECT member_number, connection_id FROM members WHERE group_id = ?1 AND member_number > ?2
             AND bulk_stage = 3 AND connection_id IS NOT NULL AND link <> 'broken' ORDER BY member_number LIMIT ?3",
            params![group.0, after.0, i64::try_from(limit).unwrap_or(i64::MAX)],
            |row| Ok((MemberNumber(row.get(0)?), ConnectionId(row.get(1)?))),
        )
    }

    fn has_waiting(&mut self, connection: ConnectionId, count: u32) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM agent_jobs WHERE connection_id = ?1 LIMIT 1 OFFSET ?2";
        let offset = i64::from(count).saturating_sub(1).max(0);
        Ok(self.one(sql, params![connection.0, offset], |_| Ok(()))?.is_some())
    }
}
