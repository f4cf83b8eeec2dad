//! A server of the reference implementation that keeps all in PostgreSQL is taken over.

use std::fs;
use std::path::Path;

use protocol::smp::command::Command;
use protocol::smp::message::ReceivedMessage;
use protocol::smp::response::BrokerMessage;
use serde_json::Value;

use crate::client::{Client, link_data};
use crate::import_reference::{START, command, says, summary, takes};
use crate::program::Program;
use crate::reference::{OldQueue, Reference};
use daemon::scratch::Scratch;

/// The tables of the reference server, as far as they are read.
const TABLES: &str = "
    CREATE TABLE services (service_id BYTEA PRIMARY KEY, service_role TEXT NOT NULL, service_cert BYTEA NOT NULL,
        service_cert_hash BYTEA NOT NULL, created_at BIGINT NOT NULL);
    CREATE TABLE msg_queues (recipient_id BYTEA PRIMARY KEY, recipient_keys BYTEA NOT NULL,
        rcv_dh_secret BYTEA NOT NULL, sender_id BYTEA NOT NULL, sender_key BYTEA, notifier_id BYTEA, notifier_key BYTEA,
        rcv_ntf_dh_secret BYTEA, status TEXT NOT NULL, updated_at BIGINT, deleted_at BIGINT, queue_mode TEXT,
        link_id BYTEA, fixed_data BYTEA, user_data BYTEA, rcv_service_id BYTEA, ntf_service_id BYTEA,
        msg_can_write BOOLEAN NOT NULL DEFAULT true, msg_queue_size BIGINT NOT NULL DEFAULT 0);
    CREATE TABLE messages (message_id BIGINT PRIMARY KEY, recipient_id BYTEA NOT NULL, msg_id BYTEA NOT NULL,
        msg_ts BIGINT NOT NULL, msg_quota BOOLEAN NOT NULL, msg_ntf_flag BOOLEAN NOT NULL, msg_body BYTEA NOT NULL);";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
}

#[tokio::test]
async fn a_server_on_postgresql_lives_on_here_and_on_postgresql() {
    let (Some(source), Some(target)) = (Scratch::make(), Scratch::make()) else { return };
    let schema = source.schema();
    let reference = Reference::make(&format!(
        "[STORE_LOG]\nstore_queues = database\nstore_messages = database\ndb_schema = {schema}\n"
    ));
    let [queue, contact, deleted, broken] = [1, 2, 3, 4].map(OldQueue::new);
    let insert = |queue: &OldQueue, columns: &str, values: &str| {
        let key = queue.key.public_key().to_der();
        format!(
            "INSERT INTO {schema}.msg_queues (recipient_id, recipient_keys, rcv_dh_secret, sender_id, {columns})
             VALUES ('\\x{}', '\\x01{:02x}{}', '\\x{}', '\\x{}', {values});",
            hex(&queue.id(1)),
            key.len(),
            hex(&key),
            hex(&queue.secret()),
            hex(&queue.id(2)),
        )
    };
    let service = format!("'\\x{}'", hex(&[7; 24]));
    let fields = format!(
        "'active', 'M', '\\x{}', '\\x{}', '\\x{}', '\\x{}', {service}, 1700006400",
        hex(&queue.sender_key.public_key().to_der()),
        hex(&queue.id(4)),
        hex(&queue.notifier_key.public_key().to_der()),
        hex(&queue.notifier_secret()),
    );
    let with_link =
        format!("'active', 'C', '\\x{}', '\\x{}', '\\x{}'", hex(&contact.id(3)), hex(b"fixed"), hex(b"user"));
    let message = |queue: &OldQueue, number: u8, quota: bool, body: &[u8]| {
        format!(
            "INSERT INTO {schema}.messages VALUES ({number}, '\\x{}', '\\x{}', {}, {quota}, true, '\\x{}');",
            hex(&queue.id(1)),
            hex(&OldQueue::message_id(number).0),
            1_700_000_000 + u64::from(number),
            hex(body)
        )
    };
    source.execute(&[
        format!("SET search_path = {schema}; {TABLES}"),
        format!("INSERT INTO {schema}.services VALUES ({service}, 'N', '\\x00', '\\x{}', 1700000000);", hex(&[5; 32])),
        insert(
            &queue,
            "status, queue_mode, sender_key, notifier_id, notifier_key, rcv_ntf_dh_secret, ntf_service_id, updated_at",
            &fields,
        ),
        insert(&contact, "status, queue_mode, link_id, fixed_data, user_data", &with_link),
        insert(&deleted, "status, deleted_at", "'active', 1700000000"),
        // Later ids first: the order is that of the numbers.
        message(&queue, 12, true, b""),
        message(&queue, 10, false, b"ten"),
        message(&queue, 11, false, b"eleven"),
        message(&deleted, 13, false, b"gone"),
    ].concat());
    let import = |into: &Path, more: &[&str]| {
        let mut command = command(&reference, into, more);
        command.env("SMP_SERVER_REFERENCE_POSTGRES", source.server_connection()).output().unwrap()
    };
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let checked = summary(&import(here.path(), &["--check"]));
    assert_eq!((checked["queues"].as_u64(), checked["messages"].as_u64()), (Some(2), Some(3)), "{checked}");
    fs::write(there.path().join("postgres"), target.connection()).unwrap();
    for (place, store) in [(here.path(), "embedded"), (there.path(), "postgres")] {
        let imported = summary(&import(place, &["--store", store]));
        assert_eq!(imported["services"].as_u64(), Some(1), "{imported}");
        let server = Program::start(place, &START);
        let mut client = Client::connect(&server).await;
        client.subscribe(&queue.known()).await;
        takes(&mut client, &queue, 10, b"ten").await;
        let known = queue.known();
        let (id, content) = known.open(&client.acknowledge(&known, &OldQueue::message_id(10)).await);
        assert_eq!((id, crate::client::body(content)), (OldQueue::message_id(11), b"eleven".to_vec()));
        let (_, content) = known.open(&client.acknowledge(&known, &id).await);
        assert!(matches!(content, ReceivedMessage::Quota { .. }));
        let lnk = BrokerMessage::Lnk { sender_id: contact.sender_id(), data: link_data(b"fixed", b"user") };
        assert_eq!(client.ask(None, contact.link_id(), &Command::Lget).await, lnk);
    }
    let used = tempfile::tempdir().unwrap();
    fs::write(used.path().join("postgres"), target.connection()).unwrap();
    says(&import(used.path(), &["--store", "postgres"]), "not empty");

    let wrong = insert(&broken, "status", "'odd'");
    source.execute(&format!("{wrong} UPDATE {schema}.messages SET msg_id = '\\x00' WHERE message_id = 11;"));
    let other = tempfile::tempdir().unwrap();
    let check = import(other.path(), &["--check"]);
    assert_eq!(check.status.code(), Some(20));
    let found: Value =
        serde_json::from_slice(check.stdout.split(|byte| *byte == b'\n').next().unwrap()).unwrap();
    let places: Vec<&str> =
        found["damages"].as_array().unwrap().iter().map(|one| one["place"].as_str().unwrap()).collect();
    assert_eq!(places, ["msg_queues, row 3 by recipient_id", "messages, message_id 11"]);
}
