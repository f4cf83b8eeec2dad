use proptest::prelude::*;
use protocol::smp::ids::{MessageId, RecipientId};
use protocol::smp::key::{AuthPrivateKey, AuthPublicKey};
use protocol::timestamp::Timestamp;

use super::flaw::{Damages, Flaw};
use super::message::{BODY_BYTES_MAX, message};
use super::staging::{Applied, Home, Staging};
use super::store_log::{Change, Record, record};
use super::words::Words;
use crate::store::{QueueNumber, QueueStatus, StoredMessage};

const ID: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB";
const OTHER: &str = "AgICAgICAgICAgICAgICAgICAgICAgIC";
const SECRET: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

fn public_key() -> AuthPublicKey {
    AuthPrivateKey::Ed25519(protocol::crypto::sign::Ed25519PrivateKey::from_seed(&[3; 32])).public_key()
}

fn key() -> String {
    protocol::base64url::encode(&public_key().to_der())
}

fn create(recipient_id: &str, sender_id: &str, rest: &str) -> String {
    format!("CREATE rid={recipient_id} rk={} rdh={SECRET} sid={sender_id} sk={rest}", key())
}

/// A line of every kind and form.
fn all() -> Vec<String> {
    let key = key();
    let rest = format!(
        "{key} queue_mode=M link_id={ID} queue_data=AAAA BBBB notifier={ID} {key} {SECRET} nsrv={ID} updated_at=5 \
         status=blocked,reason=spam,notice={{\"ttl\":5}} rsrv={ID}"
    );
    vec![
        create(ID, OTHER, ""),
        create(ID, OTHER, " sndSecure=T"),
        create(ID, OTHER, " status=off"),
        create(ID, OTHER, &rest),
        format!("LINK {ID} {ID} AAAA BBBB"),
        format!("LDELETE {ID}"),
        format!("SECURE {ID} {key}"),
        format!("KEYS {ID} {key},{key}"),
        format!("NOTIFIER {ID} {ID} {key} {SECRET}"),
        format!("NOTIFIER {ID} {ID} {key} {SECRET} nsrv={ID}"),
        format!("NDELETE {ID}"),
        format!("SUSPEND {ID}"),
        format!("BLOCK {ID} reason=content,notice={{}}"),
        format!("UNBLOCK {ID}"),
        format!("DELETE {ID}"),
        format!("TIME {ID} 1700000000"),
        format!("NEW_SERVICE service_id={ID} role=M cert=AAAA,BBBB cert_hash={SECRET} created_at=5"),
        format!("QUEUE_SERVICE {ID} R {ID}"),
        format!("QUEUE_SERVICE {ID} N "),
    ]
}

#[test]
fn every_record_is_read_and_nothing_may_follow_it() {
    for line in all() {
        assert!(record(&line).is_ok(), "{line}: {:?}", record(&line));
        for end in [" ", " x", "x y"] {
            assert!(record(&format!("{line}{end}")).is_err(), "{line}{end}");
        }
    }
    let Ok(Record::Create(queue)) = record(&all()[3]) else { panic!("a queue") };
    let (record, link) = (queue.record, queue.link.unwrap());
    assert_eq!((record.sender_key, record.used_on), (Some(public_key()), 0));
    assert_eq!(record.status, QueueStatus::from_parts(false, "reason=spam,notice={\"ttl\":5}".parse().ok()));
    assert_eq!((link.1.fixed.len(), link.1.user.len()), (3, 3));
    assert!(
        record.notifier.is_some() && record.notifier_service.is_some() && record.recipient_service.is_some()
    );
}

#[test]
fn wrong_values_are_named() {
    let cases = [
        ("", Flaw::UnknownKind),
        ("create", Flaw::UnknownKind),
        ("DELETE", Flaw::Value("recipient id")),
        ("DELETE AAAA", Flaw::Value("recipient id")),
        (&format!("TIME {ID} soon"), Flaw::Value("time")),
        (&format!("SECURE {ID} {SECRET}"), Flaw::Value("sender key")),
        (&format!("KEYS {ID} "), Flaw::Value("recipient keys")),
        (&format!("BLOCK {ID} reason=envy"), Flaw::Value("reason")),
        (&format!("QUEUE_SERVICE {ID} P {ID}"), Flaw::Value("party")),
        (&create(ID, OTHER, " queue_mode=M sndSecure=T"), Flaw::Surplus),
        (&create(ID, OTHER, " status=gone"), Flaw::Value("status")),
        (&create(ID, "AAAA", ""), Flaw::Value("sender id")),
    ];
    for (line, flaw) in cases {
        assert_eq!(record(line), Err(flaw), "{line}");
    }
}

#[test]
fn messages_are_read_with_and_without_flags() {
    let read = |rest: &str| message(Words::new(&format!("{ID} 17 {rest}")));
    let stored = |notify, body: Option<&[u8]>| StoredMessage {
        id: MessageId([1; 24]),
        received_at: Timestamp::from_seconds(17),
        notify,
        body: body.map(<[u8]>::to_vec),
    };
    assert_eq!(read("flags=T AAAA"), Ok(stored(true, Some(&[0; 3]))));
    assert_eq!(read("flags=F AAAA"), Ok(stored(false, Some(&[0; 3]))));
    assert_eq!(read("AAAA"), Ok(stored(false, Some(&[0; 3]))));
    assert_eq!(read("quota"), Ok(stored(false, None)));
    let long = |bytes| protocol::base64url::encode(&vec![0; bytes]);
    assert!(read(&long(BODY_BYTES_MAX)).is_ok());
    for wrong in
        ["", "flags=T", "flags=X AAAA", "quota x", "AAAA BBBB", "flags=T ", &long(BODY_BYTES_MAX + 1)]
    {
        assert!(read(wrong).is_err(), "{wrong}");
    }
}

fn applied(staging: &mut Staging, line: &str) -> Result<Applied, Flaw> {
    staging.apply(1, &record(line).unwrap()).unwrap()
}

#[test]
fn every_change_meets_a_queue_that_is_there_gone_or_unknown() {
    let changes: Vec<String> =
        all().into_iter().filter(|line| !line.starts_with("CREATE") && !line.starts_with("NEW_")).collect();
    for change in &changes {
        let mut staging = Staging::begin(None).unwrap();
        assert_eq!(applied(&mut staging, change), Err(Flaw::NoQueue), "{change}");
        applied(&mut staging, &create(ID, OTHER, "")).unwrap();
        let expected = match change.contains(" N ") {
            true => Err(Flaw::Contradiction("notifier")),
            false => Ok(Applied::Done),
        };
        assert_eq!(applied(&mut staging, change), expected, "{change}");
        if change.starts_with("DELETE") {
            assert_eq!(applied(&mut staging, &create(ID, OTHER, "")), Err(Flaw::Taken("recipient id")));
        }
        let _ = applied(&mut staging, &format!("DELETE {ID}"));
        assert_eq!(applied(&mut staging, change), Ok(Applied::Late), "{change}");
        assert!(staging.queues_after(0, 9).unwrap().is_empty());
        assert_eq!(staging.home(RecipientId([1; 24])).unwrap(), Home::Gone);
        assert_eq!(staging.home(RecipientId([2; 24])).unwrap(), Home::Unknown);
    }
}

#[test]
fn the_last_status_counts() {
    let mut staging = Staging::begin(None).unwrap();
    applied(&mut staging, &create(ID, OTHER, "")).unwrap();
    let spam = QueueStatus::from_parts(false, "reason=spam".parse().ok());
    for (change, status) in [("SUSPEND", QueueStatus::Off), ("BLOCK", spam), ("UNBLOCK", QueueStatus::Active)]
    {
        let reason = if change == "BLOCK" { " reason=spam" } else { "" };
        applied(&mut staging, &format!("{change} {ID}{reason}")).unwrap();
        assert_eq!(staging.queues_after(0, 1).unwrap()[0].1.record.status, status);
    }
}

#[test]
fn queues_that_share_an_id_at_the_end_are_left_out_but_not_those_that_shared_one() {
    let mut staging = Staging::begin(None).unwrap();
    let key = key();
    for line in [
        create(ID, OTHER, &format!(" notifier={ID} {key} {SECRET}")),
        create(OTHER, ID, ""),
        format!("NDELETE {ID}"),
        format!("NOTIFIER {OTHER} {ID} {key} {SECRET}"),
    ] {
        applied(&mut staging, &line).unwrap();
    }
    let mut damages = Damages::listed_in(None).unwrap();
    staging.settle(&mut damages, &|line| line.to_string()).unwrap();
    assert_eq!(damages.count(), 0);
    applied(&mut staging, &format!("NOTIFIER {ID} {ID} {key} {SECRET}")).unwrap();
    staging.settle(&mut damages, &|line| line.to_string()).unwrap();
    assert_eq!(damages.count(), 1);
    let left: Vec<_> = staging.queues_after(0, 9).unwrap();
    assert_eq!(left.len(), 1, "the later one is left out");
    assert_eq!(staging.home(left[0].1.record.recipient_id).unwrap(), Home::Queue(None));
    staging.stored(left[0].0, QueueNumber(7)).unwrap();
    let home = staging.home(left[0].1.record.recipient_id).unwrap();
    assert_eq!(home, Home::Queue(Some(QueueNumber(7))));
}

#[test]
fn what_is_staged_is_what_was_read() {
    for line in all().iter().filter(|line| line.starts_with("CREATE")) {
        let Ok(Record::Create(queue)) = record(line) else { panic!("a queue") };
        let mut staging = Staging::begin(None).unwrap();
        applied(&mut staging, line).unwrap();
        assert_eq!(staging.queues_after(0, 9).unwrap()[0].1, *queue, "{line}");
    }
    let [Ok(Record::Queue(_, Change::Keys(keys)))] = [record(&all()[7])] else { panic!("keys") };
    assert_eq!(keys.len(), 2);
}

proptest! {
    #[test]
    fn no_line_makes_it_panic(position in 0_usize..600, byte in 0_u8..128, which in 0_usize..19, cut: bool) {
        let mut line = all()[which].clone().into_bytes();
        let position = position % line.len();
        if cut { line.truncate(position) } else { line[position] = byte }
        let line = String::from_utf8(line).unwrap();
        let _ = record(&line);
        let _ = message(Words::new(&line));
    }
}
