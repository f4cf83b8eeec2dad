//! A whole store as lines of JSON, out of one engine and into another.
//!
//! ```text
//! {"type":"export","version":1}
//! {"type":"service", …}          every service, before the queues that name it
//! {"type":"queue", …}            a queue, then its messages, the head first
//! {"type":"message", …}
//! {"type":"end", …}              how much there was: an export without it is not whole
//! ```
//!
//! Ids, keys, secrets and bodies are base64url; keys are in the form of the wire (short SPKI); times are those of the
//! store. Both ways hold one page of queues and the messages of one queue at a time.

use std::io::{BufRead, Read as _, Write};

use anyhow::{Context as _, bail, ensure};
use protocol::base64url;
use protocol::encoding::Encode as _;
use protocol::smp::command::LinkData;
use protocol::smp::ids::{LinkId, MessageId, NotifierId, RecipientId, SenderId, ServiceId};
use protocol::smp::key::AuthPublicKey;
use protocol::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

use super::columns::{blocking_from, key_from, mode_from, mode_text, role_from, role_text};
use super::{
    Created, DhSecret, NewService, Notifier, QueueNumber, QueueReader, QueueRecord, QueueStatus, QueueStore,
    StoredMessage, WholeQueue,
};

/// The form of the lines.
const VERSION: u32 = 1;
/// Queues and services that are read in one visit to the store.
const PAGE: u32 = 256;
/// Lines that are stored by one commit.
const LINES_PER_COMMIT: u64 = 512;
/// The longest line: a queue with 255 keys and link data is below, a message far below.
const LINE_BYTES_MAX: u64 = 256 * 1024;

/// How much was taken out or in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Services.
    pub services: u64,
    /// Queues.
    pub queues: u64,
    /// Messages, markers of full queues included.
    pub messages: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    Export { version: u32 },
    Service(ServiceLine),
    Queue(Box<QueueLine>),
    Message(MessageLine),
    End(Totals),
}

#[derive(Serialize, Deserialize)]
struct ServiceLine {
    id: String,
    fingerprint: String,
    role: String,
    created_at: i64,
}

#[derive(Serialize, Deserialize)]
struct QueueLine {
    recipient_id: String,
    sender_id: String,
    recipient_keys: Vec<String>,
    dh_secret: String,
    sender_key: Option<String>,
    mode: Option<String>,
    suspended: bool,
    blocking: Option<String>,
    used_on: i64,
    notifier: Option<NotifierLine>,
    recipient_service: Option<String>,
    notifier_service: Option<String>,
    link: Option<LinkLine>,
}

#[derive(Serialize, Deserialize)]
struct NotifierLine {
    id: String,
    key: String,
    dh_secret: String,
}

#[derive(Serialize, Deserialize)]
struct LinkLine {
    id: String,
    fixed: String,
    user: String,
}

#[derive(Serialize, Deserialize)]
struct MessageLine {
    id: String,
    received_at: i64,
    notify: bool,
    body: Option<String>,
}

/// Writes everything. `progress` hears of every page.
///
/// # Errors
/// When the store cannot be read or the lines cannot be written.
pub fn export(
    reader: &mut dyn QueueReader,
    out: &mut dyn Write,
    progress: &mut dyn FnMut(Totals),
) -> anyhow::Result<Totals> {
    let mut totals = Totals::default();
    write(out, &Line::Export { version: VERSION })?;
    let mut after = [0; 32];
    loop {
        let page = reader.services_after(&after, PAGE)?;
        let Some(last) = page.last() else { break };
        after = last.fingerprint;
        for service in &page {
            write(out, &Line::Service(service_line(service)))?;
            totals.services = totals.services.saturating_add(1);
        }
    }
    let mut after = QueueNumber(0);
    loop {
        let page = reader.queues_after(after, PAGE)?;
        let Some(last) = page.last() else { break };
        after = last.record.number;
        for queue in &page {
            write(out, &Line::Queue(Box::new(queue_line(queue))))?;
            totals.queues = totals.queues.saturating_add(1);
            for message in reader.messages(queue.record.number)? {
                write(out, &Line::Message(message_line(&message)))?;
                totals.messages = totals.messages.saturating_add(1);
            }
        }
        progress(totals);
    }
    let counts = reader.counts()?;
    ensure!(
        (counts.queues, counts.messages) == (totals.queues, totals.messages),
        "The store holds {} queues and {} messages, but {} and {} were read: does a server write to it?",
        counts.queues,
        counts.messages,
        totals.queues,
        totals.messages
    );
    write(out, &Line::End(totals))?;
    out.flush().context("Unable to write the export")?;
    Ok(totals)
}

/// Stores everything that the lines tell in a store that holds nothing. `progress` hears of every commit.
///
/// # Errors
/// When the store holds something, the lines are not those of a whole export, or the store refuses. What was committed
/// until then stays.
pub fn import(
    store: &mut dyn QueueStore,
    lines: &mut dyn BufRead,
    progress: &mut dyn FnMut(Totals),
) -> anyhow::Result<Totals> {
    let mut reader = store.open_reader()?;
    let counts = reader.counts()?;
    ensure!(
        counts.queues == 0 && counts.messages == 0 && reader.services_after(&[0; 32], 1)?.is_empty(),
        "The store is not empty: import into a new one, so that nothing is mixed or lost"
    );
    let Some(Line::Export { version }) = read(lines, 1)? else { bail!("This is no export of smp-server") };
    ensure!(version == VERSION, "The export has form {version} and this smp-server reads form {VERSION}");
    let mut totals = Totals::default();
    let mut queue = None;
    let mut number = 1_u64;
    store.begin()?;
    let told = loop {
        number = number.saturating_add(1);
        let line = read(lines, number)?.context("The export is cut off: its last line is missing")?;
        if let Line::End(told) = line {
            break told;
        }
        store_line(store, line, &mut queue, &mut totals)
            .with_context(|| format!("Unable to import line {number}"))?;
        if number.is_multiple_of(LINES_PER_COMMIT) {
            store.commit()?;
            progress(totals);
            store.begin()?;
        }
    };
    store.commit()?;
    ensure!(told == totals, "The export says that it has {told:?}, but it has {totals:?}");
    let counts = reader.counts()?;
    ensure!(
        (counts.queues, counts.messages) == (totals.queues, totals.messages),
        "{totals:?} were read but {counts:?} are stored"
    );
    Ok(totals)
}

fn store_line(
    store: &mut dyn QueueStore,
    line: Line,
    queue: &mut Option<QueueNumber>,
    totals: &mut Totals,
) -> anyhow::Result<()> {
    match line {
        Line::Service(line) => {
            store.add_service(&line.service()?)?;
            totals.services = totals.services.saturating_add(1);
        }
        Line::Queue(line) => {
            let Created::Stored(number) = store.restore_queue(&line.queue()?)? else {
                bail!("One of its ids belongs to an earlier queue")
            };
            *queue = Some(number);
            totals.queues = totals.queues.saturating_add(1);
        }
        Line::Message(line) => {
            let queue = queue.context("A message stands before all queues")?;
            store.restore_message(queue, &line.message()?)?;
            totals.messages = totals.messages.saturating_add(1);
        }
        Line::Export { .. } | Line::End(_) => bail!("It does not belong there"),
    }
    Ok(())
}

fn write(out: &mut dyn Write, line: &Line) -> anyhow::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    out.write_all(&text).context("Unable to write the export")
}

fn read(lines: &mut dyn BufRead, number: u64) -> anyhow::Result<Option<Line>> {
    let mut text = Vec::new();
    let mut bounded = lines.take(LINE_BYTES_MAX);
    bounded.read_until(b'\n', &mut text).context("Unable to read the export")?;
    if text.is_empty() {
        return Ok(None);
    }
    // The error of the parser would show what stands in the line.
    let line = serde_json::from_slice(&text).ok();
    Ok(Some(line.with_context(|| format!("Line {number} is none of an export, or is cut off"))?))
}

fn service_line(service: &NewService) -> ServiceLine {
    ServiceLine {
        id: base64url::encode(service.id.as_bytes()),
        fingerprint: base64url::encode(&service.fingerprint),
        role: role_text(service.role).to_owned(),
        created_at: service.created_at,
    }
}

fn queue_line(queue: &WholeQueue) -> QueueLine {
    // Every field by name: one that is added must be taken along.
    let QueueRecord {
        number: _,
        recipient_id,
        sender_id,
        recipient_keys,
        dh_secret,
        sender_key,
        mode,
        notifier,
        status,
        used_on,
        recipient_service,
        notifier_service,
    } = &queue.record;
    QueueLine {
        recipient_id: base64url::encode(recipient_id.as_bytes()),
        sender_id: base64url::encode(sender_id.as_bytes()),
        recipient_keys: recipient_keys.iter().map(key_text).collect(),
        dh_secret: base64url::encode(&dh_secret.0),
        sender_key: sender_key.as_ref().map(key_text),
        mode: mode_text(*mode).map(str::to_owned),
        suspended: status.is_suspended(),
        blocking: status.blocking().map(|info| info.to_string()),
        used_on: *used_on,
        notifier: notifier.as_ref().map(|notifier| NotifierLine {
            id: base64url::encode(notifier.id.as_bytes()),
            key: key_text(&notifier.key),
            dh_secret: base64url::encode(&notifier.dh_secret.0),
        }),
        recipient_service: recipient_service.as_ref().map(|id| base64url::encode(id.as_bytes())),
        notifier_service: notifier_service.as_ref().map(|id| base64url::encode(id.as_bytes())),
        link: queue.link.as_ref().map(|(id, data)| LinkLine {
            id: base64url::encode(id.as_bytes()),
            fixed: base64url::encode(&data.fixed),
            user: base64url::encode(&data.user),
        }),
    }
}

fn message_line(message: &StoredMessage) -> MessageLine {
    MessageLine {
        id: base64url::encode(message.id.as_bytes()),
        received_at: message.received_at.0,
        notify: message.notify,
        body: message.body.as_deref().map(base64url::encode),
    }
}

impl ServiceLine {
    fn service(&self) -> anyhow::Result<NewService> {
        Ok(NewService {
            id: ServiceId(fixed(&self.id)?),
            fingerprint: fixed(&self.fingerprint)?,
            role: role_from(&self.role)?,
            created_at: self.created_at,
        })
    }
}

impl QueueLine {
    fn queue(&self) -> anyhow::Result<WholeQueue> {
        let notifier = self.notifier.as_ref().map(|line| -> anyhow::Result<Notifier> {
            let dh_secret = DhSecret(fixed(&line.dh_secret)?);
            Ok(Notifier { id: NotifierId(fixed(&line.id)?), key: key(&line.key)?, dh_secret })
        });
        let link = self.link.as_ref().map(|line| -> anyhow::Result<_> {
            let data = LinkData { fixed: bytes(&line.fixed)?.into(), user: bytes(&line.user)?.into() };
            Ok((LinkId(fixed(&line.id)?), data))
        });
        let service = |id: &Option<String>| id.as_deref().map(fixed).transpose();
        let record = QueueRecord {
            number: QueueNumber(0),
            recipient_id: RecipientId(fixed(&self.recipient_id)?),
            sender_id: SenderId(fixed(&self.sender_id)?),
            recipient_keys: self
                .recipient_keys
                .iter()
                .map(|text| key(text))
                .collect::<anyhow::Result<_>>()?,
            dh_secret: DhSecret(fixed(&self.dh_secret)?),
            sender_key: self.sender_key.as_deref().map(key).transpose()?,
            mode: mode_from(self.mode.as_deref())?,
            notifier: notifier.transpose()?,
            status: QueueStatus::from_parts(
                self.suspended,
                self.blocking.as_deref().map(blocking_from).transpose()?,
            ),
            used_on: self.used_on,
            recipient_service: service(&self.recipient_service)?.map(ServiceId),
            notifier_service: service(&self.notifier_service)?.map(ServiceId),
        };
        ensure!(!record.recipient_keys.is_empty(), "A queue has no key");
        Ok(WholeQueue { record, link: link.transpose()? })
    }
}

impl MessageLine {
    fn message(&self) -> anyhow::Result<StoredMessage> {
        Ok(StoredMessage {
            id: MessageId(fixed(&self.id)?),
            received_at: Timestamp(self.received_at),
            notify: self.notify,
            body: self.body.as_deref().map(bytes).transpose()?,
        })
    }
}

fn key_text(key: &AuthPublicKey) -> String {
    base64url::encode(&key.to_bytes())
}

fn key(text: &str) -> anyhow::Result<AuthPublicKey> {
    Ok(key_from(&bytes(text)?, "key")?)
}

fn bytes(text: &str) -> anyhow::Result<Vec<u8>> {
    base64url::decode(text).ok().context("A value is not base64url")
}

fn fixed<const N: usize>(text: &str) -> anyhow::Result<[u8; N]> {
    bytes(text)?.try_into().ok().with_context(|| format!("A value has not {N} bytes"))
}
