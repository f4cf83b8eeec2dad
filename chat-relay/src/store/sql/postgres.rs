//! The statements in PostgreSQL.
//!
//! A statement is prepared once per connection, with `$1` for `?1`. Numbers are BIGINT wherever a column is declared;
//! what comes back is read by its type. A connection that is lost is not made anew: the store has failed then, and
//! whoever runs the relay begins again from what was committed.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use ::postgres::binary_copy::BinaryCopyInWriter;
use ::postgres::types::{FromSql, IsNull, ToSql as ToPostgres, Type, to_sql_checked};
use ::postgres::{Client, Config, SimpleQueryMessage, Statement};
use bytes::BytesMut;
use daemon::postgres::{MakeRustlsConnect, Misconfigured};
use rusqlite::ToSql;
use rusqlite::types::{ToSqlOutput, Type as Kind, ValueRef};

use super::migrations;
use crate::store::StoreError;

pub(super) use ::postgres::Row;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A worker's deadline is moved when so much of it is over.
const RENEWALS_PER_LEASE: u32 = 3;

/// Where PostgreSQL is and how long it may be silent.
#[derive(Clone)]
pub struct Access {
    config: Config,
    tls: MakeRustlsConnect,
    /// Bounds connecting, waiting for locks, and a session that is silent within a transaction.
    patience: Duration,
}

/// A connection with the statements that it has prepared.
pub(super) struct Postgres {
    client: Client,
    statements: HashMap<String, Statement>,
    fence: Option<Fence>,
}

/// What each transaction of a worker begins with.
struct Fence {
    worker: i64,
    lease: Duration,
    renewed: Instant,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Postgres").finish_non_exhaustive()
    }
}

impl Access {
    /// Reads a connection string of libpq's form.
    ///
    /// # Errors
    /// When it cannot be understood; never says what is in it.
    pub fn new(connection: &str, patience: Duration) -> Result<Self, Misconfigured> {
        let (mut config, tls) = daemon::postgres::read(connection)?;
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(patience);
        }
        config.tcp_user_timeout(patience).keepalives_idle(patience);
        if config.get_application_name().is_none() {
            config.application_name("chat-relay");
        }
        Ok(Self { config, tls, patience })
    }
}

impl Postgres {
    pub(super) fn connect(access: &Access) -> Result<Self, StoreError> {
        let mut client = access.config.connect(access.tls.clone())?;
        let patience_ms = access.patience.as_millis();
        client.batch_execute(&format!(
            "SET synchronous_commit = on; SET lock_timeout = {patience_ms};
             SET idle_in_transaction_session_timeout = {patience_ms};"
        ))?;
        let fsync: String = client.query_one("SHOW fsync", &[])?.try_get(0)?;
        if fsync != "on" {
            tracing::warn!(
                "PostgreSQL runs with fsync = off: a power failure can lose what was acknowledged"
            );
        }
        migrate(&mut client)?;
        Ok(Self { client, statements: HashMap::new(), fence: None })
    }

    /// From now on each transaction holds the row of this worker, and now and then renews it.
    pub(super) fn fence(&mut self, worker: i64, lease: Duration) {
        self.fence = Some(Fence { worker, lease, renewed: Instant::now() });
    }

    pub(super) fn begin(&mut self) -> Result<(), StoreError> {
        let Some(fence) = &mut self.fence else { return self.batch("BEGIN") };
        let worker = fence.worker;
        let begun = Instant::now();
        let hold = if fence.renewed.elapsed() > fence.lease / RENEWALS_PER_LEASE {
            let lease_ms = fence.lease.as_millis();
            format!(
                "UPDATE workers SET until = now() + {lease_ms} * interval '1 millisecond'
                 WHERE worker_id = {worker} RETURNING worker_id"
            )
        } else {
            format!("SELECT worker_id FROM workers WHERE worker_id = {worker} FOR KEY SHARE")
        };
        let answers = self.client.simple_query(&format!("BEGIN; {hold}"))?;
        if !answers.iter().any(|answer| matches!(answer, SimpleQueryMessage::Row(_))) {
            self.batch("ROLLBACK")?;
            return Err(StoreError::Dispossessed);
        }
        if hold.starts_with("UPDATE") {
            fence.renewed = begun;
        }
        Ok(())
    }

    pub(super) fn commit(&mut self) -> Result<(), StoreError> {
        self.batch("COMMIT")?;
        // It is stored, but who stood still since then is not to act on it any more: the next one does.
        let is_over = |fence: &Fence| fence.renewed.elapsed() > fence.lease;
        if self.fence.as_ref().is_some_and(is_over) { Err(StoreError::Dispossessed) } else { Ok(()) }
    }

    pub(super) fn batch(&mut self, sql: &str) -> Result<(), StoreError> {
        Ok(self.client.batch_execute(sql)?)
    }

    pub(super) fn execute(&mut self, sql: &str, params: &[&dyn ToSql]) -> Result<usize, StoreError> {
        let statement = self.prepare(sql)?;
        let values = values(params)?;
        let changed = self.client.execute(&statement, &references(&values))?;
        Ok(usize::try_from(changed).unwrap_or(usize::MAX))
    }

    pub(super) fn query(&mut self, sql: &str, params: &[&dyn ToSql]) -> Result<Vec<Row>, StoreError> {
        let statement = self.prepare(sql)?;
        let values = values(params)?;
        Ok(self.client.query(&statement, &references(&values))?)
    }

    /// Adds rows to a table, given one after the other.
    pub(super) fn copy_in(
        &mut self,
        table: &str,
        columns: &str,
        rows: impl FnOnce(
            &mut dyn FnMut(Vec<ToSqlOutput<'_>>) -> Result<(), StoreError>,
        ) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let types = self.client.prepare(&format!("SELECT {columns} FROM \"{table}\""))?;
        let types: Vec<Type> = types.columns().iter().map(|column| column.type_().clone()).collect();
        let into = self.client.copy_in(&format!("COPY \"{table}\" ({columns}) FROM STDIN BINARY"))?;
        let mut writer = BinaryCopyInWriter::new(into, &types);
        rows(&mut |row| {
            let values: Vec<_> = row.into_iter().map(Value).collect();
            Ok(writer.write(&references(&values))?)
        })?;
        writer.finish()?;
        Ok(())
    }

    /// Numbers of a column's further rows follow this one.
    pub(super) fn numbered_up_to(&mut self, table: &str, column: &str, last: i64) -> Result<(), StoreError> {
        let sql = "SELECT setval(CAST(pg_get_serial_sequence($1, $2) AS regclass), $3)";
        self.client.query_one(sql, &[&table, &column, &last])?;
        Ok(())
    }

    fn prepare(&mut self, sql: &str) -> Result<Statement, StoreError> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(&sql.replace('?', "$"))?;
        self.statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }
}

/// Applies the scripts that the database has not seen, all in one transaction. Other processes wait meanwhile.
fn migrate(client: &mut Client) -> Result<(), StoreError> {
    let mut transaction = client.transaction()?;
    transaction.batch_execute(
        "SELECT pg_advisory_xact_lock(hashtext(current_schema()), 2);
         CREATE TABLE IF NOT EXISTS form (number BIGINT NOT NULL)",
    )?;
    let done: i64 = transaction.query_one("SELECT coalesce(max(number), 0) FROM form", &[])?.try_get(0)?;
    let seen = usize::try_from(done).ok().filter(|seen| *seen <= migrations::SCRIPTS.len());
    for (number, script) in (1..).zip(migrations::SCRIPTS).skip(seen.ok_or(StoreError::Newer)?) {
        transaction.batch_execute(&migrations::for_postgres(number, script))?;
        transaction.execute("INSERT INTO form VALUES ($1)", &[&i64::from(number)])?;
    }
    Ok(transaction.commit()?)
}

/// A parameter in the form of whatever type the statement wants of it.
#[derive(Debug)]
struct Value<'a>(ToSqlOutput<'a>);

fn values<'a>(params: &'a [&'a dyn ToSql]) -> Result<Vec<Value<'a>>, StoreError> {
    params.iter().map(|param| Ok(Value(param.to_sql()?))).collect()
}

fn references<'a>(values: &'a [Value<'_>]) -> Vec<&'a (dyn ToPostgres + Sync)> {
    values.iter().map(|value| value as &(dyn ToPostgres + Sync)).collect()
}

impl ToPostgres for Value<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, BoxError> {
        let value = match &self.0 {
            ToSqlOutput::Borrowed(value) => *value,
            ToSqlOutput::Owned(value) => value.into(),
            other => return Err(format!("a parameter that PostgreSQL has no form for: {other:?}").into()),
        };
        match value {
            ValueRef::Null => Ok(IsNull::Yes),
            ValueRef::Integer(number) if *ty == Type::INT8 => ToPostgres::to_sql(&number, ty, out),
            ValueRef::Integer(number) if *ty == Type::INT4 => {
                ToPostgres::to_sql(&i32::try_from(number)?, ty, out)
            }
            // PostgreSQL has no NUL in texts, and none that we store means anything by it.
            ValueRef::Text(text) if text.contains(&0) => {
                ToPostgres::to_sql(&String::from_utf8_lossy(text).replace('\0', "\u{fffd}"), ty, out)
            }
            ValueRef::Text(text) => ToPostgres::to_sql(&std::str::from_utf8(text)?, ty, out),
            ValueRef::Blob(bytes) => ToPostgres::to_sql(&bytes, ty, out),
            other => Err(format!("{} where {ty} is wanted", other.data_type()).into()),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// What a column holds.
struct Held<'a>(ValueRef<'a>);

impl<'a> FromSql<'a> for Held<'a> {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, BoxError> {
        Ok(Self(match *ty {
            Type::INT8 => ValueRef::Integer(i64::from_sql(ty, raw)?),
            Type::INT4 => ValueRef::Integer(i32::from_sql(ty, raw)?.into()),
            Type::BOOL => ValueRef::Integer(bool::from_sql(ty, raw)?.into()),
            Type::TEXT => ValueRef::Text(raw),
            Type::BYTEA => ValueRef::Blob(raw),
            _ => return Err(format!("a column of type {ty}").into()),
        }))
    }

    fn from_sql_null(_: &Type) -> Result<Self, BoxError> {
        Ok(Self(ValueRef::Null))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// The value of a column.
pub(super) fn value<T: rusqlite::types::FromSql>(row: &Row, place: usize) -> rusqlite::Result<T> {
    let failed = |kind, error: BoxError| rusqlite::Error::FromSqlConversionFailure(place, kind, error);
    let Held(held) = row.try_get(place).map_err(|error| failed(Kind::Null, error.into()))?;
    T::column_result(held).map_err(|error| failed(held.data_type(), error.into()))
}
