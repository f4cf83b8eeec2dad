//! What is kept against relays.

use protocol::timestamp::Timestamp;
use rusqlite::params;
use serde::{Deserialize, Serialize};

use super::group::GroupId;
use super::{Store, StoreError};
use crate::event::EvidenceKind;

const EVIDENCE: &str = "evidence.sealed";

/// Pieces of evidence that are kept, per group.
const EVIDENCE_MAX: u64 = 1000;

/// The same evidence as one of so many pieces before it is nothing new.
const EVIDENCE_COMPARED: u32 = 64;

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
}
