//! The operator's decisions and counts: see `migrations/sqlite/0005_operation.sql`.

use std::collections::BTreeMap;

use protocol::agent::waiting::WaitingRequest;
use protocol::crypto::sign::Ed25519PublicKey;
use protocol::encoding::Decode as _;
use protocol::group::identity::{LinkText, PublicGroupId};
use protocol::group::served_group::ServedLife;
use protocol::timestamp::Timestamp;
use rusqlite::{ToSql, params};

use super::{Row, SqlStore, stored};
use crate::store::operation::{
    AllowedOwner, CodeId, GroupOverview, IssuedCode, OperationStore, RULED_MAX, Rejection, Taken, Totals,
    Usage, WaitingJobs,
};
use crate::store::records::{GroupId, Member, ServedGroup};
use crate::store::{RelayStore as _, StoreError};

const CODE: &str = "SELECT code_id, note, groups_max, issued_ms, until_ms, revoked,
    (SELECT count(*) FROM code_uses u WHERE u.code_id = codes.code_id) FROM codes";

impl SqlStore {
    fn big_count(&mut self, sql: &str, params: &[&dyn ToSql]) -> Result<u64, StoreError> {
        let count: Option<i64> = self.one(sql, params, |row| row.get(0))?;
        Ok(count.and_then(|count| count.try_into().ok()).unwrap_or(0))
    }

    fn one_code(&mut self, condition: &str, params: &[&dyn ToSql]) -> Result<Option<IssuedCode>, StoreError> {
        self.one(&format!("{CODE} {condition}"), params, read_code)
    }
}

impl OperationStore for SqlStore {
    fn operator_settings(&mut self) -> Result<Vec<(String, String)>, StoreError> {
        self.all("SELECT name, value FROM operator_settings ORDER BY name", params![], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
    }

    fn set_operator_setting(&mut self, name: &str, value: Option<&str>) -> Result<(), StoreError> {
        match value {
            Some(value) => self.run(
                "INSERT INTO operator_settings (name, value) VALUES (?1, ?2)
                 ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                params![name, value],
            )?,
            None => self.run("DELETE FROM operator_settings WHERE name = ?1", params![name])?,
        };
        Ok(())
    }

    fn groups_by_link(&mut self, link: &LinkText) -> Result<Vec<ServedGroup>, StoreError> {
        self.groups("WHERE group_link = ?1 ORDER BY group_id", params![link.as_str()])
    }

    fn group_overviews(&mut self, after: GroupId, limit: u32) -> Result<Vec<GroupOverview>, StoreError> {
        let groups =
            self.groups("WHERE group_id > ?1 ORDER BY group_id LIMIT ?2", params![after.0, limit])?;
        let overview = |group: ServedGroup| {
            let id = group.id;
            Ok(GroupOverview {
                account: self.account(id)?,
                paused: self
                    .count("SELECT count(*) FROM paused_groups WHERE group_id = ?1", params![id.0])?
                    > 0,
                members: self.count_members(id)?,
                knocks: self.count_knocks(id)?,
                group,
            })
        };
        groups.into_iter().map(overview).collect()
    }

    fn largest_groups(&mut self, limit: u32) -> Result<Vec<(GroupId, u64)>, StoreError> {
        let sql = "SELECT group_id, members FROM group_counts ORDER BY members DESC, group_id LIMIT ?1";
        self.all(sql, params![limit], |row| {
            Ok((GroupId(row.get(0)?), u64::try_from(row.get::<_, i64>(1)?).unwrap_or_default()))
        })
    }

    fn totals(&mut self) -> Result<Totals, StoreError> {
        let lives: Vec<Vec<u8>> = self.all("SELECT life FROM served_groups", params![], |row| row.get(0))?;
        let mut groups = BTreeMap::new();
        for life in lives {
            let life = stored(ServedLife::from_bytes(&life))?;
            let count: &mut u64 = groups.entry(life.status.word()).or_default();
            *count = count.saturating_add(1);
        }
        Ok(Totals {
            groups: groups.into_iter().collect(),
            members: self.members_of_account(None)?,
            knocks: self.big_count(
                "SELECT CAST(coalesce(sum(knocks), 0) AS BIGINT) FROM group_counts WHERE knocks > 0",
                params![],
            )?,
            paused_groups: self.big_count("SELECT count(*) FROM paused_groups", params![])?,
            messages: self.big_count("SELECT count(*) FROM messages", params![])?,
        })
    }

    fn backlog(&mut self, group: Option<GroupId>) -> Result<u64, StoreError> {
        self.big_count(
            "SELECT count(*) FROM deliveries d JOIN streams s USING (group_id)
             WHERE s.cursor IS NOT NULL AND (CAST(?1 AS BIGINT) IS NULL OR group_id = ?1) AND d.delivery_id >
             coalesce((SELECT min(position) FROM position_counts c WHERE c.group_id = s.group_id), 0)",
            params![group.map(|group| group.0)],
        )
    }

    fn queues_by_server(&mut self) -> Result<Vec<(Vec<u8>, u64)>, StoreError> {
        let sql = "SELECT server, count(*) FROM connection_queues GROUP BY server ORDER BY server";
        self.all(sql, params![], |row| {
            Ok((row.get(0)?, u64::try_from(row.get::<_, i64>(1)?).unwrap_or_default()))
        })
    }

    fn waiting_jobs(&mut self, limit: u32) -> Result<(Vec<WaitingJobs>, bool), StoreError> {
        let sql = "SELECT job FROM agent_jobs ORDER BY job_id LIMIT ?1";
        let jobs: Vec<Vec<u8>> = self.all(sql, params![i64::from(limit) + 1], |row| row.get(0))?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_more = jobs.len() > limit;
        let mut kinds: BTreeMap<&'static str, (u64, u64)> = BTreeMap::new();
        for job in jobs.iter().take(limit) {
            let Some(request) = WaitingRequest::read(job) else { continue };
            let (waiting, retrying) = kinds.entry(request.kind).or_default();
            *waiting = waiting.saturating_add(1);
            *retrying = retrying.saturating_add(request.is_retried.into());
        }
        let kinds =
            kinds.into_iter().map(|(kind, (waiting, retrying))| WaitingJobs { kind, waiting, retrying });
        Ok((kinds.collect(), has_more))
    }

    fn set_paused(&mut self, group: GroupId, paused: bool) -> Result<(), StoreError> {
        let sql = if paused {
            "INSERT INTO paused_groups (group_id) VALUES (?1) ON CONFLICT DO NOTHING"
        } else {
            "DELETE FROM paused_groups WHERE group_id = ?1"
        };
        self.run(sql, params![group.0])?;
        Ok(())
    }

    fn reject(
        &mut self,
        link: &LinkText,
        group: Option<&PublicGroupId>,
        name: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.run(
            "INSERT INTO rejections (group_link, public_group_id, group_name, since_ms) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (group_link) DO UPDATE SET
             public_group_id = coalesce(excluded.public_group_id, rejections.public_group_id)",
            params![link.as_str(), group.map(PublicGroupId::as_bytes), name, now.0],
        )?;
        Ok(())
    }

    fn is_rejected(&mut self, link: &LinkText, group: Option<&PublicGroupId>) -> Result<bool, StoreError> {
        let found = self.count(
            "SELECT count(*) FROM (SELECT 1 FROM rejections WHERE group_link = ?1
             UNION ALL SELECT 1 FROM rejections WHERE public_group_id = ?2) AS found",
            params![link.as_str(), group.map(PublicGroupId::as_bytes)],
        )?;
        Ok(found > 0)
    }

    fn rejections(&mut self) -> Result<Vec<Rejection>, StoreError> {
        let sql = "SELECT rejection_id, group_link, public_group_id, group_name, since_ms FROM rejections
                   ORDER BY rejection_id";
        self.all(sql, params![], |row| {
            let group: Option<Vec<u8>> = row.get(2)?;
            Ok(Rejection {
                id: row.get(0)?,
                group_link: stored(LinkText::new(row.get::<_, String>(1)?))?,
                public_group_id: group.map(|id| stored(PublicGroupId::new(id))).transpose()?,
                group_name: row.get(3)?,
                since: Timestamp(row.get(4)?),
            })
        })
    }

    fn clear_rejection(&mut self, id_or_link: &str) -> Result<bool, StoreError> {
        let id: Option<i64> = id_or_link.parse().ok();
        let sql = "DELETE FROM rejections WHERE rejection_id = ?1 OR group_link = ?2";
        Ok(self.run(sql, params![id, id_or_link])? > 0)
    }

    fn allow_owner(&mut self, key: &Ed25519PublicKey, note: &str, now: Timestamp) -> Result<(), StoreError> {
        self.run(
            "INSERT INTO allowed_owners (owner_key, note, since_ms) VALUES (?1, ?2, ?3)
             ON CONFLICT (owner_key) DO UPDATE SET note = excluded.note",
            params![key.0, note, now.0],
        )?;
        Ok(())
    }

    fn disallow_owner(&mut self, key: &Ed25519PublicKey) -> Result<bool, StoreError> {
        Ok(self.run("DELETE FROM allowed_owners WHERE owner_key = ?1", params![key.0])? > 0)
    }

    fn is_owner_allowed(&mut self, key: &Ed25519PublicKey) -> Result<bool, StoreError> {
        Ok(self.count("SELECT count(*) FROM allowed_owners WHERE owner_key = ?1", params![key.0])? > 0)
    }

    fn allowed_owners(&mut self) -> Result<Vec<AllowedOwner>, StoreError> {
        let sql = "SELECT owner_key, note, since_ms FROM allowed_owners ORDER BY since_ms, owner_key";
        self.all(sql, params![], |row| {
            Ok(AllowedOwner {
                key: Ed25519PublicKey(row.get(0)?),
                note: row.get(1)?,
                since: Timestamp(row.get(2)?),
            })
        })
    }

    fn issue_code(
        &mut self,
        digest: &[u8; 32],
        note: &str,
        groups_max: u32,
        until: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<CodeId, StoreError> {
        let id = self.insert(
            "INSERT INTO codes (digest, note, groups_max, issued_ms, until_ms) VALUES (?1, ?2, ?3, ?4, ?5)
             RETURNING code_id",
            params![digest, note, groups_max, now.0, until.map(|until| until.0)],
        )?;
        Ok(CodeId(id))
    }

    fn code(&mut self, digest: &[u8; 32]) -> Result<Option<IssuedCode>, StoreError> {
        self.one_code("WHERE digest = ?1", params![digest])
    }

    fn code_by_id(&mut self, id: CodeId) -> Result<Option<IssuedCode>, StoreError> {
        self.one_code("WHERE code_id = ?1", params![id.0])
    }

    fn codes(&mut self) -> Result<Vec<IssuedCode>, StoreError> {
        self.all(&format!("{CODE} ORDER BY code_id"), params![], read_code)
    }

    fn revoke_code(&mut self, id: CodeId) -> Result<bool, StoreError> {
        Ok(self.run("UPDATE codes SET revoked = 1 WHERE code_id = ?1", params![id.0])? > 0)
    }

    fn is_code_used_for(&mut self, id: CodeId, link: &LinkText) -> Result<bool, StoreError> {
        let sql = "SELECT count(*) FROM code_uses WHERE code_id = ?1 AND group_link = ?2";
        Ok(self.count(sql, params![id.0, link.as_str()])? > 0)
    }

    fn use_code(&mut self, id: CodeId, link: &LinkText) -> Result<(), StoreError> {
        let sql = "INSERT INTO code_uses (code_id, group_link) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
        self.run(sql, params![id.0, link.as_str()])?;
        Ok(())
    }

    fn ruled_members(&mut self, group: GroupId, key: &Ed25519PublicKey) -> Result<Vec<Member>, StoreError> {
        // The condition of the index `members_ruled`.
        let condition = "WHERE group_id = ?1 AND member_key = ?2 AND (status IN ('removed', 'rejected')
            OR restriction IS NOT NULL OR appointment IS NOT NULL)
            ORDER BY status IN ('removed', 'rejected') DESC, member_number DESC LIMIT ?3";
        self.members(condition, params![group.0, key.0, RULED_MAX])
    }

    fn account(&mut self, group: GroupId) -> Result<Option<String>, StoreError> {
        self.one("SELECT account FROM group_accounts WHERE group_id = ?1", params![group.0], |row| row.get(0))
    }

    fn set_account(&mut self, group: GroupId, account: &str) -> Result<(), StoreError> {
        self.run(
            "INSERT INTO group_accounts (group_id, account) VALUES (?1, ?2)
             ON CONFLICT (group_id) DO UPDATE SET account = excluded.account",
            params![group.0, account],
        )?;
        Ok(())
    }

    fn groups_of_account(&mut self, account: &str, but: GroupId) -> Result<u64, StoreError> {
        self.big_count(
            "SELECT count(*) FROM group_accounts JOIN served_groups USING (group_id)
             WHERE account = ?1 AND group_id <> ?2 AND public_group_id IS NOT NULL",
            params![account, but.0],
        )
    }

    fn members_of_account(&mut self, account: Option<&str>) -> Result<u64, StoreError> {
        let sql = "SELECT members FROM account_counts WHERE account = ?1";
        self.big_count(sql, params![account.unwrap_or_default()])
    }

    fn usage(&mut self, day: i64, limit: u32) -> Result<Vec<(String, Usage)>, StoreError> {
        self.all(
            "SELECT account, groups, members, messages, bytes FROM
                (SELECT account, count(*) AS groups, CAST(coalesce(sum(members), 0) AS BIGINT) AS members
                 FROM group_accounts JOIN served_groups USING (group_id) LEFT JOIN group_counts USING (group_id)
                 WHERE public_group_id IS NOT NULL GROUP BY account) AS held
             LEFT JOIN
                (SELECT account AS whose, CAST(sum(messages) AS BIGINT) AS messages, CAST(sum(bytes) AS BIGINT) AS bytes
                 FROM account_days WHERE day = ?1 GROUP BY account) AS came ON account = whose
             ORDER BY coalesce(messages, 0) DESC, members DESC, account LIMIT ?2",
            params![day, limit],
            |row| {
                let count = |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.unwrap_or(0).unsigned_abs());
                let taken = Taken { messages: count(3)?, bytes: count(4)? };
                Ok((row.get(0)?, Usage { groups: count(1)?, members: count(2)?, taken }))
            },
        )
    }

    fn usage_of_all(&mut self, day: i64) -> Result<Usage, StoreError> {
        let groups = "SELECT count(*) FROM served_groups WHERE public_group_id IS NOT NULL";
        let groups = self.big_count(groups, params![])?;
        Ok(Usage { groups, members: self.members_of_account(None)?, taken: self.taken("", day)? })
    }

    fn taken(&mut self, account: &str, day: i64) -> Result<Taken, StoreError> {
        let sql = "SELECT CAST(coalesce(sum(messages), 0) AS BIGINT), CAST(coalesce(sum(bytes), 0) AS BIGINT)
                   FROM account_days WHERE account = ?1 AND day = ?2";
        let count =
            |row: &Row<'_>, column| Ok::<_, rusqlite::Error>(row.get::<_, i64>(column)?.unsigned_abs());
        let found = self.one(sql, params![account, day], |row| {
            Ok(Taken { messages: count(row, 0)?, bytes: count(row, 1)? })
        })?;
        Ok(found.unwrap_or_default())
    }

    fn add_taken(&mut self, account: &str, day: i64, more: Taken) -> Result<(), StoreError> {
        let worker = self.worker();
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.run(
            "INSERT INTO account_days (account, worker_id, day, messages, bytes) VALUES (?1, ?5, ?2, ?3, ?4)
             ON CONFLICT (account, worker_id) DO UPDATE SET day = excluded.day,
             messages = excluded.messages
                 + CASE account_days.day WHEN excluded.day THEN account_days.messages ELSE 0 END,
             bytes = excluded.bytes
                 + CASE account_days.day WHEN excluded.day THEN account_days.bytes ELSE 0 END",
            params![account, day, number(more.messages), number(more.bytes), worker],
        )?;
        Ok(())
    }
}

fn read_code(row: &Row<'_>) -> rusqlite::Result<IssuedCode> {
    Ok(IssuedCode {
        id: CodeId(row.get(0)?),
        note: row.get(1)?,
        groups_max: row.get(2)?,
        issued: Timestamp(row.get(3)?),
        until: row.get::<_, Option<i64>>(4)?.map(Timestamp),
        revoked: row.get(5)?,
        groups: row.get(6)?,
    })
}
