//! Messages, reactions, and the copies by which relays are compared.

use protocol::group::identity::MemberId;
use protocol::group::msg_id::SharedMessageId;
use protocol::timestamp::Timestamp;
use rusqlite::{Row, params};
use serde::{Deserialize, Serialize};

use super::group::GroupId;
use super::relay::RelayId;
use super::{Store, StoreError};
use crate::event::{EvidenceKind, Signature};

const COLUMN: &str = "messages.sealed";
const EVIDENCE: &str = "evidence.sealed";
const COPY: &str = "copies.sealed";
const CHANGE: &str = "held_changes.sealed";
const COLUMNS: &str = "message_id, shared_id, author, sent_at_ms, sealed";

/// Changes that are kept for messages that may never come, per group.
const HELD_CHANGES_MAX: u64 = 1000;

/// Pieces of evidence that are kept, per group.
const EVIDENCE_MAX: u64 = 1000;

/// The same evidence as one of so many pieces before it is nothing new.
const EVIDENCE_COMPARED: u32 = 64;

/// Stands in place of a relay for what we sent ourselves.
pub(crate) const OURSELVES: RelayId = RelayId(0);

/// A message with its columns.
#[derive(Debug, Clone)]
pub(crate) struct MessageRow {
    /// The row.
    pub(crate) row: i64,
    /// The id that all members know.
    pub(crate) shared_id: SharedMessageId,
    /// The author; none when it was posted in the group's name.
    pub(crate) author: Option<MemberId>,
    /// When the author's server took it.
    pub(crate) sent_at: Timestamp,
    /// The rest.
    pub(crate) record: Message,
}

/// What a message says and what became of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Message {
    /// The text; empty when deleted.
    pub(crate) text: String,
    /// How far the author is proven. An edit or delete must be proven as far.
    pub(crate) signature: Signature,
    /// Ours.
    pub(crate) own: bool,
    /// The text was changed.
    pub(crate) edited: bool,
    /// It was deleted.
    pub(crate) deleted: bool,
    /// The message that it answers.
    pub(crate) reply_to: Option<SharedMessageId>,
    /// Some relay's server has it (own messages).
    pub(crate) delivered: bool,
}

/// Where a new message stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Somebody has seen it.
    pub(crate) shown: bool,
    /// It was said before we came.
    pub(crate) recalled: bool,
    /// Its author's number, when something came first that its author made later.
    pub(crate) late: Option<u64>,
}

/// The copy of an event that counts, as its relay passed it on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct HeldCopy {
    /// The author that the relay named; none for the group itself.
    pub(crate) author: Option<MemberId>,
    /// What its signature was worth.
    pub(crate) signature: Signature,
    /// The statement as it came.
    #[serde(with = "super::group::bytes")]
    pub(crate) verbatim: Vec<u8>,
}

/// A statement in the order in which statements came.
#[derive(Debug, Clone)]
pub(crate) struct SaidRow {
    /// Its place in that order.
    pub(crate) came: i64,
    /// The id that all members know.
    pub(crate) shared_id: SharedMessageId,
    /// When the author's server took it.
    pub(crate) sent_at: Timestamp,
    /// The statement.
    pub(crate) copy: HeldCopy,
}

/// A change of a message that came before the message.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct HeldChange {
    /// Who wants it.
    pub(crate) author: Option<MemberId>,
    /// What its signature was worth.
    pub(crate) signature: Signature,
    /// When its author's server took it, in milliseconds.
    pub(crate) sent_at_ms: i64,
    /// The statement as it came.
    #[serde(with = "super::group::bytes")]
    pub(crate) verbatim: Vec<u8>,
}

/// Numbers about the copies of one message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Copies {
    /// Further copies with the same bytes.
    pub(crate) duplicates: u64,
    /// Copies with other bytes.
    pub(crate) conflicts: u64,
    /// Who brought it, in order.
    pub(crate) relays: Vec<RelayId>,
}

/// Something kept against a relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Evidence {
    /// What kind.
    pub(crate) kind: EvidenceKind,
    /// The relay's name.
    pub(crate) relay: String,
    /// The message, if it has an id.
    pub(crate) message_id: Option<String>,
    /// In words.
    pub(crate) detail: String,
    /// The bytes as they came.
    #[serde(with = "super::group::bytes")]
    pub(crate) bytes: Vec<u8>,
}

impl Store {
    /// The copy of an event that counts, and the relay that brought it.
    pub(crate) fn held_copy(
        &self,
        group: GroupId,
        shared_id: &SharedMessageId,
    ) -> Result<Option<(RelayId, HeldCopy)>, StoreError> {
        let sql = "SELECT relay_id, sealed FROM copies WHERE group_id = ?1 AND shared_id = ?2";
        let held: Option<(i64, Vec<u8>)> =
            self.one(sql, params![group.0, shared_id.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))?;
        held.map(|(relay, sealed)| Ok((RelayId(relay), self.open_record(COPY, &sealed)?))).transpose()
    }

    /// Whether a copy of an event is held.
    pub(crate) fn has_copy(&self, group: GroupId, shared_id: &SharedMessageId) -> Result<bool, StoreError> {
        let sql = "SELECT count(*) FROM copies WHERE group_id = ?1 AND shared_id = ?2";
        Ok(self.count(sql, params![group.0, shared_id.as_bytes()])? > 0)
    }

    /// Lets go of a message that nobody has said, so that one that somebody has said can come under its id.
    pub(crate) fn forget_message(
        &mut self,
        group: GroupId,
        shared_id: &SharedMessageId,
    ) -> Result<(), StoreError> {
        for table in ["messages", "copies"] {
            let sql = format!("DELETE FROM {table} WHERE group_id = ?1 AND shared_id = ?2");
            self.run(&sql, params![group.0, shared_id.as_bytes()])?;
        }
        Ok(())
    }

    /// Makes this the copy that counts.
    pub(crate) fn hold_copy(
        &mut self,
        group: GroupId,
        shared_id: &SharedMessageId,
        relay: RelayId,
        sent_at: Timestamp,
        copy: &HeldCopy,
    ) -> Result<(), StoreError> {
        let sealed = self.seal_record(COPY, copy)?;
        self.change_one(
            "INSERT INTO copies (group_id, shared_id, relay_id, sent_at_ms, sealed, came)
             SELECT ?1, ?2, ?3, ?4, ?5, coalesce(max(came), 0) + 1 FROM copies
             WHERE group_id = ?1 AND came IS NOT NULL
             ON CONFLICT DO UPDATE SET relay_id = excluded.relay_id, sealed = excluded.sealed",
            params![group.0, shared_id.as_bytes(), relay.0, sent_at.0, sealed],
        )?;
        self.note_bringer(group, shared_id, relay)
    }

    /// What was said in a group, the newest first: at most `limit` statements that came before a place and after another.
    pub(crate) fn said_between(
        &self,
        group: GroupId,
        before: Option<i64>,
        after: Option<i64>,
        limit: u32,
    ) -> Result<Vec<SaidRow>, StoreError> {
        let sql = "SELECT came, shared_id, sent_at_ms, sealed FROM copies
                   WHERE group_id = ?1 AND came IS NOT NULL AND came < ?2 AND came > ?4
                   ORDER BY came DESC LIMIT ?3";
        let key = params![group.0, before.unwrap_or(i64::MAX), limit, after.unwrap_or(i64::MIN)];
        let rows: Vec<(i64, Vec<u8>, i64, Vec<u8>)> =
            self.all(sql, key, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
        let open = |(came, shared_id, sent_at, sealed): (i64, Vec<u8>, i64, Vec<u8>)| {
            Ok(SaidRow {
                came,
                shared_id: SharedMessageId::new(shared_id)?,
                sent_at: Timestamp(sent_at),
                copy: self.open_record(COPY, &sealed)?,
            })
        };
        rows.into_iter().map(open).collect()
    }

    /// Counts a further copy: one that says the same, or one that differs.
    pub(crate) fn count_copy(
        &mut self,
        group: GroupId,
        shared_id: &SharedMessageId,
        relay: RelayId,
        differs: bool,
    ) -> Result<(), StoreError> {
        self.change_one(
            "UPDATE copies SET duplicates = duplicates + 1 - ?3, conflicts = conflicts + ?3
             WHERE group_id = ?1 AND shared_id = ?2",
            params![group.0, shared_id.as_bytes(), i64::from(differs)],
        )?;
        self.note_bringer(group, shared_id, relay)
    }

    /// Whether a relay brought a copy.
    pub(crate) fn has_brought(
        &self,
        group: GroupId,
        shared_id: &SharedMessageId,
        relay: RelayId,
    ) -> Result<bool, StoreError> {
        let sql = "SELECT count(*) FROM copy_relays WHERE group_id = ?1 AND shared_id = ?2 AND relay_id = ?3";
        Ok(self.count(sql, params![group.0, shared_id.as_bytes(), relay.0])? > 0)
    }

    /// Notes that a relay brought a copy.
    pub(crate) fn note_bringer(
        &mut self,
        group: GroupId,
        shared_id: &SharedMessageId,
        relay: RelayId,
    ) -> Result<(), StoreError> {
        if relay != OURSELVES {
            self.run(
                "INSERT INTO copy_relays (group_id, shared_id, relay_id, place)
                 SELECT ?1, ?2, ?3, count(*) FROM copy_relays WHERE group_id = ?1 AND shared_id = ?2
                 ON CONFLICT DO NOTHING",
                params![group.0, shared_id.as_bytes(), relay.0],
            )?;
        }
        Ok(())
    }

    /// Keeps a change until its message comes; too many are not kept.
    pub(crate) fn hold_change(
        &mut self,
        group: GroupId,
        shared_id: &SharedMessageId,
        change: &HeldChange,
    ) -> Result<(), StoreError> {
        if self.count("SELECT count(*) FROM held_changes WHERE group_id = ?1", params![group.0])?
            >= HELD_CHANGES_MAX
        {
            return Ok(());
        }
        let sealed = self.seal_record(CHANGE, change)?;
        let sql = "INSERT INTO held_changes (group_id, shared_id, sealed) VALUES (?1, ?2, ?3)";
        self.change_one(sql, params![group.0, shared_id.as_bytes(), sealed])
    }

    /// The changes that waited for this message, in order; they are kept no longer.
    pub(crate) fn take_held_changes(
        &mut self,
        group: GroupId,
        shared_id: &SharedMessageId,
    ) -> Result<Vec<HeldChange>, StoreError> {
        let key = params![group.0, shared_id.as_bytes()];
        let sql =
            "SELECT sealed FROM held_changes WHERE group_id = ?1 AND shared_id = ?2 ORDER BY held_change_id";
        let sealed: Vec<Vec<u8>> = self.all(sql, key, |row| row.get(0))?;
        self.run("DELETE FROM held_changes WHERE group_id = ?1 AND shared_id = ?2", key)?;
        sealed.iter().map(|sealed| self.open_record(CHANGE, sealed)).collect()
    }

    /// The numbers about the copies of one message.
    pub(crate) fn copies(&self, group: GroupId, shared_id: &SharedMessageId) -> Result<Copies, StoreError> {
        let key = params![group.0, shared_id.as_bytes()];
        let sql = "SELECT duplicates, conflicts FROM copies WHERE group_id = ?1 AND shared_id = ?2";
        let counts: Option<(i64, i64)> = self.one(sql, key, |row| Ok((row.get(0)?, row.get(1)?)))?;
        let (duplicates, conflicts) = counts.unwrap_or_default();
        let sql = "SELECT relay_id FROM copy_relays WHERE group_id = ?1 AND shared_id = ?2 ORDER BY place";
        let relays = self.all(sql, key, |row| row.get(0).map(RelayId))?;
        Ok(Copies { duplicates: unsigned(duplicates), conflicts: unsigned(conflicts), relays })
    }

    /// Second copies of messages that were dropped, and copies of anything that differed, over the whole group.
    pub(crate) fn count_copies(&self, group: GroupId) -> Result<(u64, u64), StoreError> {
        let sql = "SELECT coalesce(sum(duplicates) FILTER (WHERE message_id IS NOT NULL), 0),
                          coalesce(sum(conflicts), 0)
                   FROM copies LEFT JOIN messages USING (group_id, shared_id) WHERE group_id = ?1";
        let counts = self.one(sql, params![group.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let (duplicates, conflicts): (i64, i64) = counts.unwrap_or_default();
        Ok((unsigned(duplicates), unsigned(conflicts)))
    }

    /// Adds a message; does nothing when its id is known.
    pub(crate) fn add_message(
        &mut self,
        group: GroupId,
        shared_id: &SharedMessageId,
        author: Option<&MemberId>,
        sent_at: Timestamp,
        place: Place,
        record: &Message,
    ) -> Result<bool, StoreError> {
        let sealed = self.seal_record(COLUMN, record)?;
        let author = author.map(MemberId::as_bytes).unwrap_or_default();
        let Place { shown, recalled, late } = place;
        let added = self.run(
            "INSERT INTO messages (group_id, shared_id, author, sent_at_ms, shown, recalled, sealed)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING",
            params![group.0, shared_id.as_bytes(), author, sent_at.0, shown, recalled, sealed],
        )?;
        if let (1, Some(number)) = (added, late) {
            self.stand_before_later(group, shared_id, author, number)?;
        }
        Ok(added == 1)
    }

    /// A message that came late stands where the next one of its author stands.
    fn stand_before_later(
        &mut self,
        group: GroupId,
        shared_id: &SharedMessageId,
        author: &[u8],
        number: u64,
    ) -> Result<(), StoreError> {
        self.run(
            "UPDATE messages SET late_number = ?4, stands_before =
                (SELECT coalesce(m.stands_before, m.message_id) FROM author_chains c
                 JOIN chain_links own ON own.chain_id = c.chain_id AND own.shared_id = ?2
                 JOIN chain_links later ON later.chain_id = c.chain_id AND later.number > own.number
                 JOIN messages m ON m.group_id = ?1 AND m.shared_id = later.shared_id
                 WHERE c.group_id = ?1 AND c.author = ?3 AND m.author = ?3 AND m.recalled = 0
                 ORDER BY later.number LIMIT 1)
             WHERE group_id = ?1 AND shared_id = ?2 AND recalled = 0",
            params![group.0, shared_id.as_bytes(), author, i64::try_from(number).unwrap_or(i64::MAX)],
        )?;
        Ok(())
    }

    /// A message by its id.
    pub(crate) fn message(
        &self,
        group: GroupId,
        shared_id: &SharedMessageId,
    ) -> Result<Option<MessageRow>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM messages WHERE group_id = ?1 AND shared_id = ?2");
        let row = self.one(&sql, params![group.0, shared_id.as_bytes()], columns)?;
        row.map(|row| self.open_message(row)).transpose()
    }

    /// Replaces what a message says.
    pub(crate) fn save_message(&mut self, row: i64, record: &Message) -> Result<(), StoreError> {
        let sealed = self.seal_record(COLUMN, record)?;
        self.change_one("UPDATE messages SET sealed = ?2 WHERE message_id = ?1", params![row, sealed])
    }

    /// The newest messages, oldest first: first what was said before we came; what came late stands where its author said it.
    pub(crate) fn newest_messages(&self, group: GroupId, limit: u32) -> Result<Vec<MessageRow>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM messages WHERE group_id = ?1 AND recalled = 0
             ORDER BY coalesce(stands_before, message_id) DESC, late_number DESC LIMIT ?2"
        );
        let mut rows = self.all(&sql, params![group.0, limit], columns)?;
        rows.reverse();
        let room = limit.saturating_sub(u32::try_from(rows.len()).unwrap_or(limit));
        let mut recalled = if room > 0 { self.recalled(group, "1", room)? } else { Vec::new() };
        recalled.extend(rows);
        recalled.into_iter().map(|row| self.open_message(row)).collect()
    }

    /// The newest of what was said before we came, oldest first, as far as a condition holds.
    fn recalled(&self, group: GroupId, condition: &str, limit: u32) -> Result<Vec<Columns>, StoreError> {
        // Relays tell whole seconds: within one, what came first was said first. Within what one author says, the
        // author's own numbers tell the order.
        let sql = format!(
            "WITH placed AS (
                SELECT m.*, c.chain_id, l.number FROM messages m
                LEFT JOIN (chain_links l JOIN author_chains c USING (chain_id))
                ON l.shared_id = m.shared_id AND c.group_id = m.group_id AND c.author = m.author
                WHERE m.group_id = ?1 AND m.recalled = 1 GROUP BY m.message_id),
             timed AS (
                SELECT *, CASE WHEN chain_id IS NULL THEN sent_at_ms ELSE
                    max(sent_at_ms) OVER said END AS said_ms,
                    CASE WHEN chain_id IS NULL THEN message_id ELSE max(message_id) OVER said END AS came FROM placed
                WINDOW said AS (PARTITION BY chain_id ORDER BY number))
             SELECT {COLUMNS} FROM timed WHERE {condition}
             ORDER BY said_ms DESC, came DESC, chain_id DESC, number DESC LIMIT ?2"
        );
        let mut rows = self.all(&sql, params![group.0, limit], columns)?;
        rows.reverse();
        Ok(rows)
    }

    /// Messages that `listen` has not shown, oldest first.
    pub(crate) fn unshown_messages(&self, group: GroupId) -> Result<Vec<MessageRow>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM messages WHERE group_id = ?1 AND shown = 0 AND recalled = 0
             ORDER BY coalesce(stands_before, message_id), late_number"
        );
        let rows = self.all(&sql, params![group.0], columns)?;
        let recalled = self.recalled(group, "shown = 0", u32::MAX)?;
        recalled.into_iter().chain(rows).map(|row| self.open_message(row)).collect()
    }

    /// Remembers that a message was shown.
    pub(crate) fn mark_shown(&mut self, row: i64) -> Result<(), StoreError> {
        self.change_one("UPDATE messages SET shown = 1 WHERE message_id = ?1", params![row])
    }

    /// Remembers that all messages of a group were shown, or those up to a row, in the order in which they are shown.
    pub(crate) fn mark_shown_up_to(&mut self, group: GroupId, last: Option<i64>) -> Result<(), StoreError> {
        let recalled = self.recalled(group, "1", u32::MAX)?;
        let place = recalled.iter().position(|(row, ..)| Some(*row) == last);
        for (row, ..) in recalled.iter().take(place.map_or(usize::MAX, |place| place.saturating_add(1))) {
            self.mark_shown(*row)?;
        }
        if place.is_none() {
            self.run(
                "UPDATE messages SET shown = 1 WHERE group_id = ?1 AND shown = 0 AND recalled = 0
                 AND (?2 IS NULL OR (coalesce(stands_before, message_id), late_number) <=
                    (SELECT coalesce(stands_before, message_id), late_number FROM messages WHERE message_id = ?2))",
                params![group.0, last],
            )?;
        }
        Ok(())
    }

    /// Ids that begin as this text does, at most two: enough to see whether it is clear which is meant.
    pub(crate) fn message_ids_like(
        &self,
        group: GroupId,
        text: &str,
    ) -> Result<Vec<SharedMessageId>, StoreError> {
        let sql = "SELECT shared_id FROM messages WHERE group_id = ?1 ORDER BY message_id DESC";
        let ids: Vec<Vec<u8>> = self.all(sql, params![group.0], |row| row.get(0))?;
        let mut found = Vec::new();
        for id in ids {
            let id = SharedMessageId::new(id)?;
            if id.to_string() == text {
                return Ok(vec![id]);
            }
            if id.to_string().starts_with(text) && found.len() < 2 {
                found.push(id);
            }
        }
        Ok(found)
    }

    /// Messages of a group, and those not shown.
    pub(crate) fn count_messages(&self, group: GroupId) -> Result<(u64, u64), StoreError> {
        let all = self.count("SELECT count(*) FROM messages WHERE group_id = ?1", params![group.0])?;
        let sql = "SELECT count(*) FROM messages WHERE group_id = ?1 AND shown = 0";
        Ok((all, self.count(sql, params![group.0])?))
    }

    /// All messages of one author, when they go with the author.
    pub(crate) fn messages_of(
        &self,
        group: GroupId,
        author: &MemberId,
    ) -> Result<Vec<MessageRow>, StoreError> {
        let sql =
            format!("SELECT {COLUMNS} FROM messages WHERE group_id = ?1 AND author = ?2 ORDER BY message_id");
        let rows = self.all(&sql, params![group.0, author.as_bytes()], columns)?;
        rows.into_iter().map(|row| self.open_message(row)).collect()
    }

    /// Puts a reaction on a message or takes it back; says whether that changed anything. One person has at most
    /// `most` on one message.
    pub(crate) fn react(
        &mut self,
        group: GroupId,
        shared_id: &SharedMessageId,
        member: &MemberId,
        emoji: &str,
        add: bool,
        most: usize,
    ) -> Result<bool, StoreError> {
        let (id, member) = (shared_id.as_bytes(), member.as_bytes());
        if !add {
            let gone = self.run(
                "DELETE FROM reactions WHERE group_id = ?1 AND shared_id = ?2 AND member_id = ?3 AND emoji = ?4",
                params![group.0, id, member, emoji],
            )?;
            return Ok(gone == 1);
        }
        let added = self.run(
            "INSERT INTO reactions (group_id, shared_id, member_id, emoji)
             SELECT ?1, ?2, ?3, ?4 WHERE ?5 >
                (SELECT count(*) FROM reactions WHERE group_id = ?1 AND shared_id = ?2 AND member_id = ?3)
             ON CONFLICT DO NOTHING",
            params![group.0, id, member, emoji, i64::try_from(most).unwrap_or(i64::MAX)],
        )?;
        Ok(added == 1)
    }

    /// Reactions on a message with their number.
    pub(crate) fn reactions(
        &self,
        group: GroupId,
        shared_id: &SharedMessageId,
    ) -> Result<Vec<(String, u64)>, StoreError> {
        let sql =
            "SELECT emoji, count(*) FROM reactions WHERE group_id = ?1 AND shared_id = ?2 GROUP BY emoji";
        let rows =
            self.all(sql, params![group.0, shared_id.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.into_iter().map(|(emoji, count): (String, i64)| (emoji, unsigned(count))).collect())
    }

    /// Keeps something against a relay; of a relay that does nothing else, the first pieces are proof enough. Says whether it
    /// is new: a server that keeps showing old data, or a relay that brings the same again, is told of once.
    pub(crate) fn keep_evidence(
        &mut self,
        group: GroupId,
        now: Timestamp,
        evidence: &Evidence,
    ) -> Result<bool, StoreError> {
        let newest = "SELECT sealed FROM evidence WHERE group_id = ?1 ORDER BY evidence_id DESC LIMIT ?2";
        let newest: Vec<Vec<u8>> = self.all(newest, params![group.0, EVIDENCE_COMPARED], |row| row.get(0))?;
        for sealed in newest {
            if self.open_record::<Evidence>(EVIDENCE, &sealed)? == *evidence {
                return Ok(false);
            }
        }
        if self.count_evidence(group)? < EVIDENCE_MAX {
            let sealed = self.seal_record(EVIDENCE, evidence)?;
            let sql = "INSERT INTO evidence (group_id, kept_at_ms, sealed) VALUES (?1, ?2, ?3)";
            self.change_one(sql, params![group.0, now.0, sealed])?;
        }
        Ok(true)
    }

    /// What is kept against relays of a group, oldest first, with the moment.
    pub(crate) fn evidence(&self, group: GroupId) -> Result<Vec<(Timestamp, Evidence)>, StoreError> {
        let sql = "SELECT kept_at_ms, sealed FROM evidence WHERE group_id = ?1 ORDER BY evidence_id";
        let rows: Vec<(i64, Vec<u8>)> =
            self.all(sql, params![group.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let open = |(at, sealed): (i64, Vec<u8>)| Ok((Timestamp(at), self.open_record(EVIDENCE, &sealed)?));
        rows.into_iter().map(open).collect()
    }

    /// How much is kept against relays of a group.
    pub(crate) fn count_evidence(&self, group: GroupId) -> Result<u64, StoreError> {
        self.count("SELECT count(*) FROM evidence WHERE group_id = ?1", params![group.0])
    }

    fn open_message(&self, columns: Columns) -> Result<MessageRow, StoreError> {
        let (row, shared_id, author, sent_at, sealed) = columns;
        Ok(MessageRow {
            row,
            shared_id: SharedMessageId::new(shared_id)?,
            author: if author.is_empty() { None } else { Some(MemberId::new(author)?) },
            sent_at: Timestamp(sent_at),
            record: self.open_record(COLUMN, &sealed)?,
        })
    }
}

type Columns = (i64, Vec<u8>, Vec<u8>, i64, Vec<u8>);

fn columns(row: &Row<'_>) -> rusqlite::Result<Columns> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
}

fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::group::tests::a_group;
    use super::*;

    fn id(text: &str) -> SharedMessageId {
        SharedMessageId::new(text.as_bytes()).unwrap()
    }

    fn post(text: &str) -> Message {
        Message {
            text: text.into(),
            signature: Signature::Verified,
            own: false,
            edited: false,
            deleted: false,
            reply_to: None,
            delivered: false,
        }
    }

    #[test]
    fn a_message_is_kept_once_and_shown_in_the_order_it_came() {
        let mut store = Store::in_memory();
        let group = store.add_group(&a_group("news")).unwrap();
        for (text, new) in [("b", true), ("a", true), ("b", false)] {
            let added = store
                .add_message(group, &id(text), None, Timestamp(0), Place::default(), &post(text))
                .unwrap();
            assert_eq!(added, new, "{text}");
        }
        let texts = |rows: Vec<MessageRow>| rows.into_iter().map(|row| row.record.text).collect::<Vec<_>>();
        assert_eq!(texts(store.newest_messages(group, 10).unwrap()), ["b", "a"]);
        assert_eq!(texts(store.newest_messages(group, 1).unwrap()), ["a"]);
        let first = store.unshown_messages(group).unwrap().remove(0);
        store.mark_shown(first.row).unwrap();
        assert_eq!(texts(store.unshown_messages(group).unwrap()), ["a"]);
        assert_eq!(store.count_messages(group).unwrap(), (2, 1));
    }

    #[test]
    fn what_was_said_before_stands_ahead_whenever_it_came() {
        let mut store = Store::in_memory();
        let group = store.add_group(&a_group("news")).unwrap();
        for (text, sent_at, recalled) in
            [("c", 3, true), ("e", 9, false), ("b", 2, true), ("d", 5, false), ("a", 1, true)]
        {
            let place = Place { recalled, ..Place::default() };
            store.add_message(group, &id(text), None, Timestamp(sent_at), place, &post(text)).unwrap();
        }
        let texts = |rows: Vec<MessageRow>| rows.into_iter().map(|row| row.record.text).collect::<String>();
        let newest = |limit| texts(store.newest_messages(group, limit).unwrap());
        assert_eq!((newest(9), newest(3), newest(1)), ("abced".to_owned(), "ced".to_owned(), "d".to_owned()));
        let row = |store: &Store, text| store.message(group, &id(text)).unwrap().unwrap().row;
        let unshown = |store: &Store| texts(store.unshown_messages(group).unwrap());
        for (read, left) in [("b", "ced"), ("e", "d")] {
            let row = row(&store, read);
            store.mark_shown_up_to(group, Some(row)).unwrap();
            assert_eq!(unshown(&store), left);
        }
        store.mark_shown_up_to(group, None).unwrap();
        assert_eq!(unshown(&store), "");
    }

    #[test]
    fn the_authors_own_numbers_order_what_was_said_before() {
        let mut store = Store::in_memory();
        let group = store.add_group(&a_group("news")).unwrap();
        let author = MemberId::new([4; 12]).unwrap();
        let epoch = protocol::group::author_chain::Epoch([1; 12]);
        let (chain, _) = store.add_author_chain(group, &author, epoch).unwrap();
        // Whoever brought them lied about the times of the first and the last.
        for (text, number, sent_at) in [("c", 3, 1), ("a", 1, 20), ("b", 2, 10)] {
            let place = Place { recalled: true, ..Place::default() };
            store
                .add_message(group, &id(text), Some(&author), Timestamp(sent_at), place, &post(text))
                .unwrap();
            let held = protocol::group::author_chain::follow::Held { digest: [number; 32], previous: None };
            store.hold_link(chain, number.into(), &id(text), held, false).unwrap();
        }
        let place = Place { recalled: true, ..Place::default() };
        store.add_message(group, &id("x"), None, Timestamp(15), place, &post("x")).unwrap();
        let rows = store.newest_messages(group, 9).unwrap();
        assert_eq!(rows.into_iter().map(|row| row.record.text).collect::<String>(), "xabc");
    }

    #[test]
    fn within_a_second_what_came_first_was_said_first() {
        let mut store = Store::in_memory();
        let group = store.add_group(&a_group("news")).unwrap();
        let author = |byte| MemberId::new([byte; 12]).unwrap();
        let mut chain = |byte| {
            let epoch = protocol::group::author_chain::Epoch([byte; 12]);
            store.add_author_chain(group, &author(byte), epoch).unwrap().0
        };
        let chains = [chain(1), chain(2)];
        for (text, place, number) in [("a", 0, 1), ("b", 1, 1), ("c", 0, 2), ("d", 1, 2), ("e", 0, 3)] {
            let by = author(u8::try_from(place + 1).unwrap());
            let recalled = Place { recalled: true, ..Place::default() };
            store.add_message(group, &id(text), Some(&by), Timestamp(0), recalled, &post(text)).unwrap();
            let held = protocol::group::author_chain::follow::Held { digest: [number; 32], previous: None };
            store.hold_link(chains[place], number.into(), &id(text), held, false).unwrap();
        }
        let rows = store.newest_messages(group, 9).unwrap();
        assert_eq!(rows.into_iter().map(|row| row.record.text).collect::<String>(), "abcde");
    }

    #[test]
    fn what_comes_late_stands_where_its_author_said_it() {
        let mut store = Store::in_memory();
        let group = store.add_group(&a_group("news")).unwrap();
        let [author, other] = [4, 5].map(|byte| MemberId::new([byte; 12]).unwrap());
        let epoch = protocol::group::author_chain::Epoch([1; 12]);
        let (chain, _) = store.add_author_chain(group, &author, epoch).unwrap();
        // Number 4 is no message.
        let mut say = |text: &str, number: u64, late: bool| {
            let digest = [u8::try_from(number).unwrap(); 32];
            let held = protocol::group::author_chain::follow::Held { digest, previous: None };
            store.hold_link(chain, number, &id(text), held, late).unwrap();
            let place = Place { late: late.then_some(number), ..Place::default() };
            if number != 4 {
                store.add_message(group, &id(text), Some(&author), Timestamp(0), place, &post(text)).unwrap();
            }
            let place = Place::default();
            let beside = format!("({text})");
            store
                .add_message(group, &id(&beside), Some(&other), Timestamp(0), place, &post(&beside))
                .unwrap();
        };
        say("2", 2, false);
        say("6", 6, false);
        say("-", 4, true);
        say("3", 3, true);
        say("5", 5, true);
        say("1", 1, true);
        say("7", 7, false);
        let texts = |rows: Vec<MessageRow>| rows.into_iter().map(|row| row.record.text).collect::<String>();
        let all = "12(2)356(6)(-)(3)(5)(1)7(7)";
        assert_eq!(texts(store.newest_messages(group, 99).unwrap()), all);
        assert_eq!(texts(store.newest_messages(group, 8).unwrap()), "6(6)(-)(3)(5)(1)7(7)"[..].to_owned());
        assert_eq!(texts(store.unshown_messages(group).unwrap()), all);
        for (read, left) in
            [("1", "2(2)356(6)(-)(3)(5)(1)7(7)"), ("5", "6(6)(-)(3)(5)(1)7(7)"), ("(6)", "(-)(3)(5)(1)7(7)")]
        {
            let row = store.message(group, &id(read)).unwrap().unwrap().row;
            store.mark_shown_up_to(group, Some(row)).unwrap();
            assert_eq!(texts(store.unshown_messages(group).unwrap()), left, "{read}");
        }
    }

    #[test]
    fn copies_are_counted_and_relays_named_once_each() {
        let mut store = Store::in_memory();
        let group = store.add_group(&a_group("news")).unwrap();
        let copy = |text: &str| HeldCopy {
            author: None,
            signature: Signature::Unsigned,
            verbatim: text.as_bytes().to_vec(),
        };
        store.add_message(group, &id("m"), None, Timestamp(0), Place::default(), &post("m")).unwrap();
        store.hold_copy(group, &id("m"), RelayId(1), Timestamp(5), &copy("x")).unwrap();
        store.count_copy(group, &id("m"), RelayId(2), false).unwrap();
        store.count_copy(group, &id("m"), RelayId(2), true).unwrap();
        let copies = store.copies(group, &id("m")).unwrap();
        assert_eq!((copies.duplicates, copies.conflicts), (1, 1));
        assert_eq!(copies.relays, [RelayId(1), RelayId(2)]);
        store.hold_copy(group, &id("m"), RelayId(2), Timestamp(6), &copy("y")).unwrap();
        let (relay, held) = store.held_copy(group, &id("m")).unwrap().unwrap();
        assert_eq!((relay, held.verbatim.as_slice()), (RelayId(2), &b"y"[..]));
        // What is no message counts among the conflicts alone.
        let brought = |id| [1, 3].map(|relay| store.has_brought(group, &id, RelayId(relay)).unwrap());
        assert_eq!(brought(id("m")), [true, false]);
        store.hold_copy(group, &id("event"), RelayId(1), Timestamp(5), &copy("x")).unwrap();
        let said = |before, after, limit| {
            let said = store.said_between(group, before, after, limit).unwrap();
            said.into_iter().map(|said| (said.came, said.shared_id, said.sent_at)).collect::<Vec<_>>()
        };
        let (first, second) = ((1, id("m"), Timestamp(5)), (2, id("event"), Timestamp(5)));
        assert_eq!(said(None, None, 9), [second.clone(), first.clone()]);
        assert_eq!((said(None, None, 1), said(Some(1), None, 9)), (vec![second.clone()], Vec::new()));
        assert_eq!((said(None, Some(1), 9), said(None, Some(2), 9)), (vec![second.clone()], Vec::new()));
        assert_eq!((said(Some(2), Some(0), 9), said(Some(2), Some(1), 9)), (vec![first], Vec::new()));
        store.count_copy(group, &id("event"), RelayId(2), false).unwrap();
        assert_eq!(store.count_copies(group).unwrap(), (1, 1));
    }

    #[test]
    fn one_person_has_so_many_reactions_on_a_message() {
        let mut store = Store::in_memory();
        let group = store.add_group(&a_group("news")).unwrap();
        let member = MemberId::new([1; 12]).unwrap();
        let mut react = |emoji: &str, add| store.react(group, &id("m"), &member, emoji, add, 2).unwrap();
        assert!(react("a", true) && react("b", true));
        assert!(!react("c", true) && !react("a", true), "too many, and again");
        assert!(react("a", false) && !react("a", false));
        assert!(react("c", true));
        assert_eq!(store.reactions(group, &id("m")).unwrap(), [("b".to_owned(), 1), ("c".to_owned(), 1)]);
    }

    #[test]
    fn an_id_may_be_shortened_as_long_as_it_is_clear() {
        let mut store = Store::in_memory();
        let group = store.add_group(&a_group("news")).unwrap();
        for text in ["aaaaaa", "aaabbb"] {
            store.add_message(group, &id(text), None, Timestamp(0), Place::default(), &post(text)).unwrap();
        }
        let like = |text: &str| store.message_ids_like(group, text).unwrap().len();
        let whole = id("aaaaaa").to_string();
        assert_eq!((like("YWFh"), like("YWFhYmJi"), like(&whole), like("zz")), (2, 1, 1, 0));
    }

    #[test]
    fn changes_that_came_early_are_taken_once_and_bounded() {
        let mut store = Store::in_memory();
        let group = store.add_group(&a_group("news")).unwrap();
        let change = HeldChange {
            author: None,
            signature: Signature::Verified,
            sent_at_ms: 1,
            verbatim: b"x".to_vec(),
        };
        for _ in 0..=HELD_CHANGES_MAX {
            store.hold_change(group, &id("m"), &change).unwrap();
        }
        assert_eq!(store.take_held_changes(group, &id("m")).unwrap().len() as u64, HELD_CHANGES_MAX);
        assert!(store.take_held_changes(group, &id("m")).unwrap().is_empty());
    }
}
