//! Tasks, jobs and pages: see `migrations/sqlite/0003_messages.sql`.

use protocol::agent::store::ConnectionId;
use protocol::group::identity::{MemberId, MemberRole};
use rusqlite::{Row, params};

use super::messages::{MESSAGE_COLUMNS, read_message};
use super::{SqliteStore, stored, word};
use crate::store::StoreError;
use crate::store::records::{
    DeliveryJob, DeliveryJobId, DeliveryTask, Ending, GroupId, MemberNumber, Recipient, StoredMessageId,
    TaskId,
};

impl SqliteStore {
    pub(super) fn write_task(
        &mut self,
        group: GroupId,
        message: StoredMessageId,
        ending: Ending,
    ) -> Result<TaskId, StoreError> {
        self.change_one(
            "INSERT INTO delivery_tasks (group_id, message_number, ending, removes) VALUES (?1, ?2, ?3, ?4)",
            params![group.0, message.0, ending_word(ending), removed(ending)],
        )?;
        Ok(TaskId(self.database.last_insert_rowid()))
    }

    pub(super) fn read_tasks(
        &mut self,
        group: GroupId,
        limit: usize,
    ) -> Result<Vec<DeliveryTask>, StoreError> {
        let sql = format!(
            "SELECT {MESSAGE_COLUMNS}, t.task_id, t.ending, t.removes FROM delivery_tasks t
             JOIN messages m ON m.message_number = t.message_number
             WHERE t.group_id = ?1 ORDER BY t.task_id LIMIT ?2"
        );
        self.all(&sql, params![group.0, i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
            Ok(DeliveryTask {
                id: TaskId(row.get(10)?),
                message: read_message(row)?,
                ending: read_ending(row, 11)?,
            })
        })
    }

    pub(super) fn write_job(
        &mut self,
        tasks: &[TaskId],
        job: &DeliveryJob,
    ) -> Result<DeliveryJobId, StoreError> {
        self.delete_tasks(tasks)?;
        self.change_one(
            "INSERT INTO delivery_jobs (group_id, author, support_of, ending, removes, cursor, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                job.group.0,
                job.author.0,
                job.support_of.as_ref().map(MemberId::as_bytes),
                ending_word(job.ending),
                removed(job.ending),
                job.cursor.0,
                job.body
            ],
        )?;
        Ok(DeliveryJobId(self.database.last_insert_rowid()))
    }

    pub(super) fn delete_tasks(&mut self, tasks: &[TaskId]) -> Result<(), StoreError> {
        for task in tasks {
            self.change_one("DELETE FROM delivery_tasks WHERE task_id = ?1", params![task.0])?;
        }
        Ok(())
    }

    /// Groups with work after one, then the others.
    pub(super) fn read_groups_with_work(
        &mut self,
        after: GroupId,
        limit: usize,
    ) -> Result<Vec<GroupId>, StoreError> {
        self.all(
            "SELECT group_id FROM (SELECT group_id FROM delivery_tasks UNION SELECT group_id FROM delivery_jobs)
             WHERE group_id NOT IN (SELECT group_id FROM paused_groups)
             ORDER BY group_id <= ?1, group_id LIMIT ?2",
            params![after.0, i64::try_from(limit).unwrap_or(i64::MAX)],
            |row| row.get(0).map(GroupId),
        )
    }

    pub(super) fn read_job(&mut self, group: GroupId) -> Result<Option<DeliveryJob>, StoreError> {
        self.one(
            "SELECT job_id, group_id, author, support_of, ending, removes, cursor, body FROM delivery_jobs
             WHERE group_id = ?1 ORDER BY job_id LIMIT 1",
            params![group.0],
            read_job,
        )
    }

    pub(super) fn read_page(
        &mut self,
        job: &DeliveryJob,
        limit: u32,
        backlog_max: u32,
    ) -> Result<Vec<Recipient>, StoreError> {
        // One more than the bound is enough to know that it is passed.
        self.all(
            "SELECT member_number, connection_id, role,
               (SELECT count(*) FROM (SELECT 1 FROM agent_jobs j
                WHERE j.connection_id = members.connection_id LIMIT ?4 + 1)),
               EXISTS (SELECT 1 FROM introductions WHERE author = ?5 AND recipient = member_number), passed_over
             FROM members WHERE group_id = ?1 AND member_number > ?2 AND member_number <> ?5
               AND (status = 'connected' OR member_number IS ?7) AND link <> 'broken' AND connection_id IS NOT NULL
               AND (?6 IS NULL OR member_id = ?6 OR role IN ('moderator', 'admin', 'owner'))
             ORDER BY member_number LIMIT ?3",
            params![
                job.group.0,
                job.cursor.0,
                limit,
                backlog_max,
                job.author.0,
                job.support_of.as_ref().map(MemberId::as_bytes),
                removed(job.ending),
            ],
            |row| {
                Ok(Recipient {
                    number: MemberNumber(row.get(0)?),
                    connection: ConnectionId(row.get(1)?),
                    role: MemberRole::from_word(&row.get::<_, String>(2)?),
                    waiting: row.get(3)?,
                    met_author: row.get(4)?,
                    passed_over: row.get(5)?,
                })
            },
        )
    }
}

fn ending_word(ending: Ending) -> &'static str {
    match ending {
        Ending::Nothing => "nothing",
        Ending::MemberGoes(_) => "member",
        Ending::GroupGoes => "group",
    }
}

fn removed(ending: Ending) -> Option<i64> {
    if let Ending::MemberGoes(member) = ending { Some(member.0) } else { None }
}

/// Reads the ending at a column and the member removed at the next.
fn read_ending(row: &Row<'_>, column: usize) -> rusqlite::Result<Ending> {
    let removes: Option<i64> = row.get(column.saturating_add(1))?;
    let ending = match (row.get::<_, String>(column)?.as_str(), removes) {
        ("nothing", None) => Some(Ending::Nothing),
        ("member", Some(member)) => Some(Ending::MemberGoes(MemberNumber(member))),
        ("group", None) => Some(Ending::GroupGoes),
        _ => None,
    };
    word(ending)
}

fn read_job(row: &Row<'_>) -> rusqlite::Result<DeliveryJob> {
    let support_of: Option<Vec<u8>> = row.get(3)?;
    Ok(DeliveryJob {
        id: DeliveryJobId(row.get(0)?),
        group: GroupId(row.get(1)?),
        author: MemberNumber(row.get(2)?),
        support_of: support_of.map(|bytes| stored(MemberId::new(bytes))).transpose()?,
        ending: read_ending(row, 4)?,
        cursor: MemberNumber(row.get(6)?),
        body: row.get(7)?,
    })
}
