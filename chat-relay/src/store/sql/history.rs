//! History by pages: see `migrations/sqlite/0007_history.sql`.
//!
//! What is filled in was said before all that came by itself: it has numbers below zero, the newest the highest.

use protocol::group::profile::{GroupProfile, HistoryKept};
use protocol::timestamp::Timestamp;
use rusqlite::params;

use super::{SqlStore, json};
use crate::store::StoreError;
use crate::store::records::{GroupId, NewMessage, StoredMessage, StoredMessageId, Welcomed};

impl SqlStore {
    pub(super) fn read_history_page(
        &mut self,
        group: GroupId,
        before: Option<StoredMessageId>,
        oldest: StoredMessageId,
        limit: u32,
        files_since: Timestamp,
        welcomed: Option<Welcomed>,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        let before = before.map_or(i64::MAX, |before| before.0);
        let nothing = (i64::MAX, 0, i64::MIN);
        let (from, member, at) = welcomed.map_or(nothing, |given| (given.from.0, given.member.0, given.at.0));
        self.messages(
            "JOIN members a ON a.member_number = m.author
             WHERE m.group_id = ?1 AND m.support_of IS NULL AND m.deleted = 0 AND m.message_number < ?2
             AND m.message_number >= ?5 AND a.blocked = 0 AND (m.kind <> 'file' OR m.broker_ms > ?4)
             AND NOT (m.received_ms < ?8 AND EXISTS (
                 SELECT 1 FROM messages p WHERE p.group_id = m.group_id AND p.kind = 'post' AND p.received_ms < ?8
                 AND p.message_number >= ?6 AND p.author <> ?7 AND p.message_id = CASE
                     WHEN m.kind = 'post' THEN m.message_id WHEN m.kind IN ('edit', 'file') THEN m.target END))
             ORDER BY m.message_number DESC LIMIT ?3",
            params![group.0, before, limit, files_since.0, oldest.0, from, member, at],
        )
    }

    pub(super) fn read_oldest_kept(
        &mut self,
        group: GroupId,
        kept: &HistoryKept,
        now: Timestamp,
    ) -> Result<StoredMessageId, StoreError> {
        let age = kept.age_seconds.map(|seconds| i64::from(seconds).saturating_mul(-1000));
        let since = age.map_or(i64::MIN, |age| now.plus_ms(age).0);
        let bytes = kept.bytes.and_then(|bytes| i64::try_from(bytes).ok()).unwrap_or(i64::MAX);
        let newest_left_out: Option<Option<i64>> = self.one(
            "SELECT max(message_number) FROM (
                SELECT message_number, broker_ms, row_number() OVER newest AS place,
                       sum(bytes) OVER newest AS bytes FROM (
                    SELECT message_number, broker_ms, length(element) AS bytes FROM messages
                    WHERE group_id = ?1 AND kind = 'post' AND deleted = 0 AND support_of IS NULL
                    ORDER BY message_number DESC LIMIT ?5) AS posts
                WINDOW newest AS (ORDER BY message_number DESC)) AS placed
             WHERE place > ?2 OR broker_ms < ?3 OR bytes > ?4",
            params![group.0, kept.items, since, bytes, i64::from(kept.items).saturating_add(1)],
            |row| row.get(0),
        )?;
        Ok(StoredMessageId(newest_left_out.flatten().map_or(i64::MIN, |number| number.saturating_add(1))))
    }

    pub(super) fn write_filled(
        &mut self,
        group: GroupId,
        message: &NewMessage,
        newer: Option<StoredMessageId>,
        now: Timestamp,
    ) -> Result<Option<StoredMessageId>, StoreError> {
        let Some(stored) = self.write_message(group, message, now)? else { return Ok(None) };
        // The next number, below zero: nobody else ever gets it. Those who stand below the place move down by one.
        let mut free = stored.0.saturating_neg();
        let below: Vec<i64> = match newer {
            Some(newer) => self.all(
                "SELECT message_number FROM messages
                 WHERE group_id = ?1 AND message_number < 0 AND message_number < ?2 ORDER BY message_number",
                params![group.0, newer.0],
                |row| row.get(0),
            )?,
            None => Vec::new(),
        };
        let sql = "UPDATE messages SET message_number = ?2 WHERE message_number = ?1";
        for number in below {
            self.change_one(sql, params![number, free])?;
            free = number;
        }
        self.change_one(sql, params![stored.0, free])?;
        Ok(Some(StoredMessageId(free)))
    }

    pub(super) fn delete_filled(&mut self, id: StoredMessageId) -> Result<(), StoreError> {
        self.change_one(
            "DELETE FROM messages WHERE message_number = ?1 AND message_number < 0",
            params![id.0],
        )
    }

    pub(super) fn delete_old_messages(
        &mut self,
        before: Timestamp,
        now: Timestamp,
        items_max: u32,
    ) -> Result<(), StoreError> {
        let worker = self.worker();
        let sql = "SELECT group_id, profile FROM served_groups WHERE worker_id = ?1";
        let groups: Vec<(i64, Option<String>)> =
            self.all(sql, params![worker], |row| Ok((row.get(0)?, row.get(1)?)))?;
        for (group, profile) in groups {
            let profile: Option<GroupProfile> = profile.map(|profile| json(&profile)).transpose()?;
            let preferences = profile.map(|profile| profile.preferences()).unwrap_or_default();
            let kept = preferences.history_kept();
            let items = if preferences.gives_history() { kept.items.min(items_max) } else { 0 };
            let kept = HistoryKept { items, ..kept };
            let oldest = self.read_oldest_kept(GroupId(group), &kept, now)?;
            self.run(
                "DELETE FROM messages WHERE group_id = ?1 AND received_ms < ?2
                 AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.message_number = messages.message_number)
                 AND NOT EXISTS (SELECT 1 FROM ahead a WHERE a.message_number = messages.message_number)
                 AND (kind IN ('file', 'reaction', 'other') OR deleted = 1 OR message_number < ?3)",
                params![group, before.0, oldest.0],
            )?;
        }
        Ok(())
    }
}
