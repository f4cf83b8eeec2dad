//! A server of the reference implementation is taken over, and its queues live on.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use protocol::crypto::secretbox::BoxKey;
use protocol::smp::command::Command as SmpCommand;
use protocol::smp::error::ErrorType;
use protocol::smp::message::{NotificationMetadata, ReceivedMessage};
use protocol::smp::response::BrokerMessage;
use protocol::timestamp::Timestamp;
use serde_json::Value;

use crate::client::{Client, ed25519, link_data, message};
use crate::program::{Program, program, run};
use crate::reference::{OldQueue, Reference, key_text, text};

/// Messages are in memory until the server stops.
const MEMORY: &str = "[STORE_LOG]\nenable = on\nrestore_messages = on\n";
const JOURNALS: &str = "[STORE_LOG]\nenable = on\nstore_messages = journal\n";
/// Its messages are old.
pub(crate) const START: [&str; 4] = ["--port", "0", "--message-ttl", "36500d"];

/// The command that imports into a directory.
pub(crate) fn command(reference: &Reference, into: &Path, more: &[&str]) -> Command {
    let mut command = program();
    command.args(["--json", "import-reference"]).arg(reference.settings()).arg(reference.data());
    command.arg("--directory").arg(into).args(["--bind", "127.0.0.1"]).args(more);
    command
}

/// Runs the import into a directory.
fn import(reference: &Reference, into: &Path, more: &[&str]) -> Output {
    command(reference, into, more).output().unwrap()
}

pub(crate) fn summary(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

pub(crate) fn says(output: &Output, text: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(text), "{said}");
}

/// The next message of the queue is this one; it is acknowledged.
pub(crate) async fn takes(client: &mut Client, queue: &OldQueue, number: u8, body: &[u8]) {
    let known = queue.known();
    let (id, content) = client.message(&known).await;
    assert_eq!(id, OldQueue::message_id(number));
    let ReceivedMessage::Message { received_at, body: found, .. } = content else { panic!("{content:?}") };
    assert_eq!(
        (received_at, found.as_slice()),
        (Timestamp::from_seconds(1_700_000_000 + i64::from(number)), body)
    );
}

#[tokio::test]
async fn a_server_in_memory_lives_on_with_all_that_it_recorded() {
    let reference =
        Reference::make(&format!("{MEMORY}[AUTH]\ncreate_password = secret\n[WEB]\nstatic_path = /w\n"));
    let queues: Vec<OldQueue> = (1..=14).map(OldQueue::new).collect();
    let [
        old,
        renamed,
        contact,
        linked,
        notified,
        unnotified,
        blocked,
        off,
        unblocked,
        deleted,
        noticed,
        served,
        unserved,
        late,
    ] = queues.as_slice()
    else {
        panic!("so many")
    };
    let (new_key, second_key) = (ed25519(), ed25519());
    let service = text(&[77; 24]);
    let data = format!("{} {}", text(b"fixed"), text(b"user"));
    let lines = [
        format!(
            "NEW_SERVICE service_id={service} role=N cert={},{} cert_hash={} created_at=1700000000",
            text(b"leaf"),
            text(b"identity"),
            text(&[5; 32])
        ),
        old.create(false, " sndSecure=T"),
        renamed.create(true, " queue_mode=M updated_at=1700006400"),
        contact.create(false, &format!(" queue_mode=C link_id={} queue_data={data}", text(&contact.id(3)))),
        linked.create(false, " sndSecure=F"),
        notified.create(true, &format!(" queue_mode=M notifier={} nsrv={service}", notified.notifier())),
        unnotified.create(true, ""),
        blocked.create(true, ""),
        off.create(true, " queue_mode=M status=off"),
        unblocked.create(true, " status=active"),
        deleted.create(true, ""),
        noticed.create(true, " status=blocked,reason=content,notice={\"ttl\":3600}"),
        served.create(true, ""),
        unserved.create(true, &format!(" rsrv={service}")),
        late.create(true, ""),
        format!("SECURE {} {}", old.rid(), key_text(&old.sender_key.public_key())),
        format!("TIME {} 1700092800", old.rid()),
        format!(
            "KEYS {} {},{}",
            renamed.rid(),
            key_text(&new_key.public_key()),
            key_text(&second_key.public_key())
        ),
        format!("LINK {} {} {data}", linked.rid(), text(&linked.id(3))),
        format!("LINK {} {} {} {}", linked.rid(), text(&linked.id(3)), text(b"fixed"), text(b"newer")),
        format!("LDELETE {}", contact.rid()),
        format!("NOTIFIER {} {}", unnotified.rid(), unnotified.notifier()),
        format!("NDELETE {}", unnotified.rid()),
        format!("BLOCK {} reason=spam", blocked.rid()),
        format!("SUSPEND {}", late.rid()),
        format!("SUSPEND {}", unblocked.rid()),
        format!("BLOCK {} reason=content,notice={{}}", unblocked.rid()),
        format!("UNBLOCK {}", unblocked.rid()),
        format!("DELETE {}", deleted.rid()),
        format!("TIME {} 1700092800", deleted.rid()),
        format!("NOTIFIER {} {}", served.rid(), served.notifier()),
        format!("QUEUE_SERVICE {} N {service}", served.rid()),
        format!("QUEUE_SERVICE {} R {service}", served.rid()),
        format!("QUEUE_SERVICE {} R ", unserved.rid()),
    ];
    reference.write("smp-server-store.log", &lines);
    let line = |queue: &OldQueue, rest: String| format!("v3 {} {rest}", queue.rid());
    reference.write(
        "smp-server-messages.log",
        &[
            line(old, OldQueue::message(1, Some(b"one"), "flags=T ")),
            line(old, OldQueue::message(2, Some(b"two"), "flags=F ")),
            line(old, OldQueue::message(3, None, "")),
            line(renamed, OldQueue::message(4, Some(b"other"), "")),
            line(deleted, OldQueue::message(5, Some(b"gone"), "")),
        ],
    );
    let notification = format!(
        "v1 {} {} {} {} {}",
        text(&notified.id(4)),
        text(&[9; 24]),
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs(),
        text(&[1; 24]),
        text(&[2; 144])
    );
    reference.write("smp-server-ntfs.log", &[notification]);
    let before = reference.snapshot();

    let place = tempfile::tempdir().unwrap();
    let checked = summary(&import(&reference, place.path(), &["--check"]));
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0, "a check writes nothing");
    let imported = summary(&import(&reference, place.path(), &[]));
    assert_eq!(reference.snapshot(), before, "nothing of the reference server is changed");
    for found in [&checked, &imported] {
        let count = |name: &str| found[name].as_u64().unwrap();
        assert_eq!((count("services"), count("queues"), count("messages")), (1, 13, 4), "{found}");
        assert_eq!((count("notifications"), count("late"), count("damaged")), (1, 2, 0), "{found}");
        assert_eq!(found["address"], format!("smp://{}:secret@127.0.0.1", reference.fingerprint()));
        let left = found["settings_left"].to_string();
        assert!(left.contains("[WEB] static_path") && !left.contains("new_queues"), "{left}");
    }
    says(&import(&reference, place.path(), &[]), "a server lives here");

    let mut arguments = START.to_vec();
    arguments.extend(["--notification-interval", "5ms"]);
    let server = Program::start(place.path(), &arguments);
    assert_eq!(protocol::base64url::encode(&server.as_ref().key_hash), reference.fingerprint());
    let mut client = Client::connect(&server).await;

    client.subscribe(&old.known()).await;
    takes(&mut client, old, 1, b"one").await;
    let known = old.known();
    let (id, content) = known.open(&client.acknowledge(&known, &OldQueue::message_id(1)).await);
    assert_eq!((id, crate::client::body(content)), (OldQueue::message_id(2), b"two".to_vec()));
    let full = client.ask(Some(&old.sender_key), old.sender_id(), &message(b"x")).await;
    assert_eq!(full, BrokerMessage::Err(ErrorType::Quota));
    let (id, content) = known.open(&client.acknowledge(&known, &id).await);
    assert!(matches!(content, ReceivedMessage::Quota { .. }), "{content:?}");
    assert_eq!(client.acknowledge(&known, &id).await, BrokerMessage::Ok);
    client.ok(Some(&old.sender_key), old.sender_id(), &message(b"new")).await;
    assert_eq!(client.take(&known).await, b"new");

    assert_eq!(
        client.error(Some(&renamed.key), renamed.recipient_id(), &SmpCommand::Sub).await,
        ErrorType::Auth
    );
    let mut by_new_key = renamed.known();
    by_new_key.key = second_key;
    client.subscribe(&by_new_key).await;
    takes(&mut client, renamed, 4, b"other").await;

    assert_eq!(client.error(None, contact.link_id(), &SmpCommand::Lget).await, ErrorType::Auth);
    let lnk = BrokerMessage::Lnk { sender_id: linked.sender_id(), data: link_data(b"fixed", b"newer") };
    assert_eq!(client.ask(None, linked.link_id(), &SmpCommand::Lget).await, lnk);

    let sok = client.ask(Some(&notified.notifier_key), notified.notifier_id(), &SmpCommand::Nsub).await;
    assert!(matches!(sok, BrokerMessage::Sok(_)), "{sok:?}");
    let BrokerMessage::Nmsg { nonce, metadata } = client.event(notified.notifier_id()).await else {
        panic!("a notification was saved")
    };
    let secret = BoxKey::new(&notified.notifier_secret());
    let told = NotificationMetadata::open(&secret, &nonce, &metadata).unwrap();
    assert_eq!(told.message_id, OldQueue::message_id(9));
    let gone =
        client.error(Some(&unnotified.notifier_key), unnotified.notifier_id(), &SmpCommand::Nsub).await;
    assert_eq!(gone, ErrorType::Auth);

    for (queue, info) in [(blocked, "reason=spam"), (noticed, "reason=content,notice={\"ttl\":3600}")] {
        let refused = ErrorType::Blocked(info.parse().unwrap());
        let sender = Some(&queue.sender_key);
        assert_eq!(client.error(sender, queue.sender_id(), &message(b"x")).await, refused);
        assert_eq!(client.error(Some(&queue.key), queue.recipient_id(), &SmpCommand::Sub).await, refused);
    }
    for queue in [off, late, deleted] {
        let sender = Some(&queue.sender_key);
        assert_eq!(client.error(sender, queue.sender_id(), &message(b"x")).await, ErrorType::Auth);
    }
    client.ok(Some(&unblocked.sender_key), unblocked.sender_id(), &message(b"x")).await;
    drop(client);
    assert!(server.stop().status.success());

    // What an export shows of what no client sees.
    let export = place.path().join("export");
    assert!(run(place.path(), &["export", export.to_str().unwrap()]).status.success());
    let lines = fs::read_to_string(export).unwrap();
    let queue = |queue: &OldQueue| -> Value {
        let mut queues = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        queues.find(|line| line["recipient_id"] == queue.rid()).unwrap()
    };
    assert_eq!(queue(served)["notifier_service"], service.as_str());
    assert_eq!(queue(served)["recipient_service"], service.as_str());
    assert_eq!(queue(unserved)["recipient_service"], Value::Null);
    assert_eq!(queue(unserved)["used_on"], 0);
    assert_eq!(queue(renamed)["mode"], "M");
    let told = lines.lines().find(|line| line.contains("\"service\"")).unwrap();
    assert!(told.contains(&text(&[5; 32])), "{told}");
    assert_eq!(fs::read_to_string(place.path().join("create_password")).unwrap(), "secret");
}

#[tokio::test]
async fn damage_is_told_with_its_line_and_left_out_only_when_wanted() {
    let reference = Reference::make(MEMORY);
    let [sound, twin, other] = [1, 2, 3].map(OldQueue::new);
    let stolen = other.create(true, "").replace(&text(&other.id(2)), &text(&sound.id(2)));
    let lines = [
        sound.create(true, ""),
        "CREATE rid=short rk= rdh= sid= sk=".to_owned(),
        twin.create(true, " queue_mode=X"),
        format!("EXPLODE {}", sound.rid()),
        format!("SECURE {} {}", sound.rid(), key_text(&other.sender_key.public_key())),
        format!("SUSPEND {} now", sound.rid()),
        format!("TIME {} 1", twin.rid()),
        sound.create(true, ""),
        stolen,
        format!("QUEUE_SERVICE {} R {}", sound.rid(), text(&[7; 24])),
        String::new(),
    ];
    reference.write("smp-server-store.log", &lines);
    let log = reference.data().join("smp-server-store.log");
    fs::write(&log, fs::read_to_string(&log).unwrap() + &format!("DELETE {}", sound.rid())).unwrap();
    let messages = [
        format!("v3 {} {}", sound.rid(), OldQueue::message(1, Some(b"one"), "flags=T ")),
        format!("v3 {} {}", sound.rid(), "?"),
        format!("{} {}", sound.rid(), OldQueue::message(2, Some(b"of version 1"), "")),
        format!("v3 {} {}", twin.rid(), OldQueue::message(3, Some(b"homeless"), "")),
        format!("v3 {} {}", sound.rid(), OldQueue::message(4, Some(&[0; 16_089]), "")),
        format!("v3 {} {}", sound.rid(), OldQueue::message(5, Some(b"five"), "")),
    ];
    reference.write("smp-server-messages.log", &messages);
    let damaged_lines = |found: &Value| -> Vec<String> {
        let damages = found["damages"].as_array().unwrap().iter();
        damages.map(|one| one["place"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()).collect()
    };
    let expected: Vec<String> = (2..=8)
        .map(|line| format!("smp-server-store.log:{line}"))
        .chain([11, 12, 9, 1].map(|line| format!("smp-server-store.log:{line}")))
        .chain((2..=5).map(|line| format!("smp-server-messages.log:{line}")))
        .collect();

    let place = tempfile::tempdir().unwrap();
    let check = import(&reference, place.path(), &["--check"]);
    assert_eq!(check.status.code(), Some(20));
    let found: Value =
        serde_json::from_slice(check.stdout.split(|byte| *byte == b'\n').next().unwrap()).unwrap();
    assert_eq!(damaged_lines(&found), expected);
    let refused = import(&reference, place.path(), &[]);
    assert_eq!(refused.status.code(), Some(20));
    says(&refused, "smp-server-store.log:2");
    says(&run(place.path(), &["start"]), "import-reference` again");

    let list = place.path().join("left-out");
    let imported =
        summary(&import(&reference, place.path(), &["--leave-out-damaged", list.to_str().unwrap()]));
    assert_eq!(
        (imported["queues"].as_u64(), imported["messages"].as_u64()),
        (Some(1), Some(2)),
        "{imported}"
    );
    let listed: Vec<Value> =
        fs::read_to_string(&list).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(Value::from(listed), imported["damages"]);
    assert_eq!(damaged_lines(&imported), expected);

    let server = Program::start(place.path(), &START);
    let mut client = Client::connect(&server).await;
    client.subscribe(&sound.known()).await;
    takes(&mut client, &sound, 1, b"one").await;
    let known = sound.known();
    let (id, _) = known.open(&client.acknowledge(&known, &OldQueue::message_id(1)).await);
    assert_eq!(id, OldQueue::message_id(5));
}

#[test]
fn an_import_that_was_interrupted_is_no_server_and_begins_anew() {
    let reference = Reference::make(MEMORY);
    let queue = OldQueue::new(1);
    reference.write("smp-server-store.log", &[queue.create(true, "")]);
    let message = |number| format!("v3 {} {}", queue.rid(), OldQueue::message(number, Some(b"m"), ""));
    // Queues and a message are stored, then it ends.
    reference.write("smp-server-messages.log", &[message(1), "v3".to_owned()]);
    let place = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        says(&import(&reference, place.path(), &[]), "smp-server-messages.log:2");
        assert!(place.path().join("smp-server.db").exists());
        for command in [["start"].as_slice(), &["export", "x"], &["check"]] {
            says(&run(place.path(), command), "interrupted");
        }
    }
    reference.write("smp-server-messages.log", &[message(1), message(2)]);
    let imported = summary(&import(&reference, place.path(), &[]));
    assert_eq!((imported["queues"].as_u64(), imported["messages"].as_u64()), (Some(1), Some(2)));
    let check = run(place.path(), &["check"]);
    assert!(check.status.success(), "{check:?}");
}

#[tokio::test]
async fn journals_are_read_from_where_their_queues_were_read() {
    let reference = Reference::make(JOURNALS);
    let [one, two, torn, empty, gone] = [1, 2, 3, 4, 5].map(OldQueue::new);
    let lines: Vec<String> =
        [&one, &two, &torn, &empty, &gone].iter().map(|queue| queue.create(true, "")).collect();
    reference
        .write("smp-server-store.log", &[lines.as_slice(), &[format!("DELETE {}", gone.rid())]].concat());
    let stored = |numbers: std::ops::RangeInclusive<u8>| -> Vec<String> {
        numbers.map(|number| OldQueue::message(number, Some(&[number]), "flags=T ")).collect()
    };
    reference.write_journals(&one, &stored(1..=3), 1, 0);
    let mut of_two = stored(1..=4);
    of_two.push(OldQueue::message(5, None, ""));
    reference.write_journals(&two, &of_two, 1, 2);
    // Written anew when the server ended: the file beside it does not count. Its last line is cut off.
    let directory = reference.write_journals(&torn, &stored(1..=2), 0, 0);
    let state = directory.join(format!("queue_state.{}.log", torn.rid()));
    let sound = fs::read_to_string(&state).unwrap();
    fs::write(directory.join(format!("queue_state.{}.log.bak", torn.rid())), sound + "write=AAAA").unwrap();
    fs::write(&state, "").unwrap();
    reference.write_journals(&empty, &stored(1..=1), 1, 0);
    reference.write_journals(&gone, &stored(1..=1), 0, 0);

    let place = tempfile::tempdir().unwrap();
    let imported = summary(&import(&reference, place.path(), &[]));
    assert_eq!(
        (imported["queues"].as_u64(), imported["messages"].as_u64()),
        (Some(4), Some(8)),
        "{imported}"
    );
    let server = Program::start(place.path(), &START);
    let mut client = Client::connect(&server).await;
    for (queue, numbers) in [(&one, 2..=3), (&two, 2..=4), (&torn, 1..=2)] {
        let known = queue.known();
        client.subscribe(&known).await;
        let (mut id, mut content) = client.message(&known).await;
        for number in numbers.clone() {
            assert_eq!((id, crate::client::body(content)), (OldQueue::message_id(number), vec![number]));
            let next = client.acknowledge(&known, &id).await;
            if next == BrokerMessage::Ok {
                assert_eq!(number, *numbers.end());
                break;
            }
            (id, content) = known.open(&next);
            if matches!(content, ReceivedMessage::Quota { .. }) {
                assert_eq!((id, number), (OldQueue::message_id(5), 4));
                break;
            }
        }
    }
    drop(client);
    drop(server);

    // Damage: a journal that is missing, one that is short, a state that contradicts itself.
    let journal = |queue: &OldQueue| {
        let id = queue.rid();
        let parts: Vec<&str> = vec![&id[0..2], &id[2..4], &id[4..6], &id[6..8], &id[8..]];
        reference.data().join("messages").join(parts.iter().collect::<std::path::PathBuf>())
    };
    fs::remove_file(journal(&one).join("messages.AAAAAAAAAAAAAAAB.log")).unwrap();
    let short = journal(&two).join("messages.AAAAAAAAAAAAAAAB.log");
    let text = fs::read_to_string(&short).unwrap();
    fs::write(&short, &text[..text.len() - 10]).unwrap();
    fs::remove_file(journal(&torn).join(format!("queue_state.{}.log.bak", torn.rid()))).unwrap();
    let contradiction = "write=AAAAAAAAAAAAAAAB,2,2,9,9 read=AAAAAAAAAAAAAAAB,3,2,0,9 canWrite=T size=2\n";
    fs::write(journal(&torn).join(format!("queue_state.{}.log", torn.rid())), contradiction).unwrap();
    let check = import(&reference, place.path(), &["--check"]);
    let found: Value =
        serde_json::from_slice(check.stdout.split(|byte| *byte == b'\n').next().unwrap()).unwrap();
    let flaws = &found["flaws"];
    for flaw in [
        "the journal is missing",
        "the journal is shorter than its queue's state says",
        "it is cut off",
        "its state is missing or damaged",
    ] {
        assert_eq!(flaws[flaw], 1, "{flaws}");
    }
}

#[test]
fn an_interrupted_compaction_counts_and_a_running_server_is_seen() {
    let reference = Reference::make(MEMORY);
    let queues = [1, 2].map(OldQueue::new);
    let lines: Vec<String> = queues.iter().map(|queue| queue.create(true, "")).collect();
    reference.write("smp-server-store.log.start", &lines);
    reference.write("smp-server-store.log", &lines[..1]);
    let place = tempfile::tempdir().unwrap();
    // It did not end by itself: its messages are not on disk.
    says(&import(&reference, place.path(), &[]), "SIGINT");
    reference.write("smp-server-messages.log", &[]);
    let found = summary(&import(&reference, place.path(), &["--check"]));
    assert_eq!(found["queues"].as_u64(), Some(2));
    assert!(found["notes"].to_string().contains("interrupted"), "{found}");

    fs::remove_file(reference.data().join("smp-server-store.log.start")).unwrap();
    let log = fs::File::options().append(true).open(reference.data().join("smp-server-store.log")).unwrap();
    let mut running = Command::new("cat").stdin(std::process::Stdio::piped()).stdout(log).spawn().unwrap();
    says(&import(&reference, place.path(), &[]), "stop the reference server");
    let found = summary(&import(&reference, place.path(), &["--check"]));
    assert!(found["notes"].to_string().contains("what is found now may change"), "{found}");
    drop(running.stdin.take());
    running.wait().unwrap();
    fs::create_dir(reference.data().join("messages")).unwrap();
    says(&import(&reference, place.path(), &[]), "move away what is not in use");
    fs::remove_dir(reference.data().join("messages")).unwrap();
    fs::remove_file(reference.settings().join("ca.key")).unwrap();
    assert_eq!(summary(&import(&reference, place.path(), &[]))["queues"].as_u64(), Some(1));
    assert!(!place.path().join("ca.key").exists());
}

#[test]
fn certificates_of_two_servers_are_refused() {
    let (reference, other) = (Reference::make(MEMORY), Reference::make(MEMORY));
    let place = tempfile::tempdir().unwrap();
    fs::copy(other.settings().join("fingerprint"), reference.settings().join("fingerprint")).unwrap();
    says(&import(&reference, place.path(), &["--check"]), "two servers");
    fs::copy(other.settings().join("server.key"), reference.settings().join("server.key")).unwrap();
    says(&import(&reference, place.path(), &["--check"]), "do not fit together");
}
