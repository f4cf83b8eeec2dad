//! What the owner of a group needs to go on elsewhere: the keys, the group link with its connection, the roster.

use protocol::agent::store::{AgentStore as _, ConnectionId};
use protocol::encoding::Decode as _;
use protocol::group::identity::MemberId;
use protocol::smp::address::ServerAddress;
use protocol::smp::ids::RecipientId;
use rusqlite::params;
use serde::{Deserialize, Serialize};

use super::group::{Group, GroupId};
use super::member::Member;
use super::{Store, StoreError};
use crate::error::CommandError;
use crate::exit_code::ExitCode;

/// The contents of an owner archive.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OwnerArchive {
    /// The group with its keys.
    pub(crate) group: Group,
    /// Members with their keys and roles.
    pub(crate) members: Vec<(MemberId, Member)>,
    /// Links of the relays that were in use.
    pub(crate) relays: Vec<(String, String)>,
    /// The connection behind the group link, as the agent keeps it.
    #[serde(with = "super::group::bytes")]
    link_record: Vec<u8>,
    /// Its queues: server and recipient id, as bytes.
    queues: Vec<(String, String)>,
}

impl Store {
    /// Collects everything about a group of ours.
    ///
    /// # Errors
    /// [`ExitCode::NotAllowed`] when the group is not ours.
    pub(crate) fn owner_archive(&mut self, id: GroupId) -> Result<OwnerArchive, CommandError> {
        let group = self.group(id)?;
        let link = self.link_of_group(id)?;
        let (Some(_), Some(link)) = (&group.owner, link) else {
            return Err(CommandError::new(ExitCode::NotAllowed, "You do not own this group")
                .hint("Without --group the whole home is exported."));
        };
        let link_record = self.connection(link)?.ok_or(StoreError::Missing)?;
        let sql = "SELECT server, recipient_id FROM connection_queues WHERE connection_id = ?1";
        let queues: Vec<(Vec<u8>, Vec<u8>)> =
            self.all(sql, params![link.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let text = |bytes: &[u8]| protocol::base64url::encode(bytes);
        Ok(OwnerArchive {
            members: self.members(id)?,
            relays: self
                .relays(id)?
                .into_iter()
                .filter(|relay| !relay.record.is_over())
                .filter_map(|relay| Some((relay.record.name, relay.record.link?)))
                .collect(),
            link_record,
            queues: queues.iter().map(|(server, queue)| (text(server), text(queue))).collect(),
            group,
        })
    }

    /// Takes over a group with its link; relays are connected to by whoever calls.
    ///
    /// # Errors
    /// [`ExitCode::AlreadyThere`] when the group is here.
    pub(crate) fn take_over_group(
        &mut self,
        archive: &OwnerArchive,
    ) -> Result<(GroupId, ConnectionId), CommandError> {
        let groups = self.groups()?;
        if groups.iter().any(|group| group.record.public_id == archive.group.public_id) {
            return Err(CommandError::new(ExitCode::AlreadyThere, "This group is here already"));
        }
        let mut group = archive.group.clone();
        group.alias = free_alias(&groups, &group.alias);
        let id = self.add_group(&group)?;
        for (member_id, member) in &archive.members {
            self.save_member(id, member_id, member)?;
        }
        let link = self.insert_connection(&archive.link_record)?;
        for (server, queue) in &archive.queues {
            let server =
                protocol::base64url::decode(server).and_then(|bytes| ServerAddress::from_bytes(&bytes));
            let queue =
                protocol::base64url::decode(queue).and_then(|bytes| RecipientId::try_from(bytes.as_slice()));
            self.add_queue(link, &server.map_err(StoreError::from)?, &queue.map_err(StoreError::from)?)?;
        }
        self.set_link_of_group(id, link)?;
        Ok((id, link))
    }
}

/// `wanted`, or with a number behind it if that is taken.
pub(crate) fn free_alias(groups: &[super::group::GroupRow], wanted: &str) -> String {
    let taken = |name: &str| groups.iter().any(|group| group.record.alias == name);
    if !taken(wanted) {
        return wanted.to_owned();
    }
    (2_u32..)
        .map(|number| format!("{wanted}-{number}"))
        .find(|name| !taken(name))
        .unwrap_or_else(|| wanted.to_owned())
}
