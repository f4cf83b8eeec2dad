//! History by pages: see `migrations/sqlite/0007_history.sql`.

use protocol::timestamp::Timestamp;
use rusqlite::params;

use super::SqlStore;
use crate::store::StoreError;
use crate::store::records::{GroupId, StoredMessage, StoredMessageId};

impl SqlStore {
    pub(super) fn read_history_page(
        &mut self,
        group: GroupId,
        before: Option<StoredMessageId>,
        limit: u32,
        files_since: Timestamp,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        self.messages(
            "JOIN members a ON a.member_number = m.author
             WHERE m.group_id = ?1 AND m.support_of IS NULL AND m.deleted = 0 AND m.message_number < ?2
             AND a.blocked = 0 AND (m.kind <> 'file' OR m.broker_ms > ?4)
             ORDER BY m.message_number DESC LIMIT ?3",
            params![group.0, before.map_or(i64::MAX, |before| before.0), limit, files_since.0],
        )
    }
}
