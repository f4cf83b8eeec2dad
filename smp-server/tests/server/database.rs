//! PostgreSQL itself fails, or is reached by TLS: each test has a database server of its own.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use postgres::NoTls;
use protocol::smp::error::ErrorType;
use protocol::smp::ids::SenderId;
use protocol::smp::message::ReceivedMessage;
use protocol::smp::response::BrokerMessage;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::task::JoinSet;

use crate::client::{Client, MESSAGING, message};
use crate::program::{Program, init, program, run};

/// A database server, stopped when dropped.
struct Database {
    place: tempfile::TempDir,
    connection: String,
}

impl Database {
    /// Nothing when there is no PostgreSQL on this machine.
    fn start(prepare: impl FnOnce(&Path) -> String) -> Option<Self> {
        daemon::scratch::server()?;
        let place = tempfile::tempdir().unwrap();
        let options = prepare(place.path());
        let mut database = Self { place, connection: String::new() };
        database.connection = database.script("start", &options);
        Some(database)
    }

    fn script(&self, action: &str, options: &str) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.ci/postgres");
        let output = Process::new(script).arg(action).arg(self.place.path()).arg(options).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Kills it and starts it again.
    async fn restart(self: &Arc<Self>) {
        let database = self.clone();
        tokio::task::spawn_blocking(move || database.script("restart", "")).await.unwrap();
    }

    /// How many sessions of servers of ours there are, and how many of them by TLS.
    fn sessions(&self) -> (i64, i64) {
        let connection = &self.connection;
        let asked = || {
            let mut client = postgres::Client::connect(connection, NoTls).unwrap();
            let row = client.query_one(
                "SELECT count(*), count(*) FILTER (WHERE ssl) FROM pg_stat_activity JOIN pg_stat_ssl USING (pid)
                 WHERE application_name = 'smp-server'",
                &[],
            );
            let row = row.unwrap();
            (row.get(0), row.get(1))
        };
        // On a thread of its own: the client blocks, which a runtime does not allow.
        std::thread::scope(|scope| scope.spawn(asked).join().unwrap())
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.script("stop", "");
    }
}

/// A server's directory with this connection string.
fn directory(connection: &str) -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    init(place.path(), &["--store", "postgres", "--queue-quota", "100000"]);
    std::fs::write(place.path().join("postgres"), connection).unwrap();
    place
}

/// Sends numbered messages until there were enough after the restart; gives those that were answered with `OK`.
async fn send_on(mut sender: Client, name: usize, queue: SenderId, state: Arc<State>) -> Vec<usize> {
    let (mut stored, mut after) = (Vec::new(), 0);
    for number in 0.. {
        let text = format!("{name} {number}");
        match sender.ask(None, queue, &message(text.as_bytes())).await {
            BrokerMessage::Ok => {
                stored.push(number);
                state.stored.fetch_add(1, Ordering::Relaxed);
                after += usize::from(state.restarted.load(Ordering::Relaxed));
            }
            BrokerMessage::Err(ErrorType::Store(_)) => {
                state.refused.fetch_add(1, Ordering::Relaxed);
            }
            other => panic!("{other:?}"),
        }
        if after == AFTER {
            break;
        }
    }
    stored
}

/// Messages of each sender that are stored after the restart.
const AFTER: usize = 5;

#[derive(Default)]
struct State {
    restarted: AtomicBool,
    stored: AtomicUsize,
    refused: AtomicUsize,
}

#[tokio::test]
async fn a_restart_of_the_database_under_load_loses_nothing_that_was_answered() {
    const SENDERS: usize = 4;
    let Some(database) = Database::start(|_| String::new()) else { return };
    let database = Arc::new(database);
    let place = directory(&database.connection);
    // It says each time that it refuses, and nobody reads that.
    let mut quiet = program();
    quiet.args(["--log", "off", "--json", "start", "--directory"]).arg(place.path());
    let server = Program::spawn(quiet);
    let mut recipient = Client::connect(&server).await;
    let queue = recipient.create(MESSAGING, false).await;
    let state = Arc::new(State::default());
    let mut senders = JoinSet::new();
    for name in 0..SENDERS {
        let (sender, id, state) = (Client::connect(&server).await, queue.ids.sender_id, state.clone());
        senders.spawn(async move { (name, send_on(sender, name, id, state).await) });
    }
    for round in 1..=2 {
        let target = state.stored.load(Ordering::Relaxed) + 40;
        while state.stored.load(Ordering::Relaxed) < target {
            tokio::task::yield_now().await;
        }
        database.restart().await;
        state.restarted.store(round == 2, Ordering::Relaxed);
    }
    let stored: BTreeMap<usize, Vec<usize>> = senders.join_all().await.into_iter().collect();

    // The same connection, or a new one if that ended for want of its messages.
    let mut recipient = Client::connect(&server).await;
    recipient.subscribe(&queue).await;
    let mut delivered: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let (mut id, mut content) = recipient.message(&queue).await;
    loop {
        let ReceivedMessage::Message { body, .. } = content else { panic!("a marker") };
        let text = String::from_utf8(body).unwrap();
        let (name, number) = text.split_once(' ').unwrap();
        delivered.entry(name.parse().unwrap()).or_default().push(number.parse().unwrap());
        match recipient.acknowledge(&queue, &id).await {
            BrokerMessage::Ok => break,
            next => (id, content) = queue.open(&next),
        }
    }
    for (name, stored) in stored {
        let delivered = delivered.remove(&name).unwrap();
        assert!(delivered.is_sorted_by(|one, next| one < next), "in order and once: {delivered:?}");
        let lost: Vec<&usize> = stored.iter().filter(|number| !delivered.contains(number)).collect();
        assert!(lost.is_empty(), "{lost:?} of {stored:?}");
    }
    assert!(state.refused.load(Ordering::Relaxed) > 0, "the database was away");
    assert!(server.stop().status.success());
}

/// An authority and a certificate for the database server, in its directory; the options that use it.
fn with_tls(place: &Path, port: u16, name: &str) -> String {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(rcgen::DnType::CommonName, "authority of a test");
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    std::fs::write(place.join("ca.pem"), authority.pem()).unwrap();
    std::fs::write(place.join("server.pem"), certificate.pem()).unwrap();
    std::fs::write(place.join("server.key"), key.serialize_pem()).unwrap();
    restrict(&place.join("server.key"));
    let file = |name: &str| place.join(name).to_str().unwrap().to_owned();
    format!(
        "-c listen_addresses=127.0.0.1 -c port={port} -c ssl=on -c ssl_cert_file={} -c ssl_key_file={}",
        file("server.pem"),
        file("server.key")
    )
}

fn restrict(key: &PathBuf) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[tokio::test]
async fn the_database_is_reached_by_tls_and_its_certificate_is_checked() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let Some(mut database) = Database::start(|place| with_tls(place, port, "localhost")) else { return };
    database.connection.push_str(&format!(" port={port}"));
    let ca = database.place.path().join("ca.pem");
    let ca = ca.to_str().unwrap();
    let to = |host: &str, tls: &str| format!("host={host} port={port} user=postgres dbname=postgres {tls}");
    for (host, tls) in [
        ("localhost", format!("sslmode=verify-full sslrootcert={ca}")),
        ("127.0.0.1", format!("sslmode=verify-ca sslrootcert='{ca}'")),
        ("127.0.0.1", "sslmode=require".to_owned()),
        ("localhost", String::new()),
    ] {
        let place = directory(&to(host, &tls));
        let server = Program::start(place.path(), &[]);
        let mut client = Client::connect(&server).await;
        let queue = client.create(MESSAGING, true).await;
        client.ok(None, queue.ids.sender_id, &message(b"by TLS")).await;
        assert_eq!(client.take(&queue).await, b"by TLS");
        let (sessions, by_tls) = database.sessions();
        assert!(sessions >= 4 && sessions == by_tls, "{by_tls} of {sessions} with {tls}");
        drop(client);
        assert!(server.stop().status.success());
    }

    let url = format!("postgresql://postgres@localhost:{port}/postgres?sslmode=verify-full&sslrootcert={ca}");
    let place = directory(&url);
    assert!(run(place.path(), &["export", place.path().join("out").to_str().unwrap()]).status.success());

    let other = tempfile::tempdir().unwrap();
    with_tls(other.path(), port, "localhost");
    let stranger = other.path().join("ca.pem");
    for (connection, because) in [
        (
            to("localhost", &format!("sslmode=verify-full sslrootcert={}", stranger.display())),
            "invalid peer certificate",
        ),
        (
            to("localhost", &format!("sslmode=require sslrootcert={}", stranger.display())),
            "invalid peer certificate",
        ),
        (to("127.0.0.1", &format!("sslmode=verify-full sslrootcert={ca}")), "not valid for name"),
        (to("localhost", "sslmode=verify-full"), "sslrootcert"),
    ] {
        let place = directory(&connection);
        let output = program().arg("--directory").arg(place.path()).arg("start").output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(because), "{said}");
    }
}
