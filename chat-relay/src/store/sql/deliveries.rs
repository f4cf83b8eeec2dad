//! Streams and the bodies made of them: see `migrations/sqlite/0006_positions.sql`.

use std::collections::VecDeque;

use protocol::agent::store::BodyId;
use protocol::encoding::{Decode as _, DecodeError, Encode, Reader as Bytes};
use protocol::group::batch::{Added, BatchWriter};
use protocol::group::identity::MemberId;
use protocol::timestamp::Timestamp;
use rusqlite::{Connection, params};

use super::relay::rows;
use super::{SqlStore, json, stored};
use crate::delivery::forwarding::head_of;
use crate::store::StoreError;
use crate::store::records::{
    Bounds, Content, Delivery, DeliveryId, Forgotten, GroupId, MemberNumber, NewDelivery, PassedOver, Piece,
    Reader, StoredMessageId, Stream,
};

/// What history gives back: everything else is told to each member, however late.
const CONTENT: &str = "'post', 'edit', 'file', 'reaction'";

/// Bodies that were put together and are kept for the next of many who get the same: 16 KiB each at most.
const KEPT_BODIES_MAX: usize = 64;

/// The bodies that were asked for last.
#[derive(Debug, Default)]
pub(super) struct KeptBodies(VecDeque<(i64, Vec<u8>)>);

impl KeptBodies {
    fn find(&self, id: i64) -> Option<Vec<u8>> {
        self.0.iter().find(|(kept, _)| *kept == id).map(|(_, body)| body.clone())
    }

    fn keep(&mut self, id: i64, body: &[u8]) {
        if self.0.len() >= KEPT_BODIES_MAX {
            self.0.pop_front();
        }
        self.0.push_back((id, body.to_vec()));
    }

    pub(super) fn forget(&mut self, id: i64) {
        self.0.retain(|(kept, _)| *kept != id);
    }

    /// What was read in a transaction that never was.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

impl SqlStore {
    pub(super) fn write_delivery(&mut self, delivery: &NewDelivery) -> Result<DeliveryId, StoreError> {
        let (message, head, body) = match &delivery.content {
            Content::Message(id, head) => (Some(id.0), Some(head), None),
            Content::Body(body) => (None, None, Some(body)),
        };
        let id = self.insert(
            "INSERT INTO deliveries (group_id, author, support_of, introduces, message_number, forward, said)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) RETURNING delivery_id",
            params![
                delivery.group.0,
                delivery.author.0,
                delivery.support_of.as_ref().map(MemberId::as_bytes),
                delivery.introduces,
                message,
                head,
                body,
            ],
        )?;
        let id = DeliveryId(id);
        // A round that has served nobody yet takes it along.
        self.change_one(
            "INSERT INTO streams (group_id, head, cursor, ends_at) VALUES (?1, ?2, 0, ?3)
             ON CONFLICT (group_id) DO UPDATE SET head = excluded.head,
             again = CASE WHEN coalesce(streams.cursor, 0) > 0 THEN 1 ELSE streams.again END,
             cursor = coalesce(streams.cursor, 0), ends_at = coalesce(streams.ends_at, excluded.ends_at)",
            params![delivery.group.0, id.0, delivery.ends_group.then_some(id.0)],
        )?;
        Ok(id)
    }

    pub(super) fn read_stream(&mut self, group: GroupId) -> Result<Option<Stream>, StoreError> {
        self.one(
            "SELECT head, cursor, again, ends_at,
             EXISTS (SELECT 1 FROM paused_groups p WHERE p.group_id = streams.group_id)
             FROM streams WHERE group_id = ?1",
            params![group.0],
            |row| {
                Ok(Stream {
                    head: DeliveryId(row.get(0)?),
                    cursor: row.get::<_, Option<i64>>(1)?.map(MemberNumber),
                    again: row.get(2)?,
                    ends_at: row.get::<_, Option<i64>>(3)?.map(DeliveryId),
                    is_paused: row.get(4)?,
                })
            },
        )
    }

    pub(super) fn write_stream(&mut self, group: GroupId, stream: &Stream) -> Result<(), StoreError> {
        self.change_one(
            "UPDATE streams SET cursor = ?2, again = ?3 WHERE group_id = ?1",
            params![group.0, stream.cursor.map(|cursor| cursor.0), stream.again],
        )
    }

    pub(super) fn read_groups_with_deliveries(&mut self) -> Result<Vec<GroupId>, StoreError> {
        let worker = self.worker();
        self.all(
            "SELECT group_id FROM served_groups g WHERE worker_id = ?1
             AND (EXISTS (SELECT 1 FROM streams s WHERE s.group_id = g.group_id
                          AND (s.cursor IS NOT NULL OR s.ends_at IS NOT NULL))
                  OR EXISTS (SELECT 1 FROM deliveries d WHERE d.group_id = g.group_id)
                  OR EXISTS (SELECT 1 FROM ahead_rounds r WHERE r.group_id = g.group_id)) ORDER BY group_id",
            params![worker],
            |row| row.get(0).map(GroupId),
        )
    }

    pub(super) fn read_deliveries(
        &mut self,
        group: GroupId,
        after: DeliveryId,
        limit: i64,
    ) -> Result<Vec<Delivery>, StoreError> {
        self.all(
            "SELECT d.delivery_id, d.author, d.support_of, d.introduces, d.said IS NOT NULL,
             coalesce(length(d.said), length(d.forward) + length(m.element)), length(d.introduction)
             FROM deliveries d LEFT JOIN messages m ON m.message_number = d.message_number
             WHERE d.group_id = ?1 AND d.delivery_id > ?2 ORDER BY d.delivery_id LIMIT ?3",
            params![group.0, after.0, limit],
            |row| {
                let support_of: Option<Vec<u8>> = row.get(2)?;
                Ok(Delivery {
                    id: DeliveryId(row.get(0)?),
                    author: MemberNumber(row.get(1)?),
                    support_of: support_of.map(|bytes| stored(MemberId::new(bytes))).transpose()?,
                    introduces: row.get(3)?,
                    is_alone: row.get(4)?,
                    bytes: length(row.get(5)?),
                    introduction_bytes: row.get::<_, Option<u32>>(6)?.map(length),
                })
            },
        )
    }

    pub(super) fn delete_delivered(&mut self, group: GroupId, limit: i64) -> Result<Forgotten, StoreError> {
        let lowest: Option<i64> = self
            .one(
                "SELECT coalesce((SELECT min(position) FROM position_counts WHERE group_id = ?1), head)
                 FROM streams WHERE group_id = ?1",
                params![group.0],
                |row| row.get(0),
            )?
            .flatten();
        let lowest = lowest.unwrap_or(0);
        let gone = self.run(
            "DELETE FROM deliveries WHERE delivery_id IN (SELECT delivery_id FROM deliveries
             WHERE group_id = ?1 AND delivery_id <= ?2 ORDER BY delivery_id LIMIT ?3)",
            params![group.0, lowest, limit],
        )?;
        Ok(Forgotten { all_have: DeliveryId(lowest), has_more: rows(gone) >= limit })
    }

    pub(super) fn write_recipe(&mut self, group: GroupId, pieces: &[Piece]) -> Result<BodyId, StoreError> {
        let recipe = Recipe(pieces.to_vec()).to_bytes();
        let id = self.one(
            "INSERT INTO bodies (body, recipe_of) VALUES (?1, ?2)
             ON CONFLICT (recipe_of, body) WHERE recipe_of IS NOT NULL
             DO UPDATE SET body = excluded.body RETURNING body_id",
            params![recipe, group.0],
            |row| row.get(0).map(BodyId),
        )?;
        id.ok_or(StoreError::Missing)
    }

    /// A body of the table, put together if it has to be.
    pub(super) fn read_body(&mut self, id: BodyId) -> Result<Option<Vec<u8>>, StoreError> {
        if let Some(body) = self.kept.find(id.0) {
            return Ok(Some(body));
        }
        let found: Option<(Vec<u8>, bool)> = self.one(
            "SELECT body, recipe_of IS NOT NULL FROM bodies WHERE body_id = ?1",
            params![id.0],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        let body = match found {
            Some((recipe, true)) => self.put_together(&stored(Recipe::from_bytes(&recipe))?.0)?,
            found => found.map(|(body, _)| body),
        };
        if let Some(body) = &body {
            self.kept.keep(id.0, body);
        }
        Ok(body)
    }

    /// Nothing when a part is gone: nobody waits for it any more.
    fn put_together(&mut self, pieces: &[Piece]) -> Result<Option<Vec<u8>>, StoreError> {
        let mut writer = BatchWriter::new();
        for piece in pieces {
            let (id, column) = match piece {
                Piece::Introduction(id) => (id, "d.introduction"),
                Piece::Content(id) => (id, "coalesce(d.said, d.forward)"),
            };
            let part = self.one(
                &format!(
                    "SELECT {column}, m.element, d.said IS NOT NULL FROM deliveries d
                     LEFT JOIN messages m ON m.message_number = d.message_number WHERE d.delivery_id = ?1"
                ),
                params![id.0],
                |row| Ok((row.get::<_, Option<Vec<u8>>>(0)?, row.get::<_, Option<Vec<u8>>>(1)?, row.get(2)?)),
            )?;
            let Some((Some(mut element), rest, is_alone)) = part else { return Ok(None) };
            if let Piece::Content(_) = piece {
                if is_alone {
                    return Ok(Some(element));
                }
                element.extend(rest.unwrap_or_default());
            }
            if writer.add(&element) != Added::Added {
                return Err(StoreError::Missing);
            }
        }
        Ok(writer.finish())
    }

    /// Before a group goes: what is still on its way keeps its bytes.
    pub(super) fn fix_bodies(&mut self, group: GroupId) -> Result<(), StoreError> {
        let ids: Vec<i64> =
            self.all("SELECT body_id FROM bodies WHERE recipe_of = ?1", params![group.0], |row| row.get(0))?;
        for id in ids {
            // Of a body that cannot be made any more nothing is sent.
            let body = self.read_body(BodyId(id))?.unwrap_or_default();
            let sql = "UPDATE bodies SET body = ?2, recipe_of = NULL WHERE body_id = ?1";
            self.change_one(sql, params![id, body])?;
        }
        Ok(())
    }

    pub(super) fn take_out(&mut self, group: GroupId, bounds: &Bounds) -> Result<PassedOver, StoreError> {
        let from = format!(
            "FROM deliveries d JOIN messages m ON m.message_number = d.message_number
             WHERE d.group_id = ?1 AND d.support_of IS NULL AND m.kind IN ({CONTENT})
             AND (m.received_ms < ?2 OR (m.message_number >= ?4 AND d.delivery_id <= coalesce(
                 (SELECT delivery_id FROM deliveries WHERE group_id = ?1 ORDER BY delivery_id DESC LIMIT 1 OFFSET ?3), 0)))"
        );
        let Bounds { before, backlog_max, oldest_kept, limit } = *bounds;
        let limit = rows(limit);
        let sql = format!("SELECT max(d.delivery_id), min(m.message_number) {from}");
        let bounds = params![group.0, before.0, backlog_max, oldest_kept.0];
        let found: Option<(Option<i64>, Option<i64>)> =
            self.one(&sql, bounds, |row| Ok((row.get(0)?, row.get(1)?)))?;
        let Some((Some(last), Some(first))) = found else { return Ok(PassedOver::default()) };
        let lowest = "SELECT min(position) FROM position_counts WHERE group_id = ?1";
        let lowest: Option<Option<i64>> = self.one(lowest, params![group.0], |row| row.get(0))?;
        if lowest.flatten().is_none_or(|lowest| lowest >= last) {
            return Ok(PassedOver::default());
        }
        let gap = first.saturating_sub(1);
        let behind: Vec<i64> = self.all(
            "SELECT p.member_number FROM positions p JOIN members m ON m.member_number = p.member_number
             WHERE p.group_id = ?1 AND p.position < ?2
             AND (m.passed_over = 0 OR m.gap_after IS NULL OR m.gap_after > ?3) LIMIT ?4",
            params![group.0, last, gap, limit],
            |row| row.get(0),
        )?;
        for number in &behind {
            self.change_one(
                "UPDATE members SET passed_over = 1, gap_told = NULL,
                 gap_after = CASE WHEN gap_after < ?2 THEN gap_after ELSE ?2 END WHERE member_number = ?1",
                params![number, gap],
            )?;
            self.change_one(
                "UPDATE positions SET stage = CASE stage WHEN 0 THEN 3 WHEN 1 THEN 2 ELSE stage END
                 WHERE group_id = ?1 AND member_number = ?2",
                params![group.0, number],
            )?;
            // What is on its way may be made of it.
            let reader =
                self.readers("WHERE group_id = ?1 AND member_number = ?2", params![group.0, number])?;
            reader.iter().try_for_each(|reader| self.unmeet(reader))?;
        }
        let mut changed = behind.len();
        if rows(changed) < limit {
            // All who miss it are noted.
            let sql = format!(
                "DELETE FROM deliveries WHERE delivery_id IN (SELECT d.delivery_id {from} ORDER BY d.delivery_id LIMIT ?5)"
            );
            changed = self.run(&sql, params![group.0, before.0, backlog_max, oldest_kept.0, limit])?;
            // None of it is in a body any more.
            self.kept.clear();
        }
        Ok(PassedOver { members: behind.len(), has_more: rows(changed) >= limit })
    }

    pub(super) fn read_first_content(
        &mut self,
        group: GroupId,
        after: DeliveryId,
        through: DeliveryId,
    ) -> Result<Option<StoredMessageId>, StoreError> {
        let sql = format!(
            "SELECT min(m.message_number) FROM deliveries d JOIN messages m ON m.message_number = d.message_number
             WHERE d.group_id = ?1 AND d.delivery_id > ?2 AND d.delivery_id <= ?3 AND d.support_of IS NULL
             AND m.kind IN ({CONTENT})"
        );
        let first: Option<Option<i64>> =
            self.one(&sql, params![group.0, after.0, through.0], |row| row.get(0))?;
        Ok(first.flatten().map(StoredMessageId))
    }

    /// The authors whose introductions are on their way to a member are introduced again, if something of theirs is.
    pub(super) fn unmeet(&mut self, reader: &Reader) -> Result<(), StoreError> {
        let Some(given) = reader.given else { return Ok(()) };
        self.run(
            "DELETE FROM introductions WHERE recipient = ?1 AND author IN (SELECT author FROM deliveries
             WHERE group_id = ?2 AND introduces = 1 AND delivery_id > ?3 AND delivery_id <= ?4)",
            params![reader.number.0, reader.group.0, reader.position.0, given.through.0],
        )?;
        Ok(())
    }
}

/// A stored length: no element comes near the bound.
fn length(bytes: u32) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// Of what a body is made.
struct Recipe(Vec<Piece>);

impl Encode for Recipe {
    fn encode(&self, out: &mut Vec<u8>) {
        for piece in &self.0 {
            let (tag, id) = match piece {
                Piece::Introduction(id) => (b'I', id),
                Piece::Content(id) => (b'C', id),
            };
            out.push(tag);
            out.extend_from_slice(&id.0.to_be_bytes());
        }
    }
}

impl protocol::encoding::Decode for Recipe {
    fn decode(reader: &mut Bytes<'_>) -> Result<Self, DecodeError> {
        let mut pieces = Vec::new();
        while reader.peek().is_some() {
            let tag = reader.u8()?;
            let id = DeliveryId(reader.i64()?);
            pieces.push(match tag {
                b'I' => Piece::Introduction(id),
                b'C' => Piece::Content(id),
                _ => return Err(DecodeError::Invalid("piece of a body")),
            });
        }
        Ok(Self(pieces))
    }
}

/// What an earlier version had still to forward gets the head of its element.
pub(super) fn add_missing_heads(database: &Connection) -> Result<(), StoreError> {
    let mut statement = database.prepare(
        "SELECT d.delivery_id, m.as_channel, m.broker_ms, a.member_id, a.profile FROM deliveries d
         JOIN messages m ON m.message_number = d.message_number JOIN members a ON a.member_number = m.author
         WHERE d.forward IS NULL",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let id = stored(MemberId::new(row.get::<_, Vec<u8>>(3)?))?;
        let profile = row.get::<_, Option<String>>(4)?.as_deref().map(json).transpose()?;
        let head = head_of(&id, profile.as_ref(), row.get(1)?, Timestamp(row.get(2)?));
        let sql = "UPDATE deliveries SET forward = ?2 WHERE delivery_id = ?1";
        database.execute(sql, params![row.get::<_, i64>(0)?, head])?;
    }
    Ok(())
}
