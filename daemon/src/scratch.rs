//! A schema of a PostgreSQL server for one test, gone with the value. `TEST_POSTGRES_URL` says where the server is;
//! without it the tests that need it say on stderr that they did not run.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test fails by panicking")]

use std::io::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use postgres::{Client, NoTls};

/// Where the server is, if there is one.
pub fn server() -> Option<String> {
    let server = std::env::var("TEST_POSTGRES_URL").ok();
    if server.is_none() {
        // Past the test harness, which keeps what passing tests print.
        let said = "NOT RUN: a test needs PostgreSQL: set TEST_POSTGRES_URL, as .ci/run does";
        let _ = writeln!(std::io::stderr(), "{said}");
    }
    server
}

/// The schema of a test.
#[derive(Debug)]
pub struct Scratch {
    server: String,
    schema: String,
}

impl Scratch {
    /// A new schema; nothing when there is no server to make it in.
    pub fn make() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let server = server()?;
        let schema = format!("server_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let scratch = Self { server, schema };
        scratch.execute(&format!("CREATE SCHEMA {}", scratch.schema));
        Some(scratch)
    }

    /// The connection string that leads into the schema.
    pub fn connection(&self) -> String {
        format!("{0} application_name={1} options='-c search_path={1}'", self.server, self.schema)
    }

    /// The connection string that leads to the server.
    pub fn server_connection(&self) -> &str {
        &self.server
    }

    /// The schema's name.
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// A connection of the test's own.
    pub fn client(&self) -> Client {
        Client::connect(&self.connection(), NoTls).expect("TEST_POSTGRES_URL leads to a server")
    }

    /// Runs statements.
    pub fn execute(&self, sql: &str) {
        self.on_client(|client| client.batch_execute(sql).unwrap());
    }

    /// Waits until a question is answered with yes.
    pub fn until(&self, question: &str) {
        self.on_client(|client| {
            let deadline = Instant::now() + Duration::from_secs(90);
            while !client.query_one(question, &[]).unwrap().get::<_, bool>(0) {
                assert!(Instant::now() < deadline, "it never came to that: {question}");
                std::thread::sleep(Duration::from_millis(5));
            }
        });
    }

    /// Ends the sessions whose last statement began so.
    pub fn end_sessions(&self, last_statement: &str) {
        let sql = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE application_name = '{}' AND pid <> pg_backend_pid() AND query LIKE '{last_statement}%'",
            self.schema
        );
        self.execute(&sql);
    }

    /// On a thread of its own: the client blocks, which a runtime does not allow.
    fn on_client(&self, run: impl FnOnce(&mut Client) + Send) {
        std::thread::scope(|scope| {
            let ran = scope.spawn(|| {
                run(&mut self.client());
            });
            ran.join().unwrap();
        });
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.execute(&format!("DROP SCHEMA {} CASCADE", self.schema));
    }
}
