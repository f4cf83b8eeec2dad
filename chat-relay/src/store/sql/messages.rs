//! Stored messages and history: see `migrations/sqlite/0003_messages.sql`.

use protocol::group::identity::MemberId;
use protocol::group::msg_id::SharedMessageId;
use protocol::timestamp::Timestamp;
use rusqlite::{ToSql, params};

use super::{Row, SqlStore, stored, word};
use crate::store::StoreError;
use crate::store::records::{GroupId, MemberNumber, MessageKind, NewMessage, StoredMessage, StoredMessageId};

/// The columns that [`read_message`] reads; `m` is the table.
pub(super) const MESSAGE_COLUMNS: &str = "m.message_number, m.message_id, m.author, m.broker_ms, m.kind,
    m.target, m.support_of, m.as_channel, m.verified, m.element";

impl SqlStore {
    pub(super) fn write_message(
        &mut self,
        group: GroupId,
        message: &NewMessage,
        now: Timestamp,
    ) -> Result<Option<StoredMessageId>, StoreError> {
        let added: Option<i64> = self.one(
            "INSERT INTO messages (group_id, message_id, author, broker_ms, received_ms, kind, target, support_of,
             as_channel, verified, element) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
             ON CONFLICT (group_id, message_id) DO NOTHING RETURNING message_number",
            params![
                group.0,
                message.message_id.as_bytes(),
                message.author.0,
                message.broker_time.0,
                now.0,
                message.kind.word(),
                message.target.as_ref().map(SharedMessageId::as_bytes),
                message.support_of.as_ref().map(MemberId::as_bytes),
                message.as_channel,
                message.verified,
                message.element,
            ],
            |row| row.get(0),
        )?;
        Ok(added.map(StoredMessageId))
    }

    pub(super) fn messages(
        &mut self,
        condition: &str,
        params: &[&dyn ToSql],
    ) -> Result<Vec<StoredMessage>, StoreError> {
        let sql = format!("SELECT {MESSAGE_COLUMNS} FROM messages m {condition}");
        self.all(&sql, params, read_message)
    }

    pub(super) fn read_history(
        &mut self,
        group: GroupId,
        limit: u32,
        files_since: Timestamp,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        self.messages(
            "JOIN members a ON a.member_number = m.author
             JOIN (SELECT p.message_number, p.message_id, p.author FROM messages p
                   JOIN members b ON b.member_number = p.author
                   WHERE p.group_id = ?1 AND p.kind = 'post' AND p.deleted = 0 AND p.support_of IS NULL
                   AND b.blocked = 0 ORDER BY p.message_number DESC LIMIT ?2) AS posts
             ON m.message_number = posts.message_number
             OR (m.kind = 'edit' AND m.target = posts.message_id AND m.message_number =
                 (SELECT max(e.message_number) FROM messages e WHERE e.group_id = ?1
                  AND e.target = posts.message_id AND e.kind = 'edit' AND e.deleted = 0))
             OR (m.kind = 'file' AND m.target = posts.message_id AND m.author = posts.author AND m.deleted = 0
                 AND m.broker_ms > ?3)
             WHERE m.group_id = ?1 AND a.blocked = 0 ORDER BY m.message_number",
            params![group.0, limit, files_since.0],
        )
    }

    pub(super) fn hide_by_id(&mut self, group: GroupId, id: &SharedMessageId) -> Result<(), StoreError> {
        self.run(
            "UPDATE messages SET deleted = 1 WHERE group_id = ?1 AND (message_id = ?2 OR target = ?2)",
            params![group.0, id.as_bytes()],
        )?;
        Ok(())
    }

    pub(super) fn hide_by_author(&mut self, author: MemberNumber) -> Result<(), StoreError> {
        self.run("UPDATE messages SET deleted = 1 WHERE author = ?1", params![author.0])?;
        Ok(())
    }
}

/// Reads [`MESSAGE_COLUMNS`] from the front of a row.
pub(super) fn read_message(row: &Row<'_>) -> rusqlite::Result<StoredMessage> {
    let id = |bytes: Vec<u8>| stored(SharedMessageId::new(bytes));
    Ok(StoredMessage {
        id: StoredMessageId(row.get(0)?),
        message: NewMessage {
            message_id: id(row.get(1)?)?,
            author: MemberNumber(row.get(2)?),
            broker_time: Timestamp(row.get(3)?),
            kind: word(MessageKind::from_word(&row.get::<_, String>(4)?))?,
            target: row.get::<_, Option<Vec<u8>>>(5)?.map(id).transpose()?,
            support_of: row
                .get::<_, Option<Vec<u8>>>(6)?
                .map(|bytes| stored(MemberId::new(bytes)))
                .transpose()?,
            as_channel: row.get(7)?,
            verified: row.get(8)?,
            element: row.get(9)?,
        },
    })
}
