//! Groups: one sealed record each.

use protocol::agent::store::ConnectionId;
use protocol::crypto::sign::Ed25519PrivateKey;
use protocol::group::entrance::Shown;
use protocol::group::identity::{MemberId, MemberKey, MemberRole, PublicGroupId};
use protocol::group::msg_id::SharedMessageId;
use protocol::group::profile::GroupProfile;
use protocol::timestamp::Timestamp;
use rusqlite::params;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Store, StoreError};

const COLUMN: &str = "groups.sealed";

/// Names a group in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct GroupId(pub(crate) i64);

/// A record with the number of its row.
#[derive(Debug, Clone)]
pub(crate) struct GroupRow {
    /// The row.
    pub(crate) id: GroupId,
    /// What it holds.
    pub(crate) record: Group,
}

/// A group as we know it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Group {
    /// The name by which commands know it; unique in this home.
    pub(crate) alias: String,
    /// The group's identity.
    pub(crate) public_id: PublicGroupId,
    /// The group link as text.
    pub(crate) link: String,
    /// The profile as last verified.
    pub(crate) profile: GroupProfile,
    /// How it stands with us.
    pub(crate) status: GroupStatus,
    /// Our member id here.
    pub(crate) member_id: MemberId,
    /// Our member key here.
    pub(crate) key: Seed,
    /// Our role.
    pub(crate) role: MemberRole,
    /// The key that the group link hashes to.
    pub(crate) root_key: MemberKey,
    /// What only the owner has.
    pub(crate) owner: Option<OwnerKeys>,
    /// The highest counter seen in (or written into) the group link's data.
    pub(crate) link_counter: Option<u64>,
    /// The roster as last verified.
    pub(crate) roster: Roster,
    /// When the group link is read next, unasked.
    pub(crate) restore: Restore,
    /// When the first relay let us in, by our clock; none for the owner. What was said before is history, of which
    /// nothing counts as missing.
    #[serde(default)]
    pub(crate) joined_at_ms: Option<i64>,
    /// What the group asks of those who join, and what we show.
    #[serde(default)]
    pub(crate) entrance: Entering,
}

/// How far we are with what a group asks of those who join.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Entering {
    /// Nothing was asked.
    #[default]
    Free,
    /// Somebody is to answer before any relay is asked.
    Asked,
    /// This goes with each request.
    Shows(Shown),
}

impl Group {
    /// Whether what was said at this moment was said before we came. Relays name whole seconds.
    pub(crate) fn recalls(&self, sent_at: Timestamp) -> bool {
        self.status == GroupStatus::Joining
            || self.joined_at_ms.is_some_and(|joined| sent_at.seconds() < Timestamp(joined).seconds())
    }
}

/// How a group stands with us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum GroupStatus {
    /// Ours, and no relay was active yet.
    Creating,
    /// Joined by link, and no relay has let us in yet.
    Joining,
    /// In use.
    Active,
    /// All relays refused us.
    Refused,
    /// We left.
    Left,
    /// We were removed.
    Removed,
    /// The owner ended it.
    Deleted,
}

impl GroupStatus {
    /// The word that people and scripts see.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Joining => "joining",
            Self::Active => "active",
            Self::Refused => "refused",
            Self::Left => "left",
            Self::Removed => "removed",
            Self::Deleted => "deleted",
        }
    }

    /// Whether anything more will happen.
    pub(crate) fn is_over(self) -> bool {
        matches!(self, Self::Refused | Self::Left | Self::Removed | Self::Deleted)
    }
}

/// What an owner holds besides the member key, which is the owner key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct OwnerKeys {
    /// The root key: signs the owner chain and the link data.
    pub(crate) root: Seed,
    /// Whether the group link exists on its server.
    pub(crate) link_created: bool,
    /// What the write of the link data that is under way lists.
    pub(crate) writing: Option<LinkWrite>,
    /// Whether another write is needed after that.
    pub(crate) write_again: bool,
}

/// One write of link data that was handed to the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LinkWrite {
    /// The relays that it lists, by row.
    pub(crate) listed: Vec<i64>,
    /// Its counter.
    pub(crate) counter: u64,
}

/// The roster: who has a role above the joiners', signed by the owner.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Roster {
    /// Its version, none before the first; a lower one is refused.
    pub(crate) version: Option<i64>,
    /// The id of the header: chunks name it.
    pub(crate) message_id: Option<SharedMessageId>,
    /// The header as it was signed.
    #[serde(with = "bytes")]
    pub(crate) header: Vec<u8>,
    /// The list as it was announced.
    #[serde(with = "bytes")]
    pub(crate) blob: Vec<u8>,
}

/// Reading the group link again, with growing pauses.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Restore {
    /// When next; none while relays are connected.
    pub(crate) due_at_ms: Option<i64>,
    /// How often in vain.
    pub(crate) tries: u32,
    /// Whether the server did not know the link when it was read last.
    #[serde(default)]
    pub(crate) unknown: bool,
}

/// The seed of a private key: never shown, wiped when dropped.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Seed(#[serde(with = "seed")] Zeroizing<[u8; 32]>);

impl Seed {
    /// Of this key.
    pub(crate) fn of(key: &Ed25519PrivateKey) -> Self {
        Self(Zeroizing::new(*key.seed()))
    }

    /// The key.
    pub(crate) fn key(&self) -> Ed25519PrivateKey {
        Ed25519PrivateKey::from_seed(&self.0)
    }
}

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seed([scrubbed])")
    }
}

mod seed {
    use serde::{Deserializer, Serializer, de::Error};
    use zeroize::Zeroizing;

    pub(super) fn serialize<S: Serializer>(seed: &Zeroizing<[u8; 32]>, to: S) -> Result<S::Ok, S::Error> {
        super::bytes::serialize(seed.as_slice(), to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Zeroizing<[u8; 32]>, D::Error> {
        let bytes = Zeroizing::new(super::bytes::deserialize(from)?);
        bytes.as_slice().try_into().map(Zeroizing::new).map_err(|_| D::Error::custom("a seed has 32 bytes"))
    }
}

/// Bytes as base64url inside a sealed record.
pub(crate) mod bytes {
    use protocol::base64url;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&if bytes.is_empty() { String::new() } else { base64url::encode(bytes) })
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        if text.is_empty() {
            return Ok(Vec::new());
        }
        base64url::decode(&text).map_err(D::Error::custom)
    }
}

impl Store {
    /// Adds a group.
    pub(crate) fn add_group(&mut self, record: &Group) -> Result<GroupId, StoreError> {
        let sealed = self.seal_record(COLUMN, record)?;
        self.insert("INSERT INTO groups (sealed) VALUES (?1)", params![sealed]).map(GroupId)
    }

    /// A group.
    ///
    /// # Errors
    /// [`StoreError::Missing`] when there is none.
    pub(crate) fn group(&self, id: GroupId) -> Result<Group, StoreError> {
        let sql = "SELECT sealed FROM groups WHERE group_id = ?1";
        let sealed: Option<Vec<u8>> = self.one(sql, params![id.0], |row| row.get(0))?;
        self.open_record(COLUMN, &sealed.ok_or(StoreError::Missing)?)
    }

    /// Replaces a group's record.
    pub(crate) fn save_group(&mut self, id: GroupId, record: &Group) -> Result<(), StoreError> {
        let sealed = self.seal_record(COLUMN, record)?;
        self.change_one("UPDATE groups SET sealed = ?2 WHERE group_id = ?1", params![id.0, sealed])
    }

    /// Changes a group's record in place and gives the new one.
    pub(crate) fn change_group(
        &mut self,
        id: GroupId,
        change: impl FnOnce(&mut Group),
    ) -> Result<Group, StoreError> {
        let mut record = self.group(id)?;
        change(&mut record);
        self.save_group(id, &record)?;
        Ok(record)
    }

    /// All groups, oldest first. A person has few, so that searching them is cheap.
    pub(crate) fn groups(&self) -> Result<Vec<GroupRow>, StoreError> {
        let rows: Vec<(i64, Vec<u8>)> =
            self.all("SELECT group_id, sealed FROM groups ORDER BY group_id", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
        let open = |(id, sealed): (i64, Vec<u8>)| {
            Ok(GroupRow { id: GroupId(id), record: self.open_record(COLUMN, &sealed)? })
        };
        rows.into_iter().map(open).collect()
    }

    /// The group whose link this connection is.
    pub(crate) fn group_of_link(&self, connection: ConnectionId) -> Result<Option<GroupId>, StoreError> {
        let sql = "SELECT group_id FROM group_links WHERE connection_id = ?1";
        self.one(sql, params![connection.0], |row| row.get(0).map(GroupId))
    }

    /// The connection behind a group link of ours.
    pub(crate) fn link_of_group(&self, group: GroupId) -> Result<Option<ConnectionId>, StoreError> {
        let sql = "SELECT connection_id FROM group_links WHERE group_id = ?1";
        self.one(sql, params![group.0], |row| row.get(0).map(ConnectionId))
    }

    /// Says which connection is behind the group link.
    pub(crate) fn set_link_of_group(
        &mut self,
        group: GroupId,
        connection: ConnectionId,
    ) -> Result<(), StoreError> {
        self.run("DELETE FROM group_links WHERE group_id = ?1", params![group.0])?;
        let sql = "INSERT INTO group_links (connection_id, group_id) VALUES (?1, ?2)";
        self.change_one(sql, params![connection.0, group.0])
    }

    /// Forgets the connection behind the group link.
    pub(crate) fn drop_link_of_group(&mut self, group: GroupId) -> Result<(), StoreError> {
        self.run("DELETE FROM group_links WHERE group_id = ?1", params![group.0])?;
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use protocol::group::identity::LinkText;
    use protocol::group::profile::{GroupType, PublicGroup};

    use super::*;

    /// A group that we joined.
    pub(crate) fn a_group(alias: &str) -> Group {
        let key = Ed25519PrivateKey::from_seed(&[3; 32]);
        let public_id = PublicGroupId::of_root_key(&key.public_key());
        let public_group = PublicGroup {
            group_type: GroupType::Channel,
            group_link: LinkText::new("https://127.0.0.1/c#x").unwrap(),
            public_group_id: public_id.clone(),
            public_group_access: None,
            other: BTreeMap::new(),
        };
        Group {
            alias: alias.to_owned(),
            public_id,
            link: "https://127.0.0.1/c#x".to_owned(),
            profile: GroupProfile::new(alias, public_group),
            status: GroupStatus::Active,
            member_id: MemberId::new([9; 12]).unwrap(),
            key: Seed::of(&key),
            role: MemberRole::Observer,
            root_key: MemberKey(key.public_key()),
            owner: None,
            link_counter: Some(1),
            roster: Roster::default(),
            restore: Restore::default(),
            joined_at_ms: None,
            entrance: Entering::Free,
        }
    }

    #[test]
    fn a_group_is_read_as_it_was_written_and_shows_no_secret() {
        let mut store = Store::in_memory();
        let id = store.add_group(&a_group("news")).unwrap();
        let group = store.change_group(id, |group| group.roster.blob = vec![0, 0]).unwrap();
        let again = store.group(id).unwrap();
        assert_eq!(again.key.key().public_key(), group.key.key().public_key());
        assert_eq!((again.roster.blob.as_slice(), again.roster.header.len()), (&[0, 0][..], 0));
        assert!(format!("{group:?}").contains("Seed([scrubbed])"));
    }

    #[test]
    fn the_group_link_has_one_connection() {
        let mut store = Store::in_memory();
        let id = store.add_group(&a_group("news")).unwrap();
        store.set_link_of_group(id, ConnectionId(5)).unwrap();
        store.set_link_of_group(id, ConnectionId(6)).unwrap();
        assert_eq!(store.group_of_link(ConnectionId(5)).unwrap(), None);
        assert_eq!(store.group_of_link(ConnectionId(6)).unwrap(), Some(id));
        store.drop_link_of_group(id).unwrap();
        assert_eq!(store.link_of_group(id).unwrap(), None);
    }
}
