//! The log against a model, torn, flipped and refused.

use std::io::ErrorKind;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use proptest::prelude::*;

use super::disk::faults::Operation;
use super::*;
use crate::store::{Failure, FailureKind, PromptReader};

const LOG: LogId = LogId([7; 8]);

/// What a queue holds: each message's id and body.
type Model = BTreeMap<QueueNumber, Vec<(u8, Vec<u8>)>>;

/// Small, and few open at a time.
const SETTINGS: LogSettings = LogSettings { segment_bytes: 4096, open_files: 2 };

fn create(directory: &Path) -> MessageLog {
    MessageLog::create(directory, LOG, SETTINGS).unwrap()
}

fn open(directory: &Path) -> Result<MessageLog> {
    MessageLog::open(directory, LOG, SETTINGS)
}

fn append(log: &mut MessageLog, queue: i64, seed: u8, body: &[u8]) -> Result<()> {
    let message = NewMessage {
        id: MessageId([seed; 24]),
        received_at: Timestamp(i64::from(seed)),
        notify: seed.is_multiple_of(2),
        body,
    };
    log.append(QueueNumber(queue), &message, false)
}

/// Appends in a group of its own.
fn store(log: &mut MessageLog, queue: i64, seed: u8, body: &[u8]) -> Result<()> {
    log.begin();
    append(log, queue, seed, body)?;
    log.commit()
}

/// All that can be read.
fn contents(log: &MessageLog) -> Result<Model> {
    let reader = log.reader();
    let queues: Vec<QueueNumber> = log.shared.queues().keys().copied().collect();
    let all = queues.into_iter().map(|queue| {
        // What is said at once is the same, or nothing.
        if let Some(head) = PromptReader::first_message(&reader, queue) {
            assert_eq!(head, reader.first_message(queue)?);
        }
        let messages = reader.messages(queue)?;
        Ok((queue, messages.into_iter().map(|one| (one.id.0[0], one.body.unwrap_or_default())).collect()))
    });
    all.collect()
}

/// A copy of the log's directory, as a crash at this moment would leave it.
fn snapshot(directory: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    copy
}

#[derive(Debug, Clone)]
enum Act {
    Append {
        queue: i64,
        seed: u8,
        length: usize,
    },
    Remove {
        queue: i64,
        count: usize,
    },
    RemoveAll {
        queue: i64,
    },
    Commit,
    /// What is not committed is forgotten.
    Abandon,
    /// A crash, and a start.
    Restart,
    /// A disk without room, for one commit.
    Full,
}

fn act() -> impl Strategy<Value = Act> {
    let queue = 1_i64..6;
    prop_oneof![
        8 => (queue.clone(), any::<u8>(), 0_usize..900)
            .prop_map(|(queue, seed, length)| Act::Append { queue, seed, length }),
        6 => (queue.clone(), 1_usize..4).prop_map(|(queue, count)| Act::Remove { queue, count }),
        1 => queue.prop_map(|queue| Act::RemoveAll { queue }),
        8 => Just(Act::Commit),
        1 => Just(Act::Abandon),
        1 => Just(Act::Restart),
        1 => Just(Act::Full),
    ]
}

fn change(model: &mut Model, act: &Act) {
    match act {
        Act::Append { queue, seed, length } => {
            model.entry(QueueNumber(*queue)).or_default().push((*seed, vec![*seed; *length]));
        }
        Act::Remove { queue, count } => {
            let messages = model.entry(QueueNumber(*queue)).or_default();
            messages.drain(..(*count).min(messages.len()));
        }
        Act::RemoveAll { queue } => drop(model.remove(&QueueNumber(*queue))),
        _ => {}
    }
    model.retain(|_, messages| !messages.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_holds_what_was_committed_and_nothing_else(acts in proptest::collection::vec(act(), 1..300)) {
        let directory = tempfile::tempdir().unwrap();
        let mut log = create(directory.path());
        let (mut committed, mut staged) = (Model::new(), Model::new());
        log.begin();
        for act in &acts {
            change(&mut staged, act);
            match act {
                Act::Append { queue, seed, length } => append(&mut log, *queue, *seed, &vec![*seed; *length]).unwrap(),
                Act::Remove { queue, count } => {
                    let there = log.message_count(QueueNumber(*queue)) as usize;
                    log.remove(QueueNumber(*queue), (*count).min(there));
                }
                Act::RemoveAll { queue } => log.remove_all(QueueNumber(*queue)),
                Act::Commit => {
                    log.commit().unwrap();
                    log.begin();
                    committed = staged.clone();
                    prop_assert_eq!(contents(&log).unwrap(), committed.clone());
                }
                Act::Abandon => {
                    log.begin();
                    staged = committed.clone();
                }
                Act::Restart => {
                    drop(log);
                    log = open(directory.path()).unwrap();
                    log.begin();
                    staged = committed.clone();
                    prop_assert_eq!(contents(&log).unwrap(), committed.clone());
                }
                Act::Full => {
                    log.disk.faults.set(Some((Operation::Create, ErrorKind::StorageFull)));
                    let stored = log.commit();
                    log.disk.faults.set(None);
                    log.begin();
                    if stored.is_ok() { committed = staged.clone() } else { staged = committed.clone() }
                }
            }
            for (queue, messages) in &staged {
                prop_assert_eq!(log.message_count(*queue) as usize, messages.len());
                let (id, body) = messages.first().unwrap();
                let head = log.message_at(*queue, 0).unwrap().unwrap();
                prop_assert_eq!((head.id.0[0], head.body.as_ref()), (*id, Some(body)));
            }
            // A crash now loses nothing and brings nothing back.
            if matches!(act, Act::Commit) {
                let crashed = snapshot(directory.path());
                prop_assert_eq!(contents(&open(crashed.path()).unwrap()).unwrap(), committed.clone());
            }
        }
    }
}

#[test]
fn a_write_that_is_cut_short_anywhere_is_left_behind() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = create(directory.path());
    store(&mut log, 1, 1, b"first").unwrap();
    store(&mut log, 2, 2, b"second").unwrap();
    let before = contents(&log).unwrap();
    let start = log.active.used() as usize;
    log.begin();
    append(&mut log, 1, 3, b"third").unwrap();
    log.remove(QueueNumber(2), 1);
    log.commit().unwrap();
    let after = contents(&log).unwrap();
    let end = log.active.used() as usize - GROUP_HEADER_BYTES;
    let path = log.disk.segment_path(SegmentNumber(1));
    let whole = std::fs::read(&path).unwrap();
    for cut in start..=end {
        let torn = snapshot(directory.path());
        let mut bytes = whole.clone();
        bytes[cut..].fill(0);
        let is_whole = bytes[..end] == whole[..end];
        std::fs::write(torn.path().join(path.file_name().unwrap()), &bytes).unwrap();
        let mut log = open(torn.path()).unwrap();
        assert_eq!(&contents(&log).unwrap(), if is_whole { &after } else { &before }, "{cut}");
        store(&mut log, 3, 4, b"goes on").unwrap();
        drop(log);
        let log = open(torn.path()).unwrap();
        assert_eq!(contents(&log).unwrap()[&QueueNumber(3)], [(4, b"goes on".to_vec())], "{cut}");
        let torn = snapshot(directory.path());
        // Shorter files are cut writes too.
        std::fs::write(torn.path().join(path.file_name().unwrap()), &whole[..cut]).unwrap();
        assert_eq!(
            contents(&open(torn.path()).unwrap()).unwrap(),
            if cut == end { after.clone() } else { before.clone() }
        );
    }
}

#[test]
fn a_flipped_byte_is_never_served() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = create(directory.path());
    for seed in 1..=8 {
        store(&mut log, i64::from(seed), seed, &vec![seed; 700]).unwrap();
    }
    let right = contents(&log).unwrap();
    let last = log.active.header.number;
    assert!(last > SegmentNumber(1), "one is sealed");
    let ends =
        [(SegmentNumber(1), std::fs::metadata(log.disk.segment_path(SegmentNumber(1))).unwrap().len())];
    let ends = ends.into_iter().chain([(last, u64::from(log.active.used()) - GROUP_HEADER_BYTES as u64)]);
    for (segment, end) in ends {
        for position in 0..end {
            let flipped = snapshot(directory.path());
            let path = flipped.path().join(format!("{:010}.log", segment.0));
            let file = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
            let mut byte = [0];
            file.read_exact_at(&mut byte, position).unwrap();
            file.write_all_at(&[byte[0] ^ 0x10], position).unwrap();
            match open(flipped.path()).and_then(|log| contents(&log)) {
                Ok(read) => {
                    // The header of a group in a sealed segment is not looked at.
                    assert_eq!(read, right, "byte {position} of {segment:?}");
                    assert_eq!(segment, SegmentNumber(1));
                }
                Err(StoreError::Damaged(_)) => assert_eq!(segment, SegmentNumber(1)),
                Err(StoreError::Database(failure)) => {
                    assert_eq!(failure.kind(), FailureKind::Damaged);
                    assert!(failure.to_string().contains("smp-server"), "{failure}");
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[test]
fn a_damaged_index_is_not_believed() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = create(directory.path());
    for seed in 1..=8 {
        store(&mut log, 1, seed, &vec![seed; 700]).unwrap();
    }
    let right = contents(&log).unwrap();
    let index = log.disk.index_path(SegmentNumber(1));
    drop(log);
    let bytes = std::fs::read(&index).unwrap();
    for position in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[position] ^= 1;
        std::fs::write(&index, flipped).unwrap();
        assert_eq!(contents(&open(directory.path()).unwrap()).unwrap(), right);
    }
    std::fs::remove_file(&index).unwrap();
    assert_eq!(contents(&open(directory.path()).unwrap()).unwrap(), right);
}

#[test]
fn another_log_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(create(directory.path()));
    let refused = MessageLog::open(directory.path(), LogId([8; 8]), SETTINGS).unwrap_err();
    assert!(refused.to_string().contains("belong"), "{refused}");
    let empty = tempfile::tempdir().unwrap();
    assert!(open(empty.path()).unwrap_err().to_string().contains("belong"));
}

#[test]
fn a_failed_sync_is_never_ok_and_forbids_writing() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = create(directory.path());
    store(&mut log, 1, 1, b"first").unwrap();
    let before = contents(&log).unwrap();
    for operation in [Operation::Sync, Operation::Write] {
        log.disk.faults.set(Some((operation, ErrorKind::Other)));
        let error = store(&mut log, 1, 2, b"second").unwrap_err();
        let forbids = |failure: &Failure| failure.forbids_writing();
        assert!(matches!(&error, StoreError::Database(failure) if forbids(failure)), "{error}");
        assert_eq!(contents(&log).unwrap(), before, "readers do not see it");
    }
}

#[test]
fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = create(directory.path());
    log.disk.faults.set(Some((Operation::Create, ErrorKind::StorageFull)));
    let mut stored = 0;
    let error = loop {
        match store(&mut log, 1, stored + 1, &[1; 900]) {
            Ok(()) => stored += 1,
            Err(error) => break error,
        }
    };
    assert!(
        matches!(&error, StoreError::Database(failure) if failure.kind() == FailureKind::Full),
        "{error}"
    );
    assert!(stored > 0);
    log.begin();
    log.remove(QueueNumber(1), 1);
    log.commit().unwrap();
    log.disk.faults.set(None);
    store(&mut log, 1, 99, b"room again").unwrap();
    assert_eq!(log.message_count(QueueNumber(1)), u32::from(stored));
}

#[test]
fn room_is_used_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = create(directory.path());
    // One message stays while many come and go.
    store(&mut log, 1, 1, b"stays").unwrap();
    for round in 0..400_u32 {
        store(&mut log, 2, 2, &[2; 500]).unwrap();
        log.begin();
        log.remove(QueueNumber(2), 1);
        log.commit().unwrap();
        let segments = log.disk.segments().unwrap().len();
        assert!(segments <= 12, "{segments} segments after {round} rounds");
    }
    assert!(log.active.header.number > SegmentNumber(30));
    drop(log);
    let left = contents(&open(directory.path()).unwrap()).unwrap();
    assert_eq!(left, Model::from([(QueueNumber(1), vec![(1, b"stays".to_vec())])]));
}

#[test]
fn a_message_that_moves_can_be_read_all_the_time() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = create(directory.path());
    store(&mut log, 1, 1, b"moves").unwrap();
    let first = log.view(QueueNumber(1), |view| view.at(0)).unwrap().0.place;
    let reader = log.reader();
    for round in 0..200 {
        // Each segment keeps a few.
        store(&mut log, 10 + round / 6, 1, b"stays").unwrap();
        store(&mut log, 2, 2, &[2; 1000]).unwrap();
        log.begin();
        log.remove(QueueNumber(2), 1);
        log.commit().unwrap();
        assert_eq!(reader.first_message(QueueNumber(1)).unwrap().unwrap().body, Some(b"moves".to_vec()));
    }
    let place = log.view(QueueNumber(1), |view| view.at(0)).unwrap().0.place;
    assert_ne!(place, first, "it was copied");
}

#[test]
fn a_damaged_message_stays_where_it_is_and_harms_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = create(directory.path());
    store(&mut log, 1, 1, b"damaged").unwrap();
    store(&mut log, 2, 2, b"sound").unwrap();
    let place = log.view(QueueNumber(1), |view| view.at(0)).unwrap().0.place;
    let path = log.disk.segment_path(place.segment);
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(b"D", u64::from(place.offset) + record::RECORD_HEADER_BYTES as u64).unwrap();
    for round in 0..200 {
        store(&mut log, 10 + round / 6, 1, b"stays").unwrap();
        store(&mut log, 3, 3, &[3; 1000]).unwrap();
        log.begin();
        log.remove(QueueNumber(3), 1);
        log.commit().unwrap();
    }
    let reader = log.reader();
    assert!(matches!(reader.first_message(QueueNumber(1)), Err(StoreError::Damaged(_))));
    assert!(matches!(log.message_at(QueueNumber(1), 0), Err(StoreError::Damaged(_))));
    assert_eq!(reader.first_message(QueueNumber(2)).unwrap().unwrap().body, Some(b"sound".to_vec()));
    assert!(path.exists());
}

/// Spoils the body of the message at a position.
fn damage(log: &MessageLog, queue: i64, position: usize) {
    let place = log.view(QueueNumber(queue), |view| view.at(position)).unwrap().0.place;
    let file = std::fs::OpenOptions::new().write(true).open(log.disk.segment_path(place.segment)).unwrap();
    file.write_all_at(b"D", u64::from(place.offset) + record::RECORD_HEADER_BYTES as u64).unwrap();
}

#[test]
fn damaged_messages_are_dropped_and_no_others() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = create(directory.path());
    for (queue, body) in [(1, b"one"), (1, b"two"), (2, b"oth"), (1, b"tri"), (1, b"for")] {
        store(&mut log, queue, 7, body).unwrap();
    }
    log.begin();
    let marker = NewMessage { id: MessageId([9; 24]), received_at: Timestamp(9), notify: false, body: b"" };
    log.append(QueueNumber(1), &marker, true).unwrap();
    log.commit().unwrap();
    for position in [0, 2] {
        damage(&log, 1, position);
    }
    let reader = log.reader();
    assert_eq!(reader.damaged_messages(QueueNumber(1)).unwrap(), 2);
    let page = reader.damaged_queues(QueueNumber(0), 1).unwrap();
    assert_eq!((page.queues, page.next), (vec![(QueueNumber(1), 2)], Some(QueueNumber(1))));
    let page = reader.damaged_queues(QueueNumber(1), 9).unwrap();
    assert_eq!((page.queues, page.next), (vec![], None));

    let mut dropped = |queue| {
        log.begin();
        let dropped = log.drop_damaged(QueueNumber(queue)).unwrap();
        log.commit().unwrap();
        dropped
    };
    assert_eq!((dropped(2), dropped(3)), (0, 0));
    assert_eq!(dropped(1), 2);
    assert_eq!(dropped(1), 0);
    let stored = |reader: &LogReader, queue| -> Vec<Option<Vec<u8>>> {
        reader.messages(QueueNumber(queue)).unwrap().into_iter().map(|message| message.body).collect()
    };
    let left = [Some(b"two".to_vec()), Some(b"for".to_vec()), None];
    assert_eq!((stored(&reader, 1).as_slice(), stored(&reader, 2).len()), (left.as_slice(), 1));
    assert!(log.ends_with_marker(QueueNumber(1)));
    // In a group with what came before it, and at the next start.
    log.begin();
    let new = NewMessage { id: MessageId([8; 24]), received_at: Timestamp(9), notify: true, body: b"new" };
    log.append(QueueNumber(2), &new, false).unwrap();
    damage(&log, 2, 0);
    assert_eq!(log.drop_damaged(QueueNumber(2)).unwrap(), 1);
    log.commit().unwrap();
    drop(log);
    let log = open(directory.path()).unwrap();
    assert_eq!(stored(&log.reader(), 1), left);
    assert_eq!(stored(&log.reader(), 2), [Some(b"new".to_vec())]);
}
