//! The copies by which relays are compared, and changes that came before their message.

use protocol::group::identity::MemberId;
use protocol::group::msg_id::SharedMessageId;
use protocol::timestamp::Timestamp;
use rusqlite::params;
use serde::{Deserialize, Serialize};

use super::group::GroupId;
use super::relay::RelayId;
use super::{Store, StoreError, unsigned};
use crate::event::Signature;

const COPY: &str = "copies.sealed";
const CHANGE: &str = "held_changes.sealed";

/// Changes that are kept for messages that may never come, per group.
const HELD_CHANGES_MAX: u64 = 1000;

/// Stands in place of a relay for what we sent ourselves.
pub(crate) const OURSELVES: RelayId = RelayId(0);

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
}

#[cfg(test)]
mod tests {
    use super::super::group::tests::a_group;
    use super::super::message::Place;
    use super::super::message::tests::{id, post};
    use super::*;

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
