//! Where members stand in the stream of their group: see `migrations/sqlite/0006_positions.sql`.

use protocol::agent::store::ConnectionId;
use protocol::group::bulk::serving::ServedBulk;
use rusqlite::{ToSql, params};

use super::{Row, SqlStore, word};
use crate::store::StoreError;
use crate::store::records::{
    DeliveryId, Given, GroupId, LinkState, Member, MemberNumber, MemberStatus, Reader, Stage,
};

impl SqlStore {
    /// Readers that match a condition over the columns of `positions`.
    pub(super) fn readers(
        &mut self,
        condition: &str,
        params: &[&dyn ToSql],
    ) -> Result<Vec<Reader>, StoreError> {
        let sql = format!(
            "SELECT group_id, member_number, connection_id, position, stage, given, number FROM positions
             {condition}"
        );
        self.all(&sql, params, read_reader)
    }

    pub(super) fn write_reader(&mut self, reader: &Reader) -> Result<(), StoreError> {
        self.change_one(
            "UPDATE positions SET position = ?3, stage = ?4, given = ?5, number = ?6
             WHERE group_id = ?1 AND member_number = ?2",
            params![
                reader.group.0,
                reader.number.0,
                reader.position.0,
                reader.stage.number(),
                reader.given.map(|given| given.through.0),
                reader.given.map(|given| given.number),
            ],
        )
    }

    /// Whoever is connected and can be reached has a position, and nobody else. What was on its way over another
    /// connection is given again: at once, or when the member is ready for a second connection.
    pub(super) fn keep_position(&mut self, member: &Member) -> Result<(), StoreError> {
        let is_reached = member.status == MemberStatus::Connected && member.link != LinkState::Broken;
        let is_held = member.bulk.stage == ServedBulk::Switching;
        let first_stage = if is_held { Stage::Held } else { Stage::Free };
        match member.stream_connection().filter(|_| is_reached) {
            Some(connection) => self.run(
                "INSERT INTO positions (group_id, member_number, connection_id, position, stage)
                 VALUES (?1, ?2, ?3, coalesce((SELECT head FROM streams WHERE group_id = ?1), 0), ?4)
                 ON CONFLICT (group_id, member_number) DO UPDATE SET connection_id = excluded.connection_id,
                 stage = CASE WHEN excluded.stage = 4 THEN 4
                         WHEN positions.given IS NULL AND positions.stage <> 4 THEN positions.stage
                         ELSE 3 END, given = NULL, number = NULL
                 WHERE positions.connection_id <> excluded.connection_id",
                params![member.group.0, member.number.0, connection.0, first_stage.number()],
            )?,
            None => self.run(
                "DELETE FROM positions WHERE group_id = ?1 AND member_number = ?2",
                params![member.group.0, member.number.0],
            )?,
        };
        Ok(())
    }
}

fn read_reader(row: &Row<'_>) -> rusqlite::Result<Reader> {
    let given: Option<i64> = row.get(5)?;
    let number: Option<i64> = row.get(6)?;
    Ok(Reader {
        group: GroupId(row.get(0)?),
        number: MemberNumber(row.get(1)?),
        connection: ConnectionId(row.get(2)?),
        position: DeliveryId(row.get(3)?),
        stage: word(Stage::from_number(row.get(4)?))?,
        given: given.zip(number).map(|(through, number)| Given { through: DeliveryId(through), number }),
    })
}
