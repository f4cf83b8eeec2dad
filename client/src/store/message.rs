//! Messages and reactions.

use protocol::group::identity::MemberId;
use protocol::group::msg_id::SharedMessageId;
use protocol::timestamp::Timestamp;
use rusqlite::{Row, params};
use serde::{Deserialize, Serialize};

use super::group::GroupId;
use super::{Store, StoreError, unsigned};
use crate::event::Signature;

const COLUMN: &str = "messages.sealed";
const COLUMNS: &str = "message_id, shared_id, author, sent_at_ms, sealed";

/// A message with its columns.
#[derive(Debug, Clone)]
pub(crate) struct MessageRow {
    /// The row.
    pub(crate) row: i64,
    /// The id that all members know.
    pub(crate) shared_id: SharedMessageId,
    /// The author; none when it was posted in the group's name.
    pub(crate) author: Option<MemberId>,
    /// When the author's server took it.
    pub(crate) sent_at: Timestamp,
    /// The rest.
    pub(crate) record: Message,
}

/// What a message says and what became of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Message {
    /// The text; empty when deleted.
    pub(crate) text: String,
    /// How far the author is proven. An edit or delete must be proven as far.
    pub(crate) signature: Signature,
    /// Ours.
    pub(crate) own: bool,
    /// The text was changed.
    pub(crate) edited: bool,
    /// It was deleted.
    pub(crate) deleted: bool,
    /// The message that it answers.
    pub(crate) reply_to: Option<SharedMessageId>,
    /// Some relay's server has it (own messages).
    pub(crate) delivered: bool,
}

/// Where a new message stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Somebody has seen it.
    pub(crate) shown: bool,
    /// It was said before we came.
    pub(crate) recalled: bool,
    /// Its author's number, when something came first that its author made later.
    pub(crate) late: Option<u64>,
}

impl Store {
    /// Lets go of a message that nobody has said, so that one that somebody has said can come under its id.
    pub(crate) fn forget_message(
        &mut self,
        group: GroupId,
        shared_id: &SharedMessageId,
    ) -> Result<(), StoreError> {
        for table in ["messages", "copies"] {
            let sql = format!("DELETE FROM {table} WHERE group_id = ?1 AND shared_id = ?2");
            self.run(&sql, params![group.0, shared_id.as_bytes()])?;
        }
        Ok(())
    }

    /// Adds a message; does nothing when its id is known.
    pub(crate) fn add_message(
        &mut self,
        group: GroupId,
        shared_id: &SharedMessageId,
        author: Option<&MemberId>,
        sent_at: Timestamp,
        place: Place,
        record: &Message,
    ) -> Result<bool, StoreError> {
        let sealed = self.seal_record(COLUMN, record)?;
        let author = author.map(MemberId::as_bytes).unwrap_or_default();
        let Place { shown, recalled, late } = place;
        let added = self.run(
            "INSERT INTO messages (group_id, shared_id, author, sent_at_ms, shown, recalled, sealed)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING",
            params![group.0, shared_id.as_bytes(), author, sent_at.0, shown, recalled, sealed],
        )?;
        if let (1, Some(number)) = (added, late) {
            self.stand_before_later(group, shared_id, author, number)?;
        }
        Ok(added == 1)
    }

    /// A message that came late stands where the next one of its author stands.
    fn stand_before_later(
        &mut self,
        group: GroupId,
        shared_id: &SharedMessageId,
        author: &[u8],
        number: u64,
    ) -> Result<(), StoreError> {
        self.run(
            "UPDATE messages SET late_number = ?4, stands_before =
                (SELECT coalesce(m.stands_before, m.message_id) FROM author_chains c
                 JOIN chain_links own ON own.chain_id = c.chain_id AND own.shared_id = ?2
                 JOIN chain_links later ON later.chain_id = c.chain_id AND later.number > own.number
                 JOIN messages m ON m.group_id = ?1 AND m.shared_id = later.shared_id
                 WHERE c.group_id = ?1 AND c.author = ?3 AND m.author = ?3 AND m.recalled = 0
                 ORDER BY later.number LIMIT 1)
             WHERE group_id = ?1 AND shared_id = ?2 AND recalled = 0",
            params![group.0, shared_id.as_bytes(), author, i64::try_from(number).unwrap_or(i64::MAX)],
        )?;
        Ok(())
    }

    /// A message by its id.
    pub(crate) fn message(
        &self,
        group: GroupId,
        shared_id: &SharedMessageId,
    ) -> Result<Option<MessageRow>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM messages WHERE group_id = ?1 AND shared_id = ?2");
        let row = self.one(&sql, params![group.0, shared_id.as_bytes()], columns)?;
        row.map(|row| self.open_message(row)).transpose()
    }

    /// Replaces what a message says.
    pub(crate) fn save_message(&mut self, row: i64, record: &Message) -> Result<(), StoreError> {
        let sealed = self.seal_record(COLUMN, record)?;
        self.change_one("UPDATE messages SET sealed = ?2 WHERE message_id = ?1", params![row, sealed])
    }

    /// The newest messages, oldest first: first what was said before we came; what came late stands where its author said it.
    pub(crate) fn newest_messages(&self, group: GroupId, limit: u32) -> Result<Vec<MessageRow>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM messages WHERE group_id = ?1 AND recalled = 0
             ORDER BY coalesce(stands_before, message_id) DESC, late_number DESC LIMIT ?2"
        );
        let mut rows = self.all(&sql, params![group.0, limit], columns)?;
        rows.reverse();
        let room = limit.saturating_sub(u32::try_from(rows.len()).unwrap_or(limit));
        let mut recalled = if room > 0 { self.recalled(group, "1", room)? } else { Vec::new() };
        recalled.extend(rows);
        recalled.into_iter().map(|row| self.open_message(row)).collect()
    }

    /// The newest of what was said before we came, oldest first, as far as a condition holds.
    fn recalled(&self, group: GroupId, condition: &str, limit: u32) -> Result<Vec<Columns>, StoreError> {
        // Relays tell whole seconds: within one, what came first was said first. Within what one author says, the
        // author's own numbers tell the order.
        let sql = format!(
            "WITH placed AS (
                SELECT m.*, c.chain_id, l.number FROM messages m
                LEFT JOIN (chain_links l JOIN author_chains c USING (chain_id))
                ON l.shared_id = m.shared_id AND c.group_id = m.group_id AND c.author = m.author
                WHERE m.group_id = ?1 AND m.recalled = 1 GROUP BY m.message_id),
             timed AS (
                SELECT *, CASE WHEN chain_id IS NULL THEN sent_at_ms ELSE
                    max(sent_at_ms) OVER said END AS said_ms,
                    CASE WHEN chain_id IS NULL THEN message_id ELSE max(message_id) OVER said END AS came FROM placed
                WINDOW said AS (PARTITION BY chain_id ORDER BY number))
             SELECT {COLUMNS} FROM timed WHERE {condition}
             ORDER BY said_ms DESC, came DESC, chain_id DESC, number DESC LIMIT ?2"
        );
        let mut rows = self.all(&sql, params![group.0, limit], columns)?;
        rows.reverse();
        Ok(rows)
    }

    /// Messages that `listen` has not shown, oldest first.
    pub(crate) fn unshown_messages(&self, group: GroupId) -> Result<Vec<MessageRow>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM messages WHERE group_id = ?1 AND shown = 0 AND recalled = 0
             ORDER BY coalesce(stands_before, message_id), late_number"
        );
        let rows = self.all(&sql, params![group.0], columns)?;
        let recalled = self.recalled(group, "shown = 0", u32::MAX)?;
        recalled.into_iter().chain(rows).map(|row| self.open_message(row)).collect()
    }

    /// Remembers that a message was shown.
    pub(crate) fn mark_shown(&mut self, row: i64) -> Result<(), StoreError> {
        self.change_one("UPDATE messages SET shown = 1 WHERE message_id = ?1", params![row])
    }

    /// Remembers that all messages of a group were shown, or those up to a row, in the order in which they are shown.
    pub(crate) fn mark_shown_up_to(&mut self, group: GroupId, last: Option<i64>) -> Result<(), StoreError> {
        let recalled = self.recalled(group, "1", u32::MAX)?;
        let place = recalled.iter().position(|(row, ..)| Some(*row) == last);
        for (row, ..) in recalled.iter().take(place.map_or(usize::MAX, |place| place.saturating_add(1))) {
            self.mark_shown(*row)?;
        }
        if place.is_none() {
            self.run(
                "UPDATE messages SET shown = 1 WHERE group_id = ?1 AND shown = 0 AND recalled = 0
                 AND (?2 IS NULL OR (coalesce(stands_before, message_id), late_number) <=
                    (SELECT coalesce(stands_before, message_id), late_number FROM messages WHERE message_id = ?2))",
                params![group.0, last],
            )?;
        }
        Ok(())
    }

    /// Ids that begin as this text does, at most two: enough to see whether it is clear which is meant.
    pub(crate) fn message_ids_like(
        &self,
        group: GroupId,
        text: &str,
    ) -> Result<Vec<SharedMessageId>, StoreError> {
        let sql = "SELECT shared_id FROM messages WHERE group_id = ?1 ORDER BY message_id DESC";
        let ids: Vec<Vec<u8>> = self.all(sql, params![group.0], |row| row.get(0))?;
        let mut found = Vec::new();
        for id in ids {
            let id = SharedMessageId::new(id)?;
            if id.to_string() == text {
                return Ok(vec![id]);
            }
            if id.to_string().starts_with(text) && found.len() < 2 {
                found.push(id);
            }
        }
        Ok(found)
    }

    /// Messages of a group, and those not shown.
    pub(crate) fn count_messages(&self, group: GroupId) -> Result<(u64, u64), StoreError> {
        let all = self.count("SELECT count(*) FROM messages WHERE group_id = ?1", params![group.0])?;
        let sql = "SELECT count(*) FROM messages WHERE group_id = ?1 AND shown = 0";
        Ok((all, self.count(sql, params![group.0])?))
    }

    /// All messages of one author, when they go with the author.
    pub(crate) fn messages_of(
        &self,
        group: GroupId,
        author: &MemberId,
    ) -> Result<Vec<MessageRow>, StoreError> {
        let sql =
            format!("SELECT {COLUMNS} FROM messages WHERE group_id = ?1 AND author = ?2 ORDER BY message_id");
        let rows = self.all(&sql, params![group.0, author.as_bytes()], columns)?;
        rows.into_iter().map(|row| self.open_message(row)).collect()
    }

    /// Puts a reaction on a message or takes it back; says whether that changed anything. One person has at most
    /// `most` on one message.
    pub(crate) fn react(
        &mut self,
        group: GroupId,
        shared_id: &SharedMessageId,
        member: &MemberId,
        emoji: &str,
        add: bool,
        most: usize,
    ) -> Result<bool, StoreError> {
        let (id, member) = (shared_id.as_bytes(), member.as_bytes());
        if !add {
            let gone = self.run(
                "DELETE FROM reactions WHERE group_id = ?1 AND shared_id = ?2 AND member_id = ?3 AND emoji = ?4",
                params![group.0, id, member, emoji],
            )?;
            return Ok(gone == 1);
        }
        let added = self.run(
            "INSERT INTO reactions (group_id, shared_id, member_id, emoji)
             SELECT ?1, ?2, ?3, ?4 WHERE ?5 >
                (SELECT count(*) FROM reactions WHERE group_id = ?1 AND shared_id = ?2 AND member_id = ?3)
             ON CONFLICT DO NOTHING",
            params![group.0, id, member, emoji, i64::try_from(most).unwrap_or(i64::MAX)],
        )?;
        Ok(added == 1)
    }

    /// Reactions on a message with their number.
    pub(crate) fn reactions(
        &self,
        group: GroupId,
        shared_id: &SharedMessageId,
    ) -> Result<Vec<(String, u64)>, StoreError> {
        let sql =
            "SELECT emoji, count(*) FROM reactions WHERE group_id = ?1 AND shared_id = ?2 GROUP BY emoji";
        let rows =
            self.all(sql, params![group.0, shared_id.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.into_iter().map(|(emoji, count): (String, i64)| (emoji, unsigned(count))).collect())
    }

    fn open_message(&self, columns: Columns) -> Result<MessageRow, StoreError> {
        let (row, shared_id, author, sent_at, sealed) = columns;
        Ok(MessageRow {
            row,
            shared_id: SharedMessageId::new(shared_id)?,
            author: if author.is_empty() { None } else { Some(MemberId::new(author)?) },
            sent_at: Timestamp(sent_at),
            record: self.open_record(COLUMN, &sealed)?,
        })
    }
}

type Columns = (i64, Vec<u8>, Vec<u8>, i64, Vec<u8>);

fn columns(row: &Row<'_>) -> rusqlite::Result<Columns> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::group::tests::a_group;
    use super::*;

    pub(in super::super) fn id(text: &str) -> SharedMessageId {
        SharedMessageId::new(text.as_bytes()).unwrap()
    }

    pub(in super::super) fn post(text: &str) -> Message {
        Message {
            text: text.into(),
            signature: Signature::Verified,
            own: false,
            edited: false,
            deleted: false,
            reply_to: None,
            delivered: false,
        }
    }

    #[test]
    fn a_message_is_kept_once_and_shown_in_the_order_it_came() {
        let mut store = Store::in_memory();
        let group = store.add_group(&a_group("news")).unwrap();
        for (text, new) in [("b", true), ("a", true), ("b", false)] {
            let added = store
                .add_message(group, &id(text), None, Timestamp(0), Place::default(), &post(text))
                .unwrap();
            assert_eq!(added, new, "{text}");
        }
        let texts = |rows: Vec<MessageRow>| rows.into_iter().map(|row| row.record.text).collect::<Vec<_>>();
        assert_eq!(texts(store.newest_messages(group, 10).unwrap()), ["b", "a"]);
        assert_eq!(texts(store.newest_messages(group, 1).unwrap()), ["a"]);
        let first = store.unshown_messages(group).unwrap().remove(0);
        store.mark_shown(first.row).unwrap();
        assert_eq!(texts(store.unshown_messages(group).unwrap()), ["a"]);
        assert_eq!(store.count_messages(group).unwrap(), (2, 1));
    }

    #[test]
    fn what_was_said_before_stands_ahead_whenever_it_came() {
        let mut store = Store::in_memory();
        let group = store.add_group(&a_group("news")).unwrap();
        for (text, sent_at, recalled) in
            [("c", 3, true), ("e", 9, false), ("b", 2, true), ("d", 5, false), ("a", 1, true)]
        {
            let place = Place { recalled, ..Place::default() };
            store.add_message(group, &id(text), None, Timestamp(sent_at), place, &post(text)).unwrap();
        }
        let texts = |rows: Vec<MessageRow>| rows.into_iter().map(|row| row.record.text).collect::<String>();
        let newest = |limit| texts(store.newest_messages(group, limit).unwrap());
        assert_eq!((newest(9), newest(3), newest(1)), ("abced".to_owned(), "ced".to_owned(), "d".to_owned()));
        let row = |store: &Store, text| store.message(group, &id(text)).unwrap().unwrap().row;
        let unshown = |store: &Store| texts(store.unshown_messages(group).unwrap());
        for (read, left) in [("b", "ced"), ("e", "d")] {
            let row = row(&store, read);
            store.mark_shown_up_to(group, Some(row)).unwrap();
            assert_eq!(unshown(&store), left);
        }
        store.mark_shown_up_to(group, None).unwrap();
        assert_eq!(unshown(&store), "");
    }

    #[test]
    fn the_authors_own_numbers_order_what_was_said_before() {
        let mut store = Store::in_memory();
        let group = store.add_group(&a_group("news")).unwrap();
        let author = MemberId::new([4; 12]).unwrap();
        let epoch = protocol::group::author_chain::Epoch([1; 12]);
        let (chain, _) = store.add_author_chain(group, &author, epoch).unwrap();
        // Whoever brought them lied about the times of the first and the last.
        for (text, number, sent_at) in [("c", 3, 1), ("a", 1, 20), ("b", 2, 10)] {
            let place = Place { recalled: true, ..Place::default() };
            store
                .add_message(group, &id(text), Some(&author), Timestamp(sent_at), place, &post(text))
                .unwrap();
            let held = protocol::group::author_chain::follow::Held { digest: [number; 32], previous: None };
            store.hold_link(chain, number.into(), &id(text), held, false).unwrap();
        }
        let place = Place { recalled: true, ..Place::default() };
        store.add_message(group, &id("x"), None, Timestamp(15), place, &post("x")).unwrap();
        let rows = store.newest_messages(group, 9).unwrap();
        assert_eq!(rows.into_iter().map(|row| row.record.text).collect::<String>(), "xabc");
    }

    #[test]
    fn within_a_second_what_came_first_was_said_first() {
        let mut store = Store::in_memory();
        let group = store.add_group(&a_group("news")).unwrap();
        let author = |byte| MemberId::new([byte; 12]).unwrap();
        let mut chain = |byte| {
            let epoch = protocol::group::author_chain::Epoch([byte; 12]);
            store.add_author_chain(group, &author(byte), epoch).unwrap().0
        };
        let chains = [chain(1), chain(2)];
        for (text, place, number) in [("a", 0, 1), ("b", 1, 1), ("c", 0, 2), ("d", 1, 2), ("e", 0, 3)] {
            let by = author(u8::try_from(place + 1).unwrap());
            let recalled = Place { recalled: true, ..Place::default() };
            store.add_message(group, &id(text), Some(&by), Timestamp(0), recalled, &post(text)).unwrap();
            let held = protocol::group::author_chain::follow::Held { digest: [number; 32], previous: None };
            store.hold_link(chains[place], number.into(), &id(text), held, false).unwrap();
        }
        let rows = store.newest_messages(group, 9).unwrap();
        assert_eq!(rows.into_iter().map(|row| row.record.text).collect::<String>(), "abcde");
    }

    #[test]
    fn what_comes_late_stands_where_its_author_said_it() {
        let mut store = Store::in_memory();
        let group = store.add_group(&a_group("news")).unwrap();
        let [author, other] = [4, 5].map(|byte| MemberId::new([byte; 12]).unwrap());
        let epoch = protocol::group::author_chain::Epoch([1; 12]);
        let (chain, _) = store.add_author_chain(group, &author, epoch).unwrap();
        // Number 4 is no message.
        let mut say = |text: &str, number: u64, late: bool| {
            let digest = [u8::try_from(number).unwrap(); 32];
            let held = protocol::group::author_chain::follow::Held { digest, previous: None };
            store.hold_link(chain, number, &id(text), held, late).unwrap();
            let place = Place { late: late.then_some(number), ..Place::default() };
            if number != 4 {
                store.add_message(group, &id(text), Some(&author), Timestamp(0), place, &post(text)).unwrap();
            }
            let place = Place::default();
            let beside = format!("({text})");
            store
                .add_message(group, &id(&beside), Some(&other), Timestamp(0), place, &post(&beside))
                .unwrap();
        };
        say("2", 2, false);
        say("6", 6, false);
        say("-", 4, true);
        say("3", 3, true);
        say("5", 5, true);
        say("1", 1, true);
        say("7", 7, false);
        let texts = |rows: Vec<MessageRow>| rows.into_iter().map(|row| row.record.text).collect::<String>();
        let all = "12(2)356(6)(-)(3)(5)(1)7(7)";
        assert_eq!(texts(store.newest_messages(group, 99).unwrap()), all);
        assert_eq!(texts(store.newest_messages(group, 8).unwrap()), "6(6)(-)(3)(5)(1)7(7)"[..].to_owned());
        assert_eq!(texts(store.unshown_messages(group).unwrap()), all);
        for (read, left) in
            [("1", "2(2)356(6)(-)(3)(5)(1)7(7)"), ("5", "6(6)(-)(3)(5)(1)7(7)"), ("(6)", "(-)(3)(5)(1)7(7)")]
        {
            let row = store.message(group, &id(read)).unwrap().unwrap().row;
            store.mark_shown_up_to(group, Some(row)).unwrap();
            assert_eq!(texts(store.unshown_messages(group).unwrap()), left, "{read}");
        }
    }

    #[test]
    fn one_person_has_so_many_reactions_on_a_message() {
        let mut store = Store::in_memory();
        let group = store.add_group(&a_group("news")).unwrap();
        let member = MemberId::new([1; 12]).unwrap();
        let mut react = |emoji: &str, add| store.react(group, &id("m"), &member, emoji, add, 2).unwrap();
        assert!(react("a", true) && react("b", true));
        assert!(!react("c", true) && !react("a", true), "too many, and again");
        assert!(react("a", false) && !react("a", false));
        assert!(react("c", true));
        assert_eq!(store.reactions(group, &id("m")).unwrap(), [("b".to_owned(), 1), ("c".to_owned(), 1)]);
    }

    #[test]
    fn an_id_may_be_shortened_as_long_as_it_is_clear() {
        let mut store = Store::in_memory();
        let group = store.add_group(&a_group("news")).unwrap();
        for text in ["aaaaaa", "aaabbb"] {
            store.add_message(group, &id(text), None, Timestamp(0), Place::default(), &post(text)).unwrap();
        }
        let like = |text: &str| store.message_ids_like(group, text).unwrap().len();
        let whole = id("aaaaaa").to_string();
        assert_eq!((like("YWFh"), like("YWFhYmJi"), like(&whole), like("zz")), (2, 1, 1, 0));
    }
}
