//! What every store must do, run against each of them.

use std::time::Duration;

use protocol::crypto::sign::Ed25519PublicKey;
use protocol::smp::command::LinkData;
use protocol::smp::error::{BlockingInfo, BlockingReason, ClientNotice};
use protocol::smp::ids::{LinkId, MessageId, NotifierId, RecipientId, SenderId, ServiceId};
use protocol::smp::key::AuthPublicKey;
use protocol::smp::queue_uri::QueueMode;
use protocol::timestamp::Timestamp;
use protocol::transport::hello::ServiceRole;

use super::{
    AppendRules, Appended, Created, Deleted, DhSecret, ExpiryCursor, LinkSet, MemoryStore, NewMessage,
    NewQueue, NewService, Notifier, NotifierSet, PostgresStore, QueueName, QueueNumber, QueueReader,
    QueueRecord, QueueStatus, QueueStore, Result, Secured, ServiceRecord, SqliteStore, StoreCounts,
    StoreError, StoredMessage, Stream, WholeQueue,
};
use crate::config::Storage;
use daemon::scratch::Scratch;

/// A store, and the place that it lives in for as long as the test runs.
struct Subject {
    store: Box<dyn QueueStore>,
    reader: Box<dyn QueueReader>,
    _place: Box<dyn std::any::Any>,
}

impl Subject {
    fn memory() -> Self {
        Self::new(Box::new(MemoryStore::new()), Box::new(()))
    }

    fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&directory.path().join("queues.db"), &Storage::default()).unwrap();
        Self::new(Box::new(store), Box::new(directory))
    }

    /// Nothing when there is no server to test with.
    fn postgres() -> Option<Self> {
        let scratch = Scratch::make()?;
        let store = PostgresStore::open(&scratch.connection(), Duration::from_secs(10)).unwrap();
        Some(Self::new(Box::new(store), Box::new(scratch)))
    }

    fn new(store: Box<dyn QueueStore>, place: Box<dyn std::any::Any>) -> Self {
        let reader = store.open_reader().unwrap();
        Self { store, reader, _place: place }
    }

    /// A group of one step.
    fn write<T>(&mut self, step: impl FnOnce(&mut dyn QueueStore) -> Result<T>) -> Result<T> {
        self.store.begin().unwrap();
        let result = step(&mut *self.store);
        self.store.commit().unwrap();
        result
    }

    fn create(&mut self, queue: &NewQueue) -> QueueNumber {
        match self.write(|store| store.create_queue(queue)).unwrap() {
            Created::Stored(number) => number,
            Created::IdTaken => panic!("the id is taken"),
        }
    }

    fn append(&mut self, queue: QueueNumber, message: u8, at_seconds: i64, rules: AppendRules) -> Appended {
        self.write(|store| store.append_message(queue, &new_message(message, at_seconds), rules)).unwrap()
    }

    fn acknowledge(&mut self, queue: QueueNumber, message: u8) -> Option<u8> {
        let next = self.write(|store| store.acknowledge(queue, Some(MessageId([message; 24])))).unwrap();
        next.map(|message| message.id.0[0])
    }

    fn restore(&mut self, whole: &WholeQueue, messages: &[StoredMessage]) -> QueueNumber {
        let Created::Stored(number) = self.write(|store| store.restore_queue(whole)).unwrap() else {
            panic!("the id is taken");
        };
        for message in messages {
            self.write(|store| store.restore_message(number, message)).unwrap();
        }
        number
    }

    fn head(&mut self, queue: QueueNumber) -> Option<u8> {
        self.reader.first_message(queue).unwrap().map(|message| message.id.0[0])
    }
}

const SPAM: BlockingInfo = BlockingInfo { reason: BlockingReason::Spam, notice: None };
const CONTENT: BlockingInfo =
    BlockingInfo { reason: BlockingReason::Content, notice: Some(ClientNotice { ttl_seconds: Some(3600) }) };
const RULES: AppendRules = AppendRules { quota: 2, expire_before: None };

fn key(seed: u8) -> AuthPublicKey {
    AuthPublicKey::Ed25519(Ed25519PublicKey([seed; 32]))
}

fn data(fixed: &'static [u8], user: &'static [u8]) -> LinkData<'static> {
    LinkData { fixed: fixed.into(), user: user.into() }
}

fn new_queue(seed: u8, mode: Option<QueueMode>) -> NewQueue {
    NewQueue {
        recipient_id: RecipientId([seed; 24]),
        sender_id: SenderId([seed; 24]),
        recipient_key: key(seed),
        dh_secret: DhSecret([seed; 32]),
        mode,
        link: None,
        notifier: None,
        used_on: 86_400,
        recipient_service: None,
    }
}

fn new_notifier(seed: u8) -> Notifier {
    Notifier { id: NotifierId([seed; 24]), key: key(seed), dh_secret: DhSecret([seed; 32]) }
}

fn new_message(seed: u8, at_seconds: i64) -> NewMessage<'static> {
    let received_at = Timestamp::from_seconds(at_seconds);
    NewMessage { id: MessageId([seed; 24]), received_at, notify: seed.is_multiple_of(2), body: b"body" }
}

/// Makes each function a test of each store.
macro_rules! contract {
    ($($test:ident),+ $(,)?) => {
        mod memory { $( #[test] fn $test() { super::$test(super::Subject::memory()); } )+ }
        mod sqlite { $( #[test] fn $test() { super::$test(super::Subject::sqlite()); } )+ }
        mod postgres {
            $( #[test] fn $test() { if let Some(subject) = super::Subject::postgres() { super::$test(subject); } } )+
        }
    };
}

contract!(
    a_queue_is_found_by_each_of_its_ids,
    ids_are_unique_and_a_refused_queue_leaves_nothing,
    a_queue_is_secured_once,
    recipient_keys_are_replaced,
    link_data_keep_their_id_and_fixed_part,
    link_data_of_a_used_invitation_go_with_the_first_message,
    messages_stay_in_order_until_acknowledged,
    acknowledging_another_message_deletes_nothing,
    a_full_queue_gets_one_marker_and_opens_when_drained,
    expired_messages_leave_from_the_head,
    expiry_stops_at_a_marker_and_goes_on_behind_a_cursor,
    a_suspended_queue_takes_no_messages,
    a_deleted_queue_is_gone_for_every_step,
    a_notifier_is_set_replaced_and_deleted,
    notifiers_are_unique_and_go_with_their_queue,
    a_blocked_queue_takes_no_messages_and_keeps_what_its_recipient_wanted,
    use_is_noted_by_day,
    an_empty_body_is_a_message,
    whole_queues_move_to_another_store,
    a_service_keeps_its_id_and_role,
    queues_of_a_service_are_counted_and_paged_through,
    streams_of_a_queue_move_between_services,
);

fn a_queue_is_found_by_each_of_its_ids(mut subject: Subject) {
    let link_id = LinkId([9; 24]);
    let new = NewQueue {
        link: Some((link_id, data(b"fixed", b"user"))),
        sender_id: SenderId([2; 24]),
        notifier: Some(new_notifier(3)),
        ..new_queue(1, Some(QueueMode::Contact))
    };
    let number = subject.create(&new);
    let names = [
        QueueName::Recipient(new.recipient_id),
        QueueName::Sender(new.sender_id),
        QueueName::Link(link_id),
        QueueName::Notifier(NotifierId([3; 24])),
    ];
    for name in names {
        let queue = subject.reader.queue(&name).unwrap().unwrap();
        assert_eq!(queue.number, number);
        assert_eq!((queue.recipient_id, queue.sender_id), (new.recipient_id, new.sender_id));
        assert_eq!((queue.recipient_keys, queue.dh_secret), (vec![new.recipient_key], new.dh_secret.clone()));
        assert_eq!((queue.sender_key, queue.mode, queue.status), (None, new.mode, QueueStatus::Active));
        assert_eq!(queue.notifier, new.notifier);
        assert_eq!(queue.used_on, 86_400);
    }
    assert_eq!(subject.reader.queue(&QueueName::Recipient(RecipientId([2; 24]))).unwrap(), None);
    assert_eq!(subject.reader.link_data(number).unwrap(), Some(data(b"fixed", b"user")));
}

fn ids_are_unique_and_a_refused_queue_leaves_nothing(mut subject: Subject) {
    let link = Some((LinkId([9; 24]), data(b"f", b"u")));
    let notifier = Some(new_notifier(8));
    let first = NewQueue { link: link.clone(), notifier: notifier.clone(), ..new_queue(1, None) };
    subject.create(&first);
    let free = new_queue(3, None);
    for taken in [
        NewQueue { recipient_id: first.recipient_id, ..free.clone() },
        NewQueue { sender_id: first.sender_id, ..free.clone() },
        NewQueue { link, ..free.clone() },
        NewQueue { notifier, ..free.clone() },
    ] {
        assert_eq!(subject.write(|store| store.create_queue(&taken)).unwrap(), Created::IdTaken);
    }
    subject.create(&free);
}

fn a_queue_is_secured_once(mut subject: Subject) {
    let queue = subject.create(&new_queue(1, Some(QueueMode::Messaging)));
    for (seed, expected) in [(5, Secured::WithThisKey), (5, Secured::WithThisKey), (6, Secured::WithAnother)]
    {
        assert_eq!(subject.write(|store| store.secure_queue(queue, &key(seed))).unwrap(), expected);
    }
    let record = subject.reader.queue(&QueueName::Sender(SenderId([1; 24]))).unwrap().unwrap();
    assert_eq!(record.sender_key, Some(key(5)));
}

fn recipient_keys_are_replaced(mut subject: Subject) {
    let queue = subject.create(&new_queue(1, Some(QueueMode::Contact)));
    subject.write(|store| store.replace_recipient_keys(queue, &[key(7), key(8)])).unwrap();
    let record = subject.reader.queue(&QueueName::Recipient(RecipientId([1; 24]))).unwrap().unwrap();
    assert_eq!(record.recipient_keys, [key(7), key(8)]);
}

fn link_data_keep_their_id_and_fixed_part(mut subject: Subject) {
    let queue = subject.create(&new_queue(1, Some(QueueMode::Contact)));
    let other = subject.create(&new_queue(2, Some(QueueMode::Contact)));
    let (ours, theirs) = (LinkId([8; 24]), LinkId([9; 24]));
    let mut set = |queue, id, data: LinkData<'static>| {
        subject.write(move |store| store.set_link_data(queue, id, &data)).unwrap()
    };
    assert_eq!(set(queue, ours, data(b"f", b"u1")), LinkSet::Stored);
    assert_eq!(set(queue, ours, data(b"f", b"u2")), LinkSet::Stored);
    assert_eq!(set(queue, theirs, data(b"f", b"u3")), LinkSet::Refused);
    assert_eq!(set(queue, ours, data(b"g", b"u3")), LinkSet::Refused);
    assert_eq!(set(other, ours, data(b"f", b"u3")), LinkSet::Refused, "the id belongs to another queue");
    assert_eq!(subject.reader.link_data(queue).unwrap(), Some(data(b"f", b"u2")));
    for _ in 0..2 {
        subject.write(|store| store.delete_link_data(queue)).unwrap();
        assert_eq!(subject.reader.link_data(queue).unwrap(), None);
    }
    assert!(subject.reader.queue(&QueueName::Link(ours)).unwrap().is_none());
    let freed = subject.write(|store| store.set_link_data(other, ours, &data(b"h", b"u"))).unwrap();
    assert_eq!(freed, LinkSet::Stored);
}

fn link_data_of_a_used_invitation_go_with_the_first_message(mut subject: Subject) {
    for (seed, mode, kept) in
        [(1, Some(QueueMode::Messaging), false), (2, None, false), (3, Some(QueueMode::Contact), true)]
    {
        let queue = subject.create(&new_queue(seed, mode));
        let set =
            |store: &mut dyn QueueStore| store.set_link_data(queue, LinkId([seed; 24]), &data(b"f", b"u"));
        assert_eq!(subject.write(set).unwrap(), LinkSet::Stored);
        assert_eq!(subject.append(queue, 1, 0, RULES), Appended::Stored);
        assert!(subject.reader.link_data(queue).unwrap().is_some(), "not secured yet");
        subject.write(|store| store.secure_queue(queue, &key(5))).unwrap();
        assert_eq!(subject.write(set).unwrap() == LinkSet::Stored, kept);
        assert_eq!(subject.append(queue, 2, 0, RULES), Appended::Stored);
        assert_eq!(subject.reader.link_data(queue).unwrap().is_some(), kept);
    }
}

fn messages_stay_in_order_until_acknowledged(mut subject: Subject) {
    let queue = subject.create(&new_queue(1, None));
    let rules = AppendRules { quota: 10, ..RULES };
    for message in [3, 1, 2] {
        assert_eq!(subject.append(queue, message, 50, rules), Appended::Stored);
    }
    assert_eq!(subject.reader.message_count(queue).unwrap(), 3);
    let head = subject.reader.first_message(queue).unwrap().unwrap();
    assert_eq!((head.id, head.body), (MessageId([3; 24]), Some(b"body".to_vec())));
    assert_eq!((head.received_at, head.notify), (Timestamp::from_seconds(50), false));
    assert_eq!(subject.acknowledge(queue, 3), Some(1));
    assert_eq!(subject.acknowledge(queue, 1), Some(2));
    assert!(subject.reader.first_message(queue).unwrap().unwrap().notify);
    assert_eq!(subject.acknowledge(queue, 2), None);
    assert_eq!(subject.reader.message_count(queue).unwrap(), 0);
}

fn acknowledging_another_message_deletes_nothing(mut subject: Subject) {
    let queue = subject.create(&new_queue(1, None));
    subject.append(queue, 1, 0, RULES);
    subject.append(queue, 2, 0, RULES);
    assert_eq!(subject.acknowledge(queue, 2), Some(1), "not the head");
    let next = subject.write(|store| store.acknowledge(queue, None)).unwrap();
    assert_eq!(next.unwrap().id, MessageId([1; 24]));
    assert_eq!(subject.reader.message_count(queue).unwrap(), 2);
}

fn a_full_queue_gets_one_marker_and_opens_when_drained(mut subject: Subject) {
    let queue = subject.create(&new_queue(1, None));
    assert_eq!(subject.append(queue, 1, 0, RULES), Appended::Stored);
    assert_eq!(subject.append(queue, 2, 0, RULES), Appended::Stored);
    assert_eq!(subject.append(queue, 4, 0, RULES), Appended::Full { marked: true });
    assert_eq!(subject.append(queue, 5, 0, RULES), Appended::Full { marked: false });
    assert_eq!(subject.acknowledge(queue, 1), Some(2));
    assert_eq!(subject.acknowledge(queue, 2), Some(4));
    let marker = subject.reader.first_message(queue).unwrap().unwrap();
    assert_eq!((marker.body, marker.notify), (None, false));
    assert_eq!(
        subject.append(queue, 6, 0, RULES),
        Appended::Full { marked: false },
        "the marker is still there"
    );
    assert_eq!(subject.acknowledge(queue, 4), None);
    assert_eq!(subject.append(queue, 7, 0, RULES), Appended::Stored);
}

fn expired_messages_leave_from_the_head(mut subject: Subject) {
    let queue = subject.create(&new_queue(1, None));
    let rules = AppendRules { quota: 10, expire_before: None };
    for (message, at) in [(1, 10), (2, 30), (3, 10)] {
        subject.append(queue, message, at, rules);
    }
    let before = |seconds| AppendRules { expire_before: Some(Timestamp::from_seconds(seconds)), ..rules };
    subject.append(queue, 4, 40, before(10));
    assert_eq!(subject.head(queue), Some(1), "received at the limit");
    subject.append(queue, 5, 40, before(20));
    assert_eq!(subject.head(queue), Some(2), "what stands behind one that stays is not looked at");
    assert_eq!(subject.reader.message_count(queue).unwrap(), 4);
    subject.append(queue, 6, 50, before(50));
    assert_eq!(subject.head(queue), Some(6));
}

fn expiry_stops_at_a_marker_and_goes_on_behind_a_cursor(mut subject: Subject) {
    let marked = subject.create(&new_queue(1, None));
    for message in 1..=3 {
        subject.append(marked, message, 10, RULES);
    }
    let others: Vec<QueueNumber> = (10..14).map(|seed| subject.create(&new_queue(seed, None))).collect();
    for queue in &others {
        subject.append(*queue, 1, 10, RULES);
        subject.append(*queue, 2, 30, RULES);
    }
    let (mut cursor, mut deleted) = (ExpiryCursor::default(), 0);
    loop {
        let before = Timestamp::from_seconds(20);
        let page = subject.write(|store| store.expire_messages(before, cursor, 2)).unwrap();
        deleted += page.deleted;
        let Some(next) = page.next else { break };
        cursor = next;
    }
    assert_eq!(deleted, 6);
    assert_eq!(subject.head(marked), Some(3), "the marker stays");
    assert!(others.iter().all(|queue| subject.head(*queue) == Some(2)));
}

fn a_suspended_queue_takes_no_messages(mut subject: Subject) {
    let queue = subject.create(&new_queue(1, None));
    subject.append(queue, 1, 0, RULES);
    for _ in 0..2 {
        subject.write(|store| store.suspend_queue(queue)).unwrap();
    }
    assert_eq!(subject.append(queue, 2, 0, RULES), Appended::Suspended);
    assert_eq!(subject.head(queue), Some(1), "what is there stays");
    let record = subject.reader.queue(&QueueName::Recipient(RecipientId([1; 24]))).unwrap().unwrap();
    assert_eq!(record.status, QueueStatus::Off);
}

fn a_deleted_queue_is_gone_for_every_step(mut subject: Subject) {
    let new = NewQueue { link: Some((LinkId([9; 24]), data(b"f", b"u"))), ..new_queue(1, None) };
    let queue = subject.create(&new);
    subject.append(queue, 1, 0, RULES);
    let deleted = subject.write(|store| store.delete_queue(queue)).unwrap();
    assert_eq!(deleted, Deleted { notifier: None, messages: 1 });
    assert_eq!(subject.reader.queue(&QueueName::Link(LinkId([9; 24]))).unwrap(), None);
    assert_eq!(subject.reader.queue(&QueueName::Sender(new.sender_id)).unwrap(), None);
    assert_eq!(subject.reader.first_message(queue).unwrap(), None);
    let gone = |result: Result<()>| assert!(matches!(result, Err(StoreError::NoQueue)));
    gone(subject.write(|store| store.delete_queue(queue).map(drop)));
    gone(subject.write(|store| store.set_notifier(queue, &new_notifier(1)).map(drop)));
    gone(subject.write(|store| store.delete_notifier(queue).map(drop)));
    gone(subject.write(|store| store.block_queue(queue, SPAM).map(drop)));
    gone(subject.write(|store| store.unblock_queue(queue).map(drop)));
    gone(subject.write(|store| store.suspend_queue(queue)));
    gone(subject.write(|store| store.delete_link_data(queue)));
    gone(subject.write(|store| store.set_link_data(queue, LinkId([9; 24]), &data(b"f", b"u")).map(drop)));
    gone(subject.write(|store| store.replace_recipient_keys(queue, &[key(1)])));
    gone(subject.write(|store| store.secure_queue(queue, &key(1)).map(drop)));
    gone(subject.write(|store| store.append_message(queue, &new_message(1, 0), RULES).map(drop)));
    gone(subject.write(|store| store.acknowledge(queue, None).map(drop)));
    let again = subject.create(&new);
    assert_ne!(again, queue, "numbers are not used again");
    assert_eq!(subject.head(again), None);
}

fn a_notifier_is_set_replaced_and_deleted(mut subject: Subject) {
    let queue = subject.create(&new_queue(1, None));
    let mut former = None;
    for seed in [5, 5, 6] {
        let set = subject.write(|store| store.set_notifier(queue, &new_notifier(seed))).unwrap();
        assert_eq!(set, NotifierSet::Stored { replaced: former });
        former = Some(NotifierId([seed; 24]));
        let record = subject.reader.queue(&QueueName::Notifier(NotifierId([seed; 24]))).unwrap().unwrap();
        assert_eq!((record.number, record.notifier), (queue, Some(new_notifier(seed))));
    }
    assert_eq!(subject.reader.queue(&QueueName::Notifier(NotifierId([5; 24]))).unwrap(), None, "replaced");
    for expected in [former, None] {
        assert_eq!(subject.write(|store| store.delete_notifier(queue)).unwrap(), expected);
        assert_eq!(subject.reader.queue(&QueueName::Notifier(NotifierId([6; 24]))).unwrap(), None);
    }
    let record = subject.reader.queue(&QueueName::Recipient(RecipientId([1; 24]))).unwrap().unwrap();
    assert_eq!(record.notifier, None);
}

fn notifiers_are_unique_and_go_with_their_queue(mut subject: Subject) {
    let first = subject.create(&NewQueue { notifier: Some(new_notifier(5)), ..new_queue(1, None) });
    let second = subject.create(&NewQueue { notifier: Some(new_notifier(6)), ..new_queue(2, None) });
    let set = subject.write(|store| store.set_notifier(second, &new_notifier(5))).unwrap();
    assert_eq!(set, NotifierSet::IdTaken);
    let record = subject.reader.queue(&QueueName::Notifier(NotifierId([6; 24]))).unwrap().unwrap();
    assert_eq!((record.number, record.notifier), (second, Some(new_notifier(6))), "nothing changed");
    subject.append(first, 1, 0, RULES);
    let deleted = subject.write(|store| store.delete_queue(first)).unwrap();
    assert_eq!(deleted, Deleted { notifier: Some(NotifierId([5; 24])), messages: 1 });
    assert_eq!(subject.reader.queue(&QueueName::Notifier(NotifierId([5; 24]))).unwrap(), None);
    let set = subject.write(|store| store.set_notifier(second, &new_notifier(5))).unwrap();
    assert_eq!(set, NotifierSet::Stored { replaced: Some(NotifierId([6; 24])) }, "the id is free");
}

fn a_blocked_queue_takes_no_messages_and_keeps_what_its_recipient_wanted(mut subject: Subject) {
    let queue = subject.create(&new_queue(1, None));
    subject.append(queue, 1, 0, RULES);
    let mut status = QueueStatus::Active;
    for info in [SPAM, CONTENT] {
        assert_eq!(subject.write(|store| store.block_queue(queue, info)).unwrap(), status);
        assert_eq!(subject.append(queue, 2, 0, RULES), Appended::Blocked(info));
        status = QueueStatus::Blocked { info, suspended: false };
        let record = subject.reader.queue(&QueueName::Recipient(RecipientId([1; 24]))).unwrap().unwrap();
        assert_eq!(record.status, status);
    }
    for former in [status, QueueStatus::Active] {
        assert_eq!(subject.write(|store| store.unblock_queue(queue)).unwrap(), former);
    }
    assert_eq!(subject.append(queue, 2, 0, RULES), Appended::Stored);
    subject.write(|store| store.block_queue(queue, SPAM)).unwrap();
    subject.write(|store| store.suspend_queue(queue)).unwrap();
    assert_eq!(subject.append(queue, 3, 0, RULES), Appended::Blocked(SPAM), "the block stays");
    let former = subject.write(|store| store.unblock_queue(queue)).unwrap();
    assert_eq!(former, QueueStatus::Blocked { info: SPAM, suspended: true });
    assert_eq!(subject.append(queue, 3, 0, RULES), Appended::Suspended, "and so does the suspension");
    assert_eq!(subject.write(|store| store.unblock_queue(queue)).unwrap(), QueueStatus::Off);
    assert_eq!(subject.head(queue), Some(1), "messages stay throughout");
}

fn use_is_noted_by_day(mut subject: Subject) {
    let queue = subject.create(&new_queue(1, None));
    subject.write(|store| store.mark_used(&[queue, QueueNumber(999)], 172_800)).unwrap();
    let record = subject.reader.queue(&QueueName::Recipient(RecipientId([1; 24]))).unwrap().unwrap();
    assert_eq!(record.used_on, 172_800);
}

fn an_empty_body_is_a_message(mut subject: Subject) {
    let queue = subject.create(&new_queue(1, None));
    let empty = NewMessage { body: b"", ..new_message(1, 0) };
    subject.write(|store| store.append_message(queue, &empty, RULES)).unwrap();
    assert_eq!(subject.reader.first_message(queue).unwrap().unwrap().body, Some(Vec::new()));
}

fn whole_queues_move_to_another_store(mut subject: Subject) {
    let mut queues = Vec::new();
    for seed in 1..=5_u8 {
        let link = Some((LinkId([seed; 24]), data(b"fixed", b"user"))).filter(|_| seed % 2 == 0);
        let queue = subject.create(&NewQueue { link, ..new_queue(seed, Some(QueueMode::Contact)) });
        subject.append(queue, seed, 10, RULES);
        subject.append(queue, seed + 10, 20, RULES);
        subject.append(queue, seed + 20, 30, RULES);
        queues.push(queue);
    }
    subject.write(|store| store.secure_queue(queues[0], &key(9)).map(drop)).unwrap();
    subject.write(|store| store.suspend_queue(queues[1])).unwrap();
    subject.write(|store| store.replace_recipient_keys(queues[2], &[key(7), key(8)])).unwrap();
    let notifier = Notifier { id: NotifierId([6; 24]), key: key(6), dh_secret: DhSecret([6; 32]) };
    subject.write(|store| store.set_notifier(queues[3], &notifier).map(drop)).unwrap();
    let notice = Some(ClientNotice { ttl_seconds: Some(5) });
    let info = BlockingInfo { reason: BlockingReason::Content, notice };
    subject.write(|store| store.block_queue(queues[1], info).map(drop)).unwrap();
    subject.write(|store| store.block_queue(queues[4], info).map(drop)).unwrap();

    for (service, fingerprint) in [(MESSAGES, 1), (NOTIFICATIONS, 2)] {
        subject.write(|store| store.add_service(&new_service(service, fingerprint))).unwrap();
    }
    let notifications = Stream::Notifications(NotifierId([6; 24]));
    subject.write(|store| store.associate(queues[0], Stream::Messages, Some(MESSAGES.id))).unwrap();
    subject.write(|store| store.associate(queues[3], notifications, Some(NOTIFICATIONS.id))).unwrap();

    let mut other = Subject::memory();
    let services = subject.reader.services_after(&[0; 32], 1).unwrap();
    assert_eq!(services, [new_service(MESSAGES, 1)]);
    let services = [services, subject.reader.services_after(&[1; 32], 9).unwrap()].concat();
    assert_eq!(services, [new_service(MESSAGES, 1), new_service(NOTIFICATIONS, 2)]);
    for service in &services {
        other.write(|store| store.add_service(service)).unwrap();
    }
    let mut after = QueueNumber(0);
    loop {
        let page = subject.reader.queues_after(after, 2).unwrap();
        let Some(last) = page.last() else { break };
        after = last.record.number;
        for whole in &page {
            let messages = subject.reader.messages(whole.record.number).unwrap();
            assert_eq!(messages.len(), 3);
            other.restore(whole, &messages);
        }
    }
    assert_eq!(other.reader.counts().unwrap(), StoreCounts { queues: 5, messages: 15 });
    assert_eq!(subject.reader.counts().unwrap(), StoreCounts { queues: 5, messages: 15 });

    // And back, where nothing is any more.
    for queue in queues {
        subject.write(|store| store.delete_queue(queue)).unwrap();
    }
    assert_eq!(subject.reader.counts().unwrap(), StoreCounts::default());
    for whole in other.reader.queues_after(QueueNumber(0), 100).unwrap() {
        let messages = other.reader.messages(whole.record.number).unwrap();
        let number = subject.restore(&whole, &messages);
        let back = subject.reader.queues_after(QueueNumber(number.0 - 1), 1).unwrap().remove(0);
        assert_eq!(back.link, whole.link);
        assert_eq!(back.record, QueueRecord { number, ..whole.record.clone() });
        assert_eq!(subject.reader.messages(number).unwrap(), messages);
        let again = subject.write(|store| store.restore_queue(&whole)).unwrap();
        assert_eq!(again, Created::IdTaken);
    }
}

const MESSAGES: ServiceRecord = ServiceRecord { id: ServiceId([1; 24]), role: ServiceRole::Messaging };
const NOTIFICATIONS: ServiceRecord = ServiceRecord { id: ServiceId([2; 24]), role: ServiceRole::Notifier };

fn new_service(service: ServiceRecord, fingerprint: u8) -> NewService {
    NewService { id: service.id, role: service.role, fingerprint: [fingerprint; 32], created_at: 1 }
}

fn a_service_keeps_its_id_and_role(mut subject: Subject) {
    assert_eq!(subject.reader.service(&[1; 32]).unwrap(), None);
    for (service, fingerprint) in [(MESSAGES, 1), (NOTIFICATIONS, 2)] {
        let added = subject.write(|store| store.add_service(&new_service(service, fingerprint))).unwrap();
        assert_eq!(added, service);
        assert_eq!(subject.reader.service(&[fingerprint; 32]).unwrap(), Some(service));
    }
    let other = ServiceRecord { id: ServiceId([3; 24]), role: ServiceRole::Proxy };
    assert_eq!(subject.write(|store| store.add_service(&new_service(other, 1))).unwrap(), MESSAGES);
}

fn queues_of_a_service_are_counted_and_paged_through(mut subject: Subject) {
    subject.write(|store| store.add_service(&new_service(MESSAGES, 1))).unwrap();
    let mut waiting = Vec::new();
    for seed in 1..=7 {
        let recipient_service = (seed != 4).then_some(MESSAGES.id);
        let queue = subject.create(&NewQueue { recipient_service, ..new_queue(seed, None) });
        if seed % 2 == 1 {
            subject.append(queue, seed, 0, RULES);
            waiting.push((queue, RecipientId([seed; 24]), DhSecret([seed; 32])));
        }
    }
    let record = subject.reader.queue(&QueueName::Sender(SenderId([1; 24]))).unwrap().unwrap();
    assert_eq!((record.recipient_service, record.notifier_service), (Some(MESSAGES.id), None));
    assert_eq!(subject.reader.service_queue_count(MESSAGES).unwrap(), 6);
    assert_eq!(subject.reader.service_queue_count(NOTIFICATIONS).unwrap(), 0);
    for limit in [1, 2, 3, 6, 7] {
        let (mut found, mut after, mut pages) = (Vec::new(), QueueNumber(0), 0);
        loop {
            let page = subject.reader.service_backlog(MESSAGES.id, after, limit).unwrap();
            found.extend(page.queues.into_iter().map(|one| (one.number, one.recipient_id, one.dh_secret)));
            pages += 1;
            let Some(next) = page.next else { break };
            assert!(next > after);
            after = next;
        }
        assert_eq!(found, waiting, "in pages of {limit}");
        assert!(pages <= 6 / limit + 1);
    }
    let (first, _, _) = waiting[0].clone();
    subject.acknowledge(first, 1);
    let page = subject.reader.service_backlog(MESSAGES.id, QueueNumber(0), 9).unwrap();
    assert_eq!(page.queues.len(), 3, "a drained queue has no backlog");
    subject.write(|store| store.delete_queue(first)).unwrap();
    assert_eq!(subject.reader.service_queue_count(MESSAGES).unwrap(), 5);

    // An empty queue, and one in which something waits.
    let empty = subject.reader.queue(&QueueName::Sender(SenderId([2; 24]))).unwrap().unwrap().number;
    let (other, _, _) = waiting[1].clone();
    for queue in [empty, other] {
        subject.write(|store| store.block_queue(queue, SPAM)).unwrap();
    }
    let page = subject.reader.service_backlog(MESSAGES.id, QueueNumber(0), 9).unwrap();
    let blocked = page.queues.iter().map(|one| (one.number, one.blocking)).collect::<Vec<_>>();
    let rest = waiting[2..].iter().map(|(queue, ..)| (*queue, None));
    assert_eq!(
        blocked,
        [(empty, Some(SPAM)), (other, Some(SPAM))].into_iter().chain(rest).collect::<Vec<_>>()
    );
}

fn streams_of_a_queue_move_between_services(mut subject: Subject) {
    for (service, fingerprint) in [(MESSAGES, 1), (NOTIFICATIONS, 2)] {
        subject.write(|store| store.add_service(&new_service(service, fingerprint))).unwrap();
    }
    let queue = subject.create(&NewQueue { notifier: Some(new_notifier(5)), ..new_queue(1, None) });
    let notifications = Stream::Notifications(NotifierId([5; 24]));
    let services = |subject: &mut Subject| {
        let record = subject.reader.queue(&QueueName::Sender(SenderId([1; 24]))).unwrap().unwrap();
        (record.recipient_service, record.notifier_service)
    };
    let give = |subject: &mut Subject, stream, service: Option<ServiceRecord>| {
        subject.write(|store| store.associate(queue, stream, service.map(|one| one.id)))
    };
    for (service, former) in
        [(Some(MESSAGES), None), (Some(MESSAGES), Some(MESSAGES.id)), (None, Some(MESSAGES.id))]
    {
        assert_eq!(give(&mut subject, Stream::Messages, service).unwrap(), former);
        assert_eq!(services(&mut subject), (service.map(|one| one.id), None));
    }
    assert_eq!(give(&mut subject, notifications, Some(NOTIFICATIONS)).unwrap(), None);
    assert_eq!(services(&mut subject), (None, Some(NOTIFICATIONS.id)));
    assert_eq!(subject.reader.service_queue_count(NOTIFICATIONS).unwrap(), 1);
    let other = give(&mut subject, Stream::Notifications(NotifierId([6; 24])), None);
    assert!(matches!(other, Err(StoreError::NoQueue)), "it is not its notifier");
    // A new notifier belongs to nobody, and so does none.
    subject.write(|store| store.set_notifier(queue, &new_notifier(6))).unwrap();
    assert_eq!(services(&mut subject), (None, None));
    let sixth = Stream::Notifications(NotifierId([6; 24]));
    assert_eq!(give(&mut subject, sixth, Some(NOTIFICATIONS)).unwrap(), None);
    subject.write(|store| store.delete_notifier(queue)).unwrap();
    assert_eq!(services(&mut subject), (None, None));
    subject.write(|store| store.delete_queue(queue)).unwrap();
    assert!(matches!(give(&mut subject, Stream::Messages, Some(MESSAGES)), Err(StoreError::NoQueue)));
}
