//! A place in a PostgreSQL server for one test: a schema of its own, gone with the value.
//!
//! The variable `TEST_POSTGRES_URL` says where the server is. Without it such tests say on stderr that they did not
//! run.

use std::io::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};

use postgres::{Client, NoTls};

/// The schema of a test.
pub(crate) struct Scratch {
    server: String,
    schema: String,
}

impl Scratch {
    /// A new schema; nothing when there is no server to make it in.
    pub(crate) fn make() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let Ok(server) = std::env::var("TEST_POSTGRES_URL") else {
            // Past the test harness, which keeps what passing tests print.
            let _ = writeln!(
                std::io::stderr(),
                "NOT RUN: a test needs PostgreSQL: set TEST_POSTGRES_URL, as .ci/run does"
            );
            return None;
        };
        let schema = format!("test_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let scratch = Self { server, schema };
        scratch.execute(&format!("CREATE SCHEMA {}", scratch.schema));
        Some(scratch)
    }

    /// The connection string that leads into the schema.
    pub(crate) fn connection(&self) -> String {
        format!("{0} application_name={1} options='-c search_path={1}'", self.server, self.schema)
    }

    /// A connection of the test's own.
    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.connection(), NoTls).expect("TEST_POSTGRES_URL leads to a server")
    }

    fn execute(&self, sql: &str) {
        self.client().batch_execute(sql).expect("the server takes it");
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.execute(&format!("DROP SCHEMA {} CASCADE", self.schema));
    }
}
