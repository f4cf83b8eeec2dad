//! What came before its author's key.

use protocol::group::identity::MemberId;
use protocol::group::msg_id::SharedMessageId;
use protocol::timestamp::Timestamp;
use rusqlite::params;

use super::group::GroupId;
use super::{Store, StoreError};

/// Statements that wait for their authors' keys, per group. What comes beyond stays as it was taken.
const UNPROVEN_MAX: u64 = 1000;

impl Store {
    /// Notes a statement whose author's key is not known.
    pub(crate) fn note_unproven(
        &mut self,
        group: GroupId,
        author: &MemberId,
        shared_id: &SharedMessageId,
        sent_at: Timestamp,
    ) -> Result<(), StoreError> {
        let count = "SELECT count(*) FROM unproven WHERE group_id = ?1";
        if self.count(count, params![group.0])? >= UNPROVEN_MAX {
            return Ok(());
        }
        self.change_one(
            "INSERT INTO unproven (group_id, author, shared_id, sent_at_ms) VALUES (?1, ?2, ?3, ?4)",
            params![group.0, author.as_bytes(), shared_id.as_bytes(), sent_at.0],
        )
    }

    /// What waited for this author's key, in the order in which it came; it waits no longer.
    pub(crate) fn take_unproven(
        &mut self,
        group: GroupId,
        author: &MemberId,
    ) -> Result<Vec<(SharedMessageId, Timestamp)>, StoreError> {
        let key = params![group.0, author.as_bytes()];
        let sql = "SELECT shared_id, sent_at_ms FROM unproven WHERE group_id = ?1 AND author = ?2
                   ORDER BY unproven_id";
        let rows: Vec<(Vec<u8>, i64)> = self.all(sql, key, |row| Ok((row.get(0)?, row.get(1)?)))?;
        if !rows.is_empty() {
            self.run("DELETE FROM unproven WHERE group_id = ?1 AND author = ?2", key)?;
        }
        rows.into_iter().map(|(id, at)| Ok((SharedMessageId::new(id)?, Timestamp(at)))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::group::tests::a_group;
    use super::*;

    #[test]
    fn what_waits_for_a_key_is_taken_once_and_bounded() {
        let mut store = Store::in_memory();
        let group = store.add_group(&a_group("news")).unwrap();
        let [ann, ben] = [[1; 12], [2; 12]].map(|id| MemberId::new(id).unwrap());
        let id = |number: u64| SharedMessageId::new(number.to_be_bytes()).unwrap();
        for number in 0..UNPROVEN_MAX + 1 {
            let author = if number == 1 { &ben } else { &ann };
            store.note_unproven(group, author, &id(number), Timestamp(5)).unwrap();
        }
        assert_eq!(store.take_unproven(group, &ben).unwrap(), [(id(1), Timestamp(5))]);
        let waited = store.take_unproven(group, &ann).unwrap();
        assert_eq!((waited.len() as u64, waited[1].0.clone()), (UNPROVEN_MAX - 1, id(2)));
        assert_eq!(store.take_unproven(group, &ann).unwrap(), []);
    }
}
