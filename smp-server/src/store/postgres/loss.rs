//! What becomes of groups when the connection goes.

use std::time::Duration;

use protocol::crypto::sign::Ed25519PublicKey;
use protocol::smp::command::LinkData;
use protocol::smp::ids::{LinkId, MessageId, RecipientId, SenderId};
use protocol::smp::key::AuthPublicKey;
use protocol::timestamp::Timestamp;

use super::PostgresStore;
use crate::store::{
    AppendRules, Created, DhSecret, ExpiryCursor, FailureKind, NewMessage, NewQueue, QueueName, QueueNumber,
    QueueReader, QueueStore, StoreError,
};
use daemon::scratch::Scratch;

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

fn create(store: &mut PostgresStore, seed: u8) -> QueueNumber {
    store.begin().unwrap();
    let Created::Stored(number) = store.create_queue(&queue(seed)).unwrap() else {
        panic!("the id is taken")
    };
    store.commit().unwrap();
    number
}

#[test]
fn a_group_waits_for_another_one_in_its_queues_and_no_longer_than_its_patience() {
    let Some(scratch) = Scratch::make() else { return };
    let (mut first, _) = open(&scratch);
    // It bounds pauses within a group, too, which a busy machine makes.
    let mut second = PostgresStore::open(&scratch.connection(), Duration::from_secs(2)).unwrap();
    let (one, other) = (create(&mut first, 1), create(&mut first, 2));
    first.begin_on(&[one]).unwrap();
    second.begin_on(&[other, other]).unwrap();
    second.suspend_queue(other).unwrap();
    second.commit().unwrap();
    let StoreError::Database(failure) = second.begin_on(&[other, one]).unwrap_err() else {
        panic!("another kind of error")
    };
    assert_eq!(failure.kind(), FailureKind::Transient);
    first.commit().unwrap();
    second.begin_on(&[one, QueueNumber(99)]).unwrap();
    second.suspend_queue(one).unwrap();
    assert!(matches!(second.suspend_queue(QueueNumber(99)), Err(StoreError::NoQueue)));
    second.commit().unwrap();
}

fn link(seed: u8) -> Option<(LinkId, LinkData<'static>)> {
    Some((LinkId([seed; 24]), LinkData { fixed: b"f".into(), user: b"u".into() }))
}

/// Whoever chooses the ids of queues could otherwise stop the groups of two servers.
#[test]
fn groups_that_make_queues_of_the_same_ids_do_not_wait_for_each_other() {
    let Some(scratch) = Scratch::make() else { return };
    let ((mut first, _), (mut second, _)) = (open(&scratch), open(&scratch));
    let new = |seed, other: u8| {
        let [recipient_id, sender_id] = [[other; 24], [seed; 24]];
        let (recipient_id, sender_id) = (RecipientId(recipient_id), SenderId(sender_id));
        NewQueue { recipient_id, sender_id, link: link(seed), ..queue(seed) }
    };
    first.begin().unwrap();
    second.begin().unwrap();
    assert!(matches!(first.create_queue(&new(1, 11)), Ok(Created::Stored(_))));
    assert!(matches!(second.create_queue(&new(2, 12)), Ok(Created::Stored(_))));
    assert_eq!(first.create_queue(&new(2, 13)).unwrap(), Created::IdTaken);
    assert_eq!(second.create_queue(&new(1, 14)).unwrap(), Created::IdTaken);
    first.commit().unwrap();
    second.commit().unwrap();
}

#[test]
fn expiry_leaves_out_queues_that_are_in_use() {
    let Some(scratch) = Scratch::make() else { return };
    let ((mut first, mut reader), (mut second, _)) = (open(&scratch), open(&scratch));
    let (one, other) = (create(&mut first, 1), create(&mut first, 2));
    let rules = AppendRules { quota: 9, expire_before: None };
    let old = NewMessage { id: MessageId([1; 24]), received_at: Timestamp(1), notify: false, body: b"old" };
    for queue in [one, other] {
        first.begin_on(&[queue]).unwrap();
        first.append_message(queue, &old, rules).unwrap();
        first.commit().unwrap();
    }
    let mut expire = || {
        second.begin().unwrap();
        let page = second.expire_messages(Timestamp(2), ExpiryCursor::default(), 9).unwrap();
        second.commit().unwrap();
        page.deleted
    };
    first.begin_on(&[one]).unwrap();
    assert_eq!(expire(), 1);
    first.commit().unwrap();
    assert_eq!((reader.message_count(one).unwrap(), reader.message_count(other).unwrap()), (1, 0));
    assert_eq!(expire(), 1);
}
