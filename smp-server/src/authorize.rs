//! Who may do what: each transmission of a block is checked before any is executed (smp.md §5.4–§5.6).
//!
//! ```text
//! parse ─▶ credentials ─▶ look up ─▶ role ─▶ service signature ─▶ key ─▶ Accepted
//!   └──────────┴─────────────┴────────┴────────────┴───────────────┴───▶ Refused
//! ```
//!
//! A refusal for lack of authority takes one check of a signature or authenticator, whether there is such a queue or
//! not.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use protocol::smp::authorize::{AgreedKeys, AuthorizedBy, Covered, Verifier};
use protocol::smp::batch::Batch;
use protocol::smp::command::{Command, Party};
use protocol::smp::error::{CommandError, ErrorType};
use protocol::smp::ids::{LinkId, NotifierId, RecipientId, SenderId};
use protocol::smp::key::AuthPublicKey;
use protocol::smp::proxy::destination::ForwardedCommand;
use protocol::smp::queue_uri::QueueMode;
use protocol::smp::transmission::Transmission;

use crate::hashes::Hashes;
use crate::store::{QueueName, QueueRecord, Store};

/// Commands that are checked before other connections get a turn: less than a millisecond of Ed25519.
const CHECKS_IN_A_ROW: usize = 16;

/// A command that may be executed.
#[derive(Debug)]
pub struct Accepted {
    /// Ties the response to it.
    pub correlation_id: Vec<u8>,
    /// The id under which it names its queue.
    pub entity_id: Vec<u8>,
    /// The version of its transmission: of the session, unless a proxy forwarded it.
    pub version: u16,
    /// The command.
    pub command: Command<'static>,
    /// The queue that it is about.
    pub queue: Option<QueueRecord>,
}

/// A transmission that is answered with an error.
#[derive(Debug)]
pub struct Refused {
    /// Ties the response to it; empty when it could not be read.
    pub correlation_id: Vec<u8>,
    /// As in the transmission; empty when it could not be read.
    pub entity_id: Vec<u8>,
    /// The error.
    pub error: ErrorType,
}

/// A command whose form and credentials are right, before its queue is known.
struct Parsed<'a> {
    transmission: Transmission<'a>,
    command: Command<'a>,
}

/// Checks all transmissions of a block.
pub async fn authorize(
    content: &[u8],
    version: u16,
    verifier: &Verifier<'_>,
    agreed: &AgreedKeys,
    hashes: &Hashes,
    store: &Store,
) -> (Vec<Accepted>, Vec<Refused>) {
    let Ok(batch) = Batch::parse(content) else {
        return (Vec::new(), vec![Refused::unreadable(&[])]);
    };
    let mut refused = Vec::new();
    let mut parsed = Vec::new();
    for bytes in batch {
        match parse(bytes, version) {
            Ok(one) => parsed.push(one),
            Err(error) => refused.push(error),
        }
    }
    let names = parsed.iter().map(|one| queue_name(&one.command, one.transmission.entity_id)).collect();
    let mut accepted = Vec::new();
    let mut checks = 0;
    for (number, (one, queue)) in parsed.into_iter().zip(store.queues(names).await).enumerate() {
        if number % CHECKS_IN_A_ROW == CHECKS_IN_A_ROW - 1 {
            // Checks take time: other connections get their turn.
            tokio::task::yield_now().await;
        }
        let Parsed { transmission, command } = one;
        let (correlation_id, entity_id) =
            (transmission.correlation_id.to_vec(), transmission.entity_id.to_vec());
        let covered = covered(&transmission, verifier, hashes).await;
        let checked = queue.map_err(|error| storage_error(&error)).and_then(|queue| {
            let session = Session { verifier, agreed };
            check(&transmission, &covered, &command, queue.as_ref(), session, &mut checks).map(|()| queue)
        });
        match checked {
            Ok(queue) => {
                let command = command.into_owned();
                accepted.push(Accepted { correlation_id, entity_id, version, command, queue });
            }
            Err(error) => refused.push(Refused { correlation_id, entity_id, error }),
        }
    }
    (accepted, refused)
}

/// Why a command that a proxy forwarded is not executed.
#[derive(Debug)]
pub enum ForwardedRefusal {
    /// Its sender is answered.
    Sender(Refused),
    /// It has more than one command: the proxy is told.
    Proxy(ErrorType),
}

/// Checks the content of a forwarded command: one transmission, of a command that may be forwarded, with the authority
/// that a direct one needs (smp.md §14.2).
///
/// # Errors
/// [`ForwardedRefusal`].
pub async fn authorize_forwarded(
    content: &[u8],
    version: u16,
    verifier: &Verifier<'_>,
    hashes: &Hashes,
    store: &Store,
) -> Result<Accepted, ForwardedRefusal> {
    let sender = ForwardedRefusal::Sender;
    let mut batch = Batch::parse(content).map_err(|_| sender(Refused::unreadable(&[])))?;
    let bytes = match (batch.next(), batch.next()) {
        (Some(bytes), None) => bytes,
        _ => return Err(ForwardedRefusal::Proxy(ErrorType::Block)),
    };
    let Parsed { transmission, command } = parse(bytes, version).map_err(sender)?;
    let (correlation_id, entity_id) = (transmission.correlation_id.to_vec(), transmission.entity_id.to_vec());
    let checked = if ForwardedCommand::may_be(&command) {
        let name = queue_name(&command, transmission.entity_id);
        let found = store.queues(vec![name]).await.pop().unwrap_or(Ok(None));
        let covered = covered(&transmission, verifier, hashes).await;
        found.map_err(|error| storage_error(&error)).and_then(|queue| {
            let session = Session { verifier, agreed: &AgreedKeys::default() };
            check(&transmission, &covered, &command, queue.as_ref(), session, &mut 0).map(|()| queue)
        })
    } else {
        Err(CommandError::Prohibited.into())
    };
    match checked {
        Ok(queue) => {
            Ok(Accepted { correlation_id, entity_id, version, command: command.into_owned(), queue })
        }
        Err(error) => Err(sender(Refused { correlation_id, entity_id, error })),
    }
}

/// When the log last heard that the store fails.
static TOLD: Pace = Pace::new();

/// Lets one through in each second: while a database is away every command fails, and a log that is not read as fast as it
/// is written would hold the server.
struct Pace(Mutex<Option<Instant>>);

impl Pace {
    const INTERVAL: Duration = Duration::from_secs(1);

    const fn new() -> Self {
        Self(Mutex::new(None))
    }

    fn is_due(&self, now: Instant) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| now.saturating_duration_since(last) >= Self::INTERVAL);
        if due {
            *last = Some(now);
        }
        due
    }
}

/// The error of a failed read or step, which says nothing about the disk.
pub(crate) fn storage_error(error: &crate::store::StoreError) -> ErrorType {
    match error {
        crate::store::StoreError::NoQueue => ErrorType::Auth,
        error => {
            if TOLD.is_due(Instant::now()) {
                tracing::error!(%error, "the store failed: commands are refused");
            }
            ErrorType::Store("the server cannot use its storage".to_owned())
        }
    }
}

impl Refused {
    fn unreadable(correlation_id: &[u8]) -> Self {
        Self { correlation_id: correlation_id.to_vec(), entity_id: Vec::new(), error: ErrorType::Block }
    }
}

fn parse(bytes: &[u8], version: u16) -> Result<Parsed<'_>, Refused> {
    let transmission =
        Transmission::parse(bytes, version).map_err(|error| Refused::unreadable(error.correlation_id))?;
    let command = Command::parse(transmission.command, version).and_then(|command| {
        let entity = !transmission.entity_id.is_empty();
        command.check_credentials(!transmission.authenticator.is_none(), entity)?;
        Ok(command)
    });
    match command {
        Ok(command) => Ok(Parsed { transmission, command }),
        Err(error) => Err(Refused {
            correlation_id: transmission.correlation_id.to_vec(),
            entity_id: transmission.entity_id.to_vec(),
            error: error.into(),
        }),
    }
}

/// Under which name the command's queue is looked up. No id but one of 24 bytes names a queue, so that others are
/// looked for in vain, as unknown ones are.
fn queue_name(command: &Command<'_>, entity_id: &[u8]) -> Option<QueueName> {
    match command.party() {
        Party::Recipient => RecipientId::try_from(entity_id).ok().map(QueueName::Recipient),
        Party::Sender => SenderId::try_from(entity_id).ok().map(QueueName::Sender),
        Party::LinkClient => LinkId::try_from(entity_id).ok().map(QueueName::Link),
        Party::Notifier => NotifierId::try_from(entity_id).ok().map(QueueName::Notifier),
        Party::Creator
        | Party::RecipientService
        | Party::NotifierService
        | Party::ProxiedClient
        | Party::Proxy
        | Party::Any => None,
    }
}

/// What the authenticator is checked against: made for each command alike, before anything of its queue is looked at.
async fn covered(transmission: &Transmission<'_>, verifier: &Verifier<'_>, hashes: &Hashes) -> Covered {
    match verifier.text_to_hash(transmission) {
        Some(text) => Covered::Hash(hashes.sha512(text).await),
        None => verifier.covered_text(transmission),
    }
}

/// By what the commands of a session are checked.
#[derive(Clone, Copy)]
struct Session<'a> {
    verifier: &'a Verifier<'a>,
    agreed: &'a AgreedKeys,
}

/// Whether the command may be executed. Adds to `checks` how many signatures or authenticators were computed for it,
/// those of services aside.
fn check(
    transmission: &Transmission<'_>,
    covered: &Covered,
    command: &Command<'_>,
    queue: Option<&QueueRecord>,
    session: Session<'_>,
    checks: &mut usize,
) -> Result<(), ErrorType> {
    let Session { verifier, agreed } = session;
    let mut verify = |by| {
        let verified = verifier.verify_covered(transmission, covered, by, agreed);
        *checks = checks.saturating_add(verified.checks);
        if verified.is_authorized { Ok(()) } else { Err(ErrorType::Auth) }
    };
    let is_about_a_queue =
        matches!(command.party(), Party::Recipient | Party::Sender | Party::LinkClient | Party::Notifier);
    if is_about_a_queue && queue.is_none() {
        // The one check that every refusal takes.
        return verify(AuthorizedBy::Impossible);
    }
    verifier.check_role(command)?;
    verifier.check_service(command, transmission)?;
    let key;
    let by = match (command, queue) {
        (Command::New(new), _) => {
            key = [new.recipient_key];
            AuthorizedBy::Keys(&key)
        }
        (Command::Send { .. }, Some(QueueRecord { sender_key: Some(sender_key), .. })) => {
            AuthorizedBy::Keys(std::slice::from_ref(sender_key))
        }
        (Command::Send { .. }, Some(_)) => AuthorizedBy::Nobody,
        (Command::Skey { sender_key } | Command::Lkey { sender_key }, Some(queue)) => {
            if may_be_secured_with(queue, sender_key) {
                AuthorizedBy::Keys(std::slice::from_ref(sender_key))
            } else {
                AuthorizedBy::Impossible
            }
        }
        (Command::Lget, Some(queue)) if is_contact(queue) => return Ok(()),
        (Command::Lget, Some(_)) => return Err(ErrorType::Auth),
        (Command::Nsub, Some(queue)) => match &queue.notifier {
            Some(notifier) => AuthorizedBy::Keys(std::slice::from_ref(&notifier.key)),
            None => AuthorizedBy::Impossible,
        },
        (_, Some(queue)) => AuthorizedBy::Keys(&queue.recipient_keys),
        // Commands about no queue need no key, or were checked as a service's.
        (_, None) => return Ok(()),
    };
    verify(by)
}

/// Whether a sender may secure the queue with this key, now or once more.
fn may_be_secured_with(queue: &QueueRecord, key: &AuthPublicKey) -> bool {
    queue.mode == Some(QueueMode::Messaging) && queue.sender_key.is_none_or(|stored| stored == *key)
}

/// Whether anyone may read the link data.
fn is_contact(queue: &QueueRecord) -> bool {
    match queue.mode {
        Some(QueueMode::Contact) => true,
        Some(QueueMode::Messaging) => false,
        None => queue.sender_key.is_none(),
    }
}

#[cfg(test)]
mod tests;
