//! Address, purposes of connections, groups and invitations: see `migrations/sqlite/0002_groups.sql`.

use protocol::agent::store::ConnectionId;
use protocol::crypto::sign::Ed25519PublicKey;
use protocol::encoding::{Decode as _, Encode as _};
use protocol::group::identity::{LinkText, MemberId, PublicGroupId};
use protocol::group::served_group::ServedLife;
use protocol::timestamp::Timestamp;
use rusqlite::{ToSql, params};

use super::{Row, SqlStore, json, stored, to_json, word};
use crate::store::StoreError;
use crate::store::records::{
    GroupId, GroupIdentity, GroupKey, InvitationId, MemberNumber, Purpose, RelayAddress, ServedGroup,
    WaitingInvitation,
};

const GROUP: &str = "SELECT group_id, group_link, owner_member_id, relay_member_id, life, due_ms,
    public_group_id, root_key, profile, link_version, draft, fill, relays, peers FROM served_groups";

const INVITATION: &str = "SELECT invitation_id, group_id, invitation, profile FROM invitations";

impl SqlStore {
    pub(super) fn read_address(&mut self) -> Result<Option<RelayAddress>, StoreError> {
        self.one("SELECT draft, profile, connection_id FROM relay_address", params![], |row| {
            Ok(RelayAddress {
                draft: row.get(0)?,
                profile: json(&row.get::<_, String>(1)?)?,
                connection: row.get::<_, Option<i64>>(2)?.map(ConnectionId),
            })
        })
    }

    pub(super) fn write_address(&mut self, address: &RelayAddress) -> Result<(), StoreError> {
        self.change_one(
            "INSERT INTO relay_address (\"only\", draft, profile, connection_id) VALUES (1, ?1, ?2, ?3)
             ON CONFLICT (\"only\") DO UPDATE SET draft = excluded.draft, profile = excluded.profile,
             connection_id = excluded.connection_id",
            params![address.draft, to_json(&address.profile)?, address.connection.map(|id| id.0)],
        )
    }

    pub(super) fn write_purpose(
        &mut self,
        connection: ConnectionId,
        purpose: Purpose,
        until: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let (word, group, member) = match purpose {
            Purpose::Address => ("address", None, None),
            Purpose::RelayLink(group) => ("link", Some(group), None),
            Purpose::Member(group, member) => ("member", Some(group), Some(member)),
            Purpose::Claimant(group, member) => ("claimant", Some(group), Some(member)),
            Purpose::Bulk(group, member) => ("bulk", Some(group), Some(member)),
            Purpose::Reader(group) => ("reader", Some(group), None),
            Purpose::Source(group) => ("source", Some(group), None),
            Purpose::Answer => ("answer", None, None),
            Purpose::Closing => ("closing", None, None),
        };
        let worker = self.worker();
        self.change_one(
            "INSERT INTO purposes (connection_id, purpose, group_id, member_number, until_ms, worker_id)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (connection_id) DO UPDATE SET purpose = excluded.purpose,
             group_id = excluded.group_id, member_number = excluded.member_number, until_ms = excluded.until_ms,
             worker_id = excluded.worker_id",
            params![
                connection.0,
                word,
                group.map(|group| group.0),
                member.map(|member| member.0),
                until.map(|until| until.0),
                worker.filter(|_| group.is_none()),
            ],
        )
    }

    /// Purposes that match a condition over the columns of `purposes`.
    pub(super) fn purposes(
        &mut self,
        condition: &str,
        params: &[&dyn ToSql],
    ) -> Result<Vec<(ConnectionId, Purpose)>, StoreError> {
        let sql = format!("SELECT connection_id, purpose, group_id, member_number FROM purposes {condition}");
        self.all(&sql, params, read_purpose)
    }

    /// Groups that match a condition over the columns of `served_groups`.
    pub(super) fn groups(
        &mut self,
        condition: &str,
        params: &[&dyn ToSql],
    ) -> Result<Vec<ServedGroup>, StoreError> {
        self.all(&format!("{GROUP} {condition}"), params, read_group)
    }

    pub(super) fn insert_group(&mut self, key: &GroupKey, now: Timestamp) -> Result<(), StoreError> {
        let worker = self.worker();
        let group = self.insert(
            "INSERT INTO served_groups (group_link, owner_member_id, relay_member_id, life, worker_id)
             VALUES (?1, ?2, ?3, ?4, ?5) RETURNING group_id",
            params![
                key.group_link.as_str(),
                key.owner.as_bytes(),
                key.relay.as_bytes(),
                ServedLife::invited(now).to_bytes(),
                worker,
            ],
        )?;
        self.note_held(GroupId(group), true);
        Ok(())
    }

    pub(super) fn write_group(&mut self, group: &ServedGroup) -> Result<(), StoreError> {
        let identity = group.identity.as_ref();
        let profile = identity.map(|identity| to_json(&identity.profile)).transpose()?;
        self.change_one(
            "UPDATE served_groups SET life = ?2, due_ms = ?3, public_group_id = ?4, root_key = ?5,
             profile = ?6, link_version = ?7, draft = ?8, fill = ?9, fill_due_ms = ?10,
             relays = ?11, peers = ?12 WHERE group_id = ?1",
            params![
                group.id.0,
                group.life.to_bytes(),
                group.due_at.map(|due| due.0),
                identity.map(|identity| identity.public_group_id.as_bytes()),
                identity.map(|identity| identity.root_key.0),
                profile,
                identity.and_then(|identity| identity.link_version).map(to_integer),
                group.draft,
                group.fill.as_ref().map(to_json).transpose()?,
                group.history_due_at().map(|due| due.0),
                identity.map(|identity| to_json(&identity.relays)).transpose()?,
                to_json(&group.peers)?,
            ],
        )
    }

    /// Invitations that match a condition over the columns of `invitations`.
    pub(super) fn invitations(
        &mut self,
        condition: &str,
        params: &[&dyn ToSql],
    ) -> Result<Vec<WaitingInvitation>, StoreError> {
        self.all(&format!("{INVITATION} {condition}"), params, read_invitation)
    }
}

/// A version as SQLite holds it. None that an owner counts up to comes near the bound.
fn to_integer(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}

fn read_group(row: &Row<'_>) -> rusqlite::Result<ServedGroup> {
    let identity = match (row.get::<_, Option<Vec<u8>>>(6)?, row.get(7)?, row.get::<_, Option<String>>(8)?) {
        (Some(public_group_id), Some(root_key), Some(profile)) => Some(GroupIdentity {
            public_group_id: stored(PublicGroupId::new(public_group_id))?,
            root_key: Ed25519PublicKey(root_key),
            profile: json(&profile)?,
            link_version: row.get::<_, Option<i64>>(9)?.and_then(|version| version.try_into().ok()),
            relays: row
                .get::<_, Option<String>>(12)?
                .map(|relays| json(&relays))
                .transpose()?
                .unwrap_or_default(),
        }),
        _ => None,
    };
    Ok(ServedGroup {
        id: GroupId(row.get(0)?),
        key: GroupKey {
            group_link: stored(LinkText::new(row.get::<_, String>(1)?))?,
            owner: stored(MemberId::new(row.get::<_, Vec<u8>>(2)?))?,
            relay: stored(MemberId::new(row.get::<_, Vec<u8>>(3)?))?,
        },
        life: stored(ServedLife::from_bytes(&row.get::<_, Vec<u8>>(4)?))?,
        due_at: row.get::<_, Option<i64>>(5)?.map(Timestamp),
        identity,
        draft: row.get(10)?,
        fill: row.get::<_, Option<String>>(11)?.map(|fill| json(&fill)).transpose()?,
        peers: row.get::<_, Option<String>>(13)?.map(|peers| json(&peers)).transpose()?.unwrap_or_default(),
    })
}

fn read_purpose(row: &Row<'_>) -> rusqlite::Result<(ConnectionId, Purpose)> {
    let group = row.get::<_, Option<i64>>(2)?.map(GroupId);
    let member = row.get::<_, Option<i64>>(3)?.map(MemberNumber);
    let purpose = match (row.get::<_, String>(1)?.as_str(), group, member) {
        ("address", None, None) => Some(Purpose::Address),
        ("link", Some(group), None) => Some(Purpose::RelayLink(group)),
        ("member", Some(group), Some(member)) => Some(Purpose::Member(group, member)),
        ("claimant", Some(group), Some(member)) => Some(Purpose::Claimant(group, member)),
        ("bulk", Some(group), Some(member)) => Some(Purpose::Bulk(group, member)),
        ("reader", Some(group), None) => Some(Purpose::Reader(group)),
        ("source", Some(group), None) => Some(Purpose::Source(group)),
        ("answer", None, None) => Some(Purpose::Answer),
        ("closing", None, None) => Some(Purpose::Closing),
        _ => None,
    };
    Ok((ConnectionId(row.get(0)?), word(purpose)?))
}

fn read_invitation(row: &Row<'_>) -> rusqlite::Result<WaitingInvitation> {
    Ok(WaitingInvitation {
        id: InvitationId(row.get(0)?),
        group: GroupId(row.get(1)?),
        invitation: row.get(2)?,
        profile: json(&row.get::<_, String>(3)?)?,
    })
}
