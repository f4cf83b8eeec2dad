//! The trait of the relay's own rows, on the statements of the files beside this one.

use protocol::agent::store::{BodyId, ConnectionId};
use protocol::group::identity::{MemberId, MemberRole};
use protocol::group::msg_id::SharedMessageId;
use protocol::group::profile::{HistoryKept, Profile};
use protocol::net::network::Services;
use protocol::smp::address::ServerAddress;
use protocol::timestamp::Timestamp;
use rusqlite::{ToSql, params};

use super::{SqlStore, to_json};
use crate::config::Limits;
use crate::store::records::{
    Bounds, Delivery, DeliveryId, Forgotten, GroupId, GroupKey, InvitationId, LiveRoster, Member,
    MemberNumber, NewDelivery, NewMember, NewMessage, PassedOver, Piece, Purpose, Reader, RelayAddress,
    ServedGroup, StoredMessage, StoredMessageId, Stream, WaitingInvitation, Welcomed,
};
use crate::store::workers::WorkerStore as _;
use crate::store::{RelayStore, StoreError};

/// A page's length for SQL.
pub(super) fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// Places of so many parameters, from the `first` on.
fn places(first: usize, count: usize) -> String {
    let places: Vec<String> = (first..).take(count).map(|place| format!("?{place}")).collect();
    places.join(", ")
}

/// Whose a connection is.
const OWN_PURPOSE: &str = "CASE WHEN group_id IS NULL THEN worker_id ELSE
    (SELECT g.worker_id FROM served_groups g WHERE g.group_id = purposes.group_id) END";

impl RelayStore for SqlStore {
    fn relay_address(&mut self) -> Result<Option<RelayAddress>, StoreError> {
        self.read_address()
    }

    fn set_relay_address(&mut self, address: &RelayAddress) -> Result<(), StoreError> {
        self.write_address(address)
    }

    fn services(&mut self) -> Result<Services, StoreError> {
        self.read_services()
    }

    fn set_service_surplus(&mut self, server: &ServerAddress, queues: i64) -> Result<(), StoreError> {
        self.write_surplus(server, queues)
    }

    fn is_new_request(&mut self, digest: &[u8; 32], now: Timestamp) -> Result<bool, StoreError> {
        let sql = "INSERT INTO seen_requests (digest, seen_at_ms) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
        Ok(self.run(sql, params![digest, now.0])? == 1)
    }

    fn forget_requests(&mut self, moment: Timestamp) -> Result<(), StoreError> {
        self.run("DELETE FROM seen_requests WHERE seen_at_ms < ?1", params![moment.0])?;
        Ok(())
    }

    fn purpose(&mut self, connection: ConnectionId) -> Result<Option<Purpose>, StoreError> {
        let found = self.purposes("WHERE connection_id = ?1", params![connection.0])?;
        Ok(found.into_iter().next().map(|(_, purpose)| purpose))
    }

    fn set_purpose(
        &mut self,
        connection: ConnectionId,
        purpose: Purpose,
        until: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        self.write_purpose(connection, purpose, until)
    }

    fn connections_of_group(&mut self, group: GroupId) -> Result<Vec<(ConnectionId, Purpose)>, StoreError> {
        self.purposes("WHERE group_id = ?1 ORDER BY connection_id", params![group.0])
    }

    fn connections_with_peers(&mut self, group: GroupId) -> Result<Vec<(ConnectionId, Purpose)>, StoreError> {
        let condition = "WHERE group_id = ?1 AND purpose IN ('reader', 'source') ORDER BY connection_id";
        self.purposes(condition, params![group.0])
    }

    fn expired_connections(
        &mut self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<(ConnectionId, Purpose)>, StoreError> {
        let condition =
            format!("WHERE until_ms <= ?1 AND {OWN_PURPOSE} = ?3 ORDER BY until_ms, connection_id LIMIT ?2");
        let worker = self.worker();
        self.purposes(&condition, params![now.0, rows(limit), worker])
    }

    fn next_expiry(&mut self) -> Result<Option<Timestamp>, StoreError> {
        let sql = format!(
            "SELECT until_ms FROM purposes WHERE until_ms IS NOT NULL AND {OWN_PURPOSE} = ?1
             ORDER BY until_ms LIMIT 1"
        );
        let worker = self.worker();
        self.moment(&sql, params![worker])
    }

    fn group_for_invitation(
        &mut self,
        key: &GroupKey,
        now: Timestamp,
        limits: &Limits,
    ) -> Result<Option<(ServedGroup, bool)>, StoreError> {
        let find = |store: &mut Self| {
            let found = store.groups(
                "WHERE group_link = ?1 AND owner_member_id = ?2 AND relay_member_id = ?3",
                params![key.group_link.as_str(), key.owner.as_bytes(), key.relay.as_bytes()],
            )?;
            Ok::<_, StoreError>(found.into_iter().next())
        };
        if let Some(group) = find(self)? {
            return Ok(Some((group, false)));
        }
        let (sql, unread) = ("SELECT count(*) FROM served_groups", "WHERE public_group_id IS NULL");
        if self.count(sql, params![])? >= limits.groups_max
            || self.count(&format!("{sql} {unread}"), params![])? >= limits.unread_groups_max
        {
            return Ok(None);
        }
        self.insert_group(key, now)?;
        Ok(find(self)?.map(|group| (group, true)))
    }

    fn group(&mut self, id: GroupId) -> Result<Option<ServedGroup>, StoreError> {
        Ok(self.groups("WHERE group_id = ?1", params![id.0])?.pop())
    }

    fn update_group(&mut self, group: &ServedGroup) -> Result<(), StoreError> {
        self.write_group(group)
    }

    fn delete_group(&mut self, id: GroupId) -> Result<(), StoreError> {
        self.fix_bodies(id)?;
        self.note_held(id, false);
        self.change_one("DELETE FROM served_groups WHERE group_id = ?1", params![id.0])
    }

    fn groups_due(&mut self, now: Timestamp, limit: usize) -> Result<Vec<ServedGroup>, StoreError> {
        let worker = self.worker();
        self.groups(
            "WHERE worker_id = ?3 AND group_id IN (SELECT group_id FROM served_groups WHERE due_ms <= ?1
             UNION SELECT group_id FROM served_groups WHERE fill_due_ms <= ?1) LIMIT ?2",
            params![now.0, rows(limit), worker],
        )
    }

    fn next_due(&mut self, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let worker = self.worker();
        self.moment(
            "SELECT min(due) FROM (
                SELECT min(due_ms) AS due FROM served_groups WHERE due_ms > ?1 AND worker_id = ?2
                UNION ALL
                SELECT min(fill_due_ms) FROM served_groups WHERE fill_due_ms > ?1 AND worker_id = ?2) AS dues",
            params![now.0, worker],
        )
    }

    fn add_invitation(
        &mut self,
        group: GroupId,
        invitation: &[u8],
        profile: &Profile,
    ) -> Result<InvitationId, StoreError> {
        let id = self.insert(
            "INSERT INTO invitations (group_id, invitation, profile, handed_over)
             VALUES (?1, ?2, ?3, ?4) RETURNING invitation_id",
            params![group.0, invitation, to_json(profile)?, !self.holds(group)],
        )?;
        Ok(InvitationId(id))
    }

    fn invitations_of(&mut self, group: GroupId) -> Result<Vec<WaitingInvitation>, StoreError> {
        self.invitations("WHERE group_id = ?1 ORDER BY invitation_id", params![group.0])
    }

    fn delete_invitation(&mut self, id: InvitationId) -> Result<(), StoreError> {
        self.run("DELETE FROM invitations WHERE invitation_id = ?1", params![id.0])?;
        Ok(())
    }

    fn insert_member(
        &mut self,
        group: GroupId,
        member: &NewMember,
        now: Timestamp,
    ) -> Result<Member, StoreError> {
        let number = self.write_new_member(group, member, now)?;
        self.member(number)?.ok_or(StoreError::Missing)
    }

    fn member(&mut self, number: MemberNumber) -> Result<Option<Member>, StoreError> {
        Ok(self.members("WHERE member_number = ?1", params![number.0])?.pop())
    }

    fn member_by_id(&mut self, group: GroupId, id: &MemberId) -> Result<Option<Member>, StoreError> {
        Ok(self.members("WHERE group_id = ?1 AND member_id = ?2", params![group.0, id.as_bytes()])?.pop())
    }

    fn update_member(&mut self, member: &Member) -> Result<(), StoreError> {
        self.write_member(member)
    }

    fn members_with_roles(
        &mut self,
        group: GroupId,
        roles: &[MemberRole],
    ) -> Result<Vec<Member>, StoreError> {
        let words: Vec<&str> = roles.iter().map(|role| role.word()).collect();
        let mut params: Vec<&dyn ToSql> = vec![&group.0];
        params.extend(words.iter().map(|word| word as &dyn ToSql));
        let condition =
            format!("WHERE group_id = ?1 AND role IN ({}) ORDER BY member_number", places(2, roles.len()));
        self.members(&condition, &params)
    }

    fn connections_with_roles(&mut self, roles: &[MemberRole]) -> Result<Vec<ConnectionId>, StoreError> {
        let words: Vec<&str> = roles.iter().map(|role| role.word()).collect();
        let params: Vec<&dyn ToSql> = words.iter().map(|word| word as &dyn ToSql).collect();
        let sql = format!(
            "SELECT m.connection_id, m.bulk_connection_id FROM served_groups g JOIN members m
             ON m.group_id = g.group_id AND m.role IN ({}) ORDER BY m.member_number",
            places(1, roles.len())
        );
        let found = self.all(&sql, &params, |row| Ok([row.get::<_, Option<i64>>(0)?, row.get(1)?]))?;
        Ok(found.into_iter().flatten().flatten().map(ConnectionId).collect())
    }

    fn forget_stranger(&mut self, number: MemberNumber) -> Result<(), StoreError> {
        self.delete_stranger(number)
    }

    fn forget_left(&mut self, before: Timestamp, limit: usize) -> Result<(), StoreError> {
        self.delete_left(before, rows(limit))
    }

    fn count_members(&mut self, group: GroupId) -> Result<u32, StoreError> {
        self.count("SELECT members FROM group_counts WHERE group_id = ?1", params![group.0])
    }

    fn count_knocks(&mut self, group: GroupId) -> Result<u32, StoreError> {
        self.count("SELECT knocks FROM group_counts WHERE group_id = ?1", params![group.0])
    }

    fn count_strangers(&mut self, group: GroupId, up_to: u32) -> Result<u32, StoreError> {
        let sql = "SELECT count(*) FROM (SELECT 1 FROM members WHERE group_id = ?1 AND stranger = 1 LIMIT ?2) AS found";
        self.count(sql, params![group.0, up_to])
    }

    fn waiting_members(&mut self, group: GroupId, limit: u32) -> Result<Vec<Member>, StoreError> {
        self.members(
            "WHERE group_id = ?1 AND status = 'pending_review' ORDER BY member_number LIMIT ?2",
            params![group.0, limit],
        )
    }

    fn store_message(
        &mut self,
        group: GroupId,
        message: &NewMessage,
        now: Timestamp,
    ) -> Result<Option<StoredMessageId>, StoreError> {
        self.write_message(group, message, now)
    }

    fn message_by_id(
        &mut self,
        group: GroupId,
        id: &SharedMessageId,
    ) -> Result<Option<StoredMessage>, StoreError> {
        let condition = "WHERE m.group_id = ?1 AND m.message_id = ?2";
        Ok(self.messages(condition, params![group.0, id.as_bytes()])?.pop())
    }

    fn hide_message(&mut self, group: GroupId, id: &SharedMessageId) -> Result<(), StoreError> {
        self.hide_by_id(group, id)
    }

    fn hide_messages_of(&mut self, author: MemberNumber) -> Result<(), StoreError> {
        self.hide_by_author(author)
    }

    fn history(
        &mut self,
        group: GroupId,
        limit: u32,
        files_since: Timestamp,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        self.read_history(group, limit, files_since)
    }

    fn oldest_kept(
        &mut self,
        group: GroupId,
        kept: &HistoryKept,
        now: Timestamp,
    ) -> Result<StoredMessageId, StoreError> {
        self.read_oldest_kept(group, kept, now)
    }

    fn history_page(
        &mut self,
        group: GroupId,
        before: Option<StoredMessageId>,
        oldest: StoredMessageId,
        limit: u32,
        files_since: Timestamp,
        welcomed: Option<Welcomed>,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        self.read_history_page(group, before, oldest, limit, files_since, welcomed)
    }

    fn fill_message(
        &mut self,
        group: GroupId,
        message: &NewMessage,
        newer: Option<StoredMessageId>,
        now: Timestamp,
    ) -> Result<Option<StoredMessageId>, StoreError> {
        self.write_filled(group, message, newer, now)
    }

    fn forget_filled(&mut self, id: StoredMessageId) -> Result<(), StoreError> {
        self.delete_filled(id)
    }

    fn forget_messages(
        &mut self,
        before: Timestamp,
        now: Timestamp,
        items_max: u32,
    ) -> Result<(), StoreError> {
        self.delete_old_messages(before, now, items_max)
    }

    fn add_delivery(&mut self, delivery: &NewDelivery) -> Result<DeliveryId, StoreError> {
        self.write_delivery(delivery)
    }

    fn stream(&mut self, group: GroupId) -> Result<Option<Stream>, StoreError> {
        self.read_stream(group)
    }

    fn update_stream(&mut self, group: GroupId, stream: &Stream) -> Result<(), StoreError> {
        self.write_stream(group, stream)
    }

    fn groups_with_deliveries(&mut self) -> Result<Vec<GroupId>, StoreError> {
        self.read_groups_with_deliveries()
    }

    fn round(
        &mut self,
        group: GroupId,
        after: MemberNumber,
        head: DeliveryId,
        limit: usize,
    ) -> Result<Vec<Reader>, StoreError> {
        self.readers(
            "WHERE group_id = ?1 AND member_number > ?2 AND coalesce(given, position) < ?3 AND stage < 2
             ORDER BY member_number LIMIT ?4",
            params![group.0, after.0, head.0, rows(limit)],
        )
    }

    fn readers_due(&mut self, group: GroupId, limit: usize) -> Result<Vec<Reader>, StoreError> {
        self.readers("WHERE group_id = ?1 AND stage = 3 LIMIT ?2", params![group.0, rows(limit)])
    }

    fn reader(&mut self, group: GroupId, number: MemberNumber) -> Result<Option<Reader>, StoreError> {
        Ok(self.readers("WHERE group_id = ?1 AND member_number = ?2", params![group.0, number.0])?.pop())
    }

    fn update_reader(&mut self, reader: &Reader) -> Result<(), StoreError> {
        self.write_reader(reader)
    }

    fn deliveries(
        &mut self,
        group: GroupId,
        after: DeliveryId,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        self.read_deliveries(group, after, rows(limit))
    }

    fn set_introduction(&mut self, delivery: DeliveryId, element: &[u8]) -> Result<(), StoreError> {
        let sql = "UPDATE deliveries SET introduction = ?2 WHERE delivery_id = ?1";
        self.change_one(sql, params![delivery.0, element])
    }

    fn body_of(&mut self, group: GroupId, pieces: &[Piece]) -> Result<BodyId, StoreError> {
        self.write_recipe(group, pieces)
    }

    fn forget_delivered(&mut self, group: GroupId, limit: usize) -> Result<Forgotten, StoreError> {
        self.delete_delivered(group, rows(limit))
    }

    fn forget_unsent(&mut self) -> Result<(), StoreError> {
        self.drop_bodies_without_jobs()
    }

    fn pass_over(&mut self, group: GroupId, bounds: &Bounds) -> Result<PassedOver, StoreError> {
        self.take_out(group, bounds)
    }

    fn first_content(
        &mut self,
        group: GroupId,
        after: DeliveryId,
        through: DeliveryId,
    ) -> Result<Option<StoredMessageId>, StoreError> {
        self.read_first_content(group, after, through)
    }

    fn forget_introduced(&mut self, reader: &Reader) -> Result<(), StoreError> {
        self.unmeet(reader)
    }

    fn members_behind(&mut self) -> Result<u64, StoreError> {
        let behind = "SELECT CAST(coalesce(sum(members), 0) AS BIGINT) FROM position_counts c JOIN streams s USING (group_id)
             WHERE c.position < s.head";
        Ok(self
            .one(behind, params![], |row| row.get::<_, i64>(0))?
            .and_then(|sum| sum.try_into().ok())
            .unwrap_or(0))
    }

    fn has_met(&mut self, author: MemberNumber, recipient: MemberNumber) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM introductions WHERE author = ?1 AND recipient = ?2";
        Ok(self.one(sql, params![author.0, recipient.0], |_| Ok(()))?.is_some())
    }

    fn introduce(&mut self, author: MemberNumber, recipient: MemberNumber) -> Result<(), StoreError> {
        self.run(
            "INSERT INTO introductions (author, recipient) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
            params![author.0, recipient.0],
        )?;
        Ok(())
    }

    fn roster(&mut self, group: GroupId) -> Result<Option<LiveRoster>, StoreError> {
        self.read_roster(group)
    }

    fn set_roster(&mut self, group: GroupId, roster: &LiveRoster) -> Result<(), StoreError> {
        self.write_roster(group, roster)
    }

    fn roster_transfer(&mut self, group: GroupId) -> Result<Option<Vec<u8>>, StoreError> {
        self.one("SELECT record FROM roster_transfers WHERE group_id = ?1", params![group.0], |row| {
            row.get(0)
        })
    }

    fn set_roster_transfer(&mut self, group: GroupId, record: Option<&[u8]>) -> Result<(), StoreError> {
        self.write_transfer(group, record)
    }
}
