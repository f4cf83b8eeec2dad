//! A relay's state goes from its file to PostgreSQL: table by table, in an order in which what is named is there first,
//! all in one transaction. What triggers count there is not copied but counted anew, and compared.

use std::collections::BTreeSet;

use rusqlite::types::ToSqlOutput;
use rusqlite::{Connection, params};

use super::SqlStore;
use super::copy::Verified;
use super::database::Database;
use super::postgres::Postgres;
use crate::store::operation::OperationStore as _;
use crate::store::{RelayStore as _, StoreError};

/// What triggers fill.
const COUNTED: [&str; 3] = ["position_counts", "group_counts", "account_counts"];
/// Whose a row is in a file; in PostgreSQL it is nobody's until a worker takes it.
const OWNER: &str = "worker_id";

/// A table of the file.
struct Table {
    name: String,
    columns: Vec<String>,
    /// The column that numbers its rows, if the database does, and the last number it gave.
    numbered: Option<(String, i64)>,
}

impl SqlStore {
    /// Copies everything of this file into a database that holds no relay. This one is to be used no more.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when this file is not sound or not everything came over, and what the databases say;
    /// nothing is in the other one then.
    pub fn move_into(&mut self, other: &mut Self) -> Result<Verified, StoreError> {
        let expected = (self.verify()?, self.members_behind()?, self.backlog(None)?);
        let (Database::Sqlite(from), Database::Postgres(to)) = (&self.database, &mut other.database) else {
            return Err(StoreError::Damaged("only a file moves, and only to PostgreSQL".to_owned()));
        };
        to.begin()?;
        for table in tables(from)? {
            copy(from, to, &table)?;
        }
        let found = (other.verify()?, other.members_behind()?, other.backlog(None)?);
        if found != expected {
            return Err(StoreError::Damaged("not everything came over: nothing is moved".to_owned()));
        }
        other.database.commit()?;
        Ok(found.0)
    }
}

/// The tables of a file, each behind those that its rows name.
fn tables(from: &Connection) -> Result<Vec<Table>, StoreError> {
    let mut names: Vec<String> =
        list(from, "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")?;
    names.retain(|name| !name.starts_with("sqlite_") && !COUNTED.contains(&name.as_str()));
    let (mut done, mut ordered) = (BTreeSet::new(), Vec::new());
    while !names.is_empty() {
        let before = names.len();
        for name in std::mem::take(&mut names) {
            let named = list(from, &format!("SELECT \"table\" FROM pragma_foreign_key_list('{name}')"))?;
            if named.iter().all(|named| *named == name || done.contains(named)) {
                ordered.push(table(from, &name)?);
                done.insert(name);
            } else {
                names.push(name);
            }
        }
        if names.len() == before {
            return Err(StoreError::Damaged(format!("tables name each other: {}", names.join(", "))));
        }
    }
    Ok(ordered)
}

fn table(from: &Connection, name: &str) -> Result<Table, StoreError> {
    let columns = list(from, &format!("SELECT name FROM pragma_table_info('{name}') ORDER BY cid"))?;
    let mut last = from.prepare("SELECT seq FROM sqlite_sequence WHERE name = ?1")?;
    let last: Vec<i64> = last.query_map(params![name], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let key = list(from, &format!("SELECT name FROM pragma_table_info('{name}') WHERE pk = 1"))?.pop();
    Ok(Table { name: name.to_owned(), columns, numbered: key.zip(last.first().copied()) })
}

fn list(from: &Connection, sql: &str) -> Result<Vec<String>, StoreError> {
    Ok(from.prepare(sql)?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

fn copy(from: &Connection, to: &mut Postgres, table: &Table) -> Result<(), StoreError> {
    let columns: Vec<String> = table.columns.iter().map(|column| format!("\"{column}\"")).collect();
    let columns = columns.join(", ");
    // Counts of days are a worker's by its number, and stay with one that is gone.
    let is_owner = |column: &String| column == OWNER && table.name != "account_days";
    let mut statement = from.prepare(&format!("SELECT {columns} FROM \"{}\"", table.name))?;
    let mut rows = statement.query([])?;
    to.copy_in(&table.name, &columns, |write| {
        while let Some(row) = rows.next()? {
            let values = table.columns.iter().enumerate().map(|(place, column)| match is_owner(column) {
                true => Ok(ToSqlOutput::Owned(rusqlite::types::Value::Null)),
                false => row.get_ref(place).map(ToSqlOutput::Borrowed),
            });
            write(values.collect::<Result<_, _>>()?)?;
        }
        Ok(())
    })?;
    match &table.numbered {
        // No number is given twice, also not that of a row that is gone.
        Some((key, last)) if *last > 0 => to.numbered_up_to(&table.name, key, *last),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use daemon::scratch::Scratch;
    use protocol::agent::store::AgentStore as _;

    use super::super::Access;
    use super::*;
    use crate::store::contract::{NOW, group, member, message};
    use crate::store::records::{MessageKind, RelayAddress};
    use protocol::group::identity::MemberRole;
    use protocol::group::profile::Profile;

    fn connect(scratch: &Scratch) -> SqlStore {
        SqlStore::connect(&Access::new(&scratch.connection(), Duration::from_secs(10)).unwrap()).unwrap()
    }

    /// A file with something in it, and numbers that were given to rows that are gone.
    fn filled() -> SqlStore {
        let mut store = SqlStore::in_memory().unwrap();
        let profile = Profile::named("relay");
        store
            .set_relay_address(&RelayAddress { draft: b"draft".to_vec(), profile, connection: None })
            .unwrap();
        let group = group(&mut store).unwrap();
        for number in 1..=3 {
            let mut member = member(&mut store, group.id, number, MemberRole::Observer).unwrap();
            member.connection = Some(store.insert_connection(&[number]).unwrap());
            store.update_member(&member).unwrap();
        }
        let author = store.members_with_roles(group.id, &[MemberRole::Observer]).unwrap().remove(0).number;
        let gone = store.insert_connection(b"gone").unwrap();
        store.run("DELETE FROM connections WHERE connection_id = ?1", params![gone.0]).unwrap();
        store.store_message(group.id, &message(author, "hello\0", MessageKind::Post, None), NOW).unwrap();
        store.set_account(group.id, "code:1").unwrap();
        store
    }

    #[test]
    fn all_that_a_file_holds_comes_over() {
        let Some(scratch) = Scratch::make() else { return };
        let (mut file, mut other) = (filled(), connect(&scratch));
        let moved = file.move_into(&mut other).unwrap();
        assert_eq!((moved.groups, moved.members, moved.messages), (1, 3, 1));
        let Database::Sqlite(from) = &file.database else { panic!("a file") };
        for table in tables(from).unwrap() {
            let count = format!("SELECT count(*) FROM \"{}\"", table.name);
            let there: i64 = other.one(&count, params![], |row| row.get(0)).unwrap().unwrap();
            let here: i64 = from.query_row(&count, [], |row| row.get(0)).unwrap();
            assert_eq!(here, there, "{}", table.name);
        }
        let last = file.insert_connection(b"next").unwrap();
        assert_eq!(other.insert_connection(b"next").unwrap(), last, "no number is given twice");
        assert_eq!(other.members_of_account(Some("code:1")).unwrap(), 3);

        other.join("one", Duration::from_secs(15)).unwrap();
        let moves = crate::store::workers::WorkerStore::share(&mut other).unwrap();
        assert_eq!((moves.taken.len(), moves.has_address), (1, true), "a worker takes it up");
    }

    #[test]
    fn what_is_there_already_is_left_alone() {
        let Some(scratch) = Scratch::make() else { return };
        filled().move_into(&mut connect(&scratch)).unwrap();
        assert!(filled().move_into(&mut connect(&scratch)).is_err());
        assert_eq!(connect(&scratch).verify().unwrap().members, 3);
    }
}
