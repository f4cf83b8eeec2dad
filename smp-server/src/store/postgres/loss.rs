//! What becomes of groups when the connection goes.

use std::time::Duration;

use protocol::crypto::sign::Ed25519PublicKey;
use protocol::smp::ids::{RecipientId, SenderId};
use protocol::smp::key::AuthPublicKey;

use super::PostgresStore;
use super::scratch::Scratch;
use crate::store::{
    Created, DhSecret, FailureKind, NewQueue, QueueName, QueueNumber, QueueReader, QueueStore, StoreError,
};

fn open(scratch: &Scratch) -> (PostgresStore, Box<dyn QueueReader>) {
    let store = PostgresStore::open(&scratch.connection(), Duration::from_secs(10)).unwrap();
    let reader = store.open_reader().unwrap();
    (store, reader)
}

fn queue(seed: u8) -> NewQueue {
    NewQueue {
        recipient_id: RecipientId([seed; 24]),
        sender_id: SenderId([seed; 24]),
        recipient_key: AuthPublicKey::Ed25519(Ed25519PublicKey([seed; 32])),
        dh_secret: DhSecret([seed; 32]),
        mode: None,
        link: None,
        notifier: None,
        used_on: 0,
        recipient_service: None,
    }
}

/// Ends every other session of the schema, as a restart of the server would, and waits until they are gone.
fn end_sessions(scratch: &Scratch) {
    let mut client = scratch.client();
    let schema: String = client.query_one("SELECT current_schema()", &[]).unwrap().get(0);
    loop {
        let ended = client
            .query(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
                 WHERE pid <> pg_backend_pid() AND application_name = $1",
                &[&schema],
            )
            .unwrap();
        if ended.is_empty() {
            return;
        }
    }
}

#[test]
fn an_idle_connection_that_is_lost_is_made_anew() {
    let Some(scratch) = Scratch::make() else { return };
    let (mut store, mut reader) = open(&scratch);
    for seed in 1..4 {
        store.begin().unwrap();
        assert!(matches!(store.create_queue(&queue(seed)).unwrap(), Created::Stored(_)));
        store.commit().unwrap();
        assert!(reader.queue(&QueueName::Sender(SenderId([seed; 24]))).unwrap().is_some());
        end_sessions(&scratch);
    }
    assert_eq!(reader.counts().unwrap().queues, 3);
}

#[test]
fn a_group_whose_connection_is_lost_is_never_reported_as_stored() {
    let Some(scratch) = Scratch::make() else { return };
    let (mut store, mut reader) = open(&scratch);
    store.begin().unwrap();
    store.create_queue(&queue(1)).unwrap();
    end_sessions(&scratch);
    let step = store.create_queue(&queue(2)).unwrap_err();
    assert!(matches!(step, StoreError::Database(_)), "{step}");
    assert!(matches!(store.create_queue(&queue(3)), Err(StoreError::Commit(_))));
    assert!(matches!(store.commit(), Err(StoreError::Database(_))));

    store.begin().unwrap();
    store.create_queue(&queue(4)).unwrap();
    end_sessions(&scratch);
    let StoreError::Database(failure) = store.commit().unwrap_err() else { panic!("another kind of error") };
    assert!(!failure.forbids_writing(), "{failure}");
    assert_eq!(reader.counts().unwrap().queues, 0);

    store.begin().unwrap();
    store.create_queue(&queue(5)).unwrap();
    store.commit().unwrap();
    assert_eq!(reader.counts().unwrap().queues, 1);
}

#[test]
fn a_group_waits_for_another_process_and_no_longer_than_its_patience() {
    let Some(scratch) = Scratch::make() else { return };
    let (mut first, _) = open(&scratch);
    let mut second = PostgresStore::open(&scratch.connection(), Duration::from_millis(200)).unwrap();
    first.begin().unwrap();
    let StoreError::Database(failure) = second.begin().unwrap_err() else { panic!("another kind of error") };
    assert_eq!(failure.kind(), FailureKind::Transient);
    first.commit().unwrap();
    second.begin().unwrap();
    assert!(matches!(second.suspend_queue(QueueNumber(1)), Err(StoreError::NoQueue)));
    second.commit().unwrap();
}
