//! Members, their introductions and rosters: see `migrations/sqlite/0002_groups.sql`.

use protocol::agent::store::ConnectionId;
use protocol::crypto::sign::Ed25519PublicKey;
use protocol::group::bulk::serving::ServedBulk;
use protocol::group::identity::{MemberId, MemberRole};
use protocol::group::msg_id::SharedMessageId;
use protocol::timestamp::Timestamp;
use rusqlite::{ToSql, params};

use super::{Row, SqlStore, json, stored, to_json, word};
use crate::store::StoreError;
use crate::store::records::{
    Bulk, Gap, GroupId, LinkState, LiveRoster, Member, MemberNumber, MemberStatus, NewMember, StoredMessageId,
};

const MEMBER: &str = "SELECT member_number, group_id, member_id, role, status, profile, member_key, blocked,
    chat_version, connection_id, link, passed_over, roster_served, since_ms, reason,
    bulk_stage, bulk_connection_id, bulk_number, gap_after, gap_told, restriction, appointment FROM members";

/// Holds for members without a connection whom nothing that is stored is by or about.
const UNMENTIONED: &str = "restriction IS NULL AND appointment IS NULL AND connection_id IS NULL
    AND NOT EXISTS (SELECT 1 FROM messages m WHERE m.author = member_number)
    AND NOT EXISTS (SELECT 1 FROM purposes p WHERE p.member_number = members.member_number)
    AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.author = member_number)
    AND NOT EXISTS (SELECT 1 FROM rosters r WHERE r.author = member_number)";

impl SqlStore {
    pub(super) fn write_new_member(
        &mut self,
        group: GroupId,
        member: &NewMember,
        now: Timestamp,
    ) -> Result<MemberNumber, StoreError> {
        let profile = member.profile.as_ref().map(to_json).transpose()?;
        // The group link tells of the others.
        let may_be_made_up = !matches!(member.role, MemberRole::Owner | MemberRole::Relay);
        let number = self.insert(
            "INSERT INTO members (group_id, member_id, role, status, profile, member_key, link, since_ms, stranger)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) RETURNING member_number",
            params![
                group.0,
                member.id.as_bytes(),
                member.role.word(),
                member.status.word(),
                profile,
                member.key.map(|key| key.0),
                LinkState::Open.word(),
                now.0,
                may_be_made_up && !member.status.has_asked(),
            ],
        )?;
        Ok(MemberNumber(number))
    }

    /// Members that match a condition over the columns of `members`.
    pub(super) fn members(
        &mut self,
        condition: &str,
        params: &[&dyn ToSql],
    ) -> Result<Vec<Member>, StoreError> {
        self.all(&format!("{MEMBER} {condition}"), params, read_member)
    }

    pub(super) fn write_member(&mut self, member: &Member) -> Result<(), StoreError> {
        let profile = member.profile.as_ref().map(to_json).transpose()?;
        let restriction = member.restriction.as_ref().map(to_json).transpose()?;
        let appointment = member.appointment.as_ref().map(to_json).transpose()?;
        self.change_one(
            "UPDATE members SET role = ?2, status = ?3, profile = ?4, member_key = ?5, blocked = ?6,
             chat_version = ?7, connection_id = ?8, link = ?9, passed_over = ?10, roster_served = ?11,
             since_ms = ?12, reason = ?13, bulk_stage = ?14, bulk_connection_id = ?15, bulk_number = ?16,
             gap_after = ?17, gap_told = ?18, restriction = ?19, appointment = ?20,
             stranger = CASE WHEN ?21 = 1 THEN 0 ELSE stranger END
             WHERE member_number = ?1",
            params![
                member.number.0,
                member.role.word(),
                member.status.word(),
                profile,
                member.key.map(|key| key.0),
                member.blocked,
                member.chat_version,
                member.connection.map(|id| id.0),
                member.link.word(),
                member.passed_over,
                member.roster_served,
                member.since.0,
                member.reason,
                member.bulk.stage.number(),
                member.bulk.connection.map(|id| id.0),
                member.bulk.number,
                member.gap.map(|gap| gap.after.0),
                member.gap.and_then(|gap| gap.told),
                restriction,
                appointment,
                member.status.has_asked(),
            ],
        )?;
        self.keep_position(member)
    }

    pub(super) fn delete_stranger(&mut self, number: MemberNumber) -> Result<(), StoreError> {
        self.run(
            &format!(
                "DELETE FROM members WHERE member_number = ?1 AND {UNMENTIONED}
                 AND NOT EXISTS (SELECT 1 FROM introductions i WHERE i.author = ?1)
                 AND NOT EXISTS (SELECT 1 FROM introductions i WHERE i.recipient = ?1)"
            ),
            params![number.0],
        )?;
        Ok(())
    }

    pub(super) fn delete_left(&mut self, before: Timestamp, limit: i64) -> Result<(), StoreError> {
        let worker = self.worker();
        self.run(
            &format!(
                "DELETE FROM members WHERE member_number IN (SELECT member_number FROM members
                 WHERE status = 'left' AND since_ms < ?1 AND role = 'observer' AND {UNMENTIONED}
                 AND group_id IN (SELECT group_id FROM served_groups WHERE worker_id = ?3) LIMIT ?2)"
            ),
            params![before.0, limit, worker],
        )?;
        Ok(())
    }

    pub(super) fn read_roster(&mut self, group: GroupId) -> Result<Option<LiveRoster>, StoreError> {
        self.one(
            "SELECT version, author, broker_ms, message_id, header, blob FROM rosters WHERE group_id = ?1",
            params![group.0],
            |row| {
                Ok(LiveRoster {
                    version: row.get(0)?,
                    author: MemberNumber(row.get(1)?),
                    broker_time: Timestamp(row.get(2)?),
                    message_id: stored(SharedMessageId::new(row.get::<_, Vec<u8>>(3)?))?,
                    header: row.get(4)?,
                    blob: row.get(5)?,
                })
            },
        )
    }

    pub(super) fn write_roster(&mut self, group: GroupId, roster: &LiveRoster) -> Result<(), StoreError> {
        self.change_one(
            "INSERT INTO rosters (group_id, version, author, broker_ms, message_id, header, blob)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (group_id) DO UPDATE SET version = excluded.version,
             author = excluded.author, broker_ms = excluded.broker_ms, message_id = excluded.message_id,
             header = excluded.header, blob = excluded.blob",
            params![
                group.0,
                roster.version,
                roster.author.0,
                roster.broker_time.0,
                roster.message_id.as_bytes(),
                roster.header,
                roster.blob
            ],
        )?;
        self.write_transfer(group, None)
    }

    pub(super) fn write_transfer(&mut self, group: GroupId, record: Option<&[u8]>) -> Result<(), StoreError> {
        match record {
            None => {
                self.run("DELETE FROM roster_transfers WHERE group_id = ?1", params![group.0])?;
                Ok(())
            }
            Some(record) => self.change_one(
                "INSERT INTO roster_transfers (group_id, record) VALUES (?1, ?2)
                 ON CONFLICT (group_id) DO UPDATE SET record = excluded.record",
                params![group.0, record],
            ),
        }
    }
}

fn read_member(row: &Row<'_>) -> rusqlite::Result<Member> {
    Ok(Member {
        number: MemberNumber(row.get(0)?),
        group: GroupId(row.get(1)?),
        id: stored(MemberId::new(row.get::<_, Vec<u8>>(2)?))?,
        role: MemberRole::from_word(&row.get::<_, String>(3)?),
        status: word(MemberStatus::from_word(&row.get::<_, String>(4)?))?,
        profile: row.get::<_, Option<String>>(5)?.as_deref().map(json).transpose()?,
        key: row.get::<_, Option<[u8; 32]>>(6)?.map(Ed25519PublicKey),
        blocked: row.get(7)?,
        chat_version: row.get(8)?,
        connection: row.get::<_, Option<i64>>(9)?.map(ConnectionId),
        link: word(LinkState::from_word(&row.get::<_, String>(10)?))?,
        passed_over: row.get(11)?,
        roster_served: row.get(12)?,
        since: Timestamp(row.get(13)?),
        reason: row.get(14)?,
        bulk: Bulk {
            stage: word(ServedBulk::from_number(row.get(15)?))?,
            connection: row.get::<_, Option<i64>>(16)?.map(ConnectionId),
            number: row.get(17)?,
        },
        gap: match row.get::<_, Option<i64>>(18)? {
            Some(after) => Some(Gap { after: StoredMessageId(after), told: row.get(19)? }),
            None => None,
        },
        restriction: row.get::<_, Option<String>>(20)?.as_deref().map(json).transpose()?,
        appointment: row.get::<_, Option<String>>(21)?.as_deref().map(json).transpose()?,
    })
}
