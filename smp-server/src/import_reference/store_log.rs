//! A line of the reference server's store log (smp.md §18.2).
//!
//! ```text
//! CREATE rid= rk= rdh= sid= sk= [queue_mode=|sndSecure=] [link_id= queue_data=‹fixed› ‹user›]
//!        [notifier=‹id› ‹key› ‹secret› [nsrv=]] [updated_at=] [status=] [rsrv=]
//! LINK ‹rid› ‹link id› ‹fixed› ‹user›    LDELETE ‹rid›      SECURE ‹rid› ‹key›       KEYS ‹rid› ‹keys›
//! NOTIFIER ‹rid› ‹id› ‹key› ‹secret› [nsrv=]  NDELETE ‹rid›  SUSPEND ‹rid›            BLOCK ‹rid› ‹info›
//! UNBLOCK ‹rid›      DELETE ‹rid›        TIME ‹rid› ‹seconds›
//! NEW_SERVICE service_id= role= cert= cert_hash= created_at=        QUEUE_SERVICE ‹rid› R|N ‹service id or nothing›
//! ```

use protocol::smp::blocking::BlockingInfo;
use protocol::smp::command::LinkData;
use protocol::smp::ids::{LinkId, RecipientId, SenderId, ServiceId};
use protocol::smp::key::AuthPublicKey;
use protocol::smp::queue_uri::QueueMode;
use protocol::timestamp::Timestamp;
use protocol::transport::hello::ServiceRole;

use super::flaw::Flaw;
use super::words::{Words, bytes, fixed, id, key, keys, seconds};
use crate::store::{
    DhSecret, NewService, Notifier, QueueNumber, QueueRecord, QueueStatus, WholeQueue, day_of,
};

/// Who is notified, with the service that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NotifierOfService {
    pub(super) notifier: Notifier,
    pub(super) service: Option<ServiceId>,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Record {
    Service(NewService),
    Create(Box<WholeQueue>),
    Queue(RecipientId, Change),
}

/// What a record changes of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    Link(LinkId, LinkData<'static>),
    DeleteLink,
    Secure(AuthPublicKey),
    Keys(Vec<AuthPublicKey>),
    Notifier(Box<NotifierOfService>),
    DeleteNotifier,
    /// Here the last record counts: unblocking makes a queue active, whatever it was.
    Status(QueueStatus),
    Delete,
    UsedOn(i64),
    RecipientService(Option<ServiceId>),
    NotifierService(Option<ServiceId>),
}

/// Reads a line.
pub(super) fn record(line: &str) -> Result<Record, Flaw> {
    let mut words = Words::new(line);
    let tag = words.word("kind")?;
    let change = match tag {
        "CREATE" => return create(words).map(|queue| Record::Create(Box::new(queue))),
        "NEW_SERVICE" => return service(words).map(Record::Service),
        "LINK" | "LDELETE" | "SECURE" | "KEYS" | "NOTIFIER" | "NDELETE" | "SUSPEND" | "BLOCK" | "UNBLOCK"
        | "DELETE" | "TIME" | "QUEUE_SERVICE" => tag,
        _ => return Err(Flaw::UnknownKind),
    };
    let recipient_id = words.id("recipient id")?;
    let change = match change {
        "LINK" => {
            let link_id = words.id("link id")?;
            Change::Link(link_id, link_data(words.word("link data")?, &mut words)?)
        }
        "LDELETE" => Change::DeleteLink,
        "SECURE" => Change::Secure(key(words.word("sender key")?, "sender key")?),
        "KEYS" => Change::Keys(keys(words.word("recipient keys")?)?),
        "NOTIFIER" => {
            let id = words.word("notifier")?;
            Change::Notifier(Box::new(notifier(id, &mut words)?))
        }
        "NDELETE" => Change::DeleteNotifier,
        "SUSPEND" => Change::Status(QueueStatus::Off),
        "BLOCK" => Change::Status(blocked(words.word("reason")?)?),
        "UNBLOCK" => Change::Status(QueueStatus::Active),
        "DELETE" => Change::Delete,
        "TIME" => Change::UsedOn(day_of(Timestamp::from_seconds(seconds(words.word("time")?)?))),
        _ => {
            let party = words.word("party")?;
            let service = match words.word("service id")? {
                "" => None,
                text => Some(id(text, "service id")?),
            };
            match party {
                "R" => Change::RecipientService(service),
                "N" => Change::NotifierService(service),
                _ => return Err(Flaw::Value("party")),
            }
        }
    };
    words.end()?;
    Ok(Record::Queue(recipient_id, change))
}

fn create(mut words: Words<'_>) -> Result<WholeQueue, Flaw> {
    let recipient_id = id(words.named("rid=")?, "recipient id")?;
    let recipient_keys = keys(words.named("rk=")?)?;
    let dh_secret = DhSecret(fixed(words.named("rdh=")?, "secret")?);
    let sender_id: SenderId = id(words.named("sid=")?, "sender id")?;
    let sender_key = match words.named("sk=")? {
        "" => None,
        text => Some(key(text, "sender key")?),
    };
    let mode = match (words.optional("sndSecure="), words.optional("queue_mode=")) {
        (None, None) => None,
        (Some("T"), None) | (None, Some("M")) => Some(QueueMode::Messaging),
        (Some("F"), None) | (None, Some("C")) => Some(QueueMode::Contact),
        _ => return Err(Flaw::Value("queue mode")),
    };
    let link = match words.optional("link_id=") {
        None => None,
        Some(text) => {
            let fixed = words.named("queue_data=")?;
            Some((id(text, "link id")?, link_data(fixed, &mut words)?))
        }
    };
    let notifier = words.optional("notifier=").map(|id| notifier(id, &mut words)).transpose()?;
    let used_on = match words.optional("updated_at=") {
        None => 0,
        Some(text) => day_of(Timestamp::from_seconds(seconds(text)?)),
    };
    let status = words.optional("status=").map_or(Ok(QueueStatus::Active), status)?;
    let recipient_service = words.optional("rsrv=").map(|text| id(text, "service id")).transpose()?;
    words.end()?;
    let (notifier, notifier_service) = match notifier {
        None => (None, None),
        Some(NotifierOfService { notifier, service }) => (Some(notifier), service),
    };
    let record = QueueRecord {
        number: QueueNumber(0),
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
    };
    Ok(WholeQueue { record, link })
}

/// Fixed data, and the user data in the word after them.
fn link_data(fixed: &str, words: &mut Words<'_>) -> Result<LinkData<'static>, Flaw> {
    let user = words.word("link data")?;
    Ok(LinkData { fixed: bytes(fixed, "link data")?.into(), user: bytes(user, "link data")?.into() })
}

/// A notifier whose id was read, the rest in the words after it.
fn notifier(id_text: &str, words: &mut Words<'_>) -> Result<NotifierOfService, Flaw> {
    let notifier = Notifier {
        id: id(id_text, "notifier id")?,
        key: key(words.word("notifier key")?, "notifier key")?,
        dh_secret: DhSecret(fixed(words.word("notifier secret")?, "notifier secret")?),
    };
    let service = words.optional("nsrv=").map(|text| id(text, "service id")).transpose()?;
    Ok(NotifierOfService { notifier, service })
}

/// A status as `CREATE` and the database have it.
pub(super) fn status(text: &str) -> Result<QueueStatus, Flaw> {
    match text {
        "active" => Ok(QueueStatus::Active),
        "off" => Ok(QueueStatus::Off),
        _ => blocked(text.strip_prefix("blocked,").ok_or(Flaw::Value("status"))?),
    }
}

fn blocked(text: &str) -> Result<QueueStatus, Flaw> {
    let info: BlockingInfo = text.parse().map_err(|_| Flaw::Value("reason"))?;
    Ok(QueueStatus::Blocked { info, suspended: false })
}

/// The hash of the certificate is what names a service later; the chain is not needed.
fn service(mut words: Words<'_>) -> Result<NewService, Flaw> {
    let service_id = id(words.named("service_id=")?, "service id")?;
    let role = role(words.named("role=")?)?;
    for certificate in words.named("cert=")?.split(',') {
        bytes(certificate, "certificate")?;
    }
    let fingerprint = fixed(words.named("cert_hash=")?, "certificate hash")?;
    let created_at = seconds(words.named("created_at=")?)?;
    words.end()?;
    Ok(NewService { id: service_id, fingerprint, role, created_at })
}

pub(super) fn role(text: &str) -> Result<ServiceRole, Flaw> {
    match text {
        "M" => Ok(ServiceRole::Messaging),
        "N" => Ok(ServiceRole::Notifier),
        "P" => Ok(ServiceRole::Proxy),
        _ => Err(Flaw::Value("role")),
    }
}
