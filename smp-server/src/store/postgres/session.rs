//! A connection to PostgreSQL that is made when it is needed and made anew when it is lost.

use std::collections::HashMap;
use std::time::Duration;

use daemon::postgres::MakeRustlsConnect;
use postgres::types::ToSql;
use postgres::{Client, Config, Row, Statement};

use super::failure::is_lost;
use crate::store::{Failure, FailureKind, Result, StoreError};

/// Parameters of a statement.
pub(super) type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// Where the database is and how long it may be silent.
#[derive(Clone)]
pub(super) struct Access {
    pub(super) config: Config,
    pub(super) tls: MakeRustlsConnect,
    /// Bounds connecting, waiting for locks, and a session that is silent within a transaction.
    pub(super) patience: Duration,
    /// Whether an answered commit is on the server's disk, whatever its configuration says.
    pub(super) durable: bool,
}

/// A connection with the statements that it has prepared.
pub(super) struct Session {
    access: Access,
    connected: Option<Connected>,
}

struct Connected {
    client: Client,
    statements: HashMap<&'static str, Statement>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Access {
    /// The same for what need not outlive the server's memory.
    pub(super) fn forgetful(self) -> Self {
        Self { durable: false, ..self }
    }

    /// A new connection.
    pub(super) fn connect(&self) -> Result<Client> {
        let mut config = self.config.clone();
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(self.patience);
        }
        config.tcp_user_timeout(self.patience).keepalives_idle(self.patience);
        if config.get_application_name().is_none() {
            config.application_name("smp-server");
        }
        let mut client = config.connect(self.tls.clone())?;
        let patience_ms = self.patience.as_millis();
        let durable = if self.durable { "on" } else { "off" };
        client.batch_execute(&format!(
            "SET synchronous_commit = {durable};
             SET lock_timeout = {patience_ms};
             SET idle_in_transaction_session_timeout = {patience_ms};"
        ))?;
        Ok(client)
    }
}

impl Session {
    /// Connects at the first use.
    pub(super) fn new(access: Access) -> Self {
        Self { access, connected: None }
    }

    /// How new connections are made.
    pub(super) fn access(&self) -> &Access {
        &self.access
    }

    /// Connects, unless a connection stands.
    pub(super) fn connect(&mut self) -> Result<()> {
        if self.connected.as_ref().is_none_or(|connected| connected.client.is_closed()) {
            self.connected = None;
            let client = self.access.connect()?;
            self.connected = Some(Connected { client, statements: HashMap::new() });
        }
        Ok(())
    }

    /// The connection that stands. Never a new one: what was begun on a connection ends with it.
    fn connected(&mut self) -> std::result::Result<&mut Connected, Refused> {
        match &mut self.connected {
            Some(connected) if !connected.client.is_closed() => Ok(connected),
            _ => Err(Refused::NotConnected),
        }
    }

    /// Runs something on the connection, which is given up when that shows it to be lost.
    pub(super) fn with<T>(
        &mut self,
        run: impl FnOnce(&mut Client) -> std::result::Result<T, postgres::Error>,
    ) -> std::result::Result<T, Refused> {
        let result = run(&mut self.connected()?.client);
        self.judge(result)
    }

    /// Runs a statement, which is prepared once per connection.
    pub(super) fn query(
        &mut self,
        sql: &'static str,
        parameters: Parameters<'_>,
    ) -> std::result::Result<Vec<Row>, Refused> {
        let connected = self.connected()?;
        let result = connected.query(sql, parameters);
        self.judge(result)
    }

    /// Reads, or does what may be done twice; once more on a new connection when the one in use turns out to be lost.
    pub(super) fn read(&mut self, sql: &'static str, parameters: Parameters<'_>) -> Result<Vec<Row>> {
        self.connect()?;
        match self.query(sql, parameters) {
            Err(Refused::Lost(_)) => {
                self.connect()?;
                Ok(self.query(sql, parameters)?)
            }
            result => Ok(result?),
        }
    }

    /// Gives the connection up; the server rolls back what is open on it.
    pub(super) fn give_up(&mut self) {
        self.connected = None;
    }

    fn judge<T>(
        &mut self,
        result: std::result::Result<T, postgres::Error>,
    ) -> std::result::Result<T, Refused> {
        result.map_err(|error| {
            if is_lost(&error) {
                self.connected = None;
                Refused::Lost(error)
            } else {
                Refused::Said(error)
            }
        })
    }
}

impl Connected {
    fn query(
        &mut self,
        sql: &'static str,
        parameters: Parameters<'_>,
    ) -> std::result::Result<Vec<Row>, postgres::Error> {
        let statement = match self.statements.get(sql) {
            Some(statement) => statement.clone(),
            None => {
                let statement = self.client.prepare(sql)?;
                self.statements.insert(sql, statement.clone());
                statement
            }
        };
        self.client.query(&statement, parameters)
    }
}

/// Why the server did not do what it was asked to.
#[derive(Debug)]
pub(super) enum Refused {
    /// There is no connection.
    NotConnected,
    /// The connection is lost.
    Lost(postgres::Error),
    /// The server refused and the connection stands.
    Said(postgres::Error),
}

impl From<Refused> for StoreError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NotConnected => {
                Failure::new(FailureKind::Transient, "the connection to PostgreSQL was lost").into()
            }
            Refused::Lost(error) | Refused::Said(error) => error.into(),
        }
    }
}
